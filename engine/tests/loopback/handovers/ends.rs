//! Servers that were taken over from come to their end, whatever they have: dials, no listeners, sockets that others gave them.

use std::io::Read;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use wsring::{CoreCx, Target};

use super::*;

/// Ends a server on a thread of its own, which may never come.
fn ends(running: Running) -> Receiver<wsring::Stats> {
    let (ended, ends) = mpsc::channel();
    thread::spawn(move || {
        let _ = ended.send(running.join().expect("a good end")[0]); // a test that waits no longer has failed
    });
    ends
}

/// Dials one that takes connections and never answers.
struct Dials(SocketAddr);

impl Handler for Dials {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        let target = Target::new(&format!("ws://{}/", self.0)).expect("a URL");
        cx.connect(target.handshake_timeout(std::time::Duration::MAX));
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

/// An upstream that does not answer holds nobody up who was taken over from: what was dialled ends with the stop.
#[test]
fn who_is_dialled_is_not_waited_for() {
    let folder = Folder::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let upstream = silent.local_addr().expect("an address");
    let running = server(&folder, Listener::tcp("127.0.0.1:0")).expect("nobody is there");
    // Longer than the test: nothing else ends it.
    let config = strict(Config::default()).handshake_timeout(4 * WAIT);
    let running = running.config(config).start(move |_| Dials(upstream)).expect("it starts");
    let (mut dialled, _) = silent.accept().expect("it dials");
    bounded(&dialled);
    let mut asked = [0; 3];
    dialled.read_exact(&mut asked).expect("its request: it waits for the answer");
    assert_eq!(&asked, b"GET");
    let next = server(&folder, Listener::tcp("127.0.0.1:0")).expect("its sockets").start(|_| Hello::default());
    let next = next.expect("it takes over");
    ends(running).recv_timeout(WAIT).expect("it leaves, whoever it has dialled");
    finish(next);
}

/// Nowhere to accept, as that of a server which dials only: it is over all the same when the next one has taken over.
#[test]
fn a_server_without_listeners_leaves() {
    let folder = Folder::new();
    let start = || {
        let server = Server::take_over(Handover::at(folder.path("handover"))).expect("it takes over");
        server.cores(cores(1)).config(strict(Config::default())).start(|_| Hello::default()).expect("it starts")
    };
    let running = start();
    let next = start();
    assert_eq!(next.predecessor(), Some(std::process::id()));
    ends(running).recv_timeout(WAIT).expect("it leaves");
    finish(next);
}

/// A socket that is given is the one of the server before, or another at the same place: that one is left to the server before, with who waits there.
#[test]
fn a_socket_that_is_given_is_not_taken_for_another() {
    let folder = Folder::new();
    let bind = |port| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_reuse_port(true).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("it is shared");
        socket.listen(10).expect("it is bound");
        TcpListener::from(socket)
    };
    let listener = bind(0);
    let addr = listener.local_addr().expect("an address");
    let twin = listener.try_clone().expect("a second descriptor");
    let start =
        |listener| server(&folder, Listener::from_fd(listener)).expect("its sockets").start(|_| Hello::default());
    let first = start(listener).expect("it starts");
    let second = start(twin).expect("it takes over");
    assert_eq!((second.predecessor(), second.unclaimed()), (Some(std::process::id()), &[][..]), "the same");
    first.join().expect("a good end");
    let third = start(bind(addr.port())).expect("it takes over");
    assert_eq!(third.unclaimed(), [addr.to_string()], "another");
    second.join().expect("a good end");
    assert_eq!(VISIT.tcp(addr).expect("the same port"), "served");
    finish(third);
}

/// As long as it takes: no sum of times is too long for that.
#[test]
fn patience_may_have_no_end() {
    let folder = Folder::new();
    let start = || {
        let handover = Handover::at(folder.path("handover")).patience(std::time::Duration::MAX);
        let server = Server::take_over(handover).and_then(|server| server.and_listen(Listener::tcp("127.0.0.1:0")));
        let config = strict(Config::default());
        server.expect("its sockets").cores(cores(1)).config(config).start(|_| Hello::default()).expect("it takes over")
    };
    let running = start();
    let next = start();
    running.join().expect("a good end");
    finish(next);
}
