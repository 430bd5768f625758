//! Tests of the opening handshake: a file per noun; what several need is here.
//!
//! Each rule has a request that passes beside the one that is refused.

mod accept;
mod extensions;
mod head;
mod origin;
mod request;
mod response;

use alloc::string::String;
use alloc::vec::Vec;

use super::{HeadLimits, Policy, Refusal, Request, accept};

/// The request of RFC 6455 §1.3 without its Origin and Protocol, as lines to change.
fn handshake_lines() -> Vec<String> {
    [
        "GET /chat HTTP/1.1",
        "Host: server.example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    .map(String::from)
    .to_vec()
}

/// The handshake with each line that begins as one of `changes` does (up to its colon) taken out, and `changes` put in.
/// A change that is only `Name:!` takes the header out.
fn handshake_with(changes: &[&str]) -> Vec<u8> {
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let mut lines = handshake_lines();
    for change in changes {
        lines.retain(|line| name(line) != name(change));
    }
    for change in changes.iter().filter(|change| !change.ends_with(":!")) {
        if change.ends_with(" HTTP/1.1") || change.ends_with(" HTTP/1.0") {
            lines[0] = String::from(*change);
        } else {
            lines.push(String::from(*change));
        }
    }
    let mut head = lines.join("\r\n").into_bytes();
    head.extend_from_slice(b"\r\n\r\n");
    head
}

/// Parses `head` with default limits and judges it.
fn judge(head: &[u8], policy: &Policy) -> Result<(String, Option<String>), Refusal> {
    let request = Request::parse(head, &HeadLimits::default())?;
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
