//! Compressed messages against a server of a few lines that negotiates, inflates and compresses, and lies where told.

use super::{accept_with, frame, plan, random, read_message};
use crate::deflate::{OFFER, compress};
use crate::dial::Target;
use crate::load::{Outcome, Plan, Shape, run};
use flate2::{Decompress, FlushDecompress};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// It compresses nothing, as RFC 7692 §6 leaves it to do.
    Plain,
    /// The 10th reply inflates to another message.
    Other,
    /// The 10th reply is compressed with its last bytes cut off.
    Cut,
    /// The 10th reply is announced whole and comes in part, then the connection ends.
    Torn,
    /// The extension is not accepted.
    Silent,
    /// The extension is accepted without what was asked for.
    Remembers,
}

fn inflate(payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(1 << 20);
    let bytes = [payload, &[0, 0, 0xFF, 0xFF]].concat();
    Decompress::new(false).decompress_vec(&bytes, &mut message, FlushDecompress::Sync).expect("deflate");
    message
}

fn serve(lie: Lie) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = listener.local_addr().expect("address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection's errors are the client's business in these tests.
            thread::spawn(move || echo(stream, lie));
        }
    });
    addr
}

fn echo(mut stream: TcpStream, lie: Lie) -> io::Result<()> {
    let lines = match lie {
        Lie::Silent => String::new(),
        Lie::Remembers => "Sec-WebSocket-Extensions: permessage-deflate\r\n".to_owned(),
        _ => format!("Sec-WebSocket-Extensions: {OFFER}\r\n"),
    };
    let request = accept_with(&mut stream, &lines)?;
    assert!(request.contains(&format!("Sec-WebSocket-Extensions: {OFFER}\r\n")), "{request}");
    for nth in 0.. {
        let Some((first, payload)) = read_message(&mut stream)? else { return Ok(()) };
        assert_eq!(first, 0xC1, "compressed text");
        let message = inflate(&payload);
        assert!(message.starts_with(b"[{\"e\":\"trade\""), "JSON");
        let mut reply = compress(&message);
        if nth == 10 {
            match lie {
                Lie::Other => reply = compress(&message.to_ascii_uppercase()),
                Lie::Cut => reply.truncate(reply.len() - 4),
                Lie::Torn => {
                    let bytes = frame(0xC1, &reply);
                    return stream.write_all(&bytes[..bytes.len() - 1]);
                }
                _ => {}
            }
        }
        stream.write_all(&if lie == Lie::Plain { frame(0x81, &message) } else { frame(0xC1, &reply) })?;
    }
    Ok(())
}

fn load(lie: Lie, connections: usize, depth: u32, size: usize, check: bool) -> io::Result<Outcome> {
    let target = Target::web(&format!("ws://{}/", serve(lie)), false).and_then(|target| target.offering(OFFER))?;
    run(&plan(target, connections, depth, size, check), &mut random(), &mut |_| Ok(()))
}

#[test]
fn compressed_messages_are_counted_with_what_their_replies_weigh() {
    for (connections, depth, size) in [(1, 1, 60), (4, 16, 1024), (2, 700, 125), (1, 2, 100_000)] {
        let outcome = load(Lie::None, connections, depth, size, true).expect("a good server");
        let (messages, bytes) = (outcome.messages, outcome.reply_len());
        assert!(messages > 0 && outcome.messages_in_all >= messages, "{connections} x {depth} x {size}");
        // Digits of trades: not much shrinks of a short message, half of a long one.
        assert!(bytes > 0.15 * size as f64 && bytes < size as f64 + 16.0, "{size} bytes became {bytes}");
    }
    let plain = load(Lie::Plain, 2, 4, 1024, true).expect("it may send plain");
    assert_eq!(plain.reply_len(), 1024.0);
}

#[test]
fn a_reply_that_inflates_to_something_else_is_caught_by_check_alone() {
    for (lie, words) in [(Lie::Other, "wrong byte in a reply"), (Lie::Cut, "wrong")] {
        let error = load(lie, 2, 4, 1024, true).map(|_| ()).expect_err("a lie");
        assert!(error.to_string().contains(words), "{lie:?}: {error}");
        assert!(load(lie, 2, 4, 1024, false).is_ok(), "{lie:?} is not looked for without --check");
    }
}

#[test]
fn a_torn_reply_ends_the_run() {
    for check in [false, true] {
        let error = load(Lie::Torn, 1, 1, 1024, check).map(|_| ()).expect_err("a reply in part");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
    }
}

#[test]
fn a_server_that_does_not_accept_the_extension_is_not_loaded() {
    let error = load(Lie::Silent, 1, 1, 125, false).map(|_| ()).expect_err("not negotiated");
    assert!(error.to_string().contains("the server did not accept permessage-deflate"), "{error}");
    let error = load(Lie::Remembers, 1, 1, 125, false).map(|_| ()).expect_err("half negotiated");
    assert!(error.to_string().contains("without the server_no_context_takeover"), "{error}");
}

#[test]
fn compressed_messages_keep_a_rate() {
    let target = Target::web(&format!("ws://{}/", serve(Lie::None)), false).expect("target");
    let target = target.offering(OFFER).expect("an offer");
    let plan = Plan { shape: Shape::Open { rate: 2000 }, ..plan(target.clone(), 3, 1, 1024, true) };
    assert!(run(&plan, &mut random(), &mut |_| Ok(())).expect("a good server").messages > 0);
    let fan_out = Plan { shape: Shape::FanOut { depth: 1 }, ..plan };
    let error = run(&fan_out, &mut random(), &mut |_| Ok(())).map(|_| ()).expect_err("not with this load");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(Target::raw("127.0.0.1:9", false).expect("target").offering(OFFER).is_err(), "a raw echo offers nothing");
}
