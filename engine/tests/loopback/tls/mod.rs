//! TLS on real sockets, against rustls's ordinary client: the echo programme through a relay that encrypts, a foreign
//! WebSocket client, many handshakes at once, and every way in which a handshake or a record can go wrong.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig};
use wsring::{CloseReason, Config, ConnId, CoreCx, Cx, Handler, Message, Opening, ServerTls, Stats, Verdict};

use crate::common::certificates::{Authority, name};
use crate::common::*;

mod deferred;
mod dialling;
mod failures;
pub mod relay;

fn with_tls(tls: ServerConfig) -> Config {
    Config::default().tls(Arc::new(tls))
}

/// A client's connection: bytes of rustls's over a socket.
struct Wire {
    tls: ClientConnection,
    stream: TcpStream,
    /// Received, decrypted, and not read: rustls keeps 16 KiB, and refuses more.
    plain: Vec<u8>,
    at: usize,
}

impl Wire {
    /// Before the first byte.
    fn new(addr: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let mut tls = ClientConnection::new(Arc::clone(config), name()).expect("a client");
        tls.set_buffer_limit(None);
        Self { tls, stream: tcp(addr), plain: Vec::new(), at: 0 }
    }

    /// After the handshake.
    #[track_caller]
    fn connect(addr: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let mut wire = Self::new(addr, config);
        wire.shake().expect("they agree");
        wire
    }

    fn shake(&mut self) -> io::Result<()> {
        while self.tls.is_handshaking() {
            self.send()?;
            if !self.tls.is_handshaking() {
                break;
            }
            self.receive()?;
        }
        self.send()
    }

    /// What rustls has to send, as it is.
    fn pending(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).expect("into memory");
        }
        bytes
    }

    fn send(&mut self) -> io::Result<()> {
        let bytes = self.pending();
        self.stream.write_all(&bytes)
    }

    /// One read; false at the end of the stream.
    fn receive(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 32 << 10];
        let len = read_some(&self.stream, &mut bytes)?;
        let mut bytes = &bytes[..len];
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes)?;
            self.tls.process_new_packets().map_err(io::Error::other)?;
            let _ = self.tls.reader().read_to_end(&mut self.plain); // WouldBlock after the last byte
        }
        Ok(len > 0)
    }

    /// The server must have said goodbye (RFC 8446 §6.1), and then ended the stream.
    #[track_caller]
    fn expect_goodbye(&mut self) {
        while self.receive().expect("no reset") {}
        let state = self.tls.process_new_packets().expect("it is sound");
        assert!(state.peer_has_closed(), "the stream ended without a close_notify");
    }
}

impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() {
            (self.at, self.plain) = (0, Vec::new());
            if !self.receive()? {
                return Ok(0);
            }
        }
        let len = (&self.plain[self.at..]).read(bytes)?;
        self.at += len;
        Ok(len)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.tls.writer().write(bytes)?;
        self.send()?;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Echoes, and tells why connections ended.
struct Witness(Sender<String>);

impl Handler for Witness {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert!(cx.forward(message).is_queued());
    }

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, _: ConnId, (): (), why: &CloseReason<'_>) {
        let why = match why {
            CloseReason::Tls(error) => error.to_string(),
            why => format!("{why:?}"),
        };
        self.0.send(why).expect("the test listens");
    }
}

/// A server with a witness, and a client of it that is there all the time and must not notice anything.
struct Scene {
    running: Running,
    addr: SocketAddr,
    client: Arc<ClientConfig>,
    steady: Wire,
    ends: Receiver<String>,
}

impl Scene {
    fn new(change: impl FnOnce(Config) -> Config) -> Self {
        let authority = Authority::new();
        let config = change(with_tls(authority.server()));
        let (sender, ends) = mpsc::channel();
        let (running, addr) = serve(config, 1, move |_| Witness(sender.clone()));
        let client = Arc::new(authority.client(&[&TLS13]));
        let steady = open(Wire::connect(addr, &client));
        Self { running, addr, client, steady, ends }
    }

    fn connect(&self) -> Wire {
        open(Wire::connect(self.addr, &self.client))
    }

    #[track_caller]
    fn is_undisturbed(&mut self) {
        echo(&mut self.steady, b"undisturbed");
    }

    /// Why the next connection ended.
    #[track_caller]
    fn end(&self) -> String {
        self.ends.recv_timeout(WAIT).expect("an end")
    }

    #[track_caller]
    fn finish(mut self) -> Stats {
        self.is_undisturbed();
        drop(self.steady);
        finish(self.running)
    }
}

/// The opening handshake.
#[track_caller]
fn open(mut wire: Wire) -> Wire {
    wire.write_all(upgrade_head("/").as_bytes()).expect("it goes out");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        wire.read_exact(&mut byte).expect("a response");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    wire
}

/// A short text, there and back.
#[track_caller]
fn echo(wire: &mut Wire, text: &[u8]) {
    let mut frame = Vec::new();
    client_frame(&mut frame, true, TEXT, text, [1, 2, 3, 4]);
    wire.write_all(&frame).expect("it goes out");
    let mut answer = vec![0; 2 + text.len()];
    wire.read_exact(&mut answer).expect("an echo");
    assert!(answer[..2] == [0x81, text.len() as u8] && &answer[2..] == text);
}

/// Another certificate for those who come from then on; who is there, in its handshake too, goes on with what it began with.
#[test]
fn a_configuration_is_exchanged_while_it_serves() {
    let (first, second) = (Authority::new(), Authority::new());
    let tls = ServerTls::from(Arc::new(first.server()));
    let (sender, _ends) = mpsc::channel();
    let (running, addr) = serve(Config::default().tls(tls.clone()), 1, move |_| Witness(sender.clone()));
    let [one, other] = [&first, &second].map(|authority| Arc::new(authority.client(&[&TLS13])));
    let mut there = open(Wire::connect(addr, &one));
    let mut half = Wire::new(addr, &one);
    half.send().expect("its ClientHello goes out");
    echo(&mut there, b"and has been read");
    tls.set(Arc::new(second.server())).expect("it is good");
    assert!(Wire::new(addr, &one).shake().is_err(), "not trusted");
    echo(&mut open(Wire::connect(addr, &other)), b"new");
    half.shake().expect("they agree");
    echo(&mut open(half), b"begun before");
    echo(&mut there, b"open before");
    drop(there);
    finish(running);
}

/// The end of a stream is the end of the connection, with a close_notify before it or without.
#[test]
fn a_stream_may_end_with_or_without_goodbye() {
    let scene = Scene::new(|c| c);
    for goodbye in [true, false] {
        let mut wire = scene.connect();
        echo(&mut wire, b"hello");
        if goodbye {
            wire.tls.send_close_notify();
            wire.send().expect("it goes out");
        } else {
            wire.stream.shutdown(Shutdown::Write).expect("shutdown");
        }
        assert_eq!(scene.end(), "Eof");
        wire.expect_goodbye();
    }
    assert_eq!(scene.finish().tls_failed, 0);
}

/// A stop says 1001, and then goodbye; a close of the client's is answered likewise.
#[test]
fn a_close_is_followed_by_a_goodbye() {
    let scene = Scene::new(|c| c);
    let (mut closes, mut stopped) = (scene.connect(), scene.connect());
    let mut frame = Vec::new();
    client_frame(&mut frame, true, CLOSE, &1000_u16.to_be_bytes(), [7; 4]);
    closes.write_all(&frame).expect("it goes out");
    let mut answer = [0; 4];
    closes.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, [0x88, 2, 3, 0xe8]);
    closes.expect_goodbye();
    scene.running.handle().stop();
    let mut head = [0; 4];
    stopped.read_exact(&mut head).expect("a close");
    assert_eq!((head[0], u16::from_be_bytes([head[2], head[3]])), (0x88, 1001));
    let mut frame = Vec::new();
    client_frame(&mut frame, true, CLOSE, &1001_u16.to_be_bytes(), [7; 4]);
    stopped.write_all(&frame).expect("it goes out");
    stopped.expect_goodbye();
    drop(stopped);
    drop(scene.steady);
    let stats = finish(scene.running);
    assert_eq!((stats.tls_failed, stats.violations), (0, 0));
}

/// One connection too many is told so, over TLS.
#[test]
fn a_full_server_says_503_over_tls() {
    let mut scene = Scene::new(|c| c.connections_max(1));
    let mut wire = Wire::connect(scene.addr, &scene.client);
    let mut answer = String::new();
    wire.read_to_string(&mut answer).expect("a response and the end");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    wire.expect_goodbye();
    // One that never completes its handshake does not keep the place for those that are told.
    drop(Wire::new(scene.addr, &scene.client));
    scene.is_undisturbed();
    let stats = scene.finish();
    assert_eq!((stats.full, stats.opened, stats.tls_failed), (2, 1, 0));
}

/// So is one that had not opened yet when the server stops, before its handshake or in the middle of it.
#[test]
fn a_server_that_stops_says_503_over_tls() {
    let scene = Scene::new(|c| c.linger(WAIT).closing_timeout(WAIT).stop_timeout(WAIT));
    let [mut fresh, mut begun, mut shaken] = [(); 3].map(|()| Wire::new(scene.addr, &scene.client));
    begun.send().expect("its hello goes out");
    assert!(begun.receive().expect("and is answered"));
    shaken.shake().expect("they agree");
    scene.running.handle().stop();
    fresh.shake().expect("they agree");
    begun.shake().expect("they agree");
    for wire in [&mut fresh, &mut begun, &mut shaken] {
        let mut answer = Vec::new();
        while !answer.ends_with(b"stopping\n") {
            let mut piece = [0; 512];
            let len = wire.read(&mut piece).expect("a response");
            assert!(len > 0, "the end of {answer:?}");
            answer.extend_from_slice(&piece[..len]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 503 "), "{answer:?}");
        wire.stream.shutdown(Shutdown::Write).expect("the end");
    }
    drop(scene.steady); // it is told 1001, and does not wait for it
    let stats = scene.running.join().expect("a clean end")[0];
    assert_eq!((stats.declined, stats.opened), (3, 1), "{stats}");
}

/// A second connection of a client takes up the session of the first.
#[test]
fn sessions_are_resumed() {
    let scene = Scene::new(|c| c);
    for expected in [HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let mut wire = scene.connect();
        assert_eq!(wire.tls.handshake_kind(), Some(expected));
        echo(&mut wire, b"again");
    }
    assert_eq!(scene.steady.tls.handshake_kind(), Some(HandshakeKind::Full));
    scene.finish();
}

/// Accepts those that show a certificate.
struct Doorkeeper;

impl Handler for Doorkeeper {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<()> {
        let peer = opening.tls.expect("every connection has TLS here");
        assert_eq!(peer.version(), Some(rustls::ProtocolVersion::TLSv1_3));
        match (peer.certificates(), peer.alpn()) {
            (Some([_]), Some(b"http/1.1")) => Verdict::accept(()),
            other => panic!("{other:?}"),
        }
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

#[test]
fn an_application_sees_whom_it_serves() {
    let authority = Authority::new();
    let (mut server, mut client) = (authority.server_for_known_clients(), authority.known_client());
    for protocols in [&mut server.alpn_protocols, &mut client.alpn_protocols] {
        *protocols = vec![b"http/1.1".to_vec()];
    }
    let (running, addr) = serve(with_tls(server), 1, |_| Doorkeeper);
    drop(open(Wire::connect(addr, &Arc::new(client))));
    // A stranger's handshake seems done to it before the server has refused it (RFC 8446 §4.4.2.4).
    let mut stranger = Wire::new(addr, &Arc::new(authority.client(&[&TLS13])));
    let error = stranger.shake().and_then(|()| stranger.read(&mut [0])).expect_err("a refusal");
    assert_eq!(error.to_string(), "received fatal alert: CertificateRequired");
    let stats = finish(running);
    assert_eq!((stats.opened, stats.tls_failed), (1, 1));
}

/// A thousand handshakes under way at once, and every one of them comes to its end.
#[test]
fn a_thousand_handshakes_at_once() {
    const CROWD: usize = 1000;
    // All are under way until the last one is over, however slow the machine is.
    let mut scene = Scene::new(|c| c.handshake_timeout(20 * WAIT));
    let mut wires: Vec<Wire> = (0..CROWD).map(|_| Wire::new(scene.addr, &scene.client)).collect();
    for wire in &mut wires {
        wire.send().expect("the hello goes out");
    }
    scene.is_undisturbed();
    for wire in &mut wires {
        wire.shake().expect("they agree");
        wire.write_all(upgrade_head("/").as_bytes()).expect("it goes out");
    }
    scene.is_undisturbed();
    for wire in &mut wires {
        let mut head = [0; 13];
        wire.read_exact(&mut head).expect("a response");
        assert_eq!(&head, b"HTTP/1.1 101 ");
    }
    let stats = scene.finish();
    assert_eq!((stats.opened, stats.tls_failed, stats.full), (CROWD as u64 + 1, 0, 0));
}

/// tungstenite over rustls, which nobody here wrote, up to the longest message.
#[test]
fn a_foreign_client_converses() {
    for version in [&TLS13, &TLS12] {
        let authority = Authority::new();
        let (running, addr) = serve(with_tls(authority.server()), 1, |_| Echo);
        let wire = Wire::connect(addr, &Arc::new(authority.client(&[version])));
        let count = crate::peer::converse(&format!("wss://{addr}/"), wire);
        let stats = finish(running);
        assert_eq!((stats.messages, stats.opened, stats.closed, stats.violations), (count, 1, 1, 0));
    }
}

#[test]
fn what_cannot_be_served_is_refused() {
    let authority = Authority::new();
    let (mut early, mut small) = (authority.server(), authority.server());
    early.max_early_data_size = 1;
    small.max_fragment_size = Some(1);
    let says = [
        "configuration: tls must not take early data: set max_early_data_size to 0",
        "configuration: tls has a max_fragment_size that rustls refuses",
    ];
    for (tls, says) in [early, small].into_iter().zip(says) {
        let server = wsring::Server::bind("127.0.0.1:0").expect("a free port").config(with_tls(tls));
        assert_eq!(server.start(|_| Echo).expect_err("it makes no sense").to_string(), says);
    }
}
