//! The process that goes: it hands its listening sockets to whoever asks for them at its path, and when that one is ready it accepts nobody more, serves those whom it
//! has accepted, and stops or drains.
//!
//! Promises that until the other one has said that all is its own nothing has changed, whatever becomes of it; and that who waits in the queue of a socket
//! that was taken is never answered, nor reset, here. Refuses to know how sockets are bound and cores stop, and what words mean (`accord`).

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use socket2::{SockRef, Socket};

use super::accord::Goes;
use super::line::Line;
use super::peer::{Credentials, credentials};
use super::wire::{ANSWER, PLACES_MAX, Say, has_gone, hear, say, wait};
use crate::config::Config;
use crate::drain::Drain;
use crate::engine::Leaving;
use crate::handle::Handle;
use crate::listen::{Key, SocketFile, listen};
use crate::listening::Listening;

/// When accepts begin anew after another process that had the sockets has gone, the last first: at once, and later, because what an io_uring that was not ended in order has
/// with the kernel ends some time after its process.
const AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_millis(100), Duration::ZERO];
/// When it is tried again to accept one that cannot be, for want of descriptors.
const RETRY: Duration = Duration::from_millis(100);
/// How long somebody who has connected has to say what he wants.
const HELLO: Duration = Duration::from_secs(5);

/// Who has taken over from a server, if anybody has: see [`Running::successor`](crate::Running::successor).
#[derive(Clone, Debug, Default)]
pub struct Successor(Arc<OnceLock<u32>>);

impl Successor {
    /// The number of the process, 0 if that is not to be seen from here (pid_namespaces(7)). None: nobody has.
    pub fn pid(&self) -> Option<u32> {
        self.0.get().copied()
    }
}

/// A place to hand over.
struct Place {
    key: Key,
    /// Others than the two have it too.
    is_shared: bool,
    /// Others have opened the sockets.
    is_taken: bool,
    /// Open as long as a core accepts there.
    sockets: Vec<Weak<TcpListener>>,
    file: Option<Arc<SocketFile>>,
    /// That the file is to have, once it is this server's.
    mode: Option<u32>,
}

/// What a server can hand over.
pub(crate) struct Places {
    places: Vec<Place>,
    /// Of each core, the place of each of its listeners.
    posts: Vec<Vec<usize>>,
}

impl Places {
    pub(crate) fn of(listening: &Listening) -> Self {
        let place = |(number, key): (usize, &Key)| {
            let at = listening.posts.iter().flatten().filter(|post| post.gate == number);
            let mut sockets: Vec<Weak<TcpListener>> = Vec::new();
            for post in at {
                let socket = Arc::downgrade(&post.listener);
                if !sockets.iter().any(|known| known.ptr_eq(&socket)) {
                    sockets.push(socket);
                }
            }
            let file = listening.files[number].clone();
            let (is_shared, is_taken) = (listening.shared[number], listening.taken[number]);
            Place { key: key.clone(), is_shared, is_taken, sockets, file, mode: listening.modes[number] }
        };
        let places = listening.keys.iter().enumerate().map(place).collect();
        let posts = listening.posts.iter().map(|posts| posts.iter().map(|post| post.gate).collect()).collect();
        Self { places, posts }
    }

    /// They are this server's, and files are its to remove.
    pub(crate) fn own<M>(&self, handle: &Handle<M>) {
        self.share(handle, |_| false);
        self.places.iter().flat_map(|place| &place.file).for_each(|file| file.set_ours(true));
    }

    /// Sets what is this server's to set of sockets that others have opened, and of their files: such settings are the kernel's, and so those of all processes that have
    /// the sockets. From here on nothing fails: where that cannot be, all stays as the process before had it.
    pub(crate) fn set_up(&self, config: &Config) {
        for place in self.places.iter().filter(|place| place.is_taken) {
            let mut sockets = place.sockets.iter().filter_map(Weak::upgrade);
            let set = sockets.try_for_each(|socket| listen(&SockRef::from(&socket), config));
            let moded = place.file.iter().zip(place.mode).try_for_each(|(file, mode)| file.set_mode(mode));
            for error in [set, moded].into_iter().filter_map(Result::err) {
                tracing::error!(place = %place.key, %error, "what was handed over stays as the process before has set it");
            }
        }
    }

    /// Takes off what a process that was stopping has put before a socket in the moment in which it handed it over.
    fn open(&self) {
        for socket in self.places.iter().flat_map(|place| &place.sockets).filter_map(Weak::upgrade) {
            let _ = SockRef::from(&socket).detach_filter(); // hardly ever there is one
        }
    }

    /// Tells the cores at which places another process accepts as well: those that somebody has for good, and those of which `also` says so.
    pub(crate) fn share<M>(&self, handle: &Handle<M>, also: impl Fn(usize) -> bool) {
        for (core, posts) in handle.places().zip(&self.posts) {
            let is_shared = |place: &usize| self.places[*place].is_shared || also(*place);
            handle.member(core).share(posts.iter().map(is_shared).collect());
        }
    }
}

/// Hands over, on a thread of its own.
pub(crate) struct Giver<M> {
    /// Where the next one asks.
    pub(super) control: Socket,
    pub(super) file: SocketFile,
    pub(super) patience: Duration,
    pub(super) drain: Option<Drain>,
    /// To the process from which this one has taken over, which accepts too until that ends.
    pub(super) before: Option<Socket>,
    pub(super) places: Places,
    pub(super) handle: Handle<M>,
    pub(super) successor: Successor,
}

impl<M> Giver<M> {
    /// Until somebody has taken over, or all cores have ended: then there is something on `alive`.
    pub(crate) fn run(mut self, alive: &UnixStream) {
        let mut again = Vec::new();
        loop {
            let mut on = vec![self.control.as_fd()];
            on.extend(self.before.as_ref().map(|before| before.as_fd()));
            on.push(alive.as_fd());
            let last = on.len() - 1;
            match wait(&on, again.last().copied()) {
                Ok(Some(0)) => {}
                Ok(Some(number)) if number == last => {
                    // All at the same time: files are for this one to remove.
                    if self.before.as_ref().is_some_and(|before| has_gone(before).unwrap_or(false)) {
                        self.own();
                    }
                    return;
                }
                Ok(Some(_)) => {
                    self.own();
                    self.places.open();
                    again = AGAIN.to_vec();
                    continue;
                }
                Ok(None) => {
                    again.pop();
                    self.handle.places().for_each(|core| self.handle.member(core).accept_again());
                    continue;
                }
                Err(error) => return tracing::error!(%error, "no hand-over any more: poll(2) fails"),
            }
            let conn = match self.control.accept() {
                Ok((conn, _)) => conn,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue, // he is gone again
                Err(error) => {
                    tracing::warn!(%error, "another process wants to take over, and cannot be accepted");
                    thread::sleep(RETRY);
                    continue;
                }
            };
            match self.hand(&conn, alive) {
                Ok(Some(taken_by)) => {
                    tracing::info!(pid = taken_by.pid, "another process has taken over");
                    return self.leave(conn);
                }
                Ok(None) => return,
                // It comes to an end without a word, and looks for itself who is there now.
                Err(_) if has_ended(alive) => return,
                Err(error) => {
                    // Where it has not been told yet; it may be gone, and then need not be.
                    let _ = say(&conn, &Say::No(error.to_string()), &[]);
                    tracing::warn!(%error, "another process wanted to take over, and has not");
                    again = AGAIN.to_vec();
                }
            }
        }
    }

    /// What was handed over is no other process's any more.
    fn own(&mut self) {
        self.before = None;
        self.places.own(&self.handle);
        self.file.set_ours(true);
    }

    /// One hand-over. An error: nothing has happened. `None`: the server has ended meanwhile, and what the other one has been given is its own.
    fn hand(&self, conn: &Socket, alive: &UnixStream) -> io::Result<Option<Credentials>> {
        let peer = credentials(conn)?;
        if !peer.is_ours() {
            let why = "it belongs to another user than this process (SO_PEERCRED)";
            return Err(io::Error::new(ErrorKind::PermissionDenied, why));
        }
        // If it does not read what it is sent it must not hold up the end of this server.
        conn.set_write_timeout(Some(self.patience.max(HELLO)))?;
        self.greet(conn, alive)?;
        let mut both = Both::begin(self);
        self.send(conn)?;
        let mut line = Line::new(conn, Some(alive), Vec::new());
        let (end, taken) = match agree(&mut line, self.patience, ANSWER) {
            Goes::Leaves => (Some(peer), line.taken),
            Goes::Ended => (None, (0..self.places.places.len()).collect()),
            _ => return Err(line.why()),
        };
        both.taken = Some(taken);
        if end.is_some() {
            let _ = self.successor.0.set(peer.pid); // once: it leaves then
        }
        Ok(end)
    }

    /// Hears that the other one wants what this one has.
    fn greet(&self, conn: &Socket, alive: &UnixStream) -> io::Result<()> {
        let said = match wait(&[conn.as_fd(), alive.as_fd()], Some(HELLO))? {
            Some(0) => hear(conn)?.0,
            Some(_) => return Err(io::Error::other("the server has ended")),
            None => return Err(io::Error::new(ErrorKind::TimedOut, "it does not say what it wants")),
        };
        if said != Say::Hello {
            return Err(io::Error::new(ErrorKind::InvalidData, "it is another version of wsring"));
        }
        if self.places.places.len() > PLACES_MAX {
            return Err(io::Error::other("there are more listeners than can be handed over"));
        }
        Ok(())
    }

    fn send(&self, conn: &Socket) -> io::Result<()> {
        for (number, Place { key, is_shared, sockets, file, .. }) in self.places.places.iter().enumerate() {
            let sockets: Vec<Arc<TcpListener>> = sockets.iter().filter_map(Weak::upgrade).collect();
            let Some((first, others)) = sockets.split_first() else { continue };
            let mut fds = vec![first.as_fd()];
            fds.extend(file.as_ref().map(|file| file.pin()));
            say(conn, &Say::Place { number, is_shared: *is_shared, key: key.clone() }, &fds)?;
            for socket in others {
                say(conn, &Say::More(number), &[socket.as_fd()])?;
            }
        }
        say(conn, &Say::Control, &[self.control.as_fd(), self.file.pin()])?;
        say(conn, &Say::All, &[])
    }

    /// The other one has these places, or may have; and the path for hand-overs.
    fn settle(&self, is_others: impl Fn(usize) -> bool, has_path: bool) {
        self.places.share(&self.handle, &is_others);
        for (number, place) in self.places.places.iter().enumerate() {
            place.file.iter().for_each(|file| file.set_ours(!is_others(number)));
        }
        self.file.set_ours(!has_path);
    }

    /// It has been taken over from.
    fn leave(self, conn: Socket) {
        let Self { control, file, places, handle, drain, before, .. } = self;
        drop((control, file, places));
        handle.stop_accepting();
        let wait_until = |far| handle.places().for_each(|core| handle.member(core).control.wait_until(far));
        wait_until(Leaving::Closed);
        if let Some(before) = before {
            // Three have the sockets while that one accepts too: the last of them begins anew when both have gone.
            let _ = wait(&[before.as_fd()], Some(ANSWER));
        }
        drop(conn); // the other one is alone from here on
        wait_until(Leaving::Left);
        match drain {
            Some(drain) => handle.drain(drain),
            None => handle.stop(),
        }
    }
}

/// Whose the sockets are in the end, of one that starts, may take so long for that, and then for each further word.
pub(super) fn agree(line: &mut Line<'_>, start: Duration, answer: Duration) -> Goes {
    let mut goes = Goes::Given;
    while let Some(step) = goes.next() {
        let event = line.take(step, if goes == Goes::Given { start } else { answer });
        tracing::debug!(?goes, ?event, "a hand-over");
        goes = goes.on(event);
    }
    goes
}

/// All cores have ended.
fn has_ended(alive: &UnixStream) -> bool {
    wait(&[alive.as_fd()], Some(Duration::ZERO)).is_ok_and(|ended| ended.is_some())
}

/// While two processes have the sockets a stop of this one must not touch what is the other's too: who waits in the queues, and files. When this goes, it is
/// settled whose they are.
struct Both<'a, M> {
    giver: &'a Giver<M>,
    /// By the other one, which was ready.
    taken: Option<Vec<usize>>,
}

impl<'a, M> Both<'a, M> {
    fn begin(giver: &'a Giver<M>) -> Self {
        giver.settle(|_| true, true);
        Self { giver, taken: None }
    }
}

impl<M> Drop for Both<'_, M> {
    fn drop(&mut self) {
        match self.taken.as_deref() {
            Some(taken) => self.giver.settle(|place| taken.contains(&place), true),
            // The one before it may have them still.
            None => self.giver.settle(|_| self.giver.before.is_some(), self.giver.before.is_some()),
        }
    }
}
