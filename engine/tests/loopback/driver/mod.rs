//! The io_uring driver alone, on the seam that the engine sees: what each feature and size changes, as a fact.

mod accepts;
mod unacked;
mod wakes;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use wsring::Config;
use wsring::ring::uring::{Feature, Features, Lease, QueueEntries, RecvBuffers, RingConfig, SendBuffers, Uring, Waker};
use wsring::ring::{Done, Errno, Heap, Kind, Memory, Op, Payload, RecvEnd, Ring, SendBlocks, Socket, Token};

use crate::common::procfs::{ring_with, sockets_by_state};
use crate::common::*;

const ACCEPT: Token = Token::new(Kind::Accept, 0, 0);
const RECV: Token = Token::new(Kind::Recv, 5, 1);
const SEND: Token = Token::new(Kind::Send, 6, 2);
const CANCEL: Token = Token::new(Kind::Cancel, 7, 3);

/// A ring with one listener.
struct Bench {
    ring: Uring,
    blocks: SendBlocks,
    addr: SocketAddr,
}

impl Bench {
    fn new(change: impl FnOnce(&mut RingConfig)) -> Self {
        let mut config = RingConfig { sockets_max: 8, backlog: 2, ..RingConfig::default() };
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (ring, blocks) = Uring::new(&config, vec![listener], Waker::new().expect("a descriptor")).expect("a ring");
        Self { ring, blocks, addr }
    }

    /// The next completion, which must be of this token.
    #[track_caller]
    fn done(&mut self, of: Token) -> Done<Lease> {
        let deadline = Instant::now() + WAIT;
        loop {
            if let Some((token, done)) = self.ring.next() {
                assert_eq!(token, of, "{done:?}");
                return done;
            }
            assert!(Instant::now() < deadline, "{of:?} never completes");
            let until = self.ring.now().plus(Duration::from_millis(100));
            self.ring.wait(Some(until)).expect("the ring works");
        }
    }

    /// Nothing completes, though the ring looks.
    #[track_caller]
    fn quiet(&mut self) {
        for _ in 0..3 {
            self.ring.wait(Some(Default::default())).expect("the ring works");
            assert!(self.ring.next().is_none());
        }
    }

    /// An accepted connection: its socket, and the peer's end.
    #[track_caller]
    fn pair(&mut self) -> (Socket, TcpStream) {
        self.ring.submit(ACCEPT, Op::Accept { listener: 0 });
        let peer = tcp(self.addr);
        let Done::Accepted { result: Ok(socket), more, .. } = self.done(ACCEPT) else { panic!("not accepted") };
        if more {
            self.ring.submit(CANCEL, Op::Cancel { target: ACCEPT });
            self.both(CANCEL, ACCEPT);
        }
        (socket, peer)
    }

    /// Has a send wait for its peer, which reads nothing: what the socket takes is taken first.
    #[track_caller]
    fn wait_for_room(&mut self, socket: Socket) {
        loop {
            let payload = Payload { memory: Memory::Heap(Heap::Pooled(vec![3; 64 << 20])), from: 0, to: 64 << 20 };
            self.ring.submit(SEND, Op::Send { socket, payload });
            self.ring.wait(Some(Default::default())).expect("the ring works");
            match self.ring.next() {
                None => return,
                Some((SEND, Done::Sent { result: Ok(_), .. })) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// An operation and its cancel, both over.
    #[track_caller]
    fn both(&mut self, cancel: Token, of: Token) {
        let mut seen = Vec::new();
        let deadline = Instant::now() + WAIT;
        while !seen.contains(&cancel) || !seen.contains(&of) {
            assert!(Instant::now() < deadline, "only {seen:?} completed");
            let until = self.ring.now().plus(Duration::from_millis(100));
            self.ring.wait(Some(until)).expect("the ring works");
            while let Some((token, done)) = self.ring.next() {
                let goes_on = matches!(done, Done::Accepted { more: true, .. });
                seen.extend((!goes_on).then_some(token));
            }
        }
    }

    #[track_caller]
    fn close(&mut self, socket: Socket) {
        let close = Token::new(Kind::Close, 0, 0);
        self.ring.submit(close, Op::Close { socket, reset: false });
        assert!(matches!(self.done(close), Done::Closed));
    }

    #[track_caller]
    fn received(&mut self) -> (Lease, Option<RecvEnd>) {
        match self.done(RECV) {
            Done::Received { lease: Some(lease), end } => (lease, end),
            other => panic!("{other:?}"),
        }
    }

    fn payload(&mut self, bytes: &[u8]) -> Payload {
        let mut block = self.blocks.take().expect("a free block");
        block[..bytes.len()].copy_from_slice(bytes);
        Payload { memory: Memory::Block(block), from: 0, to: bytes.len() as u32 }
    }
}

/// A socket is closed when it is told to be, although its neighbour's receive, armed before, goes on. On a kernel before Linux 6.13
/// this fails with direct descriptors (see `uring/probe.rs`).
#[test]
fn a_closed_socket_ends_beside_an_armed_receive() {
    for features in [Features::all(), Features::all().without(Feature::DirectDescriptors), Features::none()] {
        let mut bench = Bench::new(|c| c.features = features);
        let (resting, _resting_peer) = bench.pair();
        bench.ring.submit(RECV, Op::Recv { socket: resting, once: false });
        bench.quiet();
        for _ in 0..5 {
            let (socket, peer) = bench.pair();
            bench.close(socket);
            assert_eq!(read_some(&peer, &mut [0]).expect("the end is seen"), 0);
            let states = sockets_by_state(bench.addr);
            assert!(!states.contains_key("CLOSE_WAIT"), "{features}: {states:?}");
        }
    }
}

/// A ring that goes ends what is in flight and closes its sockets, also those that nobody had heard of yet.
#[test]
fn a_ring_that_goes_closes_its_sockets() {
    for features in [Features::all(), Features::all().without(Feature::DirectDescriptors), Features::none()] {
        let mut bench = Bench::new(|c| c.features = features);
        let (receiving, first) = bench.pair();
        bench.ring.submit(RECV, Op::Recv { socket: receiving, once: false });
        let (sending, second) = bench.pair();
        bench.wait_for_room(sending);
        let (closing, third) = bench.pair();
        bench.ring.submit(ACCEPT, Op::Accept { listener: 0 });
        bench.quiet();
        let fourth = tcp(bench.addr);
        let close = Token::new(Kind::Close, 0, 0);
        bench.ring.submit(close, Op::Close { socket: closing, reset: false }); // not handed over
        drop(bench);
        for (what, mut peer) in [("receiving", first), ("sending", second), ("closing", third), ("new", fourth)] {
            // All that was sent, and then an end or a reset.
            let ended = std::io::copy(&mut peer, &mut std::io::sink());
            match ended {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
                Err(error) => panic!("{features}: the {what} socket stays open: {error}"),
            }
        }
    }
}

#[test]
fn one_receive_serves_many_segments_or_one() {
    for multishot in [true, false] {
        let without = if multishot { Features::all() } else { Features::all().without(Feature::MultishotRecv) };
        let mut bench = Bench::new(|c| c.features = without);
        let (socket, mut peer) = bench.pair();
        bench.ring.submit(RECV, Op::Recv { socket, once: false });
        for round in 0..3_u8 {
            peer.write_all(&[round; 10]).expect("it goes out");
            let (lease, end) = bench.received();
            assert_eq!(*lease, [round; 10]);
            assert_eq!(end, (!multishot).then_some(RecvEnd::Rearm));
            bench.ring.release(lease);
            if !multishot {
                bench.ring.submit(RECV, Op::Recv { socket, once: false });
            }
        }
        peer.shutdown(std::net::Shutdown::Write).expect("shutdown");
        match bench.done(RECV) {
            Done::Received { lease: None, end: Some(RecvEnd::Eof) } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A receive for once ends with the first bytes, however many buffers there are, and leaves the rest in the socket.
#[test]
fn a_receive_for_once_takes_one_buffer() {
    for features in [Features::all(), Features::none()] {
        let mut bench =
            Bench::new(|c| (c.recv_buffers, c.features) = (RecvBuffers::Fixed { count: 4, bytes: 64 }, features));
        let (socket, mut peer) = bench.pair();
        bench.ring.submit(RECV, Op::Recv { socket, once: true });
        for round in 0..3_u8 {
            peer.write_all(&[round; 100]).expect("it goes out");
            let mut bytes = Vec::new();
            while bytes.len() < 100 {
                let (lease, end) = bench.received();
                assert_eq!(end, Some(RecvEnd::Rearm), "{} bytes more than one buffer has", lease.len());
                bytes.extend_from_slice(&lease);
                bench.ring.release(lease);
                bench.ring.submit(RECV, Op::Recv { socket, once: true });
            }
            assert_eq!(bytes, [round; 100]);
        }
    }
}

/// Incremental: the next segment lies right behind the last, in the same buffer. Whole: it takes another buffer.
#[test]
fn a_buffer_serves_several_receives_or_one() {
    let mut incremental = vec![false];
    incremental.extend((kernel() >= (6, 12)).then_some(true));
    for incremental in incremental {
        let features = if incremental { Features::all() } else { Features::all().without(Feature::IncrementalBuffers) };
        let mut bench =
            Bench::new(|c| (c.recv_buffers, c.features) = (RecvBuffers::Fixed { count: 2, bytes: 4096 }, features));
        assert_eq!(bench.ring.features().has(Feature::IncrementalBuffers), incremental);
        let (socket, mut peer) = bench.pair();
        bench.ring.submit(RECV, Op::Recv { socket, once: false });
        let mut leases = Vec::new();
        for byte in [1, 2] {
            peer.write_all(&[byte; 100]).expect("it goes out");
            leases.push(bench.received().0);
        }
        let apart = leases[1].as_ptr() as usize - leases[0].as_ptr() as usize;
        assert_eq!(apart, if incremental { 100 } else { 4096 });
        assert!(*leases[0] == [1; 100] && *leases[1] == [2; 100]);
        // Leases come back in any order.
        leases.into_iter().rev().for_each(|lease| bench.ring.release(lease));
    }
}

/// ENOBUFS: with all buffers lent, the receive ends; when one has come back, what waited in the socket is received.
#[test]
fn a_receive_without_a_free_buffer_ends_and_goes_on_later() {
    let features = Features::all().without(Feature::IncrementalBuffers);
    let mut bench =
        Bench::new(|c| (c.recv_buffers, c.features) = (RecvBuffers::Fixed { count: 2, bytes: 64 }, features));
    let (socket, mut peer) = bench.pair();
    peer.write_all(&[7; 150]).expect("it goes out");
    bench.ring.submit(RECV, Op::Recv { socket, once: false });
    let (first, second) = (bench.received(), bench.received());
    assert_eq!((first.0.len(), second.0.len()), (64, 64));
    match bench.done(RECV) {
        Done::Received { lease: None, end: Some(RecvEnd::NoBuffers) } => {}
        other => panic!("{other:?}"),
    }
    bench.ring.submit(RECV, Op::Recv { socket, once: false });
    match bench.done(RECV) {
        Done::Received { lease: None, end: Some(RecvEnd::NoBuffers) } => {}
        other => panic!("{other:?}"),
    }
    bench.ring.release(second.0);
    bench.ring.submit(RECV, Op::Recv { socket, once: false });
    assert_eq!(*bench.received().0, [7; 22]);
    assert_eq!(*first.0, [7; 64], "a lent buffer was written");
}

#[test]
fn a_cancelled_receive_ends_and_loses_nothing() {
    let mut bench = Bench::new(|_| ());
    let (socket, mut peer) = bench.pair();
    bench.ring.submit(RECV, Op::Recv { socket, once: false });
    bench.quiet();
    bench.ring.submit(CANCEL, Op::Cancel { target: RECV });
    let (mut cancelled, mut ended) = (0, 0);
    while cancelled + ended < 2 {
        bench.ring.wait(None).expect("the ring works");
        while let Some((token, done)) = bench.ring.next() {
            match (token, done) {
                (CANCEL, Done::Cancelled) => cancelled += 1,
                (RECV, Done::Received { lease: None, end: Some(RecvEnd::Cancelled) }) => ended += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((cancelled, ended), (1, 1));
    // A cancel that finds nothing completes too.
    bench.ring.submit(CANCEL, Op::CancelSocket { socket });
    assert!(matches!(bench.done(CANCEL), Done::Cancelled));
    peer.write_all(b"still there").expect("it goes out");
    bench.quiet();
    bench.ring.submit(RECV, Op::Recv { socket, once: false });
    assert_eq!(&*bench.received().0, b"still there");
}

/// A send completes with what it was given, whole, and the peer has the bytes: of a block and of memory of its own.
#[test]
fn a_send_returns_its_memory() {
    let mut bench = Bench::new(|_| ());
    let (socket, mut peer) = bench.pair();
    for (len, blocks) in [(1, true), (4096, true), (100_000, false)] {
        let content = vec![len as u8; len];
        let payload = match blocks {
            true => bench.payload(&content),
            false => Payload { memory: Memory::Heap(Heap::Pooled(content.clone())), from: 0, to: len as u32 },
        };
        bench.ring.submit(SEND, Op::Send { socket, payload });
        let Done::Sent { payload, result } = bench.done(SEND) else { panic!("another completion") };
        assert_eq!((result, payload.bytes()), (Ok(len), &content[..]));
        match payload.memory {
            Memory::Block(block) if blocks => bench.blocks.put(block),
            Memory::Heap(Heap::Pooled(_)) if !blocks => {}
            other => panic!("other memory came back: {other:?}"),
        }
        let mut bytes = vec![0; len];
        peer.read_exact(&mut bytes).expect("the bytes arrive");
        assert_eq!(bytes, content);
    }
    assert_eq!(bench.blocks.in_use(), 0);
}

/// A send that waits for its peer is cancelled: a short count, and the memory comes back.
/// A cancel of nothing under such a token once handed back, as its own, the memory of a send that the kernel had not ended.
#[test]
fn no_other_operation_has_the_token_of_one_with_memory() {
    for token in [SEND, Token::new(Kind::Connect, 0, 0)] {
        let submit = || Bench::new(|_| {}).ring.submit(token, Op::Cancel { target: RECV });
        let told = std::panic::catch_unwind(submit).expect_err("it is refused");
        let told = told.downcast_ref::<String>().expect("a message");
        assert!(told.ends_with(" is of an operation that has memory"), "{told}");
    }
}

#[test]
fn a_cancelled_send_reports_what_went_and_returns_its_memory() {
    let mut bench = Bench::new(|_| ());
    let (socket, peer) = bench.pair();
    let len = 64 << 20;
    let payload = Payload { memory: Memory::Heap(Heap::Pooled(vec![3; len])), from: 0, to: len as u32 };
    bench.ring.submit(SEND, Op::Send { socket, payload });
    bench.ring.wait(Some(Default::default())).expect("the ring works");
    bench.ring.submit(CANCEL, Op::CancelSocket { socket });
    let (mut sent, mut cancelled) = (None, false);
    while sent.is_none() || !cancelled {
        bench.ring.wait(None).expect("the ring works");
        while let Some((_, done)) = bench.ring.next() {
            match done {
                Done::Sent { payload, result } => {
                    assert!(matches!(payload.memory, Memory::Heap(Heap::Pooled(bytes)) if bytes.len() == len));
                    sent = Some(result);
                }
                Done::Cancelled => cancelled = true,
                other => panic!("{other:?}"),
            }
        }
    }
    match sent.expect("counted above") {
        Ok(count) => assert!(count < len, "{count}: the peer reads nothing"),
        Err(errno) => assert_eq!(errno, Errno(libc::ECANCELED)),
    }
    drop(peer);
}

/// The socket fails under a send: EPIPE or ECONNRESET as an error of that send, never a signal.
#[test]
fn a_send_to_a_reset_socket_fails_and_returns_its_memory() {
    let mut bench = Bench::new(|_| ());
    let (socket, peer) = bench.pair();
    reset(peer);
    let payload = bench.payload(b"into the void");
    bench.ring.submit(SEND, Op::Send { socket, payload });
    match bench.done(SEND) {
        Done::Sent { result: Err(Errno(libc::EPIPE | libc::ECONNRESET)), .. } => {}
        other => panic!("{other:?}"),
    }
}

/// Longer than any test may take: who polls so long where there is something to do fails.
const FOR_EVER: Duration = Duration::from_secs(4 * WAIT.as_secs());

/// Polling once went on for the whole spin time although a deadline came before.
#[test]
fn a_wait_that_polls_comes_back_at_its_deadline() {
    for features in [Features::all(), Features::all().without(Feature::DeferTaskrun)] {
        let mut bench = Bench::new(|c| (c.spin, c.features) = (FOR_EVER, features));
        for _ in 0..3 {
            bench.ring.expect_more();
            let began = bench.ring.now();
            let until = began.plus(Duration::from_millis(5));
            bench.ring.wait(Some(until)).expect("the ring works");
            assert!(bench.ring.now() >= until && bench.ring.now().since(began) < WAIT);
            assert!(bench.ring.next().is_none());
        }
    }
}

/// Who polls until its deadline has not entered the kernel, who sleeps has, once. The deadline is 5 ms of the ring's own
/// clock away when the wait begins, however long ago the ring has looked at that.
#[test]
fn a_wait_polls_only_when_more_is_expected() {
    let mut bench = Bench::new(|c| c.spin = FOR_EVER);
    for (expected, enters) in [(false, 1), (true, 0), (true, 0), (false, 0)] {
        if expected {
            bench.ring.expect_more();
        }
        let until = bench.ring.now().plus(Duration::from_millis(5));
        let before = bench.ring.enters();
        bench.ring.wait(Some(until)).expect("the ring works");
        assert_eq!(bench.ring.enters() - before, enters, "more was expected: {expected}; then that goes on");
    }
}

/// What polling has used up of a deadline is not waited for again.
#[test]
fn a_wait_that_polls_and_then_sleeps_comes_back_at_its_deadline() {
    let mut bench = Bench::new(|c| c.spin = Duration::from_millis(300));
    let mut wait = || {
        bench.ring.expect_more();
        let began = bench.ring.now();
        let until = began.plus(Duration::from_millis(400));
        while bench.ring.now() < until {
            bench.ring.wait(Some(until)).expect("the ring works"); // a signal ends a wait early
        }
        bench.ring.now().since(began)
    };
    // Waited for again, each would take 700 ms. A busy machine may be as slow with some, not with all.
    let waits: Vec<Duration> = (0..20).map(|_| wait()).take_while(|&took| took >= Duration::from_millis(700)).collect();
    assert!(waits.len() < 20, "{waits:?}");
}

/// Completions that did not fit into the queue come only when the kernel is entered for them; polling once waited for
/// them until the spin time was over.
#[test]
fn a_wait_that_polls_takes_what_overflowed() {
    let change =
        |c: &mut RingConfig| (c.spin, c.queue_entries) = (FOR_EVER, QueueEntries { submission: 4, completion: 4 });
    let mut bench = Bench::new(change);
    let pairs: Vec<_> = (0..7).map(|_| bench.pair()).collect();
    let token = |i: usize| Token::new(Kind::Recv, 9, i as u32);
    for (i, (socket, _)) in pairs.iter().enumerate() {
        bench.ring.submit(token(i), Op::Recv { socket: *socket, once: false });
        bench.quiet();
    }
    for (_, peer) in &pairs {
        (&*peer).write_all(b"all at once").expect("it goes out");
    }
    // Nothing is submitted meanwhile: that would enter the kernel.
    let mut seen = vec![0; pairs.len()];
    while seen.contains(&0) {
        let until = bench.ring.now().plus(WAIT);
        bench.ring.expect_more();
        bench.ring.wait(Some(until)).expect("the ring works");
        assert!(bench.ring.now() < until, "polled past what had overflowed: {seen:?}");
        while let Some((token, Done::Received { lease: Some(lease), .. })) = bench.ring.next() {
            seen[token.index() as usize] += lease.len();
            bench.ring.release(lease);
        }
    }
    assert_eq!(seen, vec![11; pairs.len()]);
}

/// Deferred: the completion is not there before the ring enters for it. Otherwise any syscall of the thread brings it.
#[test]
fn completions_are_deferred_or_not() {
    for (deferred, cq_entries) in [(true, 32), (false, 64)] {
        let features = if deferred { Features::all() } else { Features::all().without(Feature::DeferTaskrun) };
        let queue_entries = QueueEntries { submission: 4, completion: cq_entries };
        let change = |c: &mut RingConfig| (c.queue_entries, c.features) = (queue_entries, features);
        let mut bench = Bench::new(change);
        bench.ring.submit(ACCEPT, Op::Accept { listener: 0 });
        bench.quiet();
        let before = ring_with(cq_entries).cq_tail;
        let _peer = tcp(bench.addr);
        // Reading /proc is a syscall of this thread. A busy kernel may take a while until the connection is there.
        let deadline = Instant::now() + WAIT;
        let mut looks = (0..).map(|_| ring_with(cq_entries).cq_tail - before);
        match deferred {
            true => assert!(looks.take(3).all(|completed| completed == 0)),
            false => assert_eq!(looks.find(|&n| n > 0 || Instant::now() > deadline), Some(1)),
        }
        assert!(matches!(bench.done(ACCEPT), Done::Accepted { result: Ok(_), .. }));
    }
}

/// The blocks that come with a ring are those of its configuration, and that is the configuration of the server.
#[test]
fn send_blocks_are_as_many_and_as_large_as_asked() {
    let config = Config::default().send_buffers(SendBuffers { count: 3, bytes: 1000 });
    let mut bench = Bench::new(|c| c.send_buffers = config.ring_config().send_buffers);
    let held: Vec<_> = std::iter::from_fn(|| bench.blocks.take()).collect();
    assert_eq!(held.iter().map(|block| block.len()).collect::<Vec<_>>(), [1000; 3]);
}

/// The sizes asked for are those the kernel has; it alone is asked.
#[test]
fn sizes_are_as_asked() {
    let sizes = QueueEntries { submission: 5, completion: 200 };
    let bench = Bench::new(|c| (c.queue_entries, c.sockets_max) = (sizes, 77));
    let info = ring_with(256);
    let slots = if bench.ring.features().has(Feature::DirectDescriptors) { 77 } else { 0 };
    assert_eq!((info.sq_entries, info.slots, info.sockets), (8, slots, 0), "rounded up to powers of two");
}
