//! Accepts of the driver: how many connections one serves, and what it says where there is no room.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use wsring::ring::uring::{Feature, Features, RingConfig, Uring, Waker};
use wsring::ring::{Done, Errno, Kind, Op, Ring, Socket, Token};

use super::{ACCEPT, Bench};
use crate::common::procfs::sockets_by_state;
use crate::common::*;

#[test]
fn one_accept_serves_many_connections_or_one() {
    for multishot in [true, false] {
        let without = if multishot { Features::all() } else { Features::all().without(Feature::MultishotAccept) };
        let mut bench = Bench::new(|c| c.features = without);
        bench.ring.submit(ACCEPT, Op::Accept { listener: 0 });
        for round in 0..3 {
            let _peer = tcp(bench.addr);
            let Done::Accepted { result: Ok(Socket(slot)), more, .. } = bench.done(ACCEPT) else {
                panic!("not accepted")
            };
            // Into the table of fixed files one that goes on is made of many.
            assert_eq!(more, multishot || bench.ring.features().has(Feature::DirectDescriptors));
            if bench.ring.features().has(Feature::DirectDescriptors) {
                assert_eq!(slot, round, "the lowest free slot");
            }
            if !more {
                bench.ring.submit(ACCEPT, Op::Accept { listener: 0 });
            }
        }
    }
}

/// Of a cap on descriptors the kernel knows nothing: an accept serves many only while there is room for all that may wait.
#[test]
fn an_accept_takes_no_more_descriptors_than_there_is_room_for() {
    const MAX: u32 = 8;
    const QUEUE: u32 = 4;
    let features = Features::all().without(Feature::DirectDescriptors);
    let mut bench = Bench::new(|c| (c.sockets_max, c.backlog, c.features) = (MAX, QUEUE, features));
    bench.ring.submit(ACCEPT, Op::Accept { listener: 0 });
    let mut peers = Vec::new();
    for _ in 0..MAX - QUEUE {
        peers.push(tcp(bench.addr));
        assert!(matches!(bench.done(ACCEPT), Done::Accepted { result: Ok(_), more: true, .. }));
    }
    // As many wait as can: they would all be taken at once, and half of them cut.
    peers.extend((0..2 * QUEUE).map(|_| tcp(bench.addr)));
    assert!(matches!(bench.done(ACCEPT), Done::Accepted { result: Err(Errno(libc::ECANCELED)), more: false, .. }));
    for _ in 0..QUEUE {
        bench.ring.submit(ACCEPT, Op::Accept { listener: 0 });
        assert!(matches!(bench.done(ACCEPT), Done::Accepted { result: Ok(_), more: false, .. }));
    }
    bench.ring.submit(ACCEPT, Op::Accept { listener: 0 });
    assert!(matches!(bench.done(ACCEPT), Done::Accepted { result: Err(Errno(libc::ENFILE)), more: false, .. }));
    // Those inside, and those that wait; the one that found no place is gone.
    assert_eq!(sockets_by_state(bench.addr)["ESTABLISHED"], (2 * MAX - QUEUE - 1) as usize);
}

/// The room is that of all listeners together, and whoever takes the last of it ends the accepts of all.
#[test]
fn accepts_of_all_listeners_end_when_there_is_room_for_few() {
    let features = Features::all().without(Feature::DirectDescriptors);
    let config = RingConfig { sockets_max: 12, backlog: 2, features, ..RingConfig::default() };
    let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let addrs = listeners.each_ref().map(|listener| listener.local_addr().expect("an address"));
    let (mut ring, _blocks) =
        Uring::new(&config, listeners.into(), Waker::new().expect("a descriptor")).expect("a ring");
    let next = |ring: &mut Uring| loop {
        if let Some((token, Done::Accepted { result, more, .. })) = ring.next() {
            return (token.index(), result.map(|_| ()), more);
        }
        ring.wait(Some(ring.now().plus(WAIT))).expect("the ring works");
    };
    for listener in 0..2 {
        ring.submit(Token::new(Kind::Accept, 0, listener), Op::Accept { listener });
    }
    // Two queues of two are four places.
    let peers: Vec<TcpStream> = (0..12 - 4)
        .map(|_| {
            let peer = tcp(addrs[0]);
            assert_eq!(next(&mut ring), (0, Ok(()), true));
            peer
        })
        .collect();
    let mut ended = [next(&mut ring), next(&mut ring)];
    ended.sort_by_key(|(listener, ..)| *listener);
    assert_eq!(ended, [0, 1].map(|listener| (listener, Err(Errno(libc::ECANCELED)), false)));
    drop(peers);
}

/// Connects that are under way have their slots; when they end without one, who waits in a listener's queue is accepted, though no socket has closed.
#[test]
fn accepts_go_on_when_connects_have_ended() {
    const SLOTS: u32 = 20;
    let config = RingConfig { sockets_max: SLOTS, ..RingConfig::default() };
    let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let addrs = listeners.each_ref().map(|listener| listener.local_addr().expect("an address"));
    let (mut ring, _blocks) =
        Uring::new(&config, listeners.into(), Waker::new().expect("a descriptor")).expect("a ring");
    if !ring.features().has(Feature::DirectDescriptors) || !ring.deafen(1) {
        return; // with descriptors accepts are another matter
    }
    let connect = |index| Token::new(Kind::Connect, 0, index);
    for index in 0..SLOTS {
        ring.submit(connect(index), Op::Connect { remote: addrs[1], nodelay: true, local: None });
    }
    ring.submit(ACCEPT, Op::Accept { listener: 0 });
    let _peer = tcp(addrs[0]);
    ring.wait(Some(ring.now())).expect("the ring works");
    assert!(ring.next().is_none(), "nobody is accepted whom there is no slot for");
    for index in 0..SLOTS {
        ring.submit(Token::new(Kind::Cancel, 0, index), Op::Cancel { target: connect(index) });
    }
    let deadline = std::time::Instant::now() + WAIT;
    loop {
        if let Some((_, Done::Accepted { result, .. })) = ring.next() {
            break assert!(result.is_ok(), "{result:?}");
        }
        assert!(std::time::Instant::now() < deadline, "who waits is never accepted");
        ring.wait(Some(ring.now().plus(std::time::Duration::from_millis(50)))).expect("the ring works");
    }
}

/// A slot that becomes free goes to the listener that has no accept with the kernel, and not to one that has some.
#[test]
fn no_listener_goes_without_because_another_is_busy() {
    const SLOTS: u32 = 10;
    const MANY: u32 = 8; // of each of two listeners
    let config = RingConfig { sockets_max: SLOTS, ..RingConfig::default() };
    let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let addrs = listeners.each_ref().map(|listener| listener.local_addr().expect("an address"));
    let (mut ring, _blocks) =
        Uring::new(&config, listeners.into(), Waker::new().expect("a descriptor")).expect("a ring");
    if !ring.features().has(Feature::DirectDescriptors) || !ring.features().has(Feature::MultishotAccept) {
        return; // an accept takes no slot before it has served
    }
    let accept = |listener| Token::new(Kind::Accept, 0, listener);
    let next = |ring: &mut Uring| {
        let deadline = std::time::Instant::now() + WAIT;
        loop {
            match ring.next() {
                Some((token, Done::Accepted { result, .. })) => break (token, result.expect("a socket")),
                Some((_, Done::Closed)) | None => {}
                Some(other) => panic!("{other:?}"),
            }
            assert!(std::time::Instant::now() < deadline, "who waits is never accepted");
            ring.wait(Some(ring.now().plus(std::time::Duration::from_millis(50)))).expect("the ring works");
        }
    };
    (0..2).for_each(|listener| ring.submit(accept(listener), Op::Accept { listener }));
    let mut peers = vec![tcp(addrs[0])];
    assert_eq!(next(&mut ring).0, accept(0));
    let mut sockets = Vec::new();
    for _ in MANY..SLOTS {
        peers.push(tcp(addrs[1]));
        let (token, socket) = next(&mut ring);
        assert_eq!(token, accept(1));
        sockets.push(socket);
    }
    // Each slot is taken or has an accept, and all of those are the first listener's.
    peers.push(tcp(addrs[1]));
    let socket = sockets.pop().expect("one of the second listener's");
    ring.submit(Token::new(Kind::Close, 0, 0), Op::Close { socket, reset: false });
    assert_eq!(next(&mut ring).0, accept(1));
}

/// Where there is no room for a socket more the accept ends and says so, and whom it had accepted is gone; a place that was freed
/// serves again.
#[test]
fn an_accept_without_room_says_enfile() {
    for features in [Features::all(), Features::all().without(Feature::DirectDescriptors), Features::none()] {
        let mut bench = Bench::new(|c| (c.sockets_max, c.features) = (1, features));
        let direct = bench.ring.features().has(Feature::DirectDescriptors);
        let (socket, _first) = bench.pair();
        bench.ring.submit(ACCEPT, Op::Accept { listener: 0 });
        let second = tcp(bench.addr);
        if direct {
            // It waits in the queue until a slot is free.
            bench.close(socket);
            assert!(
                matches!(bench.done(ACCEPT), Done::Accepted { result: Ok(next), more: true, .. } if next == socket)
            );
            continue;
        }
        match bench.done(ACCEPT) {
            Done::Accepted { result: Err(Errno(libc::ENFILE)), more: false, .. } => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(read_some(&second, &mut [0]).expect("an end"), 0);
        bench.close(socket);
        let (next, _peer) = bench.pair();
        assert!(next == socket || !direct, "{next:?} is not the slot that was freed");
    }
}

/// What closing a listener would reset, and that nobody more comes to it when it is to be closed.
#[test]
fn a_listener_says_who_waits_and_lets_nobody_in() {
    let mut bench = Bench::new(|_| {});
    assert!(!bench.ring.has_waiting(0));
    let first = tcp(bench.addr);
    assert!(bench.ring.has_waiting(0));
    assert!(bench.ring.deafen(0));
    // Over loopback a handshake is over, or not, when connect(2) returns.
    let late = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    late.set_nonblocking(true).expect("nonblocking");
    assert_eq!(late.connect(&bench.addr.into()).expect_err("not yet").raw_os_error(), Some(libc::EINPROGRESS));
    assert!(late.peer_addr().is_err(), "its SYN is dropped");
    bench.ring.submit(ACCEPT, Op::Accept { listener: 0 });
    let Done::Accepted { result: Ok(socket), .. } = bench.done(ACCEPT) else { panic!("not accepted") };
    assert!(!bench.ring.has_waiting(0));
    // Who was there before is heard.
    (&first).write_all(b"here").expect("it goes out");
    let recv = Token::new(Kind::Recv, 1, 0);
    bench.ring.submit(recv, Op::Recv { socket, once: true });
    let Done::Received { lease: Some(lease), .. } = bench.done(recv) else { panic!("nothing came") };
    assert_eq!(&*lease, b"here");
    bench.ring.release(lease);
}

/// O_NONBLOCK is one mark for all processes that have a socket: a driver on epoll sets it, in whichever of them. Accepts here wait all the same, and do not come back again and
/// again.
#[test]
fn accepts_wait_at_a_socket_that_is_not_to_block() {
    for features in [Features::all(), Features::all().without(Feature::DirectDescriptors), Features::none()] {
        let config = RingConfig { sockets_max: 64, backlog: 4, features, ..RingConfig::default() };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (addr, twin) = (listener.local_addr().expect("an address"), listener.try_clone().expect("a descriptor"));
        twin.set_nonblocking(true).expect("a socket");
        let (mut ring, _blocks) =
            Uring::new(&config, vec![listener], Waker::new().expect("a descriptor")).expect("a ring");
        let accept = Token::new(Kind::Accept, 0, 0);
        ring.submit(accept, Op::Accept { listener: 0 });
        let mut failures = 0;
        for round in 0..3 {
            if round == 2 {
                twin.set_nonblocking(true).expect("a socket"); // by whoever comes later
            }
            let mut peer = None;
            let deadline = std::time::Instant::now() + WAIT;
            loop {
                ring.wait(Some(ring.now().plus(std::time::Duration::from_millis(20)))).expect("the ring works");
                let mut came = false;
                while let Some((token, done)) = ring.next() {
                    let Done::Accepted { result, more, .. } = done else { panic!("{token:?}") };
                    came |= result.is_ok();
                    failures += u32::from(result.is_err());
                    if !more {
                        ring.submit(accept, Op::Accept { listener: 0 });
                    }
                }
                if came {
                    break;
                }
                assert!(std::time::Instant::now() < deadline && failures < 100, "{features}: {failures} failures");
                if peer.is_none() {
                    peer = Some(tcp(addr));
                }
            }
        }
        println!("{features}: {failures} accepts came back");
    }
}
