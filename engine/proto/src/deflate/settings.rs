//! How messages are compressed, and who has a compressor for it.
//!
//! Owns: the values, what they cost and which of them make sense. Refuses to know: what a peer agrees to.

use core::fmt;

/// The largest window, in bits of its length: what DEFLATE has (RFC 1951 §3.2.5), and what holds without a parameter
/// (RFC 7692 §7.1.2).
pub const WINDOW_BITS_MAX: u8 = 15;

/// The smallest window that we compress with. RFC 7692 §7.1.2 allows 8, but zlib never could: it takes 9 for 8 and would
/// break the peer's window.
pub const WINDOW_BITS_MIN: u8 = 9;

/// Who has a compressor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Nobody: the extension is not negotiated.
    #[default]
    Off,
    /// A core has one for all its connections, and each message is compressed by itself (no context takeover).
    Shared,
    /// Each connection has one, which finds in a message what earlier ones held (context takeover).
    Dedicated,
}

/// How messages are compressed.
///
/// ```
/// use wsring_proto::deflate::Settings;
///
/// let smaller = Settings::shared().level(2).threshold_bytes(128);
/// assert!(smaller.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Settings {
    /// Who has a compressor: chosen with [`off`](Self::off), [`shared`](Self::shared) or [`dedicated`](Self::dedicated).
    pub mode: Mode,
    /// How hard is tried, 1-9: more time for fewer bytes. Default 1.
    ///
    /// Figures for 1 KiB of trades as JSON (`benches/deflate`): [`Mode::Shared`] at 1 is zlib-rs, 4.5 us and 468 bytes; 2 is
    /// libdeflate (feature `libdeflate`), 6.9 us and 343 bytes; 3-9 come down to 331 bytes for up to 9.6 us.
    /// [`Mode::Dedicated`] is always zlib-rs: at 1, 1.3 us and 189 bytes with a window of 15 bits.
    pub level: u8,
    /// How far back our compressor looks, as a power of two, 9-15; less if the peer asks for less. Default 15.
    ///
    /// In [`Mode::Dedicated`] it decides what a connection's compressor costs, together with
    /// [`memory_level`](Settings::memory_level): 131 KiB for its tables, 4 times the window, and 448 bytes doubled
    /// with each memory level. So 9 bits at level 1 are 134 KiB, 12 bits at level 5 are 161 KiB, 15 bits at level 5 are
    /// 273 KiB, and 15 bits at level 8 are 371 KiB. (zlib-rs never takes less than its tables.) A peer that keeps its
    /// window costs another 47 KiB for inflating.
    pub window_bits: u8,
    /// How much a compressor of [`Mode::Dedicated`] remembers inside a block, 1-9. Default 5; at level 1 it changes nothing
    /// but the memory taken.
    pub memory_level: u8,
    /// In [`Mode::Shared`], of how many clients a core keeps the window: each is an inflater of 47 KiB, from the client's first
    /// compressed message to its end. Clients that offer to keep none (`client_no_context_takeover`) are not among them.
    /// Default 1024, 47 MiB a core; 0 keeps none.
    ///
    /// A client beyond that is asked to keep none, though it did not offer that. RFC 7692 §7.1.1.2 allows it and browsers
    /// do it; Netty fails the connection, and Tornado and Mojolicious keep theirs, which ends with 1007.
    pub peer_windows_max: u32,
    /// Messages of fewer bytes are sent plain. Default 512 in [`Mode::Shared`], where 256 bytes take 3 us to become 177;
    /// 64 in [`Mode::Dedicated`], where they take 0.5 us to become 70.
    pub threshold_bytes: u32,
}

impl Settings {
    /// Nothing is compressed.
    #[must_use]
    pub const fn off() -> Settings {
        Settings { mode: Mode::Off, ..Settings::shared() }
    }

    /// One compressor a core; connections cost no memory, but for [`peer_windows_max`](Self#structfield.peer_windows_max).
    #[must_use]
    pub const fn shared() -> Settings {
        Settings {
            mode: Mode::Shared,
            level: 1,
            window_bits: WINDOW_BITS_MAX,
            memory_level: 5,
            peer_windows_max: 1024,
            threshold_bytes: 512,
        }
    }

    /// One compressor a connection.
    #[must_use]
    pub const fn dedicated() -> Settings {
        Settings { mode: Mode::Dedicated, threshold_bytes: 64, ..Settings::shared() }
    }

    /// Sets [`level`](Self#structfield.level).
    #[must_use]
    pub const fn level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    /// Sets [`window_bits`](Self#structfield.window_bits).
    #[must_use]
    pub const fn window_bits(mut self, bits: u8) -> Self {
        self.window_bits = bits;
        self
    }

    /// Sets [`memory_level`](Self#structfield.memory_level).
    #[must_use]
    pub const fn memory_level(mut self, level: u8) -> Self {
        self.memory_level = level;
        self
    }

    /// Sets [`peer_windows_max`](Self#structfield.peer_windows_max).
    #[must_use]
    pub const fn peer_windows_max(mut self, windows: u32) -> Self {
        self.peer_windows_max = windows;
        self
    }

    /// Sets [`threshold_bytes`](Self#structfield.threshold_bytes).
    #[must_use]
    pub const fn threshold_bytes(mut self, bytes: u32) -> Self {
        self.threshold_bytes = bytes;
        self
    }

    /// What a compressor with this window takes, nearly: see [`window_bits`](Self#structfield.window_bits).
    #[must_use]
    pub const fn memory_bytes(&self, window_bits: u8) -> usize {
        (131 << 10) + (4 << window_bits) + (448 << self.memory_level)
    }

    /// Whether the values make sense.
    ///
    /// # Errors
    /// [`InvalidSettings`] names the first that does not.
    pub const fn check(&self) -> Result<(), InvalidSettings> {
        if !matches!(self.level, 1..=9) {
            return Err(InvalidSettings { setting: "deflate.level", rule: "must be 1 to 9" });
        }
        if !matches!(self.window_bits, WINDOW_BITS_MIN..=WINDOW_BITS_MAX) {
            return Err(InvalidSettings { setting: "deflate.window_bits", rule: "must be 9 to 15" });
        }
        if !matches!(self.memory_level, 1..=9) {
            return Err(InvalidSettings { setting: "deflate.memory_level", rule: "must be 1 to 9" });
        }
        Ok(())
    }
}

/// A setting of compression whose value makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidSettings {
    /// Which: `deflate.` and the name in [`Settings`].
    pub setting: &'static str,
    /// What holds of a value that makes sense.
    pub rule: &'static str,
}

impl fmt::Display for InvalidSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.rule)
    }
}

impl core::error::Error for InvalidSettings {}

impl Default for Settings {
    fn default() -> Self {
        Settings::off()
    }
}
