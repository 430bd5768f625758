//! When a wait sleeps, looks, and comes back; what wakes it; and how many system calls all of that takes.

use super::*;

const WAKE: Token = Token::new(Kind::Wake, 0, 0);

/// A message and its answer: one look, one receive and one send. What a send has brought about is told without a look.
#[test]
fn an_echo_takes_three_system_calls() {
    const MESSAGES: u64 = 100;
    let mut bench = Bench::new(|_| ());
    let (socket, mut peer) = bench.pair();
    bench.receive(socket, false);
    bench.quiet();
    let before = bench.ring.enters();
    for _ in 0..MESSAGES {
        peer.write_all(b"ping").expect("it goes out");
        bench.ring.wait(None).expect("the ring works");
        assert_eq!(bench.received(), (b"ping".to_vec(), None));
        assert!(bench.ring.next().is_none());
        bench.send(socket, b"pong".to_vec());
        bench.ring.wait(None).expect("the ring works");
        assert_eq!(bench.sent().1, Ok(4));
        assert!(bench.ring.next().is_none());
        peer.read_exact(&mut [0; 4]).expect("the answer");
    }
    assert_eq!(bench.ring.enters() - before, 3 * MESSAGES);
}

/// Two waits in a row do not both leave it at what has completed; and one that did looks when it is asked whether there is more.
#[test]
fn what_completes_without_end_holds_up_no_look() {
    let mut bench = Bench::new(|_| ());
    let (socket, mut peer) = bench.pair();
    bench.receive(socket, false);
    bench.quiet();
    peer.write_all(b"here").expect("it goes out");
    let mut found = Vec::new();
    for _ in 0..2 {
        bench.send(socket, b"x".to_vec());
        found.extend(bench.pass().into_iter().map(|(token, _)| token));
    }
    assert_eq!(found, [SEND, SEND, RECV]);
    peer.write_all(b"here").expect("it goes out");
    bench.send(socket, b"x".to_vec());
    bench.ring.wait(None).expect("the ring works");
    assert!(!bench.ring.has_more());
    let found: Vec<Token> = std::iter::from_fn(|| bench.ring.next()).map(|(token, _)| token).collect();
    assert_eq!(found, [SEND, RECV]);
}

/// A socket that has something and does not receive, as a connection that is paused, lets the ring sleep.
#[test]
fn what_is_not_wanted_wakes_nobody() {
    let mut bench = Bench::new(|_| ());
    let (socket, mut peer) = bench.pair();
    peer.write_all(b"later").expect("it goes out");
    bench.quiet();
    let before = bench.ring.enters();
    let until = bench.ring.now().plus(Duration::from_millis(20));
    bench.ring.wait(Some(until)).expect("the ring works");
    assert!(bench.ring.next().is_none() && bench.ring.now() >= until);
    assert_eq!(bench.ring.enters() - before, 2, "a timer and a sleep");
    bench.receive(socket, false);
    assert_eq!(bench.received(), (b"later".to_vec(), None));
}

/// Also when the timer went off while the ring spun: it is not waited for for ever.
#[test]
fn a_wait_ends_at_its_time() {
    for spin in [Duration::ZERO, Duration::from_micros(300)] {
        let mut bench = Bench::new(|c| c.spin = spin);
        bench.quiet();
        for micros in (0..1_000).step_by(7) {
            let until = bench.ring.now().plus(Duration::from_micros(micros));
            bench.ring.expect_more();
            while bench.ring.now() < until {
                bench.ring.wait(Some(until)).expect("the ring works");
                assert!(bench.ring.next().is_none());
            }
        }
    }
}

/// Wakes are not lost, also those that come before the wake is armed again.
#[test]
fn a_wake_from_another_thread_completes() {
    let mut bench = Bench::new(|_| ());
    bench.ring.submit(WAKE, Op::Wake);
    bench.quiet();
    let waker = bench.ring.waker();
    std::thread::spawn(move || waker.wake()).join().expect("no panic");
    assert!(matches!(bench.done(WAKE), Done::Woken));
    bench.ring.waker().wake();
    bench.quiet();
    bench.ring.submit(WAKE, Op::Wake);
    assert!(matches!(bench.done(WAKE), Done::Woken));
    bench.ring.submit(WAKE, Op::Wake);
    bench.quiet();
    assert_eq!(bench.ring.waker().writes(), 0, "it never slept");
}

/// A ring that has slept runs again: whoever wakes it then writes nothing, and it sleeps the next time too.
#[test]
fn a_ring_that_has_slept_is_awake() {
    let mut bench = Bench::new(|_| ());
    bench.ring.submit(WAKE, Op::Wake);
    bench.quiet();
    for _ in 0..3 {
        let until = bench.ring.now().plus(Duration::from_millis(2));
        bench.ring.wait(Some(until)).expect("the ring works");
        assert!(bench.ring.next().is_none() && bench.ring.now() >= until, "it sleeps until its time");
        bench.ring.waker().wake();
        assert!(matches!(bench.done(WAKE), Done::Woken));
        bench.ring.submit(WAKE, Op::Wake);
        bench.quiet();
    }
    assert_eq!(bench.ring.waker().writes(), 0);
}

/// Two threads wake a ring that sleeps whenever it can, and each waits for its wake to be told of before the next: one that is lost
/// leaves all of them waiting.
#[test]
fn no_wake_is_lost() {
    const ROUNDS: u64 = 5_000;
    let mut bench = Bench::new(|c| c.spin = Duration::from_micros(5));
    bench.ring.submit(WAKE, Op::Wake);
    let waker = bench.ring.waker();
    let said = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let seen = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let threads = [0, 1].map(|me| {
        let (waker, said, seen) = (waker.clone(), Arc::clone(&said), Arc::clone(&seen));
        std::thread::spawn(move || {
            for round in 1..=ROUNDS {
                said[me].store(round, Ordering::Relaxed); // the wake is what makes it seen
                waker.wake();
                while seen[me].load(Ordering::Acquire) < round {
                    std::thread::yield_now();
                }
            }
        })
    });
    let mut passes = 0;
    while seen.iter().any(|seen| seen.load(Ordering::Relaxed) < ROUNDS) {
        let until = bench.ring.now().plus(WAIT);
        bench.ring.wait(Some(until)).expect("the ring works");
        assert!(bench.ring.now() < until, "a wake is lost");
        if let Some((WAKE, Done::Woken)) = bench.ring.next() {
            bench.ring.submit(WAKE, Op::Wake);
            for (said, seen) in said.iter().zip(&*seen) {
                seen.store(said.load(Ordering::Relaxed), Ordering::Release);
            }
            passes += 1;
            if passes % 3 == 0 {
                bench.ring.expect_more();
            }
        }
    }
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let (writes, calls) = (waker.writes(), bench.ring.enters());
    assert!(writes <= 2 * ROUNDS && writes <= calls, "{writes} writes woke a ring that made {calls} calls");
}
