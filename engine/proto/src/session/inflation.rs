//! A peer's compressed messages, inflated (RFC 7692 §6.2).
//!
//! Owns the choice of the inflater: the session's own if the peer takes its window over, else the pool's. Promises that
//! what comes out is held by the session, and checked if it is text. Knows nothing of frames or of the place in the stream.

#[cfg(feature = "deflate")]
use super::Compression;
use super::Session;
use crate::close::Violation;
use crate::limits::Limits;
use crate::pool::Pool;
#[cfg(feature = "deflate")]
use crate::simd::Assembly;

impl Session {
    /// Inflates the message that was held, all of which is here.
    #[inline(never)]
    pub(super) fn inflate_held(&mut self, limits: &Limits, pool: &mut Pool) -> Result<(), Violation> {
        let gathered = self.assembly.take().expect("some of it was kept, or it would be borrowed");
        let inflated = self.inflate(gathered.payload(), limits, pool);
        pool.put(gathered.into_bytes());
        inflated
    }

    /// Inflates the payload of a whole message, unmasked.
    #[cfg(feature = "deflate")]
    #[inline(never)]
    pub(super) fn inflate(&mut self, payload: &[u8], limits: &Limits, pool: &mut Pool) -> Result<(), Violation> {
        let bytes = if self.compression == Compression::Takeover {
            self.inflater.get_or_insert_with(|| pool.take_window()).message(payload, limits, pool)?
        } else {
            let mut inflater = pool.take_inflater();
            inflater.reset();
            let made = inflater.message(payload, limits, pool);
            pool.put_inflater(inflater);
            made?
        };
        // RFC 6455 §8.1, RFC 7692 §6.2: text is what comes out.
        match Assembly::whole(bytes, self.kind.is_text()) {
            Ok(assembly) => {
                self.assembly = Some(assembly);
                Ok(())
            }
            Err(bytes) => {
                pool.put(bytes);
                Err(Violation::InvalidUtf8)
            }
        }
    }

    /// Without DEFLATE nothing is negotiated, and the header of a compressed message is the fault already.
    #[cfg(not(feature = "deflate"))]
    pub(super) fn inflate(&mut self, _: &[u8], _: &Limits, _: &mut Pool) -> Result<(), Violation> {
        Err(Violation::ReservedBits)
    }
}
