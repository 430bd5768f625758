//! `--handover`: a new process takes the listening sockets of the old one while clients come, and nobody is refused or reset.
//!
//! The last test here measures that at a given rate of connections, with a handler that computes now and then; it takes a minute, so it runs only when it is asked for:
//! `cargo test -p wsring-cli --test cli -- --ignored --nocapture handover::measured`

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wsring::{CoreCx, Cx, Handler, Handover, Listener, Message, Opening, Server, Verdict};
use wsring_testkit::Folder;
use wsring_testkit::visits::{Ends, Visit, while_visited};

use crate::process::{BIN, Process, Serve, cores_allowed, run};

/// Each message is sent when the one before has come back.
const VISIT: Visit = Visit { greeting: None, messages: 2 };
const SHORT: Visit = Visit { greeting: None, messages: 1 };

/// One message there and back over this stream.
pub fn visit_over(stream: impl Read + Write) {
    assert_eq!(visit_once(stream), "served");
}

/// The same, or what else became of it.
pub fn visit_once(stream: impl Read + Write) -> String {
    SHORT.over(stream).expect("nobody is reset")
}

fn is_told(ends: &Ends) -> bool {
    ends.keys().all(|end| ["served", "1001"].contains(&&**end))
}

/// Three processes after the first, each of which takes over from the one before it, at a port and a file, on either ring.
#[test]
fn a_new_process_takes_over() {
    const SHARE: u64 = 50;
    for ring in ["uring", "epoll"] {
        let folder = Folder::new();
        let (socket, path) = (folder.text("socket"), folder.text("handover"));
        let (at_file, options) = (format!("unix:{socket}"), ["--ring", ring, "--handover", &path]);
        let start = || {
            let listen = ["--listen", "127.0.0.1:0", "--listen", &at_file];
            Serve::start_by(Command::new(BIN), &[&options[..], &listen[..]].concat())
        };
        let mut serve = start();
        assert!(!serve.start_line.contains("took over"), "{}", serve.start_line);
        let addr = serve.addr();
        let visit = |file: bool| {
            let socket = Path::new(&socket);
            move || if file { VISIT.unix(socket) } else { VISIT.tcp(addr) }
        };
        let ends = while_visited([false, true, false].map(visit), |visitors| {
            for _ in 0..3 {
                visitors.wait_for(SHARE);
                let next = start();
                assert_eq!(next.addr(), addr, "port 0 is the port that it has");
                assert_eq!(next.told("took"), format!("over from {}", serve.id()));
                let (before, pid) = (std::mem::replace(&mut serve, next), serve.id());
                let ended = before.into_process().end();
                assert!(ended.code == Some(0) && ended.errors.is_empty(), "{ended:?}");
                assert!(ended.lines.contains(&format!("wsring: handed over to {pid}")), "{ended:?} {pid}");
            }
        });
        println!("{ring}: {ends:?}");
        assert!(is_told(&ends), "{ring}: somebody was not served: {ends:?}");
        serve.stop();
        assert!(!Path::new(&socket).exists() && !Path::new(&path).exists(), "the last one removes both files");
    }
}

/// Somebody else's path, or one where nothing can be: the start fails, and says why.
#[test]
fn a_path_that_cannot_be_had_is_told() {
    let folder = Folder::new();
    let ended = run(&["serve", "--listen", "127.0.0.1:0", "--handover", &folder.text("none/handover")]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.errors.starts_with("wsring: cannot take over at ") && ended.errors.contains("No such file"),
        "{ended:?}"
    );
}

/// Killed while it has the sockets, before it is ready: the other one goes on. Several kills, at whatever point each finds it.
#[test]
fn a_new_process_that_is_killed_leaves_the_old_one_as_it_was() {
    let folder = Folder::new();
    let path = folder.text("handover");
    let serve = Serve::start_by(Command::new(BIN), &["--handover", &path]);
    let addr = serve.addr();
    for kill in 0..10 {
        let mut command = Command::new(BIN);
        command.args(["serve", "--handover", &path, "--listen", "127.0.0.1:0"]);
        let next = Process::start(&mut command);
        thread::sleep(Duration::from_micros(300 * kill)); // whatever that meets
        drop(next); // SIGKILL
        // Either it was ready in time and has taken over, and then nobody is there any more; or the old one is as it was.
        match SHORT.tcp(addr) {
            Ok(end) => assert!(["served", "1001"].contains(&&*end), "{end}"),
            Err(error) => {
                assert!(serve.has_ended(), "it serves no more: {error}");
                return;
            }
        }
        if serve.has_ended() {
            return;
        }
    }
    let ended = serve.stop_and_tell();
    assert!(ended.1.lines().all(|line| line.contains("wanted to take over, and has not")), "{ended:?}");
}

/// What the child process is told by: which kind of server it is.
const SERVER: &str = "WSRING_HANDOVER_SERVER";

/// Echoes; of twenty messages one takes so long.
struct Busy(u64, Duration);

impl Handler for Busy {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        self.0 += 1;
        if self.0.is_multiple_of(20) {
            let until = Instant::now() + self.1;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
        let _ = cx.forward(message);
    }
}

/// Not a test of its own: what the child process runs.
#[test]
#[ignore = "started by the test below"]
fn serve_busy() {
    let Ok(how) = std::env::var(SERVER) else { return };
    let [path, addr, ms, ring] = how.split(' ').collect::<Vec<_>>()[..] else { panic!("{how}") };
    let (busy, addr): (Duration, SocketAddr) = (Duration::from_millis(ms.parse().unwrap()), addr.parse().unwrap());
    let server = Server::take_over(Handover::at(path)).unwrap().and_listen(Listener::tcp(addr)).unwrap();
    let config = wsring::Config::default().ring(ring.parse::<wsring::RingKind>().unwrap());
    let running = server.cores([cores_allowed()[0]]).config(config).start(move |_| Busy(0, busy)).unwrap();
    println!("\nlistening {}", running.local_addrs()[0]);
    let stats = running.join().unwrap();
    println!("\nstopped {}", stats[0]);
}

/// A process that serves, and its address.
fn busy_server(path: &str, addr: SocketAddr, ms: u64, ring: &str) -> (Process, SocketAddr) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "handover::serve_busy", "--ignored", "--nocapture"]);
    command.env(SERVER, format!("{path} {addr} {ms} {ring}"));
    let process = Process::start(&mut command);
    let addr = std::iter::from_fn(|| process.line()).find_map(|line| line.strip_prefix("listening ")?.parse().ok());
    (process, addr.expect("it listens"))
}

/// Ten hand-overs, one each two seconds, at 100 connects a second, each of which sends two messages (so that a handler which computes is busy for 0.6 of its time): how each connection ended, and how long the longest took.
#[test]
#[ignore = "takes a minute, and measures"]
fn measured() {
    const HANDOVERS: u32 = 10;
    const EVERY: Duration = Duration::from_secs(2);
    const GAP: Duration = Duration::from_millis(10);
    for (ring, ms) in [("uring", 0), ("uring", 60), ("epoll", 0), ("epoll", 60)] {
        let folder = Folder::new();
        let path = folder.text("handover");
        let (mut process, addr) = busy_server(&path, SocketAddr::from(([127, 0, 0, 1], 0)), ms, ring);
        let over = AtomicBool::new(false);
        let (ends, longest, count) = thread::scope(|scope| {
            let clients = scope.spawn(|| {
                let (mut visits, start) = (Vec::new(), Instant::now());
                while !over.load(Ordering::Relaxed) {
                    let due = GAP * visits.len() as u32;
                    thread::sleep(due.saturating_sub(start.elapsed()));
                    visits.push(scope.spawn(move || {
                        let began = Instant::now();
                        let end = VISIT.tcp(addr).unwrap_or_else(|error| format!("{:?}: {error}", error.kind()));
                        (end, began.elapsed())
                    }));
                }
                let (mut ends, mut longest, count) = (Ends::new(), Duration::ZERO, visits.len());
                for visit in visits {
                    let (end, took) = visit.join().expect("no client fails");
                    *ends.entry(end).or_default() += 1;
                    longest = longest.max(took);
                }
                (ends, longest, count)
            });
            for _ in 0..HANDOVERS {
                thread::sleep(EVERY);
                let (next, its) = busy_server(&path, addr, ms, ring);
                assert_eq!(its, addr);
                let ended = std::mem::replace(&mut process, next).end();
                assert_eq!(ended.code, Some(0), "{ended:?}");
            }
            thread::sleep(EVERY);
            over.store(true, Ordering::Relaxed);
            clients.join().expect("no panic")
        });
        println!(
            "{ring}, busy {ms} ms in 1 of 20: {HANDOVERS} hand-overs, {count} connects, {ends:?}, longest {longest:?}"
        );
        process.signal("KILL");
        assert!(is_told(&ends), "somebody was refused or reset: {ends:?}");
    }
}
