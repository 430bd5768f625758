//! Accepts of the driver: how many connections one serves, and what it says where there is no room.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use wsring::ring::uring::{Feature, Features, QueueEntries, RingConfig, Uring, Waker};
use wsring::ring::{Done, Errno, Kind, Op, Ring, Socket, Token};

use super::{ACCEPT, Bench, CANCEL};
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

/// A ring with these listeners, whose accepts have been submitted.
fn accepting<const N: usize>(config: &RingConfig, listeners: [TcpListener; N]) -> Uring {
    let (mut ring, _) = Uring::new(config, listeners.into(), Waker::new().expect("a descriptor")).expect("a ring");
    for listener in 0..N as u32 {
        ring.submit(Token::new(Kind::Accept, 0, listener), Op::Accept { listener });
    }
    ring
}

/// Of descriptors: an accept ends with each connection, where there is no room for all that may wait, or accepts do not go on.
fn ends_with_each(ring: &Uring, config: &RingConfig) -> bool {
    let goes_on = ring.features().has(Feature::MultishotAccept) && config.backlog < config.sockets_max;
    !ring.features().has(Feature::DirectDescriptors) && !goes_on
}

/// As many as there are now: who has come, and in how many waits.
fn come(ring: &mut Uring, count: usize) -> (Vec<(Socket, Option<SocketAddr>)>, u32) {
    let deadline = std::time::Instant::now() + WAIT;
    let (mut come, mut waits) = (Vec::new(), 0);
    while come.len() < count {
        assert!(std::time::Instant::now() < deadline, "{} of {count} have come", come.len());
        ring.wait(Some(ring.now().plus(std::time::Duration::from_millis(50)))).expect("the ring works");
        waits += 1;
        while let Some((token, done)) = ring.next() {
            match done {
                Done::Accepted { result, peer, more } => {
                    come.push((result.expect("a socket"), peer));
                    // One of descriptors ends where completions find no room.
                    assert!(more || !ring.features().has(Feature::DirectDescriptors), "{token:?} has ended");
                    if !more {
                        ring.submit(token, Op::Accept { listener: token.index() });
                    }
                }
                Done::Closed => {}
                other => panic!("{token:?}: {other:?}"),
            }
        }
    }
    (come, waits)
}

/// What has been received from a socket: all of it comes in one piece.
fn heard(ring: &mut Uring, socket: Socket) -> Vec<u8> {
    let token = Token::new(Kind::Recv, 1, socket.0);
    ring.submit(token, Op::Recv { socket, once: true });
    let deadline = std::time::Instant::now() + WAIT;
    loop {
        match ring.next() {
            Some((of, Done::Received { lease: Some(lease), .. })) if of == token => {
                let heard = lease.to_vec();
                ring.release(lease);
                return heard;
            }
            Some(other) => panic!("{other:?}"),
            None => ring.wait(Some(ring.now().plus(std::time::Duration::from_millis(50)))).expect("the ring works"),
        }
        assert!(std::time::Instant::now() < deadline, "{token:?} never completes");
    }
}

/// One accept writes all addresses to one place. Whoever has said which address is his has been told with that one: of one that came alone, of many that came at once,
/// where completions find no room in the queue, and where accepts serve one connection each.
#[test]
fn everybody_has_his_own_address() {
    const MANY: usize = 150;
    let few = QueueEntries { submission: 8, completion: 16 };
    let ways = [
        ("127.0.0.1:0", 16, QueueEntries::default(), Features::all()),
        ("[::1]:0", 16, QueueEntries::default(), Features::all()),
        ("127.0.0.1:0", 16, few, Features::all()),
        ("127.0.0.1:0", 4096, QueueEntries::default(), Features::all()),
        ("[::1]:0", 16, few, Features::all().without(Feature::DeferTaskrun)),
        ("127.0.0.1:0", 16, few, Features::all().without(Feature::MultishotAccept)),
    ];
    for (at, backlog, queue_entries, features) in ways {
        let config = RingConfig { sockets_max: 1024, backlog, queue_entries, features, ..RingConfig::default() };
        let listener = socket2::Socket::from(TcpListener::bind(at).expect("a free port"));
        listener.listen(4096).expect("a longer queue");
        let listener = TcpListener::from(listener);
        let addr = listener.local_addr().expect("an address");
        let mut ring = accepting(&config, [listener]);
        if ends_with_each(&ring, &config) {
            continue;
        }
        let goes_on = ring.features().has(Feature::DirectDescriptors)
            && features.has(Feature::DeferTaskrun)
            && features.has(Feature::MultishotAccept)
            && backlog < 1024
            && queue_entries != few;
        for count in [1, MANY, 1, 2, MANY] {
            let peers: Vec<TcpStream> = (0..count)
                .map(|_| {
                    let mut peer = tcp(addr);
                    let own = peer.local_addr().expect("an address").to_string();
                    peer.write_all(own.as_bytes()).expect("it goes out");
                    peer
                })
                .collect();
            let (come, waits) = come(&mut ring, count);
            // All are accepted in one wait, and the kernel is asked for 64 at once.
            assert!(!goes_on || waits <= 5, "{at} {features}: {waits} waits for {count}");
            for (socket, peer) in come {
                let own = String::from_utf8(heard(&mut ring, socket)).expect("text");
                assert_eq!(peer.map(|peer| peer.to_string()), Some(own), "{at} {features}, one of {count}");
                ring.submit(Token::new(Kind::Close, 0, 0), Op::Close { socket, reset: false });
                while !matches!(ring.next(), Some((_, Done::Closed))) {
                    ring.wait(Some(ring.now().plus(WAIT))).expect("the ring works");
                }
            }
            drop(peers);
        }
    }
}

/// The kernel is not asked for what there is not.
#[test]
fn who_comes_to_a_path_has_no_address() {
    let path = std::env::temp_dir().join(format!("wsring-accepts-{}.socket", std::process::id()));
    let _ = std::fs::remove_file(&path); // of one that was killed
    let listener = TcpListener::from(OwnedFd::from(UnixListener::bind(&path).expect("a path")));
    let config = RingConfig { sockets_max: 256, backlog: 8, ..RingConfig::default() };
    let mut ring = accepting(&config, [listener]);
    let peers: Vec<UnixStream> = (0..50).map(|_| UnixStream::connect(&path).expect("it listens")).collect();
    std::fs::remove_file(&path).expect("it was made");
    let (come, waits) = come(&mut ring, peers.len());
    assert!(come.iter().all(|(_, peer)| peer.is_none()), "{come:?}");
    assert!(waits <= 2 || !ring.features().has(Feature::DirectDescriptors), "{waits} waits for {}", peers.len());
}

/// Whom the kernel finds no slot for it drops: so accepts serve many only while there is room for all that may wait at any listener, then one each, and nobody is dropped. When there is
/// room again, so they do again.
#[test]
fn nobody_is_dropped_where_there_are_slots_for_few() {
    const SLOTS: usize = 600;
    const QUEUE: usize = 100; // of each of two listeners
    let config = RingConfig { sockets_max: SLOTS as u32, backlog: QUEUE as u32, ..RingConfig::default() };
    let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let addrs = listeners.each_ref().map(|listener| listener.local_addr().expect("an address"));
    let mut ring = accepting(&config, listeners);
    if !ring.features().has(Feature::DirectDescriptors) {
        return; // with descriptors accepts are another matter
    }
    let connect = |count| -> Vec<TcpStream> { (0..count).map(|n| tcp(addrs[n % 2])).collect() };
    let mut peers = Vec::new();
    let mut inside = Vec::new();
    // In steps that a queue takes, up to the last slot.
    for step in [QUEUE; SLOTS / QUEUE] {
        peers.extend(connect(step));
        inside.extend(come(&mut ring, step).0);
    }
    peers.extend(connect(QUEUE));
    for _ in 0..3 {
        ring.wait(Some(ring.now())).expect("the ring works");
        assert!(ring.next().is_none(), "nobody is accepted whom there is no slot for");
    }
    let close =
        |ring: &mut Uring, socket| ring.submit(Token::new(Kind::Close, 0, 0), Op::Close { socket, reset: false });
    inside.drain(..QUEUE).for_each(|(socket, _)| close(&mut ring, socket));
    inside.extend(come(&mut ring, QUEUE).0);
    let mut own: Vec<_> = peers[QUEUE..].iter().map(|peer| peer.local_addr().expect("an address")).collect();
    let mut told: Vec<_> = inside.iter().map(|(_, peer)| peer.expect("an address")).collect();
    own.sort_unstable();
    told.sort_unstable();
    assert_eq!(own, told);
    // All go. Those that serve one each have been with the kernel since, and are used up first.
    inside.drain(..).for_each(|(socket, _)| close(&mut ring, socket));
    let _first = connect(QUEUE);
    come(&mut ring, QUEUE);
    let _second = connect(QUEUE);
    let (_, waits) = come(&mut ring, QUEUE);
    assert!(waits < QUEUE as u32 / 16, "{waits} waits for {QUEUE}: each accept serves one");
}

/// Those who were accepted before an accept was cancelled are told with their addresses, and its end comes behind them.
#[test]
fn an_accept_ends_behind_those_that_it_has_served() {
    const COUNT: usize = 100;
    for backlog in [16, 4096] {
        let config = RingConfig { sockets_max: 1024, backlog, ..RingConfig::default() };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let mut ring = accepting(&config, [listener]);
        if ends_with_each(&ring, &config) {
            continue;
        }
        let peers: Vec<TcpStream> = (0..COUNT).map(|_| tcp(addr)).collect();
        let own: Vec<_> = peers.iter().map(|peer| peer.local_addr().expect("an address")).collect();
        ring.wait(Some(ring.now())).expect("the ring works");
        let mut told = Vec::new();
        // The first that is told has others behind it.
        while told.is_empty() {
            match ring.next() {
                Some((_, Done::Accepted { result: Ok(_), peer, more: true })) => told.push(peer.expect("an address")),
                Some(other) => panic!("{other:?}"),
                None => ring.wait(Some(ring.now().plus(WAIT))).expect("the ring works"),
            }
        }
        ring.submit(CANCEL, Op::Cancel { target: ACCEPT });
        let (mut ended, mut cancelled) = (false, false);
        while !ended || !cancelled {
            match ring.next() {
                Some((ACCEPT, Done::Accepted { result: Ok(_), peer, more: true })) if !ended => {
                    told.push(peer.expect("an address"))
                }
                Some((ACCEPT, Done::Accepted { result: Err(Errno(libc::ECANCELED)), peer: None, more: false })) => {
                    assert!(!std::mem::replace(&mut ended, true), "it ended twice");
                }
                Some((CANCEL, Done::Cancelled)) => cancelled = true,
                Some(other) => panic!("{other:?}"),
                None => ring.wait(Some(ring.now().plus(WAIT))).expect("the ring works"),
            }
        }
        told.sort_unstable();
        told.dedup();
        assert!(told.iter().all(|peer| own.contains(peer)), "{told:?}");
        let all = ring.features().has(Feature::DirectDescriptors) && backlog == 16;
        assert!(told.len() == COUNT || !all, "{} of {COUNT} had been accepted by one", told.len());
        // It can begin again.
        ring.submit(ACCEPT, Op::Accept { listener: 0 });
        let last = tcp(addr);
        let rest = come(&mut ring, COUNT - told.len() + 1).0;
        let last = last.local_addr().expect("an address");
        assert!(rest.iter().any(|(_, peer)| *peer == Some(last)), "{rest:?}");
    }
}
