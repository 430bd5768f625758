//! Every way in which a handshake or a record can go wrong: counted, told, and nobody else notices.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::version::TLS13;

use super::{Scene, Wire, with_tls};
use crate::common::certificates::Authority;
use crate::common::*;

/// A fatal alert in the clear, RFC 8446 §6.
fn alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

/// All that comes until the end of the stream, however that ends.
fn rest_of(stream: &TcpStream) -> Vec<u8> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(len @ 1..) = read_some(stream, &mut piece) {
        bytes.extend_from_slice(&piece[..len]);
    }
    bytes
}

/// A stranger that speaks no TLS gets an alert; nobody else notices.
#[test]
fn strangers_are_told_and_counted() {
    let mut scene = Scene::new(|c| c);
    let strangers: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", &[0xff; 5], &[0; 100_000], b"SSH-2.0-x\r\n"];
    for bytes in strangers {
        let mut stream = tcp(scene.addr);
        stream.write_all(bytes).expect("it goes out");
        let heard = rest_of(&stream);
        assert_eq!(heard, alert(50), "decode_error");
        scene.is_undisturbed();
    }
    let stats = scene.finish();
    assert_eq!((stats.tls_failed, stats.accepted, stats.opened, stats.closed), (4, 5, 1, 5));
}

/// A handshake that is cut off, at any byte of the first flight or after the whole of it, by an end or a reset.
#[test]
fn a_cut_handshake_is_counted() {
    let mut scene = Scene::new(|c| c);
    let mut cuts = 0;
    for at in [1, 4, 5, 6, 100, usize::MAX] {
        for by_reset in [false, true] {
            let mut wire = Wire::new(scene.addr, &scene.client);
            let hello = wire.pending();
            wire.stream.write_all(&hello[..at.min(hello.len())]).expect("it goes out");
            if at > hello.len() {
                assert!(wire.receive().expect("no reset"), "the server's flight");
            }
            if by_reset {
                // The server must have seen what came before the reset, which destroys it: a pass accepts, a pass
                // receives, and each of these takes one.
                (0..3).for_each(|_| scene.is_undisturbed());
                reset(wire.stream);
            } else {
                wire.stream.shutdown(Shutdown::Write).expect("shutdown");
                rest_of(&wire.stream);
            }
            scene.is_undisturbed();
            cuts += 1;
        }
    }
    // Who only looks whether somebody listens has not failed.
    drop(tcp(scene.addr));
    let stats = scene.finish();
    assert_eq!((stats.tls_failed, stats.opened, stats.closed), (cuts, 1, cuts + 2));
}

/// A handshake that takes too long is cut at the handshake's deadline, wherever it stands.
#[test]
fn a_slow_handshake_meets_the_deadline() {
    let mut scene = Scene::new(|c| c.handshake_timeout(Duration::from_secs(1)));
    for at in [0, 10, usize::MAX] {
        let mut wire = Wire::new(scene.addr, &scene.client);
        let hello = wire.pending();
        wire.stream.write_all(&hello[..at.min(hello.len())]).expect("it goes out");
        rest_of(&wire.stream);
        scene.is_undisturbed();
    }
    // TLS is done, but no request comes.
    rest_of(&Wire::connect(scene.addr, &scene.client).stream);
    let stats = scene.finish();
    assert_eq!((stats.timeouts, stats.tls_failed, stats.opened), (4, 0, 1));
}

/// At the cap a handshake gives way wherever it stands, and who is open does not.
#[test]
fn unfinished_handshakes_give_way_at_the_cap() {
    let mut scene = Scene::new(|c| c.connections_max(5).handshake_timeout(WAIT * 2));
    let mut slow: Vec<Wire> = [0, 10, usize::MAX]
        .map(|at| {
            let mut wire = Wire::new(scene.addr, &scene.client);
            let hello = wire.pending();
            wire.stream.write_all(&hello[..at.min(hello.len())]).expect("it goes out");
            wire
        })
        .into();
    slow.push(Wire::connect(scene.addr, &scene.client)); // TLS is done, but no request comes
    let inside: Vec<Wire> = slow.iter().map(|_| let_in(&scene)).collect();
    let mut told = Vec::new();
    assert!(slow.pop().expect("the fourth").read_to_end(&mut told).is_ok() && told.starts_with(b"HTTP/1.1 503 "));
    slow.iter().for_each(|wire| drop(rest_of(&wire.stream)));
    scene.is_undisturbed();
    drop(inside);
    let stats = scene.finish();
    assert_eq!((stats.displaced, stats.opened, stats.timeouts), (4, 5, 0));
}

/// Connects until it is let in.
fn let_in(scene: &Scene) -> Wire {
    let deadline = Instant::now() + WAIT;
    loop {
        let mut wire = Wire::new(scene.addr, &scene.client);
        let mut status = [0; 12];
        let asked = wire.shake().and_then(|()| wire.write_all(upgrade_head("/").as_bytes()));
        if asked.and_then(|()| wire.read_exact(&mut status)).is_ok() && status.ends_with(b"101") {
            return wire;
        }
        assert!(Instant::now() < deadline, "nobody gives way");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A record that was changed on its way ends its connection: bad_record_mac, and the application hears of it.
#[test]
fn a_changed_record_ends_the_connection() {
    let scene = Scene::new(|c| c);
    let mut wire = scene.connect();
    let mut frame = Vec::new();
    client_frame(&mut frame, true, TEXT, b"before", [0; 4]);
    wire.tls.writer().write_all(&frame).expect("it is taken");
    let mut bytes = wire.pending();
    wire.tls.writer().write_all(&frame).expect("it is taken");
    let mut changed = wire.pending();
    *changed.last_mut().expect("a byte") ^= 1;
    bytes.extend(changed);
    wire.stream.write_all(&bytes).expect("it goes out");
    assert_eq!(scene.end(), "TLS: the peer is at fault: cannot decrypt peer's message");
    let error = loop {
        match wire.receive() {
            Ok(true) => {}
            other => break other.expect_err("an alert"),
        }
    };
    assert_eq!(error.to_string(), "received fatal alert: BadRecordMac");
    let stats = scene.finish();
    assert_eq!((stats.tls_failed, stats.messages, stats.violations, stats.resets), (1, 2, 0, 0));
}

/// A client that refuses our certificate says why.
#[test]
fn a_refused_certificate_is_counted() {
    for (name, year, says) in [("wsring.test", 2001, "Expired"), ("other.test", 4000, "NotValidForName")] {
        let authority = Authority::new();
        let (running, addr) = serve(with_tls(authority.server_for(name, year)), 1, |_| Echo);
        let mut wire = Wire::new(addr, &Arc::new(authority.client(&[&TLS13])));
        let error = wire.shake().expect_err("it is not good");
        assert!(format!("{error:?}").contains(says), "{error:?}");
        wire.send().expect("the alert goes out");
        rest_of(&wire.stream);
        let stats = finish(running);
        assert_eq!((stats.tls_failed, stats.opened, stats.closed), (1, 0, 1));
    }
}
