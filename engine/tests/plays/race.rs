//! Addresses of a name that are raced (RFC 8305), in virtual time: who begins when, who is taken, and who begins next time.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use wsring::engine::testing::Engine;
use wsring::ring::sim::{Net, Outside, SimConfig, SimRing, Trace};
use wsring::{
    Answered, Config, CoreCx, Cx, DialError, DialId, Dialled, Fired, Handler, Message, Reconnect, SendBuffers, Stats,
    Target,
};
use wsring_testkit::sim::{assert_nothing_is_left, rung};

const SERVERS: u64 = 1;
/// What the simulated kernel takes, in milliseconds.
const LATE: u64 = 5;

fn addr(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

/// Dials a name until it has failed for good, or so often.
struct Caller {
    target: Target,
    dials: usize,
    /// So many of them, behind the first, it abandons after 50 ms.
    abandons: usize,
    made: Vec<DialId>,
    /// Which addresses may be connected to.
    allows: fn(&SocketAddr) -> bool,
    failures: usize,
    told: Rc<RefCell<Story>>,
}

#[derive(Debug, Default)]
struct Story {
    /// The last byte of the address, and the millisecond.
    connected: Vec<(u8, u64)>,
    failed: Vec<(String, u64)>,
}

impl Handler for Caller {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        for _ in 0..self.dials {
            self.made.push(cx.connect(self.target.clone()));
        }
        cx.set_timer(Duration::from_millis(50), 0).expect("the first timer");
    }

    fn on_timer(&mut self, cx: &mut CoreCx<'_, Self>, _: Fired) {
        self.made.iter().skip(1).take(self.abandons).for_each(|dial| cx.abandon(*dial));
    }

    fn on_resolved(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, addrs: &mut Vec<SocketAddr>) {
        addrs.retain(self.allows);
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<()> {
        unreachable!("nobody answers")
    }

    fn on_dial_failed(&mut self, cx: &mut CoreCx<'_, Self>, _: &Dialled, why: &DialError, retry: Option<Duration>) {
        if matches!(why, DialError::Abandoned) {
            return;
        }
        let mut story = self.told.borrow_mut();
        story.failed.push((why.to_string(), cx.now().as_nanos() / 1_000_000));
        if retry.is_none() || story.failed.len() == self.failures {
            cx.stop_core();
        }
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

/// Servers that take connections and say nothing.
struct Silent(Rc<RefCell<Story>>);

impl Outside for Silent {
    fn on_event(&mut self, net: &mut Net, _: u64) {
        while let Some((remote, _)) = net.take_dialled(SERVERS) {
            let IpAddr::V4(ip) = remote.ip() else { unreachable!("all are of IPv4") };
            self.0.borrow_mut().connected.push((ip.octets()[3], net.now().as_nanos() / 1_000_000));
        }
    }
}

/// A name with so many addresses, on a kernel for which some are deaf and nobody listens at some.
struct Stage {
    count: u8,
    deaf: Vec<u8>,
    unheard: Vec<u8>,
    allows: fn(&SocketAddr) -> bool,
    failures: usize,
    dials: usize,
    abandons: usize,
    per_second: Option<u32>,
    sockets: Option<u32>,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            count: 3,
            deaf: Vec::new(),
            unheard: Vec::new(),
            allows: |_| true,
            failures: 1,
            dials: 1,
            abandons: 0,
            per_second: None,
            sockets: None,
        }
    }
}

impl Stage {
    fn play(self, change: fn(Target) -> Target) -> (Story, Stats) {
        self.play_with(change)
    }

    fn play_with(self, change: impl FnOnce(Target) -> Target) -> (Story, Stats) {
        let target = Target::new("ws://many.example/").expect("a URL").handshake_timeout(Duration::from_secs(1));
        let told = Rc::<RefCell<Story>>::default();
        let (remote, bell) = rung(1);
        let mut sim = SimConfig::quiet(1);
        sim.dialled_key = Some(SERVERS);
        sim.deaf = self.deaf.into_iter().map(addr).collect();
        sim.unheard = self.unheard.into_iter().map(addr).collect();
        sim.sockets_max = self.sockets.unwrap_or(sim.sockets_max);
        let ring = SimRing::new(sim, Trace::new(false), Box::new(Silent(Rc::clone(&told))), &[]).rung_by(bell);
        let config = Config::default().connections_max(8).send_buffers(SendBuffers { count: 16, bytes: 4096 });
        let config = config.connects_per_second(self.per_second);
        let caller = Caller {
            target: change(target),
            dials: self.dials,
            abandons: self.abandons,
            made: Vec::new(),
            allows: self.allows,
            failures: self.failures,
            told: Rc::clone(&told),
        };
        let engine = Engine::new(config, ring, caller, 0, &remote);
        let count = self.count;
        let mut engine = engine.resolver(move |_, port, lookup| {
            let addrs = (1..=count).map(|last| SocketAddr::new(addr(last), port)).collect();
            remote.resolved(lookup, Ok(addrs));
            remote.wake();
        });
        let stats = engine.run().expect("the simulated ring does not break");
        assert_nothing_is_left(&mut engine);
        drop(engine);
        (Rc::try_unwrap(told).expect("all is over").into_inner(), stats)
    }
}

#[track_caller]
fn assert_at(found: &[(u8, u64)], expected: &[(u8, u64)]) {
    let agrees = found.len() == expected.len()
        && found.iter().zip(expected).all(|(a, b)| a.0 == b.0 && (b.1..=b.1 + LATE).contains(&a.1));
    assert!(agrees, "{found:?}, and expected {expected:?}");
}

/// A first address that drops what comes costs a quarter of a second, and not its whole time.
#[test]
fn a_deaf_address_is_overtaken() {
    let (story, stats) = Stage { deaf: vec![1], ..Stage::default() }.play(|target| target);
    assert_at(&story.connected, &[(2, 250)]);
    assert_eq!((stats.connected, stats.closed), (1, 1));
    let (story, _) = Stage { deaf: vec![1, 2], ..Stage::default() }.play(|target| target);
    assert_at(&story.connected, &[(3, 500)]);
    let slow = |target: Target| target.race_delay(Duration::from_millis(40));
    let (story, _) = Stage { deaf: vec![1, 2], ..Stage::default() }.play(slow);
    assert_at(&story.connected, &[(3, 80)]);
}

/// One where nobody listens costs nothing.
#[test]
fn a_refusal_is_not_waited_for() {
    let (story, _) = Stage { unheard: vec![1, 2], ..Stage::default() }.play(|target| target);
    assert_at(&story.connected, &[(3, 0)]);
    let (story, _) = Stage { deaf: vec![1], unheard: vec![2], ..Stage::default() }.play(|target| target);
    assert_at(&story.connected, &[(3, 250)]);
}

/// All have their time beside each other, and the attempt fails when the last has had it.
#[test]
fn all_of_them_fail_together() {
    let brief = |target: Target| target.connect_timeout(Duration::from_secs(1));
    let (story, stats) = Stage { count: 4, deaf: vec![1, 2, 3, 4], ..Stage::default() }.play(brief);
    assert!(story.connected.is_empty() && stats.connected == 0);
    let (why, at) = &story.failed[0];
    assert!(why.starts_with("cannot connect to 10.0.0.4:80") && (1750..=1750 + LATE).contains(at), "{story:?}");
}

/// With no delay all begin at once: one is taken, and the others are closed.
#[test]
fn who_comes_late_is_closed() {
    let (story, stats) = Stage::default().play(|target| target.race_delay(Duration::ZERO));
    assert_eq!((story.failed.len(), stats.connected, stats.closed), (1, 3, 3), "{story:?}");
    assert!(story.connected.iter().all(|(_, at)| *at <= LATE), "{story:?}");
}

/// A server that takes connections and is none is not the first again.
#[test]
fn a_bad_first_address_is_not_taken_for_ever() {
    let again = |target: Target| target.reconnect(Reconnect::default().wait_first(Duration::ZERO));
    let (story, _) = Stage { failures: 5, ..Stage::default() }.play(again);
    let order: Vec<u8> = story.connected.iter().map(|(last, _)| *last).collect();
    assert_eq!(order, [1, 2, 3, 1, 2]);
    // Nor is one that was overtaken: it begins behind those that have not disappointed.
    let (story, _) = Stage { deaf: vec![1], failures: 2, ..Stage::default() }.play(again);
    assert_eq!(story.connected.iter().map(|(last, _)| *last).collect::<Vec<_>>(), [2, 3]);
    assert_at(&story.connected[..1], &[(2, 250)]);
}

#[test]
fn the_application_may_take_addresses_away() {
    let (story, _) = Stage { allows: |addr| addr.ip() == self::addr(2), ..Stage::default() }.play(|target| target);
    assert_at(&story.connected, &[(2, 0)]);
    let (story, stats) = Stage { allows: |_| false, ..Stage::default() }.play(|target| target);
    assert_eq!((story.failed[0].0.as_str(), stats.connected), ("none of the addresses may be connected to", 0));
    let literal = |_: Target| Target::new("ws://10.0.0.9/").expect("a URL");
    let (story, _) = Stage { allows: |addr| addr.ip() != self::addr(9), ..Stage::default() }.play(literal);
    assert_eq!(story.failed[0].0, DialError::NoAddress.to_string(), "a URL with an address is asked about, too");
}

/// A core that has much to dial does it at the rate that it may.
#[test]
fn attempts_are_spread_over_the_second() {
    let stage = Stage { count: 1, dials: 5, per_second: Some(10), ..Stage::default() };
    let (story, _) = stage.play(|target| target);
    assert_at(&story.connected, &[(1, 0), (1, 100), (1, 200), (1, 300), (1, 400)]);
    let (story, _) = Stage { count: 1, dials: 5, ..Stage::default() }.play(|target| target);
    assert_at(&story.connected, &[(1, 0); 5]);
}

/// Those that are abandoned in line leave their turns to those behind them: nobody waits for attempts that never come.
#[test]
fn turns_of_abandoned_dials_are_not_waited_for() {
    let stage = Stage { count: 1, dials: 9, abandons: 6, per_second: Some(10), ..Stage::default() };
    let (story, _) = stage.play(|target| target);
    assert_at(&story.connected, &[(1, 0), (1, 100), (1, 200)]);
}

/// Of two that dial at once one takes the last socket. The other has an address under way that says nothing, and goes on with the second when that
/// socket is free; an address that found no place is no worse for it.
#[test]
fn an_address_without_a_place_does_not_end_the_race() {
    for delay in [10, 40] {
        let stage = Stage { count: 2, deaf: vec![1], dials: 2, failures: 2, sockets: Some(1), ..Stage::default() };
        let again =
            Reconnect::default().wait_first(Duration::from_secs(60)).wait_max(Duration::from_secs(60)).jitter(0.0);
        let (story, stats) = stage.play_with(|target| target.race_delay(Duration::from_millis(delay)).reconnect(again));
        let [(2, first), (2, second)] = story.connected[..] else { panic!("{story:?}") };
        // The first has its handshake's second, with its pause of a tick; then the socket is closed.
        assert!((delay..=delay + LATE).contains(&first), "{story:?}");
        assert!((first + 1_000..first + 1_050 + delay).contains(&second), "{story:?}");
        let handshakes = story.failed.iter().filter(|(why, _)| *why == DialError::HandshakeTimeout.to_string()).count();
        assert_eq!((handshakes, story.failed.len(), stats.connected), (2, 2, 2), "{story:?}");
    }
    // With nothing else under way it fails at once.
    let stage = Stage { count: 2, dials: 2, sockets: Some(1), ..Stage::default() };
    let (story, _) = stage.play(|target| target);
    let full = story.failed[0].0 == DialError::Full.to_string() || story.failed[0].0.contains("os error 24");
    assert!(full && story.failed[0].1 <= LATE, "{story:?}");
}
