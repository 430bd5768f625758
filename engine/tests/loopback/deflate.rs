//! permessage-deflate over real sockets: what is negotiated is kept, in every mode and both roles, and each setting shows.

use std::net::TcpListener;
use std::thread::JoinHandle;

use wsring::{
    CloseReason, CompressionError, Config, ConnId, CoreCx, Cx, Deflate, DeflateMode, DialError, Handler, Limits,
    Message, Opening, RecvBuffers, SendBuffers, Target, Verdict,
};
use wsring_proto::handshake::accept_key;

use super::caller::{Setup, Told, target};
use crate::common::packed::{Packed, words};
use crate::common::*;

fn with(deflate: Deflate) -> Config {
    Config::default().deflate(deflate)
}

/// Lengths around every border: threshold, forms of the header, send blocks, moved messages, windows.
const LENS: [usize; 16] =
    [0, 1, 63, 64, 125, 511, 512, 513, 1024, 4096, 8192, 20_000, 65_535, 65_536, 300_000, 1 << 20];

/// All lengths there and back, compressed where that was agreed on; `takeover`: the server refers to what it sent before. Returns how
/// many messages that is.
pub(crate) fn converse(client: &mut Packed, deflate: &Deflate, takeover: bool) -> u64 {
    let mut count = 0;
    for (round, &len) in LENS.iter().enumerate() {
        for kind in 0..3 {
            let text = words(round as u64, len);
            let (opcode, content) = match kind {
                0 => (TEXT, text),
                1 => (BINARY, Random::new(round as u64).bytes(len)), // does not compress
                _ => (BINARY, vec![round as u8; len]),
            };
            match round % 3 {
                0 => client.send(opcode, &content),
                1 => client.send_fragments(opcode, &content),
                _ => client.send_raw(0x80 | opcode, &content), // plain is always allowed (§6)
            }
            if !takeover {
                client.forget_received();
            }
            if client.extensions.contains("client_no_context_takeover") {
                client.forget_sent();
            }
            let compressed = client.expect(opcode, &content);
            match len {
                _ if len < deflate.threshold_bytes as usize => assert!(!compressed, "{len} bytes are too few"),
                // With a window even what is random may be known by now; what is short may not shrink.
                125.. if kind != 1 || !takeover => assert_eq!(compressed, kind != 1, "{len} bytes of kind {kind}"),
                _ => {}
            }
            count += 1;
        }
    }
    client.send_raw(0x89, b"plain");
    assert_eq!(client.next().payload, b"plain");
    client.send_raw(0x88, &1000_u16.to_be_bytes());
    assert_eq!(client.expect_close(), 1000);
    assert_eq!(client.try_next(), None);
    count
}

#[test]
fn every_mode_level_and_window_echoes() {
    let table = [
        (Deflate::shared(), "permessage-deflate", false),
        (Deflate::shared().level(2), "permessage-deflate; client_max_window_bits", false),
        (Deflate::shared().level(6).window_bits(11), "permessage-deflate", false),
        (Deflate::shared().threshold_bytes(0), "permessage-deflate; server_max_window_bits=9", false),
        (Deflate::dedicated(), "permessage-deflate", true),
        (Deflate::dedicated().level(6), "permessage-deflate; server_max_window_bits=10", true),
        (Deflate::dedicated().window_bits(9).memory_level(1), "permessage-deflate", true),
        (Deflate::dedicated(), "permessage-deflate; server_no_context_takeover; client_no_context_takeover", false),
        (Deflate::shared(), "permessage-deflate; client_no_context_takeover", false),
        (Deflate::shared().level(9), "permessage-deflate; server_no_context_takeover", false),
    ];
    for (deflate, offer, takeover) in table {
        // The smallest send blocks and receive buffers too: every place a frame can lie in.
        let tiny = with(deflate)
            .recv_buffers(RecvBuffers::Fixed { count: 64, bytes: 512 })
            .send_buffers(SendBuffers { count: 2, bytes: 512 });
        for config in [with(deflate), tiny] {
            let (running, addr) = serve(config, 1, |_| Echo);
            let mut client = Packed::connect(addr, offer);
            assert!(client.extensions.starts_with("permessage-deflate"), "{:?}", client.extensions);
            // Some clients take what they did not offer for a fault.
            for name in ["server_no_context_takeover", "client_no_context_takeover"] {
                assert_eq!(client.extensions.contains(name), offer.contains(name), "{:?}", client.extensions);
            }
            let count = converse(&mut client, &deflate, takeover);
            let stats = finish(running);
            assert_eq!((stats.messages, stats.violations, stats.closed), (count, 0, 1));
            assert!(stats.compressed > 0 && stats.compressed < count);
        }
    }
}

// RFC 7692 §5.1, §7.1: what cannot be met is passed over; nothing is compressed unless it was agreed on.
#[test]
fn what_was_not_agreed_on_is_not_done() {
    for (deflate, offer) in [
        (Deflate::off(), "permessage-deflate"),
        (Deflate::shared(), "permessage-deflate; server_max_window_bits=8"),
        (Deflate::shared(), "permessage-bzip2"),
    ] {
        let (running, addr) = serve(with(deflate), 1, |_| Echo);
        let mut client = Packed::connect(addr, offer);
        assert_eq!(client.extensions, "");
        let content = words(1, 4096);
        client.send_raw(0x80 | TEXT, &content);
        assert!(!client.expect(TEXT, &content));
        client.send(TEXT, &content);
        assert_eq!(client.expect_close(), 1002);
        assert_eq!(finish(running).compressed, 0);
    }
    let (running, addr) = serve(with(Deflate::shared()), 1, |_| Echo);
    let offers = "permessage-deflate; unknown, permessage-deflate; server_max_window_bits=12";
    let client = Packed::connect(addr, offers);
    assert_eq!(client.extensions, "permessage-deflate; server_max_window_bits=12");
    drop(client);
    finish(running);
}

// A client beyond the windows that a core keeps is asked to keep none (RFC 7692 §7.1.1.2); who leaves makes room for another, and
// who keeps none takes none.
#[test]
fn a_core_keeps_so_many_windows_of_its_clients() {
    const PLAIN: &str = "permessage-deflate";
    const NONE: &str = "permessage-deflate; client_no_context_takeover";
    let (running, addr) = serve(with(Deflate::shared().peer_windows_max(2)), 1, |_| Echo);
    let content = words(3, 2000);
    let mut open = Vec::new();
    for (offer, answer) in [(NONE, NONE), (PLAIN, PLAIN), (NONE, NONE), (PLAIN, PLAIN), (PLAIN, NONE), (PLAIN, NONE)] {
        let client = Packed::connect(addr, offer);
        assert_eq!(client.extensions, answer, "{} are open", open.len());
        open.push(client);
    }
    let leave = |mut client: Packed| {
        client.send_raw(0x88, &1000_u16.to_be_bytes());
        assert_eq!(client.expect_close(), 1000);
        assert_eq!(client.try_next(), None);
    };
    leave(open.remove(1)); // with a window that it never used
    let mut another = Packed::connect(addr, PLAIN);
    assert_eq!(another.extensions, PLAIN);
    for _ in 0..3 {
        another.send(TEXT, &content); // refers to the one before
        another.expect(TEXT, &content);
    }
    assert_eq!(Packed::connect(addr, PLAIN).extensions, NONE);
    leave(another);
    leave(open.remove(0));
    assert_eq!(Packed::connect(addr, PLAIN).extensions, PLAIN);
    drop(open);
    finish(running);
}

// RFC 6455 §7.4.1: 1007 for what is no DEFLATE, 1002 for RSV1 where it may not stand, 1009 for what is too big inflated.
#[test]
fn each_fault_has_its_code() {
    let limits = Limits::default().message_max_bytes(1 << 20);
    let (running, addr) = serve(with(Deflate::shared()).limits(limits), 1, |_| Echo);
    let bomb = vec![0; (1 << 20) + 1];
    type Frames = &'static [(u8, &'static [u8])];
    let faults: [(Frames, u16); 5] = [
        (&[(0xC2, b"\xff\xff")], 1007),
        (&[(0xC1, b"\xf2\x48\xcd")], 1007),
        (&[(0xC9, b"")], 1002),
        (&[(0x42, b"\xf2\x48"), (0xC0, b"\xcd\xc9\xc9\x07\x00")], 1002),
        (&[(0xE2, b"\x00")], 1002),
    ];
    for (frames, code) in faults {
        let mut client = Packed::connect(addr, "permessage-deflate");
        frames.iter().for_each(|(first, payload)| client.send_raw(*first, payload));
        assert_eq!(client.expect_close(), code, "{frames:x?}");
        assert_eq!(client.try_next(), None);
    }
    let mut client = Packed::connect(addr, "permessage-deflate");
    client.send(BINARY, &bomb[1..]);
    client.expect(BINARY, &bomb[1..]);
    client.forget_sent();
    client.send_fragments(BINARY, &bomb);
    assert_eq!(client.expect_close(), 1009);
    assert_eq!(finish(running).violations, 6);
}

// The guard on the ratio is a setting: a mebibyte is free, above it each byte sent pays for so many.
#[test]
fn inflate_ratio_max_bounds_what_a_byte_buys() {
    let content = vec![0; 4 << 20];
    for (inflate_ratio_max, passes) in [(2000, true), (100, false)] {
        let limits = Limits::default().inflate_ratio_max(inflate_ratio_max);
        let (running, addr) = serve(with(Deflate::shared()).limits(limits), 1, |_| Echo);
        let mut client = Packed::connect(addr, "permessage-deflate");
        client.send(BINARY, &content);
        match passes {
            true => drop(client.expect(BINARY, &content)),
            false => assert_eq!(client.expect_close(), 1009),
        }
        finish(running);
    }
}

/// Sends to all: what it gets, prepared once. A text of "plain" is answered by the last of them, plain.
struct Room {
    members: Vec<ConnId>,
    last: Vec<u8>,
}

impl Handler for Room {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        self.members.push(cx.id());
        assert!(cx.send("welcome").is_queued());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        if message == Message::Text("plain") {
            assert!(cx.send_plain(&self.last).is_queued());
            let id = cx.id();
            assert!(cx.conn(id).expect("open").send_plain(&self.last).is_queued());
            return;
        }
        self.last = message.as_bytes().to_vec();
        let prepared = cx.prepare(message);
        for &member in &self.members {
            assert!(cx.conn(member).expect("open").send_prepared(&prepared).is_queued());
        }
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, id: ConnId, (): (), _: &CloseReason<'_>) {
        self.members.retain(|&member| member != id);
        assert!(cx.conn(id).is_none());
    }
}

// One message for receivers of different windows, of none and of every length: each gets what it agreed to.
#[test]
fn a_prepared_message_serves_every_receiver() {
    for deflate in [Deflate::shared(), Deflate::shared().level(2), Deflate::dedicated()] {
        let (running, addr) = serve(with(deflate), 1, |_| Room { members: Vec::new(), last: Vec::new() });
        let offers =
            ["permessage-deflate", "permessage-deflate; server_max_window_bits=9", "permessage-deflate", "none"];
        let mut members: Vec<Packed> = offers
            .iter()
            .map(|offer| {
                let mut member = Packed::connect(addr, offer);
                member.expect(TEXT, b"welcome");
                member
            })
            .collect();
        for len in [10, 600, 5000, 40_000, 200_000] {
            for round in 0..3 {
                let content = words(round, len);
                members[0].send(TEXT, &content);
                for (member, offer) in members.iter_mut().zip(offers) {
                    if deflate.mode == DeflateMode::Shared {
                        member.forget_received();
                    }
                    let compressed = member.expect(TEXT, &content);
                    assert_eq!(compressed, offer != "none" && len >= 600);
                    if member.extensions.contains("client_no_context_takeover") {
                        member.forget_sent();
                    }
                }
            }
            members[2].send_raw(0x81, b"plain");
            for _ in 0..2 {
                assert!(!members[2].expect(BINARY, &words(2, len)), "asked to send it plain");
            }
        }
        drop(members);
        let stats = finish(running);
        assert_eq!(stats.violations, 0);
    }
}

/// A server of another make: it answers our offer with this, and echoes what it hears, compressed.
fn foreign_server(answer: &'static str) -> (Target, JoinHandle<Packed>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = target(listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut server = Packed::accept(stream, answer, |key| {
            let key = key.as_bytes().first_chunk().expect("24 characters");
            String::from_utf8(accept_key(key).to_vec()).expect("base64")
        });
        while let Some(got) = server.try_next() {
            match got.opcode {
                8 => server.send_raw(0x88, &got.payload),
                opcode => server.send(opcode, &got.payload),
            }
            if answer.contains("server_no_context_takeover") {
                server.forget_sent();
            }
            if answer.contains("client_no_context_takeover") {
                server.forget_received();
            }
            if got.opcode == 8 {
                break;
            }
        }
        server
    });
    (target, server)
}

// RFC 7692 §7.1, as a client: our messages are compressed and masked, theirs inflated, also if the server keeps its window
// though asked not to, and if it leaves us too small a one to compress with.
#[test]
fn a_client_compresses_too() {
    let cases = [
        (Deflate::shared(), "permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        (Deflate::shared().level(2), "permessage-deflate; client_max_window_bits=10"),
        (Deflate::shared(), "permessage-deflate; client_max_window_bits=8"),
        (Deflate::dedicated(), "permessage-deflate"),
        (Deflate::dedicated(), "permessage-deflate; client_no_context_takeover; server_max_window_bits=9"),
    ];
    for (deflate, answer) in cases {
        let (target, server) = foreign_server(answer);
        let says: Vec<Vec<u8>> = [10, 600, 1024, 1024, 20_000, 100_000].map(|len| words(len as u64, len)).into();
        let setup = Setup { config: with(deflate), says: says.clone(), closes_after: says.len(), ..Setup::default() };
        let line = setup.dial([target]);
        line.open();
        for said in &says {
            match line.next() {
                Told::Binary(bytes) => assert!(bytes == *said, "{} bytes of {}", bytes.len(), said.len()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(line.closed(), "Local { clean: true }");
        let server = server.join().expect("the server is well");
        let offered = &server.extensions;
        assert!(
            offered.starts_with("permessage-deflate; ") && offered.ends_with("; client_max_window_bits"),
            "{offered}"
        );
        drop(server);
        let stats = line.finish();
        let compressed = if answer.contains("=8") { 0 } else { says.len() as u64 - 1 };
        assert_eq!((stats.compressed, stats.violations), (compressed, 0), "{answer}");
    }
}

// Both ends are ours: each of the modes with each.
#[test]
fn our_client_and_our_server_compress() {
    for server_mode in [Deflate::off(), Deflate::shared(), Deflate::dedicated()] {
        for client_mode in [Deflate::off(), Deflate::shared(), Deflate::dedicated()] {
            let (server, addr) = serve(with(server_mode), 1, |_| Echo);
            let says: Vec<Vec<u8>> = [1024, 1024, 30_000, 1 << 20].map(|len| words(len as u64, len)).into();
            let config = with(client_mode);
            let line =
                Setup { config, says: says.clone(), closes_after: says.len(), ..Setup::default() }.dial([target(addr)]);
            line.open();
            for said in &says {
                assert!(matches!(line.next(), Told::Binary(bytes) if bytes == *said));
            }
            assert_eq!(line.closed(), "Local { clean: true }");
            let both = server_mode.mode != DeflateMode::Off && client_mode.mode != DeflateMode::Off;
            let expected = if both { says.len() as u64 } else { 0 };
            assert_eq!((line.finish().compressed, finish(server).compressed), (expected, expected));
        }
    }
}

// RFC 6455 §4.1, RFC 7692 §7.1: an answer that is not by the letter fails the connection, and says why.
#[test]
fn a_client_fails_a_wrong_answer() {
    let cases = [
        ("permessage-bzip2", CompressionError::NotOffered),
        ("permessage-deflate; server_max_window_bits=16", CompressionError::Parameter),
        ("permessage-deflate; client_max_window_bits", CompressionError::Parameter),
        ("permessage-deflate, permessage-deflate", CompressionError::Repeated),
    ];
    for (answer, error) in cases {
        let (target, server) = foreign_server(answer);
        let line = Setup { config: with(Deflate::shared()), ..Setup::default() }.dial([target]);
        match line.failed() {
            DialError::Compression(found) => assert_eq!(found, error, "{answer}"),
            other => panic!("{other:?}"),
        }
        drop(server.join());
        line.finish();
    }
    // Not asked for, so not taken, whatever the server says.
    let (target, server) = foreign_server("permessage-deflate");
    let line = Setup::default().dial([target]);
    assert!(matches!(line.failed(), DialError::Answer(wsring::AnswerError::ExtensionUnoffered)));
    let server = server.join().expect("the server is well");
    assert_eq!(server.extensions, "");
    line.finish();
}
