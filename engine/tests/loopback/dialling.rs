//! Connections that we make: to our own server, and to servers that refuse, stall, lie and die. Each error is the right one.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use wsring::{
    AnswerError, Answered, CloseCode, CloseReason, Config, ConnId, CoreCx, Cx, DialError, Dialled, Handler, Message,
    Opening, Target,
};

use crate::caller::{Setup, Told, dial, header, scripted, switching, target};
use crate::common::{self, Echo, Random, finish, read_head, refused, serve, start_client, tcp};

#[test]
fn our_own_server_echoes_every_size() {
    let (server, addr) = serve(Config::default(), 1, |_| Echo);
    let mut random = Random::new(1);
    let says: Vec<Vec<u8>> =
        [0, 1, 125, 126, 127, 4000, 8191, 8192, 65_535, 65_536, 300_000, 4 << 20].map(|len| random.bytes(len)).into();
    let setup = Setup { says: says.clone(), closes_after: says.len(), ..Setup::default() };
    let line = setup.dial([target(addr)]);
    line.open();
    line.gets(&says);
    assert_eq!(line.closed(), "Local { clean: true }");
    let stats = line.finish();
    assert_eq!((stats.connected, stats.opened, stats.closed, stats.dials_failed), (1, 1, 1, 0));
    assert_eq!(stats.messages, says.len() as u64);
    let stats = finish(server);
    assert_eq!((stats.opened, stats.violations, stats.resets), (1, 0, 0));
}

/// A message that arrived in a buffer of its own moves into the send, masked there.
#[test]
fn a_client_that_echoes_to_a_server_that_speaks_first() {
    struct First(Sender<bool>);
    impl Handler for First {
        type Conn = Vec<u8>;
        type Mail = ();
        fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> wsring::Verdict<Vec<u8>> {
            wsring::Verdict::accept(Random::new(9).bytes(1 << 20))
        }
        fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
            let bytes = cx.data().clone();
            assert!(cx.send(Message::Binary(&bytes)).is_queued());
        }
        fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
            self.0.send(cx.data() == message.as_bytes()).expect("awaited");
            cx.close(CloseCode::GOING_AWAY, "goodbye");
        }
    }
    struct Mirror(Target);
    impl Handler for Mirror {
        type Conn = ();
        type Mail = ();
        fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<()> {
            Some(())
        }
        fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
            assert!(cx.forward(message).is_queued());
        }
        fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, _: ConnId, (): (), why: &CloseReason<'_>) {
            assert_eq!(*why, CloseReason::Peer { code: Some(CloseCode::GOING_AWAY), reason: "goodbye" });
            cx.stop_core();
        }
        fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
            cx.connect(self.0.clone());
        }
    }
    let (sender, receiver) = mpsc::channel();
    let (server, addr) = serve(Config::default(), 1, move |_| First(sender.clone()));
    let running = start_client(Config::default(), move |_| Mirror(target(addr)));
    assert!(receiver.recv_timeout(common::WAIT).expect("an echo"), "the echo is another");
    let stats = running.join().expect("it stops itself");
    assert_eq!((stats[0].opened, stats[0].closed), (1, 1));
    assert_eq!(finish(server).violations, 0);
}

/// A client whose target is no URL has nothing to wait for.
#[test]
fn a_core_that_stops_as_it_starts() {
    struct Brief(Sender<()>);
    impl Handler for Brief {
        type Conn = ();
        type Mail = ();
        fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
            cx.stop_core();
        }
        fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    }
    impl Drop for Brief {
        fn drop(&mut self) {
            let _ = self.0.send(()); // the test may have given up
        }
    }
    let (sender, receiver) = mpsc::channel();
    let running = start_client(Config::default(), move |_| Brief(sender.clone()));
    receiver.recv_timeout(common::WAIT).expect("the core ends");
    assert_eq!(running.join().expect("it stops itself")[0].opened, 0);
}

/// What the request says, and that every frame has a key of its own (RFC 6455 §5.3).
#[test]
fn the_request_and_the_masks() {
    let (addr, server) = scripted(|mut stream, head| {
        assert!(head.starts_with("GET /feed?depth=5 HTTP/1.1\r\n"), "{head}");
        assert_eq!(header(&head, "Host"), Some(&*format!("127.0.0.1:{}", stream.local_addr().unwrap().port())));
        assert_eq!(header(&head, "Origin"), Some("https://desk.example"));
        assert_eq!(header(&head, "Sec-WebSocket-Protocol"), Some("v2, v1"));
        assert_eq!(header(&head, "authorization"), Some("Bearer x"));
        let mut answer = switching(&head, "Sec-WebSocket-Protocol: v1\r\n").into_bytes();
        answer.extend_from_slice(b"\x81\x02hi"); // a frame right behind the head
        stream.write_all(&answer).expect("it goes out");
        let mut bytes = vec![0; 8 * (6 + 4)];
        std::io::Read::read_exact(&mut stream, &mut bytes).expect("eight frames");
        let mut keys: Vec<[u8; 4]> = bytes
            .chunks(10)
            .map(|frame| {
                assert_eq!(frame[..2], [0x82, 0x84], "a masked binary frame of four bytes");
                let key: [u8; 4] = frame[2..6].try_into().expect("four");
                assert!(frame[6..].iter().zip(key).all(|(byte, key)| byte ^ key == 7));
                key
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 8, "a new key for every frame");
        stream.shutdown(Shutdown::Write).expect("shutdown");
    });
    let target = Target::new(&format!("ws://{addr}/feed?depth=5")).expect("a URL");
    let target =
        target.subprotocol("v2").and_then(|t| t.subprotocol("v1")).and_then(|t| t.origin("https://desk.example"));
    let target = target.and_then(|t| t.header("authorization", "Bearer x")).expect("all valid");
    let line = Setup { says: vec![vec![7; 4]; 8], ..Setup::default() }.dial([target]);
    assert!(matches!(line.next(), Told::Answer { subprotocol: Some(name), attempt: 1 } if name == "v1"));
    line.open();
    assert!(matches!(line.next(), Told::Text(text) if text == "hi"));
    assert_eq!(line.closed(), "Eof");
    server.join().expect("the server is content");
    line.finish();
}

#[test]
fn wrong_answers_are_named() {
    use AnswerError as E;
    type Make = fn(&str) -> String;
    let cases: [(E, Make); 9] = [
        (E::AcceptWrong, |head| switching(&head.replace("Key: ", "Key: AAAA"), "")),
        (E::AcceptMissing, |head| switching(head, "").replace("Sec-WebSocket-Accept", "X-Accept")),
        (E::UpgradeMissing, |head| switching(head, "").replace("Upgrade: websocket\r\n", "")),
        (E::UpgradeWrong, |head| switching(head, "").replace("websocket", "h2c")),
        (E::ConnectionMissing, |head| switching(head, "").replace("Connection: Upgrade\r\n", "")),
        (E::SubprotocolUnoffered, |head| switching(head, "Sec-WebSocket-Protocol: chat\r\n")),
        (E::ExtensionUnoffered, |head| switching(head, "Sec-WebSocket-Extensions: permessage-deflate\r\n")),
        (E::StatusLine, |_| "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned()),
        (E::HeadTooLarge, |head| switching(head, &format!("X-Long: {}\r\n", "x".repeat(70_000)))),
    ];
    for (error, make) in cases {
        let (addr, server) = scripted(move |mut stream, head| {
            let _ = stream.write_all(make(&head).as_bytes()); // it may hang up in the middle
            assert!(read_head(&stream).is_err(), "nothing more is said to such a server");
        });
        let line = dial(target(addr));
        match line.failed() {
            DialError::Answer(why) => assert_eq!(why, error),
            other => panic!("{error:?}: {other}"),
        }
        server.join().expect("the server is content");
        let stats = line.finish();
        assert_eq!((stats.connected, stats.opened, stats.closed, stats.dials_failed), (1, 0, 1, 1));
    }
}

/// A status with headers and the first bytes of the body, whether it says its length, ends with the connection, or is cut off by
/// the deadline or by what we keep.
#[test]
fn other_statuses_are_reported_whole() {
    type Serve = fn(TcpStream);
    let cases: [(u16, usize, Serve); 4] = [
        (302, 5, |mut s| {
            s.write_all(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 5\r\n\r\nmoved").expect("out");
            assert!(read_head(&s).is_err(), "it hangs up by itself");
        }),
        (404, 4, |mut s| {
            s.write_all(b"HTTP/1.0 404 \r\nLocation: /other\r\n\r\n").expect("out");
            s.write_all(b"none").expect("out");
        }),
        (503, 4096, |mut s| {
            s.write_all(b"HTTP/1.1 503 Busy\r\nLocation: /other\r\nContent-Length: 1000000\r\n\r\n").expect("out");
            let _ = s.write_all(&[b'x'; 50_000]);
            let _ = read_head(&s);
        }),
        (400, 3, |mut s| {
            s.write_all(b"HTTP/1.1 400 No\r\nLocation: /other\r\nContent-Length: 9\r\n\r\nbad").expect("out");
            assert!(read_head(&s).is_err(), "the deadline ends it");
        }),
    ];
    for (status, len, serve) in cases {
        let (addr, server) = scripted(move |stream, _| serve(stream));
        // Only the last has to meet it.
        let timeout = if status == 400 { Duration::from_secs(1) } else { common::WAIT };
        let line = dial(target(addr).handshake_timeout(timeout));
        match line.failed() {
            DialError::Declined(declined) => {
                assert_eq!((declined.status.as_u16(), declined.body.len()), (status, len));
                assert_eq!(declined.headers["location"], "/other");
            }
            other => panic!("{other}"),
        }
        server.join().expect("the server is content");
        line.finish();
    }
}

/// Byte by byte, behind an early hint (RFC 8297): the answer counts, not how it comes.
#[test]
fn a_slow_answer_behind_an_interim_one() {
    let (addr, server) = scripted(|mut stream, head| {
        let answer = format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{}", switching(&head, ""));
        for byte in answer.as_bytes().iter().chain(b"\x82\x03abc") {
            stream.write_all(&[*byte]).expect("it goes out");
        }
        let _ = read_head(&stream);
    });
    let line = Setup { closes_after: 1, ..Setup::default() }.dial([target(addr)]);
    line.open();
    assert!(matches!(line.next(), Told::Binary(bytes) if bytes == b"abc"));
    assert_eq!(line.closed(), "Local { clean: false }", "it hangs up instead of answering our Close");
    server.join().expect("the server is content");
    line.finish();
}

#[test]
fn refused_unanswered_and_cut_off() {
    // Nobody listens.
    let (_port, addr) = refused();
    let line = dial(target(addr));
    match line.failed() {
        DialError::Connect { addr: tried, source } => {
            assert_eq!((tried, source.kind()), (addr, std::io::ErrorKind::ConnectionRefused));
        }
        other => panic!("{other}"),
    }
    let stats = line.finish();
    assert_eq!((stats.connected, stats.dials_failed), (0, 1));

    // The kernel takes the connection, nobody else does: a stopped server.
    let stopped = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let began = Instant::now();
    let line = dial(target(stopped.local_addr().expect("an address")).handshake_timeout(Duration::from_millis(200)));
    assert!(matches!(line.failed(), DialError::HandshakeTimeout));
    assert!(began.elapsed() >= Duration::from_millis(200), "not before its time");
    assert_eq!(line.finish().timeouts, 1);

    // Ends, or breaks, instead of an answer.
    let (addr, server) = scripted(|stream, _| drop(stream));
    let line = dial(target(addr));
    assert!(matches!(line.failed(), DialError::Eof));
    server.join().expect("the server is content");
    line.finish();
    let (addr, server) = scripted(|mut stream, head| {
        stream.write_all(&switching(&head, "").as_bytes()[..40]).expect("half an answer");
        common::reset(stream);
    });
    let line = dial(target(addr));
    assert!(matches!(line.failed(), DialError::Reset(_)));
    server.join().expect("the server is content");
    line.finish();
}

/// A full backlog drops what asks to connect (listen(2)): no answer of any kind.
#[test]
fn a_host_that_does_not_answer() {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().expect("an address").into()).expect("a free port");
    listener.listen(0).expect("it listens");
    let addr = listener.local_addr().expect("an address").as_socket().expect("of the internet");
    let _first = tcp(addr);
    let began = Instant::now();
    let line = dial(target(addr).connect_timeout(Duration::from_millis(250)));
    match line.failed() {
        DialError::Connect { source, .. } => assert_eq!(source.kind(), std::io::ErrorKind::TimedOut),
        other => panic!("{other}"),
    }
    assert!(began.elapsed() >= Duration::from_millis(250), "not before its time");
    line.finish();
}

/// A name is looked up elsewhere, and each of its addresses tried.
#[test]
fn names() {
    let (server, addr) = serve(Config::default(), 1, |_| Echo);
    let by_name = Target::new(&format!("ws://localhost:{}/", addr.port())).expect("a URL");
    let line = Setup { says: vec![b"by name".to_vec()], closes_after: 1, ..Setup::default() }.dial([by_name]);
    line.open();
    assert!(matches!(line.next(), Told::Binary(bytes) if bytes == b"by name"));
    line.closed();
    line.finish();
    finish(server);
    // An empty label (RFC 1035 §2.3.1): the resolver says no by itself, and asks no server that may be slow, or lie.
    let line = dial(Target::new("ws://no..name/").expect("a URL"));
    assert!(matches!(line.failed(), DialError::Lookup { host, .. } if host == "no..name"));
    line.finish();
}

/// The application looks at the answer and leaves.
#[test]
fn an_answer_that_does_not_please() {
    let (addr, server) = scripted(|mut stream, head| {
        stream.write_all(switching(&head, "X-Go-Away: please\r\n").as_bytes()).expect("it goes out");
        assert!(read_head(&stream).is_err(), "nothing more comes");
    });
    let line = dial(target(addr));
    assert!(matches!(line.next(), Told::Answer { .. }));
    assert!(matches!(line.failed(), DialError::Unwanted));
    server.join().expect("the server is content");
    line.finish();
}

/// Dials count against the connection cap, and one over it fails without touching the others.
#[test]
fn the_connection_cap() {
    let (server, addr) = serve(Config::default(), 1, |_| Echo);
    let config = Config::default().connections_max(2);
    let line = Setup { config, ..Setup::default() }.dial([target(addr), target(addr), target(addr)]);
    let (mut opened, mut full) = (0, 0);
    while opened + full < 3 {
        match line.next() {
            Told::Answer { .. } => {}
            Told::Open(_) => opened += 1,
            Told::Failed { why: DialError::Full, retry: None, .. } => full += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((opened, full), (2, 1));
    finish(line.running);
    finish(server);
}

/// Hundreds of dials at once, each with its own connection.
#[test]
fn a_crowd_of_dials() {
    let (server, addr) = serve(Config::default(), 1, |_| Echo);
    let setup = Setup { says: vec![b"hello".to_vec()], closes_after: 1, ..Setup::default() };
    let line = setup.dial((0..500).map(|_| target(addr)));
    let mut closed = 0;
    while closed < 500 {
        match line.next() {
            Told::Closed(why, queued) => {
                assert_eq!((&*why, queued), ("Local { clean: true }", 0));
                closed += 1;
            }
            Told::Failed { why, .. } => panic!("{why}"),
            _ => {}
        }
    }
    let stats = line.finish();
    assert_eq!((stats.connected, stats.opened, stats.closed, stats.messages), (500, 500, 500, 500));
    finish(server);
}
