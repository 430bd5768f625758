//! A peer's compressed messages, inflated (RFC 7692 §6.2).
//!
//! Owns the choice of the inflater, the session's own if the peer takes its window over, else the pool's; how far the peer may be beyond
//! its ratio; and a message that is inflated in steps, until it is whole. Promises that
//! what comes out is held by the session, and checked if it is text. Knows nothing of frames or of the place in the stream.

#[cfg(feature = "deflate")]
use alloc::boxed::Box;

#[cfg(feature = "deflate")]
use super::Compression;
use super::Session;
#[cfg(feature = "deflate")]
use super::kept::UnderWay;
use super::pace::Pace;
use crate::close::Violation;
#[cfg(feature = "deflate")]
use crate::deflate::inflate::Making;
#[cfg(feature = "deflate")]
use crate::inflater::Inflater;
use crate::limits::Limits;
use crate::pool::Pool;
#[cfg(feature = "deflate")]
use crate::simd::{Assembly, HEADROOM};

#[cfg(feature = "deflate")]
impl Session {
    /// Inflates the message that was held, all of which is here. False if a step was not enough: [`Self::inflate_on`] goes on.
    #[inline(never)]
    pub(super) fn inflate_held(
        &mut self,
        pace: &mut Pace,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Result<bool, Violation> {
        let gathered = self.assembly.take().expect("some of it was kept, or it would be borrowed");
        let begun = self.begin_inflating(gathered.payload(), pace, limits, pool);
        match begun {
            Ok(Some((making, inflater, used))) => {
                let payload = gathered.into_bytes();
                self.keep_under_way(UnderWay { inflater, payload, at: HEADROOM + used, making }, pool);
                Ok(false)
            }
            done => {
                pool.put(gathered.into_bytes());
                done.map(|_| true)
            }
        }
    }

    /// Inflates the payload of a whole message, unmasked. False if a step was not enough.
    #[inline(never)]
    pub(super) fn inflate(
        &mut self,
        payload: &[u8],
        pace: &mut Pace,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Result<bool, Violation> {
        let Some((making, inflater, used)) = self.begin_inflating(payload, pace, limits, pool)? else {
            return Ok(true);
        };
        let mut rest = pool.take(payload.len() - used, 0);
        rest.extend_from_slice(&payload[used..]);
        self.keep_under_way(UnderWay { inflater, payload: rest, at: 0, making }, pool);
        Ok(false)
    }

    /// The first step. `None`: it was enough. Else what has been made, by what, and how much of the payload was used.
    #[allow(clippy::type_complexity, reason = "two callers take it apart at once")]
    fn begin_inflating(
        &mut self,
        payload: &[u8],
        pace: &mut Pace,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Result<Option<(Making, Box<Inflater>, usize)>, Violation> {
        let takeover = self.compression == Compression::Takeover;
        let inflation = self.inflation.get_or_insert_default();
        let mut inflater = if takeover {
            inflation.window.take().unwrap_or_else(|| pool.take_window())
        } else {
            let mut inflater = pool.take_inflater();
            inflater.reset();
            inflater
        };
        let mut making = Making::begin(payload.len(), limits, inflation.credit, pool);
        let mut rest = payload;
        let made = inflater.make(&mut making, &mut rest, pace.step, pool);
        pace.on_inflated(true, making.len());
        match made {
            Ok(false) => Ok(Some((making, inflater, payload.len() - rest.len()))),
            Ok(true) => self.end_inflating(making, inflater, limits, pool).map(|()| None),
            Err(violation) => {
                self.put_inflater(inflater, pool);
                Err(violation)
            }
        }
    }

    /// An inflater that is not the peer's own counts while this has it.
    fn keep_under_way(&mut self, under_way: UnderWay, pool: &mut Pool) {
        if self.compression != Compression::Takeover {
            pool.charge(Inflater::BYTES);
        }
        self.inflation.get_or_insert_default().under_way = Some(under_way);
        self.place = super::Place::Inflating;
    }

    fn take_under_way(&mut self, pool: &mut Pool) -> Option<UnderWay> {
        let under_way = self.inflation.as_mut()?.under_way.take()?;
        if self.compression != Compression::Takeover {
            pool.discharge(Inflater::BYTES);
        }
        Some(under_way)
    }

    /// Another step. True if that was the last.
    #[inline(never)]
    pub(super) fn inflate_on(&mut self, pace: &mut Pace, limits: &Limits, pool: &mut Pool) -> Result<bool, Violation> {
        let under_way = self.inflation.as_mut().and_then(|inflation| inflation.under_way.as_mut());
        let under_way = under_way.expect("a message is being inflated");
        let (mut rest, before) = (&under_way.payload[under_way.at..], under_way.making.len());
        let made = under_way.inflater.make(&mut under_way.making, &mut rest, pace.step, pool);
        under_way.at = under_way.payload.len() - rest.len();
        pace.on_inflated(false, under_way.making.len() - before);
        if made == Ok(false) {
            return Ok(false);
        }
        let under_way = self.take_under_way(pool).expect("as above");
        let UnderWay { inflater, payload, making, .. } = under_way;
        pool.put(payload);
        match made {
            Ok(_) => self.end_inflating(making, inflater, limits, pool).map(|()| true),
            Err(violation) => {
                self.put_inflater(inflater, pool);
                Err(violation)
            }
        }
    }

    /// All of a message is made.
    fn end_inflating(
        &mut self,
        making: Making,
        inflater: Box<Inflater>,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Result<(), Violation> {
        self.put_inflater(inflater, pool);
        let inflation = self.inflation.get_or_insert_default();
        inflation.credit = making.credit(inflation.credit, limits);
        // RFC 6455 §8.1, RFC 7692 §6.2: text is what comes out.
        match Assembly::whole(making.into_bytes(), self.kind.is_text()) {
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

    fn put_inflater(&mut self, inflater: Box<Inflater>, pool: &mut Pool) {
        if self.compression == Compression::Takeover {
            self.inflation.get_or_insert_default().window = Some(inflater);
        } else {
            pool.put_inflater(inflater);
        }
    }

    /// A message that is being inflated is not wanted any more.
    pub(super) fn drop_under_way(&mut self, pool: &mut Pool) {
        if let Some(under_way) = self.take_under_way(pool) {
            let UnderWay { inflater, payload, making, .. } = under_way;
            pool.put(payload);
            pool.put(making.into_bytes());
            self.put_inflater(inflater, pool);
        }
    }

    /// Memory of a message that is being inflated, compressed and not, and bytes that have a meaning there.
    pub(super) fn under_way_bytes(&self) -> (usize, usize) {
        let under_way = self.inflation.as_ref().and_then(|inflation| inflation.under_way.as_ref());
        under_way.map_or((0, 0), |under_way| {
            let UnderWay { payload, at, making, .. } = under_way;
            (payload.capacity() + making.capacity(), payload.len() - at + HEADROOM + making.len())
        })
    }

    /// Gives back all that is kept. True if the peer may refer to some of it.
    pub(super) fn drop_inflation(&mut self, pool: &mut Pool) -> bool {
        self.drop_under_way(pool);
        let window = self.inflation.take().and_then(|inflation| inflation.window);
        window.map(|window| pool.put_window(window)).is_some()
    }
}

/// Without DEFLATE nothing is negotiated, and the header of a compressed message is the fault already.
#[cfg(not(feature = "deflate"))]
impl Session {
    pub(super) fn inflate_held(&mut self, _: &mut Pace, _: &Limits, _: &mut Pool) -> Result<bool, Violation> {
        Err(Violation::ReservedBits)
    }

    pub(super) fn inflate(&mut self, _: &[u8], _: &mut Pace, _: &Limits, _: &mut Pool) -> Result<bool, Violation> {
        Err(Violation::ReservedBits)
    }

    pub(super) fn inflate_on(&mut self, _: &mut Pace, _: &Limits, _: &mut Pool) -> Result<bool, Violation> {
        Err(Violation::ReservedBits)
    }

    pub(super) fn drop_under_way(&mut self, _: &mut Pool) {}

    pub(super) fn under_way_bytes(&self) -> (usize, usize) {
        (0, 0)
    }

    pub(super) fn drop_inflation(&mut self, _: &mut Pool) -> bool {
        false
    }
}
