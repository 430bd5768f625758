//! Short visits to a server, one after the other without a pause, while something is done to it: what became of each, in words.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::client::{CLOSE, TEXT, WAIT, bounded, client_frame};
use crate::http::upgrade_head;
use crate::patient::patiently;

/// How visits ended, and how many so: `served`, the status of an answer that is no upgrade, the code of a Close, or an error.
pub type Ends = BTreeMap<String, u64>;

/// One visit: it asks for an upgrade, waits for the greeting if the server has one, and sends so many messages, each when the one before has come back.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    pub greeting: Option<&'static str>,
    pub messages: usize,
}

impl Visit {
    pub fn tcp(self, addr: SocketAddr) -> io::Result<String> {
        let stream = TcpStream::connect_timeout(&addr, WAIT)?;
        bounded(&stream);
        self.over(stream)
    }

    pub fn unix(self, path: &Path) -> io::Result<String> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(WAIT))?;
        self.over(stream)
    }

    /// Over this stream. An end without a word is an error.
    pub fn over(self, stream: impl Read + Write) -> io::Result<String> {
        let mut guest = Guest { stream, said: Vec::new() };
        guest.stream.write_all(upgrade_head("/").as_bytes())?;
        let head = guest.head()?;
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Ok(String::from_utf8_lossy(&head[9..12]).into_owned());
        }
        let question = std::iter::repeat_n("question", self.messages);
        for (number, text) in self.greeting.into_iter().chain(question).enumerate() {
            if number > 0 || self.greeting.is_none() {
                guest.say(TEXT, text.as_bytes())?;
            }
            let (opcode, payload) = guest.frame()?;
            if opcode == CLOSE {
                let _ = guest.say(CLOSE, &payload); // it may have gone
                return Ok(u16::from_be_bytes([payload[0], payload[1]]).to_string());
            }
            assert_eq!((opcode, String::from_utf8_lossy(&payload)), (TEXT, text.into()));
        }
        Ok("served".to_owned())
    }
}

struct Guest<S> {
    stream: S,
    said: Vec<u8>,
}

impl<S: Read + Write> Guest<S> {
    fn more(&mut self) -> io::Result<()> {
        let mut piece = [0; 4096];
        match patiently(|| self.stream.read(&mut piece))? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "an end without a word")),
            len => {
                self.said.extend_from_slice(&piece[..len]);
                Ok(())
            }
        }
    }

    fn head(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.said.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(self.said.drain(..end + 4).collect());
            }
            self.more()?;
        }
    }

    /// A whole short frame: its opcode and payload.
    fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            if let [first, len, rest @ ..] = &self.said[..] {
                let (opcode, len) = (first & 15, usize::from(*len));
                assert!(first & 0xf0 == 0x80 && len < 126, "no short message: {:?}", self.said);
                if rest.len() >= len {
                    let payload = rest[..len].to_vec();
                    self.said.drain(..2 + len);
                    return Ok((opcode, payload));
                }
            }
            self.more()?;
        }
    }

    fn say(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = Vec::new();
        client_frame(&mut frame, true, opcode, payload, [1, 2, 3, 4]);
        self.stream.write_all(&frame)
    }
}

/// What whoever works on the server knows of its visitors.
#[derive(Debug, Default)]
pub struct Visitors {
    over: AtomicBool,
    visits: AtomicU64,
    failed: AtomicBool,
}

impl Visitors {
    /// Waits until so many more have come; or not, once one of them has failed the test.
    pub fn wait_for(&self, more: u64) {
        let share = self.visits.load(Ordering::Relaxed) + more;
        while self.visits.load(Ordering::Relaxed) < share && !self.failed.load(Ordering::Relaxed) {
            thread::yield_now();
        }
    }

    fn come(&self, visit: impl Fn() -> io::Result<String>) -> Ends {
        let mut ends = Ends::new();
        while !self.over.load(Ordering::Relaxed) {
            let end = visit().unwrap_or_else(|error| error.to_string());
            *ends.entry(end).or_default() += 1;
            self.visits.fetch_add(1, Ordering::Relaxed);
        }
        ends
    }
}

/// Whoever holds one tells, in whatever way it goes.
struct Tells<'a>(&'a AtomicBool);

impl Drop for Tells<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Has as many visitors come, each by a thread that visits again and again, while `work` is done. How all visits ended.
pub fn while_visited<V>(visits: impl IntoIterator<Item = V>, work: impl FnOnce(&Visitors)) -> Ends
where
    V: Fn() -> io::Result<String> + Send,
{
    let visitors = Visitors::default();
    let mut ends = Ends::new();
    thread::scope(|scope| {
        let come = |visit: V| {
            let visitors = &visitors;
            scope.spawn(move || {
                let failed = Tells(&visitors.failed);
                let ends = visitors.come(visit);
                std::mem::forget(failed);
                ends
            })
        };
        let threads: Vec<_> = visits.into_iter().map(come).collect();
        let over = Tells(&visitors.over);
        work(&visitors);
        drop(over);
        for thread in threads {
            let of_thread = thread.join().expect("no visitor fails");
            of_thread.into_iter().for_each(|(end, count)| *ends.entry(end).or_default() += count);
        }
    });
    ends
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    /// A stream on which all this has been said.
    struct Said(&'static [u8], Vec<u8>);

    impl Read for Said {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let len = to.len().min(1);
            self.0.read(&mut to[..len])
        }
    }

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_end_has_its_word() {
        let visit = Visit { greeting: Some("hello"), messages: 1 };
        let over = |said| visit.over(Said(said, Vec::new()));
        let end = |said| over(said).expect("an end that is told");
        assert_eq!(end(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), "503");
        assert_eq!(end(b"HTTP/1.1 101 \r\n\r\n\x81\x05hello\x88\x02\x03\xe9"), "1001");
        assert_eq!(end(b"HTTP/1.1 101 \r\n\r\n\x81\x05hello\x81\x08question"), "served");
        assert!(over(b"HTTP/1.1 101 \r\n\r\n\x81\x05hello").is_err() && over(b"").is_err());
        assert!(catch_unwind(|| visit.over(Said(b"HTTP/1.1 101 \r\n\r\n\x81\x05other", Vec::new()))).is_err());
    }

    #[test]
    fn they_come_until_the_work_is_done() {
        let ends = while_visited([0, 1].map(|_| || Ok("served".to_owned())), |visitors| visitors.wait_for(10));
        assert!(ends.len() == 1 && ends["served"] >= 10, "{ends:?}");
    }

    #[test]
    fn one_that_fails_ends_the_work() {
        let fails = || -> io::Result<String> { panic!("an assertion of a visit") };
        let all = || drop(while_visited([fails], |visitors| visitors.wait_for(10)));
        assert!(catch_unwind(all).is_err());
    }
}
