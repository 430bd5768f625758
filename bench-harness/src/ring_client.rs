//! wsring's client, to be measured: connections that each keep messages in flight.
//!
//! Owns: what is sent and what may come back. Promises: as many messages in flight as asked, one sent for each that returns; a
//! reply of another length or kind, or a connection that cannot be made, ends it with an error. Refuses to know: who answers.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use wsring::{
    Answered, Client, CloseReason, Config, ConnId, CoreCx, Cx, DialError, Dialled, Handler, Limits, Message,
    SendOutcome, Stats, Target,
};

use crate::client_echo::Flight;

/// How long a stop may go unnoticed. It wakes this process, which is measured: some 0.01 % of a core.
const WAIT: Duration = Duration::from_millis(50);
/// Payload bytes in flight on one connection, at most: what may be queued for one is bounded by a gibibyte.
const FLIGHT_BYTES_MAX: usize = 512 << 20;

/// Does what `flight` says with the server at `url`, on `core`, until `stop` is set or the server closes a connection.
pub fn run(url: &str, flight: Flight, core: usize, spin_us: u32, stop: &AtomicBool) -> io::Result<Stats> {
    let target = Target::new(url).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    // With headers: 14 bytes each at most (RFC 6455 §5.2).
    let bytes = (flight.size + 14).saturating_mul(flight.depth as usize);
    if bytes > FLIGHT_BYTES_MAX {
        let why = format!("{bytes} bytes in flight on a connection, at most {FLIGHT_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    // The server reads nothing while it cannot write: a client that stopped reading for its own output would never go on.
    let output_bytes = (bytes as u32).max(1 << 20);
    let longest = (flight.size as u64).max(16 << 20);
    let config = Config::default()
        .spin(Duration::from_micros(spin_us.into()))
        .output_high_bytes(output_bytes)
        .output_max_bytes(output_bytes.max(20 << 20))
        .limits(Limits::default().frame_max_bytes(longest).message_max_bytes(longest));
    let fault: Arc<Mutex<Option<String>>> = Arc::default();
    let told = Arc::clone(&fault);
    let running = Client::new().cores([core]).config(config).start(move |_| Pump {
        target: target.clone(),
        flight,
        payload: (0..flight.size).map(|at| at as u8).collect(),
        fault: Arc::clone(&told),
    });
    let running = running.map_err(io::Error::other)?;
    let (handle, ended) = (running.handle(), AtomicBool::new(false));
    let stats = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) && !ended.load(Ordering::Relaxed) {
                thread::sleep(WAIT);
            }
            handle.stop();
        });
        let stats = running.join();
        ended.store(true, Ordering::Relaxed);
        stats.map_err(io::Error::other)
    })?;
    match fault.lock().expect("no thread panics with it").take() {
        Some(why) => Err(io::Error::other(why)),
        None => Ok(stats.into_iter().next().expect("one core")),
    }
}

struct Pump {
    target: Target,
    flight: Flight,
    payload: Vec<u8>,
    /// What went wrong first.
    fault: Arc<Mutex<Option<String>>>,
}

impl Pump {
    fn fail(&self, cx: &mut CoreCx<'_, Self>, why: String) {
        self.fault.lock().expect("no thread panics with it").get_or_insert(why);
        cx.stop_core();
    }

    fn send(&self, cx: &mut Cx<'_, Self>) {
        let outcome = cx.send(Message::Binary(&self.payload));
        // A connection that is broken may still bring replies; `on_close` is told of its end.
        if !outcome.is_queued() && outcome != SendOutcome::Gone {
            self.fail(cx, format!("a message was not queued: {outcome:?}"));
        }
    }
}

impl Handler for Pump {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        for _ in 0..self.flight.connections {
            cx.connect(self.target.clone());
        }
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<()> {
        Some(())
    }

    fn on_dial_failed(&mut self, cx: &mut CoreCx<'_, Self>, _: &Dialled, why: &DialError, _: Option<Duration>) {
        if !matches!(why, DialError::Stopped) {
            self.fail(cx, why.to_string());
        }
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        (0..self.flight.depth).for_each(|_| self.send(cx));
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        match message {
            Message::Binary(bytes) if bytes.len() == self.flight.size => self.send(cx),
            other => {
                let (size, came) = (self.flight.size, other.as_bytes().len());
                self.fail(cx, format!("a reply of {came} bytes where a binary message of {size} is due"));
            }
        }
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, _: ConnId, (): (), why: &CloseReason<'_>) {
        match why {
            CloseReason::Violation(violation) => self.fail(cx, violation.to_string()),
            CloseReason::Timeout => self.fail(cx, "the server fell silent".to_owned()),
            _ => cx.stop_core(),
        }
    }
}
