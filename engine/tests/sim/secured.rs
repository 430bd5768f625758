//! Runs over TLS: the same peers and oracles, and rustls on both ends.

use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig};

use super::{Manners, Outcome, kernel, run_on};
use wsring_testkit::certificates::Authority;

/// A server's configuration, and a client's for each version.
fn configs() -> &'static (Arc<ServerConfig>, [ClientConfig; 2]) {
    static CONFIGS: OnceLock<(Arc<ServerConfig>, [ClientConfig; 2])> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let authority = Authority::new();
        let client = |version| {
            let mut config = authority.client(&[version]);
            config.resumption = Resumption::disabled(); // a run must not depend on those before it
            config
        };
        (Arc::new(authority.server()), [client(&TLS13), client(&TLS12)])
    })
}

/// Runs one seed over TLS and judges it. Panics with what went wrong.
pub fn run(seed: u64, manners: Manners, aloud: bool) -> Outcome {
    let (server, clients) = configs();
    let mut client = clients[usize::from(seed % 4 == 3)].clone();
    client.max_fragment_size = [None, Some(64), Some(700)][(seed / 4 % 3) as usize];
    let mut sim = kernel(seed, manners);
    if manners == Manners::Quiet && seed.is_multiple_of(2) {
        sim.faults.late = 500; // the engine has more to compute, and handshakes come meanwhile that must wait for each other
    }
    run_on(sim, seed, manners, aloud, |config| (config.tls(Arc::clone(server)), Some(Arc::new(client))))
}
