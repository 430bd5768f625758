//! How a run is ended from outside: by SIGINT or SIGTERM.
//!
//! Owns: their handler. Promises: the first is a request, and whoever runs looks at it; the second ends this process. Refuses
//! to know: what is run.

use std::sync::atomic::{AtomicBool, Ordering};

/// Set by SIGINT and SIGTERM.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Has them set [`STOP`].
pub fn stop_on_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let handler = on_signal as extern "C" fn(libc::c_int);
        // SAFETY: an action of zeros is valid (sigaction(2)): an empty mask, no flags; the handler has the type it wants, and
        // only stores to an atomic (signal-safety(7)).
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as libc::sighandler_t;
            // The first is a request; a second ends this process at once, and the kernel ends its servers.
            action.sa_flags = libc::SA_RESETHAND;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

extern "C" fn on_signal(_signal: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}
