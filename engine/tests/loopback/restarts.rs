//! Servers that take over from each other on one port while clients come without a pause: each is answered, by one or the other. Nobody is
//! reset, and nobody sees an end without a word.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use wsring::{Config, CoreCx, Cx, Handler, Message, Opening, Stats, Verdict};

use crate::common::*;

/// Restarts, with so many cores each: listeners that close while connections come.
const RESTARTS: usize = 20;
const CORES: usize = 2;
/// Clients that connect again and again. More of them than cores, so that some come while others wait.
const CLIENTS: usize = 4;
/// Connections that a server has before the next takes over.
const SHARE: u64 = 100;

/// Says hello, echoes, and computes now and then, while others wait to be accepted.
struct Hello(u64);

impl Handler for Hello {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        assert!(cx.send("hello").is_queued());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        self.0 += 1;
        if self.0.is_multiple_of(20) {
            thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(cx.forward(message).is_queued());
    }
}

/// One connection: what became of it, in words.
fn visit(addr: SocketAddr) -> io::Result<&'static str> {
    let mut stream = TcpStream::connect_timeout(&addr, WAIT)?;
    bounded(&stream);
    stream.write_all(upgrade_head("/").as_bytes())?;
    let (head, rest) = read_head(&stream)?;
    if head.starts_with("HTTP/1.1 503 ") {
        return Ok("503");
    }
    let mut client = Client::after(stream, &head, rest);
    for word in ["hello", "question"] {
        let frame = client.try_frame()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if frame.opcode == CLOSE {
            assert_eq!(frame.close_code(), 1001);
            client.send(CLOSE, &frame.payload);
            return Ok("1001");
        }
        assert_eq!(frame.payload, word.as_bytes());
        if word == "hello" {
            client.send(TEXT, b"question");
        }
    }
    Ok("served")
}

#[test]
fn nobody_is_reset_by_restarts_while_connections_come() {
    let start = |addr| serve_at(addr, Config::default(), CORES, |_| Hello(0)).expect("the server starts");
    let (mut running, addr) = start(SocketAddr::from(([127, 0, 0, 1], 0)));
    let (over, visits) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut seen, mut stats) = (BTreeMap::<String, u64>::new(), Stats::default());
    thread::scope(|scope| {
        let visiting = || {
            let mut seen = BTreeMap::<String, u64>::new();
            while !over.load(Ordering::Relaxed) {
                let end = visit(addr).map_or_else(|error| error.to_string(), str::to_owned);
                *seen.entry(end).or_default() += 1;
                visits.fetch_add(1, Ordering::Relaxed);
            }
            seen
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(visiting)).collect();
        for restart in 1..=RESTARTS as u64 {
            while visits.load(Ordering::Relaxed) < restart * SHARE && !clients.iter().any(|client| client.is_finished())
            {
                thread::yield_now();
            }
            let (next, _) = start(addr);
            stats += finish(std::mem::replace(&mut running, next));
        }
        over.store(true, Ordering::Relaxed);
        for client in clients {
            client
                .join()
                .expect("no client fails")
                .into_iter()
                .for_each(|(end, count)| *seen.entry(end).or_default() += count);
        }
    });
    stats += finish(running);
    let told = seen.keys().all(|end| ["503", "1001", "served"].contains(&&**end));
    assert!(told, "somebody was not answered: {seen:?}");
    println!("{seen:?}, {stats}");
}
