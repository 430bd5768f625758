//! `/bcast`: everybody connected there gets each message, on every core, in the order of its sender.

use std::collections::BTreeMap;
use std::time::Instant;

use wsring_testkit::{BINARY, CLOSE, Client, Frame, TEXT, WAIT};

use crate::process::{Serve, first_core, start, two_cores};

/// Opens as many connections as `serve` takes, which is `most` in all: then each core holds as many as it may.
fn fill(serve: &Serve, most: usize) -> Vec<Client> {
    let (mut peers, since) = (Vec::new(), Instant::now());
    while peers.len() < most {
        match Client::try_open(serve.addr(), "/bcast", &[]) {
            Ok(peer) => peers.push(peer),
            // The core that the kernel chose is full.
            Err(answer) => assert!(answer.status == 503 && since.elapsed() < WAIT, "{answer:?}"),
        }
    }
    peers
}

/// The message `number` of `sender`: text if even, binary if odd, of many sizes.
fn message(sender: usize, number: usize) -> Frame {
    let opcode = if number.is_multiple_of(2) { TEXT } else { BINARY };
    let len = [0, 90, 200, 5_000, 70_000][number % 5] + if number == 7 { 1 << 20 } else { 0 };
    let mut payload = format!("{sender} {number} ").into_bytes();
    payload.resize(payload.len() + len, b'a' + sender as u8);
    Frame { fin: true, opcode, payload }
}

/// Reads what `senders` times `each` messages make, and checks that every one came once, in its sender's order.
fn expect_all(peer: &mut Client, senders: usize, each: usize) {
    let mut next: BTreeMap<usize, usize> = BTreeMap::new();
    for _ in 0..senders * each {
        let frame = peer.frame();
        let head: Vec<u8> = frame.payload.iter().copied().take_while(|byte| *byte != b' ').collect();
        let sender: usize = String::from_utf8(head).unwrap().parse().unwrap();
        let number = next.entry(sender).or_default();
        assert!(frame == message(sender, *number), "of sender {sender} came other than {number}");
        *number += 1;
    }
    assert!(next.len() == senders && next.values().all(|&count| count == each), "{next:?}");
}

/// All send at once; all receive all, themselves included.
fn everybody_gets_everything(serve: Serve, mut peers: Vec<Client>) {
    const EACH: usize = 30;
    let senders = peers.len();
    // Not in the room, if there is a place left.
    let outsider = Client::try_open(serve.addr(), "/", &[]).ok();
    std::thread::scope(|scope| {
        for (sender, peer) in peers.iter_mut().enumerate() {
            let mut twin = peer.twin();
            scope.spawn(move || {
                (0..EACH).for_each(|number| {
                    let Frame { opcode, payload, .. } = message(sender, number);
                    twin.send(opcode, &payload);
                })
            });
            scope.spawn(move || expect_all(peer, senders, EACH));
        }
    });
    // Exactly once: what comes next is the answer to a Close. Nothing leaked to other paths.
    peers.into_iter().for_each(Client::close);
    let elsewhere = outsider.map_or(0, |mut outsider| {
        outsider.echo(TEXT, b"not in the room");
        1
    });
    let stats = serve.stop();
    let messages = (senders * EACH) as u64;
    assert_eq!(stats["messages"], messages + elsewhere);
    assert_eq!((stats["delivered"], stats["sent"]), (messages * senders as u64, elsewhere));
    assert_eq!((stats["dropped"], stats["gone"]), (0, 0));
}

#[test]
fn on_one_core_everybody_gets_everything() {
    let serve = start(&["--cores", &first_core()]);
    let peers = (0..5).map(|_| Client::open(serve.addr(), "/bcast")).collect();
    everybody_gets_everything(serve, peers);
}

/// Four connections a core and eight in all: four are on each core.
#[test]
fn across_cores_everybody_gets_everything() {
    let Some([one, two]) = two_cores() else { return };
    let serve = start(&["--cores", &format!("{one},{two}"), "--max-connections", "4"]);
    let peers = fill(&serve, 8);
    assert_eq!(Client::try_open(serve.addr(), "/bcast", &[]).expect_err("a ninth connection").status, 503);
    everybody_gets_everything(serve, peers);
}

/// A member that never reads is closed with 1008 once its output is full. It has got all messages up to there, without
/// a gap, and the others all of them.
#[test]
fn a_member_that_does_not_read_is_closed_and_never_skipped() {
    const COUNT: usize = 36;
    let serve = start(&["--cores", &first_core(), "--max-message", "1048576"]);
    let mut slow = Client::open(serve.addr(), "/bcast");
    let (mut sender, mut other) = (Client::open(serve.addr(), "/bcast"), Client::open(serve.addr(), "/bcast"));
    // Beyond 20 MiB of output and some more in socket buffers.
    let payload = |number: usize| vec![number as u8; 1 << 20];
    for number in 0..COUNT {
        sender.send(BINARY, &payload(number));
        for peer in [&mut sender, &mut other] {
            assert!(peer.frame().payload == payload(number), "message {number}");
        }
    }
    let mut got = 0;
    let last = loop {
        let frame = slow.frame();
        if frame.opcode == CLOSE {
            break frame;
        }
        assert!(frame.payload == payload(got), "message {got} was skipped");
        got += 1;
    };
    assert_eq!(last.close_code(), 1008);
    assert!((19..COUNT).contains(&got), "{got} messages");
    drop((slow, sender, other));
    let stats = serve.stop();
    assert_eq!((stats["dropped"], stats["delivered"]), (1, (2 * COUNT + got) as u64));
}
