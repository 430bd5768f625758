//! Many connections at once, where receive buffers and completion queues run out.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wsring::{Config, Feature, Features, QueueEntries, RecvBuffers, RingKind, SendBuffers};

use crate::common::*;

const CROWD: usize = 1000;
const THREADS: usize = 4;
/// Rounds of the three messages below; in a hurry the last of them, which has the longest.
fn rounds() -> std::ops::Range<usize> {
    effort::whole_or_quick(0, 2)..3
}

/// Where threads wait for each other, but not for one that has failed.
#[derive(Default)]
struct Meeting(AtomicUsize);

impl Meeting {
    /// Waits until all have come for the `times`th time.
    fn wait(&self, times: usize) {
        self.0.fetch_add(1, Ordering::AcqRel);
        let deadline = Instant::now() + 2 * WAIT;
        while self.0.load(Ordering::Acquire) < times * THREADS {
            assert!(Instant::now() < deadline, "another thread has failed");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Connects `CROWD` clients; then all have sent before any reads.
fn crowd(addr: SocketAddr) {
    let (opened, sent) = (Meeting::default(), Meeting::default());
    thread::scope(|scope| {
        for part in 0..THREADS {
            let (opened, sent) = (&opened, &sent);
            scope.spawn(move || {
                let mut random = Random::new(part as u64);
                let mut clients: Vec<Client> = (0..CROWD / THREADS).map(|_| Client::connect(addr)).collect();
                opened.wait(1);
                for (nth, round) in rounds().enumerate() {
                    let messages: Vec<[Vec<u8>; 3]> = clients
                        .iter()
                        .map(|_| [random.ascii(125), random.ascii(4096 + round), random.ascii(random_len(round))])
                        .collect();
                    for (client, messages) in clients.iter_mut().zip(&messages) {
                        messages.iter().for_each(|message| client.send(TEXT, message));
                    }
                    sent.wait(nth + 1);
                    for (client, messages) in clients.iter_mut().zip(&messages) {
                        messages.iter().for_each(|message| client.expect(TEXT, message));
                    }
                }
                clients.into_iter().for_each(Client::close);
            });
        }
    });
}

fn random_len(round: usize) -> usize {
    [0, 70, 20_000][round % 3]
}

/// Runs the crowd and returns how many receives found no buffer.
fn run(change: impl FnOnce(Config) -> Config, core_count: usize) -> u64 {
    let config = change(Config::default().connections_max(CROWD as u32));
    let (running, addr) = serve(config, core_count, |_| Echo);
    crowd(addr);
    let stats = finish(running);
    let connections = CROWD as u64;
    assert_eq!(stats.messages, connections * rounds().len() as u64 * 3);
    assert_eq!((stats.accepted, stats.opened, stats.closed), (connections, connections, connections));
    assert_eq!((stats.full, stats.refused, stats.resets, stats.timeouts), (0, 0, 0, 0));
    stats.starved
}

/// The cap of connections is reached exactly, and nobody is told 503.
#[test]
fn a_thousand_connections() {
    run(|c| c, 1);
}

#[test]
fn a_thousand_connections_on_two_cores() {
    run(|c| c, 2);
}

/// ENOBUFS storms: most receives find no buffer, and every message still arrives. On epoll a buffer is back before the next is needed.
#[test]
fn a_thousand_connections_share_two_receive_buffers() {
    let starved = run(|c| c.recv_buffers(RecvBuffers::Fixed { count: 2, bytes: 512 }), 1);
    assert_eq!(starved > 0, ring() == RingKind::Uring, "{starved}");
}

#[test]
fn a_thousand_connections_share_four_whole_receive_buffers_one_shot() {
    let starved = run(
        |c| {
            c.recv_buffers(RecvBuffers::Fixed { count: 4, bytes: 64 })
                .features(Features::all().without(Feature::IncrementalBuffers).without(Feature::MultishotRecv))
        },
        1,
    );
    assert_eq!(starved > 0, ring() == RingKind::Uring, "{starved}");
}

#[test]
fn a_thousand_connections_with_ordinary_descriptors() {
    run(|c| c.features(Features::all().without(Feature::DirectDescriptors)), 1);
}

/// The completion queue overflows: nothing is lost, and every multishot that it ended is armed again.
#[test]
fn a_thousand_connections_overflow_a_completion_queue_of_16() {
    run(|c| c.queue_entries(QueueEntries { submission: 8, completion: 16 }), 1);
}

#[test]
fn a_thousand_connections_overflow_a_completion_queue_without_deferred_completions() {
    run(
        |c| {
            c.queue_entries(QueueEntries { submission: 8, completion: 16 })
                .features(Features::all().without(Feature::DeferTaskrun))
        },
        1,
    );
}

#[test]
fn a_thousand_connections_with_everything_scarce() {
    run(
        |c| {
            c.queue_entries(QueueEntries { submission: 8, completion: 16 })
                .recv_buffers(RecvBuffers::Fixed { count: 2, bytes: 512 })
                .send_buffers(SendBuffers { count: 2, bytes: 512 })
        },
        1,
    );
}
