//! Names the kernel features that the driver uses beyond its floor; each can be switched off.

use std::fmt;
use std::str::FromStr;

/// A feature of io_uring that the driver uses when the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// One accept serves many connections (Linux 5.19), while there is room for all that may wait. Without: one accept at a time.
    MultishotAccept,
    /// One receive serves many segments (Linux 6.0). Without: one receive at a time.
    MultishotRecv,
    /// A provided buffer is filled by several receives (IOU_PBUF_RING_INC, Linux 6.12). Without: more, smaller buffers.
    IncrementalBuffers,
    /// Completions are run when we ask for them, not by interrupting us (IORING_SETUP_DEFER_TASKRUN, Linux 6.1).
    /// Without: IORING_SETUP_COOP_TASKRUN.
    DeferTaskrun,
    /// Sockets live in the ring's table of fixed files and not among the process's descriptors. Used where the kernel closes such a
    /// socket at once (Linux 6.13), which is asked by an experiment. Without: each connection takes one of the process's
    /// descriptors (RLIMIT_NOFILE), for all cores together.
    DirectDescriptors,
}

impl Feature {
    /// Every feature, in the order of their bits.
    pub const ALL: [Feature; 5] = [
        Feature::MultishotAccept,
        Feature::MultishotRecv,
        Feature::IncrementalBuffers,
        Feature::DeferTaskrun,
        Feature::DirectDescriptors,
    ];

    /// The name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Feature::MultishotAccept => "multishot-accept",
            Feature::MultishotRecv => "multishot-recv",
            Feature::IncrementalBuffers => "incremental-buffers",
            Feature::DeferTaskrun => "defer-taskrun",
            Feature::DirectDescriptors => "direct-descriptors",
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no [`Feature`]'s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such feature: {0} (there are: {names})", names = Feature::ALL.map(Feature::name).join(", "))]
pub struct UnknownFeature(String);

impl FromStr for Feature {
    type Err = UnknownFeature;

    fn from_str(name: &str) -> Result<Self, UnknownFeature> {
        Feature::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| UnknownFeature(name.to_owned()))
    }
}

/// A set of [`Feature`]s.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Features(u8);

impl Features {
    /// Every feature.
    pub const fn all() -> Self {
        Self((1 << Feature::ALL.len()) - 1)
    }

    /// No feature.
    pub const fn none() -> Self {
        Self(0)
    }

    /// The set without `feature`.
    #[must_use]
    pub const fn without(self, feature: Feature) -> Self {
        Self(self.0 & !(1 << feature as u8))
    }

    /// The set with `feature`.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | 1 << feature as u8)
    }

    /// Whether `feature` is in the set.
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u8 != 0
    }
}

impl Default for Features {
    fn default() -> Self {
        Self::all()
    }
}

/// The names, separated by blanks.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Feature::ALL.into_iter().filter(|&feature| self.has(feature)).peekable();
        if names.peek().is_none() {
            return f.write_str("none");
        }
        for (i, feature) in names.enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(feature.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Features({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_sets_hold_what_they_are_given() {
        for feature in Feature::ALL {
            assert_eq!(feature.name().parse(), Ok(feature));
            let without = Features::all().without(feature);
            assert!(!without.has(feature) && without.with(feature) == Features::all());
            assert!(!without.to_string().contains(feature.name()));
        }
        assert!("sqpoll".parse::<Feature>().is_err());
        assert_eq!(Features::none().to_string(), "none");
    }
}
