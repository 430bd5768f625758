//! How other threads wake a ring: no wake is lost, and none costs a system call while the ring runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wsring::ring::uring::{Feature, Features};
use wsring::ring::{Done, Kind, Op, Ring, Time, Token};

use super::Bench;
use crate::common::*;

const WAKE: Token = Token::new(Kind::Wake, 0, 0);

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
}

/// A ring that runs is told of any number of wakes once a pass, and neither side makes a system call for them.
#[test]
fn a_ring_that_runs_is_woken_without_a_system_call() {
    let mut bench = Bench::new(|c| c.spin = Duration::from_secs(1));
    bench.ring.submit(WAKE, Op::Wake);
    bench.quiet();
    let (waker, enters) = (bench.ring.waker(), bench.ring.enters());
    for _ in 0..1000 {
        (0..3).for_each(|_| waker.wake());
        bench.ring.expect_more();
        bench.ring.wait(None).expect("the ring works");
        assert!(matches!(bench.ring.next(), Some((WAKE, Done::Woken))));
        bench.ring.submit(WAKE, Op::Wake);
        waker.wake();
        assert!(bench.ring.next().is_none(), "the next is for the next pass");
        bench.ring.wait(None).expect("the ring works");
        assert!(matches!(bench.ring.next(), Some((WAKE, Done::Woken))));
        bench.ring.submit(WAKE, Op::Wake);
    }
    assert_eq!((waker.writes(), bench.ring.enters()), (0, enters));
}

/// A ring that spins sees a wake of another thread without a system call, long before its spin time is over.
#[test]
fn a_ring_that_spins_is_woken_without_a_system_call() {
    let mut bench = Bench::new(|c| c.spin = Duration::from_secs(1));
    bench.ring.submit(WAKE, Op::Wake);
    bench.quiet();
    let (waker, enters) = (bench.ring.waker(), bench.ring.enters());
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        waker.wake();
    });
    bench.ring.expect_more();
    let began = bench.ring.now();
    bench.ring.wait(Some(began.plus(WAIT))).expect("the ring works");
    assert!(matches!(bench.ring.next(), Some((WAKE, Done::Woken))));
    assert!(bench.ring.now() < began.plus(Duration::from_secs(1)) || bench.ring.enters() > enters);
    other.join().expect("no panic");
    assert_eq!((bench.ring.waker().writes(), bench.ring.enters()), (0, enters));
}

/// Two threads wake a ring that sleeps whenever it can, and each waits for its wake to be told of before the next: one that is lost
/// leaves all of them waiting. With deferred completions and without, and with the ring polling now and then.
#[test]
fn no_wake_is_lost() {
    const ROUNDS: u64 = 20_000;
    for features in [Features::all(), Features::all().without(Feature::DeferTaskrun)] {
        let mut bench = Bench::new(|c| (c.features, c.spin) = (features, Duration::from_micros(5)));
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
                    (0..round % 97).for_each(|_| std::hint::spin_loop());
                }
            })
        });
        let mut passes = 0;
        while seen.iter().any(|seen| seen.load(Ordering::Relaxed) < ROUNDS) {
            let until = bench.ring.now().plus(WAIT);
            bench.ring.wait(Some(until)).expect("the ring works");
            assert!(bench.ring.now() < until, "{features}: a wake is lost");
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
        let (writes, enters) = (waker.writes(), bench.ring.enters());
        assert!(
            writes <= 2 * ROUNDS && writes <= enters,
            "{writes} system calls woke a ring that slept {enters} times"
        );
        bench.ring.wait(Some(Time::default())).expect("the ring works");
    }
}
