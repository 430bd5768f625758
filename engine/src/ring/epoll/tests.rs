//! The driver alone, on its seam, over loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use socket2::{Domain, SockRef, Type};

use super::listening::ACCEPTS;
use super::*;
use crate::ring::uring::RecvBuffers;
use crate::ring::{Heap, Memory, Socket};

mod waits;

/// Longer than anything here takes.
const WAIT: Duration = Duration::from_secs(60);

const ACCEPT: Token = Token::new(Kind::Accept, 0, 0);
const RECV: Token = Token::new(Kind::Recv, 5, 1);
const SEND: Token = Token::new(Kind::Send, 6, 2);
const CANCEL: Token = Token::new(Kind::Cancel, 7, 3);
const CONNECT: Token = Token::new(Kind::Connect, 8, 4);
const CLOSE: Token = Token::new(Kind::Close, 0, 5);
const UNACKED: Token = Token::new(Kind::Unacked, 0, 6);

/// A ring with one listener.
struct Bench {
    ring: Epoll,
    addr: SocketAddr,
}

impl Bench {
    fn new(change: impl FnOnce(&mut RingConfig)) -> Self {
        let mut config = RingConfig { sockets_max: 128, ..RingConfig::default() };
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let waker = Waker::new().expect("a descriptor");
        let (ring, _) = Epoll::new(&config, vec![listener], waker).expect("descriptors");
        Self { ring, addr }
    }

    /// One wait that polls, and all that it brings.
    fn pass(&mut self) -> Vec<(Token, Done<Lease>)> {
        self.ring.wait(Some(Time::default())).expect("the ring works");
        std::iter::from_fn(|| self.ring.next()).collect()
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
            let found = self.pass();
            assert!(found.is_empty(), "{found:?}");
        }
    }

    /// An accepted connection: its socket, and the peer's end.
    #[track_caller]
    fn pair(&mut self) -> (Socket, TcpStream) {
        self.ring.submit(ACCEPT, Op::Accept { listener: 0 });
        let peer = self.peer();
        let Done::Accepted { result: Ok(socket), more: true, .. } = self.done(ACCEPT) else { panic!("not accepted") };
        self.ring.submit(CANCEL, Op::Cancel { target: ACCEPT });
        let ended = self.done(ACCEPT);
        assert!(matches!(ended, Done::Accepted { result: Err(Errno(libc::ECANCELED)), more: false, .. }), "{ended:?}");
        assert!(matches!(self.done(CANCEL), Done::Cancelled));
        (socket, peer)
    }

    fn peer(&self) -> TcpStream {
        let peer = TcpStream::connect(self.addr).expect("connects");
        peer.set_read_timeout(Some(WAIT)).expect("a timeout");
        peer
    }

    #[track_caller]
    fn received(&mut self) -> (Vec<u8>, Option<RecvEnd>) {
        match self.done(RECV) {
            Done::Received { lease: Some(lease), end } => {
                let bytes = lease.to_vec();
                self.ring.release(lease);
                (bytes, end)
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn ended(&mut self) -> RecvEnd {
        match self.done(RECV) {
            Done::Received { lease: None, end: Some(end) } => end,
            other => panic!("{other:?}"),
        }
    }

    fn receive(&mut self, socket: Socket, once: bool) {
        self.ring.submit(RECV, Op::Recv { socket, once });
    }

    fn send(&mut self, socket: Socket, bytes: Vec<u8>) {
        let to = bytes.len() as u32;
        let payload = Payload { memory: Memory::Heap(Heap::Pooled(bytes)), from: 0, to };
        self.ring.submit(SEND, Op::Send { socket, payload });
    }

    #[track_caller]
    fn sent(&mut self) -> (Payload, Result<usize, Errno>) {
        match self.done(SEND) {
            Done::Sent { payload, result } => (payload, result),
            other => panic!("{other:?}"),
        }
    }

    /// Has a send wait for its peer, which reads nothing, and says how much the socket took before.
    #[track_caller]
    fn fill(&mut self, socket: Socket) -> usize {
        let mut taken = 0;
        loop {
            self.send(socket, vec![3; 64 << 20]);
            let found = self.pass();
            match &found[..] {
                [] => return taken,
                [(SEND, Done::Sent { result: Ok(sent), .. })] => taken += sent,
                other => panic!("{other:?}"),
            }
        }
    }

    #[track_caller]
    fn close(&mut self, socket: Socket, reset: bool) {
        self.ring.submit(CLOSE, Op::Close { socket, reset });
        assert!(matches!(self.done(CLOSE), Done::Closed));
    }
}

#[test]
fn a_receive_goes_on_or_ends_with_the_first_bytes() {
    for once in [false, true] {
        let mut bench = Bench::new(|_| ());
        let (socket, mut peer) = bench.pair();
        bench.receive(socket, once);
        for round in 0..3 {
            peer.write_all(&[round; 10]).expect("it goes out");
            assert_eq!(bench.received(), (vec![round; 10], once.then_some(RecvEnd::Rearm)));
            if once {
                bench.receive(socket, true);
            }
            bench.quiet();
        }
        peer.shutdown(Shutdown::Write).expect("shutdown");
        assert_eq!(bench.ended(), RecvEnd::Eof);
        // The end is there for whoever asks again.
        bench.receive(socket, once);
        assert_eq!(bench.ended(), RecvEnd::Eof);
    }
}

/// The end of the stream is told of together with the bytes in front of it, and only once.
#[test]
fn an_end_is_heard_behind_the_bytes_in_front_of_it() {
    for bytes in [0, 1, 64, 65, 200] {
        let mut bench = Bench::new(|c| c.recv_buffers = RecvBuffers::Fixed { count: 1, bytes: 64 });
        let (socket, mut peer) = bench.pair();
        bench.receive(socket, false);
        peer.write_all(&vec![7; bytes]).expect("it goes out");
        peer.shutdown(Shutdown::Write).expect("shutdown");
        let mut got = Vec::new();
        while got.len() < bytes {
            let (more, end) = bench.received();
            assert!(end.is_none() && more.len() <= 64);
            got.extend(more);
        }
        assert!(got == vec![7; bytes] && bench.ended() == RecvEnd::Eof, "{bytes}");
        bench.quiet();
    }
}

/// A receive stops at the urgent mark of a stream (tcp(7)): what is behind it is there, though nobody tells of it again.
#[test]
fn bytes_behind_an_urgent_one_are_received() {
    let mut bench = Bench::new(|_| ());
    let (socket, peer) = bench.pair();
    let sender = SockRef::from(&peer);
    sender.send(b"in front").expect("it goes out");
    sender.send_out_of_band(b"!").expect("it goes out");
    sender.send(b" and behind").expect("it goes out");
    bench.receive(socket, false);
    let mut got = Vec::new();
    while got.len() < b"in front and behind".len() {
        got.extend(bench.received().0);
    }
    assert_eq!(got, b"in front and behind");
}

/// One that always has more has one buffer in each pass, and a hundred others are heard in it.
#[test]
fn a_flood_does_not_starve_the_others() {
    const BYTES: usize = 1024;
    let mut bench = Bench::new(|c| c.recv_buffers = RecvBuffers::Fixed { count: 2, bytes: BYTES as u32 });
    let token = |index| Token::new(Kind::Recv, 0, index);
    let mut peers = Vec::new();
    for index in 0..101 {
        let (socket, peer) = bench.pair();
        bench.ring.submit(token(index), Op::Recv { socket, once: false });
        peers.push(peer);
    }
    bench.quiet();
    peers[0].write_all(&[0; 100 * BYTES]).expect("the socket has room");
    peers[1..].iter_mut().for_each(|peer| peer.write_all(&[1; 10]).expect("it goes out"));
    // Over loopback all of that is in the sockets by now.
    for pass in 0..3 {
        let (mut flood, mut others) = (0, 0);
        bench.ring.wait(Some(Time::default())).expect("the ring works");
        assert_eq!(bench.ring.has_more(), pass > 0, "pass {pass}");
        while let Some((of, Done::Received { lease: Some(lease), end: None })) = bench.ring.next() {
            match of == token(0) {
                true => flood += lease.len(),
                false => others += 1,
            }
            bench.ring.release(lease);
        }
        assert_eq!((flood, others), (BYTES, if pass == 0 { 100 } else { 0 }), "pass {pass}");
    }
}

/// ENOBUFS, as io_uring has it: with all buffers lent the receive ends; later it goes on, though nothing new has come.
#[test]
fn a_receive_without_a_free_buffer_ends_and_goes_on_later() {
    let mut bench = Bench::new(|c| c.recv_buffers = RecvBuffers::Fixed { count: 2, bytes: 64 });
    let (socket, mut peer) = bench.pair();
    peer.write_all(&[7; 150]).expect("it goes out");
    bench.receive(socket, false);
    let mut leases = Vec::new();
    while leases.len() < 2 {
        let Done::Received { lease: Some(lease), end: None } = bench.done(RECV) else { panic!("no bytes") };
        assert_eq!(*lease, [7; 64]);
        leases.push(lease);
    }
    for _ in 0..2 {
        assert_eq!(bench.ended(), RecvEnd::NoBuffers);
        bench.receive(socket, false);
    }
    assert_eq!(bench.ended(), RecvEnd::NoBuffers);
    bench.ring.release(leases.pop().expect("one of two"));
    bench.receive(socket, false);
    assert_eq!(bench.received(), (vec![7; 22], None));
    assert_eq!(*leases[0], [7; 64], "a lent buffer was written");
}

/// A cancelled receive ends once; what had come by then, and what comes meanwhile, is there for the next.
#[test]
fn a_cancelled_receive_ends_and_loses_nothing() {
    for waiting in [&b""[..], b"early "] {
        let mut bench = Bench::new(|_| ());
        let (socket, mut peer) = bench.pair();
        bench.receive(socket, false);
        bench.quiet();
        peer.write_all(waiting).expect("it goes out");
        bench.ring.submit(CANCEL, Op::Cancel { target: RECV });
        let found = bench.pass();
        assert!(
            matches!(
                found[..],
                [(RECV, Done::Received { lease: None, end: Some(RecvEnd::Cancelled) }), (CANCEL, Done::Cancelled)]
            ),
            "{found:?}"
        );
        peer.write_all(b"and late").expect("it goes out");
        bench.quiet();
        // Those that find nothing complete too: of the ended receive, of a later owner of its index, and of a socket.
        let stranger = Token::new(Kind::Recv, 6, 1);
        for op in [
            Op::Cancel { target: RECV },
            Op::Cancel { target: stranger },
            Op::Cancel { target: Token::new(Kind::Recv, 0, 99) },
            Op::Cancel { target: ACCEPT },
            Op::Cancel { target: CONNECT },
            Op::CancelSocket { socket },
        ] {
            bench.ring.submit(CANCEL, op);
            assert!(matches!(bench.done(CANCEL), Done::Cancelled));
        }
        bench.receive(socket, false);
        bench.ring.submit(CANCEL, Op::Cancel { target: stranger });
        assert!(matches!(bench.done(CANCEL), Done::Cancelled));
        let mut got = Vec::new();
        while got.len() < waiting.len() + 8 {
            got.extend(bench.received().0);
        }
        assert_eq!(got, [waiting, b"and late"].concat());
    }
}

/// Also what was known to be there when it was cancelled: nobody tells of that again.
#[test]
fn a_cancel_between_two_buffers_loses_nothing() {
    let mut bench = Bench::new(|c| c.recv_buffers = RecvBuffers::Fixed { count: 1, bytes: 64 });
    let (socket, mut peer) = bench.pair();
    peer.write_all(&[7; 150]).expect("it goes out");
    bench.receive(socket, false);
    assert_eq!(bench.received(), (vec![7; 64], None));
    bench.ring.submit(CANCEL, Op::Cancel { target: RECV });
    assert_eq!(bench.ended(), RecvEnd::Cancelled);
    assert!(matches!(bench.done(CANCEL), Done::Cancelled));
    bench.quiet();
    bench.receive(socket, false);
    assert_eq!(bench.received(), (vec![7; 64], None));
    assert_eq!(bench.received(), (vec![7; 22], None));
}

/// Short sends are told as they are; one for which there is no room waits until there is, and both ends have the same bytes.
#[test]
fn a_send_is_told_as_short_as_it_was_and_waits_for_room() {
    let mut bench = Bench::new(|_| ());
    let (socket, mut peer) = bench.pair();
    let taken = bench.fill(socket);
    assert!(taken > 0 && taken < 64 << 20, "{taken} bytes were taken by a socket that nobody reads");
    bench.quiet();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).expect("an end in order");
        bytes
    });
    let mut all = taken;
    for _ in 0..5 {
        let (payload, result) = bench.sent();
        let sent = result.expect("it was taken");
        assert!((1..=payload.len()).contains(&sent));
        all += sent;
        bench.send(socket, vec![3; 1 << 20]);
    }
    all += bench.sent().1.expect("it was taken");
    bench.close(socket, false);
    let got = reader.join().expect("no panic");
    assert!(got.len() == all && got.iter().all(|&byte| byte == 3), "{} of {all} bytes", got.len());
}

/// Everything on a socket ends once, the memory comes back, and the socket may be closed.
#[test]
fn everything_on_a_socket_is_cancelled() {
    let mut bench = Bench::new(|_| ());
    let (socket, peer) = bench.pair();
    bench.receive(socket, false);
    bench.fill(socket);
    bench.ring.submit(CANCEL, Op::CancelSocket { socket });
    let found = bench.pass();
    match &found[..] {
        [
            (RECV, Done::Received { lease: None, end: Some(RecvEnd::Cancelled) }),
            (SEND, Done::Sent { payload, result: Err(Errno(libc::ECANCELED)) }),
            (CANCEL, Done::Cancelled),
        ] => assert_eq!(payload.len(), 64 << 20),
        other => panic!("{other:?}"),
    }
    drop(peer);
    bench.quiet();
    bench.close(socket, false);
    bench.quiet();
}

/// What a peer has not acknowledged is told; a reset drops it, and an end in order does not.
#[test]
fn what_a_peer_has_not_taken_is_told_and_dropped_by_a_reset() {
    for reset in [true, false] {
        let mut bench = Bench::new(|_| ());
        let (socket, mut peer) = bench.pair();
        let unacked = |bench: &mut Bench| {
            bench.ring.submit(UNACKED, Op::Unacked { socket });
            match bench.done(UNACKED) {
                Done::Unacked { result } => result.expect("a TCP socket"),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(unacked(&mut bench), 0);
        let taken = bench.fill(socket);
        bench.ring.submit(CANCEL, Op::CancelSocket { socket });
        assert!(matches!(bench.sent().1, Err(Errno(libc::ECANCELED))));
        assert!(matches!(bench.done(CANCEL), Done::Cancelled));
        let held = unacked(&mut bench) as usize;
        assert!(held > 0 && held <= taken, "{held} of {taken}");
        bench.close(socket, reset);
        let rest = std::io::copy(&mut peer, &mut std::io::sink());
        match reset {
            true => assert_eq!(rest.expect_err("a reset").kind(), ErrorKind::ConnectionReset),
            false => assert_eq!(rest.expect("an end in order") as usize, taken),
        }
    }
}

/// A peer that has reset the connection: told to the receive, and to a send, which raises no signal.
#[test]
fn a_reset_is_told_by_its_errno() {
    for waits in [false, true] {
        let mut bench = Bench::new(|_| ());
        let (socket, peer) = bench.pair();
        if waits {
            bench.fill(socket);
        }
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("a socket option");
        drop(peer);
        if !waits {
            bench.receive(socket, false);
            assert_eq!(bench.ended(), RecvEnd::Failed(Errno(libc::ECONNRESET)));
            bench.send(socket, vec![1]);
        }
        let expected = if waits { libc::ECONNRESET } else { libc::EPIPE };
        assert_eq!(bench.sent().1, Err(Errno(expected)));
        bench.close(socket, false);
    }
}

/// As many as wait are accepted, many in a pass, by one accept; who finds no room waits on.
#[test]
fn accepts_come_in_batches_and_stop_where_there_is_no_room() {
    let most = ACCEPTS as usize + 10;
    let mut bench = Bench::new(|c| c.sockets_max = most as u32);
    let mut peers: Vec<TcpStream> = (0..most + 1).map(|_| bench.peer()).collect();
    bench.ring.submit(ACCEPT, Op::Accept { listener: 0 });
    let accepted = |found: &[(Token, Done<Lease>)]| {
        let is_one = |done: &&(Token, Done<Lease>)| matches!(done.1, Done::Accepted { result: Ok(_), more: true, .. });
        found.iter().filter(is_one).count()
    };
    let found = bench.pass();
    assert_eq!((accepted(&found), found.len()), (ACCEPTS as usize, ACCEPTS as usize));
    let Some((_, Done::Accepted { result: Ok(socket), .. })) = found.first() else { panic!("not accepted") };
    let socket = *socket;
    let found = bench.pass();
    assert_eq!((accepted(&found), found.len()), (10, 11));
    assert!(matches!(found[10].1, Done::Accepted { result: Err(Errno(libc::ENFILE)), more: false, .. }), "{found:?}");
    bench.quiet();
    bench.close(socket, false);
    bench.ring.submit(ACCEPT, Op::Accept { listener: 0 });
    let Done::Accepted { result: Ok(socket), more: true, .. } = bench.done(ACCEPT) else { panic!("not accepted") };
    // It is the one that waited.
    peers[most].write_all(b"here").expect("it goes out");
    bench.receive(socket, true);
    loop {
        match bench.ring.next() {
            Some((RECV, Done::Received { lease: Some(lease), .. })) => break assert_eq!(&*lease, b"here"),
            // Nobody else waits, and there would be no room.
            Some((ACCEPT, Done::Accepted { result: Err(Errno(libc::ENFILE)), .. })) => {}
            Some(other) => panic!("{other:?}"),
            None => bench.ring.wait(Some(bench.ring.now().plus(WAIT))).expect("the ring works"),
        }
    }
}

/// What closing a listener would reset is told, nobody more comes to one that is deaf, and one that is closed is refused.
#[test]
fn a_listener_says_who_waits_and_lets_nobody_in() {
    let mut bench = Bench::new(|_| ());
    assert!(!bench.ring.has_waiting(0));
    let _first = bench.peer();
    assert!(bench.ring.has_waiting(0) && bench.ring.deafen(0));
    // Over loopback a handshake is over, or not, when connect(2) returns.
    let late = socket2::Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("a socket");
    assert_eq!(late.connect(&bench.addr.into()).expect_err("not yet").raw_os_error(), Some(libc::EINPROGRESS));
    assert!(late.peer_addr().is_err(), "its SYN is dropped");
    bench.ring.submit(ACCEPT, Op::Accept { listener: 0 });
    assert!(matches!(bench.done(ACCEPT), Done::Accepted { result: Ok(_), .. }));
    assert!(!bench.ring.has_waiting(0));
    bench.ring.submit(CANCEL, Op::Cancel { target: ACCEPT });
    assert!(matches!(bench.done(ACCEPT), Done::Accepted { result: Err(Errno(libc::ECANCELED)), more: false, .. }));
    bench.ring.unlisten(0);
    assert_eq!(TcpStream::connect(bench.addr).expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
}

/// Bytes that are told of together with the end of the connect are not forgotten.
#[test]
fn a_server_that_speaks_first_is_heard() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let remote = server.local_addr().expect("an address");
    let mut bench = Bench::new(|_| ());
    bench.ring.submit(CONNECT, Op::Connect { remote, nodelay: true, local: None });
    bench.ring.submit(CANCEL, Op::Cancel { target: RECV }); // has something to tell, so that the wait does not look
    bench.ring.wait(None).expect("the ring works");
    assert!(matches!(bench.ring.next(), Some((CANCEL, Done::Cancelled))) && bench.ring.next().is_none());
    let mut accepted = server.accept().expect("it connects").0;
    accepted.write_all(b"welcome").expect("it goes out");
    let Done::Connected { result: Ok(socket) } = bench.done(CONNECT) else { panic!("not connected") };
    bench.receive(socket, false);
    assert_eq!(bench.received(), (b"welcome".to_vec(), None));
}

/// Connects succeed, fail, and find no room.
#[test]
fn a_connect_is_told_by_its_socket_or_its_errno() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = server.local_addr().expect("an address");
    let mut bench = Bench::new(|c| c.sockets_max = 1);
    bench.ring.submit(CONNECT, Op::Connect { remote: addr, nodelay: true, local: None });
    bench.ring.wait(Some(Time::default())).expect("the ring works");
    let accepted = server.accept().expect("it connects").0;
    let Done::Connected { result: Ok(socket) } = bench.done(CONNECT) else { panic!("not connected") };
    assert!(bench.ring.sockets.get(socket.0).socket.tcp_nodelay().expect("an option"));
    bench.ring.submit(CONNECT, Op::Connect { remote: addr, nodelay: false, local: None });
    assert!(matches!(bench.done(CONNECT), Done::Connected { result: Err(Errno(libc::ENFILE)) }));
    bench.close(socket, false);
    drop((server, accepted));
    bench.ring.submit(CONNECT, Op::Connect { remote: addr, nodelay: false, local: None });
    assert!(matches!(bench.done(CONNECT), Done::Connected { result: Err(Errno(libc::ECONNREFUSED)) }));
}

/// A connect that waits is cancelled, and its place is free again.
#[test]
fn a_connect_that_waits_is_cancelled() {
    // Whose queue is full: the next one's SYN is dropped.
    let full = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    full.bind(&"127.0.0.1:0".parse::<SocketAddr>().expect("an address").into()).expect("a free port");
    full.listen(0).expect("it listens");
    let addr = full.local_addr().expect("an address").as_socket().expect("of TCP");
    let _queued = TcpStream::connect(addr).expect("one fits");
    let mut bench = Bench::new(|c| c.sockets_max = 1);
    for _ in 0..2 {
        bench.ring.submit(CONNECT, Op::Connect { remote: addr, nodelay: false, local: None });
        bench.quiet();
        bench.ring.on_connecting(0); // something was told of it, which is not that it is connected
        bench.quiet();
        bench.ring.submit(CANCEL, Op::Cancel { target: CONNECT });
        let found = bench.pass();
        assert!(
            matches!(
                found[..],
                [(CONNECT, Done::Connected { result: Err(Errno(libc::ECANCELED)) }), (CANCEL, Done::Cancelled)]
            ),
            "{found:?}"
        );
    }
}

#[test]
fn a_ring_that_goes_closes_its_sockets() {
    let mut bench = Bench::new(|_| ());
    let (receiving, mut first) = bench.pair();
    bench.receive(receiving, false);
    let (sending, mut second) = bench.pair();
    bench.fill(sending);
    let mut third = bench.peer(); // nobody has heard of it
    drop(bench);
    for peer in [&mut first, &mut second, &mut third] {
        match std::io::copy(peer, &mut std::io::sink()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

#[test]
#[should_panic(expected = "is closed under an operation")]
fn a_socket_is_not_closed_under_a_receive() {
    let mut bench = Bench::new(|_| ());
    let (socket, _peer) = bench.pair();
    bench.receive(socket, false);
    bench.quiet();
    bench.close(socket, false);
}
