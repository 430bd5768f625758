//! A server's configuration of TLS, which can be exchanged while it runs: [`ServerTls`].
//!
//! Promises that a handshake is of one configuration from its first byte to its last, and that one which cannot be used replaces none.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;

use crate::tls::{Tls, telling};

/// A server's configuration of TLS that can be exchanged while the server runs: for [`Config::tls`](crate::Config::tls) and
/// [`Listener::tls`](crate::Listener::tls). Clones are one: what is set by one holds for all.
///
/// ```
/// # use std::sync::Arc;
/// use wsring::rustls::ServerConfig;
/// use wsring::{Config, ServerTls, UnusableTls};
///
/// # fn serve(_: Config) {}
/// fn run(first: Arc<ServerConfig>, renewed: Arc<ServerConfig>) -> Result<(), UnusableTls> {
///     let tls = ServerTls::from(first);
///     serve(Config::default().tls(tls.clone()));
///     // At any time, on any thread, such as when a certificate was renewed:
///     tls.set(renewed)
/// }
/// ```
#[derive(Clone)]
pub struct ServerTls(Arc<RwLock<Arc<ServerConfig>>>);

/// The configuration is long, and holds a key.
impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

impl From<Arc<ServerConfig>> for ServerTls {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(RwLock::new(telling(&config))))
    }
}

impl ServerTls {
    /// Connections that come from here on have this configuration; those that are there keep the one that they began with, also in the middle of a handshake. A
    /// client that resumes a session (RFC 8446 §2.2) is shown no certificate, so that it learns of a new one when its ticket is over, unless the new
    /// configuration has a store of sessions or tickets of its own, as each does that a builder of rustls makes. Never waits for connections.
    ///
    /// # Errors
    /// What [`Config::tls`](crate::Config::tls) does not take either. Then the present one stays.
    pub fn set(&self, config: Arc<ServerConfig>) -> Result<(), UnusableTls> {
        let next = Self::from(config);
        if let Some((_, _, rule)) = next.rules().into_iter().find(|(holds, ..)| !holds) {
            return Err(UnusableTls(rule));
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next.current();
        Ok(())
    }

    /// That of a connection that begins now.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What must hold of it, as rules of a [`Config`](crate::Config).
    pub(crate) fn rules(&self) -> [(bool, &'static str, &'static str); 2] {
        let config = self.current();
        [
            (config.max_early_data_size == 0, "tls", "must not take early data: set max_early_data_size to 0"),
            (Tls::server(config).is_ok(), "tls", "has a max_fragment_size that rustls refuses"),
        ]
    }
}

/// Why a configuration of TLS cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration of TLS {0}")]
pub struct UnusableTls(&'static str);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::certificates::Authority;

    fn server() -> ServerConfig {
        Authority::new().server()
    }

    #[test]
    fn what_cannot_be_used_replaces_nothing() {
        let tls = ServerTls::from(Arc::new(server()));
        let before = tls.current();
        let mut early = server();
        early.max_early_data_size = 1;
        assert!(tls.set(Arc::new(early)).expect_err("early data").to_string().contains("max_early_data_size"));
        let mut short = server();
        short.max_fragment_size = Some(1);
        assert!(tls.set(Arc::new(short)).expect_err("too short").to_string().contains("max_fragment_size"));
        assert!(Arc::ptr_eq(&before, &tls.current()));
        tls.clone().set(Arc::new(server())).expect("it is good");
        assert!(!Arc::ptr_eq(&before, &tls.current()), "of a clone, and of all");
    }
}
