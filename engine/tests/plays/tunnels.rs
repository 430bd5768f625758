//! Ways through proxies on the simulated kernel, whose sockets take a few bytes at a time: who answers before it can have read the question is not
//! believed, and a proxy that fails is not the first of the next attempt.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use wsring::engine::testing::Engine;
use wsring::ring::sim::{Net, Outside, PipeId, Read, SimConfig, SimRing, Trace, Written};
use wsring::{
    Answered, Config, CoreCx, Cx, DialError, Dialled, Handler, Message, Proxy, Reconnect, SendBuffers, Target,
};
use wsring_testkit::sim::{assert_nothing_is_left, rung};

const PROXIES: u64 = 1;

/// Dials until it has failed so often; tells why each did.
struct Caller {
    target: Target,
    failures: usize,
    why: Rc<RefCell<Vec<String>>>,
}

impl Handler for Caller {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        cx.connect(self.target.clone());
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<()> {
        unreachable!("no server opens")
    }

    fn on_dial_failed(&mut self, cx: &mut CoreCx<'_, Self>, _: &Dialled, why: &DialError, _: Option<Duration>) {
        let mut all = self.why.borrow_mut();
        all.push(why.to_string());
        if all.len() == self.failures {
            cx.stop_core();
        }
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

/// What a proxy says when so many bytes have come to it; 0: at once, before it reads anything.
type Script = &'static [(usize, &'static [u8])];

struct Line {
    pipe: PipeId,
    script: VecDeque<(usize, &'static [u8])>,
    heard: Vec<u8>,
    is_over: bool,
}

/// The proxies, all with the same script.
struct Desk {
    script: Script,
    lines: Vec<Line>,
    told: Rc<RefCell<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    /// Whom it was asked of, by the last byte of the address.
    asked: Vec<u8>,
    /// What each has heard.
    heard: Vec<Vec<u8>>,
}

impl Outside for Desk {
    fn on_event(&mut self, net: &mut Net, _: u64) {
        while let Some((remote, pipe)) = net.take_dialled(PROXIES) {
            let IpAddr::V4(ip) = remote.ip() else { unreachable!("all are of IPv4") };
            let mut told = self.told.borrow_mut();
            told.asked.push(ip.octets()[3]);
            told.heard.push(Vec::new());
            self.lines.push(Line {
                pipe,
                script: self.script.iter().copied().collect(),
                heard: Vec::new(),
                is_over: false,
            });
        }
        for (number, line) in self.lines.iter_mut().enumerate() {
            line.go_on(net);
            self.told.borrow_mut().heard[number].clone_from(&line.heard);
        }
    }
}

impl Line {
    fn go_on(&mut self, net: &mut Net) {
        while !self.is_over {
            while let Some((_, reply)) = self.script.front().copied().filter(|(needed, _)| *needed <= self.heard.len())
            {
                self.script.pop_front();
                let written = net.write(self.pipe, reply);
                assert!(matches!(written, Written::Bytes(len) if len == reply.len()), "it has room");
            }
            match net.read(self.pipe, usize::MAX, &mut self.heard) {
                Read::Bytes(_) => {}
                Read::Nothing => return,
                Read::Eof => {
                    net.close(self.pipe);
                    self.is_over = true;
                }
                Read::Reset => self.is_over = true,
            }
        }
    }
}

/// Why attempts failed through such proxies, on sockets of so many bytes; and what the proxies know.
fn play(proxy: &str, script: Script, room: usize, failures: usize) -> (Vec<String>, Told) {
    let proxy = Proxy::new(proxy).expect("a proxy");
    let target = Target::new("ws://feed.example/").expect("a URL").handshake_timeout(Duration::from_secs(1));
    let target = target.reconnect(Reconnect::default().wait_first(Duration::ZERO));
    let target = target.proxy(proxy).expect("it can be asked");
    let (told, why) = (Rc::<RefCell<Told>>::default(), Rc::<RefCell<Vec<String>>>::default());
    let (remote, bell) = rung(1);
    let mut sim = SimConfig::quiet(1);
    (sim.dialled_key, sim.tx_capacity) = (Some(PROXIES), (room, room));
    let desk = Desk { script, lines: Vec::new(), told: Rc::clone(&told) };
    let ring = SimRing::new(sim, Trace::new(false), Box::new(desk), &[]).rung_by(bell);
    let config = Config::default().connections_max(8).send_buffers(SendBuffers { count: 16, bytes: 4096 });
    let engine = Engine::new(config, ring, Caller { target, failures, why: Rc::clone(&why) }, 0, &remote);
    let mut engine = engine.resolver(move |_, port, lookup| {
        let addrs = [1, 2].map(|last| SocketAddr::new(Ipv4Addr::new(10, 0, 0, last).into(), port));
        remote.resolved(lookup, Ok(addrs.to_vec()));
        remote.wake();
    });
    engine.run().expect("the simulated ring does not break");
    assert_nothing_is_left(&mut engine);
    drop(engine);
    (why.take(), told.take())
}

const MALFORMED: &str =
    "no way through the proxy: what the proxy said is neither HTTP nor SOCKS, or answers what nobody asked";

/// Both ask their way through sockets that hold a part of it, and come to the server, which declines.
#[test]
fn whoever_reads_first_is_believed() {
    const DECLINED: &[u8] = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n";
    const SOCKS: Script = &[
        (4, b"\x05\x02"),
        (4 + 7, b"\x01\x00"),
        (4 + 7 + 19, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"),
        (4 + 7 + 19 + 1, DECLINED),
    ];
    let connect = "CONNECT feed.example:80 HTTP/1.1\r\nHost: feed.example:80\r\n\r\n".len();
    assert_eq!(connect, 59);
    let (why, told) = play("http://10.0.0.1:3128", &[(59, b"HTTP/1.1 200 OK\r\n\r\n"), (60, DECLINED)], 40, 1);
    assert_eq!(why, ["the server answered with status 403"]);
    assert!(told.heard[0][connect..].starts_with(b"GET / HTTP/1.1\r\nHost: feed.example\r\n"), "{told:?}");
    for room in [16, 1_000] {
        let (why, told) = play("socks5://me:se@10.0.0.1", SOCKS, room, 1);
        assert_eq!(why, ["the server answered with status 403"]);
        assert!(
            told.heard[0].starts_with(b"\x05\x02\x00\x02\x01\x02me\x02se\x05\x01\x00\x03\x0cfeed.example\x00\x50GET "),
            "{told:?}"
        );
    }
}

/// Of the question a part is still here when the answer comes: what would be said next would go behind that, to whoever reads then.
#[test]
fn whoever_answers_unread_is_not() {
    let (why, told) = play("http://10.0.0.1:3128", &[(0, b"HTTP/1.1 200 OK\r\n\r\n")], 40, 1);
    assert_eq!(why, [MALFORMED]);
    assert!(!told.heard[0].windows(4).any(|four| four == b"GET "), "{told:?}");
    let (why, told) = play("socks5://me:se@10.0.0.1", &[(0, b"\x05\x02")], 3, 1);
    assert_eq!(why, [MALFORMED]);
    assert!(told.heard[0].len() <= 4, "the login has not left: {told:?}");
    // What an HTTP proxy says of us it may say early (RFC 9112 §9.3).
    let (why, _) = play("http://10.0.0.1:3128", &[(0, b"HTTP/1.1 407 Who\r\n\r\n")], 40, 1);
    assert_eq!(why, ["no way through the proxy: the proxy answered 407"]);
}

/// Answers to all questions in one piece: none but the first can have been read.
#[test]
fn all_answers_at_once_are_none() {
    let all: Script = &[(4, b"\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")];
    let (why, told) = play("socks5://me:se@10.0.0.1", all, 1_000, 1);
    assert_eq!(why, [MALFORMED]);
    assert_eq!(told.heard[0], b"\x05\x02\x00\x02", "the login has not left");
}

/// A proxy of several that fails, or finds no way, comes last in the next attempt; one that refuses us does not.
#[test]
fn a_proxy_that_fails_is_not_the_first_again() {
    const CASES: [(Script, [u8; 3]); 3] = [
        (&[(1, b"HTTP/1.1 502 Nobody\r\n\r\n")], [1, 2, 1]),
        (&[(1, b"HTTP/1.1 429 Later\r\n\r\n")], [1, 1, 1]),
        (&[(1, b"SSH-2.0-OpenSSH_9.2\r\n\r\n")], [1, 2, 1]),
    ];
    for (script, order) in CASES {
        let (why, told) = play("http://proxies.example:3128", script, 1_000, 3);
        assert_eq!((&told.asked[..], why.len()), (&order[..], 3), "{why:?}");
    }
    let (why, told) =
        play("socks5://proxies.example", &[(3, b"\x05\x00"), (4, b"\x05\x04\x00\x01\0\0\0\0\0\0")], 1_000, 3);
    assert_eq!((&told.asked[..], why.len()), (&[1, 2, 1][..], 3), "{why:?}");
}
