//! Servers that take over the sockets of those before them while clients come without a pause: each is served, by one or the other. Nobody is refused, reset, or turned away.

mod between;
mod ends;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use wsring::{CloseCode, Config, Cx, Drain, Error, Handler, Handover, Listener, Message, RingKind, Server};

use crate::common::visits::{Visit, while_visited};
use crate::common::*;

/// One who waits for the greeting alone.
const VISIT: Visit = Visit { greeting: Some("hello"), messages: 0 };

/// At the address, which is port 0 in the words of each, and at the file, on so many cores.
fn take_over(folder: &Folder, ring: RingKind, count: usize) -> Running {
    let listen = || {
        Server::take_over(Handover::at(folder.path("handover")))?
            .and_listen(Listener::tcp("127.0.0.1:0"))?
            .and_listen(Listener::unix(folder.path("socket")))
    };
    let config = strict(Config::default()).ring(ring);
    listen()
        .expect("its sockets")
        .cores(cores(count))
        .config(config)
        .start(|_| Hello::default())
        .expect("it takes over")
}

/// One after the other, on either ring and different numbers of cores.
#[test]
fn nobody_is_turned_away_while_servers_take_over() {
    const SHARE: u64 = 60;
    let folder = Folder::new();
    let mut running = take_over(&folder, ring(), 2);
    assert_eq!((running.predecessor(), running.successor().pid()), (None, None));
    let (addr, path) = (running.local_addrs()[0], folder.path("socket"));
    let visit = |at_file: bool| {
        let path = &path;
        move || if at_file { VISIT.unix(path) } else { VISIT.tcp(addr) }
    };
    let ends = while_visited([false, false, true, true].map(visit), |visitors| {
        let rings = [RingKind::Uring, RingKind::Epoll, RingKind::Epoll, RingKind::Uring];
        for (number, count) in [1, 3, 2, 1, 2, 3].into_iter().enumerate() {
            visitors.wait_for(SHARE);
            let ring = if ring() == RingKind::Uring { rings[number % 4] } else { RingKind::Epoll };
            let next = take_over(&folder, ring, count);
            assert_eq!((next.local_addrs(), next.local_paths()), (&[addr][..], &[path.clone()][..]));
            assert_eq!(next.predecessor(), Some(std::process::id()));
            let before = std::mem::replace(&mut running, next);
            let successor = before.successor();
            before.join().expect("it stops by itself, and well");
            assert_eq!(successor.pid(), Some(std::process::id()));
        }
    });
    let stats = finish(running);
    println!("{ends:?}, {stats}");
    assert_eq!(ends.keys().collect::<Vec<_>>(), ["served"], "{ends:?}");
    assert!(!path.exists() && !folder.path("handover").exists(), "the last one removes what is its own");
}

fn server(folder: &Folder, listener: Listener) -> Result<Server, Error> {
    let server = Server::take_over(Handover::at(folder.path("handover")))?;
    Ok(server.and_listen(listener)?.cores(cores(1)).config(unhurried()))
}

fn stage(folder: &Folder) -> Stage {
    Stage::of(server(folder, Listener::tcp("127.0.0.1:0")).expect("nobody is there"), unhurried())
}

/// It has been taken over from, or was stopped.
fn leaves(mut stage: Stage) -> wsring::Stats {
    stage.part();
    stage.ends()
}

/// They come while the core computes and waits to be told that it is taken over from: one of the two serves them, and nobody is told 503.
#[test]
fn who_waits_is_served_by_either() {
    let folder = Folder::new();
    let mut stage = stage(&folder);
    stage.compute();
    let asks = |_| {
        let mut stream = tcp(stage.addr);
        stream.write_all(upgrade_head("/").as_bytes()).expect("it goes out");
        stream
    };
    let mut waiting: Vec<TcpStream> = (0..10).map(asks).collect();
    let next = server(&folder, Listener::tcp("127.0.0.1:0")).expect("its sockets").start(|_| Hello::default());
    let next = next.expect("the other is told when it goes on");
    waiting.extend((0..10).map(asks));
    stage.go_on();
    for stream in waiting {
        let mut client = Client::upgraded(stream);
        client.expect(TEXT, b"hello");
    }
    let before = leaves(stage);
    let after = finish(next);
    assert_eq!(before.accepted + after.accepted, 21, "{before}\n{after}");
    assert_eq!((before.opened + after.opened, before.declined + after.declined), (21, 0), "{before}\n{after}");
}

/// A request that has begun is ended by whoever has accepted it, before that one stops.
#[test]
fn a_request_that_has_begun_is_answered() {
    let folder = Folder::new();
    let stage = stage(&folder);
    let (head, mut half) = (upgrade_head("/"), tcp(stage.addr));
    half.write_all(&head.as_bytes()[..30]).expect("it goes out");
    // Accepted in order.
    let mut later = Client::connect(stage.addr);
    later.expect(TEXT, b"hello");
    let next = server(&folder, Listener::tcp("127.0.0.1:0")).expect("its sockets").start(|_| Hello::default());
    let next = next.expect("it takes over");
    later.echo(TEXT, b"it has not begun to stop");
    half.write_all(&head.as_bytes()[30..]).expect("it goes out");
    let mut client = Client::upgraded(half);
    client.expect(TEXT, b"hello");
    for client in [&mut later, &mut client] {
        assert_eq!(client.expect_close().0, 1001);
        client.send(CLOSE, &1001_u16.to_be_bytes());
    }
    assert_eq!(leaves(stage).opened, 3);
    assert_eq!(finish(next).opened, 0);
}

/// Whatever becomes of one that wanted to take over: the other serves on, has its path and files, and hands over to the next.
#[test]
fn a_start_that_fails_leaves_the_other_as_it_was() {
    struct Fails;
    impl Handler for Fails {
        type Conn = ();
        type Mail = ();
        fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    }
    let folder = Folder::new();
    let file = folder.path("socket");
    let open = || server(&folder, Listener::unix(&file));
    let running = open().expect("nobody is there").start(|_| Hello::default()).expect("it starts");
    for round in 0..3 {
        match round {
            0 => drop(open().expect("its sockets")),
            1 => {
                let start =
                    || open().expect("its sockets").start(|_| -> Fails { panic!("a handler that cannot be made") });
                assert!(matches!(start(), Err(Error::Panicked { .. })));
            }
            _ => {
                let bad = open().expect("its sockets").config(Config::default().spin(WAIT));
                assert!(matches!(bad.start(|_| Hello::default()), Err(Error::Config(_))));
            }
        }
        for _ in 0..10 {
            assert_eq!(VISIT.unix(&file).expect("it serves on"), "served", "round {round}");
        }
    }
    assert_eq!(running.successor().pid(), None);
    let next = open().expect("its sockets").start(|_| Hello::default()).expect("it takes over");
    running.join().expect("a good end");
    assert_eq!(VISIT.unix(&file).expect("it serves"), "served");
    finish(next);
    assert!(!file.exists());
}

/// The one that goes stops while the other has its sockets and is not ready: who comes is not lost, and files stay.
#[test]
fn a_stop_meanwhile_leaves_all_to_the_other() {
    let folder = Folder::new();
    let file = folder.path("socket");
    let listen = |server: Server| server.and_listen(Listener::unix(&file)).expect("its sockets");
    let first = listen(server(&folder, Listener::tcp("127.0.0.1:0")).expect("nobody is there"));
    let running = first.start(|_| Hello::default()).expect("it starts");
    let addr = running.local_addrs()[0];
    let next = listen(server(&folder, Listener::tcp("127.0.0.1:0")).expect("its sockets"));
    finish(running);
    let waiting: Vec<_> = (0..3).map(|_| (tcp(addr), UnixStream::connect(&file).expect("it listens"))).collect();
    let next = next.start(|_| Hello::default()).expect("all is its own");
    for (tcp, unix) in waiting {
        assert_eq!(
            (VISIT.over(tcp).expect("served"), VISIT.over(unix).expect("served")),
            ("served".to_owned(), "served".to_owned())
        );
    }
    assert!(folder.path("handover").exists(), "the next one finds it");
    finish(next);
    assert!(!file.exists() && !folder.path("handover").exists());
}

/// What the new one does not want is closed, by the old one as in a stop; what the old one did not have is bound.
#[test]
fn listeners_may_change() {
    let folder = Folder::new();
    let both = server(&folder, Listener::tcp("127.0.0.1:0"))
        .and_then(|server| server.and_listen(Listener::unix(folder.path("old"))))
        .expect("nobody is there");
    let running = both.start(|_| Hello::default()).expect("it starts");
    let addr = running.local_addrs()[0];
    let exact =
        server(&folder, Listener::tcp(addr)).and_then(|server| server.and_listen(Listener::unix(folder.path("new"))));
    let next = exact.expect("its sockets").start(|_| Hello::default()).expect("it takes over");
    assert_eq!(next.unclaimed(), [format!("unix:{}", folder.path("old").display())]);
    running.join().expect("a good end");
    assert_eq!(VISIT.tcp(addr).expect("the same port"), "served");
    assert_eq!(VISIT.unix(&folder.path("new")).expect("a new one"), "served");
    assert!(!folder.path("old").exists());
    finish(next);
}

/// A start that takes longer than the other one waits for it fails, and that one hands over to the next: here to a third, which waits for its turn meanwhile.
#[test]
fn patience_is_how_long_a_start_may_take() {
    let folder = Folder::new();
    let open = || {
        let handover = Handover::at(folder.path("handover")).patience(std::time::Duration::from_millis(50));
        let server = Server::take_over(handover)?.and_listen(Listener::unix(folder.path("socket")).mode(0o600))?;
        Ok::<Server, Error>(server.cores(cores(1)).config(strict(Config::default())))
    };
    let running = open().expect("nobody is there").start(|_| Hello::default()).expect("it starts");
    let (second, third) =
        (open().expect("its sockets"), open().expect("its sockets, when the second has had its time"));
    let late = second.start(|_| Hello::default()).expect_err("it was not waited for");
    assert!(matches!(&late, Error::Handover { .. }) && late.to_string().contains("took longer"), "{late}");
    assert_eq!(VISIT.unix(&folder.path("socket")).expect("it serves on"), "served");
    // The third's time may be over by now, and on a busy machine that of whoever comes next: one of them is fast enough.
    let again = || open()?.start(|_| Hello::default());
    let next = third.start(|_| Hello::default()).or_else(|_| (0..1000).find_map(|_| again().ok()).ok_or(()));
    let next = next.expect("it takes over");
    running.join().expect("a good end");
    assert_eq!(VISIT.unix(&folder.path("socket")).expect("it serves"), "served");
    finish(next);
}

/// One that was taken over from drains, if it was told to.
#[test]
fn who_was_connected_is_drained() {
    let folder = Folder::new();
    let drain = Drain::over(std::time::Duration::from_millis(50)).code(CloseCode::SERVICE_RESTART);
    let open = |handover: Handover| {
        let server = Server::take_over(handover).and_then(|server| server.and_listen(Listener::tcp("127.0.0.1:0")));
        server.expect("its sockets").cores(cores(1)).config(unhurried()).start(|_| Hello::default()).expect("it starts")
    };
    let path = folder.path("handover");
    let running = open(Handover::at(&path).drain(drain));
    let addr = running.local_addrs()[0];
    let mut client = Client::connect(addr);
    client.expect(TEXT, b"hello");
    let next = open(Handover::at(&path));
    assert_eq!(client.expect_close().0, 1012);
    client.send(CLOSE, &1012_u16.to_be_bytes());
    let stats = running.join().expect("a good end")[0];
    assert!(stats.drain_report().is_some(), "{stats}");
    assert_eq!(VISIT.tcp(addr).expect("it serves"), "served");
    finish(next);
}

/// The mode of a file is as the last server says.
#[test]
fn a_file_that_is_taken_has_the_mode_that_is_asked_for() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let file = folder.path("socket");
    let open = |mode| server(&folder, Listener::unix(&file).mode(mode)).expect("its file").start(|_| Hello::default());
    let of = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let running = open(0o660).expect("it starts");
    assert_eq!((of(&file), of(&folder.path("handover"))), (0o660, 0o600));
    let next = open(0o600).expect("it takes over");
    assert_eq!((of(&file), of(&folder.path("handover"))), (0o600, 0o600));
    running.join().expect("a good end");
    finish(next);
}

/// A port for one server alone stays that, and changes its server.
#[test]
fn an_exclusive_port_is_handed_over() {
    let folder = Folder::new();
    let exclusive =
        |addr: SocketAddr| server(&folder, Listener::tcp(addr).exclusive(true)).expect("its port").cores(cores(2));
    let running = exclusive(SocketAddr::from(([127, 0, 0, 1], 0))).start(|_| Hello::default()).expect("it starts");
    let addr = running.local_addrs()[0];
    let next = exclusive(addr).start(|_| Hello::default()).expect("it takes over");
    running.join().expect("a good end");
    assert!(matches!(Server::bind(addr), Err(Error::Bind { .. })));
    assert_eq!(VISIT.tcp(addr).expect("the same port"), "served");
    finish(next);
}

#[test]
fn a_path_that_is_no_servers_is_an_error() {
    let folder = Folder::new();
    let told = |name: &str| {
        let error = Server::take_over(Handover::at(folder.path(name))).expect_err("it is no path for that");
        assert!(matches!(error, Error::Handover { .. }), "{error}");
        error.to_string()
    };
    std::fs::write(folder.path("file"), "text").expect("it is written");
    assert!(told("file").starts_with(&format!("cannot take over at {}: ", folder.path("file").display())));
    told("none/handover");
    let _other = std::os::unix::net::UnixListener::bind(folder.path("stream")).expect("nobody is there");
    told("stream");
}

/// Sockets that somebody else has opened: what waits there when the server stops is left to him, if he is named.
#[test]
fn a_socket_that_is_given_is_served() {
    for shared in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let twin = listener.try_clone().expect("a second descriptor");
        let server = Server::listen(Listener::from_fd(listener).shared(shared)).expect("it listens");
        let mut stage = Stage::of(server, unhurried());
        stage.compute();
        let mut waits = tcp(addr);
        waits.write_all(upgrade_head("/").as_bytes()).expect("it goes out");
        stage.running.handle().stop();
        if shared {
            // Whoever else has the socket takes them while the core computes: it does not even know yet that it is to stop.
            let (taken, _) = twin.accept().expect("it waits there");
            drop(taken);
            waits = tcp(addr);
            waits.write_all(upgrade_head("/").as_bytes()).expect("it goes out");
        }
        stage.go_on();
        if shared {
            leaves(stage);
            // Either the core's accept had it already, or it is still there.
            twin.set_nonblocking(true).expect("a socket");
            match twin.accept() {
                Ok((mut taken, _)) => {
                    taken.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("it goes out");
                    assert!(read_head(&waits).expect("an answer").0.starts_with("HTTP/1.1 200 "));
                }
                Err(_) => assert!(read_head(&waits).expect("an answer").0.starts_with("HTTP/1.1 503 ")),
            }
            // And nothing keeps others from coming.
            tcp(addr);
            patiently(|| twin.accept()).expect("the next one");
        } else {
            assert!(read_head(&waits).expect("an answer").0.starts_with("HTTP/1.1 503 "));
            drop(waits);
            leaves(stage);
        }
    }
}
