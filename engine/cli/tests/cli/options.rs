//! Where and how it runs: `--listen`, `--cores`, `--no-pin`, `--spin-us`, `--without`, `--origin`, `--subprotocol`.

use std::process::Command;
use std::time::{Duration, Instant};

use wsring_testkit::{BINARY, Client, TEXT, WAIT};

use crate::process::{BIN, Serve, cores_allowed, first_core, run, start, two_cores};

const FEATURES: [&str; 5] =
    ["multishot-accept", "multishot-recv", "incremental-buffers", "defer-taskrun", "direct-descriptors"];

#[test]
fn listen_twice_answers_on_both() {
    let serve = start(&["--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0"]);
    assert_eq!(serve.addrs().len(), 2);
    for &addr in serve.addrs() {
        assert_ne!(addr.port(), 0, "{}", serve.start_line);
        Client::open(addr, "/").echo(TEXT, b"here too");
    }
    assert_eq!(serve.stop()["messages"], 2);
}

#[test]
fn listens_on_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6 loopback");
        return;
    }
    let serve = start(&["--listen", "[::1]:0"]);
    assert!(serve.addr().is_ipv6() && serve.start_line.contains("ws://[::1]:"), "{}", serve.start_line);
    Client::open(serve.addr(), "/").echo(TEXT, b"six");
}

/// Two servers share a port unless one of them wants it for itself, whichever comes first.
#[test]
fn a_second_server_by_mistake_is_told() {
    let second = |addr: &str, options: &[&str]| run(&[&["serve", "--listen", addr], options].concat());
    for (first, options) in
        [(&["--exclusive"][..], &[][..]), (&["--exclusive"], &["--exclusive"]), (&[], &["--exclusive"])]
    {
        let serve = start(first);
        let ended = second(&serve.addr().to_string(), options);
        assert_eq!(ended.code, Some(1), "{first:?} {options:?}: {ended:?}");
        assert!(ended.errors.contains("cannot listen on") && ended.errors.contains("in use"), "{ended:?}");
        Client::open(serve.addr(), "/").echo(TEXT, b"not disturbed");
        assert_eq!(serve.stop()["messages"], 1);
    }
}

#[test]
fn ipv6_takes_ipv4_if_it_is_asked_to() {
    if std::net::TcpListener::bind("[::]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let serve = start(&["--listen", "[::]:0", "--ipv4-too", "--exclusive"]);
    for addr in ["127.0.0.1", "::1"] {
        let addr = std::net::SocketAddr::new(addr.parse().unwrap(), serve.addr().port());
        let mut peer = Client::open(addr, "/whoami");
        let told = String::from_utf8(peer.frame().payload).unwrap();
        assert!(told.contains(&addr.ip().to_string()) && !told.contains("ffff"), "{told}");
        peer.close();
    }
    let alone = start(&["--listen", "[::]:0"]);
    let ipv4 = std::net::SocketAddr::from(([127, 0, 0, 1], alone.addr().port()));
    assert!(std::net::TcpStream::connect(ipv4).is_err(), "IPv4 although nobody asked for it");
}

/// The cores of each ring's thread.
fn pinned(serve: &Serve) -> Vec<Vec<usize>> {
    serve.rings().into_iter().map(|ring| ring.cores).collect()
}

#[test]
fn each_named_core_runs_one_pinned_ring() {
    let core = cores_allowed()[0];
    let serve = start(&["--cores", &core.to_string()]);
    assert_eq!((serve.told("cores"), pinned(&serve)), (&*core.to_string(), vec![vec![core]]));
    let Some([one, two]) = two_cores() else { return };
    for [first, second] in [[one, two], [two, one]] {
        let list = format!("{first},{second}");
        let serve = start(&["--cores", &list]);
        assert_eq!((serve.told("cores"), pinned(&serve)), (&*list, vec![vec![first], vec![second]]));
    }
    // Given twice, it adds up.
    let serve = start(&["--cores", &one.to_string(), "--cores", &two.to_string()]);
    assert_eq!(pinned(&serve), [[one], [two]]);
}

#[test]
fn without_cores_it_takes_the_affinity_mask() {
    let all: Vec<Vec<usize>> = cores_allowed().into_iter().map(|core| vec![core]).collect();
    let serve = start(&[]);
    if serve.start_line.contains("its control group leaves it") {
        println!("skipped: these tests run with a CPU quota below the affinity mask");
        return;
    }
    assert_eq!(pinned(&serve), all);
    let core = *cores_allowed().last().unwrap();
    let mut taskset = Command::new("taskset");
    taskset.args(["-c", &core.to_string(), BIN]);
    let serve = Serve::start_by(taskset, &[]);
    assert_eq!((serve.told("cores"), pinned(&serve)), (&*core.to_string(), vec![vec![core]]));
    Client::open(serve.addr(), "/").echo(TEXT, b"one ring");
}

/// A thread that is not pinned may run wherever the process may.
#[test]
fn threads_are_pinned_unless_that_is_switched_off() {
    let (core, all) = (first_core(), cores_allowed());
    let serve = start(&["--cores", &core, "--no-pin"]);
    assert_eq!((serve.told("cores"), pinned(&serve)), ("1, not pinned", vec![all.clone()]));
    Client::open(serve.addr(), "/").echo(TEXT, b"anywhere");
    assert_eq!(serve.stop()["messages"], 1);
    assert_eq!(pinned(&start(&["--cores", &core, "--pin"])), [vec![all[0]]]);
    assert_eq!(run(&["serve", "--pin", "--no-pin"]).code, Some(2));
}

/// What a ring does first after a message: give up its core, or use it for far longer than the message takes. However busy
/// the machine is, it does one of the two.
fn sleeps_after_a_message(serve: &Serve, peer: &mut Client) -> bool {
    let before = serve.rings().remove(0);
    peer.echo(TEXT, b"tick");
    let since = Instant::now();
    loop {
        let now = serve.rings().remove(0);
        if now.cpu_ns - before.cpu_ns > 100_000_000 {
            return false;
        }
        if now.waits > before.waits {
            return true;
        }
        assert!(since.elapsed() < WAIT, "it neither sleeps nor spins");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A ring that does not spin sleeps after each message; one that spins for a second has its core for that long, and may
/// be kept from it on a busy machine, but not again and again.
#[test]
fn spinning_takes_the_place_of_sleeping() {
    let start = |spin_us| {
        let serve = start(&["--cores", &first_core(), "--spin-us", spin_us]);
        let peer = Client::open(serve.addr(), "/");
        (serve, peer)
    };
    let (serve, mut peer) = start("0");
    assert!((0..20).all(|_| sleeps_after_a_message(&serve, &mut peer)), "it spins");
    let (serve, mut peer) = start("1000000");
    let since = Instant::now();
    while sleeps_after_a_message(&serve, &mut peer) {
        assert!(since.elapsed() < WAIT, "it never spins");
    }
}

#[test]
fn each_feature_can_be_switched_off() {
    let has: Vec<String> = start(&[]).told("features").split(' ').map(str::to_owned).collect();
    assert!(has.iter().all(|name| FEATURES.contains(&name.as_str())), "{has:?}");
    for feature in FEATURES {
        let serve = start(&["--cores", &first_core(), "--without", feature]);
        let rest: Vec<&str> = has.iter().map(String::as_str).filter(|name| *name != feature).collect();
        assert_eq!(serve.told("features"), rest.join(" "), "without {feature}");
        let mut peer = Client::open(serve.addr(), "/");
        peer.echo(TEXT, feature.as_bytes());
        peer.echo(BINARY, &vec![7; 300_000]);
        peer.close();
    }
    let none: Vec<&str> = FEATURES.iter().flat_map(|name| ["--without", *name]).collect();
    let serve = start(&none);
    assert_eq!(serve.told("features"), "none");
    Client::open(serve.addr(), "/").echo(BINARY, &vec![7; 300_000]);
}

/// The start line says which, and there is nothing else to say of one that was asked for.
#[test]
fn ring_is_the_one_that_was_named() {
    for ring in ["uring", "epoll"] {
        let serve = start(&["--cores", &first_core(), "--ring", ring]);
        assert_eq!(serve.told("ring"), ring);
        Client::open(serve.addr(), "/").echo(BINARY, &vec![7; 300_000]);
        assert_eq!(serve.stop()["messages"], 1);
    }
    for args in [&[][..], &["--ring", "auto"]] {
        assert_eq!(start(args).told("ring"), "uring");
    }
}

#[test]
fn an_unknown_feature_is_refused_with_the_list() {
    let ended = run(&["serve", "--without", "sqpoll"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.contains("no such feature: sqpoll"), "{}", ended.errors);
    assert!(FEATURES.iter().all(|name| ended.errors.contains(name)), "{}", ended.errors);
}

/// RFC 6455 §10.2, RFC 6454: exact origins, compared whole.
#[test]
fn only_listed_origins_may_connect() {
    let status = |serve: &Serve, headers: &[&str]| match Client::try_open(serve.addr(), "/", headers) {
        Ok(mut peer) => {
            peer.echo(TEXT, b"in");
            101
        }
        Err(answer) => answer.status,
    };
    let any = start(&[]);
    let listed = start(&["--origin", "https://example.com", "--origin", "http://localhost:8080"]);
    for (origin, expected) in [
        ("https://example.com", 101),
        ("https://example.com:443", 101),
        ("HTTPS://EXAMPLE.COM", 101),
        ("http://localhost:8080", 101),
        ("http://example.com", 403),
        ("https://example.com:444", 403),
        ("https://example.com.evil.test", 403),
        ("https://evil-example.com", 403),
        ("http://localhost", 403),
        ("null", 403),
    ] {
        let header = format!("Origin: {origin}");
        assert_eq!(status(&listed, &[&header]), expected, "{origin}");
        assert_eq!(status(&any, &[&header]), 101, "{origin}");
    }
    // No browser leaves the header out, so no page's user is at risk (RFC 6455 §10.2).
    assert_eq!(status(&listed, &[]), 101);
    assert_eq!(listed.stop()["declined"], 6);
}

/// Origins of pages that belong to no site, each only if it was listed.
#[test]
fn null_and_file_can_be_listed() {
    let status = |serve: &Serve, origin: &str| {
        let opened = Client::try_open(serve.addr(), "/", &[&format!("Origin: {origin}")]);
        opened.map_or_else(|answer| answer.status, |_| 101)
    };
    for (listed, expected) in [
        (&["--origin", "null"][..], [101, 403, 403]),
        (&["--origin", "file://"], [403, 101, 403]),
        (&["--origin", "https://example.com"], [403, 403, 101]),
        (&["--origin", "null", "--origin", "https://example.com", "--origin", "file://"], [101; 3]),
    ] {
        let serve = start(listed);
        assert_eq!(
            ["null", "file://", "https://example.com"].map(|origin| status(&serve, origin)),
            expected,
            "{listed:?}"
        );
    }
}

/// RFC 6455 §4.2.2 item 5: one of those the client offered, here in the server's order.
#[test]
fn subprotocols_are_chosen_in_the_servers_order() {
    let chosen = |serve: &Serve, offer: &str| {
        let header = format!("Sec-WebSocket-Protocol: {offer}");
        let mut peer = Client::try_open(serve.addr(), "/", &[&header]).unwrap();
        peer.echo(TEXT, b"in");
        peer.answer.header("sec-websocket-protocol").map(str::to_owned)
    };
    let serve = start(&["--subprotocol", "v2.feed", "--subprotocol", "v1.feed"]);
    assert_eq!(chosen(&serve, "v1.feed, v2.feed").as_deref(), Some("v2.feed"));
    assert_eq!(chosen(&serve, "v3.feed, v1.feed").as_deref(), Some("v1.feed"));
    assert_eq!(chosen(&serve, "V1.FEED"), None);
    let mut without = Client::open(serve.addr(), "/");
    assert_eq!(without.answer.header("sec-websocket-protocol"), None);
    without.echo(TEXT, b"in");
    assert_eq!(chosen(&start(&[]), "v1.feed"), None);
}
