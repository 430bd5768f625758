//! A server that takes over from the one before it: [`Handover`].
//!
//! The listening sockets change their process, so that their queues do not end: nobody who connects meanwhile is refused or reset. `wire` owns what is said, `giving` is
//! the process that goes, this file the one that comes; `accord` whose the sockets are, and `line` carries that from one to the other. Promises that a start which fails leaves the other
//! process as it was. Refuses to know cores.

mod accord;
mod giving;
mod line;
mod peer;
mod wire;

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::drain::Drain;
use crate::error::Error;
use crate::handle::Handle;
use crate::listen::{Given, Key, SocketFile, Taken, bind_unix};
use accord::{Comes, Event, Word};
use line::Line;
use peer::credentials;
use wire::{ANSWER, Say, hear, say, wait};

pub use giving::Successor;
pub(crate) use giving::{Giver, Places};

/// How often a path is tried at which somebody comes or goes in that moment.
const TRIES: usize = 10;

/// A path at which a server hands its listening sockets to the one that comes after it: for [`Server::take_over`](crate::Server::take_over).
///
/// The process that comes connects to this Unix-domain socket, is given the sockets of all listeners (SCM_RIGHTS, unix(7)), binds what else it wants, and starts its cores. When all of them
/// accept it says so; both processes accept then. The process that goes agrees, and when the one that comes has said that it has heard that, it accepts nobody more; it serves on those whom it has accepted until their requests are answered, and then stops as by
/// [`Handle::stop`](crate::Handle::stop), or [drains](Self::drain). The sockets stay the same, so who connects meanwhile waits in their queues and is served by whichever accepts: nobody is refused or
/// reset. If the one that comes dies, hangs or fails before, the other goes on as if nothing had happened, with a line in the log. Afterwards the path is that of the new one.
///
/// A stop or a [drain](crate::Handle::drain) of the process that goes may begin at any time. A stop leaves all to the one that comes. In a drain it hands over all the same, and of two drains, that which was asked for and that
/// [of the hand-over](Self::drain), the one that ends sooner counts. Who asks at the path while a hand-over is under way waits for its end, and then takes over from whoever has the path by then; so a process
/// can come while an earlier one still drains.
///
/// Settings of sockets that were handed over ([`Config::backlog`](crate::Config::backlog), [`nodelay`](crate::Config::nodelay), [`socket_send_bytes`](crate::Config::socket_send_bytes),
/// [`socket_unsent_bytes`](crate::Config::socket_unsent_bytes)), and the [mode](crate::Listener::mode) of a file, are the kernel's and not a process's: they change when the new one has taken over, and not before. Whom it has accepted by then
/// has those of the process before.
///
/// Both must be of the same user, which each asks the kernel about the other (SO_PEERCRED); the file has the mode 0600. The two may have different numbers of cores and listeners, and
/// run on different [rings](crate::RingKind): each core accepts at each place, and each socket is accepted at by some core. Sockets stay as they were bound
/// ([`Listener::exclusive`](crate::Listener::exclusive), [`ipv4_too`](crate::Listener::ipv4_too)), with a line in the log where other settings are asked for. With fewer sockets than cores at a
/// place, several cores accept from one.
///
/// ```no_run
/// use wsring::{CoreCx, Cx, Error, Handler, Handover, Listener, Message, Opening, Server, Verdict};
///
/// struct Echo;
///
/// impl Handler for Echo {
///     type Conn = ();
///     type Mail = ();
///     fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
///         Verdict::accept(())
///     }
///     fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
///         let _ = cx.forward(message);
///     }
/// }
///
/// fn main() -> Result<(), Error> {
///     let server = Server::take_over(Handover::at("/run/echo/handover"))?.and_listen(Listener::tcp("0.0.0.0:9001"))?;
///     server.run(|_| Echo)?; // until the next one has taken over, or a signal comes
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Handover {
    path: PathBuf,
    manner: Manner,
}

/// How a server hands over.
#[derive(Clone, Debug)]
struct Manner {
    patience: Duration,
    /// None: a stop.
    drain: Option<Drain>,
}

impl Handover {
    /// At this path, of at most 107 bytes, in a folder that this user may write to and others may not.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), manner: Manner { patience: Duration::from_secs(30), drain: None } }
    }

    /// How long the process that goes waits until the one that comes is ready. Meanwhile it serves on; if that takes longer, it tells the other one, whose start
    /// fails. That of the process that goes counts, from [`Server::take_over`](crate::Server::take_over) to the end of `start`, handlers and their [`on_start`](crate::Handler::on_start) included: read what takes long before. That of the process
    /// that comes is how long each of its cores may take for `on_start`. Default 30 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.manner.patience = patience;
        self
    }

    /// How this server ends its connections when the next one has taken over, once it has answered the requests that had begun. Default: as by
    /// [`Handle::stop`](crate::Handle::stop), so that all clients come to the new one at the same time. [`Drain::at_least`] is of no use here: nobody comes to it any more.
    pub fn drain(mut self, drain: Drain) -> Self {
        self.manner.drain = Some(drain);
        self
    }
}

/// A hand-over that has begun, or will: of a server that does not run yet.
#[derive(Debug)]
pub(crate) struct Taking {
    path: PathBuf,
    manner: Manner,
    /// Where the next one asks.
    control: Socket,
    file: SocketFile,
    from: Option<Before>,
}

/// The process that goes.
#[derive(Debug)]
struct Before {
    conn: Socket,
    pid: u32,
    offers: Vec<Offer>,
}

/// Sockets at a place.
#[derive(Debug)]
struct Offer {
    number: usize,
    key: Key,
    taken: Option<Taken>,
}

impl Offer {
    /// This socket is one of them: by the number that the kernel has for it (fstat(2)).
    fn has(&self, socket: &Socket) -> bool {
        let identity = |socket: &Socket| rustix::fs::fstat(socket).ok().map(|stat| (stat.st_dev, stat.st_ino));
        let wanted = identity(socket);
        let sockets = self.taken.iter().flat_map(|taken| &taken.sockets);
        wanted.is_some() && sockets.into_iter().any(|known| identity(known) == wanted)
    }

    /// Where they are, whatever was asked for.
    fn is_at(&self, key: &Key) -> bool {
        let addr = self.taken.as_ref().and_then(|taken| taken.sockets[0].local_addr().ok()?.as_socket());
        matches!((key, addr), (Key::Tcp(wanted), Some(addr)) if *wanted == addr)
    }
}

impl Taking {
    /// Has the sockets of the process that is at the path, or takes the path if nobody is. Waits for that process, at most 10 s for each word.
    pub(crate) fn begin(handover: Handover) -> Result<Self, Error> {
        let Handover { path, manner } = handover;
        let failed = |source| Error::Handover { path: path.display().to_string(), source };
        let mut last = io::Error::new(ErrorKind::AddrInUse, "something that is no server has this path");
        for _ in 0..TRIES {
            match connect(&path) {
                Ok(conn) => match take(conn, &path, manner.clone()) {
                    // It ended meanwhile: somebody else may be there now, or nobody.
                    Err(error) if is_gone(&error) => {
                        last = error;
                        continue;
                    }
                    taken => return taken.map_err(failed),
                },
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(failed(error)),
            }
            match bind_unix(&path, Type::SEQPACKET, Some(0o600)) {
                Ok((control, file)) => {
                    control.set_nonblocking(true).map_err(failed)?;
                    return Ok(Self { path, manner, control, file, from: None });
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => {} // somebody was faster, and is there now
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(last))
    }

    /// The sockets at a place, if the other process has them and nobody has taken them yet. Where one was given to this process: those that are the same. One that is
    /// another, at the same place, is left to the other process, which serves who waits there before it closes it.
    pub(crate) fn take(&mut self, key: &Key, given: Option<&Socket>) -> Option<Taken> {
        let offers = &mut self.from.as_mut()?.offers;
        if let Some(given) = given {
            return offers.iter_mut().find(|offer| offer.has(given))?.taken.take();
        }
        let same = offers.iter().position(|offer| offer.taken.is_some() && offer.key == *key);
        let found = same.or_else(|| offers.iter().position(|offer| offer.is_at(key)))?;
        offers[found].taken.take()
    }

    /// How long cores may take until they accept.
    pub(crate) fn patience(&self) -> Duration {
        self.manner.patience
    }

    /// That they do not.
    pub(crate) fn failed(&self, why: &'static str) -> Error {
        Error::Handover { path: self.path.display().to_string(), source: io::Error::other(why) }
    }

    /// The process that goes, if there is one.
    pub(crate) fn pid(&self) -> Option<u32> {
        Some(self.from.as_ref()?.pid)
    }

    /// The places that it had and nobody here wants.
    pub(crate) fn unclaimed(&self) -> Vec<String> {
        let offers = self.from.iter().flat_map(|from| &from.offers);
        let unclaimed = offers.filter(|offer| offer.taken.is_some());
        unclaimed.map(|offer| offer.key.to_string()).collect()
    }

    /// All cores accept: from here on everything is this server's. What it does not want is closed.
    pub(crate) fn end(self) -> Result<Took, Error> {
        let unclaimed = self.unclaimed();
        let Self { path, manner, control, file, from } = self;
        let mut before = None;
        if let Some(Before { conn, offers, .. }) = from {
            let taken = offers.iter().filter(|offer| offer.taken.is_none()).map(|offer| offer.number).collect();
            drop(offers);
            agree(&conn, taken).map_err(|source| Error::Handover { path: path.display().to_string(), source })?;
            before = Some(conn);
        }
        file.set_ours(before.is_none());
        // So that who connects is told this process (SO_PEERCRED); of a socket that listens already nothing else changes.
        if let Err(error) = control.listen(i32::from(u8::MAX)) {
            tracing::warn!(%error, "the next server is told another process than this (listen(2))");
        }
        Ok(Took { control, file, manner, before, unclaimed })
    }
}

/// What a server has that has taken over, or begun.
pub(crate) struct Took {
    /// Where the next one asks.
    control: Socket,
    file: SocketFile,
    manner: Manner,
    /// To the process that goes: it ends when that one accepts nobody any more. Until then all is shared with it.
    before: Option<Socket>,
    unclaimed: Vec<String>,
}

impl Took {
    /// The places that the process before had and nobody here wanted.
    pub(crate) fn unclaimed(&self) -> &[String] {
        &self.unclaimed
    }

    /// Whether another process has it all too, for now.
    pub(crate) fn is_shared(&self) -> bool {
        self.before.is_some()
    }

    /// What hands over to the next one.
    pub(crate) fn giver<M>(self, places: Places, handle: Handle<M>, successor: Successor) -> Giver<M> {
        let Self { control, file, manner: Manner { patience, drain }, before, .. } = self;
        Giver { control, file, patience, drain, before, places, handle, successor }
    }
}

fn connect(path: &Path) -> io::Result<Socket> {
    let conn = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    conn.connect(&SockAddr::unix(path)?)?;
    Ok(conn)
}

/// Has what the process at the other end hands over.
fn take(conn: Socket, path: &Path, manner: Manner) -> io::Result<Taking> {
    let peer = credentials(&conn)?;
    if !peer.is_ours() {
        let why = "the process there belongs to another user (SO_PEERCRED), whose sockets are not to be trusted";
        return Err(io::Error::new(ErrorKind::PermissionDenied, why));
    }
    say(&conn, &Say::Hello, &[])?;
    let mut offers: Vec<Offer> = Vec::new();
    let mut control = None;
    let wrong = || io::Error::new(ErrorKind::InvalidData, "the process there says what makes no sense here");
    loop {
        // Before anything is heard somebody else may be being served, for as long as that one has.
        let patience =
            if offers.is_empty() && control.is_none() { manner.patience.saturating_add(ANSWER) } else { ANSWER };
        let (said, fds) = hear_within(&conn, patience)?;
        let mut fds = fds.into_iter();
        match said {
            Say::Place { number, is_shared, key } => {
                let socket = listening(fds.next().ok_or_else(wrong)?)?;
                let file = match (&key, fds.next()) {
                    (Key::Unix(path), Some(pin)) => match SocketFile::taken(path.clone(), pin) {
                        Some(file) => Some(file),
                        // The file is gone, or another's: nobody can connect to that socket any more.
                        None => continue,
                    },
                    _ => None,
                };
                let taken = Some(Taken { sockets: vec![socket], file, is_shared });
                offers.push(Offer { number, key, taken });
            }
            Say::More(number) => {
                let socket = listening(fds.next().ok_or_else(wrong)?)?;
                // Of none whose file is gone.
                let offer = offers.iter_mut().rfind(|offer| offer.number == number);
                if let Some(taken) = offer.and_then(|offer| offer.taken.as_mut()) {
                    taken.sockets.push(socket);
                }
            }
            Say::Control => {
                let (socket, pin) = (fds.next().ok_or_else(wrong)?, fds.next().ok_or_else(wrong)?);
                control = Some((Socket::from(socket), pin));
            }
            Say::All => break,
            Say::No(why) => return Err(io::Error::other(format!("the process there does not hand over: {why}"))),
            Say::Hello | Say::Ready(_) | Say::Yours | Say::Mine => return Err(wrong()),
        }
    }
    let (control, pin) = control.ok_or_else(wrong)?;
    let gone = || io::Error::new(ErrorKind::NotFound, "its file was removed meanwhile");
    let file = SocketFile::taken(std::path::absolute(path)?, pin).ok_or_else(gone)?;
    let from = Some(Before { conn, pid: peer.pid, offers });
    Ok(Taking { path: path.to_owned(), manner, control, file, from })
}

/// A socket that listens, as is looked at with those that are given.
fn listening(socket: OwnedFd) -> io::Result<Socket> {
    let (socket, _) = Given::new(socket).check().map_err(io::Error::other)?;
    Ok(socket)
}

fn hear_within(conn: &Socket, patience: Duration) -> io::Result<(Say, Vec<OwnedFd>)> {
    match wait(&[conn.as_fd()], Some(patience))? {
        Some(_) => hear(conn),
        None => Err(late()),
    }
}

fn late() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "the process there does not answer in time")
}

/// The other process has ended the connection, in whatever way.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// Has these places for its own, or fails.
fn agree(conn: &Socket, taken: Vec<usize>) -> io::Result<()> {
    let (mut line, mut comes) = (Line::new(conn, None, taken), Comes::Ready);
    let mut last = None;
    while let Some(step) = comes.next() {
        let event = line.take(step, ANSWER);
        tracing::debug!(?comes, ?event, "a hand-over");
        comes = comes.on(event);
        last = Some(event);
    }
    if comes == Comes::Fails {
        return Err(match last {
            Some(Event::Heard(Word::No)) => io::Error::other(format!("the process there goes on: {}", line.why())),
            Some(Event::Late) => late(),
            _ => line.why(),
        });
    }
    if last == Some(Event::Gone) {
        tracing::warn!("the process that was taken over from is gone without a word: its sockets are this one's");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
