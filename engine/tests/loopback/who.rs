//! Who connects: the address that a handler is told, wherever it is told one, and who is turned away.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};

use wsring::{
    Answered, Config, CoreCx, Cx, Dialled, Feature, Features, Handler, Message, Opening, Peer, Target, Verdict,
};

use crate::common::*;

/// Says hello with the peer's address, and takes nobody from [`BANNED`].
struct Usher;

const BANNED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

impl Handler for Usher {
    type Conn = Peer;
    type Mail = ();

    fn on_accept(&mut self, _: &mut CoreCx<'_, Self>, peer: &Peer) -> bool {
        peer.ip() != Some(IpAddr::V4(BANNED))
    }

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<Peer> {
        Verdict::accept(opening.peer)
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let peer = cx.peer();
        assert_eq!(peer, *cx.data(), "the one that asked");
        assert!(cx.send(peer.to_string().as_str()).is_queued());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert!(cx.forward(message).is_queued());
    }
}

/// Many at once and again in the slots of those who have left: each is told its own address. With every way to accept.
#[test]
fn everybody_is_told_its_own_address() {
    let ways = [
        (Features::all(), 10_000),
        (Features::all(), 100), // less than may wait
        (Features::all().without(Feature::DeferTaskrun), 10_000),
        (Features::all().without(Feature::MultishotAccept), 10_000),
        (Features::all().without(Feature::DirectDescriptors), 10_000),
        (Features::none(), 10_000),
    ];
    for (features, cap) in ways {
        let (running, addr) = serve(Config::default().features(features).connections_max(cap), 1, |_| Usher);
        for _ in 0..3 {
            // All have connected before the first asks.
            let streams: Vec<TcpStream> = (0..50).map(|_| tcp(addr)).collect();
            let own = |stream: &TcpStream| stream.local_addr().expect("an address").to_string();
            let clients: Vec<_> = streams.into_iter().map(|stream| (own(&stream), asked(stream))).collect();
            for (own, mut client) in clients {
                client.expect(TEXT, own.as_bytes());
                client.close();
            }
        }
        assert_eq!(finish(running).opened, 150);
    }
}

#[test]
fn addresses_of_ipv6_are_told() {
    let any = (Ipv6Addr::LOCALHOST, 0).into();
    let (running, addr) = serve_at(any, Config::default(), 1, |_| Usher).expect("the server starts");
    let stream = tcp(addr);
    let own = stream.local_addr().expect("an address").to_string();
    let mut client = asked(stream);
    client.expect(TEXT, own.as_bytes());
    client.close();
    finish(running);
}

#[test]
fn who_is_turned_away_is_told_nothing() {
    let (running, addr) = serve(Config::default(), 1, |_| Usher);
    let banned = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    banned.bind(&SocketAddr::from((BANNED, 0)).into()).expect("any port");
    banned.connect(&addr.into()).expect("it connects");
    assert!(matches!(read_some(&banned.into(), &mut [0]), Ok(0)), "an end, without a byte");
    let mut client = Client::connect(addr);
    client.expect(TEXT, client_address(&client).as_bytes());
    client.close();
    let stats = finish(running);
    assert_eq!((stats.accepted, stats.turned_away, stats.opened, stats.declined), (2, 1, 1, 0));
}

fn client_address(client: &Client) -> String {
    client.stream.local_addr().expect("an address").to_string()
}

/// Upgrades.
fn asked(mut stream: TcpStream) -> Client {
    stream.write_all(upgrade_head("/").as_bytes()).expect("the request goes out");
    Client::upgraded(stream)
}

/// Tells of the server that it has dialled.
struct Dialler(Target, Sender<Peer>);

impl Handler for Dialler {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        cx.connect(self.0.clone());
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<()> {
        Some(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        self.1.send(cx.peer()).expect("the test waits");
        cx.stop_core();
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

#[test]
fn who_was_dialled_is_told_too() {
    let (running, addr) = serve(Config::default(), 1, |_| Usher);
    let (sender, peers) = channel();
    let target = Target::new(&format!("ws://{addr}/")).expect("a target");
    let (client, _) = serve(Config::default(), 1, move |_| Dialler(target.clone(), sender.clone()));
    assert_eq!(peers.recv_timeout(WAIT).expect("it opens").addr(), Some(addr));
    finish(client);
    finish(running);
}
