//! Which core accepts at which socket. Promises that each socket is accepted at by some core, and that each core accepts at every place, however many
//! sockets there are. Refuses to know who opened them.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::gate::Gate;
use crate::listen::{Bound, Key, SocketFile, addrs_of};

/// A socket at which a core accepts.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    /// std's type of a socket that listens, of whatever domain.
    pub(crate) listener: Arc<TcpListener>,
    /// The number of its listener's settings, and of its place.
    pub(crate) gate: usize,
    /// Other cores accept there too.
    pub(crate) has_others: bool,
    /// Somebody else has opened it.
    pub(crate) is_taken: bool,
}

/// The listeners of a server that starts.
pub(crate) struct Listening {
    /// Of each core.
    pub(crate) posts: Vec<Vec<Post>>,
    /// By place.
    pub(crate) gates: Vec<Gate>,
    /// By place: what it is called, whether other processes have the sockets too, and whether they have opened them.
    pub(crate) keys: Vec<Key>,
    pub(crate) shared: Vec<bool>,
    pub(crate) taken: Vec<bool>,
    /// By place: the mode that its file is to have when nobody else has it any more.
    pub(crate) modes: Vec<Option<u32>>,
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) paths: Vec<PathBuf>,
    /// By place, of those of the Unix domain that are this server's.
    pub(crate) files: Vec<Option<Arc<SocketFile>>>,
}

impl Listening {
    /// Nothing, on so many cores.
    pub(crate) fn nowhere(cores: usize) -> Self {
        let posts = (0..cores).map(|_| Vec::new()).collect();
        let (gates, keys, shared, taken, modes) = (vec![], vec![], vec![], vec![], vec![]);
        Self { posts, gates, keys, shared, taken, modes, addrs: vec![], paths: vec![], files: vec![] }
    }

    /// At these, on so many cores, at least one.
    pub(crate) fn at(bound: Vec<Bound>, cores: usize) -> Result<Self, Error> {
        let mut listening = Self {
            gates: bound.iter().map(|bound| bound.gate.clone()).collect(),
            keys: bound.iter().map(|bound| bound.key.clone()).collect(),
            shared: bound.iter().map(|bound| bound.is_shared).collect(),
            taken: bound.iter().map(|bound| bound.is_taken).collect(),
            modes: bound.iter().map(|bound| bound.mode).collect(),
            addrs: addrs_of(&bound)?,
            paths: bound.iter().filter_map(Bound::path).collect(),
            files: bound.iter().map(|bound| bound.file.clone()).collect(),
            ..Self::nowhere(cores)
        };
        for (gate, bound) in bound.into_iter().enumerate() {
            let is_taken = bound.is_taken;
            let sockets = bound.for_cores(cores)?;
            let count = sockets.len();
            for (number, socket) in sockets.into_iter().enumerate() {
                let listener = Arc::new(TcpListener::from(socket));
                let accepts = |core: &usize| accepts_at(*core, cores, number, count);
                let has_others = (0..cores).filter(accepts).count() > 1;
                for core in (0..cores).filter(accepts) {
                    let listener = Arc::clone(&listener);
                    listening.posts[core].push(Post { listener, gate, has_others, is_taken });
                }
            }
        }
        Ok(listening)
    }
}

/// Whether a core is one of those that accept at a socket of so many.
fn accepts_at(core: usize, cores: usize, socket: usize, sockets: usize) -> bool {
    if sockets < cores { core % sockets == socket } else { socket % cores == core }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_socket_has_a_core_and_every_core_a_socket() {
        for (cores, sockets) in (1..10).flat_map(|cores| (1..10).map(move |sockets| (cores, sockets))) {
            let at = |core, socket| accepts_at(core, cores, socket, sockets);
            for socket in 0..sockets {
                let count = (0..cores).filter(|&core| at(core, socket)).count();
                assert!((1..=cores.div_ceil(sockets)).contains(&count), "{count} of {cores} cores at one of {sockets}");
            }
            for core in 0..cores {
                let count = (0..sockets).filter(|&socket| at(core, socket)).count();
                assert!((1..=sockets.div_ceil(cores)).contains(&count), "{count} of {sockets} for one of {cores}");
            }
        }
    }
}
