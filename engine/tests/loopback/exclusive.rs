//! A port that is one server's alone.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use wsring::{
    Config, CoreCx, Cx, Error, Feature, Features, Handler, Listener, Message, Opening, RingKind, Server, Verdict,
};

use crate::common::*;

/// Tells everybody which core it is.
struct Here(usize);

impl Handler for Here {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let _ = cx.send(&*self.0.to_string());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let _ = cx.forward(message);
    }
}

fn exclusive(config: Config) -> (Running, SocketAddr) {
    let server = Server::listen(Listener::tcp("127.0.0.1:0").exclusive(true)).expect("a free port");
    let running = server.cores(cores(2)).config(strict(config)).start(|core| Here(core.place.index()));
    let running = running.expect("the server starts");
    let addr = running.local_addrs()[0];
    (running, addr)
}

/// A socket of somebody else who would share the port.
fn shares(addr: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1)?;
    Ok(socket)
}

#[test]
fn nobody_shares_an_exclusive_port() {
    let (running, addr) = exclusive(Config::default());
    let in_use = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
    for addr in [addr, SocketAddr::from(([0, 0, 0, 0], addr.port()))] {
        assert!(in_use(&shares(addr).expect_err("it is taken")));
    }
    match Server::bind(addr) {
        Err(Error::Bind { source, .. }) => assert!(in_use(&source)),
        other => panic!("{other:?}"),
    }
    finish(running);
    let other = shares(addr).expect("it is free again");
    match Server::listen(Listener::tcp(addr).exclusive(true)) {
        Err(Error::Bind { source, .. }) => assert!(in_use(&source)),
        other => panic!("{other:?}"),
    }
    drop(other);
    let again = Server::listen(Listener::tcp(addr).exclusive(true)).expect("it is free again");
    // Both have the address, and nobody listens yet: who listens second is told.
    let twin = Server::listen(Listener::tcp(addr).exclusive(true)).expect("bound, and no more");
    let start = |server: Server| server.cores(cores(1)).config(strict(Config::default())).start(|_| Here(0));
    let running = start(again).expect("the first");
    assert!(matches!(start(twin), Err(Error::Bind { .. })));
    finish(running);
}

/// The kernel wakes the core whose accept has waited for longest; on epoll it wakes all, and who is first may always be the same.
#[test]
fn all_cores_accept_at_an_exclusive_port() {
    for features in [Features::all(), Features::all().without(Feature::DirectDescriptors)] {
        let (running, addr) = exclusive(Config::default().features(features));
        let on = |client: &mut Client| String::from_utf8(client.frame().payload).expect("a number");
        let mut clients = Vec::new();
        let mut seen = BTreeSet::new();
        while clients.len() < 100 {
            let mut client = Client::connect(addr);
            seen.insert(on(&mut client));
            client.echo(TEXT, b"served");
            clients.push(client);
        }
        if running.ring() == RingKind::Uring {
            assert_eq!(seen.len(), 2, "{seen:?}");
        }
        clients.into_iter().for_each(Client::close);
        assert_eq!(finish(running).opened, 100);
    }
}
