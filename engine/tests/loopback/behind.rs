//! Proxies in front: what PROXY headers and requests tell of clients at listeners that believe them, and at those that do not; Unix-domain sockets; and
//! the limit on connections from one network. (`engine/tests/proxies` starts real proxies.)

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

use wsring::{
    Config, Conn, CoreCx, Cx, Error, ForwardedField, Handler, Listener, Message, Opening, Peer, Policy, Prefix,
    ProxyProtocol, Response, Running, Server, Verdict,
};

use crate::common::*;

/// Tells who asks: on a page, and to a WebSocket first.
struct Doorman(Sender<Peer>);

/// Whom he does not take.
const BANNED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 99);

fn told(peer: Peer, via: Option<Peer>, name: Option<&str>, alpn: Option<&[u8]>, subprotocol: Option<&str>) -> String {
    let via = via.map_or("-".to_owned(), |via| via.to_string());
    let alpn = alpn.map(String::from_utf8_lossy);
    let [name, alpn, subprotocol] = [name, alpn.as_deref(), subprotocol].map(|text| text.unwrap_or("-"));
    format!("{peer} via {via} name {name} alpn {alpn} subprotocol {subprotocol}")
}

fn told_of(conn: &Conn<'_, Doorman>) -> String {
    told(conn.peer(), conn.via(), conn.tls_server_name(), conn.alpn(), conn.subprotocol())
}

impl Handler for Doorman {
    type Conn = String;
    type Mail = ();

    fn on_accept(&mut self, _: &mut CoreCx<'_, Self>, peer: &Peer) -> bool {
        let _ = self.0.send(*peer); // the test may have ended
        peer.ip() != Some(BANNED.into())
    }

    fn on_request(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        let text = told(opening.peer, opening.via, opening.tls_server_name(), opening.alpn(), opening.subprotocol);
        Response::new(text.into_bytes())
    }

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<String> {
        let text = told(opening.peer, opening.via, opening.tls_server_name(), opening.alpn(), opening.subprotocol);
        Verdict::accept(text)
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let text = told_of(cx);
        assert_eq!(text, *cx.data(), "what was told before it was open");
        assert!(cx.send(text.as_str()).is_queued());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert!(cx.forward(message).is_queued());
    }
}

fn start(listener: Listener, config: Config, core_count: usize) -> (Running, Receiver<Peer>) {
    let (sender, peers) = channel();
    let server = Server::listen(listener).expect("it is bound").cores(cores(core_count)).config(strict(config));
    (server.start(move |_| Doorman(sender.clone())).expect("it starts"), peers)
}

fn any() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// What is answered to a request with these header lines, behind these bytes: the status, and the body; 0 if nothing is.
fn ask_over(mut stream: impl Read + Write, preface: &[u8], lines: &str) -> (u16, String) {
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    // Who is turned away may have closed by now.
    let _ = stream.write_all(&[preface, request.as_bytes()].concat());
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match patiently(|| stream.read(&mut piece)) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("no answer: {error}"),
        }
    }
    let answer = String::from_utf8(answer).expect("text");
    let status = answer.get(9..12).map_or(0, |status| status.parse().expect("a status"));
    (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &(block.len() as u16).to_be_bytes(), block].concat()
}

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n";

#[test]
fn a_proxy_header_names_the_client() {
    let (running, peers) = start(Listener::tcp(any()).proxy(ProxyProtocol::Required), Config::default(), 1);
    let addr = running.local_addrs()[0];
    let values = b"\x01\0\x02h2\x02\0\x09a.example";
    let v4 = [&[203, 0, 113, 8, 192, 0, 2, 1, 0x9c, 0x41, 1, 187][..], values].concat();
    let v6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0; 16], &[0, 80, 1, 187]].concat();
    for (header, client) in [
        (V1.to_vec(), Some("203.0.113.7:40000 via * name - alpn - subprotocol -")),
        (v2(0x21, 0x11, &v4), Some("203.0.113.8:40001 via * name a.example alpn h2 subprotocol -")),
        (v2(0x21, 0x21, &v6), Some("[2001:db8::9]:80 via * name - alpn - subprotocol -")),
        // It speaks for itself, or does not say for whom.
        (v2(0x20, 0x11, &v4), None),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY TCP6 :: ::1 0 1\r\n".to_vec(), None),
    ] {
        let stream = tcp(addr);
        let own = stream.local_addr().expect("an address");
        let expected = client.map(|text| text.replace('*', &own.to_string()));
        let expected = expected.unwrap_or_else(|| format!("{own} via - name - alpn - subprotocol -"));
        assert_eq!(ask_over(&stream, &header, ""), (200, expected.clone()));
        // The proxy is asked about first, and then its client.
        let proxy = peers.recv_timeout(WAIT).expect("it connected");
        assert!(proxy.is_proxy() && proxy.addr() == Some(own), "{proxy:?}");
        if client.is_some() {
            let client = peers.recv_timeout(WAIT).expect("it is named");
            assert!(!client.is_proxy() && expected.starts_with(&client.to_string()), "{client:?}");
        }
        assert!(peers.try_recv().is_err());
    }
    // A WebSocket, whose header comes in two pieces.
    let mut stream = tcp(addr);
    let own = stream.local_addr().expect("an address");
    stream.write_all(&V1[..17]).expect("the first piece");
    std::thread::yield_now();
    stream.write_all(&[&V1[17..], upgrade_head("/").as_bytes()].concat()).expect("the second");
    let mut client = Client::upgraded(stream);
    let expected = format!("203.0.113.7:40000 via {own} name - alpn - subprotocol -");
    client.expect(TEXT, expected.as_bytes());
    client.echo(TEXT, b"and on it goes");
    client.close();
    let stats = finish(running);
    assert_eq!((stats.proxy_failed, stats.opened, stats.turned_away), (0, 1, 0));
}

#[test]
fn who_comes_without_a_header_is_closed_and_counted() {
    let (running, _peers) = start(Listener::tcp(any()).proxy(ProxyProtocol::Required), Config::default(), 1);
    let addr = running.local_addrs()[0];
    assert_eq!(ask_over(tcp(addr), b"", ""), (0, String::new()), "plain HTTP");
    assert_eq!(ask_over(tcp(addr), b"\x16\x03\x01\x02\x00", "").0, 0, "TLS");
    assert_eq!(ask_over(tcp(addr), b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 0443\r\n", "").0, 0);
    // Half of one.
    let mut half = tcp(addr);
    half.write_all(&V1[..9]).expect("it goes out");
    half.shutdown(std::net::Shutdown::Write).expect("it is there");
    assert!(matches!(read_some(&half, &mut [0]), Ok(0)));
    // A client that the handler does not take.
    assert_eq!(ask_over(tcp(addr), b"PROXY TCP4 203.0.113.99 192.0.2.1 40000 443\r\n", "").0, 0);
    assert_eq!(ask_over(tcp(addr), V1, "").0, 200);
    let stats = finish(running);
    assert_eq!((stats.proxy_failed, stats.turned_away, stats.accepted, stats.closed), (4, 1, 6, 6));
}

#[test]
fn a_listener_that_requires_none_refuses_a_header() {
    let (running, _peers) = start(Listener::tcp(any()), Config::default(), 1);
    let addr = running.local_addrs()[0];
    for header in [V1.to_vec(), v2(0x20, 0, &[])] {
        assert_eq!(ask_over(tcp(addr), &header, "").0, 400, "{header:?}");
    }
    assert_eq!(finish(running).proxy_failed, 0);
}

fn networks(texts: &[&str]) -> Vec<Prefix> {
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}

#[test]
fn a_request_of_a_listed_proxy_names_the_client() {
    let listener = |from: &[&str]| Listener::tcp(any()).trust_forwarded(ForwardedField::XForwardedFor, networks(from));
    let lines = "X-Forwarded-For: 198.51.100.1, 203.0.113.7\r\nForwarded: for=192.0.2.66\r\n";
    let told = |listener: Listener, preface: &[u8], lines: &str| {
        let (running, _peers) = start(listener, Config::default(), 1);
        let stream = tcp(running.local_addrs()[0]);
        let own = stream.local_addr().expect("an address").to_string();
        let (status, text) = ask_over(&stream, preface, lines);
        finish(running);
        assert_eq!(status, 200);
        text.split_once(" name").expect("a name").0.replace(&own, "*")
    };
    assert_eq!(told(listener(&["127.0.0.0/8"]), b"", lines), "203.0.113.7 via *");
    assert_eq!(told(listener(&["127.0.0.0/8", "203.0.113.0/24"]), b"", lines), "198.51.100.1 via *");
    assert_eq!(told(listener(&["127.0.0.0/8"]), b"", "X-Forwarded-For: 203.0.113.7:99\r\n"), "203.0.113.7:99 via *");
    assert_eq!(told(listener(&["127.0.0.0/8"]), b"", "Forwarded: for=192.0.2.66\r\n"), "* via -");
    assert_eq!(told(listener(&["192.0.2.0/24"]), b"", lines), "* via -", "nobody who is listed");
    assert_eq!(told(Listener::tcp(any()), b"", lines), "* via -", "nobody is listed");
    let forwarded = Listener::tcp(any()).trust_forwarded(ForwardedField::Forwarded, networks(&["127.0.0.1"]));
    assert_eq!(told(forwarded, b"", lines), "192.0.2.66 via *");
    // Two proxies, of which the outer one tells in the request, and the inner one in front of it.
    let both = || listener(&["203.0.113.7"]).proxy(ProxyProtocol::Required);
    assert_eq!(told(both(), V1, "X-Forwarded-For: 198.51.100.1\r\n"), "198.51.100.1 via *");
    assert_eq!(told(both(), b"PROXY UNKNOWN\r\n", "X-Forwarded-For: 198.51.100.1\r\n"), "* via -");
    // A proxy of TCP that is listed itself, and passes on what a client wrote: its word counts where it is its own (LOCAL), and not behind a header
    // that names nobody.
    let both = || listener(&["127.0.0.0/8"]).proxy(ProxyProtocol::Required);
    let unspec = v2(0x21, 0x00, b"");
    for (header, client) in [
        (b"PROXY UNKNOWN\r\n".to_vec(), "* via -"),
        (unspec, "* via -"),
        (b"PROXY TCP6 :: ::1 0 1\r\n".to_vec(), "* via -"),
        (V1.to_vec(), "203.0.113.7:40000 via *"),
        (v2(0x20, 0x00, b""), "198.51.100.1 via *"),
    ] {
        assert_eq!(told(both(), &header, "X-Forwarded-For: 198.51.100.1\r\n"), client, "{header:?}");
    }
}

/// A path of one test's own, gone with it.
struct Place(Folder);

impl Place {
    fn new() -> Self {
        Self(Folder::new())
    }

    fn file(&self) -> PathBuf {
        self.0.path("socket")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.file()).expect("it listens");
        stream.set_read_timeout(Some(WAIT)).expect("a timeout");
        stream
    }
}

#[test]
fn a_unix_socket_serves_all_cores_and_its_file_goes_with_them() {
    for core_count in [1, 2] {
        let place = Place::new();
        let (running, _peers) = start(Listener::unix(place.file()).mode(0o640), Config::default(), core_count);
        assert_eq!((running.local_paths(), running.local_addrs()), (&[place.file()][..], &[][..]));
        assert_eq!(fs::metadata(place.file()).expect("a file").permissions().mode() & 0o777, 0o640);
        for _ in 0..20 {
            let text = "unknown via - name - alpn - subprotocol -";
            assert_eq!(ask_over(place.connect(), b"", ""), (200, text.to_owned()));
        }
        // A WebSocket, and a message longer than a socket holds.
        let mut stream = place.connect();
        stream.write_all(upgrade_head("/").as_bytes()).expect("the request goes out");
        let mut head = Vec::new();
        while !head.ends_with(b"subprotocol -") {
            let mut byte = [0];
            patiently(|| stream.read_exact(&mut byte)).expect("an answer");
            head.push(byte[0]);
        }
        let (message, mut frame) = (Random::new(7).bytes(1 << 20), Vec::new());
        client_frame(&mut frame, true, BINARY, &message, [1, 2, 3, 4]);
        let mut twin = stream.try_clone().expect("a second descriptor");
        let sender = std::thread::spawn(move || twin.write_all(&frame));
        let mut echo = vec![0; message.len() + 10];
        patiently(|| stream.read_exact(&mut echo)).expect("all of it");
        assert!(echo[10..] == message[..]);
        sender.join().expect("no panic").expect("all of it");
        drop(stream);
        assert_eq!(finish(running).accepted, 21);
        assert!(!place.file().exists(), "its file is left");
    }
}

#[test]
fn a_file_that_somebody_has_is_an_error_and_a_stale_one_is_not() {
    let place = Place::new();
    let fails = || {
        let error = Server::listen(Listener::unix(place.file())).expect_err("it is in use");
        assert!(matches!(&error, Error::Bind { source, .. } if source.kind() == ErrorKind::AddrInUse), "{error}");
        assert!(error.to_string().contains("socket"), "{error}");
    };
    fs::write(place.file(), "not a socket").expect("a file");
    fails();
    assert_eq!(fs::read(place.file()).expect("it is there"), b"not a socket");
    fs::remove_file(place.file()).expect("it was there");
    let other = UnixListener::bind(place.file()).expect("a socket");
    fails();
    drop(other);
    assert!(place.file().exists(), "std leaves the file");
    let (running, _peers) = start(Listener::unix(place.file()), Config::default(), 1);
    fails();
    assert_eq!(ask_over(place.connect(), b"", "").0, 200);
    // Another takes its place: that file is not ours to remove.
    fs::remove_file(place.file()).expect("it was there");
    let _other = UnixListener::bind(place.file()).expect("a socket");
    finish(running);
    assert!(place.file().exists(), "another's file was removed");
    let long = Listener::unix(std::env::temp_dir().join("x".repeat(200)));
    assert!(matches!(Server::listen(long), Err(Error::Bind { .. })));
}

/// Who may connect there, says the file's mode: so whoever does is believed.
#[test]
fn proxies_at_a_unix_socket_name_their_clients() {
    let place = Place::new();
    let listener = Listener::unix(place.file()).trust_forwarded(ForwardedField::XForwardedFor, []);
    let (running, _peers) = start(listener, Config::default(), 1);
    let text = |client: &str| format!("{client} name - alpn - subprotocol -");
    let lines = "X-Forwarded-For: 198.51.100.1, 203.0.113.7\r\n";
    assert_eq!(ask_over(place.connect(), b"", lines), (200, text("203.0.113.7 via unknown")));
    assert_eq!(ask_over(place.connect(), b"", ""), (200, text("unknown via -")));
    finish(running);
    let (running, peers) = start(Listener::unix(place.file()).proxy(ProxyProtocol::Required), Config::default(), 1);
    assert_eq!(ask_over(place.connect(), V1, ""), (200, text("203.0.113.7:40000 via unknown")));
    assert!(peers.recv_timeout(WAIT).expect("it connected").is_proxy());
    finish(running);
}

/// The address from which somebody else connects.
fn from(ip: [u8; 4], addr: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((ip, 0)).into()).expect("any port");
    socket.connect(&addr.into()).expect("it connects");
    let stream = TcpStream::from(socket);
    bounded(&stream);
    stream
}

#[test]
fn a_network_has_as_many_connections_as_it_may() {
    for (bits, neighbour_enters) in [(32, true), (24, false)] {
        let config = Config::default().crowd_max(2).crowd_prefixes(bits, 64);
        let (running, peers) = start(Listener::tcp(any()), config, 1);
        let addr = running.local_addrs()[0];
        let mut there: Vec<Client> = (0..2).map(|_| Client::connect(addr)).collect();
        assert_eq!(ask_over(tcp(addr), b"", ""), (0, String::new()), "one more than the limit");
        assert_eq!(ask_over(from([127, 0, 0, 2], addr), b"", "").0 == 200, neighbour_enters);
        assert_eq!(ask_over(from([127, 0, 1, 2], addr), b"", "").0, 200, "another network");
        assert_eq!(peers.try_iter().count(), if neighbour_enters { 4 } else { 3 }, "nobody is asked about the others");
        there.iter_mut().for_each(|client| assert_eq!(client.frame().opcode, TEXT));
        there.pop().expect("two").close();
        // Its slot is free when the kernel has closed its socket.
        let deadline = std::time::Instant::now() + WAIT;
        let mut refused = 1 + u64::from(!neighbour_enters);
        while ask_over(tcp(addr), b"", "").0 == 0 {
            refused += 1;
            assert!(std::time::Instant::now() < deadline, "nobody may come in the place of who left");
        }
        there.pop().expect("one").close();
        assert_eq!(finish(running).crowded, refused);
    }
}

/// The proxy has as many connections as it likes; each of its clients as many as it may.
#[test]
fn clients_of_a_proxy_are_counted_and_the_proxy_is_not() {
    let config = || Config::default().crowd_max(1);
    let hold = |addr: SocketAddr, preface: &[u8], lines: &[&str]| {
        let mut stream = tcp(addr);
        stream.write_all(&[preface, handshake("/", lines).as_bytes()].concat()).expect("it goes out");
        Client::upgraded(stream)
    };
    let header = |last: u8| format!("PROXY TCP4 203.0.113.{last} 192.0.2.1 40000 443\r\n");
    let (running, peers) = start(Listener::tcp(any()).proxy(ProxyProtocol::Required), config(), 1);
    let addr = running.local_addrs()[0];
    let held = [1, 2].map(|last| hold(addr, header(last).as_bytes(), &[]));
    assert_eq!(ask_over(tcp(addr), header(1).as_bytes(), ""), (0, String::new()));
    assert_eq!(ask_over(tcp(addr), b"PROXY UNKNOWN\r\n", "").0, 200, "a health check of the proxy's own");
    assert_eq!(ask_over(tcp(addr), header(3).as_bytes(), "").0, 200);
    drop(held);
    assert_eq!(
        (peers.try_iter().count(), finish(running).crowded),
        (5 + 3, 1),
        "each proxy, and each client that has room"
    );
    let trusting = Listener::tcp(any()).trust_forwarded(ForwardedField::XForwardedFor, networks(&["127.0.0.1"]));
    let (running, _peers) = start(trusting, config(), 1);
    let addr = running.local_addrs()[0];
    let line = |last: u8| format!("X-Forwarded-For: 203.0.113.{last}");
    let held = [1, 2].map(|last| hold(addr, b"", &[&line(last)]));
    let (status, body) = ask_over(tcp(addr), b"", &(line(1) + "\r\n"));
    assert_eq!((status, body.trim()), (429, "too many connections from this network"));
    assert_eq!(ask_over(tcp(addr), b"", &(line(3) + "\r\n")).0, 200);
    assert_eq!(ask_over(tcp(addr), b"", "").0, 200, "what the proxy asks for itself");
    // Who is no proxy is counted when it connects.
    let held = (held, hold_from(addr));
    assert_eq!(ask_over(from([127, 0, 0, 2], addr), b"", "").0, 0);
    drop(held);
    assert_eq!(finish(running).crowded, 2);
}

fn hold_from(addr: SocketAddr) -> Client {
    let mut stream = from([127, 0, 0, 2], addr);
    stream.write_all(upgrade_head("/").as_bytes()).expect("it goes out");
    Client::upgraded(stream)
}

#[test]
fn the_subprotocol_is_told_of_an_open_connection() {
    let config = Config::default().policy(Policy::default().subprotocols(["b", "a"]));
    let (running, _peers) = start(Listener::tcp(any()), config, 1);
    let offers = ["Sec-WebSocket-Protocol: a, b"];
    let mut client = Client::try_open(running.local_addrs()[0], "/", &offers).expect("it opens");
    let own = client.stream.local_addr().expect("an address");
    client.expect(TEXT, format!("{own} via - name - alpn - subprotocol b").as_bytes());
    client.close();
    finish(running);
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConnection, StreamOwned};
    use wsring::ServerTls;

    use super::*;
    use crate::common::certificates::{Authority, NAME, name};

    /// What a proxy tells of its own TLS is not what was negotiated here, also where that is nothing.
    #[test]
    fn a_proxys_name_is_not_taken_for_one_that_was_asked_for_here() {
        let authority = Authority::new();
        let own = Arc::new(authority.server_for("127.0.0.1", 4000));
        let listener = Listener::tcp(any()).proxy(ProxyProtocol::Required).tls(own);
        let (running, _peers) = start(listener, Config::default(), 1);
        let mut stream = tcp(running.local_addrs()[0]);
        let own = stream.local_addr().expect("an address");
        let values = b"\x01\0\x02h2\x02\0\x09a.example";
        let block = [&[203, 0, 113, 8, 192, 0, 2, 1, 0x9c, 0x41, 1, 187][..], values].concat();
        stream.write_all(&v2(0x21, 0x11, &block)).expect("the header goes out");
        // An address is no name to ask for (RFC 6066 §3), and nobody speaks of protocols.
        let address = ServerName::try_from("127.0.0.1").expect("an address");
        let tls = ClientConnection::new(Arc::new(authority.client(&[&TLS13])), address).expect("a client");
        let mut stream = StreamOwned::new(tls, Patient(stream));
        stream.write_all(upgrade_head("/").as_bytes()).expect("the request goes out");
        let text = format!("203.0.113.8:40001 via {own} name - alpn - subprotocol -");
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(text.as_bytes()) {
            stream.read_exact(&mut byte).expect("what it is told");
            said.push(byte[0]);
        }
        drop(stream);
        finish(running);
    }

    /// Behind the header or without one, each listener with what it speaks; resumed sessions too.
    #[test]
    fn what_tls_knows_is_told_behind_a_header_too() {
        let authority = Authority::new();
        let mut own = authority.server();
        own.alpn_protocols = vec![b"http/1.1".to_vec()];
        let own = ServerTls::from(Arc::new(own));
        let (sender, _peers) = channel();
        let server = Server::listen(Listener::tcp(any()).proxy(ProxyProtocol::Required).tls(own.clone()))
            .and_then(|server| server.and_listen(Listener::tcp(any())))
            .and_then(|server| server.and_listen(Listener::tcp(any()).without_tls()))
            .expect("they are bound");
        // Another certificate, which no client here trusts.
        let config = Config::default().tls(Arc::new(Authority::new().server()));
        let server = server.cores(cores(1)).config(strict(config));
        let running = server.start(move |_| Doorman(sender.clone())).expect("it starts");
        let addrs = running.local_addrs().to_vec();
        for version in [&TLS13, &TLS12] {
            let mut client = authority.client(&[version]);
            client.alpn_protocols = vec![b"http/1.1".to_vec()];
            let client = Arc::new(client);
            for _ in 0..2 {
                let tls = ClientConnection::new(Arc::clone(&client), name()).expect("a client");
                let mut stream = tcp(addrs[0]);
                let own = stream.local_addr().expect("an address");
                stream.write_all(V1).expect("the header goes out");
                let text = format!("203.0.113.7:40000 via {own} name {NAME} alpn http/1.1 subprotocol -");
                assert_eq!(ask_over(StreamOwned::new(tls, Patient(stream)), b"", ""), (200, text.clone()));
                // And to a WebSocket, by the connection itself.
                let tls = ClientConnection::new(Arc::clone(&client), name()).expect("a client");
                let mut stream = tcp(addrs[0]);
                let own = stream.local_addr().expect("an address");
                stream.write_all(V1).expect("the header goes out");
                let mut stream = StreamOwned::new(tls, Patient(stream));
                stream.write_all(upgrade_head("/").as_bytes()).expect("the request goes out");
                let text = format!("203.0.113.7:40000 via {own} name {NAME} alpn http/1.1 subprotocol -");
                let (mut said, mut byte) = (Vec::new(), [0]);
                while !said.ends_with(text.as_bytes()) {
                    stream.read_exact(&mut byte).expect("what it is told");
                    said.push(byte[0]);
                }
            }
        }
        let tls = ClientConnection::new(Arc::new(authority.client(&[&TLS13])), name()).expect("a client");
        let mut refused = StreamOwned::new(tls, Patient(tcp(addrs[1])));
        assert!(
            refused.write_all(b"GET").and_then(|()| refused.flush()).is_err(),
            "the certificate of the configuration"
        );
        assert_eq!(ask_over(tcp(addrs[2]), b"", "").0, 200, "no TLS there");
        own.set(Arc::new(Authority::new().server())).expect("it is good");
        let tls = ClientConnection::new(Arc::new(authority.client(&[&TLS13])), name()).expect("a client");
        let mut stream = tcp(addrs[0]);
        stream.write_all(V1).expect("the header goes out");
        let mut refused = StreamOwned::new(tls, Patient(stream));
        assert!(refused.write_all(b"GET").and_then(|()| refused.flush()).is_err(), "it was exchanged");
        let early = Listener::tcp(any()).tls(Arc::new({
            let mut config = authority.server();
            config.max_early_data_size = 1;
            config
        }));
        assert!(matches!(Server::listen(early), Err(Error::Config(_))));
        finish(running);
    }
}
