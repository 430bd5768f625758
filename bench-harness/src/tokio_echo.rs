//! What a ring of our own earns: wsring's core and callbacks on the sockets of a tokio-uring runtime, one thread.
//!
//! Owns: its listener and what is done with messages, which is what `wsring serve` does: echo, and broadcast on `/bcast`.
//! Promises: wsring's default settings, and a runtime with as many queue entries as a ring of wsring's has. Refuses to know:
//! how the runtime reads and writes.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use wsring::{
    CloseCode, CloseReason, Config, ConnId, CoreCx, Cx, Handler, Message, Opening, QueueEntries, Stats, Verdict,
};
use wsring_tokio_uring::Server;

/// How long a stop may go unnoticed.
const WAIT: Duration = Duration::from_millis(250);

/// The echo server.
pub struct TokioEcho(TcpListener);

impl TokioEcho {
    /// Listens on `addr`. Fails as socket(2), bind(2) and listen(2) do.
    pub fn bind(addr: SocketAddr) -> io::Result<TokioEcho> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(4096)?;
        Ok(TokioEcho(socket.into()))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until `stop` is set, and then as long as a clean stop takes.
    pub fn run(self, stop: &AtomicBool) -> io::Result<Stats> {
        let (config, entries) = (Config::default(), QueueEntries::default());
        let mut ring = tokio_uring::uring_builder();
        ring.setup_cqsize(entries.completion);
        let mut runtime = tokio_uring::builder();
        runtime.entries(entries.submission).uring_builder(&ring);
        let server = Server::new().listen(self.0).config(config);
        let (handle, ended) = (server.handle(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && !ended.load(Ordering::Relaxed) {
                    thread::sleep(WAIT);
                }
                handle.stop();
            });
            let stats = runtime.start(server.run(Echo::default()));
            ended.store(true, Ordering::Relaxed);
            stats.map_err(io::Error::other)
        })
    }
}

#[derive(Default)]
struct Echo {
    /// The connections on `/bcast`.
    members: BTreeSet<ConnId>,
}

impl Handler for Echo {
    /// It is a member.
    type Conn = bool;
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<bool> {
        Verdict::accept(opening.request.path() == "/bcast")
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        if *cx.data() {
            self.members.insert(cx.id());
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        if !*cx.data() {
            let _ = cx.forward(message); // never refused: a peer that does not read is not read from
            return;
        }
        for &member in &self.members {
            let Some(mut conn) = cx.conn(member) else { continue };
            if !conn.forward(message).is_queued() {
                conn.close(CloseCode::POLICY, "too slow for this room");
            }
        }
    }

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, id: ConnId, _: bool, _: &CloseReason<'_>) {
        self.members.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::*;
    use crate::dial::Target;
    use crate::frames::Payload;
    use crate::load::{self, Shape};
    use crate::net::Patience;

    /// Under a load that compares every byte.
    fn under(path: &str, shape: Shape, connections: usize, size: usize) -> (load::Outcome, Stats) {
        let echo = TokioEcho::bind("127.0.0.1:0".parse().expect("address")).expect("bind");
        let url = format!("ws://{}{path}", echo.local_addr().expect("address"));
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let server = thread::spawn(move || echo.run(&seen));
        let plan = load::Plan {
            target: Target::web(&url, false).expect("target"),
            shape,
            connections,
            payload: Payload::Binary,
            size,
            warmup: Duration::from_millis(20),
            measured: Duration::from_millis(150),
            bodies: load::Bodies::Compared,
            patience: Patience::Sleep,
        };
        let outcome = load::run(&plan, &mut File::open("/dev/urandom").expect("urandom"), &mut |_| Ok(()));
        stop.store(true, Ordering::Relaxed);
        let stats = server.join().expect("no panic").expect("a clean end");
        (outcome.expect("every byte is right"), stats)
    }

    #[test]
    fn every_message_comes_back() {
        for (connections, depth, size) in [(1, 1, 0), (64, 1, 125), (64, 16, 125), (8, 2, 70_000), (2, 2, 1 << 20)] {
            let (outcome, stats) = under("/", Shape::Closed { depth }, connections, size);
            assert!(outcome.messages > 0);
            assert_eq!(stats.messages, outcome.messages_in_all, "{connections} x {depth} x {size}");
            assert_eq!((stats.opened, stats.violations, stats.refused), (connections as u64, 0, 0));
        }
    }

    #[test]
    fn everybody_on_bcast_receives() {
        let (outcome, stats) = under("/bcast", Shape::FanOut { depth: 4 }, 20, 125);
        assert!(outcome.messages > 0);
        assert_eq!((stats.opened, stats.gone, stats.refused), (21, 0, 0));
        assert_eq!(stats.sent, stats.messages * 21);
    }

    #[test]
    fn connections_come_and_go() {
        let (outcome, stats) = under("/", Shape::Connect, 8, 125);
        assert!(outcome.messages > 0 && stats.opened >= outcome.messages, "{stats}");
        assert_eq!((stats.accepted, stats.full), (stats.closed, 0));
    }
}
