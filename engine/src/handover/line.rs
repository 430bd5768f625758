//! The connection between the two at a hand-over, from the moment in which one has been given all: it takes the steps of `accord` and says what came of them.
//!
//! Promises that one that is told `no` hears it, whatever it has not read yet: else it would take this one for dead. Refuses to know what follows from an event.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket2::Socket;

use super::accord::{Event, Step, Word};
use super::wire::{Say, has_gone, hear, say, wait};

/// Room for one word more, of a connection that is full. The kernel may give less (net.core.wmem_max, socket(7)), and twice of what it gives.
const ROOM: usize = 1 << 20;

/// One of the two, and how it ends.
pub(super) struct Line<'a> {
    conn: &'a Socket,
    /// There is something on it when this server has come to its end.
    alive: Option<&'a UnixStream>,
    /// Places that the one that comes has taken: said, or heard.
    pub(super) taken: Vec<usize>,
    /// Why nothing came of it, if so.
    why: Option<io::Error>,
}

impl<'a> Line<'a> {
    pub(super) fn new(conn: &'a Socket, alive: Option<&'a UnixStream>, taken: Vec<usize>) -> Self {
        Self { conn, alive, taken, why: None }
    }

    /// Takes a step. A word is waited for so long.
    pub(super) fn take(&mut self, step: Step, patience: Duration) -> Event {
        let event = match step {
            Step::Say(word) => self.say(word),
            Step::Hear => self.hear(patience),
            Step::HearLast => match self.conn.shutdown(Shutdown::Read).and_then(|()| hear(self.conn)) {
                Ok((said, _)) => Ok(self.note(said)),
                Err(_) => Ok(Event::Late),
            },
            Step::Look => has_gone(self.conn).map(|gone| if gone { Event::Gone } else { Event::There }),
        };
        let event = event.unwrap_or_else(|error| {
            let event = match error.kind() {
                ErrorKind::UnexpectedEof => return Event::Gone,
                ErrorKind::TimedOut => Event::Late,
                _ => Event::Heard(Word::Other),
            };
            self.why.get_or_insert(error);
            event
        });
        if event == Event::Gone {
            self.why.get_or_insert_with(gone);
        }
        event
    }

    fn say(&mut self, word: Word) -> io::Result<Event> {
        let said = match word {
            Word::Ready => Say::Ready(self.taken.clone()),
            Word::Yours => Say::Yours,
            Word::Mine => Say::Mine,
            Word::No | Word::Other => {
                let _ = self.conn.set_send_buffer_size(ROOM);
                Say::No(self.why.as_ref().map_or_else(String::new, io::Error::to_string))
            }
        };
        match say(self.conn, &said, &[]) {
            Ok(()) => Ok(Event::Said),
            Err(_) => {
                self.why.get_or_insert_with(gone);
                Ok(Event::Unsaid)
            }
        }
    }

    fn hear(&mut self, patience: Duration) -> io::Result<Event> {
        let on: Vec<_> = [Some(self.conn.as_fd()), self.alive.map(AsFd::as_fd)].into_iter().flatten().collect();
        match wait(&on, Some(patience))? {
            Some(0) => hear(self.conn).map(|(said, _)| self.note(said)),
            Some(_) => Ok(Event::Over),
            None => Err(io::Error::new(ErrorKind::TimedOut, "it took longer than is waited for it")),
        }
    }

    fn note(&mut self, said: Say) -> Event {
        let word = said.word();
        match said {
            Say::Ready(taken) => self.taken = taken,
            Say::No(why) => self.why = Some(io::Error::other(why)),
            Say::Yours | Say::Mine => {}
            _ => {
                self.why.get_or_insert_with(nonsense);
            }
        }
        Event::Heard(word)
    }

    /// Why nothing came of it.
    pub(super) fn why(self) -> io::Error {
        self.why.unwrap_or_else(nonsense)
    }
}

fn gone() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "it has gone before it had taken over")
}

fn nonsense() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "it says what makes no sense here")
}
