//! The name that a client asks for (SNI, RFC 6066 §3), which rustls shows nobody but the resolver of certificates, of connections without buffers.
//!
//! So the resolver is wrapped, and leaves the name for whoever had the ClientHello worked on: on the same thread, at once. rustls asks for a certificate
//! in each handshake, a resumed one too.

use std::cell::Cell;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

thread_local! {
    static ASKED: Cell<Option<Box<str>>> = const { Cell::new(None) };
}

#[derive(Debug)]
struct Telling(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for Telling {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        ASKED.set(hello.server_name().map(Into::into));
        self.0.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }
}

/// The same configuration, of whose connections the names are told.
pub(crate) fn telling(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.cert_resolver = Arc::new(Telling(config.cert_resolver));
    Arc::new(config)
}

/// The name in the ClientHello that this thread has worked on since it was last asked.
pub(super) fn asked() -> Option<Box<str>> {
    ASKED.take()
}
