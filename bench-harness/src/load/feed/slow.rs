//! A reader of a feed that reads less than it is sent.
//!
//! Owns when it reads, and what that has shown of the age of values. Promises that a step is one read of as many bytes as its rate allows, with those that
//! were not there at earlier steps (a window opens late), and that what lay in the sockets before it is known where the kernel tells. Refuses to know what a value says.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};

use hdrhistogram::Histogram;

use super::judge::Reader;
use super::told::{Readers, Told, say};
use crate::load::texts::Texts;
use crate::sockets::{self, Sockets};

/// Steps of a reader in a second.
pub const STEPS: u64 = 10;
/// Of what it is sent, a slow reader reads one part in so many.
const SLOWNESS: u64 = 100;
/// Bytes of a value as it travels, about.
const VALUE_LEN: u64 = 96;
/// Bytes of one read where nothing holds it back.
const READ_MAX: usize = 256 << 10;

/// A slow reader.
pub struct Slow {
    stream: TcpStream,
    /// Its server's end.
    ends: (SocketAddr, SocketAddr),
    pub texts: Texts,
    pub reader: Reader,
    /// Waits for the answer to a question for its counts.
    pub asked: bool,
    /// Bytes that it could not read so far for want of any, of those that its rate allows.
    lacked: u64,
    /// The greatest age of a value that it read, in nanoseconds, and the most bytes that lay in its sockets before a step.
    age_max: u64,
    lay_max: u64,
}

/// What all slow readers have shown.
#[derive(Clone, Debug)]
pub struct Ages {
    /// Nanoseconds from publishing to reading.
    pub ages: Histogram<u64>,
    /// The greatest age beyond what the bytes in the sockets of its reader account for, in nanoseconds; none if the kernel does not
    /// tell of them.
    pub beyond: Option<u64>,
}

/// Bytes that a slow reader of this feed reads in a second.
pub fn bytes_per_second(slow: Readers, keys: u32, rate: u32) -> u64 {
    (u64::from(slow.keys) * u64::from(rate) * VALUE_LEN / u64::from(keys) / SLOWNESS).max(STEPS)
}

impl Slow {
    pub fn new(stream: TcpStream, reader: Reader) -> io::Result<Slow> {
        let ends = (stream.peer_addr()?, stream.local_addr()?);
        Ok(Slow { stream, ends, texts: Texts::default(), reader, asked: false, lacked: 0, age_max: 0, lay_max: 0 })
    }

    /// Says something to the server. It is short, and whoever does not read what it asked for would have to wait.
    pub fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        say(&mut self.stream, bytes)
    }

    /// Looks at what lies in the sockets.
    pub fn look(&mut self, sockets: &Sockets) -> io::Result<()> {
        let lies =
            u64::from(sockets.unacknowledged(self.ends.0, self.ends.1)?) + u64::from(sockets::unread(&self.stream)?);
        self.lay_max = self.lay_max.max(lies);
        Ok(())
    }

    /// Reads at most `most` bytes once; true if there may be more. `told` takes what they said.
    pub fn read(&mut self, most: u64, buffer: &mut Vec<u8>, told: &mut Told<'_>) -> io::Result<bool> {
        let lacked_max = most.saturating_mul(STEPS);
        let allowed = most.saturating_add(self.lacked);
        let most = usize::try_from(allowed).map_or(READ_MAX, |allowed| allowed.min(READ_MAX));
        buffer.resize(READ_MAX, 0);
        let got = match self.stream.read(&mut buffer[..most]) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
            Ok(got) => got,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(error) => return Err(error),
        };
        self.lacked = ((most - got) as u64).min(lacked_max);
        if got == 0 {
            return Ok(false);
        }
        let Slow { texts, reader, asked, age_max, stream, .. } = self;
        told.take(&buffer[..got], texts, reader, asked, stream, &mut |age| *age_max = (*age_max).max(age))?;
        Ok(got == most)
    }

    /// Forgets the ages and bytes so far.
    pub fn begin(&mut self) {
        (self.age_max, self.lay_max) = (0, 0);
    }

    /// How much older than the bytes in its sockets account for, at its rate, the oldest value was that it has read.
    pub fn beyond(&self, bytes_per_second: u64) -> u64 {
        beyond(self.age_max, self.lay_max, bytes_per_second)
    }
}

fn beyond(age_max: u64, lay_max: u64, bytes_per_second: u64) -> u64 {
    age_max.saturating_sub(lay_max * 1_000_000_000 / bytes_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_reads_a_hundredth() {
        // 200 of 1,000 keys at 50,000 updates/s are 10,000 a second, of 96 bytes each.
        assert_eq!(bytes_per_second(Readers { count: 50, keys: 200 }, 1000, 50_000), 9600);
        assert_eq!(bytes_per_second(Readers { count: 1, keys: 1 }, 100_000, 1), STEPS);
    }

    #[test]
    fn an_age_is_held_against_what_lay_in_the_sockets() {
        assert_eq!(beyond(12_000_000_000, 96_000, 9600), 2_000_000_000);
        assert_eq!(beyond(9_000_000_000, 96_000, 9600), 0);
    }
}
