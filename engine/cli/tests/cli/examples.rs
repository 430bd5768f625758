//! The examples, run as they stand: each is a module here, started in a process of its own and stopped by signal.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use wsring_testkit::{BINARY, Client, TEXT, WAIT, ask, bounded, patiently, refused};

use crate::process::{Process, cores_allowed, narrow, start};

#[allow(dead_code, reason = "`main` is for `cargo run --example`")]
#[path = "../../../examples/chat.rs"]
mod chat;
#[allow(dead_code, reason = "`main` is for `cargo run --example`")]
#[path = "../../../examples/control.rs"]
mod control;
#[allow(dead_code, reason = "`main` is for `cargo run --example`")]
#[path = "../../../examples/echo.rs"]
mod echo;
#[allow(dead_code, reason = "`main` is for `cargo run --example`")]
#[path = "../../../examples/game_tick.rs"]
mod game_tick;
#[allow(dead_code, reason = "`main` is for `cargo run --example`")]
#[path = "../../../examples/gateway.rs"]
mod gateway;
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
/// Whom the relay and the gateway dial, and who is in control.
const EXCHANGE: &str = "WSRING_EXAMPLE_EXCHANGE";

/// Not a test of its own: what the child process runs. Signals stop a process, so each example needs one.
#[test]
#[ignore = "started by the tests below"]
fn serve_one() {
    let addr = "127.0.0.1:0";
    let exchange = || std::env::var(EXCHANGE).expect("set beside the name");
    match std::env::var(WHICH).as_deref() {
        Ok("echo") => echo::serve(addr),
        Ok("chat") => chat::serve(addr, cores_allowed()[0]),
        Ok("game_tick") => game_tick::serve(addr, cores_allowed()[0]),
        Ok("market_feed") => market_feed::serve(addr, cores_allowed()[0]),
        Ok("upgrade") => upgrade::serve(addr),
        Ok("relay") => return relay::serve(addr, &exchange(), cores_allowed()[0]).unwrap(),
        Ok("gateway") => return gateway::serve(addr, &exchange(), cores_allowed()[0]).unwrap(),
        Ok("control") => {
            let operator = TcpStream::connect(exchange()).expect("it listens");
            let orders = BufReader::new(operator.try_clone().expect("a second descriptor"));
            return control::serve(addr, cores_allowed().into_iter().take(2), orders, operator).unwrap();
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
fn chat_reaches_everybody_in_a_room() {
    let example = Example::start("chat");
    let line = |peer: &mut Client| String::from_utf8(peer.frame_past_pings().payload).unwrap();
    let mut ann = Client::open(example.addr, "/lounge?ann");
    assert_eq!(line(&mut ann), "* ann joins, 1 here");
    let mut bob = Client::open(example.addr, "/lounge?bob");
    assert_eq!(line(&mut ann), "* bob joins, 2 here");
    assert_eq!(line(&mut bob), "* bob joins, 2 here");
    let mut eve = Client::open(example.addr, "/kitchen?eve");
    assert_eq!(line(&mut eve), "* eve joins, 1 here");
    ann.send(TEXT, b"hello");
    assert_eq!((line(&mut ann), line(&mut bob)), ("ann: hello".to_owned(), "ann: hello".to_owned()));
    eve.close(); // nothing was said to her
    bob.close();
    assert_eq!(line(&mut ann), "* bob leaves, 1 here");
    ann.close();
    example.stop();
}

/// A reader that stops loses the oldest lines that wait, is told how many, and then gets every line again. Nobody else notices.
#[test]
fn chat_does_not_wait_for_a_slow_reader() {
    const LINES: u64 = 600;
    let example = Example::start("chat");
    let line = |peer: &mut Client| String::from_utf8(peer.frame_past_pings().payload).unwrap();
    let mut slow = Client::open(example.addr, "/lounge?slow");
    assert_eq!(line(&mut slow), "* slow joins, 1 here");
    let mut ann = Client::open(example.addr, "/lounge?ann");
    assert_eq!([line(&mut ann), line(&mut slow)], ["* ann joins, 2 here"; 2]);
    // 600 lines of 64 KiB: more than the output's high-water mark and any socket's buffers.
    let padding = "x".repeat(64 << 10);
    for number in 0..LINES {
        ann.send(TEXT, format!("{number} {padding}").as_bytes());
        assert!(line(&mut ann).starts_with(&format!("ann: {number} x")));
    }
    // What waits comes first, then the count of what it missed in front of that.
    let (mut read, mut next) = (0, 0);
    let missed: u64 = loop {
        let line = line(&mut slow);
        if let Some(rest) = line.strip_prefix("* you missed ") {
            break rest.strip_suffix(" lines").unwrap().parse().unwrap();
        }
        let number: u64 = line.strip_prefix("ann: ").unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(number >= next, "{number} behind {next}");
        (read, next) = (read + 1, number + 1);
    };
    assert_eq!((next, read + missed), (LINES, LINES), "{read} read, {missed} missed");
    assert!(read > 0 && missed > 0, "{read} read, {missed} missed");
    ann.send(TEXT, b"are you back?");
    assert_eq!(line(&mut slow), "ann: are you back?");
    example.stop();
}

/// A message's number of this name.
fn number(line: &str, name: &str) -> u64 {
    let rest = line.split_once(&format!(r#""{name}":"#)).unwrap_or_else(|| panic!("no {name}: {line}")).1;
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// A desk gets the present price of what it wants, then updates, each of which says which one it was given before.
#[test]
fn market_feed_counts_what_a_desk_gets() {
    let example = Example::start("market_feed");
    let mut desk = Client::open(example.addr, "/");
    let line = |peer: &mut Client| String::from_utf8(peer.frame_past_pings().payload).unwrap();
    desk.send(TEXT, b"K17 K18 K10000");
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
    example.stop();
}

/// A desk that stands still is given the newest of each instrument then, and told how many it missed; others notice nothing.
#[test]
fn market_feed_does_not_wait_for_a_slow_desk() {
    let example = Example::start("market_feed");
    let (mut quick, mut slow) = (Client::open(example.addr, "/"), Client::upgraded(narrow(example.addr, "/")));
    let line = |peer: &mut Client| String::from_utf8(peer.frame_past_pings().payload).unwrap();
    let all: Vec<String> = (0..10_000).map(|instrument| format!("K{instrument}")).collect();
    slow.send(TEXT, all.join(" ").as_bytes());
    quick.send(TEXT, b"K17");
    let first = number(&line(&mut quick), "seq");
    let mut newest = first;
    while newest < first + 20 {
        newest = number(&line(&mut quick), "seq");
    }
    let (mut got, mut missed) = (0, 0);
    while got < newest || missed == 0 {
        let line = line(&mut slow);
        if line.contains("missed") {
            missed += number(&line, "missed");
        } else if line.contains(r#""key":"K17""#) {
            assert!(number(&line, "seq") > got && number(&line, "prev") == got, "{line} behind {got}");
            got = number(&line, "seq");
        }
    }
    example.stop();
}

/// Whatever players send between two ticks, each tick tells all of them once where everybody is.
#[test]
fn game_tick_tells_everybody_once_a_tick() {
    let example = Example::start("game_tick");
    let (mut ann, mut bob) = (Client::open(example.addr, "/"), Client::open(example.addr, "/"));
    let line = |peer: &mut Client| String::from_utf8(peer.frame_past_pings().payload).unwrap();
    for player in [&mut ann, &mut bob] {
        while !line(player).contains(r#""places":[0, 0]}"#) {}
    }
    (0..100).for_each(|_| ann.send(TEXT, b"7"));
    (0..100).for_each(|_| bob.send(TEXT, b"-7"));
    bob.send(TEXT, b"jump");
    for player in [&mut ann, &mut bob] {
        let mut last = 0;
        loop {
            let line = line(player);
            let tick = number(&line, "tick");
            assert!(tick > last && number(&line, "late_us") < u64::MAX, "{line} behind {last}");
            last = tick;
            let places = line.split_once(r#""places":"#).unwrap().1;
            if places == "[100, -100]}" || places == "[-100, 100]}" {
                break;
            }
        }
    }
    drop(bob);
    while !line(&mut ann).contains(r#""places":[100]}"#) {}
    example.stop();
}

/// Desks come before the feed, it comes, goes and returns: each desk is told, and given the last of each key while it is away.
#[test]
fn gateway_serves_a_feed_to_many() {
    let (_held, port) = refused();
    let example = Example::start_with("gateway", &format!("ws://{port}/feed"));
    let line = |peer: &mut Client| String::from_utf8(peer.frame_past_pings().payload).unwrap();
    let (here, away) = (r#"{"feed":"here"}"#, r#"{"feed":"away"}"#);
    let mut ann = Client::open(example.addr, "/");
    assert_eq!(line(&mut ann), away);
    for round in 1..=2 {
        let feed = start(&["--listen", &port.to_string(), "--demo", "feed", "--keys", "3", "--rate", "0"]);
        // It is new: its numbers begin with 1.
        let told: Vec<String> = (0..4).map(|_| line(&mut ann)).collect();
        assert_eq!(told[0], here, "{told:?}");
        for (key, line) in told[1..].iter().enumerate() {
            assert!(line.starts_with(&format!(r#"{{"key":"K{key}","seq":1,"prev":0,"#)), "round {round}: {line}");
        }
        let mut bob = Client::open(example.addr, "/");
        assert_eq!((0..4).map(|_| line(&mut bob)).collect::<Vec<_>>(), told);
        feed.stop_and_tell(); // of epoll, where io_uring is forbidden
        assert_eq!([line(&mut ann), line(&mut bob)], [away; 2]);
        let mut eve = Client::open(example.addr, "/");
        let kept: Vec<String> = (0..4).map(|_| line(&mut eve)).collect();
        assert_eq!((&*kept[0], &kept[1..]), (away, &told[1..]));
        bob.close();
        eve.close();
    }
    ann.close();
    example.stop();
}

/// Desks come before the exchange, it comes, answers, goes and returns: each desk is told, and nothing said is lost silently.
#[test]
fn relay_joins_desks_and_an_exchange() {
    let (_held, port) = refused();
    let example = Example::start_with("relay", &format!("ws://{port}/"));
    let line = |peer: &mut Client| String::from_utf8(peer.frame_past_pings().payload).unwrap();
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
        exchange.stop_and_tell();
        assert_eq!(line(&mut ann), "* the exchange is away");
    }
    ann.close();
    example.stop();
}

/// Orders of another thread reach every core, in their order, and it is told what the cores have counted.
#[test]
fn control_is_another_threads() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let example = Example::start_with("control", &listener.local_addr().unwrap().to_string());
    let (mut orders, _) = listener.accept().unwrap();
    bounded(&orders);
    let mut answers = BufReader::new(orders.try_clone().unwrap());
    let mut answer = || {
        let mut line = String::new();
        patiently(|| answers.read_line(&mut line)).unwrap();
        line.trim_end().to_owned()
    };
    let mut members: Vec<Client> = (0..6).map(|_| Client::open(example.addr, "/")).collect();
    orders.write_all(b"say hello\nsay again\n").unwrap();
    for member in &mut members {
        for line in ["hello", "again"] {
            assert_eq!(String::from_utf8(member.frame_past_pings().payload).unwrap(), line);
        }
    }
    orders.write_all(b"stats\n").unwrap();
    let cores = cores_allowed().len().min(2);
    let counts: Vec<Vec<u64>> = (0..cores)
        .map(|place| {
            let line = answer();
            let counts = line.strip_prefix(&format!("core {place}: ")).unwrap_or_else(|| panic!("{line}"));
            counts.split(' ').filter_map(|word| word.parse().ok()).collect()
        })
        .collect();
    let sum = |at: usize| counts.iter().map(|counts| counts[at]).sum::<u64>();
    assert_eq!((sum(0), sum(1)), (6, 12), "{counts:?}");
    orders.write_all(b"jump\n").unwrap();
    assert_eq!(answer(), "say TEXT, admit nobody, admit all, stats, stop");
    // Its answer comes behind what was mailed: then nobody is let in by any core.
    orders.write_all(b"admit nobody\nstats\n").unwrap();
    (0..cores).for_each(|_| drop(answer()));
    for _ in 0..6 {
        assert_eq!(Client::try_open(example.addr, "/", &[]).expect_err("nobody is admitted").status, 503);
    }
    orders.write_all(b"admit all\nstats\n").unwrap();
    (0..cores).for_each(|_| drop(answer()));
    members.extend((0..6).map(|_| Client::open(example.addr, "/")));
    orders.write_all(b"stop\n").unwrap();
    for member in &mut members {
        assert_eq!(member.frame_past_pings().close_code(), 1001);
    }
    drop(members);
    let ended = example.process.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
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
        assert_eq!(peer.frame_past_pings().payload, answer.as_bytes());
        peer.close();
    }
    let get = |path: &str| ask(example.addr, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let page = get("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.body.starts_with(b"<!doctype html>"));
    assert_eq!((get("/healthz").status, get("/other").status), (200, 404));
    example.stop();
}
