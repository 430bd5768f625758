//! SIGINT and SIGTERM: peers are told 1001, the process ends with 0 and says what it did.

use std::io::Write;
use std::process::Command;

use wsring_testkit::{CLOSE, Client, TEXT, tcp};

use crate::process::{BIN, Process, first_core, start};

/// RFC 6455 §7.4.1: 1001, going away. A connection that is not open yet just ends.
#[test]
fn both_signals_tell_peers_1001_and_end_well() {
    for signal in ["INT", "TERM"] {
        let serve = start(&[]);
        let mut half = tcp(serve.addr());
        half.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        let mut peers: Vec<Client> =
            ["/", "/bcast", "/"].into_iter().map(|path| Client::open(serve.addr(), path)).collect();
        peers[0].echo(TEXT, b"before");
        serve.signal(signal);
        for peer in &mut peers {
            let close = peer.frame();
            assert_eq!(close.close_code(), 1001, "SIG{signal}");
            peer.send(CLOSE, &close.payload);
            assert_eq!(peer.frame_or_end(), None);
        }
        let addr = serve.addr();
        let stats = serve.ended_well();
        assert_eq!((stats["opened"], stats["closed"], stats["messages"]), (3, 4, 1), "SIG{signal}");
        assert_eq!(stats["timeouts"], 0, "SIG{signal}: all peers answered");
        assert!(std::net::TcpStream::connect(addr).is_err(), "somebody still listens on {addr}");
    }
}

/// A peer that does not answer 1001 is cut after the stop timeout, and does not keep the process.
#[test]
fn a_silent_peer_does_not_hold_it_up() {
    let serve = start(&["--cores", &first_core()]);
    let mut peer = Client::open(serve.addr(), "/");
    serve.signal("INT");
    assert_eq!(peer.frame().close_code(), 1001);
    // Asked twice, it stops as well.
    serve.signal("TERM");
    assert_eq!(peer.frame_or_end(), None);
    assert_eq!(serve.ended_well()["opened"], 1);
}

/// `wsring serve | head -1` leaves nobody to read the stop line.
#[test]
fn a_closed_standard_output_is_no_reason_to_fail() {
    let serve = Process::start_reading(Command::new(BIN).args(["serve", "--listen", "127.0.0.1:0"]), 1);
    let line = serve.line().expect("a start line");
    assert!(line.starts_with("wsring: listening on "), "{line}");
    assert_eq!(serve.line(), None); // closed
    serve.signal("TERM");
    let ended = serve.end();
    assert!(ended.code == Some(0) && ended.errors.is_empty(), "{ended:?}");
}
