//! How a message of a topic is published: what its publisher says of it beside its bytes. Refuses to know what becomes of that.

/// How a message of a topic is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Publish {
    pub(crate) key: Option<u64>,
    pub(crate) fixed: bool,
    pub(crate) removes: bool,
}

impl Publish {
    /// With this key: where messages are conflated, with those of the same key alone.
    pub const fn keyed(key: u64) -> Self {
        Self { key: Some(key), fixed: false, removes: false }
    }

    /// It is sent in its place, a trade among prices: no newer message takes its place, it takes none, and what waits of its topic goes
    /// first. It is no state, so it is not retained.
    pub const fn must_not_conflate(mut self) -> Self {
        self.fixed = true;
        self
    }

    /// It takes its key away: a late subscriber is not told of the key any more. It is sent as any other; where messages are conflated it takes the
    /// place of the one that waits, and is not merged.
    pub const fn removes(mut self) -> Self {
        self.removes = true;
        self
    }
}
