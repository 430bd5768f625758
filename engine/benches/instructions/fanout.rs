//! One message to all connections: by the application's own list, and by a topic.

use wsring::engine::testing::{Engine, Remote};
use wsring::{
    Config, ConnId, CoreCx, Cx, Delivery, Handler, Message, Opening, Policy, Retain, Topic, TopicId, Update, Verdict,
};

use crate::count;
use crate::handshake::BROWSER;
use crate::ring::{Arrival, MemoryRing};
use crate::traffic::{Traffic, Words};

/// Connections that get each message.
const CONNECTIONS: u32 = 64;
/// Passes that count, each with messages of one connection, after some that do not.
const PASSES: usize = 32;
const WARM: usize = 8;

/// How a message goes to all.
#[derive(Clone, Copy, PartialEq)]
enum By {
    List,
    Topic,
    /// Each subscriber is told the numbers, and the last is retained.
    Numbered,
    /// As [`By::Topic`], and as many others have subscribed that take nothing.
    Beside,
}

struct Fan {
    by: By,
    all: Vec<ConnId>,
    topic: Option<TopicId>,
}

fn write(update: &Update<'_>, into: &mut Vec<u8>) {
    into.extend_from_slice(&update.seq.to_be_bytes());
    into.extend_from_slice(&update.prev.to_be_bytes());
    into.extend_from_slice(update.payload);
}

impl Handler for Fan {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        let topic = cx.topic("all").expect("there is room");
        if self.by == By::Numbered {
            cx.configure_topic(topic, Topic::default().retain(Retain::Last).write(write));
        }
        self.topic = Some(topic);
    }

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let topic = self.topic.expect("it has started");
        cx.subscribe(topic, Delivery::conflate()).expect("it is open");
        self.all.push(cx.id());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        match (self.by, self.topic) {
            (By::List, _) => {
                let prepared = cx.prepare(message);
                for &id in &self.all {
                    assert!(cx.conn(id).is_some_and(|mut conn| conn.send_prepared(&prepared).is_queued()));
                }
            }
            (_, topic) => assert_eq!(cx.publish(topic.expect("it has started"), message).sent, CONNECTIONS),
        }
    }
}

fn fan(name: &str, by: By, traffic: &Traffic) {
    let all = if by == By::Beside { 2 * CONNECTIONS } else { CONNECTIONS };
    let mut script = vec![
        (0..all).map(Arrival::Peer).collect(),
        (0..all).map(|socket| Arrival::Bytes(socket, BROWSER.to_vec())).collect(),
    ];
    script.resize_with(2 + WARM + PASSES, || vec![Arrival::Bytes(0, traffic.input())]);
    let config = Config::default().connections_max(all).policy(Policy::default().subprotocols(["quotes.v2"]));
    let handler = Fan { by, all: Vec::new(), topic: None };
    let mut engine =
        Engine::new(config, MemoryRing::new(all, script).still_from(CONNECTIONS), handler, 1, &Remote::default());
    engine.start();
    let mut turns = |count: usize| (0..count).for_each(|_| engine.turn().expect("a ring of memory does not break"));
    turns(2 + WARM);
    count(name, PASSES * CONNECTIONS as usize * traffic.messages, || turns(PASSES));
    turns(1);
    if by != By::Numbered {
        let expected = traffic.reply().repeat(WARM + PASSES);
        for peer in &engine.ring().peers[..CONNECTIONS as usize] {
            assert!(peer.got.ends_with(&expected), "{name}: something else came");
        }
        return;
    }
    let seq = ((WARM + PASSES) * traffic.messages) as u64;
    let numbers = [seq.to_be_bytes(), (seq - 1).to_be_bytes()].concat();
    for peer in &engine.ring().peers {
        assert!(peer.got.windows(16).any(|window| window == numbers), "{name}: the last did not come");
    }
}

pub fn cells() {
    let (one, four) = (Traffic::new(1, Words::Binary, 125), Traffic::new(4, Words::Binary, 125));
    for (how, by) in [
        ("by a list", By::List),
        ("by a topic", By::Topic),
        ("by a topic, numbered", By::Numbered),
        ("by a topic, beside as many that take nothing", By::Beside),
    ] {
        fan(&format!("fan-out {how}: 1 x binary 125"), by, &one);
        fan(&format!("fan-out {how}: 4 x binary 125"), by, &four);
    }
}
