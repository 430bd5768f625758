//! Outputs without sockets, and what came out of them.

use std::collections::VecDeque;

use wsring_proto::opcode::Opcode;

use super::{OUTPUT_MAX, SUBSCRIPTIONS_MAX};
use crate::engine::topics::{Outlet, Room};

const CHUNK: u32 = 300;

/// One connection's output, and its socket.
#[derive(Default)]
pub(super) struct Output {
    pub(super) open: bool,
    pub(super) sending: bool,
    pub(super) slow: bool,
    pub(super) waits: bool,
    pub(super) queued: u32,
    pub(super) log: VecDeque<String>,
}

#[derive(Default)]
pub(super) struct Outputs {
    pub(super) all: Vec<Output>,
    pub(super) begun: u64,
}

impl Outlet for Outputs {
    fn room(&self, conn: u32) -> Room {
        let output = &self.all[conn as usize];
        match output {
            Output { open: false, .. } => Room::Gone,
            Output { waits: false, sending: false, queued, .. } if *queued < CHUNK => Room::Free,
            _ => Room::Busy,
        }
    }

    fn drains(&self, conn: u32, most: u32) -> bool {
        let output = &self.all[conn as usize];
        output.open && !output.sending && output.queued < CHUNK.min(most)
    }

    fn is_sending(&self, conn: u32) -> bool {
        self.all[conn as usize].sending
    }

    fn queued(&self, conn: u32) -> u32 {
        self.all[conn as usize].queued
    }

    fn spare(&self, conn: u32) -> u32 {
        OUTPUT_MAX - self.queued(conn)
    }

    fn subscriptions_max(&self, _: u32) -> u32 {
        SUBSCRIPTIONS_MAX
    }

    fn begin(&mut self, _: Opcode, _: &[u8], _: usize) -> u64 {
        self.begun += 1;
        self.begun
    }

    fn push(&mut self, conn: u32, opcode: Opcode, bytes: &[u8], number: u64) -> bool {
        self.room(conn) == Room::Free && self.send(conn, opcode, bytes, Some(number))
    }

    fn send(&mut self, conn: u32, opcode: Opcode, bytes: &[u8], _: Option<u64>) -> bool {
        let output = &mut self.all[conn as usize];
        assert_eq!((output.open, opcode), (true, Opcode::Text));
        if output.queued + bytes.len() as u32 > OUTPUT_MAX {
            return false;
        }
        output.queued += bytes.len() as u32;
        output.log.push_back(String::from_utf8(bytes.to_vec()).expect("it is text"));
        true
    }

    fn set_flow(&mut self, _: u32, bytes: u32) {
        assert!((1 << 10..=64 << 10).contains(&bytes));
    }

    fn set_waits(&mut self, conn: u32, waits: bool) {
        self.all[conn as usize].waits = waits;
    }
}

#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) topic: u32,
    pub(super) key: Option<u64>,
    pub(super) seq: u64,
    pub(super) prev: u64,
    pub(super) merged: u32,
    pub(super) removes: bool,
    pub(super) payload: String,
}

pub(super) fn parse(line: &str) -> Got {
    let mut parts = line.splitn(8, '|');
    let mut next = || parts.next().expect("eight parts");
    let topic = next().parse().expect("a topic");
    let key = next().parse().ok();
    let [seq, prev] = [next(), next()].map(|part| part.parse().expect("a number"));
    let merged = next().parse().expect("a count");
    let removes = next() == "true";
    next();
    Got { topic, key, seq, prev, merged, removes, payload: next().to_owned() }
}

/// The first and the last publish that a payload is made of.
pub(super) fn parse_idx(payload: &str) -> (u64, u64) {
    let mut all = payload.trim_end_matches('.').split('+').map(|idx| idx.parse::<u64>().expect("a number"));
    let first = all.next().expect("one");
    (
        first,
        all.fold(first, |before, next| {
            assert!(next > before, "merged in order: {payload}");
            next
        }),
    )
}
