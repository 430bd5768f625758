//! What the tokio-uring adapter holds, and that it leaves nothing behind: descriptors and memory of this whole process, so
//! all of it is one test after another.

use std::future::Future;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use wsring::{Answered, Config, CoreCx, Cx, Dialled, Handler, Message, Opening, Target, Verdict};
use wsring_testkit::*;
use wsring_tokio_uring::Server;

const TICK: Duration = Duration::from_millis(1);
/// What a peer that does not read wants to send.
const TOTAL: usize = 64 << 20;
/// What may be queued for it (`output_high_bytes`), a message that lies behind it, and buffers of both directions.
const GROWTH_MAX: u64 = 8 << 20;

/// Open descriptors of this process; the one that lists them is always there.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// Resident bytes of this process (proc_pid_status(5)).
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// A server on a free port.
fn server(config: Config) -> (Server, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    (Server::new().listen(listener).config(config), addr)
}

/// Echoes, pauses who asks for it, and dials what it is given.
struct Busy(Vec<Target>);

impl Handler for Busy {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        for target in self.0.drain(..) {
            cx.connect(target);
        }
    }

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<()> {
        Some(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert!(cx.forward(message).is_queued());
        if message == Message::Text("pause me") {
            cx.pause();
        }
    }
}

/// Writes messages, as much as goes without waiting.
fn fill(client: &Client) {
    client.stream.set_nonblocking(true).expect("nonblocking");
    let mut bytes = Vec::new();
    client_frame(&mut bytes, true, BINARY, &[1; 1 << 20], [1, 2, 3, 4]);
    let mut at = 0;
    while let Ok(n) = (&client.stream).write(&bytes[at..]) {
        at = (at + n) % bytes.len();
    }
}

/// Connections in every state there is, on a server with two dials under way: one open, one that nobody answers.
struct Zoo {
    clients: Vec<Client>,
    /// No handshake yet.
    mute: TcpStream,
}

impl Zoo {
    fn open(addr: SocketAddr) -> Self {
        let mut clients: Vec<Client> = (0..10).map(|_| Client::connect(addr)).collect();
        clients.iter_mut().for_each(|client| client.echo(TEXT, b"here"));
        // Paused with a read in flight; and with bytes behind that.
        clients[0].echo(TEXT, b"pause me");
        clients[1].echo(TEXT, b"pause me");
        clients[1].send(BINARY, &[7; 100_000]);
        // Behind a write that blocks.
        fill(&clients[2]);
        fill(&clients[3]);
        // In the middle of a message; half-closed in the middle of one; reset.
        clients[4].send_frame(false, BINARY, b"begun");
        clients[5].send_frame(false, BINARY, b"begun");
        clients[5].half_close();
        reset(clients.pop().expect("ten").stream);
        Self { clients, mute: tcp(addr) }
    }

    /// All of them come to an end, if not always an orderly one.
    fn end(self) {
        // Whoever has no handshake yet is answered 503 by a stop.
        let streams = self.clients.into_iter().map(|client| client.stream).chain([self.mute]);
        for stream in streams {
            stream.set_nonblocking(false).expect("blocking");
            let mut piece = [0; 65536];
            while read_some(&stream, &mut piece).is_ok_and(|n| n > 0) {}
        }
    }
}

/// Within a runtime that lives on: what was open before, and nothing else.
async fn settles_at(before: usize, what: &str) {
    let deadline = Instant::now() + WAIT;
    while descriptors() != before {
        assert!(Instant::now() < deadline, "{what}: {} descriptors, {before} before", descriptors());
        sleep(TICK).await;
    }
}

/// Whether the future stays pending until the flag is raised.
async fn drive(run: &mut Pin<Box<impl Future>>, flag: &AtomicBool) -> bool {
    while !flag.load(Ordering::Acquire) {
        if timeout(TICK, run.as_mut()).await.is_ok() {
            return false;
        }
    }
    true
}

/// A target whose connection is accepted by the kernel alone, and one that does not even get so far (listen(2)).
fn unanswered() -> (socket2::Socket, TcpStream, Target) {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    listener.listen(0).expect("it listens");
    let addr = listener.local_addr().expect("an address").as_socket().expect("of the internet");
    let first = tcp(addr);
    (listener, first, target(addr))
}

fn target(addr: SocketAddr) -> Target {
    Target::new(&format!("ws://{addr}/")).expect("a URL")
}

/// Stopped, or dropped in the middle: in both cases a runtime that lives on has nothing left of it.
fn nothing_is_left() {
    for dropped in [false, true] {
        let (answering, addr_there) = server(Config::default());
        let stop_there = answering.handle();
        let there = thread::spawn(move || tokio_uring::start(answering.run(Busy(Vec::new()))).expect("a clean end"));
        let first_there = Client::connect(addr_there); // it runs, with all it needs
        tokio_uring::start(async {
            let open = descriptors();
            drop(first_there);
            let before = open - 2; // both ends of that connection
            settles_at(before, "the other runtime").await;
            let config = Config::default().stop_timeout(Duration::from_millis(50));
            let (server, addr) = server(config);
            let stop = server.handle();
            let (listener, first, nobody) = unanswered();
            let run = tokio_uring::spawn(server.run(Busy(vec![nobody, target(addr_there)])));
            let opened = tokio::task::spawn_blocking(move || Zoo::open(addr));
            let zoo = opened.await.expect("all states are reached");
            if dropped {
                run.abort();
                assert!(run.await.expect_err("aborted").is_cancelled());
            } else {
                stop.stop();
                let stats = run.await.expect("no panic").expect("a clean end");
                assert_eq!((stats.accepted, stats.opened), (11, 11), "{stats}");
                assert_eq!(stats.accepted + stats.connected, stats.closed);
            }
            tokio::task::spawn_blocking(move || zoo.end()).await.expect("all end");
            drop((listener, first));
            settles_at(before, if dropped { "dropped" } else { "stopped" }).await;
        });
        stop_there.stop();
        there.join().expect("no panic");
    }
}

/// A peer that does not read costs what may be queued for it, others are served meanwhile, and when it reads it gets all.
fn a_peer_that_does_not_read(message_len: usize) {
    let (server, addr) = server(Config::default());
    let stop = server.handle();
    let runtime = thread::spawn(move || tokio_uring::start(server.run(Echo)).expect("a clean end"));
    let (mut client, mut other) = (Client::connect(addr), Client::connect(addr));
    let messages: Vec<Vec<u8>> = (0..8).map(|_| client.random.bytes(message_len)).collect();
    let count = TOTAL / message_len;
    let mut bytes = Vec::with_capacity(TOTAL + count * 14);
    for i in 0..count {
        client_frame(&mut bytes, true, BINARY, &messages[i % 8], (i as u32 + 1).to_be_bytes());
    }
    (0..8).for_each(|i| other.echo(BINARY, &messages[i]));
    let before = resident();
    let mut worked = 0;
    let went = write_until_stalled(&client.stream, &bytes, || {
        other.echo(TEXT, b"it works");
        worked += 1;
    });
    assert!(went < bytes.len(), "the server took everything of a peer that reads nothing");
    (0..100).for_each(|i| other.echo(BINARY, &messages[i % 8]));
    let grown = resident().saturating_sub(before);
    println!("{message_len} bytes a message: {went} bytes went out before the stall, {grown} resident bytes more");
    assert!(grown <= GROWTH_MAX, "{grown} bytes for a peer that reads nothing");
    let stream = client.stream.try_clone().expect("a second descriptor");
    thread::scope(|scope| {
        scope.spawn(|| (&stream).write_all(&bytes[went..]).expect("the rest goes out"));
        (0..count).for_each(|i| client.expect(BINARY, &messages[i % 8]));
    });
    client.close();
    other.close();
    stop.stop();
    let stats = runtime.join().expect("no panic");
    assert_eq!((stats.messages, stats.refused), (count as u64 + 108 + worked, 0));
}

/// Who holds the future and polls it no more has its tasks take in next to nothing; polled again, it goes on where it was.
fn a_future_that_is_not_polled() {
    const PEERS: usize = 20;
    let limits = wsring::Limits::default().frame_max_bytes(TOTAL as u64).message_max_bytes(TOTAL as u64);
    let (server, addr) = server(Config::default().limits(limits).output_max_bytes(2 * TOTAL as u32));
    let stop = server.handle();
    // It has been polled; it is polled no more; nothing was taken in; all is over.
    let flags: Arc<[AtomicBool; 4]> = Arc::default();
    let raised = Arc::clone(&flags);
    // Rounds that the runtime has made meanwhile: in each its tasks could have taken something in.
    let rounds = Arc::new(AtomicUsize::new(0));
    let made = Arc::clone(&rounds);
    let peer = thread::spawn(move || {
        let mut client = Client::connect(addr);
        client.echo(TEXT, b"polled");
        flags[0].store(true, Ordering::Release);
        let deadline = Instant::now() + WAIT;
        while !flags[1].load(Ordering::Acquire) {
            assert!(Instant::now() < deadline, "the other thread never ends its last poll");
            thread::sleep(TICK);
        }
        let mut bytes = Vec::new();
        client_frame(&mut bytes, true, BINARY, &vec![5; TOTAL], [0; 4]);
        let went = write_until_stalled(&client.stream, &bytes, || {
            let (first, deadline) = (made.load(Ordering::Acquire), Instant::now() + WAIT);
            while made.load(Ordering::Acquire) == first {
                assert!(Instant::now() < deadline, "the runtime stands still");
                thread::sleep(TICK);
            }
        });
        assert!(went < bytes.len(), "everything was read though nobody polls");
        let before = descriptors();
        let others: Vec<TcpStream> = (0..PEERS).map(|_| tcp(addr)).collect();
        let (first, deadline) = (made.load(Ordering::Acquire), Instant::now() + WAIT);
        while made.load(Ordering::Acquire) < first + 50 {
            assert!(Instant::now() < deadline, "the runtime stands still");
            thread::sleep(TICK);
        }
        let accepted = descriptors() - before - PEERS;
        assert!(accepted <= 1, "{accepted} were accepted though nobody polls");
        flags[2].store(true, Ordering::Release);
        for mut stream in others {
            stream.write_all(upgrade_head("/").as_bytes()).expect("it goes out");
            Client::upgraded(stream).close();
        }
        (&client.stream).write_all(&bytes[went..]).expect("the rest goes out");
        client.expect(BINARY, &vec![5; TOTAL]);
        client.close();
        flags[3].store(true, Ordering::Release);
    });
    tokio_uring::start(async {
        let mut run = Box::pin(server.run(Echo));
        assert!(drive(&mut run, &raised[0]).await, "it goes on");
        raised[1].store(true, Ordering::Release);
        while !raised[2].load(Ordering::Acquire) && !peer.is_finished() {
            sleep(TICK).await;
            rounds.fetch_add(1, Ordering::Release);
        }
        drive(&mut run, &raised[3]).await;
        stop.stop();
        let stats = run.await.expect("a clean end");
        assert_eq!((stats.opened, stats.messages), (PEERS as u64 + 1, 2));
    });
    peer.join().expect("the peer is content");
}

#[test]
fn what_it_holds_and_what_it_leaves() {
    nothing_is_left();
    [125, 20_000, 1 << 20].into_iter().for_each(a_peer_that_does_not_read);
    a_future_that_is_not_polled();
}
