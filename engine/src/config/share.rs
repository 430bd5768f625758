//! Owns the setting of how much of its core a connection may have at once. Refuses to know who counts it.

use super::Config;

/// What a connection may have done at once.
impl Config {
    /// Work that one connection may cause in a pass of its core, counted in small messages of some 65 ns, 1 to 1,000,000: then it is the
    /// turn of the others, and the rest waits. Default 2,000, some 130 us. What costs more than a small message counts for as many: a ping
    /// for 3, 512 bytes of a long message for 1. What the handler does with a message is not counted; what the engine does for it is.
    /// [Decision 60](https://github.com/wsring/wsring/blob/main/docs/decisions/0060-a-share-of-the-pass.md) has the list.
    ///
    /// With less a peer that floods its connection delays its neighbours less. More saves an occasional copy.
    #[must_use]
    pub fn pass_share_messages(mut self, messages: u32) -> Self {
        self.pass_share_messages = messages;
        self
    }
}
