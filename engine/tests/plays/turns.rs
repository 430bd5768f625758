//! How much of a pass a connection may have, by its effect: peers that say much and neighbours that say little, in virtual time.
//!
//! Work is counted, so these tests count it too: in messages that are handled before a neighbour's, and in passes that the work of a
//! connection is spread over.

use crate::stage::{Act, Do, Play, frame, open, piece, play, quiet};
use wsring::ring::sim::SimConfig;
use wsring::{CloseCode, Config, Deflate, Delivery, SendBuffers};
use wsring_proto::deflate::{Scratch, Shared};
use wsring_proto::{MaskKey, Opcode, Pool, encode};

fn config(share: u32) -> Config {
    let send_buffers = SendBuffers { count: 64, bytes: 4096 };
    Config::default().connections_max(8).send_buffers(send_buffers).pass_share_messages(share)
}

/// What all of these bytes come to with that share, sent at once, and a message of a neighbour in the same moment: which of the two comes first,
/// the seed says.
fn attack(seed: u64, share: u32, bytes: &[u8]) -> Play {
    attack_on(Act::echo(), seed, share, bytes)
}

/// The same against another handler.
fn attack_on(act: Act, seed: u64, share: u32, bytes: &[u8]) -> Play {
    let steps = vec![
        (0, 0, Do::Open),
        (0, 1, Do::Open),
        (10, 0, Do::Write(bytes.to_vec())),
        (10, 1, Do::Write(frame(Opcode::Binary, b"neighbour"))),
    ];
    // Without delays the kernel brings both in one pass.
    play(config(share), SimConfig { seed, delay_ns_max: 0, ..quiet() }, act, steps, 1_000)
}

/// How many messages of the flood were handled before the neighbour's, at most.
fn neighbour_waits(share: u32) -> usize {
    let flood = frame(Opcode::Binary, b"x").repeat(600);
    let waits = (1..=10).map(|seed| {
        let play = attack(seed, share, &flood);
        assert_eq!((play.messages(0).len(), play.messages(1).len()), (600, 1), "nothing is lost");
        play.order().iter().position(|peer| *peer == 1).expect("it was heard")
    });
    waits.max().expect("ten seeds")
}

// Config::pass_share_messages.
#[test]
fn a_neighbour_waits_for_one_share_and_no_more() {
    for share in [1, 10, 100] {
        // A share and a look.
        let (waits, most) = (neighbour_waits(share), 2 * (share as usize).max(3));
        assert!(waits <= most, "with a share of {share} it waited for {waits} messages, {most} at most");
    }
    assert_eq!(neighbour_waits(1_000_000), 600, "without a bound it waits for all");
}

// Everything that a peer can have done is counted: each is spread over as many passes as its work takes. Their number, and not the time that
// they take, is what a neighbour's delay is bounded by.
#[test]
fn whatever_a_peer_has_done_counts_against_its_share() {
    let fragments = |payload: &[u8], count: usize| {
        let more = piece(false, Opcode::Continuation, payload).repeat(count - 2);
        [piece(false, Opcode::Binary, payload), more, piece(true, Opcode::Continuation, payload)].concat()
    };
    // What is sent, and its work in small messages at least.
    let kinds: [(&str, Vec<u8>, u64); 7] = [
        ("empty messages", frame(Opcode::Binary, b"").repeat(400), 400),
        ("small texts", frame(Opcode::Text, b"x").repeat(400), 400),
        ("pings", frame(Opcode::Ping, b"").repeat(400), 1_200),
        ("long pings", frame(Opcode::Ping, &[7; 125]).repeat(100), 300),
        ("pongs", frame(Opcode::Pong, b"").repeat(400), 400),
        ("empty fragments", fragments(b"", 400), 400),
        ("small fragments", fragments(b"x", 400), 400),
    ];
    for (kind, bytes, work) in kinds {
        let free = attack(1, 1_000_000, &bytes).stats.passes;
        for share in [5, 20] {
            let passes = attack(1, share, &bytes).stats.passes - free.min(40);
            // A look at a share lets through at most another.
            let least = work / (2 * u64::from(share));
            assert!(
                passes >= least,
                "{kind} with a share of {share}: {passes} passes, {least} at least, {free} without"
            );
            assert!(passes <= 4 * work, "{kind} with a share of {share}: {passes} passes");
        }
        assert!(free < 40, "{kind} without a share took {free} passes: this test shows nothing");
    }
}

// Behind our Close everything is discarded, which nobody sees and which is work all the same.
#[test]
fn what_is_discarded_counts_against_the_share() {
    let flood = frame(Opcode::Binary, b"x").repeat(400);
    let passes = |share: u32| {
        let mut act = Act::echo();
        act.on_message = Box::new(|cx, _| cx.close(CloseCode::NORMAL, ""));
        let play = attack_on(act, 1, share, &flood);
        assert_eq!((play.messages(0).len(), play.stats.discarded), (0, 399));
        play.stats.passes
    };
    let free = passes(1_000_000);
    assert!(free < 40, "without a share that took {free} passes: this test shows nothing");
    for share in [5, 20] {
        let (passes, least) = (passes(share), 400 / (2 * u64::from(share)));
        assert!(passes >= free + least, "with a share of {share}: {passes} passes, {least} at least, {free} without");
    }
}

// Nor is it free to ask what became of many subscriptions: each is looked at.
#[test]
fn adding_up_the_counts_of_subscriptions_counts_against_the_share() {
    let flood = frame(Opcode::Binary, b"x").repeat(60);
    let passes = |share: u32| {
        let mut act = Act::echo();
        act.on_message = Box::new(|cx, _| {
            for number in 0..100 {
                let topic = cx.topic(&format!("topic {number}")).expect("there is room");
                if cx.counts(topic).is_none() {
                    assert!(cx.subscribe(topic, Delivery::queue()).is_ok());
                }
            }
            assert_eq!(cx.counts_of_all().published, 0);
        });
        attack_on(act, 1, share, &flood).stats.passes
    };
    let (free, passes) = (passes(1_000_000), passes(50));
    assert!(free < 40, "without a share that took {free} passes: this test shows nothing");
    assert!(passes >= 60, "a share for each message, of which there were 60: {passes} passes");
}

/// What a client compresses with, each message by itself.
fn packed(opcode: Opcode, content: &[u8]) -> Vec<u8> {
    let (mut scratch, mut pool, mut frame) = (Scratch::new(), Pool::new(0), vec![0; content.len() + 100]);
    let mut shared = Shared::new(&Deflate::shared());
    let payload = shared.message(content, 15, &mut scratch, &mut pool).expect("it compresses");
    let mask = Some(MaskKey::from_bytes([1, 2, 3, 4]));
    let len = encode::compressed_frame(&mut frame, opcode, payload, mask).expect("there is room");
    frame.truncate(len);
    frame
}

// What is inflated is counted by what comes out, and what is compressed by what goes in.
#[test]
fn inflating_and_compressing_count_against_the_share() {
    let text = b"the same words again, the same words again, ".repeat(20);
    let long = packed(Opcode::Binary, &vec![7; 400_000]);
    // What is sent, whether the echo is compressed as well, and the work in small messages.
    let kinds: [(&str, Vec<u8>, u32, u64); 4] = [
        (
            "small messages that are inflated",
            packed(Opcode::Text, b"xxxxxxxxxxxxxxxxxxxxxxxx").repeat(60),
            u32::MAX,
            60 * 17,
        ),
        ("one long message", long, u32::MAX, 400_000 / 64),
        ("messages that are compressed", frame(Opcode::Text, &text).repeat(20), 0, 20 * (41 + text.len() as u64 / 12)),
        ("messages that are both", packed(Opcode::Text, &text).repeat(20), 0, 20 * (57 + text.len() as u64 / 10)),
    ];
    for (kind, bytes, threshold, work) in kinds {
        let passes = |share: u32| {
            let deflate = Deflate::shared().threshold_bytes(threshold);
            let extension = b"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n\r\n";
            let mut head = open();
            head.truncate(head.len() - 2);
            head.extend_from_slice(extension);
            let steps = vec![(0, 0, Do::Connect), (1, 0, Do::Write(head)), (10, 0, Do::Write(bytes.clone()))];
            let sim = SimConfig { delay_ns_max: 0, ..quiet() };
            let play = play(config(share).deflate(deflate), sim, Act::echo(), steps, 1_000);
            assert_eq!(play.stats.violations, 0, "{kind}");
            assert!(play.stats.messages > 0 && play.stats.sent == play.stats.messages, "{kind}: {}", play.stats);
            play.stats.passes
        };
        let free = passes(1_000_000);
        for share in [50, 200] {
            let (passes, least) = (passes(share) - free.min(60), work / (4 * u64::from(share)));
            assert!(
                passes >= least,
                "{kind} with a share of {share}: {passes} passes, {least} at least, {free} without"
            );
        }
        assert!(free < 60, "{kind} without a share took {free} passes: this test shows nothing");
    }
}
