//! `--drain`: what SIGTERM does then, and what health checks are told meanwhile.

use wsring_testkit::{CLOSE, Client, TEXT, WAIT, ask, upgrade_head};

use crate::process::{Serve, run, start};

/// The status of the answer.
fn status(serve: &Serve, request: &str) -> u16 {
    ask(serve.addr(), &format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n")).status
}

/// The first signal has come: a core that has looked says so. Each does for itself, so there is one.
fn await_drain(serve: &Serve) {
    let since = std::time::Instant::now();
    while status(serve, "GET /healthz") != 503 {
        assert!(since.elapsed() < WAIT, "it is not drained");
    }
}

/// What each is told, that health checks find it down, that it takes no more WebSockets, and how it ends: by a second signal, or when the last has gone.
#[test]
fn sigterm_drains_and_a_second_signal_stops() {
    for second in ["TERM", "INT"] {
        let serve = start(&[
            "--drain",
            "0.3",
            "--drain-code",
            "1012",
            "--drain-at-least",
            "3600",
            "--cores",
            &crate::process::first_core(),
        ]);
        let mut peers: Vec<Client> = (0..5).map(|_| Client::open(serve.addr(), "/")).collect();
        peers[0].echo(TEXT, b"before");
        assert_eq!(["GET /healthz", "HEAD /", "OPTIONS /"].map(|check| status(&serve, check)), [200; 3]);
        serve.signal("TERM");
        await_drain(&serve);
        for peer in &mut peers {
            let close = peer.frame();
            assert_eq!((close.close_code(), &close.payload[2..]), (1012, &b"server draining"[..]));
            peer.send(CLOSE, &close.payload);
            assert_eq!(peer.frame_or_end(), None);
        }
        assert_eq!(
            ["GET /healthz", "HEAD /", "OPTIONS /", "GET /whoami"].map(|check| status(&serve, check)),
            [503, 503, 503, 200]
        );
        let refused = ask(serve.addr(), &upgrade_head("/"));
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{refused:?}");
        serve.signal(second);
        let line = serve.line().expect("what came of it");
        assert_eq!(
            line,
            "wsring: drained | 5 connections: 5 closed, 0 without an answer, 0 left before, 0 stopped; 1 refused"
        );
        let stats = serve.ended_well();
        assert_eq!((stats["opened"], stats["drain_closed"], stats["timeouts"]), (5, 5, 0));
    }
}

/// By itself, when nobody is left.
#[test]
fn a_drained_process_ends_when_the_last_has_gone() {
    let serve = start(&["--drain", "3600"]);
    let mut peer = Client::open(serve.addr(), "/");
    peer.echo(TEXT, b"before");
    serve.signal("TERM");
    await_drain(&serve);
    peer.echo(TEXT, b"its turn is within the hour");
    peer.close();
    let line = serve.line().expect("what came of it");
    assert!(
        line.starts_with("wsring: drained | 1 connections: 0 closed, 0 without an answer, 1 left before"),
        "{line}"
    );
    assert_eq!(serve.ended_well()["drain_left"], 1);
}

/// Who presses Ctrl-C does not wait for anybody.
#[test]
fn sigint_stops_at_once() {
    let serve = start(&["--drain", "3600"]);
    let mut peer = Client::open(serve.addr(), "/");
    serve.signal("INT");
    let close = peer.frame();
    assert_eq!(close.close_code(), 1001);
    peer.send(CLOSE, &close.payload);
    assert_eq!(serve.ended_well()["drains"], 0);
}

#[test]
fn options_of_a_drain_that_make_no_sense() {
    for (args, says) in [
        (&["--drain", "0"][..], "above 0"),
        (&["--drain", "soon"], "above 0"),
        (&["--drain", "1", "--drain-code", "1000"], "1001 or 1012"),
        (&["--drain-code", "1012"], "--drain <SECS>"),
        (&["--drain-at-least", "5"], "--drain <SECS>"),
    ] {
        let ended = run(&[&["serve"], args].concat());
        assert!(ended.code == Some(2) && ended.errors.contains(says), "{args:?}: {ended:?}");
    }
}
