//! What peers may have a core keep in memory: who holds most is closed and told, nobody new is served meanwhile, and others notice
//! nothing.

use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use wsring::{CloseReason, Config, ConnId, CoreCx, Cx, Handler, Message, Opening, Verdict};

use crate::common::*;

const MIB: usize = 1 << 20;

/// Echoes, and tells why connections ended and what was lost with them.
struct Teller(Sender<(String, usize)>);

impl Handler for Teller {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        // More than is taken at once, so that it waits for a peer that does not read.
        let times = if message.as_bytes() == b"flood" { 64 } else { 1 };
        let flood = vec![7; MIB];
        for _ in 0..times {
            let _ = if times > 1 { cx.send(&flood[..]) } else { cx.forward(message) };
        }
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, id: ConnId, (): (), why: &CloseReason<'_>) {
        let _ = self.0.send((format!("{why:?}"), cx.unsent(id)));
    }
}

fn teller(budget: usize) -> (wsring::Running<()>, std::net::SocketAddr, Receiver<(String, usize)>) {
    let (told, tells) = channel();
    let config = Config::default().memory_max_bytes(budget).output_max_bytes(64 << 20);
    let (running, addr) = serve(config, 1, move |_| Teller(told.clone()));
    assert_eq!(running.memory_max(), budget);
    (running, addr, tells)
}

/// Sends so much of a message of 16 MiB; it may be closed meanwhile.
fn begin(client: &mut Client, bytes: usize) {
    let mut head = Vec::new();
    client_header(&mut head, true, BINARY, 16 << 20, [0; 4]);
    let _ = client.stream.write_all(&head).and_then(|()| client.stream.write_all(&vec![1; bytes]));
}

/// Half a message is told 1009; the neighbour with a byte of one, which was announced as long, is not touched.
#[test]
fn who_holds_most_is_closed_and_told() {
    let (running, addr, tells) = teller(2 * MIB);
    let (mut small, mut neighbour) = (Client::connect(addr), Client::connect(addr));
    begin(&mut small, 1);
    neighbour.echo(TEXT, b"before");
    let mut large = Client::connect(addr);
    begin(&mut large, 3 * MIB);
    let frame = large.frame();
    assert_eq!((frame.close_code(), &frame.payload[2..]), (1009, &b"the server is short of memory"[..]));
    assert_eq!(tells.recv().expect("it is told").0, "Memory");
    neighbour.echo(TEXT, b"after");
    small.stream.write_all(&vec![1; 1000]).expect("it is still read");
    neighbour.echo(TEXT, b"and again");
    assert!(tells.try_recv().is_err(), "another was closed");
    let stats = finish(running);
    assert_eq!((stats.memory_closed, stats.violations), (1, 0));
}

/// One that reads nothing of what is queued for it is cut, and what is lost is told.
#[test]
fn who_does_not_read_is_cut() {
    let (running, addr, tells) = teller(24 * MIB);
    let mut neighbour = Client::connect(addr);
    let mut deaf = Client::connect(addr);
    deaf.send(TEXT, b"flood");
    let (why, unsent) = tells.recv().expect("it is told");
    assert!(why == "Memory" && unsent > 16 * MIB, "{why}, {unsent} bytes");
    neighbour.echo(TEXT, b"after");
    assert_eq!(finish(running).memory_closed, 1);
}

/// Above 3/4 new connections are answered 503; a while later whoever holds that much is closed, and they are served again.
#[test]
fn nobody_new_is_served_while_memory_is_tight() {
    let (running, addr, tells) = teller(10 * MIB);
    let began = Instant::now();
    loop {
        // Also the last round's may have had that effect late.
        let mut holder = match Client::try_open(addr, "/", &[]) {
            Err(answer) => break assert_eq!(answer.status, 503),
            Ok(holder) => holder,
        };
        // In a buffer of a little more than 8 MiB.
        begin(&mut holder, 5 * MIB);
        match Client::try_open(addr, "/", &[]) {
            Err(answer) => break assert_eq!(answer.status, 503),
            // The last byte had not arrived, or it was closed already.
            Ok(early) => drop(early),
        }
        assert!(began.elapsed() < WAIT, "everybody is served");
        drop(holder);
        while Client::try_open(addr, "/", &[]).is_err() {
            assert!(began.elapsed() < WAIT, "nobody is served");
        }
    }
    while Client::try_open(addr, "/", &[]).is_err() {
        assert!(began.elapsed() < WAIT, "nobody is served again");
    }
    drop(tells);
    let stats = finish(running);
    assert!(stats.memory_refused > 0 && stats.full == 0, "{stats}");
}
