//! SIGINT and SIGTERM, as a clean stop or a drain. Refuses to know what is stopped.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::drain::Drain;
use crate::handle::Handle;

/// Both, caught from here on.
pub(crate) struct Signals(signal_hook::iterator::Signals);

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map(Self)
    }

    /// Each stops the cores of this handle from now on; those already caught, at once.
    pub(crate) fn stop<M: Send + 'static>(self, handle: Handle<M>) -> io::Result<()> {
        self.watch(move |_| handle.stop())
    }

    /// The first SIGTERM drains them; SIGINT, and whatever comes behind it, stops them.
    pub(crate) fn drain<M: Send + 'static>(self, handle: Handle<M>, drain: Drain) -> io::Result<()> {
        let mut drain = Some(drain);
        self.watch(move |signal| match drain.take().filter(|_| signal == SIGTERM) {
            Some(drain) => handle.drain(drain),
            None => handle.stop(),
        })
    }

    fn watch(mut self, on_signal: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
        let watch = move || self.0.forever().for_each(on_signal);
        std::thread::Builder::new().name("wsring-signals".to_owned()).spawn(watch)?;
        Ok(())
    }
}
