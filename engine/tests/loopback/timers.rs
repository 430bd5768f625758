//! Timers of the application and ticks, on real rings.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use wsring::{Config, CoreCx, Cx, Fired, Flush, Handler, Message, Opening, Tick, Time, TimerId, TimersFull, Verdict};

use crate::common::*;

/// What the core had to say at its end: the keys of its timers as they came, and what was set.
type Told = (Vec<u64>, Vec<(u64, Time)>);

/// Sets a hundred thousand timers, cancels a third of them, and stops when the last has come.
struct Many {
    set: Vec<(u64, Time)>,
    keys: Vec<u64>,
    tell: Sender<Told>,
}

const MANY: u64 = 100_000;

impl Handler for Many {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        let mut ids: Vec<TimerId> = Vec::new();
        for key in 0..MANY {
            let after = Duration::from_nanos(key * 7_919 % 50_021 * 2_000);
            ids.push(cx.set_timer(after, key).expect("below the cap"));
            self.set.push((key, cx.now().plus(after)));
        }
        assert_eq!(cx.set_timer(Duration::ZERO, MANY), Err(TimersFull), "one past the cap");
        ids.iter().step_by(3).for_each(|id| assert!(cx.cancel(*id)));
    }

    fn on_timer(&mut self, cx: &mut CoreCx<'_, Self>, timer: Fired) {
        assert!(timer.due <= cx.now(), "early");
        assert!(!cx.cancel(timer.id), "it has come");
        self.keys.push(timer.key);
        if self.keys.len() == (MANY - MANY.div_ceil(3)) as usize {
            let _ = self.tell.send((std::mem::take(&mut self.keys), std::mem::take(&mut self.set)));
            cx.stop_core();
        }
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

#[test]
fn a_hundred_thousand_timers_come_in_order() {
    let (tell, told) = channel();
    let config = Config::default().timers_max(MANY as u32);
    let (running, _) = serve(config, 1, move |_| Many { set: Vec::new(), keys: Vec::new(), tell: tell.clone() });
    let stats = running.join().expect("it stops by itself");
    let (keys, mut set) = told.recv().expect("it told before it stopped");
    set.retain(|(key, _)| key % 3 != 0);
    set.sort_by_key(|(_, due)| *due); // stable: those of one time in the order in which they were set
    assert!(keys.iter().eq(set.iter().map(|(key, _)| key)));
    assert_eq!(stats[0].timers, keys.len() as u64);
}

/// Beats, five times, once a peer has said how often, and closes.
struct Beats;

impl Handler for Beats {
    type Conn = u64;
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<u64> {
        Verdict::accept(0)
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, _: Message<'_>) {
        if *cx.data() == 0 {
            cx.set_interval(Duration::from_millis(5), 9).expect("below the cap");
        }
        let _ = cx.send("set");
    }

    fn on_conn_timer(&mut self, cx: &mut Cx<'_, Self>, timer: Fired) {
        assert!(timer.key == 9 && timer.due <= cx.now());
        *cx.data() += 1;
        let beat = *cx.data();
        let _ = cx.send(format!("beat {beat}").as_str());
        if beat == 5 {
            cx.pause(); // its timers come nevertheless
        }
        if beat == 8 {
            assert!(cx.cancel(timer.id));
            cx.resume();
        }
    }
}

/// Each has its own, also while it is paused.
#[test]
fn connections_have_timers_of_their_own() {
    let (running, addr) = serve(Config::default(), 1, |_| Beats);
    let mut clients = [Client::connect(addr), Client::connect(addr)];
    for client in &mut clients {
        client.send(TEXT, b"begin");
        client.expect(TEXT, b"set");
    }
    for client in &mut clients {
        (1..=8).for_each(|beat| client.expect(TEXT, format!("beat {beat}").as_bytes()));
        client.send(TEXT, b"again"); // it is resumed
        client.expect(TEXT, b"set");
    }
    let [first, second] = clients;
    drop(second);
    first.close();
    finish(running);
}

/// Counts ticks, and stops after so many.
struct Ticking {
    period: Duration,
    ticks: Vec<Tick>,
    tell: Sender<Vec<Tick>>,
}

impl Handler for Ticking {
    type Conn = ();
    type Mail = ();

    fn on_tick(&mut self, cx: &mut CoreCx<'_, Self>, tick: Tick) {
        assert!(tick.due <= cx.now() && tick.late == cx.now().since(tick.due), "{tick:?}");
        assert_eq!(tick.missed, (tick.late.as_nanos() / self.period.as_nanos()) as u64);
        self.ticks.push(tick);
        if tick.number + tick.missed >= 20 {
            let _ = self.tell.send(std::mem::take(&mut self.ticks));
            cx.stop_core();
        }
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

/// At 100 Hz, however late the machine is: each tick is told or counted, by when it was due.
#[test]
fn ticks_come_at_their_rate() {
    let (tell, told) = channel();
    let period = Duration::from_millis(10);
    let (running, _) =
        serve(Config::default().tick(period), 1, move |_| Ticking { period, ticks: Vec::new(), tell: tell.clone() });
    let stats = running.join().expect("it stops by itself")[0];
    let ticks = told.recv().expect("it told before it stopped");
    let start = ticks[0].due.as_nanos() - ticks[0].number * 10_000_000;
    let mut next = 1;
    for tick in &ticks {
        assert_eq!((tick.number, tick.due.as_nanos()), (next, start + next * 10_000_000));
        next += 1 + tick.missed;
    }
    assert!(stats.ticks >= ticks.len() as u64 && stats.ticks + stats.ticks_missed >= 20, "{stats}");
}

/// Answers wait for the tick, and come together.
#[test]
fn what_is_sent_comes_at_the_tick() {
    let config = Config::default().tick(Duration::from_millis(50)).flush(Flush::AtTick);
    let (running, addr) = serve(config, 1, |_| Echo);
    let mut client = Client::connect(addr);
    for round in 0..3_u8 {
        (0..4_u8).for_each(|message| client.send(BINARY, &[round, message]));
        (0..4_u8).for_each(|message| client.expect(BINARY, &[round, message]));
    }
    client.close();
    let stats = finish(running);
    assert!(stats.ticks >= 3 && stats.sent == 12, "one tick a round at least: {stats}");
}

/// Tells what the time was as it started, and in a later pass.
struct Clocked {
    started: Time,
    tell: Sender<(Time, Time)>,
}

impl Handler for Clocked {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        self.started = cx.now();
        cx.set_timer(Duration::ZERO, 0).expect("below the cap");
    }

    fn on_timer(&mut self, cx: &mut CoreCx<'_, Self>, _: Fired) {
        let _ = self.tell.send((self.started, cx.now()));
        cx.stop_core();
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

/// Also in `on_start`, and however long before the machine was started.
#[test]
fn a_core_has_the_time_of_the_machine() {
    let (tell, told) = channel();
    let before = monotonic();
    let running = start_client(Config::default(), move |_| Clocked { started: Time::default(), tell: tell.clone() });
    running.join().expect("it stops by itself");
    let (started, later) = told.recv().expect("it told before it stopped");
    assert!(before <= started && started <= later && later <= monotonic(), "{before:?} {started:?} {later:?}");
}
