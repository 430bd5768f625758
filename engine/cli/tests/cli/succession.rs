//! `--handover`, further than one process after another: three at a time, signals while the old one parts with its connections, and new ones that the machine denies what they need.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;

use wsring_testkit::visits::{Visit, while_visited};
use wsring_testkit::{CLOSE, Client, Folder, TEXT, WAIT, bounded, upgrade_head};

use crate::preload::Shim;
use crate::process::{BIN, Process, Serve, first_core};

/// One who sends a message.
const VISIT: Visit = Visit { greeting: None, messages: 1 };

/// `wsring serve` that hands over at this path.
fn serve(path: &str, options: &[&str]) -> Serve {
    Serve::start_by(Command::new(BIN), &[&["--handover", path], options].concat())
}

/// Whether the process has a socket that listens at the address (proc_net_tcp(5), proc_pid_fd(5)).
fn listens(process: &Process, addr: SocketAddr) -> bool {
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", process.id())).expect("it runs");
    let port = format!(":{:04X}", addr.port());
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields[1].ends_with(&port) && fields[3] == "0A").then(|| format!("socket:[{}]", fields[9]))
    };
    let inodes: Vec<String> = table.lines().skip(1).filter_map(inode).collect();
    let fds = std::fs::read_dir(format!("/proc/{}/fd", process.id())).expect("it runs").flatten();
    fds.filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .any(|link| link.to_str().is_some_and(|link| inodes.iter().any(|inode| inode == link)))
}

/// It accepts nobody any more.
fn await_closed(process: &Process, addr: SocketAddr) {
    let since = std::time::Instant::now();
    while listens(process, addr) {
        assert!(since.elapsed() < WAIT, "it has not left");
        thread::yield_now();
    }
}

/// The signal has come to the process (proc_pid_status(5)).
fn await_delivered(process: &Process) {
    let since = std::time::Instant::now();
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
        let pending = status.lines().filter(|line| line.starts_with("SigPnd:") || line.starts_with("ShdPnd:"));
        if { pending }.all(|line| line.ends_with("\t0000000000000000")) {
            return;
        }
        assert!(since.elapsed() < WAIT, "the signal is not taken");
        thread::yield_now();
    }
}

/// A client of a process that was taken over from since, by the next one.
struct Left {
    old: Serve,
    client: Client,
    next: Serve,
}

impl Left {
    fn by(folder: &Folder, options: &[&str]) -> Self {
        let path = folder.text("handover");
        let old = serve(&path, options);
        let mut client = Client::open(old.addr(), "/");
        client.echo(TEXT, b"before");
        let next = serve(&path, &[]);
        await_closed(&old, old.addr());
        assert_eq!(next.told("took"), format!("over from {}", old.id()));
        Self { old, client, next }
    }
}

/// The third takes over from the second while the first still drains: each parts with its own, at its own time, and nobody who comes is turned away.
#[test]
fn a_third_process_comes_while_the_first_still_drains() {
    let folder = Folder::new();
    let path = folder.text("handover");
    let options = ["--drain", "3600"];
    let first = serve(&path, &options);
    let addr = first.addr();
    let mut last = None;
    let seen = while_visited([|| VISIT.tcp(addr)], |visitors| {
        let mut clients = vec![Client::open(addr, "/")];
        let second = serve(&path, &options);
        await_closed(&first, addr);
        clients.push(Client::open(addr, "/"));
        let third = serve(&path, &options);
        await_closed(&second, addr);
        clients.push(Client::open(addr, "/"));
        visitors.wait_for(10);
        assert_eq!(second.told("took"), format!("over from {}", first.id()));
        assert_eq!(third.told("took"), format!("over from {}", second.id()));
        for client in &mut clients {
            client.echo(TEXT, b"all three serve");
        }
        assert!(![&first, &second, &third].into_iter().any(|serve| serve.has_ended()));
        let (second_id, third_id) = (second.id(), third.id());
        for (serve, successor) in [(first, second_id), (second, third_id)] {
            clients.remove(0).close();
            let ended = serve.into_process().end();
            assert!(ended.code == Some(0) && ended.errors.is_empty(), "{ended:?}");
            assert!(ended.lines.contains(&format!("wsring: handed over to {successor}")), "{ended:?}");
        }
        clients[0].echo(TEXT, b"the third is there");
        clients.remove(0).close();
        last = Some(third);
    });
    let third = last.expect("it is there still");
    third.signal("INT");
    third.ended_well();
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["served"], "{seen:?}");
}

/// The first SIGTERM asks for what is under way: it goes on, and ends no later. Health checks are the new one's, so that nobody is to be told for a while.
#[test]
fn sigterm_in_the_drain_of_a_hand_over_changes_nothing() {
    let folder = Folder::new();
    let Left { old, mut client, next } = Left::by(&folder, &["--drain", "3600", "--drain-at-least", "3600"]);
    old.signal("TERM");
    await_delivered(&old);
    (0..20).for_each(|_| client.echo(TEXT, b"its turn is within the hour"));
    client.close();
    let ended = old.into_process().end();
    let report = "wsring: drained | 1 connections: 0 closed, 0 without an answer, 1 left before, 0 stopped; 0 refused";
    assert!(ended.lines.iter().any(|line| line == report), "{ended:?}");
    next.stop();
}

/// SIGINT, and a second signal, stop it at once.
#[test]
fn a_further_signal_in_the_drain_of_a_hand_over_stops() {
    for first in [None, Some("TERM")] {
        let folder = Folder::new();
        let Left { old, mut client, next } = Left::by(&folder, &["--drain", "3600"]);
        if let Some(first) = first {
            old.signal(first);
            await_delivered(&old);
        }
        old.signal("INT");
        let close = client.frame();
        assert_eq!(close.close_code(), 1001);
        client.send(CLOSE, &close.payload);
        let ended = old.into_process().end();
        assert!(ended.code == Some(0) && ended.stats()["drain_stopped"] == 1, "{ended:?}");
        assert_eq!(VISIT.tcp(next.addr()).expect("it serves"), "served");
        next.stop();
    }
}

/// One without `--drain` stops when the requests are answered that it has accepted; a signal has it not wait for them.
#[test]
fn a_signal_ends_the_wait_for_requests() {
    for name in ["TERM", "INT"] {
        let folder = Folder::new();
        let path = folder.text("handover");
        let old = serve(&path, &["--cores", &first_core(), "--handshake-timeout", "3600"]);
        let mut half = TcpStream::connect(old.addr()).expect("it listens");
        bounded(&half);
        half.write_all(&upgrade_head("/").as_bytes()[..30]).expect("it goes out");
        // Accepted in order.
        let mut client = Client::open(old.addr(), "/");
        client.echo(TEXT, b"before");
        let next = serve(&path, &[]);
        await_closed(&old, old.addr());
        client.echo(TEXT, b"it waits for the other one");
        old.signal(name);
        let close = client.frame();
        assert_eq!(close.close_code(), 1001);
        client.send(CLOSE, &close.payload);
        let mut answer = String::new();
        let _ = std::io::Read::read_to_string(&mut half, &mut answer); // its end may be a reset: the rest was not read
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        let ended = old.into_process().end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        next.stop();
    }
}

/// New processes that each get a little more than the one before, until one can take over: those that cannot say what they want for, and the old one serves on.
fn with_ever_more(path: &str, most: usize, command: impl Fn(usize) -> Command, wants: &[&str]) {
    let old = serve(path, &["--cores", &first_core()]);
    let addr = old.addr();
    for count in 0..most {
        let mut command = command(count);
        command.args(["serve", "--handover", path, "--listen", "127.0.0.1:0", "--cores", &first_core()]);
        let next = Process::start(&mut command);
        let Some(line) = next.line() else {
            let ended = next.end();
            assert_ne!(ended.code, Some(0), "{ended:?}");
            assert!(wants.iter().any(|want| ended.errors.contains(want)), "{count}: {ended:?}");
            assert!(!old.has_ended(), "{count}: {ended:?}");
            assert_eq!(VISIT.tcp(addr).expect("nobody is refused"), "served", "{count}");
            continue;
        };
        assert!(count > 1 && line.contains(&format!("took over from {}", old.id())), "{count}: {line}");
        old.into_process().end();
        assert_eq!(VISIT.tcp(addr).expect("nobody is refused"), "served", "{count}");
        next.signal("TERM");
        assert_eq!(next.end().code, Some(0));
        return println!("{count} were enough");
    }
    panic!("{most} are not enough");
}

#[test]
fn want_of_descriptors_leaves_the_old_process_as_it_was() {
    let folder = Folder::new();
    let limited = |count: usize| {
        let mut command = Command::new("sh");
        command.args(["-c", r#"ulimit -n "$0" && exec "$@""#, &count.to_string(), BIN]);
        command
    };
    let wants = ["Too many open files", "RLIMIT_NOFILE", "error while loading shared libraries", "ulimit -n"];
    with_ever_more(&folder.text("handover"), 200, limited, &wants);
}

#[test]
fn want_of_threads_leaves_the_old_process_as_it_was() {
    let folder = Folder::new();
    let shim = Shim::build("threads.c");
    let limited = |count: usize| {
        let mut command = Command::new(BIN);
        command.env("LD_PRELOAD", shim.library()).env("THREADS", count.to_string());
        command
    };
    with_ever_more(&folder.text("handover"), 20, limited, &["Resource temporarily unavailable"]);
}
