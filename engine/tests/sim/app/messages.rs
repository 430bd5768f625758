//! Messages that the application gives away, writes in place, or sends in bulk.

use wsring::bytes::Bytes;
use wsring::ring::sim::Random;
use wsring::{ConnId, Message, OwnedMessage};

use super::super::given::Given;
use super::super::oracle::Digest;
use super::{App, Core};

/// Long messages of which compressing leaves little, in one run.
const BULK_MAX: u32 = 12;

impl App {
    /// It sends long messages as well that compress to little.
    pub fn and_bulk(mut self, bulk: Option<Random>) -> Self {
        self.bulk = bulk.map(|random| (random, BULK_MAX));
        self
    }

    /// Gives one message away to several.
    pub(super) fn give(&mut self, cx: &mut Core<'_>, id: ConnId, message: Message<'_>) {
        let bytes = Bytes::from_owner(Given::new(message.as_bytes(), &self.world.given));
        let owned = match message {
            Message::Text(_) => OwnedMessage::text(bytes).expect("it is text"),
            Message::Binary(_) => bytes.into(),
        };
        for _ in 0..self.random.range(1, 3) {
            let id = self.somebody().unwrap_or(id);
            let owned = owned.clone();
            self.send_by(cx, id, message, |conn| conn.send_owned(owned));
        }
    }

    /// Writes a message in place, or spoils it.
    pub(super) fn write(&mut self, cx: &mut Core<'_>, id: ConnId, message: Message<'_>) {
        let (bytes, spoilt) = (message.as_bytes(), self.random.chance(300));
        match message {
            Message::Binary(_) => {
                self.send_by(cx, id, message, |conn| conn.send_with(bytes.len(), |place| place.copy_from_slice(bytes)))
            }
            Message::Text(_) if spoilt && !bytes.is_empty() => {
                let Some(mut conn) = self.conn(cx, id) else { return };
                let queued = conn.queued();
                let outcome = conn.send_text_with(bytes.len(), |place| place.fill(0xff));
                assert_eq!(conn.queued(), queued, "what is no text was queued");
                if let Ok(outcome) = outcome {
                    assert!(!outcome.is_queued(), "what is no text was taken");
                    self.sent(id, Digest::of(true, bytes), outcome);
                }
            }
            Message::Text(_) => self.send_by(cx, id, message, |conn| {
                let outcome = conn.send_text_with(bytes.len(), |place| place.copy_from_slice(bytes));
                outcome.expect("it is text")
            }),
        }
    }

    /// Sends a few long messages of which compressing leaves little, and what it leaves is long enough to have memory of its own.
    pub(super) fn send_bulk(&mut self, cx: &mut Core<'_>, id: ConnId) {
        let Some((random, left)) = &mut self.bulk else { return };
        if *left == 0 || !random.chance(200) {
            return;
        }
        let count = random.range(1, u64::from(*left)) as u32;
        *left -= count;
        let (len, noise) = (random.range(20_000, 150_000) as usize, random.range(100, 9_000) as usize);
        for _ in 0..count {
            let Some((random, _)) = &mut self.bulk else { return };
            let mut message: Vec<u8> = (0..noise).map(|_| random.bits() as u8).collect();
            message.resize(len, b'-');
            self.send_to(cx, id, Message::Binary(&message));
        }
    }
}
