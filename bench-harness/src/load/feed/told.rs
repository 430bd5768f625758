//! What readers are told, on its way from a socket to everything that is counted.
//!
//! Owns nothing of a reader. Promises that each value and each count is judged before it counts, that a ping is answered, and that whatever else a
//! server says is an error. Refuses to know who reads, and when.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;

use hdrhistogram::Histogram;

use super::judge::Reader;
use super::update::{self, Counts, Line};
use crate::load::texts::{self, Said, Texts, wrong};
use crate::proc;

/// So many readers, and the keys of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readers {
    /// How many.
    pub count: u32,
    /// Keys that each subscribes to.
    pub keys: u32,
}

/// Where everything that readers are told goes.
pub struct Told<'a> {
    pub now: u64,
    /// When readers began to subscribe: what is published for them is not older.
    pub since: u64,
    /// The newest number of each key that anybody has seen.
    pub newest: &'a mut [u64],
    /// Ages of values, if they count.
    pub ages: Option<&'a mut Histogram<u64>>,
    /// Values that came, but retained ones; bytes of all messages.
    pub updates: u64,
    pub bytes: u64,
    /// The sum of the counts that came.
    pub counts: &'a mut Counts,
}

impl Told<'_> {
    /// Takes what a reader has received; `aged` is told the age of each value, if it counts.
    pub fn take(
        &mut self,
        bytes: &[u8],
        texts: &mut Texts,
        reader: &mut Reader,
        asked: &mut bool,
        stream: &mut TcpStream,
        aged: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        texts.feed(bytes, |said| {
            let text = match said {
                Said::Message(text) => text,
                Said::Ping(payload) => return say(stream, &texts::pong(payload)),
            };
            self.bytes += text.len() as u64;
            match update::line(text) {
                Some(Line::Update(update)) => {
                    if !reader.take(&update).map_err(|why| wrong(why.to_string()))? {
                        return Ok(());
                    }
                    if update.at > self.now {
                        // It was published while this is read, however long that takes; or by another clock.
                        self.now = proc::monotonic_nanos();
                    }
                    if update.at > self.now || update.at < self.since {
                        let (since, now) = (self.since, self.now);
                        return Err(wrong(format!("t is {}, CLOCK_MONOTONIC {since} to {now}", update.at)));
                    }
                    let age = self.now.saturating_sub(update.at).max(1);
                    self.updates += 1;
                    let newest = &mut self.newest[update.key as usize];
                    *newest = (*newest).max(update.seq);
                    if let Some(ages) = &mut self.ages {
                        ages.saturating_record(age);
                        aged(age);
                    }
                }
                Some(Line::Counts(counts)) => {
                    if !std::mem::take(asked) {
                        return Err(wrong("counts that nobody asked for".to_owned()));
                    }
                    reader.hold(&counts).map_err(|why| wrong(why.to_string()))?;
                    self.counts.published += counts.published;
                    self.counts.sent += counts.sent;
                    self.counts.waiting += counts.waiting;
                    self.counts.conflated += counts.conflated;
                    self.counts.dropped += counts.dropped;
                }
                None => return Err(wrong(format!("the server said {:?}", String::from_utf8_lossy(text)))),
            }
            Ok(())
        })
    }
}

/// Sends something short at once; a socket that is full of it is no reader's.
pub fn say(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    loop {
        match stream.write(bytes) {
            Ok(sent) if sent == bytes.len() => return Ok(()),
            Ok(_) => return Err(io::Error::new(ErrorKind::WriteZero, "the server does not read what it is asked")),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
