//! permessage-deflate (RFC 7692), both roles: what is negotiated, and messages in and out of DEFLATE (RFC 1951).
//!
//! Owns: the settings, the negotiation ([`choose`], [`ClientOffer`], [`Agreed`]), the compressors ([`Deflater`], [`Shared`], which write into a [`Scratch`])
//! and the [`Inflater`]. Promises: nothing is negotiated that is not kept; inflating stops at the limit, not after it; a
//! message that compressing does not make smaller goes out plain, which RFC 7692 §6 leaves to every message. Refuses to
//! know: frames and their RSV1 (see [`crate::frame`], [`crate::encode`]), and whose connection it is.
//!
//! | mode | our compressor | the peer's messages | heap bytes a connection |
//! |---|---|---|---|
//! | [`Mode::Shared`] | one a core, no window kept | one inflater a core; for those that keep a window, one each | 0, or 47 KiB |
//! | [`Mode::Dedicated`] | one a connection, from its first message on | one inflater a connection, from its first on | see [`Settings::window_bits`] |
//!
//! A server could always have the peer keep no window (RFC 7692 §7.1.1.2), but there are clients that do not bear to be told
//! what they did not offer: in [`Mode::Shared`] a core keeps the windows of [`Settings::peer_windows_max`] clients. A client
//! can only ask: with a server that keeps its window, a connection has an inflater of its own in [`Mode::Shared`] too.

#[cfg(feature = "libdeflate")]
mod blocks;
mod compress;
pub(crate) mod inflate;
mod negotiate;
mod scratch;
mod settings;

pub use crate::inflater::Inflater;
pub use compress::{Deflater, Shared};
pub use negotiate::{ANSWER_LEN_MAX, Agreed, Answer, ClientOffer, CompressionError, Direction, choose};
pub use scratch::Scratch;
pub use settings::{InvalidSettings, Mode, Settings, WINDOW_BITS_MAX, WINDOW_BITS_MIN};

#[cfg(test)]
mod tests;
