//! What comes back, held against what was sent.
//!
//! Owns: where each connection stands in its stream of replies. Promises: a reply is counted only when its header and length
//! are exact. Refuses to know: sockets, time.

use super::Frames;
use crate::deflate;
use crate::fault::Fault;

/// Where one connection stands in its stream of replies.
#[derive(Debug, Default)]
pub struct Replies {
    /// Which frame the next reply answers; always below `distinct`.
    index: usize,
    /// Bytes of that reply that have come; always below its length.
    pub(super) got: usize,
    /// The same for replies that differ in length.
    deflated: deflate::Reply,
    /// Payload bytes of all replies that have come whole.
    payload_bytes: u64,
}

impl Replies {
    /// Replies to a stream that begins with frame `index`.
    pub fn from_frame(index: usize) -> Replies {
        Replies { index, ..Replies::default() }
    }

    /// Payload bytes of the replies so far, as they travelled: the messages', or what they were compressed to.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Takes what was received and says how many replies it completed. Headers are always compared, bodies if `check`.
    /// `in_flight` messages may be answered; a byte more is [`Fault::Unasked`]. Allocates only for a fault.
    pub fn feed(&mut self, frames: &Frames, mut bytes: &[u8], in_flight: u32, check: bool) -> Result<u32, Fault> {
        if let Some(context) = frames.deflated {
            return self.feed_deflated(frames, context, bytes, in_flight, check);
        }
        let mut finished = 0;
        let head = &frames.head[..];
        let reply_len = frames.reply_len();
        while !bytes.is_empty() {
            if finished == in_flight {
                return Err(Fault::Unasked);
            }
            if self.got < head.len() {
                let step = bytes.len().min(head.len() - self.got);
                if let Some(wrong) = (0..step).find(|&i| bytes[i] != head[self.got + i]) {
                    let found = [&head[..self.got], &bytes[..=wrong]].concat();
                    return Err(Fault::Head { expected: head.to_vec(), found });
                }
                self.got += step;
                bytes = &bytes[step..];
            }
            let step = bytes.len().min(reply_len - self.got);
            if check && step > 0 {
                let begin = self.got - head.len();
                let expected = &frames.body(self.index)[begin..begin + step];
                if *expected != bytes[..step] {
                    let same = expected.iter().zip(bytes).take_while(|(a, b)| a == b).count();
                    return Err(Fault::Byte { at: begin + same });
                }
            }
            bytes = &bytes[step..];
            finished += u32::from(self.step(frames, step));
        }
        Ok(finished)
    }

    /// Takes `len` bytes of a reply's body that nobody has looked at, and says whether the reply is whole. Its head has been
    /// fed, and the body has so many bytes left. Where it ends the last of the `in_flight` replies and `more` has come behind it,
    /// that is [`Fault::Unasked`]: when the next head is fed, another message may be in flight.
    pub fn discarded(&mut self, frames: &Frames, len: usize, in_flight: u32, more: bool) -> Result<bool, Fault> {
        debug_assert!(frames.deflated.is_none() && self.got >= frames.head.len());
        assert!(len <= frames.reply_len() - self.got, "no more than this reply's");
        let is_whole = self.step(frames, len);
        if is_whole && more && in_flight == 1 { Err(Fault::Unasked) } else { Ok(is_whole) }
    }

    /// Goes on by `len` bytes of the reply that has begun, at most to its end; says whether that has come.
    fn step(&mut self, frames: &Frames, len: usize) -> bool {
        self.got += len;
        let is_whole = self.got == frames.reply_len();
        if is_whole {
            self.got = 0;
            self.index = (self.index + 1) % frames.distinct;
            self.payload_bytes += frames.size as u64;
        }
        is_whole
    }

    fn feed_deflated(
        &mut self,
        frames: &Frames,
        context: deflate::Context,
        mut bytes: &[u8],
        in_flight: u32,
        check: bool,
    ) -> Result<u32, Fault> {
        let mut finished = 0;
        while !bytes.is_empty() {
            if finished == in_flight {
                return Err(Fault::Unasked);
            }
            let (used, whole) = self.deflated.feed(frames.message(self.index), context, bytes, check)?;
            bytes = &bytes[used..];
            if let Some(len) = whole {
                self.index = (self.index + 1) % frames.distinct;
                self.payload_bytes += len as u64;
                finished += 1;
            }
        }
        Ok(finished)
    }
}
