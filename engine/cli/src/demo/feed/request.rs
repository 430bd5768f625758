//! What a client of the feed asks for, out of the JSON that it sends. Promises that what makes no sense is an error that says why, and
//! that what is kept of a request is bounded by the number of keys.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use wsring::{CloseCode, Delivery};

/// Messages of a key that wait for a client, where its delivery bounds them.
const MESSAGES_MAX: u32 = 64;
/// The longest interval: an hour.
const AT_MOST_MS_MAX: u64 = 3_600_000;

/// What a client asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    Subscribe(Keys, Delivery),
    Unsubscribe(Keys),
    Stats,
}

/// Keys by number.
#[derive(Debug, PartialEq)]
pub(crate) enum Keys {
    All,
    These(Vec<u32>),
}

impl Keys {
    /// Their numbers, of so many.
    pub(crate) fn of(self, count: usize) -> impl Iterator<Item = usize> {
        let (all, these) = match self {
            Self::All => (0..count, Vec::new()),
            Self::These(keys) => (0..0, keys),
        };
        all.chain(these.into_iter().map(|key| key as usize))
    }
}

/// A request to a feed of so many keys.
///
/// # Errors
/// What is wrong with it, in words for the client.
pub(crate) fn parse(text: &str, count: usize) -> Result<Request, String> {
    let wire: Wire = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let keys = |keys: Option<Keys>| match keys {
        None => Err(r#"missing field `keys`: a list of keys, or "all""#.to_owned()),
        Some(Keys::These(keys)) if keys.len() > count => Err(format!("more than the {count} keys that there are")),
        Some(Keys::These(keys)) => match keys.iter().find(|&&key| key as usize >= count) {
            Some(key) => Err(format!("no such key: K{key}; there are K0 to K{}", count - 1)),
            None => Ok(Keys::These(keys)),
        },
        Some(Keys::All) => Ok(Keys::All),
    };
    Ok(match wire.op {
        Op::Stats => Request::Stats,
        Op::Unsubscribe => Request::Unsubscribe(keys(wire.keys)?),
        Op::Subscribe => {
            let interval = wire.at_most_ms.unwrap_or(0);
            if interval > AT_MOST_MS_MAX {
                return Err(format!("at_most_ms is 0 to {AT_MOST_MS_MAX}"));
            }
            let delivery = wire.delivery.unwrap_or(Kind::Queue).delivery().at_most(Duration::from_millis(interval));
            Request::Subscribe(keys(wire.keys)?, delivery)
        }
    })
}

/// A request as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    op: Op,
    keys: Option<Keys>,
    delivery: Option<Kind>,
    at_most_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Op {
    Subscribe,
    Unsubscribe,
    Stats,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Queue,
    Conflate,
    Merge,
    DropOldest,
    DropNewest,
    Close,
}

impl Kind {
    fn delivery(&self) -> Delivery {
        match self {
            Self::Queue => Delivery::queue(),
            Self::Conflate => Delivery::conflate(),
            // Of two prices the newer one says all: a topic that is told nothing else merges so.
            Self::Merge => Delivery::merge(),
            Self::DropOldest => Delivery::drop_oldest(MESSAGES_MAX),
            Self::DropNewest => Delivery::drop_newest(MESSAGES_MAX),
            // RFC 6455 §7.4.1: no code says "too slow"; 1008 is the one for what no other code says.
            Self::Close => Delivery::close(CloseCode::POLICY, MESSAGES_MAX),
        }
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a list of keys, such as ["K17","K3"], or "all""#)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Keys, E> {
        if text == "all" { Ok(Keys::All) } else { Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Keys, A::Error> {
        let mut keys = Vec::new();
        while let Some(Key(key)) = list.next_element()? {
            keys.push(key);
        }
        Ok(Keys::These(keys))
    }
}

/// One key.
struct Key(u32);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a key, such as "K17""#)
    }

    /// A key has one name: digits without a zero in front.
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Key, E> {
        let digits = text.strip_prefix('K').filter(|digits| *digits == "0" || !digits.starts_with(['0', '+']));
        let key = digits.and_then(|digits| digits.parse().ok());
        key.map(Key).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_understood() {
        let hour = Delivery::drop_newest(64).at_most(Duration::from_secs(3600));
        for (text, request) in [
            (r#"{"op":"stats"}"#, Request::Stats),
            (r#"{"keys":"all","op":"unsubscribe"}"#, Request::Unsubscribe(Keys::All)),
            (r#"{"op":"unsubscribe","keys":[]}"#, Request::Unsubscribe(Keys::These(vec![]))),
            (
                r#" {"op":"subscribe","keys":["K17","K0"]}"#,
                Request::Subscribe(Keys::These(vec![17, 0]), Delivery::queue()),
            ),
            (
                r#"{"op":"subscribe","keys":"all","delivery":"conflate","at_most_ms":0}"#,
                Request::Subscribe(Keys::All, Delivery::conflate()),
            ),
            (
                r#"{"op":"subscribe","keys":"all","delivery":"drop_newest","at_most_ms":3600000}"#,
                Request::Subscribe(Keys::All, hour),
            ),
        ] {
            assert_eq!(parse(text, 18), Ok(request), "{text}");
        }
        for (name, delivery) in [
            ("queue", Delivery::queue()),
            ("merge", Delivery::merge()),
            ("drop_oldest", Delivery::drop_oldest(64)),
            ("close", Delivery::close(CloseCode::POLICY, 64)),
        ] {
            let text = format!(r#"{{"op":"subscribe","keys":"all","delivery":"{name}"}}"#);
            assert_eq!(parse(&text, 1), Ok(Request::Subscribe(Keys::All, delivery)), "{text}");
        }
        assert_eq!(Keys::All.of(3).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(Keys::These(vec![2, 0]).of(3).collect::<Vec<_>>(), [2, 0]);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (text, part) in [
            ("", "EOF"),
            ("hello", "expected value"),
            ("[]", "invalid length 0"),
            (r#"{"op":"subscribe"} "#, "missing field `keys`"),
            (r#"{"op":"unsubscribe"}"#, "missing field `keys`"),
            (r#"{"keys":"all"}"#, "missing field `op`"),
            (r#"{"op":"buy"}"#, "unknown variant `buy`"),
            (r#"{"op":"stats","op":"stats"}"#, "duplicate field `op`"),
            (r#"{"op":"stats","id":1}"#, "unknown field `id`"),
            (r#"{"op":"subscribe","keys":"some"}"#, r#"or "all""#),
            (r#"{"op":"subscribe","keys":["K18"]}"#, "no such key: K18; there are K0 to K17"),
            (r#"{"op":"subscribe","keys":["K01"]}"#, r#"a key, such as "K17""#),
            (r#"{"op":"subscribe","keys":["K+1"]}"#, r#"a key, such as "K17""#),
            (r#"{"op":"subscribe","keys":["K99999999999"]}"#, r#"a key, such as "K17""#),
            (r#"{"op":"subscribe","keys":[17]}"#, r#"a key, such as "K17""#),
            (r#"{"op":"subscribe","keys":"all","delivery":"best"}"#, "unknown variant `best`"),
            (r#"{"op":"subscribe","keys":"all","at_most_ms":3600001}"#, "at_most_ms is 0 to 3600000"),
            (r#"{"op":"subscribe","keys":"all","at_most_ms":-1}"#, "invalid value"),
        ] {
            let error = parse(text, 18).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        let list = |len| format!(r#"{{"op":"subscribe","keys":[{}]}}"#, vec![r#""K0""#; len].join(","));
        assert!(parse(&list(18), 18).is_ok());
        assert_eq!(parse(&list(19), 18), Err("more than the 18 keys that there are".to_owned()));
    }
}
