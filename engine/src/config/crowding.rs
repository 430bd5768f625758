//! The values of the limit on connections by network, and what must be true of them.

/// See the setters in `crowd`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowding {
    pub(crate) max: Option<u32>,
    pub(crate) v4_len: u8,
    pub(crate) v6_len: u8,
}

impl Default for Crowding {
    fn default() -> Self {
        Self { max: None, v4_len: 32, v6_len: 64 }
    }
}

impl Crowding {
    /// Whether each makes sense, which one that is, and what it must be.
    pub(super) fn rules(&self) -> [(bool, &'static str, &'static str); 2] {
        [
            (self.max != Some(0), "crowd_max", "must be at least 1; None sets no limit"),
            (self.v4_len <= 32 && self.v6_len <= 128, "crowd_prefixes", "must be at most 32 and 128 bits"),
        ]
    }
}
