//! The two roles against each other, and each against rustls's ordinary connection, over memory.

use std::io::{Read, Write};

use proptest::prelude::*;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CertificateError, Connection, InvalidMessage};

use super::*;

use crate::tls::testing::certificates::*;

/// One end of a connection.
struct End {
    tls: Tls,
    plain: Vec<u8>,
    pool: Pool,
}

impl End {
    fn new(tls: Tls) -> Self {
        Self { tls, plain: Vec::new(), pool: Pool::new(1 << 20) }
    }

    fn server(config: ServerConfig) -> Self {
        Self::new(Tls::server(Arc::new(config)).expect("rustls takes it"))
    }

    fn client(config: ClientConfig) -> Self {
        Self::new(Tls::client(Arc::new(config), name(), &mut Pool::new(0)).expect("rustls takes it"))
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.tls.feed(&mut bytes.to_vec(), &mut self.plain, &mut self.pool)
    }

    /// Feeds bytes in pieces of these lengths, again and again.
    fn feed_cut(&mut self, mut bytes: &[u8], lens: &[usize]) -> Result<(), TlsError> {
        let mut lens = lens.iter().cycle();
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(*lens.next().expect("a length")));
            self.feed(now)?;
            bytes = later;
        }
        Ok(())
    }

    /// What goes out, with `plain` behind TLS's own bytes.
    fn seal(&mut self, plain: &[u8], last: bool) -> Vec<u8> {
        let mut out = vec![0; self.tls.sealed_len(plain.len())];
        loop {
            match self.tls.seal(plain, last, &mut out, &mut self.pool) {
                Ok(len) => break out.truncate(len),
                Err(Unsealed::Room(len)) => {
                    assert!(len > out.len());
                    out.resize(len, 0);
                }
                Err(Unsealed::Failed(error)) => panic!("{error}"),
            }
        }
        out
    }

    fn own(&mut self) -> Vec<u8> {
        self.seal(&[], false)
    }

    #[track_caller]
    fn assert_at_rest(&self) {
        assert_eq!((self.tls.held.capacity(), self.tls.own.capacity(), self.tls.has_own()), (0, 0, false));
    }
}

/// Client and server, each new, with every flight cut by `cut`.
fn shake(client: &mut End, server: &mut End, cut: &[usize]) -> Result<(), TlsError> {
    for _ in 0..10 {
        let flight = client.own();
        server.feed_cut(&flight, cut)?;
        let answer = server.own();
        client.feed_cut(&answer, cut)?;
        if flight.is_empty() && answer.is_empty() {
            break;
        }
    }
    Ok(())
}

fn ends() -> (End, End) {
    let authority = Authority::new();
    let (mut client, mut server) = (End::client(authority.client(&[&TLS13])), End::server(authority.server()));
    shake(&mut client, &mut server, &[usize::MAX]).expect("they agree");
    (client, server)
}

/// Both ways, with the stream cut once at every byte; nothing is held when all has been said.
#[test]
fn a_connection_survives_every_cut() {
    let authority = Authority::new();
    for version in [&TLS13, &TLS12] {
        let (client_config, server_config) = (authority.client(&[version]), authority.server());
        for cut in (1..1500).step_by(3).chain(1..80) {
            let (mut client, mut server) = (End::client(client_config.clone()), End::server(server_config.clone()));
            assert!(client.tls.is_handshaking() && !client.tls.takes_plain() && client.tls.has_own());
            shake(&mut client, &mut server, &[cut, usize::MAX]).expect("they agree");
            assert!(client.tls.takes_plain() && server.tls.takes_plain(), "cut at {cut}");
            for _ in 0..2 {
                let (from, to) = (&mut client, &mut server);
                let sealed = [from.seal(b"first", false), from.seal(&[7; 700], false)].concat();
                to.feed_cut(&sealed, &[cut, usize::MAX]).expect("it is sound");
                assert!(to.plain == [b"first".to_vec(), vec![7; 700]].concat(), "cut at {cut}");
                from.assert_at_rest();
                to.assert_at_rest();
                mem::swap(from, to);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Messages of any length, the stream in pieces of any length: every byte arrives, in order, and once.
    #[test]
    fn every_byte_arrives(
        lens in prop::collection::vec(prop_oneof![0..300_usize, 16_000..17_000_usize, 0..150_000_usize], 1..6),
        cut in prop::collection::vec(prop_oneof![1..40_usize, 1..20_000_usize, 1..100_000_usize], 1..8),
    ) {
        let (mut client, mut server) = ends();
        let mut sent = Vec::new();
        let mut stream = Vec::new();
        for (i, len) in lens.into_iter().enumerate() {
            let plain: Vec<u8> = (0..len).map(|at| (at * 7 + i) as u8).collect();
            stream.extend(client.seal(&plain, false));
            sent.extend(plain);
        }
        server.feed_cut(&stream, &cut).expect("it is sound");
        prop_assert!(server.plain == sent);
        server.assert_at_rest();
    }

    /// A stranger's bytes: an error or the wish for more, and memory within bounds.
    #[test]
    fn noise_is_an_error(
        noise in prop::collection::vec(any::<u8>(), 1..2000),
        is_record in any::<bool>(),
        cut in 1..300_usize,
    ) {
        let mut server = End::server(Authority::new().server());
        let mut noise = noise;
        if is_record && noise.len() > 5 {
            let len = (noise.len() - 5) as u16;
            noise[..5].copy_from_slice(&[22, 3, 1, (len >> 8) as u8, len as u8]);
        }
        let ended = server.feed_cut(&noise, &[cut]);
        prop_assert!(matches!(ended, Ok(()) | Err(TlsError::Peer(_))), "{ended:?}");
        prop_assert!(server.tls.held.len() <= noise.len() && server.plain.is_empty());
    }

    /// One bit of a connection changed on its way: its end notices, or the bit meant nothing.
    #[test]
    fn a_changed_bit_is_noticed(flight in 0..4_usize, at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let authority = Authority::new();
        let (mut client, mut server) = (End::client(authority.client(&[&TLS13])), End::server(authority.server()));
        let mut failed = false;
        for turn in 0..6 {
            let (from, to) = if turn % 2 == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
            let plain: &[u8] = if from.tls.takes_plain() { b"some words" } else { &[] };
            let mut bytes = from.seal(plain, false);
            if turn == flight && !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            failed |= to.feed(&bytes).is_err();
            if failed {
                break;
            }
        }
        for plain in [&client.plain, &server.plain] {
            prop_assert!(plain.chunks(10).all(|words| words == b"some words"));
        }
    }
}

/// Carries bytes between an end and an ordinary connection of rustls until both are silent.
fn carry(end: &mut End, peer: &mut Connection, cut: usize) -> Result<(), TlsError> {
    loop {
        let mut from_peer = Vec::new();
        while peer.wants_write() {
            peer.write_tls(&mut from_peer).expect("into memory");
        }
        end.feed_cut(&from_peer, &[cut])?;
        let from_end = end.own();
        if from_peer.is_empty() && from_end.is_empty() {
            return Ok(());
        }
        receive(peer, &from_end);
    }
}

/// Gives bytes to an ordinary connection and returns the plaintext.
fn receive(peer: &mut Connection, mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        peer.read_tls(&mut bytes).expect("from memory");
        peer.process_new_packets().expect("it is sound");
        let _ = peer.reader().read_to_end(&mut plain); // WouldBlock after the last byte
    }
    plain
}

/// rustls's ordinary connection, in either role, agrees with ours in either version.
#[test]
fn an_ordinary_connection_understands() {
    let authority = Authority::new();
    for version in [&TLS13, &TLS12] {
        let (client, server) = (Arc::new(authority.client(&[version])), Arc::new(authority.server()));
        let ordinary_client = rustls::ClientConnection::new(Arc::clone(&client), name()).expect("a client");
        let ordinary_server = rustls::ServerConnection::new(Arc::clone(&server)).expect("a server");
        let ends: [(End, Connection); 2] = [
            (End::new(Tls::server(server).expect("a server")), ordinary_client.into()),
            (End::new(Tls::client(client, name(), &mut Pool::new(0)).expect("a client")), ordinary_server.into()),
        ];
        for (mut end, mut peer) in ends {
            carry(&mut end, &mut peer, 100).expect("they agree");
            assert!(end.tls.takes_plain() && !peer.is_handshaking());
            for len in [1, 16_383, 16_384, 16_385, 50_000] {
                let plain: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let sealed = end.seal(&plain, false);
                assert!(receive(&mut peer, &sealed) == plain, "{len}");
                end.plain.clear();
                peer.writer().write_all(&plain).expect("it has room");
                carry(&mut end, &mut peer, 4000).expect("it is sound");
                assert!(end.plain == plain, "{len}");
            }
            // New keys, asked for by the peer; TLS 1.2 knows no such thing.
            assert_eq!(peer.refresh_traffic_keys().is_ok(), version == &TLS13);
            carry(&mut end, &mut peer, 3).expect("keys may change");
            let sealed = end.seal(b"under new keys", false);
            assert_eq!(receive(&mut peer, &sealed), b"under new keys");
            // Both say goodbye.
            end.plain.clear();
            peer.writer().write_all(b"bye").expect("it has room");
            peer.send_close_notify();
            carry(&mut end, &mut peer, 5).expect("it is sound");
            assert_eq!((&end.plain[..], end.tls.is_peer_closed()), (&b"bye"[..], true));
            end.feed(b"what follows is ignored, RFC 8446 6.1").expect("it is not looked at");
            let sealed = end.seal(b"bye", true);
            assert_eq!(receive(&mut peer, &sealed), b"bye");
            assert!(peer.process_new_packets().expect("it is sound").peer_has_closed());
            assert!(!end.tls.takes_plain() && !end.tls.has_own() && end.own().is_empty());
        }
    }
}

/// Whoever has said goodbye first hears the peer's, behind whatever else was on its way, and says nothing more.
#[test]
fn a_goodbye_is_heard_behind_our_own() {
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        let (mut client, mut server) = (End::client(authority.client(&[version])), End::server(authority.server()));
        shake(&mut client, &mut server, &[usize::MAX]).expect("they agree");
        let _ = (client.own(), server.own());
        let goodbye = server.seal(b"", true);
        assert!(!goodbye.is_empty() && server.tls.takes_bytes() && !server.tls.takes_plain());
        let crossed = client.seal(b"on its way", false);
        server.feed(&crossed).expect("it is sound");
        assert!(!server.tls.is_peer_closed());
        client.feed(&goodbye).expect("it is sound");
        assert!(client.tls.is_peer_closed());
        let answer = client.seal(b"", true);
        server.feed(&answer).expect("it is sound");
        assert!(server.tls.is_peer_closed() && !server.tls.takes_bytes() && !server.tls.has_own());
    }
}

/// The bytes of an alert in the clear (RFC 8446 §6): fatal, this description.
fn alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

#[test]
fn a_peer_that_speaks_no_tls_is_told_and_named() {
    let strangers: [&[u8]; 3] = [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", &[0xff; 100], b"SSH-2.0-OpenSSH"];
    for bytes in strangers {
        let mut server = End::server(Authority::new().server());
        let error = server.feed(bytes).expect_err("it is no TLS");
        assert_eq!(error, TlsError::Peer(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)));
        assert_eq!(error.to_string(), "TLS: the peer is at fault: received corrupt message of type InvalidContentType");
        assert!(server.tls.has_own());
        assert_eq!(server.own(), alert(50), "decode_error");
        assert!(!server.tls.takes_plain() && !server.tls.has_own());
    }
}

#[test]
fn half_a_handshake_waits() {
    let authority = Authority::new();
    let mut server = End::server(authority.server());
    assert!(!server.tls.begun);
    let hello = End::client(authority.client(&[&TLS13])).own();
    server.feed(&hello[..hello.len() - 1]).expect("it may go on");
    assert!(server.tls.begun && server.tls.is_handshaking() && !server.tls.has_own());
    assert_eq!(server.tls.held.len(), hello.len() - 1);
    assert!(server.tls.cut() && !server.tls.cut() && !server.tls.takes_bytes());
    let (client, mut server) = ends();
    assert!(client.tls.takes_bytes() && !server.tls.cut() && server.tls.takes_plain());
}

/// The client says what is wrong with the server's certificate; the server hears it.
#[test]
fn a_certificate_that_is_not_good_is_named_on_both_sides() {
    let authority = Authority::new();
    type Rule = fn(&CertificateError) -> bool;
    let cases: [(ServerConfig, Rule, &str, AlertDescription); 3] = [
        (
            authority.server_for(NAME, 2001),
            |why| matches!(why, CertificateError::ExpiredContext { .. }),
            "TLS: the peer is at fault: invalid peer certificate: certificate expired",
            AlertDescription::CertificateExpired,
        ),
        (
            authority.server_for("other.test", 4000),
            |why| matches!(why, CertificateError::NotValidForNameContext { .. }),
            "TLS: the peer is at fault: invalid peer certificate: certificate not valid for name \"wsring.test\"",
            AlertDescription::BadCertificate,
        ),
        (
            Authority::new().server(),
            |why| matches!(why, CertificateError::UnknownIssuer),
            "TLS: the peer is at fault: invalid peer certificate: UnknownIssuer",
            AlertDescription::UnknownCA,
        ),
    ];
    for (config, rule, says, told) in cases {
        let (mut client, mut server) = (End::client(authority.client(&[&TLS13])), End::server(config));
        let error = shake(&mut client, &mut server, &[usize::MAX]).expect_err("it is not good");
        assert!(matches!(&error, TlsError::Peer(rustls::Error::InvalidCertificate(why)) if rule(why)), "{error:?}");
        assert!(error.to_string().starts_with(says), "{error}");
        let last_words = client.own();
        let heard = server.feed(&last_words).expect_err("an alert");
        assert_eq!(heard, TlsError::Refused(told));
        assert_eq!(heard.to_string(), format!("TLS: the peer refused us with the alert {told:?}"));
    }
}

/// A server that wants to know its clients knows them, and refuses those it does not.
#[test]
fn clients_may_have_to_show_a_certificate() {
    let authority = Authority::new();
    let (mut client, mut server) =
        (End::client(authority.known_client()), End::server(authority.server_for_known_clients()));
    shake(&mut client, &mut server, &[usize::MAX]).expect("they know each other");
    assert_eq!(TlsPeer(&server.tls).certificates().map(<[_]>::len), Some(1));
    let (mut client, mut server) =
        (End::client(authority.client(&[&TLS13])), End::server(authority.server_for_known_clients()));
    let error = shake(&mut client, &mut server, &[usize::MAX]).expect_err("a stranger");
    assert_eq!(error, TlsError::Peer(rustls::Error::NoCertificatesPresented));
}

#[test]
fn protocols_are_agreed_on_or_refused() {
    let authority = Authority::new();
    let ends = |offered: &[u8], known: &[u8]| {
        let (mut client, mut server) = (authority.client(&[&TLS13]), authority.server());
        client.alpn_protocols = vec![offered.to_vec()];
        server.alpn_protocols = vec![known.to_vec()];
        (End::client(client), End::server(server))
    };
    let (mut client, mut server) = ends(b"http/1.1", b"http/1.1");
    shake(&mut client, &mut server, &[usize::MAX]).expect("they agree");
    assert_eq!(
        (TlsPeer(&client.tls).alpn(), TlsPeer(&server.tls).alpn()),
        (Some(&b"http/1.1"[..]), Some(&b"http/1.1"[..]))
    );
    let (mut client, mut server) = ends(b"h2", b"http/1.1");
    let error = shake(&mut client, &mut server, &[usize::MAX]).expect_err("they do not");
    assert_eq!(error, TlsError::Peer(rustls::Error::NoApplicationProtocol));
    let alert = server.own();
    let heard = client.feed(&alert).expect_err("an alert, RFC 7301 §3.2");
    assert_eq!(heard, TlsError::Refused(AlertDescription::NoApplicationProtocol));
}

/// A handshake message in records of `step` bytes each, `len` bytes in all.
fn long_hello(len: usize, step: usize) -> Vec<u8> {
    let mut message = vec![1, 0, (len >> 8) as u8, len as u8];
    message.resize(4 + len, 0);
    let records = message.chunks(step).map(|piece| {
        let header = [22, 3, 1, (piece.len() >> 8) as u8, piece.len() as u8];
        [&header[..], piece].concat()
    });
    records.collect::<Vec<_>>().concat()
}

/// The longest message that rustls takes is put together and judged; one blown up by tiny records is too long.
#[test]
fn a_handshake_message_is_bounded() {
    for (step, cut) in [(16_384, 1000), (100, 7), (20, usize::MAX)] {
        let hello = long_hello(0xffff, step);
        assert!(hello.len() <= HELD_MAX);
        let mut server = End::server(Authority::new().server());
        let error = server.feed_cut(&hello, &[cut]).expect_err("it is no hello");
        assert!(matches!(error, TlsError::Peer(_)), "{error}");
    }
    for cut in [1000, 1] {
        let mut server = End::server(Authority::new().server());
        let error = server.feed_cut(&long_hello(0xffff, 1), &[cut]).expect_err("it is too long");
        assert_eq!(error, TlsError::TooLong);
        assert_eq!(server.tls.held.len(), HELD_MAX + 1);
    }
}

/// Too little room changes nothing; a message of many records, also of small ones, takes what it says.
#[test]
fn room_is_asked_for() {
    let authority = Authority::new();
    let mut small = authority.server();
    small.max_fragment_size = Some(100);
    let (mut client, mut server) = (End::client(authority.client(&[&TLS13])), End::server(small));
    shake(&mut client, &mut server, &[usize::MAX]).expect("they agree");
    let plain = [9; 10_000];
    for _ in 0..3 {
        let mut out = vec![0; server.tls.sealed_len(plain.len())];
        let Err(Unsealed::Room(need)) = server.tls.seal(&plain, false, &mut out, &mut server.pool) else {
            panic!("a hundred records fit?");
        };
        out.resize(need - 1, 0);
        let again = server.tls.seal(&plain, false, &mut out, &mut server.pool);
        assert!(matches!(again, Err(Unsealed::Room(len)) if len == need));
        out.resize(need, 0);
        let len = server.tls.seal(&plain, false, &mut out, &mut server.pool).expect("it fits");
        assert_eq!(len, need);
        client.feed(&out).expect("no record is lost");
    }
    assert!(client.plain == [9; 30_000]);
}

/// A close_notify that finds no room behind the data goes out by itself.
#[test]
fn a_goodbye_without_room_follows() {
    let (mut client, mut server) = ends();
    let mut out = [0; 100];
    let need = match server.tls.seal(b"bye", true, &mut [], &mut server.pool) {
        Err(Unsealed::Room(need)) => need,
        other => panic!("{other:?}"),
    };
    let len = server.tls.seal(b"bye", true, &mut out[..need], &mut server.pool).expect("it fits");
    client.feed(&out[..len]).expect("sound");
    assert_eq!((&client.plain[..], client.tls.is_peer_closed(), server.tls.has_own()), (&b"bye"[..], false, true));
    let rest = server.own();
    client.feed(&rest).expect("sound");
    assert!(client.tls.is_peer_closed() && !server.tls.has_own() && !server.tls.takes_plain());
}
