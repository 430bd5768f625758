//! The time between the moment in which a new server has the sockets and that in which it has taken over: both accept, and whatever becomes of the new one, the old one is as it was.

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use socket2::{SockAddr, SockRef, Socket, Type};
use wsring::{CoreCx, CoreInfo, Handle, Opening, Place, Verdict};

use super::*;

/// Says hello; one of its cores waits, when it starts, until the test goes on.
struct Starts {
    held: Option<(Sender<()>, Receiver<()>)>,
}

impl Handler for Starts {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, _: &mut CoreCx<'_, Self>) {
        if let Some((begun, go_on)) = self.held.take() {
            begun.send(()).expect("the test waits");
            let _ = go_on.recv(); // or the test has failed
        }
    }

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        assert!(cx.send("hello").is_queued());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let _ = cx.forward(message); // its peer waits for it
    }
}

/// A server of two cores on its way to take over: its first core accepts, and its second one has not started yet.
struct Coming {
    start: thread::JoinHandle<Result<Running, Error>>,
    handle: Handle,
    go_on: Sender<()>,
}

impl Coming {
    fn of(server: Server) -> Self {
        let ((begun, has_begun), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel());
        let (tell, told) = mpsc::channel();
        let held = Mutex::new(Some((begun, goes_on)));
        let make = move |core: CoreInfo| {
            let is_second = core.place == Place::new(1);
            if is_second {
                tell.send(core.handle.clone()).expect("the test waits");
            }
            let held = if is_second { held.lock().expect("no panic").take() } else { None };
            Starts { held }
        };
        let start = thread::spawn(move || server.cores(cores(2)).config(strict(Config::default())).start(make));
        has_begun.recv_timeout(WAIT).expect("its second core starts");
        Self { start, handle: told.recv_timeout(WAIT).expect("it was made"), go_on }
    }

    fn goes_on(self) -> Result<Running, Error> {
        self.go_on.send(()).expect("the core waits");
        self.start.join().expect("no panic")
    }
}

/// As long as a core of the new one does not accept the old one does, beside those that do: nobody is refused or reset.
#[test]
fn both_accept_until_all_cores_of_the_new_one_do() {
    let folder = Folder::new();
    let running = take_over(&folder, ring(), 1);
    let (addr, path) = (running.local_addrs()[0], folder.path("socket"));
    let server = Server::take_over(Handover::at(folder.path("handover")))
        .and_then(|server| server.and_listen(Listener::tcp("127.0.0.1:0")))
        .and_then(|server| server.and_listen(Listener::unix(&path)));
    let coming = Coming::of(server.expect("its sockets"));
    let mut visits = 0;
    let mut visit_all = |count| {
        for _ in 0..count {
            assert_eq!(VISIT.tcp(addr).expect("nobody is refused or reset"), "served");
            assert_eq!(VISIT.unix(&path).expect("nobody is refused or reset"), "served");
        }
        visits += 2 * count;
    };
    visit_all(50);
    assert_eq!(running.successor().pid(), None, "it has not been taken over from");
    // The kernel wakes whom it likes: each of the two, as a rule, and on epoll perhaps the one that was there first.
    let serves = || coming.handle.stats(Place::new(0), WAIT).expect("its first core runs").opened > 0;
    for _ in 0..50 {
        if serves() {
            break;
        }
        visit_all(1);
    }
    assert_eq!(running.successor().pid(), None, "it has not been taken over from");
    let next = coming.goes_on().expect("it takes over");
    visit_all(10);
    let mut total = running.join().expect("it has left")[0];
    total += finish(next);
    assert_eq!((total.opened, total.declined), (visits, 0), "{total}");
}

/// One that is refused when all its cores accept, because it took too long, serves whom it has accepted by then: nobody is turned away.
#[test]
fn who_is_refused_late_loses_nobody() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let open = || {
        let handover = Handover::at(folder.path("handover")).patience(Duration::from_millis(100));
        let server = Server::take_over(handover)?.and_listen(Listener::unix(&path))?;
        Ok::<Server, Error>(server.config(strict(Config::default())))
    };
    let running = open().expect("nobody is there").cores(cores(1)).start(|_| Hello::default()).expect("it starts");
    let ends = while_visited([(); 3].map(|()| || VISIT.unix(&path)), |_| {
        for _ in 0..8 {
            // It waits for its cores for longer than it is waited for.
            let patient = Handover::at(folder.path("handover"));
            let second = Server::take_over(patient).and_then(|server| server.and_listen(Listener::unix(&path)));
            let second = Coming::of(second.expect("its sockets"));
            // The third is given them when the second one's time is over.
            drop(open().expect("its sockets"));
            let late = second.goes_on().expect_err("it was not waited for");
            assert!(matches!(&late, Error::Handover { .. }) && late.to_string().contains("took longer"), "{late}");
        }
    });
    assert_eq!(ends.keys().collect::<Vec<_>>(), ["served"], "{ends:?}");
    finish(running);
}

/// One whose core dies or stops when it starts, or does not come to accept, has not taken over.
#[test]
fn who_does_not_come_to_accept_has_not_taken_over() {
    struct Ends(bool);
    impl Handler for Ends {
        type Conn = ();
        type Mail = ();
        fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
            assert!(!self.0, "a core that cannot start");
            cx.stop_core();
        }
        fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    }
    let folder = Folder::new();
    let path = folder.path("socket");
    let open = || server(&folder, Listener::unix(&path)).expect("its sockets");
    let running = open().start(|_| Hello::default()).expect("it starts");
    let serves_on = || assert_eq!(VISIT.unix(&path).expect("it serves on"), "served");
    let panics = open().start(|_| Ends(true)).expect_err("its core dies");
    assert!(matches!(panics, Error::Panicked { .. }), "{panics}");
    serves_on();
    let stops = open().start(|_| Ends(false)).expect_err("its core stops");
    assert!(stops.to_string().contains("has stopped already"), "{stops}");
    serves_on();
    let hurried = Handover::at(folder.path("handover")).patience(Duration::ZERO);
    let server = Server::take_over(hurried).and_then(|server| server.and_listen(Listener::unix(&path)));
    let coming = Coming::of(server.expect("its sockets"));
    let late = coming.goes_on().expect_err("its second core was not waited for");
    assert!(late.to_string().contains("does not accept in time"), "{late}");
    serves_on();
    let next = open().start(|_| Hello::default()).expect("it takes over");
    running.join().expect("a good end");
    serves_on();
    finish(next);
}

/// What the kernel has for sockets and files, and not for a process.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    mode: u32,
    nodelay: bool,
    send_bytes: usize,
    unsent_bytes: u32,
    /// Connections that may wait.
    backlog: usize,
}

/// Whoever comes with other settings for the same sockets sets them when it has taken over, and not if it fails, however late.
#[test]
fn settings_of_sockets_change_with_their_server() {
    use std::os::unix::fs::PermissionsExt;
    struct Fails;
    impl Handler for Fails {
        type Conn = ();
        type Mail = ();
        fn on_start(&mut self, _: &mut CoreCx<'_, Self>) {
            panic!("a core that cannot start");
        }
        fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    }
    let settings = |fails: bool| {
        let folder = Folder::new();
        let (queue, file) = (folder.path("queue"), folder.path("file"));
        // So that they can be looked at from here.
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let unix = std::os::unix::net::UnixListener::bind(&queue).expect("nobody is there");
        let addr = tcp.local_addr().expect("an address");
        let twin = |fd: std::os::fd::OwnedFd| Listener::from_fd(fd).shared(true);
        let config = strict(Config::default()).stop_timeout(WAIT);
        let first = Server::take_over(Handover::at(folder.path("handover")))
            .and_then(|server| server.and_listen(twin(tcp.try_clone().expect("a socket").into())))
            .and_then(|server| server.and_listen(twin(unix.try_clone().expect("a socket").into())))
            .and_then(|server| server.and_listen(Listener::unix(&file).mode(0o660)))
            .expect("nobody is there");
        let first =
            first.cores(cores(1)).config(config.clone().backlog(5)).start(|_| Hello::default()).expect("it starts");
        let second = || {
            let server = Server::take_over(Handover::at(folder.path("handover")))
                .and_then(|server| server.and_listen(Listener::tcp(addr)))
                .and_then(|server| server.and_listen(Listener::unix(&queue)))
                .and_then(|server| server.and_listen(Listener::unix(&file).mode(0o600)));
            let config = config.clone().backlog(2).nodelay(false).socket_send_bytes(20_000);
            server.expect("its sockets").cores(cores(1)).config(config.socket_unsent_bytes(16_384))
        };
        let last = if fails {
            drop(second());
            assert!(second().start(|_| -> Fails { panic!("a handler that cannot be made") }).is_err());
            assert!(second().start(|_| Fails).is_err());
            first
        } else {
            let next = second().start(|_| Hello::default()).expect("it takes over");
            first.join().expect("it has left");
            next
        };
        let mode = std::fs::metadata(&file).expect("it is there").permissions().mode() & 0o777;
        finish(last);
        let socket = SockRef::from(&tcp);
        let peers = || {
            let peer = Socket::new(socket2::Domain::UNIX, Type::STREAM, None).expect("a socket");
            peer.set_nonblocking(true).expect("a socket");
            peer.connect(&SockAddr::unix(&queue).expect("a path")).is_ok().then_some(peer)
        };
        let waiting: Vec<Socket> = std::iter::from_fn(peers).take(20).collect();
        Settings {
            mode,
            nodelay: socket.tcp_nodelay().expect("an option"),
            send_bytes: socket.send_buffer_size().expect("an option"),
            unsent_bytes: socket.tcp_notsent_lowat().expect("an option"),
            backlog: waiting.len() - 1, // listen(2): one more
        }
    };
    let changed = settings(false);
    let wanted = Settings { mode: 0o600, nodelay: false, send_bytes: 40_000, unsent_bytes: 16_384, backlog: 2 };
    assert_eq!(changed, wanted);
    let kept = settings(true);
    assert_eq!((kept.mode, kept.nodelay, kept.backlog), (0o660, true, 5), "{kept:?}");
    assert!(kept.send_bytes != changed.send_bytes && kept.unsent_bytes != changed.unsent_bytes, "{kept:?}");
}

/// A server that drains, because it was asked to, hands over all the same: its queue is the new one's, and of both drains the shorter counts.
#[test]
fn who_drains_hands_over() {
    let folder = Folder::new();
    let hour = Duration::from_secs(3600);
    let open = || {
        let handover = Handover::at(folder.path("handover")).drain(Drain::over(hour).code(CloseCode::SERVICE_RESTART));
        let server = Server::take_over(handover).and_then(|server| server.and_listen(Listener::tcp("127.0.0.1:0")));
        let config = strict(Config::default().closing_timeout(WAIT).stop_timeout(WAIT));
        server.expect("its sockets").cores(cores(1)).config(config).start(|_| Hello::default()).expect("it starts")
    };
    let running = open();
    let addr = running.local_addrs()[0];
    let mut client = Client::connect(addr);
    client.expect(TEXT, b"hello");
    running.drain(Drain::over(hour).at_least(hour));
    while VISIT.tcp(addr).expect("an answer") != "503" {}
    let next = open();
    // Until the old one has heard that it has been taken over from, it may still answer.
    while VISIT.tcp(addr).expect("an answer") != "served" {}
    client.echo(TEXT, b"its turn is within the hour");
    client.close();
    // Nobody is left, and no time is to be waited for.
    let stats = running.join().expect("a good end")[0];
    let report = stats.drain_report().expect("it was drained");
    assert!(report.left > 0 && report.left == report.open, "{report}");
    next.handle().stop();
    next.join().expect("a good end");
}
