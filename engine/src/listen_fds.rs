//! Sockets that systemd leaves to a process that it starts: [`ListenFds`].
//!
//! Promises that they are taken once, by the process that they are for. Refuses to know what they are: `listen/given` looks at them.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::{env, process};

use listenfd::ListenFd;

use crate::error::Error;
use crate::listen::{Given, Listener};

/// Descriptors that a process can be given; more are a mistake.
const FDS_MAX: usize = 4096;
/// SD_LISTEN_FDS_START.
const FIRST: usize = 3;

/// The listening sockets that systemd, or whoever else starts processes so, has opened for this one: LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES
/// (sd_listen_fds(3)). They have the names that `FileDescriptorName=` gives them in the unit, which is the unit's own if it says nothing.
///
/// systemd keeps them while the server is restarted, so that nobody who connects meanwhile is refused: connections wait in the queue for the next one. That is
/// why a stop leaves the queue alone here ([`Listener::shared`]).
///
/// ```no_run
/// use wsring::{Error, ListenFds, Listener, Server};
///
/// let mut sockets = ListenFds::from_env()?;
/// let public = sockets.take("public").unwrap_or_else(|| Listener::tcp("127.0.0.1:9001"));
/// let server = Server::listen(public)?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct ListenFds(Vec<(String, Given)>);

impl ListenFds {
    /// Takes what the environment says, once: a second call finds nothing. Each is closed on exec(2) from then on. Nothing if LISTEN_PID is another
    /// process. It changes the environment, so call it before threads are started ([`std::env::remove_var`]).
    ///
    /// # Errors
    /// [`Error::Bind`] if LISTEN_FDS is no number of descriptors that this process can have. What is wrong with one of them is said when its listener is bound.
    pub fn from_env() -> Result<Self, Error> {
        let var = |name: &str| env::var(name).ok();
        if var("LISTEN_PID").and_then(|pid| pid.parse().ok()) != Some(process::id()) {
            return Ok(Self(Vec::new()));
        }
        let Some(count) = var("LISTEN_FDS") else { return Ok(Self(Vec::new())) };
        let Some(count) = count.parse().ok().filter(|count| *count <= FDS_MAX) else {
            let source = io::Error::new(ErrorKind::InvalidInput, format!("{count:?} is not 0 to {FDS_MAX}"));
            return Err(Error::Bind { addr: "LISTEN_FDS".to_owned(), source });
        };
        let names = var("LISTEN_FDNAMES").unwrap_or_default();
        let (mut fds, mut names) = (ListenFd::from_env(), names.split(':'));
        let take = |index: usize| {
            let name = names.next().unwrap_or_default().to_owned();
            let mut of = |family| fds.take_custom(index, family, libc::SOCK_STREAM, "stream").ok().flatten();
            let socket: Option<OwnedFd> = of(libc::AF_INET).or_else(|| of(libc::AF_UNIX));
            let socket = socket.ok_or("it is no socket of a stream over TCP or in the Unix domain");
            let told = format!("descriptor {} of LISTEN_FDS ({name})", FIRST + index);
            (name, Given::named(told, socket))
        };
        Ok(Self((0..count).map(take).collect()))
    }

    /// The name of each, in order; several may have the same.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Whether there are none, or none left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes those of this name, for one listener. None if there are none.
    pub fn take(&mut self, name: &str) -> Option<Listener> {
        let taken = self.0.extract_if(.., |(its, _)| its == name).map(|(_, given)| given).collect();
        Self::listener(taken)
    }

    fn listener(given: Vec<Given>) -> Option<Listener> {
        (!given.is_empty()).then(|| Listener::given(given).shared(true))
    }
}

/// A listener for each, with its name.
impl IntoIterator for ListenFds {
    type Item = (String, Listener);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        let listener = |(name, given)| (name, Listener::given(vec![given]).shared(true));
        self.0.into_iter().map(listener).collect::<Vec<_>>().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The variables are another process's, or say nothing.
    #[test]
    fn nothing_is_taken_that_is_not_ours() {
        assert!(ListenFds::from_env().expect("no variables").is_empty());
    }
}
