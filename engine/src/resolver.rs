//! Looks up the names of hosts on threads of its own, so that a core never waits for a name server.
//!
//! getaddrinfo(3) blocks, for as long as the machine's configuration says, or for ever, and cannot be cancelled. Promises that a name is looked up
//! once for all who ask meanwhile, so that one whose servers are silent holds up one thread; that whoever asks when somebody has waited for that in vain
//! begins a lookup of its own beside it, until [`NAME_THREADS_MAX`] hang; that a process has at most [`THREADS_MAX`] of these threads, made when
//! there is something to look up and ended when there is not; that [`NAMES_MAX`] names wait at most; and that a name for which nobody
//! waits any more is not looked up.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, MutexGuard, Weak};

/// Lookups at once; others wait their turn, within the deadline of who asked.
const THREADS_MAX: usize = 64;
/// Of these, for one name: it leaves room for others, however often it is asked for in vain.
const NAME_THREADS_MAX: usize = 8;
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
    /// The addresses keep all else that was found of them: the scope of an IPv6 address (RFC 4007) among it.
    fn tell(self, found: &io::Result<Vec<SocketAddr>>) {
        let port = self.port;
        let with_port = |mut addr: SocketAddr| {
            addr.set_port(port);
            addr
        };
        (self.tell)(match found {
            Ok(addrs) => Ok(addrs.iter().copied().map(with_port).collect()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        });
    }

    fn is_gone(&self) -> bool {
        self.wanted.strong_count() == 0
    }
}

/// A name that somebody wants to know, or that is still being looked up for those who wanted to.
#[derive(Default)]
struct Name {
    /// In the order in which they asked, each with the lookup that was the last then. Whichever of the lookups finds addresses, they are told.
    askers: VecDeque<(u64, Asker)>,
    /// The last lookup.
    last: u64,
    /// That has not begun yet.
    is_waiting: bool,
    /// Those that are under way, the last of them at the end.
    running: Vec<u64>,
    /// Somebody who asked when it was the last has waited for it in vain.
    outlasts: bool,
}

impl Name {
    /// Forgets who does not want to know any more, as far as nobody stands in front of them: who asked first gives up first.
    fn forget_first(&mut self) {
        while let Some(&(lookup, _)) = self.askers.front().filter(|(_, asker)| asker.is_gone()) {
            self.outlasts |= lookup == self.last;
            self.askers.pop_front();
        }
    }

    /// The same of all.
    fn forget(&mut self) {
        let (last, outlasts) = (self.last, &mut self.outlasts);
        self.askers.retain(|(lookup, asker)| {
            *outlasts |= asker.is_gone() && *lookup == last;
            !asker.is_gone()
        });
    }

    /// One more wants to know.
    fn push(&mut self, asker: Asker) {
        // A name that hangs for ever is asked for again and again.
        if self.askers.len() == self.askers.capacity() {
            self.forget();
        }
        self.askers.push_back((self.last, asker));
    }

    /// Whether the answer of a lookup that is under way is waited for, or may still be: else another has to begin.
    fn is_answered_soon(&self) -> bool {
        self.is_waiting
            || self.running.last() == Some(&self.last) && !self.outlasts
            || self.running.len() >= NAME_THREADS_MAX
    }
}

#[derive(Default)]
struct Queue {
    /// In the order in which they were asked for.
    waiting: VecDeque<String>,
    /// Each that waits or is being looked up.
    names: HashMap<String, Name>,
    /// The last lookup of all.
    last: u64,
    threads: usize,
}

impl Queue {
    /// Takes the names out for which nobody waits any more.
    fn forget_unwanted(&mut self) {
        let names = &mut self.names;
        self.waiting.retain(|host| {
            let name = names.get_mut(host).expect("each that waits has been asked for");
            name.forget();
            name.is_waiting = !name.askers.is_empty();
            if !name.is_waiting && name.running.is_empty() {
                names.remove(host);
                return false;
            }
            name.is_waiting
        });
    }
}

/// The names that are wanted, and what looks them up.
struct Lookups {
    queue: Mutex<Option<Queue>>,
    find: fn(&str) -> io::Result<Vec<SocketAddr>>,
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
fn find(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((host, 0).to_socket_addrs()?.collect())
}

impl Lookups {
    const fn new(find: fn(&str) -> io::Result<Vec<SocketAddr>>, threads_max: usize, names_max: usize) -> Self {
        Self { queue: Mutex::new(None), find, threads_max, names_max }
    }

    fn queue(&self) -> MutexGuard<'_, Option<Queue>> {
        self.queue.lock().expect("no lookup panics with the queue")
    }

    fn look_up(&'static self, host: String, asker: Asker) {
        let mut lock = self.queue();
        let queue = lock.get_or_insert_default();
        if let Some(name) = queue.names.get_mut(&host) {
            name.forget_first();
            if name.is_answered_soon() {
                return name.push(asker);
            }
        }
        if queue.waiting.len() >= self.names_max {
            queue.forget_unwanted();
        }
        if queue.waiting.len() >= self.names_max {
            drop(lock);
            return asker
                .tell(&Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many names wait to be looked up")));
        }
        queue.last += 1;
        queue.waiting.push_back(host.clone());
        let name = queue.names.entry(host.clone()).or_default();
        (name.last, name.is_waiting, name.outlasts) = (queue.last, true, false);
        name.push(asker);
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
                let askers = queue.names.remove(&host).map(|name| name.askers);
                drop(lock);
                askers.into_iter().flatten().for_each(|(_, asker)| {
                    asker.tell(&Err(io::Error::new(error.kind(), error.to_string())));
                });
            }
        }
    }

    fn work(&self) {
        while let Some((host, lookup)) = self.next() {
            let found = (self.find)(&host);
            self.over(&host, lookup, found.is_ok()).into_iter().for_each(|(_, asker)| asker.tell(&found));
        }
    }

    /// A name that somebody still waits for, and the number of this lookup; if there is none the thread ends.
    fn next(&self) -> Option<(String, u64)> {
        let mut lock = self.queue();
        let queue = lock.as_mut()?;
        while let Some(host) = queue.waiting.pop_front() {
            let name = queue.names.get_mut(&host).expect("each that waits has been asked for");
            name.is_waiting = false;
            name.forget();
            name.outlasts = false; // whoever has given up has waited for a thread, and not for this lookup
            if !name.askers.is_empty() {
                name.running.push(name.last);
                return Some((host, name.last));
            }
            if name.running.is_empty() {
                queue.names.remove(&host);
            }
        }
        queue.threads -= 1;
        None
    }

    /// A lookup has ended: those who are told what it found. An error is no answer while a later lookup is to come.
    fn over(&self, host: &str, lookup: u64, is_found: bool) -> VecDeque<(u64, Asker)> {
        let mut lock = self.queue();
        let queue = lock.as_mut().expect("it was in the queue");
        let name = queue.names.get_mut(host).expect("a name is there while it is looked up");
        name.running.retain(|other| *other != lookup);
        let is_answer = is_found || !name.is_waiting && name.running.iter().all(|other| *other < lookup);
        let told = if is_answer { std::mem::take(&mut name.askers) } else { VecDeque::new() };
        if name.running.is_empty() && !name.is_waiting {
            queue.names.remove(host);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddrV6};
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

        /// Names that begin with "slow" hang, and those that end in a number hang so many times. One that fails does so when it has hung.
        fn find(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
            let count = self.looked_up.fetch_add(1, Ordering::Relaxed);
            let times = host.rsplit('-').next().and_then(|times| times.parse().ok()).unwrap_or(0);
            let hangs = host.starts_with("slow") || count < times;
            let begun = self.begun.lock().expect("nobody panics");
            begun.iter().for_each(|begun| begun.send(host.to_owned()).expect("awaited"));
            drop(begun);
            if hangs {
                let open = self.open.lock().expect("nobody panics");
                drop(self.opened.wait_while(open, |open| !*open).expect("nobody panics"));
            }
            if hangs && host.starts_with("fails") {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(vec![SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0)])
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

    /// A name that hangs for ever is not dead: who asks when somebody has waited in vain begins anew, and whoever still waits is told as well.
    #[test]
    fn a_lookup_that_hangs_is_not_waited_for_twice() {
        static GATE: Gate = Gate::new();
        static LOOKUPS: Lookups = Lookups::new(|host| GATE.find(host), 4, 100);
        let ((given_up, gone), (_wanted, weak), answers) = (wanted(), wanted(), mpsc::channel());
        let begun = GATE.begun();
        ask(&LOOKUPS, "hangs-1", 1, &gone, &answers);
        begun.recv_timeout(WAIT).expect("it is looked up");
        ask(&LOOKUPS, "hangs-1", 2, &weak, &answers);
        assert_eq!(GATE.looked_up.load(Ordering::Relaxed), 1, "nobody has waited in vain");
        drop(given_up);
        ask(&LOOKUPS, "hangs-1", 3, &weak, &answers);
        let mut told = [(); 2].map(|()| answers.1.recv_timeout(WAIT).expect("told, although the first lookup hangs"));
        told.sort_unstable();
        assert_eq!(told, [(2, true), (3, true)]);
        // The first hangs on. Who asks now begins another, and is not told to wait for that.
        ask(&LOOKUPS, "hangs-1", 4, &weak, &answers);
        assert_eq!(answers.1.recv_timeout(WAIT), Ok((4, true)));
        assert_eq!(GATE.looked_up.load(Ordering::Relaxed), 3);
        GATE.open();
    }

    /// However often it is asked for in vain, a name has so many threads and no more; others are looked up beside it.
    #[test]
    fn a_name_that_hangs_again_and_again_leaves_room_for_others() {
        static GATE: Gate = Gate::new();
        static LOOKUPS: Lookups = Lookups::new(|host| GATE.find(host), NAME_THREADS_MAX + 1, 100);
        let ((_wanted, weak), answers) = (wanted(), mpsc::channel());
        let begun = GATE.begun();
        for asked in 0..3 * NAME_THREADS_MAX {
            let (given_up, gone) = wanted();
            ask(&LOOKUPS, "slow", 1, &gone, &answers);
            if asked < NAME_THREADS_MAX {
                begun.recv_timeout(WAIT).expect("another begins");
            }
            drop(given_up);
        }
        ask(&LOOKUPS, "slow", 2, &weak, &answers);
        ask(&LOOKUPS, "quick", 3, &weak, &answers);
        assert_eq!(answers.1.recv_timeout(WAIT), Ok((3, true)));
        assert_eq!(GATE.looked_up.load(Ordering::Relaxed), NAME_THREADS_MAX + 1);
        assert!(LOOKUPS.queue().as_ref().expect("it is in use").names["slow"].askers.len() < 2 * NAME_THREADS_MAX);
        GATE.open();
        assert_eq!(answers.1.recv_timeout(WAIT), Ok((2, true)), "they come back");
    }

    /// The error of a lookup that has hung is no answer for those who wait for a later one.
    #[test]
    fn an_old_error_is_not_told() {
        static GATE: Gate = Gate::new();
        static LATER: Gate = Gate::new();
        fn find(host: &str) -> io::Result<Vec<SocketAddr>> {
            if GATE.looked_up.load(Ordering::Relaxed) == 0 { GATE.find(host) } else { LATER.find(host) }
        }
        static LOOKUPS: Lookups = Lookups::new(find, 4, 100);
        let ((given_up, gone), (_wanted, weak), answers) = (wanted(), wanted(), mpsc::channel());
        let (begun, later) = (GATE.begun(), LATER.begun());
        ask(&LOOKUPS, "fails-1", 1, &gone, &answers);
        begun.recv_timeout(WAIT).expect("it is looked up");
        drop(given_up);
        ask(&LOOKUPS, "fails-1", 2, &weak, &answers);
        later.recv_timeout(WAIT).expect("another begins");
        let lookups = || LOOKUPS.queue().as_ref().map_or(0, |queue| queue.names["fails-1"].running.len());
        assert_eq!(lookups(), 2);
        GATE.open();
        while lookups() == 2 {
            std::thread::yield_now();
        }
        assert!(answers.1.try_recv().is_err(), "the later one may find it");
        LATER.open();
        assert_eq!(answers.1.recv_timeout(WAIT), Ok((2, false)), "and has not");
    }

    /// Where all threads hang, names that nobody waits for any more make room for those that somebody does.
    #[test]
    fn names_that_were_given_up_do_not_fill_the_queue() {
        static GATE: Gate = Gate::new();
        static LOOKUPS: Lookups = Lookups::new(|host| GATE.find(host), 1, 2);
        let ((_wanted, weak), (given_up, gone), answers) = (wanted(), wanted(), mpsc::channel());
        let begun = GATE.begun();
        ask(&LOOKUPS, "slow", 1, &weak, &answers);
        begun.recv_timeout(WAIT).expect("it is looked up");
        ask(&LOOKUPS, "given up", 2, &gone, &answers);
        ask(&LOOKUPS, "as well", 3, &gone, &answers);
        drop(given_up);
        ask(&LOOKUPS, "kept", 4, &weak, &answers);
        GATE.open();
        let told = [(); 2].map(|()| answers.1.recv_timeout(WAIT).expect("told"));
        assert_eq!(told, [(1, true), (4, true)]);
    }

    /// RFC 4007: a link-local address without its zone is nowhere.
    #[test]
    fn addresses_keep_their_scope() {
        static LOOKUPS: Lookups =
            Lookups::new(|_| Ok(vec![SocketAddrV6::new("fe80::1".parse().expect("an address"), 0, 5, 7).into()]), 1, 1);
        let (_wanted, weak) = wanted();
        let (sender, receiver) = mpsc::channel();
        let asks = |lookups: &'static Lookups, host: &str| {
            let sender = sender.clone();
            let tell = Box::new(move |found| sender.send(found).expect("awaited"));
            lookups.look_up(host.to_owned(), Asker { port: 80, wanted: weak.clone(), tell });
            let found: io::Result<Vec<SocketAddr>> = receiver.recv_timeout(WAIT).expect("told");
            found.expect("an address")[0]
        };
        let expected = SocketAddrV6::new("fe80::1".parse().expect("an address"), 80, 5, 7);
        assert_eq!(asks(&LOOKUPS, "any"), SocketAddr::V6(expected));
        // By the C library: the loopback interface has an index on every Linux.
        let SocketAddr::V6(found) = asks(&super::LOOKUPS, "fe80::1%lo") else { panic!("an IPv6 address") };
        assert!(found.scope_id() > 0 && found.port() == 80, "{found}");
    }
}
