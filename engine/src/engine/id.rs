//! Names: of a connection and of a dial for the application, and of the one that has a slot for the engine. Those of slots carry the generation of
//! the slot, 24 bits as in a [`Token`], so that what was an earlier one's is told from what is the present one's.

use std::fmt;

use crate::cores::Place;
use crate::ring::Token;

/// Names a connection of one core: index, generation and the core's place. A stale id is a quiet "gone", never somebody else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(u64);

impl ConnId {
    pub(crate) fn new(place: Place, generation: u32, index: u32) -> Self {
        Self(u64::from(place.number()) << 56 | u64::from(generation & Token::GENERATION_MASK) << 32 | u64::from(index))
    }

    /// The place of the core that owns the connection.
    pub const fn place(self) -> Place {
        Place::new((self.0 >> 56) as u8)
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & Token::GENERATION_MASK
    }

    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }
}

/// `place/index.generation`
impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.place(), self.index(), self.generation())
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Names a dial of one core, over all its attempts. A stale id is a quiet "gone", never another dial.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialId {
    place: Place,
    generation: u32,
    index: u32,
}

impl DialId {
    pub(crate) const fn new(place: Place, generation: u32, index: u32) -> Self {
        Self { place, generation, index }
    }

    /// The place of the core that dials.
    pub const fn place(self) -> Place {
        self.place
    }

    pub(crate) const fn generation(self) -> u32 {
        self.generation
    }

    pub(crate) const fn index(self) -> u32 {
        self.index
    }
}

/// `place/index.generation`
impl fmt::Debug for DialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.place, self.index, self.generation)
    }
}

impl fmt::Display for DialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It does not count against the connection cap: it is told 503, or closed at once.
    Guest,
    /// A peer connected to us.
    Accepted,
    /// We dialled it: what we send is masked (RFC 6455 §5.3), and the peer closes the TCP connection (§7.1.1).
    Dialled,
}

/// Who has a slot: its generation, which survives its owners, and how the present one came. One word, as in a token.
#[derive(Clone, Copy)]
pub(crate) struct Tenant(u32);

impl Tenant {
    pub(crate) const fn first() -> Self {
        Self::new(0, Origin::Guest)
    }

    const fn new(generation: u32, origin: Origin) -> Self {
        Self((origin as u32) << 24 | generation & Token::GENERATION_MASK)
    }

    #[inline]
    pub(crate) fn generation(self) -> u32 {
        self.0 & Token::GENERATION_MASK
    }

    #[inline]
    pub(crate) fn origin(self) -> Origin {
        match self.0 >> 24 {
            0 => Origin::Guest,
            1 => Origin::Accepted,
            _ => Origin::Dialled,
        }
    }

    #[inline]
    pub(crate) fn is_dialled(self) -> bool {
        self.origin() == Origin::Dialled
    }

    /// The same tenant, of this origin.
    pub(crate) fn from(self, origin: Origin) -> Self {
        Self::new(self.generation(), origin)
    }

    /// The next tenant of the slot, `step` generations on.
    pub(crate) fn next(self, step: u32) -> Self {
        Self::new(self.generation().wrapping_add(step), Origin::Guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_one_origin_and_a_generation_that_wraps() {
        let last = Tenant::new(Token::GENERATION_MASK, Origin::Guest);
        for origin in [Origin::Guest, Origin::Accepted, Origin::Dialled] {
            let tenant = last.from(origin);
            assert_eq!((tenant.generation(), tenant.origin()), (Token::GENERATION_MASK, origin));
            assert_eq!((tenant.next(1).generation(), tenant.next(1).origin()), (0, Origin::Guest));
        }
    }
}
