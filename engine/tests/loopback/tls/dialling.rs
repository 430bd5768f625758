//! Connections that we make over TLS: to our own server, and to servers that are not who they should be.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, Error, ServerConfig};
use wsring::{CoreCx, Cx, DialError, Handler, Message, Opening, Proxy, Target, TlsError, Verdict};

use super::with_tls;
use crate::caller::{Line, Setup, Told, dial};
use crate::common::certificates::{Authority, NAME};
use crate::common::*;

/// Of the server's address.
const HOST: &str = "127.0.0.1";

fn target(addr: SocketAddr, tls: rustls::ClientConfig) -> Target {
    Target::new(&format!("wss://{addr}/")).expect("a URL").tls(Arc::new(tls))
}

#[track_caller]
fn tls_error(line: &Line) -> TlsError {
    match line.failed() {
        DialError::Tls(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn our_own_server_over_tls() {
    let authority = Authority::new();
    let mut random = Random::new(3);
    let says: Vec<Vec<u8>> = [0, 1, 125, 4096, 16_384, 65_536, 1 << 20].map(|len| random.bytes(len)).into();
    for version in [&TLS12, &TLS13] {
        let (server, addr) = serve(with_tls(authority.server_for(HOST, 4000)), 1, |_| Echo);
        let setup = Setup { says: says.clone(), closes_after: says.len(), ..Setup::default() };
        let line = setup.dial([target(addr, authority.client(&[version]))]);
        line.open();
        line.gets(&says);
        assert_eq!(line.closed(), "Local { clean: true }");
        let stats = line.finish();
        assert_eq!((stats.opened, stats.closed, stats.tls_failed, stats.resets), (1, 1, 0, 0));
        let stats = finish(server);
        assert_eq!((stats.opened, stats.closed, stats.tls_failed, stats.resets), (1, 1, 0, 0));
    }
}

/// Tells everybody which certificate it showed.
struct Mirror;

impl Handler for Mirror {
    type Conn = Vec<u8>;
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<Vec<u8>> {
        let peer = opening.tls.expect("every connection has TLS here");
        let shown = peer.certificates().expect("the handshake asks for it");
        Verdict::accept(shown[0].to_vec())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let shown = cx.data().clone();
        assert!(cx.send(Message::Binary(&shown)).is_queued());
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

/// Of two targets of one server, and one of another server that another authority knows, each shows its own certificate and trusts its own authority; one with the
/// certificate or the trust of another gets nowhere.
#[test]
fn targets_have_certificates_and_roots_of_their_own() {
    let authorities = [Authority::new(), Authority::new()];
    let servers = authorities.each_ref().map(|authority| {
        let (running, addr) = serve(with_tls(authority.server_for_known_clients()), 1, |_| Mirror);
        (running, addr)
    });
    let to =
        |server: usize, tls: rustls::ClientConfig| target(servers[server].1, tls).server_name(NAME).expect("a name");
    let signed = [0, 0, 1].map(|by| (by, authorities[by].sign("client", 4000)));
    let certificates = signed.each_ref().map(|(_, identity)| identity.certificate.to_vec());
    let line = Setup::default().dial(signed.map(|(by, identity)| to(by, authorities[by].client_as(identity))));
    let mut shown = Vec::new();
    while shown.len() < 3 {
        match line.next() {
            Told::Binary(certificate) => shown.push(certificate),
            Told::Answer { .. } | Told::Open(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(certificates.iter().all(|certificate| shown.contains(certificate)), "each shows its own");
    finish(line.running);
    // Known to the other, or to nobody.
    let stranger = authorities[0].client_as(authorities[1].sign("client", 4000));
    for tls in [stranger, authorities[0].client(&[&TLS13])] {
        let line = dial(to(0, tls));
        drop(line.failed());
        line.finish();
    }
    let line = dial(to(0, authorities[1].client_as(authorities[0].sign("client", 4000))));
    match tls_error(&line) {
        TlsError::Peer(Error::InvalidCertificate(why)) => assert_eq!(why, CertificateError::UnknownIssuer),
        other => panic!("{other}"),
    }
    line.finish();
    let stats = servers.map(|(running, _)| finish(running));
    assert_eq!(stats.map(|stats| (stats.opened, stats.tls_failed)), [(2, 3), (1, 0)]);
}

/// TLS goes through a proxy as it is, and proves another name than the address that is dialled.
#[test]
fn through_a_proxy_under_another_name() {
    let authority = Authority::new();
    let (server, addr) = serve(with_tls(authority.server_for(NAME, 4000)), 1, |_| Echo);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let via = listener.local_addr().expect("an address");
    let proxy = thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("the client connects");
        bounded(&client);
        let (head, _) = read_head(&client).expect("a request");
        assert!(head.starts_with(&format!("CONNECT {addr} HTTP/1.1\r\n")), "{head}");
        let mut server = tcp(addr);
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("it goes out");
        let (mut to, mut from) = (server.try_clone().expect("a clone"), client.try_clone().expect("a clone"));
        let there = thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut server, &mut client);
        let _ = client.shutdown(std::net::Shutdown::Write);
        there.join().expect("no panic");
    });
    let says = vec![Random::new(5).bytes(100_000)];
    let setup = Setup { says: says.clone(), closes_after: 1, ..Setup::default() };
    let target = target(addr, authority.client(&[&TLS13])).server_name(NAME).expect("a name");
    let line = setup.dial([target.proxy(Proxy::new(&format!("http://{via}")).expect("a proxy")).expect("a host")]);
    line.open();
    line.gets(&says);
    assert_eq!(line.closed(), "Local { clean: true }");
    line.finish();
    proxy.join().expect("the proxy is content");
    assert_eq!(finish(server).opened, 1);
}

/// Many at once: each handshake is its own.
#[test]
fn a_crowd_over_tls() {
    let authority = Authority::new();
    let (server, addr) = serve(with_tls(authority.server_for(HOST, 4000)), 1, |_| Echo);
    let setup = Setup { says: vec![b"hello".to_vec()], closes_after: 1, ..Setup::default() };
    let tls = target(addr, authority.client(&[&TLS13]));
    let line = setup.dial((0..300).map(|_| tls.clone()));
    let mut closed = 0;
    while closed < 300 {
        match line.next() {
            Told::Closed(why, _) => {
                assert_eq!(why, "Local { clean: true }");
                closed += 1;
            }
            Told::Failed { why, .. } => panic!("{why}"),
            _ => {}
        }
    }
    line.finish();
    finish(server);
}

/// An expired certificate, one for another name, one of an authority that we do not know: each is named, and the server is told.
#[test]
fn servers_that_are_not_who_they_should_be() {
    let authority = Authority::new();
    let stranger = Authority::new();
    type Is = fn(&CertificateError) -> bool;
    let cases: [(ServerConfig, Is); 3] = [
        (authority.server_for(HOST, 2020), |e| {
            matches!(e, CertificateError::Expired | CertificateError::ExpiredContext { .. })
        }),
        (authority.server_for(NAME, 4000), |e| {
            matches!(e, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
        }),
        (stranger.server_for(HOST, 4000), |e| matches!(e, CertificateError::UnknownIssuer)),
    ];
    for (config, is_expected) in cases {
        let (server, addr) = serve(with_tls(config), 1, |_| Echo);
        let line = dial(target(addr, authority.client(&[&TLS13])));
        match tls_error(&line) {
            TlsError::Peer(Error::InvalidCertificate(why)) => assert!(is_expected(&why), "{why:?}"),
            other => panic!("{other}"),
        }
        let stats = line.finish();
        assert_eq!((stats.connected, stats.opened, stats.dials_failed), (1, 0, 1));
        let stats = finish(server);
        assert_eq!((stats.opened, stats.tls_failed), (0, 1), "the server was told");
    }
}

/// Servers that hang up, at once or in the middle, that speak no TLS, that say nothing.
#[test]
fn servers_that_do_not_shake_hands() {
    let authority = Authority::new();
    let client = || authority.client(&[&TLS13]);
    for (answer, is_cut) in [
        (&b""[..], true),
        (b"\x16\x03\x03\x10\x00\x02", true),
        (&[0xff; 100], false),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("it connects");
            read_some(&stream, &mut [0; 4096]).expect("a ClientHello");
            stream.write_all(answer).expect("it goes out");
        });
        let line = dial(target(addr, client()));
        match line.failed() {
            DialError::Tls(TlsError::Cut) => assert!(is_cut),
            DialError::Tls(TlsError::Peer(_)) => assert!(!is_cut),
            DialError::Eof => assert!(answer.is_empty(), "it had said something"),
            other => panic!("{answer:?}: {other}"),
        }
        server.join().expect("the server is content");
        line.finish();
    }

    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = silent.local_addr().expect("an address");
    let line = dial(target(addr, client()).handshake_timeout(std::time::Duration::from_millis(200)));
    assert!(matches!(line.failed(), DialError::HandshakeTimeout));
    line.finish();
}

#[test]
fn wss_without_a_configuration() {
    let line = dial(Target::new("wss://127.0.0.1:1/").expect("a URL"));
    assert!(matches!(line.failed(), DialError::TlsMissing));
    line.finish();
    assert!(Target::new("wss://under_score!/").is_err());
}
