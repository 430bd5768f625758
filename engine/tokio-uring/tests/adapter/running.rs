//! The programme of echoes on the adapter's own paths, many at once; stops, wakes, panics; several servers in a runtime.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use wsring::http::StatusCode;
use wsring::{
    CloseCode, Config, CoreCx, CoreState, Cx, Delivery, Drain, Error, Handler, MailError, Message, OnPanic, Opening,
    OwnedMessage, Pending, Place, Publish, Response, Verdict,
};
use wsring_tokio_uring::Server;

use crate::common::*;
use crate::programme::{borders, programme};
use crate::server::start;

fn echoes(config: Config) {
    let lens = borders(&config);
    let (running, addr) = serve(config, 1, |_| Echo);
    let messages = programme(addr, &lens);
    let stats = finish(running);
    assert_eq!((stats.messages, stats.sent), (messages, messages));
    assert_eq!((stats.accepted, stats.opened, stats.closed), (4, 4, 4));
    assert_eq!((stats.refused, stats.gone, stats.violations, stats.resets, stats.timeouts), (0, 0, 0, 0, 0));
}

/// Around the sizes of read buffers (4 and 64 KiB), and where replies stop being gathered.
#[test]
fn every_border() {
    echoes(Config::default());
}

/// Nothing pooled and everything pressed: each reply is a buffer of its own, and each connection is paused all the time.
#[test]
fn every_border_under_pressure() {
    echoes(Config::default().pool_max_bytes(0).output_high_bytes(1000).output_low_bytes(500));
}

#[test]
fn two_hundred_connections_at_once() {
    let (running, addr) = serve(Config::default(), 1, |_| Echo);
    thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                let mut random = Random::new(part);
                let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(addr)).collect();
                for round in 0..5 {
                    let len = [0, 125, 4096, 20_000, 70_000][round];
                    let messages: Vec<Vec<u8>> = clients.iter().map(|_| random.bytes(len)).collect();
                    clients.iter_mut().zip(&messages).for_each(|(client, message)| client.send(BINARY, message));
                    clients.iter_mut().zip(&messages).for_each(|(client, message)| client.expect(BINARY, message));
                }
                clients.into_iter().for_each(Client::close);
            });
        }
    });
    let stats = finish(running);
    assert_eq!((stats.messages, stats.opened, stats.closed), (1000, 200, 200));
    assert_eq!((stats.full, stats.refused, stats.resets, stats.timeouts), (0, 0, 0, 0));
}

fn teller(config: Config) -> (Running, SocketAddr, Receiver<(usize, String)>) {
    let (told, tells) = mpsc::channel();
    let (running, addr) = serve(config, 1, move |core| Teller::new(core, told.clone()));
    (running, addr, tells)
}

/// RFC 6455 §7.4.1: every peer is told 1001, and the listener is gone.
#[test]
fn a_stop_tells_every_peer_1001() {
    let (running, addr, tells) = teller(Config::default());
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(addr)).collect();
    let half = tcp(addr);
    running.handle().stop();
    for client in &mut clients {
        assert_eq!(client.expect_close(), (1001, "server stopping".to_owned()));
        client.send(CLOSE, &1001_u16.to_be_bytes());
        assert_eq!(client.expect_end(), End::Eof);
    }
    let stats = running.join().expect("a clean end")[0];
    assert_eq!((stats.opened, stats.enters), (20, 0), "{stats}");
    assert_eq!(tells.iter().map(|(_, why)| why).collect::<Vec<_>>(), ["Stopped"; 20]);
    assert_eq!(TcpStream::connect(addr).expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
    assert!(read_head(&half).expect("an answer").0.starts_with("HTTP/1.1 503 "), "it had not opened yet");
}

/// One peer reads nothing of what is being written to it, one says nothing: neither holds the stop up for longer than its
/// timeout.
#[test]
fn a_stop_does_not_wait_for_ever() {
    let config = Config::default().stop_timeout(Duration::from_millis(100));
    let (running, addr) = serve(config, 1, |_| Echo);
    let mut mute = Client::connect(addr);
    let mut deaf = Client::connect(addr);
    deaf.stream.set_nonblocking(true).expect("nonblocking");
    let mut bytes = Vec::new();
    client_frame(&mut bytes, true, BINARY, &[1; 1 << 20], [1, 2, 3, 4]);
    let (mut at, mut refused) = (0, 0);
    while refused < 20 {
        match deaf.stream.write(&bytes[at..]) {
            Ok(n) => (at, refused) = ((at + n) % bytes.len(), 0),
            Err(_) => {
                refused += 1;
                mute.echo(TEXT, b"not held up");
            }
        }
    }
    let began = Instant::now();
    let stats = finish(running);
    assert!(began.elapsed() < WAIT / 2, "it was held up: {:?}", began.elapsed());
    assert_eq!((stats.opened, stats.closed), (2, 2));
    assert_eq!(mute.expect_close().0, 1001);
    mute.expect_end();
}

#[test]
fn a_wake_comes_from_any_thread() {
    let (running, addr, tells) = teller(Config::default());
    for _ in 0..5 {
        running.handle().wake();
        assert_eq!(tells.recv_timeout(WAIT).expect("on_wake").1, "woken");
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            let handle = running.handle();
            scope.spawn(move || (0..1000).for_each(|_| handle.wake()));
        }
    });
    Client::connect(addr).close();
    let handle = running.handle();
    finish(running);
    assert!((1..=4000).contains(&tells.iter().filter(|(_, told)| told == "woken").count()));
    handle.wake(); // nobody is there any more
    handle.stop();
}

/// Who is told to stop before it runs, stops.
#[test]
fn a_stop_before_the_start() {
    let server = Server::new().listen(TcpListener::bind("127.0.0.1:0").expect("a free port"));
    server.handle().stop();
    let stats = tokio_uring::start(server.run(Echo)).expect("a clean end");
    assert_eq!((stats.accepted, stats.passes > 0), (0, true));
}

#[test]
fn a_setting_that_makes_no_sense() {
    let config = Config::default().connections_max(0);
    match tokio_uring::start(Server::new().config(config).run(Echo)) {
        Err(Error::Config(why)) => assert_eq!(why.to_string(), "connections_max must be at least 1"),
        other => panic!("{other:?}"),
    }
}

/// A panic of the handler ends the connection that it was called for, and no other; or, where that is wanted, it unwinds through
/// the future when all peers have been told.
#[test]
fn a_handler_that_panics() {
    for on_panic in [OnPanic::Close, OnPanic::Stop] {
        let (told, tells) = mpsc::channel();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let server = Server::new().listen(listener).config(Config::default().on_panic(on_panic));
        let running = start(server, move |core| Teller::new(core, told));
        let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(addr)).collect();
        assert_eq!(running.handle().state(), CoreState::Running);
        clients[1].send(TEXT, b"panic");
        assert_eq!(clients[1].expect_close().0, 1011);
        if on_panic == OnPanic::Close {
            assert_eq!(tells.recv_timeout(WAIT).expect("on_close").1, "Panicked");
            for at in [0, 2] {
                clients[at].send(TEXT, b"who are you?");
                clients[at].expect(TEXT, b"core 0");
            }
            let handle = running.handle();
            assert_eq!(finish(running).panics, 1);
            assert_eq!(handle.state(), CoreState::Ended);
            continue;
        }
        for at in [0, 2] {
            assert_eq!(clients[at].expect_close().0, 1011);
        }
        let handle = running.handle();
        assert!(matches!(running.join(), Err(Error::Panicked { .. })));
        assert_eq!(handle.state(), CoreState::Failed);
    }
}

/// Each client is told in its turn what the drain says; then the server ends by itself.
#[test]
fn a_server_that_is_drained() {
    let (running, addr) = serve(Config::default(), 1, |_| Echo);
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(addr)).collect();
    clients[0].echo(TEXT, b"before");
    running.handle().drain(Drain::over(Duration::from_millis(50)).code(CloseCode::SERVICE_RESTART).reason("later"));
    for client in &mut clients {
        assert_eq!(client.expect_close(), (1012, "later".to_owned()));
        client.send(CLOSE, &1012_u16.to_be_bytes());
    }
    let stats = running.join().expect("a clean end")[0];
    assert_eq!((stats.drain_open, stats.drain_closed, stats.timeouts), (5, 5, 0), "{stats}");
}

/// Two servers beside each other in one runtime, as tasks; the listeners are such as tokio makes them, non-blocking. Each has
/// its own number in its ids, and TCP_NODELAY as it was told.
#[test]
fn two_servers_in_one_runtime() {
    let (told, _tells) = mpsc::channel();
    let servers = [(3, true), (200, false)].map(|(core, nodelay)| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("nonblocking");
        let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addrs = [&listener, &other].map(|listener| listener.local_addr().expect("an address"));
        let config = Config::default().nodelay(nodelay);
        let watched = listener.try_clone().expect("a second descriptor");
        (
            Server::new().listen(listener).listen(other).place(Place::new(core)).config(config),
            addrs,
            watched,
            core,
            nodelay,
        )
    });
    let handles = [servers[0].0.handle(), servers[1].0.handle()];
    let (sender, receiver) = mpsc::channel();
    let runtime = thread::spawn(move || {
        tokio_uring::start(async move {
            let mut tasks = Vec::new();
            for (server, addrs, watched, core, nodelay) in servers {
                tasks.push(tokio_uring::spawn(server.run(Teller::new(core.into(), told.clone()))));
                sender.send((addrs, watched, core, nodelay)).expect("the test waits");
            }
            for task in tasks {
                let stats = task.await.expect("no panic").expect("a clean end");
                assert_eq!((stats.opened, stats.closed), (2, 2));
            }
        });
    });
    for _ in 0..2 {
        let (addrs, watched, core, nodelay) = receiver.recv_timeout(WAIT).expect("it runs");
        for addr in addrs {
            let mut client = Client::connect(addr);
            client.send(TEXT, b"who are you?");
            client.expect(TEXT, format!("core {core}").as_bytes());
            client.close();
        }
        // What is accepted inherits it (tcp(7)).
        assert_eq!(socket2::SockRef::from(&watched).tcp_nodelay().expect("an option"), nodelay);
    }
    handles.iter().for_each(wsring_tokio_uring::Handle::stop);
    runtime.join().expect("both end");
}

/// Adds up its mail, and answers the connection that asks.
struct Sum(u64, Sender<String>);

impl Handler for Sum {
    type Conn = ();
    type Mail = u64;

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, _: Message<'_>) {
        let _ = cx.handle().send(cx.id(), "by the handle".to_owned());
        let _ = cx.handle().close(cx.id(), CloseCode::NORMAL, "that is all");
    }

    fn on_mail(&mut self, cx: &mut CoreCx<'_, Self>, mail: u64) {
        self.0 += mail;
        if mail == 7 {
            let place = cx.handle().places().next().expect("there is one core");
            cx.mail(place, 0).expect("there is room");
        } else if mail == 0 {
            let _ = self.1.send(self.0.to_string());
        }
    }
}

/// Mail of other threads and of the core itself, before the server runs and while it does; at any place.
#[test]
fn mail_reaches_the_server() {
    let (told, tells) = mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let server = Server::new().listen(listener).place(Place::new(3)).config(Config::default().mailbox_max(1002));
    let handle = server.handle();
    (0..1000).for_each(|_| handle.mail(2).expect("there is room"));
    handle.mail(7).expect("there is room");
    handle.mail(1).expect("there is room");
    assert_eq!(handle.mail(5), Err(MailError::Full(5)));
    let thread = std::thread::spawn(move || tokio_uring::start(server.run(Sum(0, told))));
    assert_eq!(tells.recv_timeout(WAIT).expect("all is counted"), "2008");
    let mut client = Client::connect(addr);
    client.send(TEXT, b"and by a handle?");
    client.expect(TEXT, b"by the handle");
    assert_eq!(client.expect_close(), (1000, "that is all".to_owned()));
    let stats = handle.stats(WAIT).expect("it runs");
    assert_eq!((stats.mails, stats.mail_refused, stats.opened), (1003, 1, 1));
    handle.stop();
    let last = thread.join().expect("no panic").expect("a clean end");
    assert_eq!((handle.mail(5), handle.stats(WAIT)), (Err(MailError::Gone(5)), Some(last)));
}

/// Has whoever comes wait for another thread, and tells that.
struct Door(Sender<Pending>);

impl Handler for Door {
    type Conn = u64;
    type Mail = u64;

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<u64> {
        let pending = cx.defer(opening).expect("there is room");
        self.0.send(pending).expect("the test listens");
        Verdict::defer(pending)
    }

    fn on_admit(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>, found: u64) -> Verdict<u64> {
        Verdict::accept(found)
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, _: Message<'_>) {
        let text = cx.data().to_string();
        assert!(cx.send(text.as_str()).is_queued());
    }
}

/// What a thread says by the server's handle opens one connection, and refuses another.
#[test]
fn requests_wait_for_another_thread() {
    let (told, tells) = mpsc::channel();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let server = Server::new().listen(listener).place(Place::new(3));
    let handle = server.handle();
    let thread = thread::spawn(move || tokio_uring::start(server.run(Door(told))));
    let ask = || {
        let mut stream = tcp(addr);
        stream.write_all(upgrade_head("/").as_bytes()).expect("the request goes out");
        (tells.recv_timeout(WAIT).expect("it is asked about"), stream)
    };
    let ((first, ann), (second, ben)) = (ask(), ask());
    let mut response = Response::new(Vec::new());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    handle.respond(second, response).expect("there is room");
    handle.admit(first, 42).expect("there is room");
    assert!(read_head(&ben).expect("a response").0.starts_with("HTTP/1.1 401 "));
    let mut client = Client::upgraded(ann);
    client.send(TEXT, b"what was found?");
    client.expect(TEXT, b"42");
    client.close();
    handle.stop();
    let stats = thread.join().expect("no panic").expect("a clean end");
    assert_eq!((stats.deferred, stats.deferred_answered, stats.pending, stats.opened), (2, 2, 0, 1));
}

/// Subscribes its connections to `news`.
struct Subscriber;

impl Handler for Subscriber {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let news = cx.topic("news").expect("there is room");
        cx.subscribe(news, Delivery::queue()).expect("it is open");
        let _ = cx.send("subscribed");
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

/// A topic is the same for all servers of the process, in whatever order each hears of it; and a message goes to each by its handle.
#[test]
fn servers_of_two_threads_have_the_same_topics() {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let addrs = listeners.each_ref().map(|listener| listener.local_addr().expect("an address"));
    let servers = listeners.map(|listener| Server::new().listen(listener));
    let handles = servers.each_ref().map(Server::handle);
    for name in ["one server alone", "has heard of these"] {
        handles[0].topic(name).expect("there is room");
    }
    let running = servers.map(|server| start(server, |_| Subscriber));
    let mut clients = addrs.map(Client::connect);
    clients.iter_mut().for_each(|client| client.expect(TEXT, b"subscribed"));
    let news = handles[0].topic("news").expect("there is room");
    assert_eq!(handles[1].topic("news"), Ok(news));
    for text in ["first", "second"] {
        let message = OwnedMessage::from(text.to_owned());
        for handle in &handles {
            assert_eq!(handle.publish(news, Publish::keyed(1), message.clone()), Ok(()));
        }
    }
    for client in &mut clients {
        client.expect(TEXT, b"first");
        client.expect(TEXT, b"second");
    }
    handles.iter().for_each(wsring_tokio_uring::Handle::stop);
    for server in running {
        assert_eq!(server.join().expect("a clean end")[0].published, 2);
    }
}
