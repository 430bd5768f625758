//! Owns the compressors of a core (RFC 7692): those that all connections of a level share, and those of single connections; and the
//! memory that they write into.
//!
//! Promises: nothing here costs a connection memory unless its mode is dedicated and it has been sent a message worth
//! compressing; what is lent is copied by whoever keeps it, so that nothing is kept in memory of the length that a message had
//! before. Refuses to know: frames, queues, and whether a message may go out.

use wsring_proto::deflate::{Deflater, Direction, Mode, Scratch, Settings, Shared, WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use wsring_proto::pool::Pool;

use super::planted::planted;

/// How the frames of an open connection leave: compressed or not, and masked or not (RFC 6455 §5.3), in a byte of its
/// [`Life`](super::life::Life).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Framing(u8);

impl Framing {
    /// As they are.
    pub(crate) const PLAIN: Framing = Framing(0);
    /// Beside the window's bits: by a compressor of its own.
    const OWN: u8 = 0x80;
    /// A client's.
    const MASKED: u8 = 0x40;
    /// Of a connection whose output has marks of its own, or whose messages are compressed in another way than those of its core.
    const APART: u8 = 0x20;

    /// Compressed as agreed for what we send.
    pub(crate) fn packed(settings: &Settings, ours: Direction) -> Framing {
        let window_bits = ours.window_bits.min(settings.window_bits);
        match settings.mode {
            _ if window_bits < WINDOW_BITS_MIN => Framing::PLAIN,
            Mode::Dedicated if planted!(TakeoverUnasked, true; ours.takeover) => Framing(window_bits | Framing::OWN),
            Mode::Dedicated | Mode::Shared => Framing(window_bits),
            _ => Framing::PLAIN,
        }
    }

    /// The same, and masked.
    pub(crate) fn masked(self) -> Framing {
        Framing(self.0 | Framing::MASKED)
    }

    /// The same, and [`Self::is_apart`].
    pub(crate) fn apart(self) -> Framing {
        Framing(self.0 | Framing::APART)
    }

    /// Messages go as they are, masked or not, and what may be queued is as the core's settings say: nothing has to be asked for.
    #[inline]
    pub(crate) fn is_ordinary(self) -> bool {
        self.0 & !Framing::MASKED == 0
    }

    /// What may be queued, and how it is compressed, is to be looked up in `norms`: it is not as the core's settings say.
    #[inline(always)]
    pub(crate) fn is_apart(self) -> bool {
        self.0 & Framing::APART != 0
    }

    #[inline]
    pub(crate) fn is_masked(self) -> bool {
        self.0 & Framing::MASKED != 0
    }

    /// Messages are compressed.
    #[inline]
    pub(crate) fn packs(self) -> bool {
        self.window_bits() != 0
    }

    pub(crate) fn window_bits(self) -> u8 {
        self.0 & !(Framing::OWN | Framing::MASKED | Framing::APART)
    }

    pub(crate) fn is_own(self) -> bool {
        self.0 & Framing::OWN != 0
    }
}

/// What makes a message that is compressed by itself the same for all that share a compressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) level: u8,
    window_bits: u8,
}

impl Shape {
    /// Not compressed.
    pub(crate) const AS_IS: Shape = Shape { level: 0, window_bits: 0 };

    /// Of connections with this framing.
    pub(crate) fn of(framing: Framing, level: u8) -> Self {
        Self { level, window_bits: framing.window_bits() }
    }
}

/// Levels that there are, from 1 on.
const LEVELS: usize = 9;

/// The compressors of a core.
pub(crate) struct Packer {
    /// Of the core: connections may have others.
    settings: Settings,
    /// By level, made when first used.
    shared: [Option<Box<Shared>>; LEVELS],
    /// By connection. Empty where none is dedicated.
    own: Vec<Option<Box<Deflater>>>,
    scratch: Scratch,
}

impl Packer {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { settings: *settings, shared: Default::default(), own: Vec::new(), scratch: Scratch::new() }
    }

    /// Of connections that have no others.
    #[inline]
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether a message of this length is worth it, by those.
    #[inline]
    pub(crate) fn wants(&self, len: usize) -> bool {
        len >= self.settings.threshold_bytes as usize
    }

    /// Compresses a message for one connection, as its settings say. `None`: send it plain. Lent until [`Self::recycle`].
    pub(crate) fn pack(
        &mut self,
        index: u32,
        framing: Framing,
        settings: &Settings,
        message: &[u8],
        pool: &mut Pool,
    ) -> Option<&[u8]> {
        if !framing.is_own() {
            return self.pack_shared(Shape::of(framing, settings.level), message, pool);
        }
        let index = index as usize;
        if self.own.len() <= index {
            self.own.resize_with(index + 1, || None);
        }
        let own = &mut self.own[index];
        if own.is_none() {
            let ours = Direction { takeover: true, window_bits: framing.window_bits() };
            *own = Deflater::new(settings, ours).map(Box::new);
            pool.charge(own.as_ref().map_or(0, |deflater| deflater.memory_bytes()));
        }
        own.as_mut()?.message(message, &mut self.scratch, pool)
    }

    /// What was lent has been copied.
    #[inline]
    pub(crate) fn recycle(&mut self, pool: &mut Pool) {
        self.scratch.recycle(pool);
    }

    /// Compresses a message for all connections of this shape that have no compressor of their own. Otherwise as [`Self::pack`].
    pub(crate) fn pack_shared(&mut self, shape: Shape, message: &[u8], pool: &mut Pool) -> Option<&[u8]> {
        let Shape { level, window_bits } = shape;
        let settings = self.settings.level(level).window_bits(WINDOW_BITS_MAX);
        let shared = self.shared[usize::from(level) - 1].get_or_insert_with(|| Box::new(Shared::new(&settings)));
        shared.message(message, window_bits, &mut self.scratch, pool)
    }

    /// The connection has ended, and its compressor with it.
    #[inline]
    pub(crate) fn forget(&mut self, index: u32, pool: &mut Pool) {
        planted!(PackerKept, return);
        if let Some(own) = self.own.get_mut(index as usize).and_then(Option::take) {
            pool.discharge(own.memory_bytes());
        }
    }

    /// Memory of all compressors of single connections.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn all_own_bytes(&self) -> usize {
        (0..self.own.len()).map(|index| self.own_bytes(index)).sum()
    }

    /// Memory of the compressor that a connection has of its own.
    pub(crate) fn own_bytes(&self, index: usize) -> usize {
        self.own.get(index).and_then(Option::as_ref).map_or(0, |own| own.memory_bytes())
    }
}
