//! What an application may know of the other end.

use std::fmt;

use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;

use super::Tls;

/// What TLS knows of the peer of a connection whose TLS handshake is done.
#[derive(Clone, Copy)]
pub struct TlsPeer<'a>(pub(crate) &'a Tls);

impl Tls {
    /// The name that the client asked for.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The protocol agreed on by ALPN.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.state().alpn_protocol()
    }
}

impl TlsPeer<'_> {
    /// The certificates that it showed, its own first. `None` if it was not asked for any, or had none. They are verified as
    /// the configuration of rustls says.
    pub fn certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.0.state().peer_certificates()
    }

    /// The protocol agreed on by ALPN (RFC 7301).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.0.alpn()
    }

    /// The name that the client asked for (SNI, RFC 6066 §3). `None` if it asked for none, and of a connection that we dialled.
    pub fn server_name(&self) -> Option<&str> {
        self.0.server_name()
    }

    /// The version of TLS.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.0.state().protocol_version()
    }
}

/// How many certificates it showed, and not what they say.
impl fmt::Debug for TlsPeer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsPeer")
            .field("certificates", &self.certificates().map_or(0, <[_]>::len))
            .field("alpn", &self.alpn().map(String::from_utf8_lossy))
            .field("server_name", &self.server_name())
            .field("version", &self.version())
            .finish()
    }
}
