//! What can happen to topics, drawn.

use std::time::Duration;

use proptest::prelude::*;
use wsring_proto::close::CloseCode;

use super::{CONNS, TOPICS};
use crate::engine::topics::{Delivery, Retain};

#[derive(Clone, Debug)]
pub(super) enum Act {
    Subscribe { conn: u32, topic: u32, how: u8, every: u8 },
    Unsubscribe { conn: u32, topic: u32 },
    Configure { topic: u32, retain: Retain },
    Publish { topic: u32, key: u8, kind: u8, len: u8 },
    PublishAll { topic: u32, len: u8 },
    Slow { conn: u32, slow: bool },
    SlowAll { topic: u32 },
    Complete { conn: u32 },
    Pass,
    End { conn: u32 },
    Later { ms: u16 },
}

pub(super) fn delivery(how: u8, every: u8) -> Delivery {
    let delivery = match how % 8 {
        0 => Delivery::queue(),
        1 => Delivery::drop_oldest(3),
        2 => Delivery::drop_newest(3),
        3 => Delivery::close(CloseCode::GOING_AWAY, 5),
        4 => Delivery::merge(),
        _ => Delivery::conflate(),
    };
    match every {
        0 => delivery.at_most(Duration::from_millis(40)),
        1 => delivery.at_most(Duration::from_millis(200)),
        _ => delivery,
    }
}

/// As many keys more often than otherwise: what a topic has stays then, or does not.
fn retain() -> impl Strategy<Value = Retain> {
    let keys = (1..8_u32).prop_map(|max| Retain::LastPerKey { max });
    prop_oneof![1 => Just(Retain::No), 1 => Just(Retain::Last), 2 => keys]
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let (conn, topic) = (0..CONNS, 0..TOPICS);
    prop_oneof![
        3 => (conn.clone(), topic.clone(), any::<u8>(), 0..8_u8)
            .prop_map(|(conn, topic, how, every)| Act::Subscribe { conn, topic, how, every }),
        1 => (conn.clone(), topic.clone()).prop_map(|(conn, topic)| Act::Unsubscribe { conn, topic }),
        1 => topic.clone().prop_map(|topic| Act::SlowAll { topic }),
        1 => (topic.clone(), retain()).prop_map(|(topic, retain)| Act::Configure { topic, retain }),
        12 => (topic.clone(), 0..6_u8, 0..12_u8, 0..200_u8)
            .prop_map(|(topic, key, kind, len)| Act::Publish { topic, key, kind, len }),
        2 => (topic, 0..200_u8).prop_map(|(topic, len)| Act::PublishAll { topic, len }),
        2 => (conn.clone(), any::<bool>()).prop_map(|(conn, slow)| Act::Slow { conn, slow }),
        3 => conn.clone().prop_map(|conn| Act::Complete { conn }),
        4 => Just(Act::Pass),
        1 => conn.prop_map(|conn| Act::End { conn }),
        2 => (0..300_u16).prop_map(|ms| Act::Later { ms }),
    ]
}
