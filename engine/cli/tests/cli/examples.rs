//! The examples, run as they stand: each is a module here, started in a process of its own and stopped by signal.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use wsring_testkit::{BINARY, Client, TEXT, WAIT, ask, refused};

use crate::process::{Process, cores_allowed, start};

#[allow(dead_code, reason = "`main` is for `cargo run --example`")]
#[path = "../../../examples/chat.rs"]
mod chat;
#[allow(dead_code, reason = "`main` is for `cargo run --example`")]
#[path = "../../../examples/echo.rs"]
mod echo;
#[allow(dead_code, reason = "`main` is for `cargo run --example`")]
#[path = "../../../examples/market_feed.rs"]
mod market_feed;
#[allow(dead_code, reason = "`main` is for `cargo run --example`")]
#[path = "../../../examples/relay.rs"]
mod relay;
#[allow(dead_code, reason = "`main` is for `cargo run --example`")]
#[path = "../../../examples/upgrade.rs"]
mod upgrade;

/// Tells the process started by [`Example::start`] which example it is.
const WHICH: &str = "WSRING_EXAMPLE";
/// Whom the relay dials.
const EXCHANGE: &str = "WSRING_EXAMPLE_EXCHANGE";

/// Not a test of its own: what the child process runs. Signals stop a process, so each example needs one.
#[test]
#[ignore = "started by the tests below"]
fn serve_one() {
    let addr = "127.0.0.1:0";
    match std::env::var(WHICH).as_deref() {
        Ok("echo") => echo::serve(addr),
        Ok("chat") => chat::serve(addr, cores_allowed()[0]),
        Ok("market_feed") => market_feed::serve(addr),
        Ok("upgrade") => upgrade::serve(addr),
        Ok("relay") => {
            let exchange = std::env::var(EXCHANGE).expect("set beside the name");
            return relay::serve(addr, &exchange, cores_allowed()[0]).unwrap();
        }
        // `cargo test -- --include-ignored` comes here too.
        other => return println!("nothing to serve: {WHICH} is {other:?}"),
    }
    .unwrap();
}

struct Example {
    process: Process,
    addr: SocketAddr,
}

impl Example {
    fn start(name: &str) -> Example {
        Self::start_with(name, "")
    }

    fn start_with(name: &str, exchange: &str) -> Example {
        let mut this = Command::new(std::env::current_exe().unwrap());
        this.env(WHICH, name).env(EXCHANGE, exchange).args([
            "--exact",
            "examples::serve_one",
            "--ignored",
            "--nocapture",
        ]);
        let process = Process::start(&mut this);
        loop {
            let line = process.line().expect("the example says where it listens");
            // The test harness writes too, perhaps into the same line.
            if let Some((_, url)) = line.split_once(" on ws://") {
                let addr: SocketAddr = url.split('/').next().unwrap().parse().unwrap();
                // It says so when it has the address, and listens a moment later.
                let since = Instant::now();
                while let Err(error) = TcpStream::connect(addr) {
                    assert!(since.elapsed() < WAIT, "{name} does not listen: {error}");
                    std::thread::sleep(Duration::from_millis(1));
                }
                return Example { process, addr };
            }
        }
    }

    fn stop(self) {
        self.process.signal("INT");
        let ended = self.process.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[test]
fn echo_echoes() {
    let example = Example::start("echo");
    let mut peer = Client::open(example.addr, "/");
    peer.echo(TEXT, b"hello");
    peer.echo(BINARY, &[0; 70_000]);
    peer.close();
    example.stop();
}

#[test]
fn chat_reaches_everybody() {
    let example = Example::start("chat");
    let line = |peer: &mut Client| String::from_utf8(peer.frame().payload).unwrap();
    let mut ann = Client::open(example.addr, "/?ann");
    assert_eq!(line(&mut ann), "* ann joins, 1 here");
    let mut bob = Client::open(example.addr, "/?bob");
    assert_eq!(line(&mut ann), "* bob joins, 2 here");
    assert_eq!(line(&mut bob), "* bob joins, 2 here");
    ann.send(TEXT, b"hello");
    assert_eq!((line(&mut ann), line(&mut bob)), ("ann: hello".to_owned(), "ann: hello".to_owned()));
    bob.close();
    assert_eq!(line(&mut ann), "* bob leaves, 1 here");
    ann.close();
    example.stop();
}

/// A reader that stops loses lines, is told how many, and then gets every line again. Nobody else notices.
#[test]
fn chat_does_not_wait_for_a_slow_reader() {
    const LINES: u64 = 600;
    let example = Example::start("chat");
    let line = |peer: &mut Client| String::from_utf8(peer.frame().payload).unwrap();
    let mut slow = Client::open(example.addr, "/?slow");
    assert_eq!(line(&mut slow), "* slow joins, 1 here");
    let mut ann = Client::open(example.addr, "/?ann");
    assert_eq!([line(&mut ann), line(&mut slow)], ["* ann joins, 2 here"; 2]);
    // 600 lines of 64 KiB: more than the output's high-water mark and any socket's buffers.
    let padding = "x".repeat(64 << 10);
    for number in 0..LINES {
        ann.send(TEXT, format!("{number} {padding}").as_bytes());
        assert!(line(&mut ann).starts_with(&format!("ann: {number} x")));
    }
    let (mut read, mut missed) = (0, 0);
    while read + missed < LINES {
        let line = line(&mut slow);
        match line.strip_prefix("* you missed ").and_then(|rest| rest.strip_suffix(" lines")) {
            Some(count) => missed += count.parse::<u64>().unwrap(),
            None => {
                assert!(
                    line.starts_with(&format!("ann: {} x", read + missed)),
                    "after {read} read and {missed} missed"
                );
                read += 1;
            }
        }
    }
    assert!(read > 0 && missed > 0 && read + missed == LINES, "{read} read, {missed} missed");
    ann.send(TEXT, b"are you back?");
    assert_eq!(line(&mut slow), "ann: are you back?");
    example.stop();
}

/// A desk gets the present price of what it wants, then updates, each of which says which one it was given before.
#[test]
fn market_feed_counts_what_a_desk_gets() {
    let example = Example::start("market_feed");
    let mut desk = Client::open(example.addr, "/");
    let line = |peer: &mut Client| String::from_utf8(peer.frame().payload).unwrap();
    desk.send(TEXT, b"K17 K18 K10000");
    let number = |line: &str, name: &str| -> u64 {
        let rest = line.split_once(&format!(r#""{name}":"#)).unwrap().1;
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let (mut last, mut updates, mut refused) = ([None; 2], [0; 2], false);
    while !refused || updates.iter().any(|count| *count < 3) {
        let line = line(&mut desk);
        if line == "there is no K10000" {
            refused = true;
            continue;
        }
        let which = usize::from(line.contains(r#""key":"K18""#));
        assert!(which == 1 || line.contains(r#""key":"K17""#), "{line}");
        let (seq, prev) = (number(&line, "seq"), number(&line, "prev"));
        if let Some(last) = last[which] {
            assert_eq!(prev, last, "a gap: {line}");
        }
        assert!(seq > prev, "{line}");
        last[which] = Some(seq);
        updates[which] += 1;
    }
    desk.close();
    example.stop();
}

/// Desks come before the exchange, it comes, answers, goes and returns: each desk is told, and nothing said is lost silently.
#[test]
fn relay_joins_desks_and_an_exchange() {
    let (_held, port) = refused();
    let example = Example::start_with("relay", &format!("ws://{port}/"));
    let line = |peer: &mut Client| String::from_utf8(peer.frame().payload).unwrap();
    let mut ann = Client::open(example.addr, "/");
    assert_eq!(line(&mut ann), "* the exchange is away");
    ann.send(TEXT, b"buy");
    assert_eq!(line(&mut ann), "* not sent: the exchange is away");
    for _ in 0..2 {
        let exchange = start(&["--listen", &port.to_string()]);
        assert_eq!(line(&mut ann), "* the exchange is here");
        let mut bob = Client::open(example.addr, "/");
        assert_eq!(line(&mut bob), "* the exchange is here");
        ann.send(TEXT, b"buy"); // the exchange is an echo
        assert_eq!((line(&mut ann), line(&mut bob)), ("buy".to_owned(), "buy".to_owned()));
        bob.close();
        exchange.stop();
        assert_eq!(line(&mut ann), "* the exchange is away");
    }
    ann.close();
    example.stop();
}

#[test]
fn upgrade_asks_who_you_are_and_what_you_speak() {
    const TOKEN: &str = "Authorization: Bearer let-me-in";
    let example = Example::start("upgrade");
    let open = |headers: &[&str]| Client::try_open(example.addr, "/", headers);
    let stranger = open(&["Sec-WebSocket-Protocol: quotes.v1"]).expect_err("no token");
    assert_eq!((stranger.status, stranger.header("www-authenticate")), (401, Some("Bearer")));
    let wrong = open(&["Authorization: Bearer let-me-in!", "Sec-WebSocket-Protocol: quotes.v1"]);
    assert_eq!(wrong.expect_err("a wrong token").status, 401);
    assert_eq!(open(&[TOKEN]).expect_err("no subprotocol").status, 400);
    assert_eq!(open(&[TOKEN, "Sec-WebSocket-Protocol: quotes.v3"]).expect_err("an unknown one").status, 400);
    for (offer, chosen, answer) in [
        ("quotes.v1", "quotes.v1", "ACME 101.5"),
        ("quotes.v1, quotes.v2", "quotes.v2", r#"{"symbol":"ACME","bid":101.5}"#),
    ] {
        let mut peer = open(&[TOKEN, &format!("Sec-WebSocket-Protocol: {offer}")]).unwrap();
        assert_eq!(peer.answer.header("sec-websocket-protocol"), Some(chosen));
        peer.send(TEXT, b"ACME");
        assert_eq!(peer.frame().payload, answer.as_bytes());
        peer.close();
    }
    let get = |path: &str| ask(example.addr, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let page = get("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.body.starts_with(b"<!doctype html>"));
    assert_eq!((get("/healthz").status, get("/other").status), (200, 404));
    example.stop();
}
