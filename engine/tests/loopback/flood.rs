//! More connections at once than the cap and its spare places take.

use std::net::TcpStream;
use std::sync::mpsc;

use wsring::{Config, CoreCx, Cx, Feature, Features, Handler, Message, Opening, Verdict};

use super::opening::{let_in_at_last, status};
use crate::common::*;

/// More than the spare places: there is no room for a socket more, and the open connections never notice. Who finds no place waits for one in the
/// listener's queue, where sockets are slots of a table; elsewhere accepts fail (ENFILE), and he is dropped. Nobody hangs. They all wait when the core looks: with ordinary descriptors it once took them all.
fn a_flood(change: impl FnOnce(Config) -> Config) {
    const CAP: u32 = 4;
    const FLOOD: usize = 120;
    let config = change(Config::default().connections_max(CAP));
    let (sender, woken) = mpsc::channel();
    let (running, addr) = serve(config, 1, move |_| Held(sender.clone()));
    let mut inside: Vec<Client> = (0..CAP).map(|_| Client::connect(addr)).collect();
    for client in &mut inside {
        client.echo(TEXT, b"before the flood");
    }
    // The core is held up until everybody waits.
    running.handle().wake(wsring::Place::new(0));
    let go_on = woken.recv_timeout(WAIT).expect("the core is woken");
    let flood: Vec<TcpStream> = (0..FLOOD).map(|_| tcp(addr)).collect();
    go_on.send(()).expect("the core waits");
    for client in &mut inside {
        client.echo(TEXT, b"in the flood");
    }
    let told = flood.iter().filter_map(status).inspect(|status| assert_eq!(*status, 503)).count();
    // One is dropped each time that somebody comes and there is no place: far fewer than there are.
    assert!(told > FLOOD / 2, "only {told} of {FLOOD} were told");
    drop(flood);
    for client in &mut inside {
        client.echo(TEXT, b"after the flood");
    }
    inside.pop().expect("one").close();
    let_in_at_last(addr).close();
    inside.into_iter().for_each(Client::close);
    let stats = finish(running);
    assert_eq!(stats.opened, u64::from(CAP) + 1);
    assert!(stats.accept_errors < FLOOD as u64 / 2 && (stats.accept_errors > 0 || told == FLOOD), "{stats}");
    assert_eq!(stats.accepted, stats.closed);
}

/// Sends every message back; woken, it holds its core up until told to go on.
struct Held(mpsc::Sender<mpsc::Sender<()>>);

impl Handler for Held {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert!(cx.forward(message).is_queued());
    }

    fn on_wake(&mut self, _: &mut CoreCx<'_, Self>) {
        let (go_on, told) = mpsc::channel();
        self.0.send(go_on).expect("the test waits");
        let _ = told.recv_timeout(WAIT);
    }
}

#[test]
fn a_flood_beyond_the_cap_and_the_spare_places() {
    a_flood(|c| c);
}

#[test]
fn a_flood_beyond_the_cap_with_ordinary_descriptors() {
    a_flood(|c| c.features(Features::all().without(Feature::DirectDescriptors)));
}

#[test]
fn a_flood_beyond_the_cap_without_any_feature() {
    a_flood(|c| c.features(Features::none()));
}
