//! Servers that take over from each other on one port while clients come without a pause: each is answered, by one or the other. Nobody is
//! reset, and nobody sees an end without a word.

use std::net::SocketAddr;

use wsring::{Config, Stats};

use crate::common::visits::{Visit, while_visited};
use crate::common::*;

/// Restarts, with so many cores each: listeners that close while connections come.
const RESTARTS: usize = 20;
const CORES: usize = 2;
/// Clients that connect again and again. More of them than cores, so that some come while others wait.
const CLIENTS: usize = 4;
/// Connections that a server has before the next takes over.
const SHARE: u64 = 100;

#[test]
fn nobody_is_reset_by_restarts_while_connections_come() {
    let start = |addr| serve_at(addr, Config::default(), CORES, |_| Hello::default()).expect("the server starts");
    let (mut running, addr) = start(SocketAddr::from(([127, 0, 0, 1], 0)));
    let visit = || Visit { greeting: Some("hello"), messages: 1 }.tcp(addr);
    let mut stats = Stats::default();
    let ends = while_visited([visit; CLIENTS], |visitors| {
        for _ in 0..RESTARTS {
            visitors.wait_for(SHARE);
            let (next, _) = start(addr);
            stats += finish(std::mem::replace(&mut running, next));
        }
    });
    stats += finish(running);
    let told = ends.keys().all(|end| ["503", "1001", "served"].contains(&&**end));
    assert!(told, "somebody was not answered: {ends:?}");
    println!("{ends:?}, {stats}");
}
