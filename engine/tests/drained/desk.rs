//! The application of a core that is drained: it takes whoever comes, echoes, and says goodbye.

use std::rc::Rc;

use wsring::http::StatusCode;
use wsring::ring::sim::{Random, Trace};
use wsring::{CloseReason, ConnId, CoreCx, Cx, Drain, Handler, Message, Opening, Response, Verdict};

use super::{Open, Shared};

/// What it says before a Close.
pub const GOODBYE: &str = "goodbye";

pub struct App {
    random: Random,
    ledger: Shared,
    trace: Trace,
    /// Peers whose connections are open.
    open: Vec<usize>,
}

impl App {
    pub fn new(random: Random, ledger: &Shared, trace: &Trace) -> Self {
        Self { random, ledger: Rc::clone(ledger), trace: trace.clone(), open: Vec::new() }
    }

    fn is_drained(&self) -> bool {
        self.ledger.borrow().drained_at.is_some()
    }
}

impl Handler for App {
    type Conn = usize;
    type Mail = ();

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<usize> {
        assert!(!self.is_drained() && !cx.is_draining(), "of a drain: somebody may still open");
        Verdict::accept(opening.request.path()[1..].parse().expect("the path names the peer"))
    }

    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Response {
        assert_eq!(cx.is_draining(), self.is_drained(), "of a drain: a health check is told something else");
        let mut response = Response::new(b"health\n".to_vec());
        if cx.is_draining() {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        assert!(!self.is_drained(), "of a drain: somebody has opened");
        self.open.push(*cx.data());
        self.ledger.borrow_mut().opened += 1;
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let _ = cx.forward(message);
    }

    fn on_drain(&mut self, cx: &mut CoreCx<'_, Self>, _: &Drain) {
        assert!(!self.is_drained() && cx.is_draining(), "of a drain: it has begun twice");
        let now = self.trace.now();
        self.trace.note(&[50, self.open.len() as u64], || format!("         drained, with {:?}", self.open));
        let mut ledger = self.ledger.borrow_mut();
        ledger.drained_at = Some(now);
        ledger.open = self.open.iter().map(|peer| (*peer, Open::default())).collect();
    }

    fn on_goodbye(&mut self, cx: &mut Cx<'_, Self>) {
        let (now, peer) = (self.trace.now(), *cx.data());
        self.trace.note(&[51, peer as u64], || format!("         the turn of {peer}"));
        {
            let mut ledger = self.ledger.borrow_mut();
            let open = ledger.open.get_mut(&peer).expect("of a drain: a turn of a connection that it did not find");
            assert!(open.told_at.is_none() && open.over.is_none(), "of a drain: it has its turn twice, or too late");
            open.told_at = Some(now);
        }
        // Below the cap of its output, however little its peer reads.
        assert!(cx.send(GOODBYE).is_queued(), "of a drain: nothing can be said");
        if self.random.chance(50) {
            cx.pause();
        }
    }

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, _: ConnId, peer: usize, why: &CloseReason<'_>) {
        let now = self.trace.now();
        self.trace.note(&[52, peer as u64], || format!("         {peer} is over: {why:?}"));
        self.open.retain(|open| *open != peer);
        let clean = matches!(why, CloseReason::Drained { clean: true });
        if let Some(open) = self.ledger.borrow_mut().open.get_mut(&peer) {
            let is_drained = matches!(why, CloseReason::Drained { .. });
            assert!(!is_drained || open.told_at.is_some(), "of a drain: it was drained, and had no turn");
            open.over = Some((now, clean));
        }
    }
}
