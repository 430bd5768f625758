//! How connections end: resets, half-closes, violations, closing handshakes.

use std::io::Write;
use std::thread;
use std::time::Duration;

use wsring::{Config, RecvBuffers};

use crate::common::*;

/// A reset in the middle of a frame concerns that connection alone.
#[test]
fn resets_in_mid_frame() {
    let (running, addr) = serve(Config::default(), 1, |_| Echo);
    let mut steady = Client::connect(addr);
    for round in 0..100 {
        let mut client = Client::connect(addr);
        client.echo(TEXT, b"before");
        let mut bytes = Vec::new();
        client_header(&mut bytes, round % 2 == 0, BINARY, 100_000, [1, 2, 3, 4]);
        // In the header, right behind it, in the payload.
        bytes.resize([1, 3, 14, 15, 50_000][round % 5], 0);
        client.stream.write_all(&bytes).expect("a part goes out");
        reset(client.stream);
        steady.echo(TEXT, b"undisturbed");
    }
    steady.close();
    let stats = finish(running);
    assert_eq!((stats.messages, stats.opened, stats.closed), (200, 101, 101));
    assert_eq!((stats.resets, stats.violations), (100, 0));
}

/// A reset while echoes are on their way to a peer that does not read them.
#[test]
fn resets_under_queued_output() {
    let (running, addr) = serve(Config::default(), 1, |_| Echo);
    let mut steady = Client::connect(addr);
    for round in 0..20 {
        let mut client = Client::connect(addr);
        let message = vec![round; 100_000];
        client.stream.set_nonblocking(true).expect("nonblocking");
        let mut bytes = Vec::new();
        client_frame(&mut bytes, true, BINARY, &message, [0; 4]);
        // Until both directions are full, or this much is under way.
        for _ in 0..100 {
            if !client.stream.write(&bytes).is_ok_and(|n| n == bytes.len()) {
                break;
            }
        }
        reset(client.stream);
        steady.echo(TEXT, b"undisturbed");
    }
    steady.close();
    let stats = finish(running);
    assert_eq!((stats.opened, stats.closed), (21, 21));
}

/// A peer that has said all it has to say still gets every echo, then the end.
#[test]
fn half_close_after_small_messages() {
    let (running, addr) = serve(Config::default(), 1, |_| Echo);
    for count in [0, 1, 100] {
        let mut client = Client::connect(addr);
        for i in 0..count {
            client.send(TEXT, format!("message {i}").as_bytes());
        }
        client.half_close();
        for i in 0..count {
            client.expect(TEXT, format!("message {i}").as_bytes());
        }
        assert_eq!(client.expect_end(), End::Eof);
    }
    let stats = finish(running);
    assert_eq!((stats.messages, stats.resets), (101, 0));
}

/// Far more than the server queues: the end comes while the connection is held back, and bytes are stashed before it.
#[test]
fn half_close_under_back_pressure() {
    let scarce = RecvBuffers::Fixed { count: 2, bytes: 512 };
    for (recv_buffers, output_high_bytes) in [(RecvBuffers::Auto, 1 << 20), (scarce, 10_000)] {
        let config = Config::default()
            .recv_buffers(recv_buffers)
            .output_high_bytes(output_high_bytes)
            .output_low_bytes(output_high_bytes / 4);
        let (running, addr) = serve(config, 1, |_| Echo);
        let mut client = Client::connect(addr);
        let (count, len) = (1000, 20_000);
        let stream = client.stream.try_clone().expect("a second descriptor");
        thread::scope(|scope| {
            scope.spawn(move || {
                for i in 0..count {
                    let mut bytes = Vec::new();
                    client_frame(&mut bytes, true, BINARY, &vec![i as u8; len + i], [5, 6, 7, 8]);
                    (&stream).write_all(&bytes).expect("it goes out");
                }
                stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
            });
            for i in 0..count {
                client.expect(BINARY, &vec![i as u8; len + i]);
            }
        });
        assert_eq!(client.expect_end(), End::Eof);
        let stats = finish(running);
        assert_eq!((stats.messages, stats.refused, stats.resets), (count as u64, 0, 0));
    }
}

/// The end inside a frame: what was whole is echoed, what was not is dropped, without a word (1006 has no frame).
#[test]
fn half_close_in_mid_frame() {
    let (running, addr) = serve(Config::default(), 1, |_| Echo);
    let mut client = Client::connect(addr);
    client.send(TEXT, b"whole");
    let mut bytes = Vec::new();
    client_frame(&mut bytes, true, TEXT, b"cut short", [1, 2, 3, 4]);
    client.stream.write_all(&bytes[..bytes.len() - 1]).expect("a part goes out");
    client.half_close();
    client.expect(TEXT, b"whole");
    assert_eq!(client.expect_end(), End::Eof);
    assert_eq!(finish(running).messages, 1);
}

/// RFC 6455 §7.1.7: the peer learns why before the connection ends, though it goes on sending.
#[test]
fn a_violation_is_told_although_the_peer_goes_on_sending() {
    let (running, addr) = serve(Config::default(), 1, |_| Echo);
    let cases: [(&[u8], u16); 5] = [
        (b"\x81\x01a", 1002),                // not masked, §5.1
        (b"\xc1\x80\0\0\0\0", 1002),         // a reserved bit, §5.2
        (b"\x83\x80\0\0\0\0", 1002),         // a reserved opcode, §5.2
        (b"\x80\x80\0\0\0\0", 1002),         // nothing to continue, §5.4
        (b"\x81\x82\0\0\0\0\xc0\x80", 1007), // overlong UTF-8, §8.1
    ];
    for (bytes, code) in cases {
        let mut client = Client::connect(addr);
        client.echo(TEXT, b"fine");
        client.stream.write_all(bytes).expect("it goes out");
        let _ = client.stream.write_all(&[0; 100_000]); // the connection may be over already
        assert_eq!(client.expect_close().0, code, "{bytes:x?}");
    }
    let stats = finish(running);
    assert_eq!((stats.violations, stats.messages), (5, 5));
}

/// RFC 6455 §5.5.1, §7.1.1: the same code comes back, the server closes first, and what follows the Close is ignored.
#[test]
fn the_closing_handshake() {
    let (running, addr) = serve(Config::default(), 1, |_| Echo);
    for code in [1000_u16, 1001, 1003, 1009, 3000, 4999] {
        let mut client = Client::connect(addr);
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice("bye €".as_bytes());
        let mut bytes = Vec::new();
        client_frame(&mut bytes, true, TEXT, b"last", [1, 2, 3, 4]);
        client_frame(&mut bytes, true, CLOSE, &payload, [1, 2, 3, 4]);
        client_frame(&mut bytes, true, TEXT, b"too late", [1, 2, 3, 4]);
        client.stream.write_all(&bytes).expect("it goes out");
        client.expect(TEXT, b"last");
        assert_eq!(client.expect_close().0, code);
        assert_eq!(client.expect_end(), End::Eof);
    }
    let mut client = Client::connect(addr);
    client.send(CLOSE, b"");
    client.expect(CLOSE, b"");
    assert_eq!(client.expect_end(), End::Eof);
    assert_eq!(finish(running).messages, 6);
}

/// A pinged peer that answers stays; one that does not is cut (RFC 6455 §5.5.2).
#[test]
fn a_silent_peer_is_pinged_and_cut_when_it_does_not_answer() {
    let config = Config::default().idle_timeout(Duration::from_millis(100)).pong_timeout(Duration::from_secs(3));
    let (running, addr) = serve(config, 1, |_| Echo);
    let (mut alive, mut dead) = (Client::connect(addr), Client::connect(addr));
    for _ in 0..3 {
        let ping = alive.frame();
        assert_eq!(ping.opcode, PING);
        alive.send(PONG, &ping.payload);
    }
    assert_eq!(dead.frame().opcode, PING);
    // Told, because it has taken everything: RFC 6455 §7.4.1.
    let cut = thread::spawn(move || {
        assert_eq!(dead.expect_close(), (1001, "no answer to a ping".to_owned()));
        dead.expect_end()
    });
    while !cut.is_finished() {
        let ping = alive.frame();
        alive.send(PONG, &ping.payload);
    }
    cut.join().expect("no other frame");
    let stats = finish(running);
    assert_eq!((stats.timeouts, stats.opened), (1, 2));
}
