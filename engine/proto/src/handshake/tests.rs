//! Tests of the opening handshake: a file per noun; what several need is here.
//!
//! Each rule has a request that passes beside the one that is refused.

mod accept;
mod answer;
mod chunked;
mod client;
mod extensions;
mod folds;
mod head;
mod origin;
mod request;
mod response;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::accept::accept;
use super::{HeadLimits, HeaderTable, Policy, Refusal, Request};

/// The request of RFC 6455 §1.3 without its Origin and Protocol, changed: a change that has no colon is another request line;
/// `Name:!` takes a header out; any other header takes the place of those of its name.
fn handshake_with(changes: &[&str]) -> Vec<u8> {
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let mut request_line = "GET /chat HTTP/1.1";
    let mut lines = Vec::from([
        "Host: server.example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]);
    lines.retain(|line| changes.iter().all(|change| name(line) != name(change)));
    for change in changes {
        match change {
            line if !line.contains(':') => request_line = line,
            line if line.ends_with(":!") => {}
            line => lines.push(line),
        }
    }
    let mut head = request_line.as_bytes().to_vec();
    for line in lines {
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(line.as_bytes());
    }
    head.extend_from_slice(b"\r\n\r\n");
    head
}

/// Parses with a table that lives on, as a test's request may.
fn parse_with<'a>(head: &'a [u8], limits: &HeadLimits) -> Result<Request<'a>, Refusal> {
    Request::parse(head, limits, Box::leak(Box::new(HeaderTable::new())))
}

/// Parses `head` with default limits and judges it.
fn judge(head: &[u8], policy: &Policy) -> Result<(String, Option<String>), Refusal> {
    let request = parse_with(head, &HeadLimits::default())?;
    let accept = accept(&request, policy)?;
    let key = core::str::from_utf8(&accept.key).expect("base64 is text").into();
    Ok((key, accept.subprotocol.map(String::from)))
}

/// The status of the refusal, or 101.
fn status(changes: &[&str]) -> u16 {
    status_under(&Policy::default(), changes)
}

fn status_under(policy: &Policy, changes: &[&str]) -> u16 {
    judge(&handshake_with(changes), policy).map_or_else(|refusal| refusal.status(), |_| 101)
}
