//! SIGINT and SIGTERM, as a clean stop or a drain. Refuses to know what is stopped.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::drain::Drain;
use crate::handle::Handle;

/// Both, caught from here on, by a thread that waits to be told what they do. It ends if nobody tells it.
pub(crate) struct Signals(SyncSender<OnSignal>);

type OnSignal = Box<dyn FnMut(i32) + Send>;

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
        let (tell, told) = sync_channel::<OnSignal>(1);
        let watch = move || told.iter().for_each(|on_signal| signals.forever().for_each(on_signal));
        std::thread::Builder::new().name("wsring-signals".to_owned()).spawn(watch)?;
        Ok(Self(tell))
    }

    /// Each stops the cores of this handle from now on; those already caught, at once.
    pub(crate) fn stop<M: Send + 'static>(self, handle: Handle<M>) {
        self.watch(move |_| handle.stop());
    }

    /// The first SIGTERM drains them; SIGINT, and whatever comes behind it, stops them.
    pub(crate) fn drain<M: Send + 'static>(self, handle: Handle<M>, drain: Drain) {
        let mut drain = Some(drain);
        self.watch(move |signal| match drain.take().filter(|_| signal == SIGTERM) {
            Some(drain) => handle.drain(drain),
            None => handle.stop(),
        });
    }

    fn watch(self, on_signal: impl FnMut(i32) + Send + 'static) {
        assert!(self.0.send(Box::new(on_signal)).is_ok(), "the thread waits for that");
    }
}
