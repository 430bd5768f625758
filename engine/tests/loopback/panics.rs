//! What a callback that panics ends: its connection, its request or its attempt, and nobody else; or its core, where it is about
//! nothing less or the settings say so.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};

use wsring::http::StatusCode;
use wsring::{
    Client as Dialler, CloseReason, Config, ConnId, CoreCx, CoreState, Cx, DialError, Dialled, Error, Handler, Message,
    OnPanic, Opening, Place, Response, Running, Server, Target, Verdict,
};

use crate::common::*;

/// Panics where it is told to, in the path or by a message, and tells the test how connections end.
struct Clumsy {
    place: usize,
    told: Sender<String>,
}

/// What panics is said by nobody: the hook would print it.
fn panics() -> ! {
    std::panic::resume_unwind(Box::new("as it was told to"))
}

fn stumbles(wanted: bool) {
    if wanted {
        panics();
    }
}

impl Handler for Clumsy {
    type Conn = String;
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<String> {
        let path = opening.request.path();
        stumbles(path == "/on_upgrade");
        Verdict::accept(path[1..].to_owned())
    }

    fn on_request(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        stumbles(opening.request.path() == "/on_request");
        let mut response = Response::new(b"here\n".to_vec());
        *response.status_mut() = StatusCode::OK;
        response
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        assert!(cx.send("welcome").is_queued());
        stumbles(cx.data() == "on_open");
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let place = self.place.to_string();
        match message {
            Message::Text("where am I?") => assert!(cx.send(place.as_str()).is_queued()),
            message => assert!(cx.forward(message).is_queued()),
        }
        stumbles(cx.data() == "on_message");
        if message == Message::Text("panic") {
            panics();
        }
    }

    fn on_wake(&mut self, _: &mut CoreCx<'_, Self>) {
        panics();
    }

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, _: ConnId, path: String, why: &CloseReason<'_>) {
        let _ = self.told.send(format!("{path} {why:?}"));
        stumbles(path == "on_close");
    }
}

fn clumsy(on_panic: OnPanic, core_count: usize) -> (Running, SocketAddr, Receiver<String>) {
    let (told, tells) = mpsc::channel();
    let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(core_count));
    let started = server
        .config(Config::default().on_panic(on_panic).ring(ring()))
        .start(move |core| Clumsy { place: core.place.index(), told: told.clone() });
    let running = started.expect("it starts");
    let addr = running.local_addrs()[0];
    (running, addr, tells)
}

fn welcomed(addr: SocketAddr, path: &str) -> Client {
    let mut client = Client::open(addr, path);
    client.expect(TEXT, b"welcome");
    client
}

/// What was queued goes out, then 1011 (RFC 6455 §7.4.1); `on_close` is told; what else the peer has sent is discarded; the others
/// notice nothing.
#[test]
fn a_panic_ends_its_connection_and_no_other() {
    let (running, addr, tells) = clumsy(OnPanic::Close, 1);
    let mut innocent = welcomed(addr, "/innocent");
    let mut opened = welcomed(addr, "/on_open");
    assert_eq!(opened.expect_close(), (1011, String::new()));
    assert_eq!(opened.expect_end(), End::Eof);
    assert_eq!(tells.recv_timeout(WAIT).expect("on_close"), "on_open Panicked");
    // A short one lies in the receive buffer, a long one has a buffer of its own, which moves into the output.
    for len in [5, 100_000] {
        let mut client = welcomed(addr, "/on_message");
        let (payload, mut bytes) = (vec![7; len], Vec::new());
        client_frame(&mut bytes, true, BINARY, &payload, [1, 2, 3, 4]);
        client_frame(&mut bytes, true, TEXT, b"is not heard", [1, 2, 3, 4]);
        client.send_cut(&bytes);
        client.expect(BINARY, &payload);
        assert_eq!(client.expect_close().0, 1011);
        assert_eq!(client.expect_end(), End::Eof);
        assert_eq!(tells.recv_timeout(WAIT).expect("on_close"), "on_message Panicked");
        innocent.echo(BINARY, &payload);
    }
    let closing = welcomed(addr, "/on_close");
    closing.close();
    assert!(tells.recv_timeout(WAIT).expect("on_close").starts_with("on_close Peer"));
    innocent.echo(TEXT, b"still here");
    innocent.close();
    let handle = running.handle();
    assert_eq!(handle.state(Place::new(0)), CoreState::Running);
    let stats = finish(running);
    assert_eq!((stats.panics, stats.opened, stats.open, stats.messages), (4, 5, 0, 5));
    assert_eq!(handle.state(Place::new(0)), CoreState::Ended);
}

#[test]
fn a_panic_ends_its_request_with_500() {
    let (running, addr, _tells) = clumsy(OnPanic::Close, 1);
    let refused = Client::try_open(addr, "/on_upgrade", &[]).map(drop).expect_err("no connection");
    assert_eq!(refused.status, 500);
    for (path, status) in [("/on_request", 500), ("/", 200)] {
        let answer = ask(addr, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(answer.status, status);
    }
    let stats = finish(running);
    assert_eq!((stats.panics, stats.declined, stats.opened), (2, 2, 0));
}

/// An attempt whose `on_answer` panics fails, and a panic of `on_dial_failed` has nothing else to end.
#[test]
fn a_panic_ends_its_attempt() {
    /// Dials, and panics in whatever comes of it.
    struct Dials(Target, Sender<String>);
    impl Handler for Dials {
        type Conn = ();
        type Mail = ();
        fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
            cx.connect(self.0.clone());
        }
        fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &wsring::Answered<'_>) -> Option<()> {
            panics();
        }
        fn on_dial_failed(
            &mut self,
            _: &mut CoreCx<'_, Self>,
            _: &Dialled,
            why: &DialError,
            retry: Option<std::time::Duration>,
        ) {
            let _ = self.1.send(format!("{why:?}, {}", retry.is_some()));
            panics();
        }
        fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    }
    let (server, addr) = serve(Config::default(), 1, |_| Echo);
    let (told, tells) = mpsc::channel();
    let again = wsring::Reconnect::default().wait_first(std::time::Duration::from_millis(1)).attempts_max(1);
    let target = Target::new(&format!("ws://{addr}/")).expect("a URL").reconnect(again);
    let client = Dialler::new().start(move |_| Dials(target.clone(), told.clone()));
    let client = client.expect("it starts");
    for again in [true, false] {
        assert_eq!(tells.recv_timeout(WAIT).expect("on_dial_failed"), format!("Panicked, {again}"));
    }
    let stats = finish(client);
    assert_eq!((stats.panics, stats.dials_failed, stats.opened), (4, 2, 0));
    finish(server);
}

/// A panic that ends its core: peers are told 1011 and have their time, a request in progress is answered, and `join` stops the others, whose peers
/// are told 1001, and names the core.
fn ends_its_core(
    running: Running,
    addr: SocketAddr,
    tells: &Receiver<String>,
    panic: impl FnOnce(&Running, &mut Client),
) {
    let mut on: [Vec<Client>; 2] = Default::default();
    while on.iter().any(|on| on.len() < 2) {
        let mut client = welcomed(addr, "/");
        client.send(TEXT, b"where am I?");
        let core = usize::from(client.frame().payload == b"1");
        on[core].push(client);
    }
    let handle = running.handle();
    panic(&running, &mut on[1][0]);
    for client in &mut on[1] {
        assert_eq!(client.expect_close(), (1011, "server failed".to_owned()));
        client.send(CLOSE, &1011_u16.to_be_bytes());
        assert_eq!(client.expect_end(), End::Eof);
    }
    assert_eq!([0, 1].map(|place| handle.state(Place::new(place))), [CoreState::Running, CoreState::Failed]);
    // The other core serves on until somebody waits for the end.
    on[0][0].echo(TEXT, b"are you there?");
    let joined = std::thread::spawn(move || running.join());
    for client in &mut on[0] {
        assert_eq!(client.expect_close().0, 1001);
        client.send(CLOSE, &1001_u16.to_be_bytes());
        assert_eq!(client.expect_end(), End::Eof);
    }
    match joined.join().expect("join does not panic itself") {
        Err(Error::Panicked { place }) => assert_eq!(place.index(), 1),
        other => panic!("{other:?}"),
    }
    assert_eq!([0, 1].map(|place| handle.state(Place::new(place))), [CoreState::Ended, CoreState::Failed]);
    // Nothing of a handler that has failed is called any more.
    let told: Vec<String> = tells.iter().collect();
    assert!(told.iter().all(|why| why == " Stopped" || why == " Panicked"), "{told:?}");
    assert_eq!(told.iter().filter(|why| *why == " Stopped").count(), on[0].len());
}

#[test]
fn a_panic_about_the_core_ends_it() {
    let (running, addr, tells) = clumsy(OnPanic::Close, 2);
    ends_its_core(running, addr, &tells, |running, _| running.handle().wake(Place::new(1)));
}

/// [`OnPanic::Stop`].
#[test]
fn any_panic_ends_the_core_if_that_is_wanted() {
    let (running, addr, tells) = clumsy(OnPanic::Stop, 2);
    let panic = |_: &Running, client: &mut Client| {
        client.send(TEXT, b"panic");
        client.expect(TEXT, b"panic");
    };
    // The connection whose callback it was is told without a reason, as ever.
    let (told, reason) = (1011, String::new());
    let mut on: Vec<Client> = Vec::new();
    while on.len() < 2 {
        let mut client = welcomed(addr, "/");
        client.send(TEXT, b"where am I?");
        if client.frame().payload == b"1" {
            on.push(client);
        }
    }
    panic(&running, &mut on[0]);
    assert_eq!(on[0].expect_close(), (told, reason));
    assert_eq!(on[1].expect_close(), (told, "server failed".to_owned()));
    for client in &mut on {
        client.send(CLOSE, &told.to_be_bytes());
        client.expect_end();
    }
    assert!(matches!(running.join(), Err(Error::Panicked { place }) if place == Place::new(1)));
    assert!(tells.iter().all(|why| why != " Panicked"), "a handler that has failed is not called");
}

/// A core whose `on_start` panics has failed; what it would have accepted is not left waiting.
#[test]
fn a_panic_at_the_start() {
    struct Never;
    impl Handler for Never {
        type Conn = ();
        type Mail = ();
        fn on_start(&mut self, _: &mut CoreCx<'_, Self>) {
            panics();
        }
        fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    }
    let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(1));
    let addr = server.local_addrs().expect("an address")[0];
    let running = server.start(|_| Never).expect("it starts");
    assert!(matches!(running.join(), Err(Error::Panicked { .. })));
    let refused = std::net::TcpStream::connect(addr).map(|mut stream| stream.write_all(b"GET"));
    assert!(refused.is_err(), "nobody listens");
}
