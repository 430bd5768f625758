//! What happens when a connection that we made is lost: waits, counts, heartbeats, and their end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wsring::{CloseCode, Config, DialError, Message, Reconnect};

use super::caller::{Line, Setup, Told, dial, switching, target};
use crate::common::*;

const LONGEST: Duration = Duration::from_millis(40);

fn quick() -> Reconnect {
    Reconnect::default().wait_first(Duration::from_millis(5)).wait_max(LONGEST)
}

/// A server on a port that is [`refused`], perhaps again; it may take a moment until the last server has left it.
#[track_caller]
fn rebind(addr: SocketAddr) -> Running {
    let deadline = Instant::now() + WAIT;
    loop {
        match serve_at(addr, Config::default(), 1, |_| Echo) {
            Ok((running, _)) => return running,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

/// What is told of any dial but the one to `refused`.
#[track_caller]
fn next_of_others(line: &Line, refused: SocketAddr) -> Told {
    loop {
        match line.next() {
            Told::Again { .. } => {}
            Told::Failed { why: DialError::Connect { addr, .. }, retry: Some(_), .. } if addr == refused => {}
            other => return other,
        }
    }
}

/// Nothing is told of any dial but the one to `refused` for longer than any first wait: a client's waits come in their order,
/// however busy it is, and this dial has had several by then.
#[track_caller]
fn nothing_of_others(line: &Line, refused: SocketAddr) {
    let mut failed = 0;
    while failed < 4 {
        match line.next() {
            Told::Again { .. } => {}
            Told::Failed { why: DialError::Connect { addr, .. }, retry: Some(_), .. } if addr == refused => failed += 1,
            other => panic!("{other:?}"),
        }
    }
}

/// Opens each connection and hands it over.
fn doorman(count: usize, mut serve: impl FnMut(TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let thread = thread::spawn(move || {
        for _ in 0..count {
            let (mut stream, _) = listener.accept().expect("the client connects");
            bounded(&stream);
            let (head, _) = read_head(&stream).expect("a request");
            stream.write_all(switching(&head, "").as_bytes()).expect("it goes out");
            serve(stream);
        }
    });
    (addr, thread)
}

/// A server that dies and returns on the same port, three times: after each return the connection is there and works, and while
/// the server is dead every attempt is counted.
#[test]
fn a_server_that_dies_and_returns() {
    let (_port, addr) = refused();
    let mut server = rebind(addr);
    let setup = Setup { says: vec![b"subscribe".to_vec()], ..Setup::default() };
    let policy = quick().healthy_after(Duration::ZERO);
    let line = setup.dial([target(addr).reconnect(policy)]);
    for _ in 0..3 {
        line.open_at_last();
        line.gets(&[b"subscribe".to_vec()]);
        finish(server);
        let closed = line.closed();
        assert!(closed.contains("Peer") && closed.contains("1001"), "{closed}");
        let (mut failed, mut last) = (0, 1);
        while failed < 3 {
            match line.next() {
                Told::Again { attempt } => assert_eq!(attempt, last + 1),
                Told::Failed { why: DialError::Connect { .. }, retry: Some(wait), attempt } => {
                    assert_eq!(attempt, last + 1, "each is counted");
                    assert!(wait <= LONGEST, "{wait:?}");
                    (failed, last) = (failed + 1, attempt);
                }
                other => panic!("{other:?}"),
            }
        }
        server = rebind(addr);
    }
    line.open_at_last();
    line.gets(&[b"subscribe".to_vec()]);
    let client = finish(line.running);
    assert_eq!((client.opened, client.closed), (4, client.connected));
    assert!(client.dials_failed >= 9);
    finish(server);
}

/// A connection that breaks under queued output: what no socket took is said, and with what the server got it is all that was sent.
#[test]
fn what_was_not_handed_to_the_kernel_is_said() {
    let (addr, server) = doorman(1, |mut stream| {
        stream.read_exact(&mut [0]).expect("a message, so it is open");
        reset(stream);
    });
    let messages = 40;
    let says = vec![vec![1; 300_000]; messages];
    let line = Setup { says, ..Setup::default() }.dial([target(addr)]);
    line.open();
    // The socket tells its error once, to a send or to the receive: if to a send, the receive may see the end before that is known.
    let queued = match line.next() {
        Told::Closed(why, queued) if why.starts_with("Reset") || why == "Eof" => queued,
        other => panic!("{other:?}"),
    };
    server.join().expect("the server is content");
    let stats = line.finish();
    let request = stats.bytes_out as usize + queued - messages * (300_000 + 14);
    assert!((100..300).contains(&request), "all but the request is accounted for: {request}");
    assert!(queued > 0, "the server read one byte, and 12 MB are more than sockets take");
}

#[test]
fn attempts_end_at_their_number() {
    let (_port, addr) = refused();
    let policy = quick().attempts_max(3);
    let line = dial(target(addr).reconnect(policy));
    for attempt in 1..=4 {
        if attempt > 1 {
            assert!(matches!(line.next(), Told::Again { attempt: said } if said == attempt));
        }
        match line.next() {
            Told::Failed { why: DialError::Connect { .. }, retry, attempt: said } => {
                assert_eq!((said, retry.is_some()), (attempt, attempt < 4));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(line.finish().dials_failed, 4);
}

/// A server that opens and closes at once is no healthy one: its connections count as attempts, and so end.
#[test]
fn connections_that_do_not_last_are_attempts() {
    let (addr, server) = doorman(3, drop);
    let policy = quick().attempts_max(2);
    let line = dial(target(addr).reconnect(policy));
    for attempt in 1..=3 {
        if attempt > 1 {
            assert!(matches!(line.next(), Told::Again { attempt: said } if said == attempt));
        }
        line.open();
        line.closed();
    }
    assert!(matches!(line.next(), Told::Failed { why: DialError::Exhausted, retry: None, attempt: 3 }));
    server.join().expect("the server is content");
    line.finish();
}

/// One that lasted begins the count anew.
#[test]
fn healthy_connections_begin_anew() {
    let (addr, server) = doorman(4, drop);
    let policy = quick().attempts_max(1).healthy_after(Duration::ZERO);
    let line = dial(target(addr).reconnect(policy));
    for round in 0..4 {
        if round > 0 {
            assert!(matches!(line.next(), Told::Again { attempt: 2 }));
        }
        line.open();
        line.closed();
    }
    server.join().expect("the server is content");
    finish(line.running);
}

/// What the application ends is not dialled again; nor what a server refuses for good.
#[test]
fn what_is_not_dialled_again() {
    let (server, addr) = serve(Config::default(), 1, |_| Echo);
    let opened = |cx: &mut wsring::Cx<'_, _>| cx.close(CloseCode::NORMAL, "done");
    let (_port, nobody) = refused();
    let line = Setup { opened, ..Setup::default() }.dial([addr, nobody].map(|addr| target(addr).reconnect(quick())));
    assert!(matches!(next_of_others(&line, nobody), Told::Answer { .. }));
    assert!(matches!(next_of_others(&line, nobody), Told::Open(_)));
    assert!(matches!(next_of_others(&line, nobody), Told::Closed(why, _) if why == "Local { clean: true }"));
    nothing_of_others(&line, nobody);
    assert_eq!(finish(line.running).connected, 1);
    finish(server);

    struct Forbids;
    impl wsring::Handler for Forbids {
        type Conn = ();
        type Mail = ();
        fn on_message(&mut self, _: &mut wsring::Cx<'_, Self>, _: Message<'_>) {}
    }
    let (server, addr) = serve(Config::default(), 1, |_| Forbids);
    let line = dial(target(addr).reconnect(quick()));
    match line.next() {
        Told::Failed { why: DialError::Declined(declined), retry: None, .. } => assert_eq!(declined.status, 404),
        other => panic!("{other:?}"),
    }
    line.finish();
    finish(server);
}

/// An abandoned dial stays away, whatever it was doing.
#[test]
fn abandoned_dials() {
    // Open: the connection goes on, and is the last.
    let (server, addr) = serve(Config::default(), 1, |_| Echo);
    let opened = |cx: &mut wsring::Cx<'_, _>| {
        let dial = cx.dial().expect("we dialled");
        cx.abandon(dial);
    };
    let says = vec![b"still here".to_vec()];
    let (_port, nobody) = refused();
    let dials = [addr, nobody].map(|addr| target(addr).reconnect(quick()));
    let line = Setup { opened, says, ..Setup::default() }.dial(dials);
    assert!(matches!(next_of_others(&line, nobody), Told::Answer { .. }));
    assert!(matches!(next_of_others(&line, nobody), Told::Open(_)));
    assert!(matches!(next_of_others(&line, nobody), Told::Binary(bytes) if bytes == b"still here"));
    finish(server);
    assert!(matches!(next_of_others(&line, nobody), Told::Closed(..)));
    nothing_of_others(&line, nobody);
    finish(line.running);
}

/// A stop ends every attempt under way, with a word.
#[test]
fn a_stop_in_the_middle() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = silent.local_addr().expect("an address");
    let line = dial(target(addr).reconnect(quick()));
    let (stream, _) = silent.accept().expect("it connects");
    read_head(&stream).expect("it asks");
    line.running.handle().stop();
    assert!(matches!(line.next(), Told::Failed { why: DialError::Stopped, retry: None, .. }));
    let stats = line.finish();
    assert_eq!((stats.connected, stats.closed, stats.dials_failed), (1, 1, 1));
}

/// A text again and again, for as long as the connection is open.
#[test]
fn heartbeats() {
    let (addr, server) = doorman(1, |mut stream| {
        for _ in 0..5 {
            let mut frame = [0; 2 + 4 + 4];
            stream.read_exact(&mut frame).expect("a heartbeat");
            assert_eq!(frame[..2], [0x81, 0x84], "a masked text of four bytes");
            let key: [u8; 4] = frame[2..6].try_into().expect("four");
            let text: Vec<u8> = frame[6..].iter().zip(key).map(|(byte, key)| byte ^ key).collect();
            assert_eq!(text, b"ping");
        }
    });
    let began = Instant::now();
    let line = dial(target(addr).heartbeat(Duration::from_millis(20), Message::Text("ping")));
    line.open();
    line.closed();
    assert!(began.elapsed() >= Duration::from_millis(100), "not before their time");
    server.join().expect("the server is content");
    assert!(line.finish().sent >= 5);
}
