//! Looks up the names of hosts on threads of its own, so that a core never waits for a name server.
//!
//! getaddrinfo(3) blocks, for as long as the machine's configuration says. Promises that a name is looked up once for all who ask meanwhile,
//! so that one whose servers are silent holds up one thread; that a process has at most [`THREADS_MAX`] of these threads, made when
//! there is something to look up and ended when there is not; that [`NAMES_MAX`] names wait at most; and that a name for which nobody
//! waits any more is not looked up.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, MutexGuard, Weak};

/// Lookups at once; others wait their turn, within the deadline of who asked.
const THREADS_MAX: usize = 64;
/// Names that wait to be looked up.
const NAMES_MAX: usize = 4096;
/// Enough for the C library and the modules that it looks names up by.
const STACK_BYTES: usize = 512 << 10;

/// What a name is looked up for: gone when that is not wanted any more.
pub(crate) type Wanted = Weak<()>;

/// Who wants to know, and what to do with the addresses.
struct Asker {
    port: u16,
    wanted: Wanted,
    tell: Box<dyn FnOnce(io::Result<Vec<SocketAddr>>) + Send>,
}

impl Asker {
    fn tell(self, found: &io::Result<Vec<IpAddr>>) {
        let port = self.port;
        (self.tell)(match found {
            Ok(addrs) => Ok(addrs.iter().map(|addr| SocketAddr::new(*addr, port)).collect()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        });
    }
}

#[derive(Default)]
struct Queue {
    /// In the order in which they were asked for.
    waiting: VecDeque<String>,
    /// Who wants to know each of them, and each that is being looked up.
    askers: HashMap<String, Vec<Asker>>,
    threads: usize,
}

/// The names that are wanted, and what looks them up.
struct Lookups {
    queue: Mutex<Option<Queue>>,
    find: fn(&str) -> io::Result<Vec<IpAddr>>,
    threads_max: usize,
    names_max: usize,
}

static LOOKUPS: Lookups = Lookups::new(find, THREADS_MAX, NAMES_MAX);

/// Has `tell` called with the addresses of `host`, on another thread, unless that is not wanted any more by then.
pub(crate) fn look_up(
    host: String,
    port: u16,
    wanted: Wanted,
    tell: impl FnOnce(io::Result<Vec<SocketAddr>>) + Send + 'static,
) {
    LOOKUPS.look_up(host, Asker { port, wanted, tell: Box::new(tell) });
}

/// getaddrinfo(3), in the order of RFC 6724.
fn find(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|addr| addr.ip()).collect())
}

impl Lookups {
    const fn new(find: fn(&str) -> io::Result<Vec<IpAddr>>, threads_max: usize, names_max: usize) -> Self {
        Self { queue: Mutex::new(None), find, threads_max, names_max }
    }

    fn queue(&self) -> MutexGuard<'_, Option<Queue>> {
        self.queue.lock().expect("no lookup panics with the queue")
    }

    fn look_up(&'static self, host: String, asker: Asker) {
        let mut lock = self.queue();
        let queue = lock.get_or_insert_default();
        if let Some(askers) = queue.askers.get_mut(&host) {
            // A name that hangs for ever is asked for again and again.
            if askers.len() == askers.capacity() {
                askers.retain(|asker| asker.wanted.strong_count() > 0);
            }
            return askers.push(asker);
        }
        if queue.waiting.len() >= self.names_max {
            drop(lock);
            return asker
                .tell(&Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many names wait to be looked up")));
        }
        queue.waiting.push_back(host.clone());
        queue.askers.insert(host.clone(), vec![asker]);
        if queue.threads >= self.threads_max {
            return;
        }
        let thread = std::thread::Builder::new().name("wsring-names".to_owned()).stack_size(STACK_BYTES);
        match thread.spawn(move || self.work()) {
            Ok(_) => queue.threads += 1,
            // Others are at work and will come to it.
            Err(_) if queue.threads > 0 => {}
            Err(error) => {
                queue.waiting.pop_back();
                let askers = queue.askers.remove(&host);
                drop(lock);
                askers.into_iter().flatten().for_each(|asker| {
                    asker.tell(&Err(io::Error::new(error.kind(), error.to_string())));
                });
            }
        }
    }

    fn work(&self) {
        while let Some(host) = self.next() {
            let found = (self.find)(&host);
            let askers = self.queue().as_mut().and_then(|queue| queue.askers.remove(&host));
            askers.into_iter().flatten().for_each(|asker| asker.tell(&found));
        }
    }

    /// A name that somebody still waits for; if there is none the thread ends.
    fn next(&self) -> Option<String> {
        let mut lock = self.queue();
        let queue = lock.as_mut()?;
        while let Some(host) = queue.waiting.pop_front() {
            let askers = queue.askers.get_mut(&host).expect("each that waits has been asked for");
            askers.retain(|asker| asker.wanted.strong_count() > 0);
            if !askers.is_empty() {
                return Some(host);
            }
            queue.askers.remove(&host);
        }
        queue.threads -= 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar, mpsc};
    use std::time::Duration;

    use super::*;

    /// A test that waits for longer has failed.
    const WAIT: Duration = Duration::from_secs(60);

    fn wanted() -> (Arc<()>, Wanted) {
        let wanted = Arc::new(());
        let weak = Arc::downgrade(&wanted);
        (wanted, weak)
    }

    #[test]
    fn many_names_at_once_are_all_answered() {
        let (_wanted, weak) = wanted();
        let (sender, receiver) = mpsc::channel();
        for port in 1..=50 {
            let sender = sender.clone();
            look_up("localhost".to_owned(), port, weak.clone(), move |found| {
                sender.send((port, found)).expect("awaited")
            });
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
        let (_wanted, weak) = wanted();
        let (sender, receiver) = mpsc::channel();
        look_up("no such host.invalid".to_owned(), 80, weak, move |found| sender.send(found).expect("awaited"));
        receiver.recv().expect("answered").expect_err("no such name");
    }

    /// Names that hang until they are let go, and how many are being looked up.
    struct Gate {
        open: Mutex<bool>,
        opened: Condvar,
        looked_up: AtomicUsize,
        begun: Mutex<Option<mpsc::Sender<String>>>,
    }

    impl Gate {
        const fn new() -> Self {
            Self {
                open: Mutex::new(false),
                opened: Condvar::new(),
                looked_up: AtomicUsize::new(0),
                begun: Mutex::new(None),
            }
        }

        /// Names that begin with "slow" hang.
        fn find(&self, host: &str) -> io::Result<Vec<IpAddr>> {
            self.looked_up.fetch_add(1, Ordering::Relaxed);
            let begun = self.begun.lock().expect("nobody panics");
            begun.iter().for_each(|begun| begun.send(host.to_owned()).expect("awaited"));
            drop(begun);
            if host.starts_with("slow") {
                let open = self.open.lock().expect("nobody panics");
                drop(self.opened.wait_while(open, |open| !*open).expect("nobody panics"));
            }
            Ok(vec![IpAddr::from([127, 0, 0, 1])])
        }

        fn open(&self) {
            *self.open.lock().expect("nobody panics") = true;
            self.opened.notify_all();
        }

        fn begun(&self) -> mpsc::Receiver<String> {
            let (sender, receiver) = mpsc::channel();
            *self.begun.lock().expect("nobody panics") = Some(sender);
            receiver
        }
    }

    type Answers = (mpsc::Sender<(u16, bool)>, mpsc::Receiver<(u16, bool)>);

    fn ask(lookups: &'static Lookups, host: &str, port: u16, wanted: &Wanted, answers: &Answers) {
        let sender = answers.0.clone();
        let tell = Box::new(move |found: io::Result<Vec<SocketAddr>>| {
            let is_found = found.is_ok_and(|addrs| addrs.iter().all(|addr| addr.port() == port));
            let _ = sender.send((port, is_found)); // the test may be over
        });
        lookups.look_up(host.to_owned(), Asker { port, wanted: wanted.clone(), tell });
    }

    /// Of eight dials to a silent name one thread knows; whoever asks for another is answered meanwhile.
    #[test]
    fn a_name_that_hangs_holds_up_nobody_else() {
        static GATE: Gate = Gate::new();
        static LOOKUPS: Lookups = Lookups::new(|host| GATE.find(host), 2, 100);
        let ((_wanted, weak), answers) = (wanted(), mpsc::channel());
        let begun = GATE.begun();
        (0..8).for_each(|port| ask(&LOOKUPS, "slow", port, &weak, &answers));
        assert_eq!(begun.recv_timeout(WAIT).expect("it is looked up"), "slow");
        ask(&LOOKUPS, "quick", 9, &weak, &answers);
        assert_eq!(answers.1.recv_timeout(WAIT), Ok((9, true)));
        GATE.open();
        let mut ports: Vec<_> = (0..8).map(|_| answers.1.recv_timeout(WAIT).expect("all are told").0).collect();
        ports.sort_unstable();
        assert_eq!(ports, (0..8).collect::<Vec<_>>());
        assert_eq!(GATE.looked_up.load(Ordering::Relaxed), 2, "each name once");
    }

    /// A name that nobody waits for any more is not looked up; and no more wait than may.
    #[test]
    fn names_that_wait_are_bounded_and_can_be_given_up() {
        static GATE: Gate = Gate::new();
        static LOOKUPS: Lookups = Lookups::new(|host| GATE.find(host), 1, 2);
        let ((kept, weak), (given_up, gone), answers) = (wanted(), wanted(), mpsc::channel());
        let begun = GATE.begun();
        ask(&LOOKUPS, "slow", 1, &weak, &answers);
        assert_eq!(begun.recv_timeout(WAIT).expect("it is looked up"), "slow");
        ask(&LOOKUPS, "given up", 2, &gone, &answers);
        ask(&LOOKUPS, "kept", 3, &weak, &answers);
        ask(&LOOKUPS, "kept", 4, &gone, &answers);
        ask(&LOOKUPS, "one too many", 5, &weak, &answers);
        assert_eq!(answers.1.recv_timeout(WAIT), Ok((5, false)), "it is told at once");
        drop(given_up);
        GATE.open();
        assert_eq!(begun.recv_timeout(WAIT).expect("somebody waits"), "kept");
        let told = [(); 2].map(|()| answers.1.recv_timeout(WAIT).expect("told"));
        assert_eq!(told, [(1, true), (3, true)]);
        ask(&LOOKUPS, "later", 6, &weak, &answers);
        assert_eq!(answers.1.recv_timeout(WAIT), Ok((6, true)), "threads end, and come again");
        assert_eq!(GATE.looked_up.load(Ordering::Relaxed), 3);
        drop(kept);
    }
}
