//! The opening handshake: a request head in, the 101 out. valgrind's CPU has no SHA instructions: a quarter of the count is
//! SHA-1 in plain code.

use wsring_proto::handshake::{HeadEnd, HeadLimits, HeadScan, HeaderTable, Policy, Request, accept, write_switching};

use crate::count;

const ROUNDS: usize = 100;

/// What a desktop browser sends to a page's own server: 15 headers, 624 bytes.
pub const BROWSER: &[u8] = b"GET /feed?symbols=ES,NQ HTTP/1.1\r\n\
    Host: desk.example.com:8443\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://desk.example.com:8443\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-US,en;q=0.9\r\n\
    Cookie: session=8f14e45fceea167a5a36dedd4bea2543\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
    Sec-WebSocket-Protocol: quotes.v2, quotes.v1\r\n\
    DNT: 1\r\n\r\n";

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
    let policy = Policy { subprotocols: vec!["quotes.v2".into()], ..Policy::default() };
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
