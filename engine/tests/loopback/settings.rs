//! Settings whose effect shows on a real ring alone: each by a fact that differs.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wsring::{
    Config, CoreCx, Cx, Deflate, Error, Feature, Features, Flush, Handler, Message, OnPanic, Opening, QueueEntries,
    RecvBuffers, RingKind, SendBuffers, Server, Stats, Verdict,
};

use crate::common::procfs::ring_with;
use crate::common::*;

/// One client, one message at a time.
fn ping_pong(config: Config, count: usize, len: usize) -> Stats {
    let (running, addr) = serve(config, 1, |_| Echo);
    let mut client = Client::connect(addr);
    let message = client.random.bytes(len);
    (0..count).for_each(|_| client.echo(BINARY, &message));
    client.close();
    finish(running)
}

/// Tells which thread it is on to everybody who comes, and echoes.
struct Sleeper;

impl Handler for Sleeper {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let _ = cx.send(&*Thread::this().0);
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let _ = cx.forward(message);
    }
}

/// A client of a [`Sleeper`], and its thread.
fn sleeper(addr: SocketAddr) -> (Client, Thread) {
    let mut client = Client::connect(addr);
    let thread = Thread(String::from_utf8(client.frame().payload).expect("a path"));
    (client, thread)
}

/// A core sleeps after a message, or polls if it was told to.
#[test]
fn spin_polls_before_it_sleeps() {
    for (spin, idle) in [(Duration::ZERO, Idle::Sleeps), (Duration::from_secs(1), Idle::Polls)] {
        let (running, addr) = serve(Config::default().spin(spin), 1, |_| Sleeper);
        let (mut client, thread) = sleeper(addr);
        match idle {
            Idle::Polls => assert!(thread.polls_at_last(|| client.echo(TEXT, b"and now?"))),
            Idle::Sleeps => {
                (0..10).for_each(|_| assert_eq!(thread.idles_after(|| client.echo(TEXT, b"and now?")), idle))
            }
        }
        client.close();
        finish(running);
    }
}

/// Connections that come and go do not make a core poll: it sleeps between any two of them.
#[test]
fn spin_does_not_poll_for_connections() {
    let (running, addr) = serve(Config::default().spin(Duration::from_secs(1)), 1, |_| Sleeper);
    let (_here, thread) = sleeper(addr);
    for _ in 0..5 {
        assert_eq!(thread.idles_after(|| sleeper(addr).0.close()), Idle::Sleeps);
    }
    finish(running);
}

/// A core that polls looks at its deadlines while it does: one once waited for the spin time to be over.
#[test]
fn spin_does_not_hold_up_deadlines() {
    let handshake_timeout = Duration::from_millis(5);
    let config = Config::default().spin(Duration::from_secs(1)).handshake_timeout(handshake_timeout);
    let (running, addr) = serve(config, 1, |_| Echo);
    let began = Instant::now();
    let mut cuts = 0;
    let mut talker = loop {
        let mut stream = tcp(addr);
        if stream.write_all(upgrade_head("/").as_bytes()).is_ok()
            && let Ok((head, rest)) = read_head(&stream)
        {
            break Client::after(stream, &head, rest);
        }
        cuts += 1; // too slow itself, on a busy machine
        assert!(began.elapsed() < WAIT, "nobody is let in");
    };
    // Held up, every cut would come when a second of polling is over. A busy machine may be as slow with some, not with all.
    loop {
        assert!(began.elapsed() < WAIT, "none of {cuts} deadlines came while it polled");
        talker.send(TEXT, b"keeps it polling for a second");
        talker.frame();
        let began = Instant::now();
        let silent = tcp(addr);
        assert_eq!(read_some(&silent, &mut [0]).expect("an end"), 0);
        cuts += 1;
        if began.elapsed() < Duration::from_millis(500) {
            break;
        }
    }
    talker.close();
    assert_eq!(finish(running).timeouts, cuts);
}

/// 20 kB wait in the socket: with 1 kB of buffers the receive runs dry, with the default it does not. On epoll, where a buffer is used
/// again and again, it takes 40 receives instead of one.
#[test]
fn recv_buffers_are_as_many_and_as_large_as_asked() {
    let ample = ping_pong(Config::default(), 20, 20_000);
    assert_eq!(ample.starved, 0);
    let scarce = ping_pong(Config::default().recv_buffers(RecvBuffers::Fixed { count: 2, bytes: 512 }), 20, 20_000);
    match ring() {
        RingKind::Epoll => assert!(scarce.enters > ample.enters + 20 * 30, "{scarce} with few, {ample} with many"),
        _ => assert!(scarce.starved > 0, "{scarce}"),
    }
    assert_eq!(ample.bytes_in, scarce.bytes_in);
}

/// io_uring is entered once a pass; on epoll each receive and each send is a system call, and no feature of io_uring is in use.
#[test]
fn ring_is_what_was_asked_for() {
    const MESSAGES: u64 = 100;
    for kind in [RingKind::Uring, RingKind::Epoll] {
        let config = Config::default().ring(kind).on_panic(OnPanic::Stop);
        let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(1)).config(config);
        let running = server.start(|_| Echo).expect("it starts");
        assert_eq!(running.ring(), kind);
        assert_eq!(running.features() == Features::none(), kind == RingKind::Epoll, "{}", running.features());
        let mut client = Client::connect(running.local_addrs()[0]);
        (0..MESSAGES).for_each(|_| client.echo(BINARY, b"which?"));
        client.close();
        let stats = finish(running);
        match kind {
            RingKind::Epoll => assert!(stats.enters >= 3 * MESSAGES, "{stats}"),
            _ => assert!(stats.enters <= stats.passes + 2, "{stats}"),
        }
    }
}

/// What the kernel says of the ring of a server.
#[test]
fn queue_entries_and_the_connection_cap_size_the_ring() {
    if ring() == RingKind::Epoll {
        return println!("skipped: epoll has no queues");
    }
    let config = Config::default().queue_entries(QueueEntries { submission: 16, completion: 512 }).connections_max(100);
    let (running, addr) = serve(config, 1, |_| Echo);
    let client = Client::connect(addr);
    let info = ring_with(512);
    let direct = running.features().has(Feature::DirectDescriptors);
    let table = if direct { (100 + 64, 1) } else { (0, 0) };
    assert_eq!((info.sq_entries, (info.slots, info.sockets)), (16, table));
    client.close();
    finish(running);
}

/// Ordinary descriptors are the process's: what all cores may need together is held against the limit before anybody connects. A
/// table of fixed files is held against it core by core, by the kernel.
#[test]
fn a_connection_cap_above_the_descriptor_limit_is_refused() {
    let limit = u32::try_from(wsring::ring::uring::raise_nofile()).unwrap_or(u32::MAX);
    if limit > 1 << 20 {
        return println!("skipped: no cap is above a limit of {limit}");
    }
    let start = |connections_max, features| {
        let config = Config::default().connections_max(connections_max).features(features);
        let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(2)).config(config);
        server.start(|_| Echo).map(finish)
    };
    let ordinary = Features::all().without(Feature::DirectDescriptors);
    for (connections_max, features) in [(limit / 2, ordinary), (limit - 63, Features::all())] {
        let told = start(connections_max, features).expect_err("more than there are").to_string();
        assert!(told.contains("ulimit -n") && told.contains("lower the connection cap"), "{told}");
    }
    start(100, ordinary).expect("some are left");
}

/// Fewer entries than a pass submits cost more syscalls, and nothing else.
#[test]
fn a_small_submission_queue_costs_syscalls() {
    if ring() == RingKind::Epoll {
        return println!("skipped: epoll has no queues");
    }
    let run = |submission| {
        let (running, addr) =
            serve(Config::default().queue_entries(QueueEntries { submission, ..QueueEntries::default() }), 1, |_| Echo);
        let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(addr)).collect();
        for _ in 0..10 {
            clients.iter_mut().for_each(|client| client.send(BINARY, b"x"));
            clients.iter_mut().for_each(|client| client.expect(BINARY, b"x"));
        }
        clients.into_iter().for_each(Client::close);
        finish(running)
    };
    let (large, small) = (run(1024), run(1));
    assert!(large.enters <= large.passes + 2, "{large}");
    // Each of 1000 sends waits alone in the queue for the next.
    assert!(small.enters > small.passes + 100, "{small}");
    assert_eq!((large.messages, small.messages), (1000, 1000));
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    type Change = fn(Config) -> Config;
    let cases: [(Change, &str); 32] = [
        (|c| c.connections_max(0), "connections_max"),
        (|c| c.output_high_bytes(1000).output_low_bytes(1001), "output_low_bytes"),
        (|c| c.output_max_bytes(2 << 20).output_high_bytes((2 << 20) + 1), "output_high_bytes"),
        (|c| c.output_max_bytes((1 << 30) + 1), "output_max_bytes"),
        (|c| c.output_low_bytes(0).output_high_bytes(0), "output_high_bytes"),
        (|c| c.deflate(Deflate::shared().level(0)), "deflate.level"),
        (|c| c.deflate(Deflate::shared().level(10)), "deflate.level"),
        (|c| c.deflate(Deflate::shared().window_bits(8)), "deflate.window_bits"),
        (|c| c.deflate(Deflate::shared().window_bits(16)), "deflate.window_bits"),
        (|c| c.deflate(Deflate::shared().memory_level(0)), "deflate.memory_level"),
        (|c| c.recv_buffers(RecvBuffers::Fixed { count: 3, bytes: 512 }), "recv_buffers"),
        (|c| c.recv_buffers(RecvBuffers::Fixed { count: 4, bytes: 0 }), "recv_buffers"),
        (|c| c.send_buffers(SendBuffers { count: 2, bytes: 511 }), "send_buffers"),
        (|c| c.send_buffers(SendBuffers { count: 1 << 20, bytes: 1 << 20 }), "send_buffers"),
        (|c| c.queue_entries(QueueEntries { submission: 0, completion: 1 }), "queue_entries"),
        (|c| c.queue_entries(QueueEntries { submission: 1, completion: 0 }), "queue_entries"),
        (|c| c.spin(Duration::from_micros(1_000_001)), "spin"),
        (|c| c.handshake_timeout(Duration::ZERO), "handshake_timeout"),
        (|c| c.pong_timeout(Duration::ZERO), "pong_timeout"),
        (|c| c.idle_timeout(Duration::ZERO), "idle_timeout"),
        (|c| c.send_timeout(Duration::ZERO), "send_timeout"),
        (|c| c.message_timeout(Duration::ZERO), "message_timeout"),
        (|c| c.timers_max((1 << 24) + 1), "timers_max"),
        (|c| c.tick(Duration::ZERO), "tick"),
        (|c| c.lifetime_max(Duration::ZERO), "lifetime_max"),
        (|c| c.data_timeout(Duration::ZERO), "data_timeout"),
        (|c| c.flush(Flush::AtTick), "flush"),
        (|c| c.connections_max(1_048_513), "connections_max"),
        (|c| c.pass_share_messages(0), "pass_share_messages"),
        (|c| c.pass_share_messages(1_000_001), "pass_share_messages"),
        (|c| c.mailbox_max(0), "mailbox_max"),
        (|c| c.mailbox_max((1 << 20) + 1), "mailbox_max"),
    ];
    for (change, name) in cases {
        let config = change(Config::default());
        let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(1)).config(config);
        let error = server.start(|_| Echo).expect_err(name);
        assert!(error.to_string().starts_with(&format!("configuration: {name} ")), "{error}");
        assert!(matches!(error, Error::Config(wrong) if wrong.setting() == name));
    }
    // At the edge of each they pass.
    let edge = Config::default()
        .connections_max(1)
        .mailbox_max(1 << 20)
        .output_low_bytes(4096)
        .output_high_bytes(4096)
        .output_max_bytes(1 << 30)
        .pass_share_messages(1)
        .timers_max(1 << 24)
        .tick(Duration::from_millis(1))
        .lifetime_max(Duration::from_secs(60))
        .data_timeout(Duration::from_secs(60))
        .flush(Flush::AtTick)
        .recv_buffers(RecvBuffers::Fixed { count: 1, bytes: 1 })
        .send_buffers(SendBuffers { count: 1, bytes: 512 })
        .queue_entries(QueueEntries { submission: 1, completion: 1 });
    let stats = ping_pong(edge, 3, 300);
    assert_eq!((stats.messages, stats.refused), (3, 0));
    assert_eq!(ping_pong(Config::default().pass_share_messages(1_000_000), 3, 300).messages, 3);
}

/// Sends one message of its own, longer than a part of a send.
struct Long(Vec<u8>);

impl Handler for Long {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        assert!(cx.send(&self.0).is_queued());
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

/// Long sends go in parts of one loopback segment, but what lies in a send block goes whole: a block once lost all behind its first part,
/// because only a heap buffer knows where its bytes end.
#[test]
fn a_long_message_arrives_whole_from_a_block_and_from_the_heap() {
    for bytes in [4 << 20, 512] {
        let send_buffers = SendBuffers { count: 2, bytes };
        let (running, addr) = serve(Config::default().send_buffers(send_buffers), 1, |_| Long(vec![7; 3 << 20]));
        let mut client = Client::connect(addr);
        let frame = client.frame();
        assert!(frame.payload.len() == 3 << 20 && frame.payload.iter().all(|&b| b == 7), "blocks of {bytes} bytes");
        client.close();
        let stats = finish(running);
        assert_eq!((stats.sent, stats.resets), (1, 0));
        assert!(stats.bytes_out > 3 << 20);
    }
}

/// Compiles only if an application can name each of them, print it, and hand it on as `Box<dyn Error>`.
#[test]
fn every_error_can_be_named_and_told() {
    fn error<E: std::error::Error + Send + Sync + 'static>() {}
    error::<wsring::Error>();
    error::<wsring::InvalidConfig>();
    error::<wsring::InvalidDeflate>();
    error::<wsring::SetupError>();
    error::<wsring::UnknownFeature>();
    error::<wsring::TargetError>();
    error::<wsring::RequestError>();
    error::<wsring::OriginError>();
    error::<wsring::DialError>();
    error::<wsring::MailError<u8>>();
    error::<wsring::AnswerError>();
    error::<wsring::CompressionError>();
    error::<wsring::Violation>();
    error::<wsring::InvalidCloseCode>();
    error::<wsring::Errno>();
    #[cfg(feature = "tls")]
    error::<wsring::TlsError>();

    use wsring::{CloseCode, CloseReason, Errno, Violation};
    let told = |why: CloseReason<'_>| why.to_string();
    let reason = CloseReason::Peer { code: Some(CloseCode::NORMAL), reason: "a\nb" };
    assert_eq!(told(reason), r#"closed by the peer: 1000 "a\nb""#, "a log line stays one line");
    assert_eq!(
        told(CloseReason::Violation(Violation::Unmasked)),
        "the peer broke the protocol: unmasked frame from a client"
    );
    assert_eq!(told(CloseReason::Reset(Errno(libc::EPIPE))), "the connection broke: EPIPE: Broken pipe (os error 32)");
}
