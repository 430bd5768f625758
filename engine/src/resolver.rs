//! Looks up the names of hosts on threads of its own, so that a core never waits for a name server.
//!
//! getaddrinfo(3) blocks, for as long as the machine's configuration says. A process has at most [`THREADS_MAX`] of these
//! threads, made when there is something to look up and ended when there is not.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Mutex;

/// Lookups at once; others wait their turn, within the deadline of who asked.
const THREADS_MAX: usize = 8;
/// Addresses of a name that are tried.
const ADDRS_MAX: usize = 16;

/// A name to look up, and what to do with its addresses.
struct Lookup {
    host: String,
    port: u16,
    tell: Box<dyn FnOnce(io::Result<Vec<SocketAddr>>) + Send>,
}

struct Queue {
    waiting: VecDeque<Lookup>,
    threads: usize,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { waiting: VecDeque::new(), threads: 0 });

/// Has `tell` called with the addresses of `host`, on another thread.
pub(crate) fn look_up(host: String, port: u16, tell: impl FnOnce(io::Result<Vec<SocketAddr>>) + Send + 'static) {
    let mut queue = QUEUE.lock().expect("no lookup panics with the queue");
    queue.waiting.push_back(Lookup { host, port, tell: Box::new(tell) });
    if queue.threads >= THREADS_MAX {
        return;
    }
    match std::thread::Builder::new().name("wsring-names".to_owned()).spawn(work) {
        Ok(_) => queue.threads += 1,
        // Others are at work and will come to it.
        Err(_) if queue.threads > 0 => {}
        Err(error) => {
            let lookup = queue.waiting.pop_back();
            drop(queue);
            lookup.into_iter().for_each(|lookup| (lookup.tell)(Err(io::Error::new(error.kind(), error.to_string()))));
        }
    }
}

fn work() {
    loop {
        let mut queue = QUEUE.lock().expect("no lookup panics with the queue");
        let Some(Lookup { host, port, tell }) = queue.waiting.pop_front() else {
            queue.threads -= 1;
            return;
        };
        drop(queue);
        let found = (host.as_str(), port).to_socket_addrs().map(|addrs| addrs.take(ADDRS_MAX).collect());
        tell(found);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn many_names_at_once_are_all_answered() {
        let (sender, receiver) = mpsc::channel();
        for port in 1..=50 {
            let sender = sender.clone();
            look_up("localhost".to_owned(), port, move |found| sender.send((port, found)).expect("awaited"));
        }
        drop(sender);
        let mut ports: Vec<u16> = receiver
            .into_iter()
            .map(|(port, found)| {
                let addrs = found.expect("localhost has an address");
                assert!(!addrs.is_empty() && addrs.iter().all(|addr| addr.ip().is_loopback() && addr.port() == port));
                port
            })
            .collect();
        ports.sort_unstable();
        assert_eq!(ports, (1..=50).collect::<Vec<u16>>());
    }

    #[test]
    fn a_name_that_is_none_is_an_error() {
        let (sender, receiver) = mpsc::channel();
        look_up("no such host.invalid".to_owned(), 80, move |found| sender.send(found).expect("awaited"));
        receiver.recv().expect("answered").expect_err("no such name");
    }
}
