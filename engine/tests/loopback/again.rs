//! What becomes of the next attempt: when it comes, and what it dials; and connections that the application cuts.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wsring::{
    Answered, CloseReason, Config, ConnId, CoreCx, Cx, DialError, DialId, Dialled, Handler, Message, Opening,
    Reconnect, Redial, Target, Verdict,
};

use super::caller::{Setup, Told, dial, header, scripted, switching, target};
use crate::common::*;

/// Longer than any test: what comes within it was not waited for.
const LONG: Duration = Duration::from_secs(3600);

/// Says this to the first who asks, and stays until he hangs up.
fn refusing(answer: &'static [u8]) -> (SocketAddr, JoinHandle<()>) {
    scripted(move |mut stream, _| {
        stream.write_all(answer).expect("it goes out");
        assert!(read_head(&stream).is_err(), "it hangs up by itself");
    })
}

/// The next wait is behind what the server asked for, in both forms.
#[test]
fn retry_after_comes_first() {
    let number: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n";
    let date: &[u8] = b"HTTP/1.1 503 Busy\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\
        Retry-After: Sun, 06 Nov 1994 09:49:37 GMT\r\n\r\n";
    for answer in [number, date] {
        let (addr, server) = refusing(answer);
        let line = dial(target(addr).reconnect(Reconnect::default()));
        match line.next() {
            Told::Failed { why: DialError::Declined(_), retry: Some(wait), .. } => {
                assert!(wait >= LONG && wait <= LONG + Duration::from_secs(1), "{wait:?}");
            }
            other => panic!("{other:?}"),
        }
        server.join().expect("the server is content");
        line.finish();
    }
}

/// RFC 9112 §7.1: a refusal whose body comes in chunks is told with the last of them, though the connection stays; and one with a long
/// head is a refusal, which is not dialled again.
#[test]
fn refusals_are_told_when_they_are_whole() {
    let chunked: &[u8] = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n\
        5\r\nhello\r\n0\r\n\r\n";
    let long = [
        "HTTP/1.1 403 Forbidden\r\nContent-Security-Policy: ",
        &"a".repeat(9000),
        "\r\nContent-Length: 5\r\n\r\nhello",
    ];
    let long: &[u8] = long.concat().leak().as_bytes();
    for answer in [chunked, long] {
        let (addr, server) = refusing(answer);
        let line = dial(target(addr).handshake_timeout(LONG).reconnect(Reconnect::default()));
        match line.next() {
            Told::Failed { why: DialError::Declined(declined), retry: None, .. } => {
                assert_eq!((declined.status.as_u16(), &declined.body[..]), (403, &b"hello"[..]));
            }
            other => panic!("{other:?}"),
        }
        server.join().expect("the server is content");
        line.finish();
    }
}

/// RFC 9112 §5.2: fields in several lines.
#[test]
fn an_answer_in_folded_lines_opens() {
    let (addr, server) = scripted(|mut stream, head| {
        let folded =
            switching(&head, "X-Policy: a;\r\n\tb\r\n").replace("Connection: ", "Connection: keep-alive,\r\n ");
        stream.write_all(folded.as_bytes()).expect("it goes out");
    });
    let line = dial(target(addr));
    line.open();
    assert_eq!(line.closed(), "Eof");
    server.join().expect("the server is content");
    line.finish();
}

/// Beyond the limits of its target a refusal is told by its status, and what would have opened the connection fails.
#[test]
fn answer_limits_of_a_target() {
    let limits = wsring::HeadLimits::of_answers().bytes_max(60).headers_max(1);
    let at_limit: &[u8] = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n";
    let headers: &[u8] = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\nA: b\r\n\r\n";
    let bytes: &[u8] = b"HTTP/1.1 403 No\r\nA: 3456789012345678901234567890123456789\r\n\r\n";
    assert!(headers.len() <= 60 && bytes.len() == 61);
    for (answer, kept) in [(at_limit, 1), (headers, 0), (bytes, 0)] {
        let (addr, server) = refusing(answer);
        let line = dial(target(addr).answer_limits(limits));
        match line.failed() {
            DialError::Declined(declined) => {
                assert_eq!((declined.status.as_u16(), declined.headers.len()), (403, kept))
            }
            other => panic!("{other}"),
        }
        server.join().expect("the server is content");
        line.finish();
    }
}

/// Tells the paths that it is asked for, and opens each connection to close it.
fn paths(count: usize) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for _ in 0..count {
            let (mut stream, _) = listener.accept().expect("the client connects");
            bounded(&stream);
            let (head, _) = read_head(&stream).expect("a request");
            stream.write_all(switching(&head, "").as_bytes()).expect("it goes out");
            tell.send(head.split(' ').nth(1).expect("a path").to_owned()).expect("awaited");
        }
    });
    (addr, told)
}

/// Dials once, and does as a test wants with each new attempt.
struct Chooser {
    target: Target,
    /// What a new attempt dials, by its number.
    says: fn(&mut CoreCx<'_, Self>, u32, DialId, &Target) -> Redial,
    ended: fn(&mut CoreCx<'_, Self>, DialId),
    asked: Sender<DialId>,
    failed: Sender<String>,
    dial: Option<DialId>,
    /// What it gives the second attempt when it is told of its addresses.
    then: Option<Target>,
}

impl Handler for Chooser {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        self.dial = Some(cx.connect(self.target.clone()));
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, dial: &Dialled, _: &Answered<'_>) -> Option<()> {
        assert_eq!(dial.tag, 7, "the tag stays");
        Some(())
    }

    fn on_resolved(&mut self, cx: &mut CoreCx<'_, Self>, dial: &Dialled, _: &mut Vec<SocketAddr>) {
        if dial.attempt == 2
            && let Some(then) = self.then.take()
        {
            assert!(cx.retarget(dial.id, then));
        }
    }

    fn on_redial(&mut self, cx: &mut CoreCx<'_, Self>, dial: &Dialled, target: &Target) -> Redial {
        assert_eq!(target.port(), self.target.port());
        let _ = self.asked.send(dial.id); // not every test wants to know
        (self.says)(cx, dial.attempt, dial.id, target)
    }

    fn on_reconnect(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled) {
        unreachable!("`on_redial` is implemented");
    }

    fn on_dial_failed(&mut self, cx: &mut CoreCx<'_, Self>, dial: &Dialled, why: &DialError, _: Option<Duration>) {
        let _ = self.failed.send(why.to_string());
        (self.ended)(cx, dial.id);
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, _: ConnId, (): (), _: &CloseReason<'_>) {
        (self.ended)(cx, self.dial.expect("it has dialled"));
    }
}

/// The client, whom it asks for targets, and why attempts failed.
fn choose(
    target: Target,
    says: fn(&mut CoreCx<'_, Chooser>, u32, DialId, &Target) -> Redial,
    ended: fn(&mut CoreCx<'_, Chooser>, DialId),
) -> (Running, Receiver<DialId>, Receiver<String>) {
    choose_then(target, says, ended, None)
}

fn choose_then(
    target: Target,
    says: fn(&mut CoreCx<'_, Chooser>, u32, DialId, &Target) -> Redial,
    ended: fn(&mut CoreCx<'_, Chooser>, DialId),
    then: Option<Target>,
) -> (Running, Receiver<DialId>, Receiver<String>) {
    let ((asked, whom), (failed, why)) = (mpsc::channel(), mpsc::channel());
    let running = start_client(Config::default(), move |_| Chooser {
        target: target.clone(),
        says,
        ended,
        asked: asked.clone(),
        failed: failed.clone(),
        dial: None,
        then: then.clone(),
    });
    (running, whom, why)
}

fn at(addr: SocketAddr, path: &str) -> Target {
    Target::new(&format!("ws://{addr}/{path}")).expect("a URL")
}

fn quick() -> Reconnect {
    Reconnect::default().wait_first(Duration::from_millis(1)).wait_max(Duration::from_millis(1))
}

/// Each attempt dials what it is given: the same, another by the callback, one that the callback gives by its context, one that
/// another thread gives later; and the tag and the policy stay.
#[test]
fn every_attempt_dials_what_it_is_given() {
    let (addr, paths) = paths(6);
    let says = |cx: &mut CoreCx<'_, Chooser>, attempt: u32, dial: DialId, target: &Target| {
        let here = |path: &str| at(format!("127.0.0.1:{}", target.port()).parse().expect("an address"), path);
        match attempt {
            2 => Redial::Same,
            3 => here("fresh").into(),
            4 => {
                assert!(cx.retarget(dial, here("given")));
                Redial::Same
            }
            5 => Redial::Later,
            _ => Redial::Same,
        }
    };
    let (running, asked, _) = choose(at(addr, "first").tag(7).reconnect(quick()), says, |_, _| {});
    let path = || paths.recv_timeout(WAIT).expect("an attempt");
    assert_eq!([path(), path(), path(), path()], ["/first", "/first", "/fresh", "/given"]);
    let dials = [(); 4].map(|()| asked.recv_timeout(WAIT).expect("asked"));
    running.handle().retarget(dials[3], at(addr, "late?token=x")).expect("there is room");
    assert_eq!([path(), path()], ["/late?token=x", "/late?token=x"]);
    finish(running);
}

/// An attempt that has begun asks the server whose addresses it has for what it was told, although there was no name to look up.
#[test]
fn what_is_given_when_addresses_are_known_is_for_the_next_attempt() {
    let (addr, paths) = paths(3);
    let says = |_: &mut CoreCx<'_, Chooser>, attempt: u32, _: DialId, _: &Target| match attempt {
        2 => Redial::Later,
        _ => Redial::Same,
    };
    let first = at(addr, "first").tag(7).reconnect(quick());
    let (running, asked, _) = choose_then(first, says, |_, _| {}, Some(at(addr, "next")));
    let path = || paths.recv_timeout(WAIT).expect("an attempt");
    assert_eq!(path(), "/first");
    running.handle().retarget(asked.recv_timeout(WAIT).expect("asked"), at(addr, "told")).expect("there is room");
    assert_eq!([path(), path()], ["/told", "/next"]);
    finish(running);
}

/// A target that nobody gives in time fails the attempt, and the next one asks again.
#[test]
fn a_target_that_does_not_come_fails_the_attempt() {
    let (_port, addr) = refused();
    let target = at(addr, "").reconnect(quick().attempts_max(2)).connect_timeout(Duration::from_millis(5));
    let (running, asked, failed) = choose(target, |_, _, _, _| Redial::Later, |_, _| {});
    let why = || failed.recv_timeout(WAIT).expect("a failure");
    assert!(why().contains("cannot connect"));
    for _ in 0..2 {
        asked.recv_timeout(WAIT).expect("it asks");
        assert_eq!(why(), DialError::NoTarget.to_string());
    }
    // It is over by then.
    let dial = asked.try_recv();
    assert!(dial.is_err());
    finish(running);
}

/// Over, or another's: counted, and nothing else.
#[test]
fn a_target_for_nobody_is_counted() {
    let (_port, addr) = refused();
    let (running, asked, failed) =
        choose(at(addr, "").reconnect(quick().attempts_max(1)), |_, _, _, _| Redial::Same, |_, _| {});
    let dial = asked.recv_timeout(WAIT).expect("it asks");
    for _ in 0..2 {
        failed.recv_timeout(WAIT).expect("a failure");
    }
    running.handle().retarget(dial, at(addr, "")).expect("there is room");
    assert_eq!(finish(running).mail_gone, 1);
}

/// The application knows better when to come back, after a failure and after a loss.
#[test]
fn the_next_wait_is_the_applications() {
    let patient = Reconnect::default().wait_first(LONG).jitter(0.0);
    let (_port, nobody) = refused();
    let ended = |cx: &mut CoreCx<'_, Chooser>, dial: DialId| {
        let _ = cx.set_wait(dial, Duration::ZERO); // over at the end
    };
    let (running, asked, _) =
        choose(at(nobody, "").reconnect(patient.attempts_max(3)), |_, _, _, _| Redial::Same, ended);
    for _ in 0..3 {
        asked.recv_timeout(WAIT).expect("it does not wait for an hour");
    }
    finish(running);

    let (addr, paths) = paths(3);
    let (running, ..) = choose(at(addr, "").tag(7).reconnect(patient), |_, _, _, _| Redial::Same, ended);
    (0..3).for_each(|_| drop(paths.recv_timeout(WAIT).expect("it does not wait for an hour")));
    finish(running);
}

/// From an address of its own, which the server sees; and not from one that the machine does not have.
#[test]
fn a_local_address_is_seen_by_the_server() {
    let here = std::net::IpAddr::from([127, 0, 0, 9]);
    let (addr, server) = scripted(move |mut stream, head| {
        assert_eq!(stream.peer_addr().expect("it is connected").ip(), here);
        stream.write_all(switching(&head, "").as_bytes()).expect("it goes out");
    });
    let line = dial(target(addr).local_address(here));
    line.open();
    assert_eq!(line.closed(), "Eof");
    server.join().expect("the server is content");
    line.finish();
    for (elsewhere, ours) in [("192.0.2.1", true), ("::1", false)] {
        let line = dial(target(addr).local_address(elsewhere.parse().expect("an address")));
        match line.failed() {
            DialError::Connect { source, .. } => {
                assert!(ours && source.kind() == io::ErrorKind::AddrNotAvailable, "{source}");
            }
            DialError::NoAddress => assert!(!ours),
            other => panic!("{other}"),
        }
        line.finish();
    }
}

/// Another Host than the URL's, and no offer of compression where others are made one.
#[test]
fn a_target_speaks_for_itself() {
    let config = || Config::default().deflate(wsring::Deflate::shared());
    for is_plain in [false, true] {
        let (addr, server) = scripted(move |mut stream, head| {
            assert_eq!(header(&head, "Host"), Some("feed.example.com"), "{head}");
            assert_eq!(header(&head, "Sec-WebSocket-Extensions").is_none(), is_plain, "{head}");
            stream.write_all(switching(&head, "").as_bytes()).expect("it goes out");
        });
        let target = target(addr).host_header("feed.example.com").expect("a name");
        let target = if is_plain { target.plain() } else { target };
        let line = Setup { config: config(), ..Setup::default() }.dial([target]);
        line.open();
        assert_eq!(line.closed(), "Eof");
        server.join().expect("the server is content");
        line.finish();
    }
}

/// Sends more than sockets hold to whoever comes, and cuts him when he says a word.
struct Cutter(Sender<(String, usize)>);

impl Handler for Cutter {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        for _ in 0..16 {
            let _ = cx.send(Message::Binary(&[7; 1 << 20]));
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert_eq!(message, Message::Text("cut"), "a message behind the cut");
        cx.abort();
        assert!(!cx.send("more").is_queued());
        cx.abort();
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, id: ConnId, (): (), why: &CloseReason<'_>) {
        self.0.send((format!("{why:?}"), cx.unsent(id))).expect("awaited");
    }
}

/// A connection that is cut is reset at once: what is queued is lost, what else the peer has said is not handed out.
#[test]
fn an_abort_flushes_nothing() {
    let (tell, told) = mpsc::channel();
    // Read although its output is high.
    let config = Config::default().pressure_accepted(wsring::Pressure::ReadOn);
    let (running, addr) = serve(config, 1, move |_| Cutter(tell.clone()));
    let mut client = Client::connect(addr);
    let mut bytes = Vec::new();
    client_frame(&mut bytes, true, TEXT, b"cut", [1, 2, 3, 4]);
    client_frame(&mut bytes, true, TEXT, b"behind it", [1, 2, 3, 4]);
    client.stream.write_all(&bytes).expect("it goes out");
    let (why, unsent) = told.recv_timeout(WAIT).expect("its end");
    assert_eq!(why, "Aborted");
    assert!(unsent > 1 << 20, "16 MiB are more than sockets take: {unsent}");
    let end = loop {
        match client.stream.read(&mut [0; 1 << 16]) {
            Ok(0) => panic!("an orderly end"),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(end, io::ErrorKind::ConnectionReset);
    let stats = finish(running);
    assert_eq!((stats.aborted, stats.opened, stats.closed, stats.messages), (1, 1, 1, 1));
    assert_eq!((stats.resets, stats.timeouts), (0, 0));
}

/// A connection that was dialled and is cut comes back by its policy.
#[test]
fn a_dialled_connection_that_is_cut_is_dialled_again() {
    struct Impatient(Target);
    impl Handler for Impatient {
        type Conn = ();
        type Mail = ();
        fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
            cx.connect(self.0.clone());
        }
        fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<()> {
            Some(())
        }
        fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
            cx.abort();
        }
        fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = target(listener.local_addr().expect("an address")).reconnect(quick());
    let running = start_client(Config::default(), move |_| Impatient(target.clone()));
    for _ in 0..3 {
        let (mut stream, _): (TcpStream, _) = listener.accept().expect("the client connects");
        bounded(&stream);
        let (head, _) = read_head(&stream).expect("a request");
        stream.write_all(switching(&head, "").as_bytes()).expect("it goes out");
        let end = stream.read(&mut [0; 16]).expect_err("a reset");
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }
    let stats = finish(running);
    assert!(stats.aborted >= 3);
}
