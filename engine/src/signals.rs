//! SIGINT and SIGTERM, as a clean stop. Refuses to know what is stopped.

use std::io;

use crate::handle::Handle;

/// Both, caught from here on.
pub(crate) struct Signals(signal_hook::iterator::Signals);

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map(Self)
    }

    /// Each stops the cores of this handle from now on; those already caught, at once.
    pub(crate) fn stop<M: Send + 'static>(mut self, handle: Handle<M>) -> io::Result<()> {
        let watch = move || self.0.forever().for_each(|_| handle.stop());
        std::thread::Builder::new().name("wsring-signals".to_owned()).spawn(watch)?;
        Ok(())
    }
}
