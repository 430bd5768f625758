//! What a handler may do from a callback, on real rings: close, pause and send to any connection, its own included. The
//! simulation does the wide search; these are the plain cases.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::mpsc::{self, Receiver, Sender};

use wsring::{CloseCode, CloseReason, Config, ConnId, CoreCx, Cx, Handler, Message, Opening, SendOutcome, Verdict};

use crate::common::*;

/// Obeys the messages it is sent, and tells the test what became of it.
struct Puppet {
    open: BTreeSet<ConnId>,
    paused: Vec<ConnId>,
    /// Sent back by `on_batch_end` to whom it came from.
    batch: Vec<ConnId>,
    told: Sender<String>,
}

impl Puppet {
    fn others(&self, cx: &Cx<'_, Self>) -> Vec<ConnId> {
        self.open.iter().copied().filter(|&id| id != cx.id()).collect()
    }

    fn tell(&self, what: impl Into<String>) {
        self.told.send(what.into()).expect("the test listens");
    }
}

impl Handler for Puppet {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        self.open.insert(cx.id());
        let _ = cx.send("welcome");
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let Message::Text(text) = message else {
            // To everybody, the sender first: a message in a buffer of its own is moved to one and copied to the others.
            let pressure = cx.forward(message);
            assert!(pressure.is_queued());
            for id in self.others(cx) {
                assert!(cx.conn(id).expect("open").forward(message).is_queued());
            }
            return;
        };
        match text {
            "close me" => {
                let _ = cx.send("first this");
                cx.close(CloseCode::NORMAL, "as you wish");
                cx.close(CloseCode::GOING_AWAY, "once only");
                let after = cx.send("never sent");
                self.tell(format!("{after:?}"));
            }
            "close the others" => {
                for id in self.others(cx) {
                    let mut conn = cx.conn(id).expect("open");
                    conn.close(CloseCode::GOING_AWAY, "by another");
                    assert_eq!(conn.send("never sent"), SendOutcome::Gone);
                }
            }
            "pause me" => {
                cx.pause();
                self.paused.push(cx.id());
            }
            "pause the others" => {
                for id in self.others(cx) {
                    cx.conn(id).expect("open").pause();
                    self.paused.push(id);
                }
            }
            "resume" => {
                for id in self.paused.drain(..) {
                    cx.conn(id).expect("open").resume();
                }
            }
            "pause and resume me" => {
                cx.pause();
                cx.resume();
                let _ = cx.send("paused and resumed");
            }
            "in the batch" => self.batch.push(cx.id()),
            "say it to the others" => {
                for id in self.others(cx) {
                    let _ = cx.conn(id).expect("open").send(text);
                }
            }
            "greet the gone" => {
                let mut is_gone =
                    |id| cx.conn(id).is_none_or(|mut conn| conn.send("are you there?") == SendOutcome::Gone);
                let gone = self.open.iter().copied().filter(|id| is_gone(*id)).count();
                self.tell(format!("{gone} gone"));
            }
            _ => {
                let _ = cx.forward(message);
            }
        }
    }

    fn on_batch_end(&mut self, cx: &mut CoreCx<'_, Self>) {
        for id in self.batch.drain(..) {
            let _ = cx.conn(id).expect("open").send("at the end of the batch");
        }
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, id: ConnId, (): (), why: &CloseReason<'_>) {
        assert!(self.open.contains(&id), "on_close without on_open");
        assert!(cx.conn(id).is_none(), "an id is stale in its on_close");
        self.tell(format!("{why:?}"));
    }
}

fn puppet() -> (Running, std::net::SocketAddr, Receiver<String>) {
    let (told, tells) = mpsc::channel();
    let (running, addr) = serve(Config::default(), 1, move |_| Puppet {
        open: BTreeSet::new(),
        paused: Vec::new(),
        batch: Vec::new(),
        told: told.clone(),
    });
    (running, addr, tells)
}

fn welcome(addr: std::net::SocketAddr) -> Client {
    let mut client = Client::connect(addr);
    client.expect(TEXT, b"welcome");
    client
}

#[track_caller]
fn told(tells: &Receiver<String>, what: &str) {
    let line = tells.recv_timeout(WAIT).expect("the handler tells");
    assert!(line.starts_with(what), "{line}, not {what}");
}

#[test]
fn a_handler_closes_its_own_connection() {
    let (running, addr, tells) = puppet();
    let mut client = welcome(addr);
    // What is behind it in the same segment is not delivered any more.
    let mut bytes = Vec::new();
    client_frame(&mut bytes, true, TEXT, b"close me", [1, 2, 3, 4]);
    client_frame(&mut bytes, true, TEXT, b"ignored", [1, 2, 3, 4]);
    client.send_cut(&bytes);
    client.expect(TEXT, b"first this");
    assert_eq!(client.expect_close(), (1000, "as you wish".to_owned()));
    told(&tells, "Gone");
    client.send(CLOSE, &1000_u16.to_be_bytes());
    assert_eq!(client.expect_end(), End::Eof);
    told(&tells, "Local { clean: true }");
    let stats = finish(running);
    assert_eq!((stats.messages, stats.sent, stats.gone), (1, 2, 1));
}

#[test]
fn a_handler_closes_others_while_they_speak() {
    let (running, addr, tells) = puppet();
    let mut others: Vec<Client> = (0..10).map(|_| welcome(addr)).collect();
    let mut client = welcome(addr);
    for other in &mut others {
        other.send_frame(false, BINARY, b"in the middle of a message");
    }
    client.echo(TEXT, b"they have spoken");
    client.send(TEXT, b"close the others");
    for other in &mut others {
        assert_eq!(other.expect_close(), (1001, "by another".to_owned()));
        other.send(CLOSE, &1001_u16.to_be_bytes());
        assert_eq!(other.expect_end(), End::Eof);
        told(&tells, "Local { clean: true }");
    }
    client.send(TEXT, b"greet the gone");
    client.expect(TEXT, b"are you there?");
    told(&tells, "10 gone");
    client.close();
    told(&tells, "Peer");
    assert_eq!(finish(running).closed, 11);
}

/// Nothing is lost, reordered or answered while paused, whether it came in the same segment or later.
#[test]
fn a_paused_connection_goes_on_where_it_was() {
    let (running, addr, _tells) = puppet();
    let (mut client, mut other) = (welcome(addr), welcome(addr));
    for itself in [true, false] {
        let mut bytes = Vec::new();
        if itself {
            client_frame(&mut bytes, true, TEXT, b"pause me", [1, 2, 3, 4]);
        } else {
            other.send(TEXT, b"pause the others");
            other.echo(TEXT, b"paused by now");
        }
        for i in 0..100 {
            client_frame(&mut bytes, true, TEXT, format!("while paused {i}").as_bytes(), [1, 2, 3, 4]);
        }
        client.stream.write_all(&bytes).expect("it goes out");
        other.echo(TEXT, b"not paused");
        client.send(PING, b"behind them");
        other.echo(TEXT, b"not paused either");
        // Nothing may have come: the socket is empty.
        client.stream.set_nonblocking(true).expect("nonblocking");
        let nothing = client.try_frame().expect_err("nothing comes from a paused connection");
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        client.stream.set_nonblocking(false).expect("blocking");
        other.send(TEXT, b"resume");
        for i in 0..100 {
            client.expect(TEXT, format!("while paused {i}").as_bytes());
        }
        client.expect(PONG, b"behind them");
    }
    client.send(TEXT, b"pause and resume me");
    client.send(TEXT, b"next");
    client.expect(TEXT, b"paused and resumed");
    client.expect(TEXT, b"next");
    client.close();
    other.close();
    finish(running);
}

/// Small ones are copied; large ones, which lie in a buffer of their own, are moved to the first and copied to the rest.
#[test]
fn a_message_goes_to_everybody_byte_exact() {
    let (running, addr, _tells) = puppet();
    let mut clients: Vec<Client> = (0..5).map(|_| welcome(addr)).collect();
    let mut random = Random::new(4);
    for len in [0, 1, 125, 8191, 8192, 65_536, 300_000, 1 << 20] {
        let message = random.bytes(len);
        clients[len % 5].send(BINARY, &message);
        clients.iter_mut().for_each(|client| client.expect(BINARY, &message));
        // Reassembled from fragments it lies in a buffer of its own whatever the segments were.
        let sender = &mut clients[(len + 1) % 5];
        sender.send_frame(false, BINARY, &message[..len / 3]);
        sender.send_frame(true, CONTINUATION, &message[len / 3..]);
        clients.iter_mut().for_each(|client| client.expect(BINARY, &message));
    }
    clients.into_iter().for_each(Client::close);
    let stats = finish(running);
    assert_eq!((stats.messages, stats.sent), (16, 5 + 16 * 5));
}

#[test]
fn a_batch_is_answered_at_its_end() {
    let (running, addr, _tells) = puppet();
    let (mut client, mut other) = (welcome(addr), welcome(addr));
    let mut bytes = Vec::new();
    for text in ["in the batch", "one", "say it to the others"] {
        client_frame(&mut bytes, true, TEXT, text.as_bytes(), [1, 2, 3, 4]);
    }
    client.stream.write_all(&bytes).expect("it goes out");
    client.expect(TEXT, b"one");
    client.expect(TEXT, b"at the end of the batch");
    other.expect(TEXT, b"say it to the others");
    client.close();
    other.close();
    finish(running);
}

/// Says what each `send` was told, and counts `on_writable`.
struct Flood;

impl Handler for Flood {
    type Conn = usize;
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<usize> {
        Verdict::accept(0)
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        if message.len() == 5 {
            return assert!(cx.forward(message).is_queued());
        }
        let page = vec![7; 1000];
        loop {
            match cx.send(&page) {
                SendOutcome::Queued | SendOutcome::High => *cx.data() += 1,
                SendOutcome::Refused => break,
                other => panic!("{other:?}"),
            }
        }
        // A frame of 1000 bytes is 1004 on the wire: as many as fit, and not one more (`output_max_bytes`).
        assert_eq!(cx.queued(), 1004 * *cx.data());
        assert!(cx.queued() <= 100_000 && cx.queued() + 1004 > 100_000);
    }

    fn on_writable(&mut self, cx: &mut Cx<'_, Self>) {
        let queued = *cx.data();
        let _ = cx.send(format!("writable after {queued}").as_str());
    }
}

#[test]
fn a_full_output_refuses_and_says_when_there_is_room() {
    let config = Config::default().output_high_bytes(50_000).output_low_bytes(10_000).output_max_bytes(100_000);
    let (running, addr) = serve(config, 1, |_| Flood);
    let mut client = Client::connect(addr);
    client.send(TEXT, b"flood");
    client.expect(TEXT, b"flood");
    client.send(TEXT, b"go");
    for _ in 0..99 {
        client.expect(BINARY, &[7; 1000]);
    }
    client.expect(TEXT, b"writable after 99");
    client.close();
    let stats = finish(running);
    assert_eq!((stats.refused, stats.sent), (1, 101));
}
