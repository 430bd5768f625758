//! The whole engine of a core: its loop, its tables and its output, on a ring of memory.

use wsring::engine::testing::{Engine, Remote};
use wsring::{CloseCode, Config, ConnId, CoreCx, Cx, Handler, Message, Opening, Policy, TopicId, Verdict};

use crate::count;
use crate::handshake::{ACCEPT, BROWSER};
use crate::ring::{Arrival, MemoryRing};
use crate::traffic::{Traffic, Words};

/// Connections that are served at once.
const CONNECTIONS: u32 = 8;
/// Passes that count, each with bytes from every connection, after some that do not.
const PASSES: usize = 32;
const WARM: usize = 8;
/// Connections that come and go, one after the other, and as many before they count.
const LIVES: usize = 32;
/// Passes from an accept to the end of its close, and one to spare.
const LIFE: usize = 8;

/// Name, traffic of a connection in a pass, bytes of a receive.
const CELLS: [(&str, Traffic, usize); 8] = [
    ("engine: 1 x text 6+125", Traffic::new(1, Words::Ascii, 125), 65_536),
    ("engine: 16 x text 6+20", Traffic::new(16, Words::Ascii, 20), 65_536),
    ("engine: 16 x text 6+125", Traffic::new(16, Words::Ascii, 125), 65_536),
    ("engine: 16 x binary 6+125", Traffic::new(16, Words::Binary, 125), 65_536),
    ("engine: 16 x text 8+1024", Traffic::new(16, Words::Ascii, 1024), 65_536),
    ("engine: 1 x binary 8+16384", Traffic::new(1, Words::Binary, 16_384), 65_536),
    ("engine: 1 x binary 8+16384 in 5 receives", Traffic::new(1, Words::Binary, 16_384), 4096),
    ("engine: 4 x text 1024 in 4 fragments", Traffic { fragments: 4, ..Traffic::new(4, Words::Ascii, 1024) }, 65_536),
];

struct Echo;

impl Handler for Echo {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert!(cx.forward(message).is_queued());
    }
}

/// What a connection of [`Versatile`] is for.
enum Purpose {
    Echo,
    Room(String),
}

/// Echoes as well, and could do much else: its `on_message` is too long to be inlined into the loop, as an application's is.
#[derive(Default)]
struct Versatile {
    topic: Option<TopicId>,
    members: Vec<ConnId>,
}

impl Handler for Versatile {
    type Conn = Purpose;
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<Purpose> {
        match opening.request.path() {
            "/room" => Verdict::accept(Purpose::Room("room".to_owned())),
            _ => Verdict::accept(Purpose::Echo),
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        match (cx.data(), self.topic) {
            (Purpose::Echo, _) => assert!(cx.forward(message).is_queued()),
            (Purpose::Room(name), Some(topic)) => {
                let greeting = name.clone();
                let published = cx.publish(topic, message);
                self.members.retain(|&member| {
                    let Some(mut conn) = cx.conn(member) else { return false };
                    let keeps_up = published.refused == 0 || conn.send(greeting.as_str()).is_queued();
                    if !keeps_up {
                        conn.close(CloseCode::POLICY, "too slow");
                    }
                    keeps_up
                });
                cx.pause();
            }
            (Purpose::Room(_), None) => {
                self.topic = cx.topic("room").ok();
                self.members.push(cx.id());
            }
        }
    }
}

fn engine<H: Handler<Mail = ()>>(handler: H, script: Vec<Vec<Arrival>>) -> Engine<H, MemoryRing> {
    let config = Config::default().connections_max(64).policy(Policy::default().subprotocols(["quotes.v2"]));
    let mut engine = Engine::new(config, MemoryRing::new(CONNECTIONS, script), handler, 1, &Remote::default());
    engine.start();
    engine
}

fn turns<H: Handler>(engine: &mut Engine<H, MemoryRing>, count: usize) {
    for _ in 0..count {
        engine.turn().expect("a ring of memory does not break");
    }
}

/// What a peer got behind its 101.
fn frames_of(got: &[u8]) -> &[u8] {
    let end = got.windows(4).position(|window| window == b"\r\n\r\n").expect("a response head");
    assert!(got[..end].ends_with(ACCEPT) || got[..end].windows(ACCEPT.len()).any(|window| window == ACCEPT));
    &got[end + 4..]
}

fn echo<H: Handler<Mail = ()>>(handler: H, name: &str, traffic: &Traffic, receive: usize) {
    let (input, reply) = (traffic.input(), traffic.reply());
    let mut script = vec![
        (0..CONNECTIONS).map(Arrival::Peer).collect(),
        (0..CONNECTIONS).map(|socket| Arrival::Bytes(socket, BROWSER.to_vec())).collect(),
    ];
    for _ in 0..WARM + PASSES {
        let pass = (0..CONNECTIONS)
            .flat_map(|socket| input.chunks(receive).map(move |piece| Arrival::Bytes(socket, piece.to_vec())))
            .collect();
        script.push(pass);
    }
    let mut engine = engine(handler, script);
    turns(&mut engine, 2 + WARM);
    count(name, PASSES * CONNECTIONS as usize * traffic.messages, || turns(&mut engine, PASSES));
    turns(&mut engine, 1);
    let expected = reply.repeat(WARM + PASSES);
    for peer in &engine.ring().peers {
        assert!(frames_of(&peer.got) == expected, "{name}: the echo is another");
    }
}

/// A connection from its accept over a browser's handshake and one message to its closing handshake.
fn life() {
    // RFC 6455 §5.7, and a Close with code 1000 under the key 0.
    const HELLO: &[u8] = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";
    let mut script = Vec::new();
    for _ in 0..2 * LIVES {
        script.push(vec![Arrival::Peer(0)]);
        script.extend([BROWSER, HELLO, CLOSE].map(|bytes| vec![Arrival::Bytes(0, bytes.to_vec())]));
        script.resize_with(script.len() + LIFE - 4, Vec::new);
    }
    let mut engine = engine(Echo, script);
    turns(&mut engine, LIVES * LIFE);
    assert!(engine.leftovers().is_empty(), "a life takes more passes: {:?}", engine.leftovers());
    count("engine: a connection's life", LIVES, || turns(&mut engine, LIVES * LIFE));
    assert!(engine.leftovers().is_empty(), "{:?}", engine.leftovers());
    let got = &engine.ring().peers[0].got;
    let lives = got.windows(4).filter(|window| window == b"HTTP").count();
    assert_eq!((got.len() % lives, lives), (0, 2 * LIVES), "not every life is the same");
    assert_eq!(frames_of(&got[..got.len() / lives]), b"\x81\x05Hello\x88\x02\x03\xe8");
}

pub fn cells() {
    for (name, traffic, receive) in CELLS {
        echo(Echo, name, &traffic, receive);
    }
    echo(Versatile::default(), "engine, a long handler: 16 x text 6+20", &Traffic::new(16, Words::Ascii, 20), 65_536);
    life();
}
