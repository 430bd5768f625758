//! The application of one end: it has messages of its own to send, and may echo those of the other.

use std::cell::RefCell;
use std::rc::Rc;

use wsring::ring::sim::{Random, hash_of};
use wsring::{
    Answered, CloseReason, Config, Conn, ConnId, CoreCx, Cx, Dialled, Handler, Message, Opening, Pressure, SendOutcome,
    Target, Verdict,
};

/// Where an end says what pressure does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// In the configuration.
    Config,
    /// In its verdict, or its target.
    Opening,
    /// On the open connection.
    Conn,
}

pub const WAYS: [By; 3] = [By::Config, By::Opening, By::Conn];

/// How an end behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub pressure: Pressure,
    pub by: By,
    /// Sends on although it was told `High`, until it is refused.
    pub eager: bool,
    pub echoes: bool,
    /// How many messages it has of its own, and how long they may be.
    pub messages: usize,
    pub longest: u32,
    /// More may never be queued.
    pub output_max: usize,
}

impl Manner {
    fn opposite(self) -> Pressure {
        match self.pressure {
            Pressure::PauseReading => Pressure::ReadOn,
            _ => Pressure::PauseReading,
        }
    }

    /// What is said later says the opposite before.
    pub fn configure(self, config: Config, serves: bool) -> Config {
        let said = if self.by == By::Config { self.pressure } else { self.opposite() };
        if serves { config.pressure_accepted(said) } else { config.pressure_dialled(said) }
    }

    /// What the opening says.
    fn opening(self) -> Option<Pressure> {
        match self.by {
            By::Config => None,
            By::Opening => Some(self.pressure),
            By::Conn => Some(self.opposite()),
        }
    }
}

/// A message, by its length and hash.
type Digest = (usize, u64);

/// What is known of one end.
#[derive(Default)]
pub struct Side {
    /// Messages that were taken, its own and echoes.
    queued: Vec<Digest>,
    got: Vec<Digest>,
    /// Its own that are still to be sent.
    left: usize,
    opened: bool,
    /// Echoes that were refused.
    pub refused: usize,
    pub reason: Option<String>,
    pub timed_out: bool,
    /// How much has happened.
    pub steps: usize,
}

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { queued, got, left, refused, reason, .. } = self;
        let (queued, got) = (queued.len(), got.len());
        write!(f, "{queued} queued, {got} got, {left} left, {refused} echoes refused, ended {reason:?}")
    }
}

impl Side {
    /// What it got is a prefix of what the other was told is queued.
    pub fn check(&self, other: &Side) {
        assert!(other.queued.starts_with(&self.got), "what it received is no prefix of what was queued");
    }

    /// Everything that the other has taken for it has come.
    pub fn is_through(&self, other: &Side) -> bool {
        self.opened && other.opened && other.left == 0 && self.got.len() == other.queued.len()
    }
}

pub struct End {
    manner: Manner,
    random: Random,
    dials: bool,
    id: Option<ConnId>,
    /// The message that comes next, if it was refused.
    again: Option<Vec<u8>>,
    side: Rc<RefCell<Side>>,
}

/// Begins an echo, which is not echoed.
const ECHO: u8 = 1;

impl End {
    pub fn new(manner: Manner, seed: u64, dials: bool, side: Rc<RefCell<Side>>) -> Self {
        side.borrow_mut().left = manner.messages;
        Self { manner, random: Random::new(seed ^ 0x0065_6e64), dials, id: None, again: None, side }
    }

    fn message(&mut self) -> Vec<u8> {
        let len = self.random.range(1, u64::from(self.manner.longest)) as usize;
        let mut bytes = vec![0; len];
        bytes[1..].iter_mut().for_each(|byte| *byte = self.random.bits() as u8);
        bytes
    }

    /// Sends what it has of its own: until it is told that the output is high, or until it is refused.
    fn send_own(&mut self, conn: &mut Conn<'_, Self>) {
        while self.side.borrow().left > 0 {
            let bytes = self.again.take().unwrap_or_else(|| self.message());
            let outcome = conn.send(&bytes);
            let mut side = self.side.borrow_mut();
            match outcome {
                SendOutcome::Queued | SendOutcome::High => {
                    side.queued.push((bytes.len(), hash_of(&bytes)));
                    side.left -= 1;
                    side.steps += 1;
                    if outcome == SendOutcome::High && !self.manner.eager {
                        return;
                    }
                }
                // The cap is far enough above the mark: the output is high, and will be writable.
                SendOutcome::Refused => {
                    self.again = Some(bytes);
                    return;
                }
                _ => return,
            }
        }
    }

    fn check_queued(&self, conn: &Conn<'_, Self>) {
        let (queued, most) = (conn.queued(), self.manner.output_max);
        assert!(queued <= most, "more is queued than may be: {queued} of {most}");
    }
}

impl Handler for End {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        if self.dials {
            let target = Target::new("ws://10.0.0.1:1000/").expect("a URL");
            cx.connect(match self.manner.opening() {
                None => target,
                Some(pressure) => target.pressure(pressure),
            });
        }
    }

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        match self.manner.opening() {
            None => Verdict::accept(()),
            Some(pressure) => Verdict::accept(()).pressure(pressure),
        }
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<()> {
        Some(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        self.id = Some(cx.id());
        self.side.borrow_mut().opened = true;
        if self.manner.by == By::Conn {
            cx.set_pressure(self.manner.pressure);
        }
        self.send_own(cx);
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let bytes = message.as_bytes();
        {
            let mut side = self.side.borrow_mut();
            side.got.push((bytes.len(), hash_of(bytes)));
            side.steps += 1;
        }
        if self.manner.echoes && bytes[0] != ECHO {
            let mut echo = bytes.to_vec();
            echo[0] = ECHO;
            let outcome = cx.send(&echo);
            let mut side = self.side.borrow_mut();
            match outcome {
                SendOutcome::Queued | SendOutcome::High => side.queued.push((echo.len(), hash_of(&echo))),
                SendOutcome::Refused => side.refused += 1,
                _ => {}
            }
        }
        self.check_queued(cx);
    }

    fn on_writable(&mut self, cx: &mut Cx<'_, Self>) {
        self.side.borrow_mut().steps += 1;
        self.send_own(cx);
    }

    fn on_batch_end(&mut self, cx: &mut CoreCx<'_, Self>) {
        if let Some(conn) = self.id.and_then(|id| cx.conn(id)) {
            self.check_queued(&conn);
        }
    }

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, _: ConnId, (): (), why: &CloseReason<'_>) {
        let mut side = self.side.borrow_mut();
        side.timed_out = matches!(why, CloseReason::Timeout);
        side.reason = Some(why.to_string());
        side.steps += 1;
    }
}
