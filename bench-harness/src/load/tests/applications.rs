//! A fan-out of raw bytes, a game's tick, and a noisy neighbour, against servers of a few lines.

use super::{Lie, accept_with, frame, plan, random, serve};
use crate::dial::Target;
use crate::echo_tests::{listen, start_ring_with};
use crate::epoll_fanout::EpollFanout;
use crate::load::noisy::{self, Noise};
use crate::load::{Edge, Plan, Shape, run, tick};
use crate::ring_fanout::RingFanout;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Both, around the length of a head, and with messages that are longer than all that a fan-out holds.
#[test]
fn raw_fan_outs_give_everybody_the_very_bytes() {
    let any = || "127.0.0.1:0".parse().expect("address");
    let epoll = listen(move |stop, tell| {
        let mut fanout = EpollFanout::bind(any())?;
        tell(fanout.local_addr()?);
        fanout.run(stop)
    });
    let ring = listen(move |stop, tell| {
        let mut fanout = RingFanout::bind(any())?;
        tell(fanout.local_addr()?);
        fanout.run(stop)
    });
    for server in [&epoll, &ring] {
        for (subscribers, depth, size) in [(5, 1, 125), (20, 4, 126), (3, 2, 16 << 10), (2, 2, 3 << 20)] {
            let target = Target::raw(&server.addr.to_string(), false).expect("target");
            let plan = Plan { shape: Shape::FanOut { depth }, ..plan(target, subscribers, 1, size, true) };
            let outcome = run(&plan, &mut random(), &mut |_| Ok(())).expect("every byte comes to everybody");
            assert!(outcome.messages > 0, "{subscribers} x {depth} x {size}");
            assert_eq!(outcome.messages_in_all % (subscribers as u64 + 1), 0, "all have had each message");
        }
    }
}

/// What an echo sends back to its sender alone is not taken for a fan-out.
#[test]
fn a_raw_echo_is_no_fan_out() {
    let echo = start_ring_with(Some((16, 64 << 10)), None);
    let target = Target::raw(&echo.addr.to_string(), false).expect("target");
    let plan = Plan { shape: Shape::FanOut { depth: 1 }, ..plan(target, 2, 1, 125, false) };
    let error = run(&plan, &mut random(), &mut |_| Ok(())).map(|_| ()).expect_err("nobody else got it");
    assert!(error.to_string().contains("no reply for"), "{error}");
}

/// A game of a hundred ticks a second; from the tenth message of a connection on it does `lie`.
fn game(lie: fn(u64) -> Vec<u64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = listener.local_addr().expect("address");
    let begun = Instant::now();
    let play = move |mut stream: TcpStream| -> io::Result<()> {
        let asked = accept_with(&mut stream, "")?;
        assert!(asked.starts_with("GET /game?name=p"), "{asked}");
        // Right behind the answer, often in one segment with it.
        stream.write_all(&frame(0x81, br#"{"tick":0,"late_us":0,"players":{}}"#))?;
        for nth in 0.. {
            let number = begun.elapsed().as_millis() as u64 / 10 + 1;
            thread::sleep(
                (begun + Duration::from_millis(10) * number as u32).saturating_duration_since(Instant::now()),
            );
            for number in if nth < 10 { vec![number] } else { lie(number) } {
                let text = format!(r#"{{"tick":{number},"late_us":42,"players":{{"p0":{{"inputs":0,"last":null}}}}}}"#);
                stream.write_all(&frame(0x81, text.as_bytes()))?;
            }
        }
        Ok(())
    };
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection's errors are the client's business.
            thread::spawn(move || play(stream));
        }
    });
    addr
}

fn played(lie: fn(u64) -> Vec<u64>) -> io::Result<tick::Shown> {
    let target = Target::web(&format!("ws://{}/", game(lie)), false).expect("target");
    let (warmup, measured) = (Duration::from_millis(20), Duration::from_millis(300));
    let plan = tick::Plan { target, players: 4, hz: 100, warmup, measured };
    let mut edges = Vec::new();
    let (outcome, shown) = tick::run(&plan, &mut |edge| {
        edges.push(edge);
        Ok(())
    })?;
    assert_eq!(edges, [Edge::Begin, Edge::End]);
    assert!(outcome.messages > 0 && !outcome.latencies.is_empty() && shown.ticks > 0);
    assert!(shown.late.len() == shown.ticks && shown.told_us.len() == shown.ticks && shown.told_us.max() == 42);
    Ok(shown)
}

#[test]
fn each_tick_is_counted_for_each_player() {
    let shown = played(|number| vec![number]).expect("a good game");
    assert!((0.9..=1.0).contains(&shown.each), "{}", shown.each);
    assert!((0.5..=1.5).contains(&shown.pieces), "{}", shown.pieces);
}

#[test]
fn a_tick_that_comes_twice_is_named_and_one_that_is_passed_over_is_counted() {
    let Err(error) = played(|number| vec![number, number]) else { panic!("twice") };
    assert!(error.to_string().contains("came after tick"), "{error}");
    let shown = played(|number| if number.is_multiple_of(2) { vec![number] } else { vec![] }).expect("half of it");
    assert!(shown.each < 0.8, "{}", shown.each);
}

fn beside(target: Target, noise: Option<Noise>) -> io::Result<(u64, u64, f64)> {
    // All noise counts, also what only fills the sockets.
    let (warmup, measured, offer) = (Duration::ZERO, Duration::from_millis(200), String::new());
    let plan = noisy::Plan { target, noise, offer, warmup, measured };
    let (outcome, shown) = noisy::run(&plan, &mut random(), &mut |_| Ok(()))?;
    assert_eq!(shown.late.len(), outcome.latencies.len());
    Ok((outcome.messages, outcome.latencies.value_at_quantile(0.5), shown.noise_per_second))
}

#[test]
fn the_quiet_peer_is_measured_beside_any_noise() {
    let good = serve(Lie::None);
    let web = || Target::web(&format!("ws://{}/", good.addr), false).expect("target");
    let (messages, alone, noise) = beside(web(), None).expect("an echo");
    assert!(messages > 10 && alone > 0 && noise == 0.0, "{messages} {alone} {noise}");
    for noise in [Noise::Tiny, Noise::Long] {
        let (messages, _, rate) = beside(web(), Some(noise)).expect("an echo");
        assert!(messages > 0 && rate > 0.0, "{noise:?}: {messages} {rate}");
    }
    let echo = start_ring_with(Some((16, 64 << 10)), None);
    let raw = Target::raw(&echo.addr.to_string(), false).expect("target");
    assert!(beside(raw, Some(Noise::Ping)).expect("bytes").2 > 0.0);
    let late = serve(Lie::Late);
    let late = Target::web(&format!("ws://{}/", late.addr), false).expect("target");
    assert!(beside(late, None).expect("late, but an echo").1 >= 5_000_000);
}

#[test]
fn a_wrong_answer_to_the_quiet_peer_is_named() {
    for (lie, words) in
        [(Lie::Byte(5), "wrong byte"), (Lie::Drop(5), "no answer"), (Lie::Opcode(5), "wrong reply header")]
    {
        let server = serve(lie);
        let target = Target::web(&format!("ws://{}/", server.addr), false).expect("target");
        let Err(error) = beside(target, None) else { panic!("{lie:?} was believed") };
        assert!(error.to_string().contains(words), "{lie:?}: {error}");
    }
}
