//! Peers that do not read what they are sent.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use wsring::{Config, Feature, Features};

use crate::common::procfs::sockets_by_state;
use crate::common::*;

/// A peer that takes nothing is reset, so that neither the engine nor the kernel keeps anything for it: a socket that is closed in
/// order keeps what was queued in it for minutes, if its peer lives.
#[test]
fn who_does_not_read_is_reset_and_the_kernel_keeps_nothing() {
    for features in [Features::all(), Features::all().without(Feature::DirectDescriptors)] {
        let config = Config::default()
            .idle_timeout(Duration::from_millis(50))
            .output_high_bytes(100_000)
            .output_low_bytes(50_000)
            .features(features);
        let (running, addr) = serve(config, 1, |_| Echo);
        let mut bytes = Vec::new();
        client_frame(&mut bytes, true, BINARY, &vec![5; 1 << 20], [1, 2, 3, 4]);
        let clients = [Client::connect(addr)];
        for client in &clients {
            // It is not read once its echoes are not, so that nothing but a reset ends this.
            let error = loop {
                if let Err(error) = (&client.stream).write_all(&bytes) {
                    break error;
                }
            };
            assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{features}: {error}");
        }
        let deadline = Instant::now() + WAIT;
        while !sockets_by_state(addr).is_empty() {
            assert!(Instant::now() < deadline, "the kernel keeps {:?}", sockets_by_state(addr));
            std::thread::sleep(Duration::from_millis(5));
        }
        let stats = finish(running);
        assert_eq!((stats.timeouts, stats.opened, stats.closed), (1, 1, 1));
    }
}
