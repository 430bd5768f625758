//! What ends a connection's TLS: a small error that says what happened and at whose end to look.

use rustls::{AlertDescription, Error};

/// Why TLS of a connection failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer's bytes or its certificate are at fault: it speaks no TLS, none that we accept, or is not who it should
    /// be. It was told by an alert (RFC 8446 §6.2).
    #[error("TLS: the peer is at fault: {0}")]
    Peer(Error),
    /// The peer found fault with us and said so by a fatal alert: our certificate, or what we offered.
    #[error("TLS: the peer refused us with the alert {0:?}")]
    Refused(AlertDescription),
    /// Our own configuration or machine is at fault.
    #[error("TLS: our own fault: {0}")]
    Ours(Error),
    /// The peer sent a handshake message of more than 96 KiB, its records included.
    #[error("TLS: the peer is at fault: a handshake message of more than 96 KiB")]
    TooLong,
    /// The peer hung up before the handshake was over.
    #[error("TLS: the peer hung up during the handshake")]
    Cut,
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        match error {
            Error::AlertReceived(alert) => Self::Refused(alert),
            Error::EncryptError
            | Error::FailedToGetCurrentTime
            | Error::FailedToGetRandomBytes
            | Error::HandshakeNotComplete
            | Error::BadMaxFragmentSize
            | Error::InconsistentKeys(_)
            | Error::InvalidCertRevocationList(_)
            | Error::General(_)
            | Error::Other(_) => Self::Ours(error),
            error => Self::Peer(error),
        }
    }
}
