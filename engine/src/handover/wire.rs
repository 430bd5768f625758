//! What two processes say to each other at a hand-over, over a connection of the Unix domain that keeps messages apart (SOCK_SEQPACKET, unix(7)), and descriptors that go
//! with it (SCM_RIGHTS).
//!
//! ```text
//! the one that comes               the one that goes
//! hello 2                     ->
//!                             <-   place 0 0 tcp 0.0.0.0:9001     with a socket
//!                             <-   more 0                         with a further socket at that place, as often as there is one
//!                             <-   place 1 0 unix /run/x          with a socket, and its file
//!                             <-   control                        with the socket at which hand-overs are asked for, and its file
//!                             <-   all
//!   ... binds what is missing, starts its cores, which accept ...
//! ready 0 1                   ->                                  the places that it has taken
//!                             <-   yours
//! mine                        ->
//!                                  ... accepts nobody more, and ends the connection when that is so ...
//! ```
//! Either may say `no WHY` instead, or go: then nothing has happened. What follows from each word, and from its want, is `accord`'s.
//!
//! Owns the words. Promises that nothing is read beyond [`MESSAGE_MAX`] bytes, that descriptors which nobody expects are closed, and that what was said is heard, also of one that
//! has ended the connection since.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use socket2::Socket;

use super::accord::Word;
use crate::listen::Key;

/// How long the other one may take for its part.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// Bytes of a message.
const MESSAGE_MAX: usize = 32 << 10;
/// Descriptors that go with one.
const FDS_MAX: usize = 2;
/// Places of a server.
pub(super) const PLACES_MAX: usize = 4096;

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Say {
    Hello,
    Place { number: usize, is_shared: bool, key: Key },
    More(usize),
    Control,
    All,
    Ready(Vec<usize>),
    Yours,
    Mine,
    No(String),
}

impl Say {
    /// What it means for whose the sockets are.
    pub(super) fn word(&self) -> Word {
        match self {
            Say::Ready(_) => Word::Ready,
            Say::Yours => Word::Yours,
            Say::Mine => Word::Mine,
            Say::No(_) => Word::No,
            Say::Hello | Say::Place { .. } | Say::More(_) | Say::Control | Say::All => Word::Other,
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Say::Hello => b"hello 2".to_vec(),
            Say::Place { number, is_shared, key } => {
                let mut said = format!("place {number} {} ", u8::from(*is_shared)).into_bytes();
                match key {
                    Key::Tcp(addr) => said.extend_from_slice(format!("tcp {addr}").as_bytes()),
                    Key::Unix(path) => {
                        said.extend_from_slice(b"unix ");
                        said.extend_from_slice(path.as_os_str().as_bytes());
                    }
                }
                said
            }
            Say::More(number) => format!("more {number}").into_bytes(),
            Say::Control => b"control".to_vec(),
            Say::All => b"all".to_vec(),
            Say::Ready(places) => {
                let mut said = "ready".to_owned();
                places.iter().for_each(|place| said += &format!(" {place}"));
                said.into_bytes()
            }
            Say::Yours => b"yours".to_vec(),
            Say::Mine => b"mine".to_vec(),
            Say::No(why) => format!("no {why}").into_bytes(),
        }
    }

    fn parse(said: &[u8]) -> Option<Say> {
        let (word, rest) = split(said);
        let number = |text: &[u8]| -> Option<usize> {
            std::str::from_utf8(text).ok()?.parse().ok().filter(|number| *number < PLACES_MAX)
        };
        Some(match word {
            b"hello" if rest == b"2" => Say::Hello,
            b"place" => {
                let (place, rest) = split(rest);
                let (shared, rest) = split(rest);
                let key = match split(rest) {
                    (b"tcp", addr) => Key::Tcp(std::str::from_utf8(addr).ok()?.parse().ok()?),
                    (b"unix", path) if !path.is_empty() => Key::Unix(Path::new(OsStr::from_bytes(path)).to_owned()),
                    _ => return None,
                };
                Say::Place { number: number(place)?, is_shared: shared == b"1", key }
            }
            b"more" => Say::More(number(rest)?),
            b"control" => Say::Control,
            b"all" => Say::All,
            b"ready" => {
                let places = rest.split(|byte| *byte == b' ').filter(|text| !text.is_empty());
                Say::Ready(places.map(number).collect::<Option<_>>()?)
            }
            b"yours" => Say::Yours,
            b"mine" => Say::Mine,
            b"no" => Say::No(String::from_utf8_lossy(rest).into_owned()),
            _ => return None,
        })
    }
}

/// The first word, and what stands behind the blank.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b' ') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}

/// Says something, with descriptors, at most [`FDS_MAX`].
pub(super) fn say(conn: &Socket, said: &Say, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = said.to_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)), "{} descriptors", fds.len());
    }
    loop {
        match sendmsg(conn, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            sent => return sent.map(drop).map_err(Into::into),
        }
    }
}

/// What the other one says next, with the descriptors that came with it. An end is [`ErrorKind::UnexpectedEof`].
pub(super) fn hear(conn: &Socket) -> io::Result<(Say, Vec<OwnedFd>)> {
    let mut bytes = vec![0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        match recvmsg(conn, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            // The other end was closed with something unread: that is told once, before what it had said (unix(7) has no word of it).
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
            got => break got?,
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if got.bytes == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if got.flags.contains(ReturnFlags::CTRUNC) {
        let why = "sockets that are handed over are lost, for want of descriptors (RLIMIT_NOFILE, getrlimit(2))";
        return Err(io::Error::other(why));
    }
    let said = Say::parse(&bytes[..got.bytes]).filter(|_| !got.flags.contains(ReturnFlags::TRUNC));
    let said = said.ok_or_else(|| {
        io::Error::new(ErrorKind::InvalidData, "the other process says what this version does not understand")
    })?;
    Ok((said, fds))
}

/// Waits until there is something on one of these, or nobody any more, and says on which: the last, if on several. `None`: not in time.
pub(super) fn wait(on: &[BorrowedFd<'_>], patience: Option<Duration>) -> io::Result<Option<usize>> {
    let timeout =
        patience.map_or(PollTimeout::NONE, |patience| PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX));
    let mut asked: Vec<PollFd<'_>> = on.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    loop {
        match poll(&mut asked, timeout) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(asked.iter().rposition(|fd| fd.any().unwrap_or(true))),
        }
    }
}

/// Whether the other one has ended the connection, in whatever way; what it had said before may be there still.
pub(super) fn has_gone(conn: &Socket) -> io::Result<bool> {
    let mut asked = [PollFd::new(conn.as_fd(), PollFlags::empty())];
    loop {
        match poll(&mut asked, PollTimeout::ZERO) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(asked[0].revents().is_some_and(|told| told.contains(PollFlags::POLLHUP))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::net::{Shutdown, SocketAddr, TcpListener};

    use socket2::{Domain, Type};

    use super::*;

    fn pair() -> (Socket, Socket) {
        Socket::pair(Domain::UNIX, Type::SEQPACKET, None).expect("two sockets")
    }

    #[test]
    fn what_is_said_is_heard() {
        let (one, other) = pair();
        let addr = |text: &str| Key::Tcp(text.parse::<SocketAddr>().expect("an address"));
        for said in [
            Say::Hello,
            Say::Place { number: 0, is_shared: false, key: addr("127.0.0.1:9001") },
            Say::Place { number: 4095, is_shared: true, key: addr("[::1]:0") },
            Say::Place { number: 7, is_shared: false, key: Key::Unix("/run/a b\nc".into()) },
            Say::More(3),
            Say::Control,
            Say::All,
            Say::Ready(vec![]),
            Say::Ready((0..4096).collect()),
            Say::Yours,
            Say::Mine,
            Say::No("because of this".to_owned()),
        ] {
            say(&one, &said, &[]).expect("it goes out");
            let (heard, fds) = hear(&other).expect("it comes");
            assert_eq!((heard, fds.len()), (said, 0));
        }
        drop(one);
        assert_eq!(hear(&other).expect_err("nobody is there").kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        for said in [
            "",
            "hello 1",
            "place",
            "place 0 0",
            "place 0 0 tcp 1.2.3.4",
            "place x 0 unix /a",
            "more 4096",
            "ready a",
            "what",
        ] {
            assert_eq!(Say::parse(said.as_bytes()), None, "{said}");
        }
        let (one, other) = pair();
        one.send(&vec![b'a'; MESSAGE_MAX + 1]).expect("it goes out");
        assert_eq!(hear(&other).expect_err("too long").kind(), ErrorKind::InvalidData);
    }

    /// They arrive closed on exec(2), and what nobody takes is closed.
    #[test]
    fn descriptors_go_with_it() {
        let (one, other) = pair();
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        say(&one, &Say::Control, &[writer.as_fd(), listener.as_fd()]).expect("it goes out");
        drop(writer);
        let (said, mut fds) = hear(&other).expect("it comes");
        assert_eq!((said, fds.len()), (Say::Control, 2));
        let mut writer = File::from(fds.remove(0));
        for fd in [writer.as_fd(), fds[0].as_fd()] {
            let flags = rustix::io::fcntl_getfd(fd).expect("a descriptor");
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
        writer.write_all(b"here").expect("it is open");
        drop(writer);
        let mut read = String::new();
        reader.read_to_string(&mut read).expect("it ends");
        assert_eq!(read, "here");
    }

    #[test]
    fn a_wait_ends_with_what_it_watches() {
        let (one, other) = pair();
        let (mine, theirs) = pair();
        let waited = |patience| wait(&[other.as_fd(), mine.as_fd()], patience).expect("poll(2)");
        assert_eq!(waited(Some(Duration::ZERO)), None);
        say(&one, &Say::All, &[]).expect("it goes out");
        assert_eq!(waited(None), Some(0));
        drop(theirs);
        assert_eq!(waited(None), Some(1));
        assert_eq!(wait(&[other.as_fd()], None).expect("poll(2)"), Some(0));
    }
    /// The last word of one that has ended the connection is heard, whatever it has left unread.
    #[test]
    fn an_end_with_something_unread_hides_nothing() {
        let (one, other) = pair();
        say(&other, &Say::Ready(vec![0]), &[]).expect("it goes out");
        say(&one, &Say::No("because of this".to_owned()), &[]).expect("it goes out");
        drop(one);
        assert_eq!(hear(&other).expect("it was said").0, Say::No("because of this".to_owned()));
        assert_eq!(hear(&other).expect_err("nobody is there").kind(), ErrorKind::UnexpectedEof);
    }

    /// Also for one that listens no more itself.
    #[test]
    fn who_is_there_is_not_taken_for_gone() {
        let (one, other) = pair();
        assert!(!has_gone(&one).expect("poll(2)"));
        one.shutdown(Shutdown::Read).expect("a connection");
        assert!(!has_gone(&one).expect("poll(2)"), "it is there");
        assert!(say(&other, &Say::Mine, &[]).is_err());
        drop(other);
        assert!(has_gone(&one).expect("poll(2)"));
    }
}
