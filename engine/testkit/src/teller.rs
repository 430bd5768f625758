//! A handler that tells its test what happens on which core, by the places of cores.

use std::sync::mpsc::Sender;

use wsring::{CloseReason, ConnId, CoreCx, Cx, Handler, Message, Opening, Verdict};

/// Answers every message with its core's place, and panics where it is told to. A test that has seen enough may have gone.
pub struct Teller {
    core: usize,
    told: Sender<(usize, String)>,
}

impl Teller {
    pub fn new(core: usize, told: Sender<(usize, String)>) -> Self {
        Self { core, told }
    }
}

impl Handler for Teller {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert_ne!(message, Message::Text("panic"), "a handler that panics");
        assert_eq!(cx.id().place().index(), self.core, "its place is another");
        assert!(cx.send(format!("core {}", self.core).as_str()).is_queued());
    }

    fn on_wake(&mut self, _: &mut CoreCx<'_, Self>) {
        let _ = self.told.send((self.core, "woken".to_owned()));
    }

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, _: ConnId, (): (), why: &CloseReason<'_>) {
        let _ = self.told.send((self.core, format!("{why:?}")));
    }
}
