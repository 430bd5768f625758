//! Terms of single connections with real sockets: those that a verdict gives, and those of a target. By facts that cannot be without them: what is waited for
//! would not come by the configuration.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wsring::{
    CloseCode, Config, ConnId, CoreCx, Cx, Deflate, Handler, InvalidConfig, Limits, Message, Opening, SendOutcome,
    Target, Terms, Verdict,
};
use wsring_proto::handshake::accept_key;

use crate::caller::{Caller, Line, Setup, scripted, switching, target};
use crate::common::packed::{Packed, words};
use crate::common::*;

/// So long a machine may stand still without anybody being late.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(50);

fn valid(terms: Result<Terms, InvalidConfig>) -> Terms {
    terms.expect("valid terms")
}

fn compressed(deflate: Deflate) -> Terms {
    valid(Terms::default().deflate(deflate))
}

/// Echoes, and gives the terms of a path to whoever asks for it. A text of "all" is sent to everybody, prepared once.
struct Doors {
    doors: Vec<(&'static str, Terms)>,
    inside: Vec<ConnId>,
}

impl Handler for Doors {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<()> {
        let door = self.doors.iter().find(|(path, _)| *path == opening.request.path());
        door.into_iter().fold(Verdict::accept(()), |verdict, (_, terms)| verdict.terms(terms))
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        self.inside.push(cx.id());
        assert!(cx.send("welcome").is_queued());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let Message::Binary(bytes) = message else {
            assert!(cx.forward(message).is_queued());
            return;
        };
        let prepared = cx.prepare(Message::Binary(bytes));
        for &id in &self.inside {
            assert!(cx.conn(id).expect("open").send_prepared(&prepared).is_queued());
        }
    }
}

fn doors(config: Config, doors: impl IntoIterator<Item = (&'static str, Terms)>) -> (Running, SocketAddr) {
    let doors: Vec<(&'static str, Terms)> = doors.into_iter().collect();
    serve(config, 1, move |_| Doors { doors: doors.clone(), inside: Vec::new() })
}

fn enter(addr: SocketAddr, path: &str, offer: &str) -> Packed {
    let mut client = Packed::connect_to(addr, path, offer);
    client.expect(TEXT, b"welcome");
    client
}

/// By path: on where all others have none, and the reverse; and each level makes what it makes.
#[test]
fn compression_is_allowed_by_verdict() {
    const OFFER: &str = "permessage-deflate";
    let shared = |level| compressed(Deflate::shared().level(level).threshold_bytes(200));
    let (running, addr) = doors(
        Config::default(),
        [
            ("/quick", shared(1)),
            ("/small", shared(9)),
            ("/own", compressed(Deflate::dedicated().window_bits(10))),
            ("/plain", compressed(Deflate::off())),
        ],
    );
    let mut plain = ["/plain", "/"].map(|path| enter(addr, path, OFFER));
    let mut packed = ["/quick", "/small", "/own"].map(|path| enter(addr, path, OFFER));
    assert!(plain.iter().all(|client| client.extensions.is_empty()));
    assert!(packed.iter().all(|client| client.extensions.starts_with(OFFER)));
    let text = words(3, 20_000);
    for len in [199, 200] {
        for client in &mut packed[..2] {
            client.send(TEXT, &text[..len]);
            client.forget_received();
            assert_eq!(client.expect(TEXT, &text[..len]), len == 200, "{len} bytes");
        }
    }
    // One message for all of them, made once in each form.
    plain[1].send_raw(0x80 | BINARY, &text);
    assert!(plain.iter_mut().all(|client| !client.expect(BINARY, &text)));
    let [quick, small, own] = packed.each_mut().map(|client| {
        let got = client.next();
        assert!(got.compressed && got.payload == text);
        got.sent_len
    });
    assert!(small < quick, "level 9 made {small} bytes, and level 1 {quick}");
    assert!(own > small, "a window of 1 KiB made {own} bytes");
    // What it keeps of earlier messages makes the next one short.
    let repeated = &text[19_300..];
    packed[2].send(TEXT, repeated);
    let got = packed[2].next();
    assert!(got.payload == repeated && got.sent_len < 100, "{} bytes", got.sent_len);
    drop((plain, packed));
    finish(running);

    let (running, addr) = doors(Config::default().deflate(Deflate::shared()), [("/plain", compressed(Deflate::off()))]);
    assert_eq!(enter(addr, "/plain", OFFER).extensions, "");
    assert!(enter(addr, "/", OFFER).extensions.starts_with(OFFER));
    finish(running);
}

/// 4 MiB of one byte are some 4 KB compressed: more than 10 times that, and a mebibyte, ends the connection.
#[test]
fn how_much_may_be_inflated() {
    let bomb = vec![7; 4 << 20];
    for (all, given) in [(1_032, 10), (10, 1_032)] {
        let config = Config::default().deflate(Deflate::shared()).limits(Limits::default().inflate_ratio_max(all));
        let (running, addr) = doors(config, [("/own", Terms::default().inflate_ratio_max(given))]);
        for (path, ratio) in [("/own", given), ("/", all)] {
            let mut client = enter(addr, path, "permessage-deflate");
            client.send(TEXT, &bomb);
            match ratio {
                10 => assert_eq!(client.expect_close(), 1009, "{path}"),
                _ => assert!(client.expect(TEXT, &bomb), "{path}"),
            }
        }
        finish(running);
    }
}

#[test]
fn sizes_are_limited_by_verdict() {
    let (running, addr) = doors(Config::default(), [("/own", Terms::default().message_max_bytes(1_000))]);
    let (mut own, mut other) = (Client::open(addr, "/own"), Client::open(addr, "/"));
    for client in [&mut own, &mut other] {
        client.expect(TEXT, b"welcome");
        client.echo(TEXT, &[b'x'; 1_000]);
    }
    own.send(TEXT, &[b'x'; 1_001]);
    assert_eq!(own.expect_close().0, 1009);
    other.echo(TEXT, &[b'x'; 1_001]);
    other.close();
    drop(own);
    assert_eq!(finish(running).violations, 1);
}

// ---- dialled ----

/// Nothing of a client ends by itself.
fn patient() -> Config {
    Config::default().idle_timeout(None).message_timeout(None).closing_timeout(LONG)
}

/// What a client does on these terms, to which `serve` says what it has to say behind the handshake.
fn dialled(
    terms: Terms,
    opened: fn(&mut Cx<'_, Caller>),
    serve: impl FnOnce(TcpStream) + Send + 'static,
) -> (Line, JoinHandle<()>) {
    let (addr, server) = scripted(move |mut stream, head| {
        stream.write_all(switching(&head, "").as_bytes()).expect("it goes out");
        serve(stream);
    });
    let line = Setup { config: patient(), opened, ..Setup::default() }.dial([target(addr).terms(&terms)]);
    line.open();
    (line, server)
}

/// A frame without a mask, whole.
fn said(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..=125 => bytes.push(len as u8),
        len => bytes.extend([&[126][..], &(len as u16).to_be_bytes()].concat()),
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// The next frame of a client, unmasked.
fn heard(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 6];
    stream.read_exact(&mut head).expect("a frame");
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    stream.read_exact(&mut payload).expect("its payload");
    let key = head[2..].iter().cycle();
    (head[0] & 0x0f, payload.iter().zip(key).map(|(byte, key)| byte ^ key).collect())
}

/// The code of the Close that comes next.
fn heard_close(stream: &mut TcpStream) -> u16 {
    let (opcode, payload) = heard(stream);
    assert_eq!(opcode, 8, "{payload:?}");
    u16::from_be_bytes([payload[0], payload[1]])
}

#[test]
fn a_target_limits_what_its_server_may_send() {
    let (line, server) = dialled(
        Terms::default().message_max_bytes(1_000),
        |_| {},
        |mut stream| {
            let bytes = [said(BINARY, &[7; 1_000]), said(BINARY, &[7; 1_001])].concat();
            stream.write_all(&bytes).expect("it goes out");
            assert_eq!(heard_close(&mut stream), 1009);
        },
    );
    line.gets(&[vec![7; 1_000]]);
    assert_eq!(line.closed(), "Violation(MessageTooBig)");
    server.join().expect("the server is content");
    line.finish();
}

#[test]
fn a_target_has_its_server_pinged_and_given_up() {
    let terms = Terms::default().idle_timeout(SHORT).and_then(|terms| terms.pong_timeout(SHORT));
    let (line, server) = dialled(
        valid(terms),
        |_| {},
        |mut stream| {
            assert_eq!(heard(&mut stream).0, 9, "a ping");
            assert_eq!(heard_close(&mut stream), 1001);
        },
    );
    assert_eq!(line.closed(), "Timeout");
    server.join().expect("the server is content");
    line.finish();
}

/// Half a message, no message, and a connection that has lasted: each has its time.
#[test]
fn a_target_has_times_for_its_server() {
    let half = || [&[0x02, 4][..], b"half"].concat();
    let times = [
        (valid(Terms::default().message_timeout(SHORT)), half(), 1008_u16, "Stalled"),
        (valid(Terms::default().data_timeout(SHORT)), half(), 1001, "NoData"),
        (valid(Terms::default().lifetime_max(SHORT)), said(9, b""), 1001, "Lifetime"),
    ];
    for (terms, says, code, why) in times {
        let (line, server) = dialled(
            terms,
            |_| {},
            move |mut stream| {
                stream.write_all(&says).expect("it goes out");
                let mut first = heard(&mut stream);
                if first.0 == 10 {
                    first = heard(&mut stream); // behind the pong
                }
                assert_eq!((first.0, &first.1[..2]), (8, &code.to_be_bytes()[..]), "{why}");
            },
        );
        assert_eq!(line.closed(), why);
        server.join().expect("the server is content");
        line.finish();
    }
}

/// Its own Close is not answered, and it waits for that as long as it was told.
#[test]
fn a_target_says_how_long_a_close_is_waited_for() {
    let terms = Terms::default().closing_timeout(SHORT);
    let (line, server) = dialled(
        valid(terms),
        |cx| cx.close(CloseCode::NORMAL, ""),
        |mut stream| {
            assert_eq!(heard_close(&mut stream), 1000);
            let mut rest = [0];
            assert_eq!(stream.read(&mut rest).expect("an end"), 0);
        },
    );
    assert_eq!(line.closed(), "Local { clean: false }");
    server.join().expect("the server is content");
    line.finish();
}

#[test]
fn a_target_says_how_much_is_queued() {
    let terms = Terms::default().output_max_bytes(3 * 1_008).and_then(|terms| terms.output_high_bytes(1_008));
    let (line, server) = dialled(
        valid(terms),
        |cx| {
            // A masked frame of a thousand bytes has a header of eight.
            let told: Vec<SendOutcome> = (0..4).map(|_| cx.send(&[7_u8; 1_000])).collect();
            use SendOutcome::{High, Queued, Refused};
            assert_eq!(told, [Queued, High, High, Refused]);
            let small = (0..10).map(|_| cx.send(&[7_u8; 10])).filter(|outcome| outcome.is_queued()).count();
            assert_eq!(small, 0, "it is full");
        },
        |mut stream| {
            let mut bytes = vec![0; 3 * 1_008];
            stream.read_exact(&mut bytes).expect("three frames");
        },
    );
    assert_eq!(line.closed(), "Eof");
    server.join().expect("the server is content");
    line.finish();
}

/// A server that answers an offer with this, and has `serve` talk then. It gives back what that says.
fn packed_server<T: Send + 'static>(
    answer: &'static str,
    serve: impl FnOnce(Packed) -> T + Send + 'static,
) -> (Target, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = target(listener.local_addr().expect("an address"));
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        serve(Packed::accept(stream, answer, |key| {
            let key = key.as_bytes().first_chunk().expect("24 characters");
            String::from_utf8(accept_key(key).to_vec()).expect("base64")
        }))
    });
    (target, server)
}

/// On where the configuration has it off, and the reverse.
#[test]
fn a_target_offers_its_own_compression() {
    let offered = |all: Deflate, change: fn(Target) -> Target| {
        let (target, server) = packed_server("", |server| server.extensions);
        let setup = Setup { config: Config::default().deflate(all), ..Setup::default() };
        let line = setup.dial([change(target)]);
        line.open();
        assert_eq!(line.closed(), "Eof");
        line.finish();
        server.join().expect("the server is content")
    };
    let dedicated = |target: Target| target.terms(&compressed(Deflate::dedicated().window_bits(11)));
    let off = |target: Target| target.terms(&compressed(Deflate::off()));
    let plain = |target: Target| target.plain().terms(&compressed(Deflate::dedicated()));
    assert_eq!(offered(Deflate::off(), |target| target), "");
    let offer = offered(Deflate::off(), dedicated);
    assert!(offer.starts_with("permessage-deflate") && offer.contains("client_max_window_bits"), "{offer}");
    assert!(!offered(Deflate::shared(), |target| target).is_empty());
    assert_eq!([off, plain].map(|change| offered(Deflate::shared(), change)), ["", ""]);
}

/// From the length on that it says, and as it says: the second message refers to the first.
#[test]
fn a_target_compresses_what_it_sends() {
    const ANSWER: &str = "permessage-deflate";
    let (target, server) = packed_server(ANSWER, |mut server| {
        assert!(!server.expect(BINARY, &words(3, 1_999)), "it is short");
        let lens = [0; 2].map(|_| {
            let got = server.next();
            assert!(got.compressed && got.payload == words(3, 2_000));
            got.sent_len
        });
        assert!(lens[1] < lens[0] / 2, "{lens:?}");
    });
    let opened: fn(&mut Cx<'_, Caller>) = |cx| {
        for len in [1_999, 2_000, 2_000] {
            assert!(cx.send(Message::Binary(&words(3, len))).is_queued());
        }
    };
    let terms = compressed(Deflate::dedicated().threshold_bytes(2_000));
    let line = Setup { opened, ..Setup::default() }.dial([target.terms(&terms)]);
    line.open();
    assert_eq!(line.closed(), "Eof");
    assert_eq!(line.finish().compressed, 2);
    server.join().expect("the server is content");
}
