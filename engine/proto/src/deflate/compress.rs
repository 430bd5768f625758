//! Messages into DEFLATE (RFC 7692 §7.2.1).
//!
//! Owns: one compressor with its window, or those of a core. Promises: what comes out is smaller than the message, within
//! the window agreed on, and ends as RFC 7692 wants it; else nothing comes out, and what a later message may refer to is
//! still what the peer has seen. Refuses to know: which messages are worth it.

use alloc::boxed::Box;
use core::fmt;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

#[cfg(feature = "libdeflate")]
use super::blocks;
use super::negotiate::Direction;
use super::scratch::{CHUNK, Scratch};
use super::settings::{Settings, WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::pool::Pool;

/// How a flushed stream ends (RFC 7692 §7.2.1): left out of the payload.
const TAIL_LEN: usize = 4;

/// The compressor of one connection: with its window (see [`Settings::window_bits`] for its memory) or, if none was agreed
/// on, without.
pub struct Deflater {
    stream: Deflate,
    takeover: bool,
    memory_bytes: usize,
}

impl Deflater {
    /// One for what was agreed for our messages. Allocates all it will ever need. `None` for a window that is too small
    /// to compress with ([`WINDOW_BITS_MIN`]): then every message is sent plain.
    ///
    /// # Panics
    /// If the settings are not valid ([`Settings::check`]), or the window is above 15 bits.
    #[must_use]
    pub fn new(settings: &Settings, ours: Direction) -> Option<Deflater> {
        assert!(settings.check().is_ok() && ours.window_bits <= WINDOW_BITS_MAX, "{settings:?}, {ours:?}");
        let window_bits = ours.window_bits.min(settings.window_bits);
        if window_bits < WINDOW_BITS_MIN {
            return None;
        }
        let config = DeflateConfig {
            level: i32::from(settings.level),
            window_bits: -i32::from(window_bits), // below zero: without zlib's header
            mem_level: i32::from(settings.memory_level),
            ..DeflateConfig::default()
        };
        let memory_bytes = settings.memory_bytes(window_bits);
        Some(Deflater { stream: Deflate::new_with_config(config), takeover: ours.takeover, memory_bytes })
    }

    /// What it takes, nearly: see [`Settings::window_bits`].
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Compresses one message into `scratch`: the payload of a frame with RSV1. `None` if that would not be shorter than the
    /// message, or the message is empty: send it plain.
    ///
    /// Takes from `pool` only for a payload above 64 KiB, by the payload's length: [`Scratch::recycle`] gives that back.
    pub fn message<'s>(&mut self, message: &[u8], scratch: &'s mut Scratch, pool: &mut Pool) -> Option<&'s [u8]> {
        if message.is_empty() {
            return None;
        }
        if !self.takeover {
            self.stream.reset();
        }
        scratch.recycle(pool);
        // A byte more than what would do: zlib is done only if it has left some room.
        let most = message.len() + TAIL_LEN;
        let mut rest = message;
        loop {
            let room = (most - scratch.aside()).min(CHUNK);
            let (used, made) = self.step(rest, &mut scratch.chunk()[..room]);
            rest = &rest[used..];
            let len = scratch.aside() + made;
            if len == most {
                scratch.recycle(pool);
                self.forget(rest);
                return None;
            }
            if made < room {
                debug_assert!(rest.is_empty(), "zlib stops for want of room alone");
                if scratch.aside() > 0 {
                    scratch.put_aside(made, pool);
                }
                return Some(scratch.made(len - TAIL_LEN));
            }
            scratch.put_aside(made, pool);
        }
    }

    /// Ends a message that the peer will not see in the stream, `rest` of which is not compressed yet, so that no later one
    /// refers to it.
    ///
    /// To its end, though nobody wants it: zlib-rs 0.6.8 is not done with output that it holds back when it is reset, and
    /// panics some messages later (`out` of its `Pending` stays where it was).
    #[cold]
    fn forget(&mut self, mut rest: &[u8]) {
        let mut nowhere = [0; 1024];
        loop {
            let (used, made) = self.step(rest, &mut nowhere);
            rest = &rest[used..];
            if made < nowhere.len() {
                break;
            }
        }
        self.stream.reset();
    }

    /// Compresses and flushes; the bytes taken and made. It is done if it leaves some room.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> (usize, usize) {
        let (used, made) = (self.stream.total_in(), self.stream.total_out());
        self.stream.compress(input, output, DeflateFlush::SyncFlush).expect("a stream that is used in order");
        // Both count from the last reset, and no slice is longer than a usize.
        ((self.stream.total_in() - used) as usize, (self.stream.total_out() - made) as usize)
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").field("takeover", &self.takeover).finish_non_exhaustive()
    }
}

/// The compressor of one core: each message by itself. 0.3 MiB for each window that its connections agreed on.
pub struct Shared {
    settings: Settings,
    /// By window, from [`WINDOW_BITS_MIN`] on; made when first used.
    by_window: [Option<Box<Deflater>>; (WINDOW_BITS_MAX - WINDOW_BITS_MIN) as usize + 1],
    #[cfg(feature = "libdeflate")]
    whole: Option<libdeflater::Compressor>,
}

impl Shared {
    /// One for these settings. Allocates when it is first used.
    ///
    /// # Panics
    /// If the settings are not valid ([`Settings::check`]).
    #[must_use]
    pub fn new(settings: &Settings) -> Shared {
        settings.check().expect("valid settings");
        Shared {
            settings: *settings,
            by_window: Default::default(),
            #[cfg(feature = "libdeflate")]
            whole: None,
        }
    }

    /// Compresses one message for a connection with this window. Otherwise as [`Deflater::message`].
    pub fn message<'s>(
        &mut self,
        message: &[u8],
        window_bits: u8,
        scratch: &'s mut Scratch,
        pool: &mut Pool,
    ) -> Option<&'s [u8]> {
        let window_bits = window_bits.min(self.settings.window_bits);
        if window_bits < WINDOW_BITS_MIN {
            return None;
        }
        // libdeflate's window is 15 bits, but nothing refers back further than its message is long.
        #[cfg(feature = "libdeflate")]
        if self.settings.level > 1 && message.len() <= 1 << window_bits {
            return self.whole(message, scratch, pool);
        }
        let deflater = &mut self.by_window[usize::from(window_bits - WINDOW_BITS_MIN)];
        if deflater.is_none() {
            *deflater = Deflater::new(&self.settings, Direction { takeover: false, window_bits }).map(Box::new);
        }
        deflater.as_mut()?.message(message, scratch, pool)
    }

    /// libdeflate makes whole streams, whose last block is final: that is undone behind it.
    #[cfg(feature = "libdeflate")]
    fn whole<'s>(&mut self, message: &[u8], scratch: &'s mut Scratch, pool: &mut Pool) -> Option<&'s [u8]> {
        // Ending a message may take a byte, and it has to be shorter all the same.
        const _: () = assert!(1 << WINDOW_BITS_MAX < CHUNK);
        let room = message.len().checked_sub(2)?;
        // zlib-rs is better at level 1, so libdeflate's begin at 2.
        let level = i32::from(self.settings.level) - 1;
        let compressor = self.whole.get_or_insert_with(|| {
            let level = libdeflater::CompressionLvl::new(level).expect("1 to 8");
            libdeflater::Compressor::new(level)
        });
        scratch.recycle(pool);
        // It fails only where the output does not fit.
        let made = compressor.deflate_compress(message, &mut scratch.chunk()[..room]).ok()?;
        let len = blocks::end_message(scratch.chunk(), made);
        debug_assert!(len.is_some(), "libdeflate makes whole streams");
        len.map(|len| scratch.made(len))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
