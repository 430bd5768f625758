//! What other threads tell a server: stop and wake; and what becomes of it when a factory panics.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use wsring::{Config, Cpu, Error, Place, Server};

use crate::common::*;

type Told = mpsc::Receiver<(usize, String)>;

fn tellers(config: Config, core_count: usize) -> (wsring::Running, std::net::SocketAddr, Told) {
    let (told, tells) = mpsc::channel();
    let (running, addr) = serve(config, core_count, move |core| Teller::new(core, told.clone()));
    (running, addr, tells)
}

/// RFC 6455 §7.4.1: every peer is told 1001; the listener is gone; `join` returns the counters.
#[test]
fn a_stop_tells_every_peer_1001_and_returns_the_counters() {
    for core_count in [1, 2] {
        let (running, addr, tells) = tellers(Config::default(), core_count);
        let _port = held(addr);
        let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(addr)).collect();
        let half = tcp(addr);
        running.handle().stop();
        for client in &mut clients {
            assert_eq!(client.expect_close(), (1001, "server stopping".to_owned()));
            client.send(CLOSE, &1001_u16.to_be_bytes());
            assert_eq!(client.expect_end(), End::Eof);
        }
        let stats = running.join().expect("a clean end");
        assert_eq!(stats.len(), core_count);
        assert_eq!(stats.iter().map(|stats| stats.opened).sum::<u64>(), 20);
        assert_eq!(tells.iter().map(|(_, why)| why).collect::<Vec<_>>(), ["Stopped"; 20]);
        assert_eq!(TcpStream::connect(addr).expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
        assert!(read_head(&half).expect("an answer").0.starts_with("HTTP/1.1 503 "), "it had not opened yet");
    }
}

/// A peer that never answers does not hold the stop up for longer than its timeout.
#[test]
fn a_stop_does_not_wait_for_ever() {
    let config = Config::default().stop_timeout(Duration::from_millis(100));
    let (running, addr, tells) = tellers(config, 1);
    let mut client = Client::connect(addr);
    client.send(TEXT, b"hello");
    client.expect(TEXT, b"core 0");
    let stats = finish(running);
    assert_eq!((stats.opened, stats.closed), (1, 1));
    assert_eq!(tells.recv().expect("on_close").1, "Stopped");
    assert_eq!(client.expect_close().0, 1001);
    client.expect_end();
}

/// Stopping twice, and stopping a server that has ended, is nothing.
#[test]
fn a_handle_outlives_its_server() {
    let (running, _, _tells) = tellers(Config::default(), 2);
    let handle = running.handle();
    assert_eq!((handle.cores(), running.cores().len()), (2, 2));
    handle.stop();
    handle.stop();
    running.join().expect("a clean end");
    handle.stop();
    handle.wake(Place::new(1));
}

/// Each core has its own listener on the same port: the kernel spreads connections (SO_REUSEPORT, socket(7)).
#[test]
fn connections_are_spread_over_two_cores() {
    let (running, addr, _tells) = tellers(Config::default(), 2);
    let mut on = [0_u64; 2];
    for _ in 0..64 {
        let mut client = Client::connect(addr);
        client.send(TEXT, b"where am I?");
        let frame = client.frame();
        on[usize::from(frame.payload == b"core 1")] += 1;
        client.close();
    }
    assert!(on[0] > 0 && on[1] > 0, "{on:?}");
    running.handle().stop();
    let stats = running.join().expect("a clean end");
    assert_eq!([stats[0].opened, stats[1].opened], on);
}

#[test]
fn a_wake_reaches_its_core_and_no_other() {
    let (running, addr, tells) = tellers(Config::default(), 2);
    let mut client = Client::connect(addr);
    for core in [0, 1, 1, 0, 1] {
        running.handle().wake(Place::new(core));
        assert_eq!(tells.recv_timeout(WAIT).expect("on_wake"), (core.into(), "woken".to_owned()));
    }
    // Many wakes from many threads: at least one on_wake after the last, and no trouble.
    std::thread::scope(|scope| {
        for core in [0, 1, 0, 1] {
            let handle = running.handle();
            scope.spawn(move || (0..1000).for_each(|_| handle.wake(Place::new(core))));
        }
    });
    client.send(TEXT, b"alive?");
    assert!(client.frame().payload.starts_with(b"core "));
    client.close();
    finish(running);
    let woken = |wanted| move |(core, what): &(usize, String)| *core == wanted && what == "woken";
    let all: Vec<_> = tells.iter().collect();
    for core in 0..2 {
        let count = all.iter().filter(|told| woken(core)(told)).count();
        assert!((1..=2000).contains(&count), "core {core} woke {count} times");
    }
}

/// The factory is told which core it makes a handler for. Its handle reaches all cores although none of them runs yet: what it
/// asks for is done once they do.
#[test]
fn a_handle_works_before_its_cores_run() {
    let (told, tells) = mpsc::channel();
    let cpus = cores(2);
    let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cpus.iter().copied());
    let server = server.config(strict(Config::default()));
    let started = server.start(move |core| {
        let (place, all) = (core.place.index(), core.handle.places().collect::<Vec<_>>());
        assert_eq!((core.cores, core.handle.cores(), all), (2, 2, vec![Place::new(0), Place::new(1)]));
        told.send((place, format!("on {}", core.cpu))).expect("the test waits");
        if place == 1 {
            core.handle.places().for_each(|place| core.handle.wake(place));
        }
        Teller::new(place, told.clone())
    });
    let running = started.expect("the server starts");
    let mut all: Vec<_> = (0..4).map(|_| tells.recv_timeout(WAIT).expect("both cores run and are woken")).collect();
    all.sort();
    let on = |place: usize| format!("on {}", running.cores()[place]);
    let woken = || "woken".to_owned();
    assert_eq!(all, [(0, on(0)), (0, woken()), (1, on(1)), (1, woken())]);
    assert_eq!(running.cores().iter().map(|cpu| usize::from(cpu.number())).collect::<Vec<_>>(), cpus);
    finish(running);
}

/// The same for a stop: the server starts and ends.
#[test]
fn a_stop_before_the_cores_run_ends_them() {
    let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(2));
    let started = server.config(strict(Config::default())).start(|core| {
        core.handle.stop();
        Echo
    });
    assert_eq!(started.expect("it starts").join().expect("a clean end").len(), 2);
}

/// Whatever integers name the CPUs; what cannot be one is told by `start`, as is a list that is empty or too long.
#[test]
fn cpus_are_named_by_integers_that_fit() {
    let server = || Server::bind("127.0.0.1:0").expect("a free port");
    let says = |server: Server| server.start(|_| Echo).expect_err("it cannot start").to_string();
    for server in [server().cores([0, -1]), server().cores([0_i64, -1])] {
        assert_eq!(says(server), "list of cores: -1 is not the number of a CPU: those are 0 to 65535");
    }
    assert!(
        matches!(server().cores([1_usize << 16]).start(|_| Echo), Err(Error::Cpu(invalid)) if invalid.number() == 1 << 16)
    );
    assert_eq!(says(server().cores(Vec::<Cpu>::new())), "a server runs on 1 to 256 cores, not 0");
    assert_eq!(says(server().cores([0; 257])), "a server runs on 1 to 256 cores, not 257");
    match server().cores([65_535]).start(|_| Echo) {
        Err(Error::Pin { cpu }) => assert_eq!(cpu, Cpu::new(65_535)),
        other => panic!("{other:?}"),
    }
    let refused = wsring::Client::new().cores([-1]).start(|_| Echo);
    assert!(matches!(refused, Err(Error::Cpu(_))), "{refused:?}");
}

#[test]
fn a_server_takes_as_many_cores_as_it_may() {
    let server = || Server::bind("127.0.0.1:0").expect("a free port").config(strict(Config::default()));
    let running = server().cores_max(1).start(|_| Echo).expect("the server starts");
    assert_eq!(running.cores().len(), 1);
    finish(running);
    let none = server().cores_max(0).start(|_| Echo).expect_err("no core");
    assert_eq!(none.to_string(), "a server runs on 1 to 256 cores, not 0");
}

/// A factory that panics on one core leaves no thread of the others behind.
#[test]
fn a_panicking_factory_is_named_by_start() {
    let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(2));
    let addr = server.local_addrs().expect("an address")[0];
    let started = server.start(|core| {
        assert_ne!(core.place.index(), 1, "a factory that panics");
        Echo
    });
    assert!(matches!(started, Err(Error::Panicked { place }) if place == Place::new(1)), "{started:?}");
    assert_eq!(TcpStream::connect(addr).expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
}
