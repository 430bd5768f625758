//! The opening handshake: a request head in, the 101 out. valgrind's CPU has no SHA instructions: a quarter of the count is
//! SHA-1 in plain code.

use wsring_proto::handshake::{HeadEnd, HeadLimits, HeadScan, HeaderTable, Policy, Request, accept, write_switching};

use crate::count;

const ROUNDS: usize = 100;

/// What a desktop browser sends to a page's own server: 15 headers, 624 bytes.
pub const BROWSER: &[u8] = include_bytes!("../../proto/benches/browser.http");

/// RFC 6455 §1.3: the answer to its sample key.
pub const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn answer(bytes: &[u8], limits: &HeadLimits, policy: &Policy, out: &mut Vec<u8>) {
    let HeadEnd::Complete(len) = HeadScan::default().feed(bytes, limits) else { panic!("the head is complete") };
    let mut table = HeaderTable::new();
    let request = Request::parse(&bytes[..len], limits, &mut table).expect("a valid head");
    let accepted = accept(&request, policy).expect("a valid handshake");
    write_switching(out, &accepted.key, accepted.subprotocol, []).expect("no header of ours");
}

pub fn cells() {
    let limits = HeadLimits::default();
    let policy = Policy::default().subprotocols(["quotes.v2"]);
    let mut out = Vec::with_capacity(512);
    // The first finds out what the CPU can do.
    answer(BROWSER, &limits, &policy, &mut out);
    count("handshake: a browser's", ROUNDS, || {
        for _ in 0..ROUNDS {
            out.clear();
            answer(BROWSER, &limits, &policy, &mut out);
        }
    });
    assert!(out.windows(ACCEPT.len()).any(|window| window == ACCEPT), "another accept key");
}
