//! Which ring it is that is being tested.

use std::sync::OnceLock;

use wsring::RingKind;

/// The ring that tests run on which say nothing of one: io_uring, or what WSRING_RING in their environment says.
pub fn ring() -> RingKind {
    static RING: OnceLock<RingKind> = OnceLock::new();
    *RING.get_or_init(|| match std::env::var("WSRING_RING") {
        Ok(name) => name.parse().expect("WSRING_RING is uring or epoll"),
        Err(_) => RingKind::Uring,
    })
}
