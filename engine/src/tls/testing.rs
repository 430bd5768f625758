//! Connections in memory, for tests here and in `engine`.

use std::sync::Arc;

use rustls::version::TLS13;
use wsring_proto::pool::Pool;

pub(crate) use wsring_testkit::certificates;
use wsring_testkit::certificates::{Authority, name};

use super::Tls;

/// A client and a server before their first word.
pub(crate) fn strangers() -> (Tls, Tls) {
    let authority = Authority::new();
    let config = Arc::new(authority.client(&[&TLS13]));
    let client = Tls::client(config, name(), &mut Pool::new(0)).expect("a client");
    (client, Tls::server(Arc::new(authority.server())).expect("a server"))
}

/// The same after their handshake.
pub(crate) fn pair() -> (Tls, Tls) {
    let (mut client, mut server) = strangers();
    let (mut pool, mut plain) = (Pool::new(0), Vec::new());
    for _ in 0..2 {
        carry(&mut client, &mut server, &mut plain, &mut pool);
        carry(&mut server, &mut client, &mut plain, &mut pool);
    }
    assert!(client.takes_plain() && server.takes_plain() && plain.is_empty());
    (client, server)
}

fn carry(from: &mut Tls, to: &mut Tls, plain: &mut Vec<u8>, pool: &mut Pool) {
    let mut bytes = vec![0; from.sealed_len(0)];
    let len = from.seal(&[], false, &mut bytes, pool).expect("there is room");
    to.feed(&mut bytes[..len], plain, pool).expect("sound");
}
