//! The application that defers, and the other thread that answers.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use wsring::http::StatusCode;
use wsring::ring::sim::{Net, Random, Trace};
use wsring::{CoreCx, Cx, Handle, Handler, Message, Opening, Pending, PendingFull, Response, Verdict};

use super::{Shared, Stage};

/// What the other thread finds out: whose request, by which number it waits, and whether it is welcome.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    peer: usize,
    number: u64,
    welcome: bool,
}

/// A request as the application gives it to the other thread.
#[derive(Clone, Copy)]
pub struct Case {
    pending: Pending,
    peer: usize,
    number: u64,
}

/// Behind a stop it answers for so long.
const AFTER: Duration = Duration::from_millis(300);

/// What lies between the two: those that are to be answered, and those that were.
pub type Desk = Rc<RefCell<(Vec<Case>, Vec<Case>)>>;

pub struct App {
    random: Random,
    pending_max: u32,
    desk: Desk,
    ledger: Shared,
    trace: Trace,
    next: u64,
}

impl App {
    pub fn new(random: Random, pending_max: u32, desk: Desk, ledger: &Shared, trace: &Trace) -> Self {
        Self { random, pending_max, desk, ledger: Rc::clone(ledger), trace: trace.clone(), next: 0 }
    }

    fn peer(&self, opening: &Opening<'_>) -> usize {
        let peer: usize = opening.request.path()[1..].parse().expect("the path names the peer");
        let (wants, wanted) = (opening.request.is_upgrade(), self.ledger.borrow().seen[peer].upgrades);
        assert_eq!(wants, wanted, "deferred: the request is another than peer {peer} sent");
        assert!(opening.request.header("x-last") == Some(b"of the head"), "deferred: a part of the request is lost");
        peer
    }

    /// Has it wait; `None`: as many wait as may.
    fn defer(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>, peer: usize) -> Option<Pending> {
        let waiting = cx.stats().pending;
        let deferred = cx.defer(opening);
        let mut ledger = self.ledger.borrow_mut();
        let Ok(pending) = deferred else {
            assert_eq!((deferred, waiting), (Err(PendingFull), self.pending_max.into()), "deferred: there was room");
            ledger.refused += 1;
            return None;
        };
        assert_eq!(cx.defer(opening), Ok(pending), "the same, if it is asked for again");
        let (now, number) = (self.trace.now(), self.next);
        self.next += 1;
        ledger.deferred += 1;
        ledger.waiting.push((number, now));
        ledger.stages[peer] = Stage::Waits(number, None);
        self.trace.note(&[2, peer as u64, number], || format!("         peer {peer} waits as {number}"));
        self.desk.borrow_mut().0.push(Case { pending, peer, number });
        Some(pending)
    }

    fn say(&self, peer: usize, status: u16) {
        self.ledger.borrow_mut().stages[peer] = Stage::Said(status);
    }
}

/// The answer to somebody by the other thread, or by the application.
fn response(peer: usize, status: StatusCode) -> Response {
    let mut response = Response::new(format!("to peer {peer}\n").into_bytes());
    *response.status_mut() = status;
    response
}

impl Handler for App {
    type Conn = usize;
    type Mail = Found;

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<usize> {
        let peer = self.peer(opening);
        if self.random.chance(200) {
            self.say(peer, 101);
            return Verdict::accept(peer);
        }
        match self.defer(cx, opening, peer) {
            Some(pending) if self.random.chance(950) => Verdict::defer(pending),
            given => {
                if given.is_some() {
                    // It has changed its mind: whoever answers by that name is too late.
                    self.ledger.borrow_mut().deferred -= 1;
                    self.ledger.borrow_mut().waiting.pop();
                }
                self.say(peer, 429);
                Verdict::reject(response(peer, StatusCode::TOO_MANY_REQUESTS))
            }
        }
    }

    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        let peer = self.peer(opening);
        if let Some(pending) = self.defer(cx, opening, peer) {
            return Response::from(pending);
        }
        self.say(peer, 429);
        response(peer, StatusCode::TOO_MANY_REQUESTS)
    }

    fn on_admit(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>, found: Found) -> Verdict<usize> {
        let (peer, Found { number, welcome, .. }) = (self.peer(opening), found);
        self.trace.note(&[3, peer as u64, number], || format!("         callback on_admit of {peer} with {found:?}"));
        assert_eq!(found.peer, peer, "deferred: an answer came to the request of another");
        let stage = self.ledger.borrow().stages[peer];
        let waits = matches!(stage, Stage::Waits(waits, _) if waits == number);
        assert!(waits, "deferred: an answer came to a request that does not wait for it: {stage:?}");
        self.ledger.borrow_mut().admitted += 1;
        self.ledger.borrow_mut().waiting.retain(|(waits, _)| *waits != number);
        if self.random.chance(150)
            && let Some(pending) = self.defer(cx, opening, peer)
        {
            return Verdict::defer(pending); // one question more
        }
        let (status, code) = match (welcome, opening.request.is_upgrade()) {
            (true, true) => {
                self.say(peer, 101);
                return Verdict::accept(peer);
            }
            (true, false) => (StatusCode::OK, 200),
            (false, _) => (StatusCode::UNAUTHORIZED, 401),
        };
        self.say(peer, code);
        Verdict::reject(response(peer, status))
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let _ = cx.forward(message); // of a connection that is broken nothing more is asked
    }
}

/// The other thread.
pub struct Clerk {
    random: Random,
    handshake: Duration,
    desk: Desk,
    ledger: Shared,
    trace: Trace,
    /// In 1000: how often it answers what it has answered, and how often nothing.
    repeats: u32,
    forgets: u32,
}

impl Clerk {
    pub fn new(mut random: Random, handshake: Duration, desk: &Desk, ledger: &Shared, trace: &Trace) -> Self {
        let (repeats, forgets) = (random.pick(&[0, 100, 400]), random.pick(&[0, 100, 700]));
        let (desk, ledger, trace) = (Rc::clone(desk), Rc::clone(ledger), trace.clone());
        Self { random, handshake, desk, ledger, trace, repeats, forgets }
    }

    /// It answers somebody, whose turn it need not be, and is called again.
    pub fn on_event(&mut self, net: &mut Net, handle: &Handle<Found>, key: u64) {
        if self.ledger.borrow().stopped_at.is_some_and(|stopped| net.now() > stopped.plus(AFTER)) {
            return;
        }
        let most = self.random.pick(&[500, 5_000, self.handshake.as_micros() as u64]);
        net.call_after(Duration::from_micros(1 + self.random.below(most)), key);
        let case = {
            let (open, done) = &mut *self.desk.borrow_mut();
            if self.random.chance(self.repeats) && !done.is_empty() {
                self.random.pick(done)
            } else if open.is_empty() {
                return;
            } else {
                let case = open.swap_remove(self.random.below(open.len() as u64) as usize);
                done.push(case);
                case
            }
        };
        if !self.random.chance(self.forgets) {
            self.answer(net, handle, case);
        }
    }

    fn answer(&mut self, net: &Net, handle: &Handle<Found>, Case { pending, peer, number }: Case) {
        let mut ledger = self.ledger.borrow_mut();
        let upgrades = ledger.seen[peer].upgrades;
        let responds = self.random.chance(if upgrades { 300 } else { 600 });
        let taken = if responds {
            let status = if upgrades { StatusCode::FORBIDDEN } else { StatusCode::ACCEPTED };
            let taken = handle.respond(pending, response(peer, status)).is_ok();
            if let Stage::Waits(waits, said @ None) = &mut ledger.stages[peer]
                && *waits == number
                && taken
            {
                *said = Some((net.now(), status.as_u16()));
            }
            taken
        } else {
            handle.admit(pending, Found { peer, number, welcome: self.random.chance(700) }).is_ok()
        };
        ledger.posted += u64::from(taken);
        self.trace.note(&[4, number, taken.into()], || format!("         {number} is answered, {responds} {taken}"));
    }
}
