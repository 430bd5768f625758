//! Listeners that require a PROXY header (HAProxy's doc/proxy-protocol.txt), and what their peers say in front of all else: for whom they come, in
//! one of the header's forms, that they come for themselves, or something else than a header. Drawn apart from everything else.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use wsring::ring::Time;
use wsring::ring::sim::{Random, SimConfig};

use super::Manners;
use super::oracle::Person;

/// What a peer says of itself in front of its request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// For whom it comes, unless that is itself.
    pub client: Option<SocketAddr>,
    /// It says something else than a header.
    pub nonsense: bool,
    /// Bytes of the header.
    pub len: usize,
}

/// What is drawn for a run.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    seed: u64,
    /// By listener, whether it requires a header.
    required: Vec<bool>,
    rude: bool,
}

impl Proxies {
    /// In one of six seeds some listeners.
    pub fn new(seed: u64, manners: Manners, sim: &SimConfig) -> Self {
        let mut random = Random::new(seed ^ 0x7072_6f78_6965_7301);
        if !random.chance(160) {
            return Self::default();
        }
        let required = (0..sim.listeners).map(|_| random.chance(700)).collect();
        Self { seed, required, rude: manners == Manners::Rude }
    }

    pub fn listeners(&self) -> Vec<u32> {
        (0..).zip(&self.required).filter(|(_, required)| **required).map(|(listener, _)| listener).collect()
    }

    /// What a client says, and in which bytes, if its listener requires that.
    pub fn of(&self, number: usize) -> Option<(Said, Vec<u8>)> {
        let listeners = self.required.len().max(1);
        if !self.required.get(number % listeners).copied().unwrap_or(false) {
            return None;
        }
        let mut random = Random::new(self.seed ^ 0x6865_6164_6572 ^ (number as u64) << 40);
        let (last, port) = (number as u8, 2_000 + number as u16);
        let v4 = SocketAddr::from((Ipv4Addr::new(203, 0, 113, last), port));
        let v6 = SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, last.into(), 0, 0, 0, 0, 1), port));
        let (client, bytes) = match random.below(8) {
            0 | 1 => (Some(v4), format!("PROXY TCP4 {} 192.0.2.1 {port} 443\r\n", v4.ip()).into_bytes()),
            2 => (Some(v6), format!("PROXY TCP6 {} 2001:db8::2 {port} 443\r\n", v6.ip()).into_bytes()),
            3 => (None, b"PROXY UNKNOWN and what else\r\n".to_vec()),
            4 => (None, binary(0x20, 0, &[])),
            5 => (Some(v6), binary(0x21, 0x21, &ends(v6))),
            // With a value behind the addresses (PP2_TYPE_AUTHORITY).
            6 => (Some(v4), binary(0x21, 0x11, &[&ends(v4)[..], b"\x02\0\x09a.example"].concat())),
            _ => (Some(v4), binary(0x21, 0x11, &ends(v4))),
        };
        if self.rude && random.chance(80) {
            let mut wrong = bytes;
            let at = random.below(wrong.len().min(12) as u64) as usize;
            wrong[at] ^= 0x80;
            return Some((Said { client: None, nonsense: true, len: wrong.len() }, wrong));
        }
        Some((Said { client, nonsense: false, len: bytes.len() }, bytes))
    }
}

/// A header of version 2.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let head = [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &(block.len() as u16).to_be_bytes()];
    [&head.concat(), block].concat()
}

/// A client's address, and some destination, as version 2 writes them.
fn ends(client: SocketAddr) -> Vec<u8> {
    let port = client.port().to_be_bytes();
    match client {
        SocketAddr::V4(v4) => [&v4.ip().octets()[..], &[192, 0, 2, 1], &port, &[1, 187]].concat(),
        SocketAddr::V6(v6) => [&v6.ip().octets()[..], &[0x20; 16], &port, &[1, 187]].concat(),
    }
}

/// Whoever has said for whom it comes, and was not ended otherwise, was heard; who has said something else was not served. `handshake`: how long it had.
pub fn judge(person: &Person, handshake: Duration, stopped: Option<Time>, may_go_unheard: bool) -> Result<(), String> {
    let Some(said) = &person.said else { return Ok(()) };
    if said.nonsense && person.opened > 0 {
        return Err("the wrong client: it said something else than a header, and was served".to_owned());
    }
    let Some(at) = person.eof_at.filter(|_| said.client.is_some() && person.written >= said.len) else { return Ok(()) };
    let is_late = at.since(person.connected_at) >= handshake || stopped.is_some_and(|stopped| stopped <= at);
    let ended = person.ending.is_some() || person.faulted || person.status.is_some();
    if person.heard || is_late || ended || may_go_unheard {
        return Ok(());
    }
    Err("the wrong client: it said for whom it came, and was closed unheard".to_owned())
}

/// It was closed at once, whatever it had sent behind. `crowds`: there is a limit on those of one network.
pub fn is_shunned(person: &Person, crowds: bool) -> bool {
    let nonsense = person.said.as_ref().is_some_and(|said| said.nonsense);
    let crowded = crowds && (!person.met || person.said.is_some() && !person.heard);
    person.turned_away || nonsense || crowded
}
