//! The ways to send a message: copied, forwarded, given away, written in place.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};

use wsring::bytes::Bytes;
use wsring::{
    CloseCode, Config, ConnId, CoreCx, Cx, Deflate, Features, Handler, Message, Opening, OwnedMessage, RecvBuffers,
    SendBuffers, SendOutcome, Verdict,
};

use super::caller::{Setup, Told, target};
use crate::common::packed::{Packed, words};
use crate::common::*;

type Act = fn(&mut Cx<'_, Does>, Message<'_>, &Sender<()>);

/// Does something with each message.
struct Does {
    act: Act,
    /// Told when memory that was given away has been let go.
    gone: Sender<()>,
    others: Vec<ConnId>,
}

impl Handler for Does {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        self.others.push(cx.id());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        if message == Message::Text("give it to everybody") {
            let given = given(1 << 20, &self.gone);
            for &id in &self.others {
                let mut conn = cx.conn(id).expect("nobody leaves");
                let before = conn.queued();
                assert!(conn.send_owned(given.clone()).is_queued());
                assert!(conn.queued() - before > 1 << 20, "it counts in full");
            }
            return;
        }
        (self.act)(cx, message, &self.gone);
    }
}

/// Memory for messages goes from connection to connection: what a writer leaves alone is no earlier peer's.
#[test]
fn what_a_writer_leaves_alone_is_sent_as_zeros() {
    fn some(cx: &mut Cx<'_, Does>, message: Message<'_>, _: &Sender<()>) {
        let len = message.len();
        let _ = cx.send_with(len, |bytes| bytes[0] = 1);
    }
    let (running, addr, _) = does(Config::default(), some);
    for len in [40, 3_000, 100_000] {
        let secret = vec![b's'; len];
        let mut client = Client::connect(addr);
        for _ in 0..3 {
            client.send(BINARY, &secret);
            let payload = client.frame().payload;
            assert!(payload[0] == 1 && payload[1..].iter().all(|&byte| byte == 0), "{len}: {payload:?}");
        }
        client.close();
    }
    finish(running);
}

fn does(config: Config, act: Act) -> (Running, std::net::SocketAddr, Receiver<()>) {
    let (gone, told) = mpsc::channel();
    let (running, addr) = serve(config, 1, move |_| Does { act, gone: gone.clone(), others: Vec::new() });
    (running, addr, told)
}

/// Memory that tells when it is let go.
struct Probe(Vec<u8>, Sender<()>);

impl AsRef<[u8]> for Probe {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.1.send(()); // a test that has seen enough has gone
    }
}

fn given(len: usize, gone: &Sender<()>) -> Bytes {
    Bytes::from_owner(Probe(content(len), gone.clone()))
}

fn content(len: usize) -> Vec<u8> {
    Random::new(len as u64).ascii(len)
}

fn number(message: Message<'_>) -> usize {
    message.as_text().and_then(|text| text.parse().ok()).expect("a number")
}

/// Around every border: forms of the header, send blocks, shared memory, parts.
const LENS: [usize; 12] = [0, 1, 125, 126, 500, 4090, 4096, 65_535, 65_536, 100_000, 400_000, 3 << 20];

/// Send blocks and features of every kind.
fn configs() -> Vec<Config> {
    let tiny = Config::default()
        .recv_buffers(RecvBuffers::Fixed { count: 64, bytes: 512 })
        .send_buffers(SendBuffers { count: 2, bytes: 512 });
    let old = Config::default().features(Features::none());
    vec![Config::default(), tiny, old]
}

/// Gives as many bytes away as the message says, as everything that can be given.
fn give(cx: &mut Cx<'_, Does>, message: Message<'_>, gone: &Sender<()>) {
    let len = number(message);
    let text = OwnedMessage::text(given(len, gone)).expect("it is text");
    assert!(cx.send("before").is_queued());
    assert!(cx.send_owned(text).is_queued());
    assert!(cx.send("between").is_queued());
    assert!(cx.send_owned(given(len, gone)).is_queued());
    assert!(cx.send_owned(String::from_utf8(content(len)).expect("ASCII")).is_queued());
    assert!(cx.send_owned(content(len)).is_queued());
    assert!(cx.send_owned(message).is_queued());
}

/// All of it arrives, and what was given away is let go.
#[track_caller]
fn is_given(client: &mut Client, gone: &Receiver<()>) {
    for len in LENS {
        client.send(TEXT, len.to_string().as_bytes());
        let content = content(len);
        client.expect(TEXT, b"before");
        client.expect(TEXT, &content);
        client.expect(TEXT, b"between");
        client.expect(BINARY, &content);
        client.expect(TEXT, &content);
        client.expect(BINARY, &content);
        client.expect(TEXT, len.to_string().as_bytes());
        for _ in 0..2 {
            gone.recv_timeout(WAIT).expect("its memory is let go");
        }
    }
}

#[test]
fn what_is_given_away_arrives_in_its_place_and_its_memory_is_let_go() {
    for config in configs() {
        let (running, addr, gone) = does(config, give);
        let mut client = Client::connect(addr);
        is_given(&mut client, &gone);
        client.close();
        assert_eq!(finish(running).sent, 7 * LENS.len() as u64);
    }
}

/// In steps that end within a piece, and behind a header that is encrypted with other output.
#[cfg(feature = "tls")]
#[test]
fn what_is_given_away_or_written_in_place_goes_over_tls() {
    use crate::common::certificates::Authority;
    use crate::tls::relay::relay;

    let authority = Authority::new();
    let client = std::sync::Arc::new(authority.client(&[&rustls::version::TLS13]));
    for config in configs() {
        let config = config.tls(std::sync::Arc::new(authority.server()));
        let (running, addr, gone) = does(config.clone(), give);
        let mut plain = Client::connect(relay(addr, &client));
        is_given(&mut plain, &gone);
        plain.close();
        assert_eq!(finish(running).tls_failed, 0);
        let (running, addr, _) = does(config, write);
        let mut plain = Client::connect(relay(addr, &client));
        is_written(&mut plain);
        plain.close();
        assert_eq!(finish(running).tls_failed, 0);
    }
}

#[test]
fn one_message_serves_many_connections_and_goes_with_the_last() {
    let (running, addr, gone) = does(Config::default(), |_, _, _| {});
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(addr)).collect();
    for client in &mut clients {
        client.send(PING, b"here");
        client.expect(PONG, b"here");
    }
    clients[0].send(TEXT, b"give it to everybody");
    let (last, others) = clients.split_last_mut().expect("five");
    for client in others {
        client.expect(BINARY, &content(1 << 20));
    }
    last.expect(BINARY, &content(1 << 20));
    gone.recv_timeout(WAIT).expect("its memory is let go");
    clients.into_iter().for_each(Client::close);
    finish(running);
    assert!(gone.try_recv().is_err(), "it was one");
}

#[test]
fn what_is_given_away_goes_out_before_a_close_and_is_let_go_with_a_connection_that_fails() {
    let act: Act = |cx, message, gone| {
        assert!(cx.send_owned(given(number(message), gone)).is_queued());
        cx.close(CloseCode::NORMAL, "");
        assert_eq!(cx.send_owned(given(1, gone)), SendOutcome::Gone);
    };
    let (running, addr, gone) = does(Config::default(), act);
    let mut client = Client::connect(addr);
    client.send(TEXT, b"8000000");
    gone.recv_timeout(WAIT).expect("what is not sent is let go at once");
    client.expect(BINARY, &content(8_000_000));
    assert_eq!(client.expect_close().0, 1000);
    gone.recv_timeout(WAIT).expect("its memory is let go");
    let mut deaf = Client::connect(addr);
    deaf.send(TEXT, b"16000000"); // more than any socket buffer
    gone.recv_timeout(WAIT).expect("what is not sent is let go at once");
    drop(deaf); // with bytes unread: a reset
    gone.recv_timeout(WAIT).expect("its memory is let go");
    finish(running);
}

#[test]
fn a_client_masks_what_it_is_given_and_what_it_writes_in_place() {
    const GIVEN: usize = 100_000;
    let (server, addr) = serve(Config::default(), 1, |_| Echo);
    for config in configs() {
        let opened = |cx: &mut Cx<'_, _>| {
            assert!(cx.send_owned(content(GIVEN)).is_queued());
            for len in LENS {
                assert!(cx.send_with(len, |bytes| bytes.copy_from_slice(&content(len))).is_queued());
            }
            let hello = cx.send_text_with(5, |bytes| bytes.copy_from_slice(b"hello"));
            assert!(hello.expect("it is text").is_queued());
        };
        let line = Setup { config, opened, closes_after: LENS.len() + 2, ..Setup::default() }.dial([target(addr)]);
        line.open();
        line.gets(&[content(GIVEN)]);
        line.gets(&LENS.map(content));
        assert!(matches!(line.next(), Told::Text(text) if text == "hello"));
        assert_eq!(line.closed(), "Local { clean: true }");
        line.finish();
    }
    assert_eq!(finish(server).violations, 0);
}

/// Writes as many bytes in place as the message says.
fn write(cx: &mut Cx<'_, Does>, message: Message<'_>, _: &Sender<()>) {
    let len = number(message);
    assert!(cx.send_with(len, |bytes| bytes.copy_from_slice(&content(len))).is_queued());
    assert!(cx.send("between").is_queued());
    let text = cx.send_text_with(len, |bytes| bytes.copy_from_slice(&content(len)));
    assert!(text.expect("it is text").is_queued());
}

#[track_caller]
fn is_written(client: &mut Client) {
    for len in LENS {
        client.send(TEXT, len.to_string().as_bytes());
        client.expect(BINARY, &content(len));
        client.expect(TEXT, b"between");
        client.expect(TEXT, &content(len));
    }
}

#[test]
fn what_is_written_in_place_arrives() {
    for config in configs() {
        let (running, addr, _) = does(config, write);
        let mut client = Client::connect(addr);
        is_written(&mut client);
        client.close();
        finish(running);
    }
}

/// A connection that is closed by the very callback that promised it a message gets that, and then its Close; another gets a
/// copy, and whose message it was can close as well.
#[test]
fn what_is_forwarded_to_a_connection_that_is_closed_at_once_goes_out_first() {
    /// The first connection's messages go to all, last to itself, and all are closed.
    struct Forwards(Vec<ConnId>);

    impl Handler for Forwards {
        type Conn = ();
        type Mail = ();

        fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
            Verdict::accept(())
        }

        fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
            self.0.push(cx.id());
        }

        fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
            for &id in self.0.iter().rev() {
                let mut conn = cx.conn(id).expect("nobody left");
                assert!(conn.send("before").is_queued());
                assert!(conn.forward(message).is_queued());
                assert!(conn.send("behind").is_queued());
                conn.close(CloseCode::GOING_AWAY, "");
                assert_eq!(conn.forward(message), SendOutcome::Gone);
            }
        }
    }

    for config in configs() {
        for len in [10_000, 100_000] {
            let (running, addr) = serve(config.clone(), 1, |_| Forwards(Vec::new()));
            let mut clients: Vec<Client> = Vec::new();
            for _ in 0..3 {
                let mut client = Client::connect(addr);
                client.send(PING, b"here");
                client.expect(PONG, b"here");
                clients.push(client);
            }
            let (half, rest) = (&content(len)[..len / 2], &content(len)[len / 2..]);
            clients[0].send_frame(false, TEXT, half);
            clients[0].send_frame(true, CONTINUATION, rest);
            for client in &mut clients {
                client.expect(TEXT, b"before");
                client.expect(TEXT, &content(len));
                client.expect(TEXT, b"behind");
                assert_eq!(client.expect_close().0, 1001);
            }
            drop(clients);
            let stats = finish(running);
            assert_eq!((stats.sent, stats.gone), (9, 3));
        }
    }
}

/// Nothing of a message that is no text, or whose writer panics, is queued: at the beginning of an output, behind a little, and
/// behind a piece that takes no more.
#[test]
fn what_is_not_written_well_leaves_the_output_as_it_was() {
    for config in configs() {
        let (running, addr, _) = does(config, |cx, message, _| {
            let len = number(message);
            let spoil = |cx: &mut Cx<'_, Does>| {
                let queued = cx.queued();
                assert!(cx.send_text_with(len, |bytes| bytes.fill(0xff)).is_err());
                let broken = catch_unwind(AssertUnwindSafe(|| cx.send_with(len, |_| panic!("on purpose"))));
                assert!(broken.is_err());
                assert_eq!(cx.queued(), queued);
            };
            spoil(cx);
            assert!(cx.send("little").is_queued());
            spoil(cx);
            assert!(cx.send(&content(300_000)).is_queued());
            spoil(cx);
            assert!(cx.send_owned(content(70_000)).is_queued());
            spoil(cx);
            assert!(cx.send("the end").is_queued());
        });
        let mut client = Client::connect(addr);
        for len in LENS.into_iter().filter(|len| *len > 0) {
            client.send(TEXT, len.to_string().as_bytes());
            client.expect(TEXT, b"little");
            client.expect(BINARY, &content(300_000));
            client.expect(BINARY, &content(70_000));
            client.expect(TEXT, b"the end");
        }
        client.close();
        assert_eq!(finish(running).sent, 4 * (LENS.len() as u64 - 1));
    }
}

/// What has no room, and what comes behind a Close, is not written at all.
#[test]
fn nothing_is_written_that_is_not_queued() {
    let config = Config::default().output_low_bytes(100).output_high_bytes(500).output_max_bytes(1000);
    let (running, addr, _) = does(config, |cx, _, _| {
        let written = Cell::new(0);
        let mut write = |len| cx.send_with(len, |_| written.set(written.get() + 1));
        assert_eq!(write(997), SendOutcome::Refused, "one byte too much with its header of four");
        assert_eq!(write(u32::MAX as usize), SendOutcome::Refused);
        assert_eq!(write(usize::MAX), SendOutcome::Refused);
        assert_eq!(write(400), SendOutcome::Queued);
        assert_eq!(write(592), SendOutcome::High, "to the last byte");
        assert_eq!(written.get(), 2);
        cx.close(CloseCode::NORMAL, "");
        assert_eq!(cx.send_with(1, |_| panic!("it is closing")), SendOutcome::Gone);
        assert_eq!(cx.send_text_with(1, |_| panic!("it is closing")), Ok(SendOutcome::Gone));
    });
    let mut client = Client::connect(addr);
    client.send(TEXT, b"begin");
    assert_eq!((client.frame().payload.len(), client.frame().payload.len()), (400, 592));
    assert_eq!(client.expect_close().0, 1000);
    let stats = finish(running);
    assert_eq!((stats.sent, stats.refused, stats.gone), (2, 3, 2));
}

#[test]
fn where_messages_are_compressed_so_are_these() {
    let deflate = Deflate::shared();
    let threshold = deflate.threshold_bytes as usize;
    let (running, addr, gone) = does(Config::default().deflate(deflate), |cx, message, gone| {
        let len = number(message);
        let words = words(7, len);
        let given = Bytes::from_owner(Probe(words.clone(), gone.clone()));
        assert!(cx.send_owned(given).is_queued());
        assert!(cx.send_with(len, |bytes| bytes.copy_from_slice(&words)).is_queued());
        assert!(cx.send_text_with(len, |bytes| bytes.copy_from_slice(&words)).is_ok_and(SendOutcome::is_queued));
    });
    let mut client = Packed::connect(addr, "permessage-deflate");
    for len in [10, 1000, 100_000, 1 << 20] {
        client.send_raw(0x80 | TEXT, len.to_string().as_bytes()); // plain is always allowed (RFC 7692 §6)
        for opcode in [BINARY, BINARY, TEXT] {
            client.forget_received();
            assert_eq!(client.expect(opcode, &words(7, len)), len >= threshold);
        }
        gone.recv_timeout(WAIT).expect("its memory is let go");
    }
    finish(running);
}
