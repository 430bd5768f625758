//! The lines of the input, read ahead by a thread of their own.
//!
//! Promises that lines come in order and that few wait: who does not take them makes the reader wait, and with it whoever writes the
//! input; and that what has been read is known, half a line too ([`Begun`]). When the input has ended it asks now and then whether anything
//! has moved since.

use std::io::{self, BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use wsring::{Handle, Place};

/// Lines read ahead of what is sent.
const AHEAD: usize = 256;

/// What the input brings.
pub(crate) enum Input {
    Line(Vec<u8>),
    End,
    /// It ended a while ago: has anything moved since?
    Quiet,
}

/// How many lines of the input have been read, or begun to be: of those that have not come by the channel nobody else knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Begun(Arc<AtomicU64>);

impl Begun {
    pub(crate) fn lines(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

pub(crate) fn channel() -> (SyncSender<Input>, Receiver<Input>) {
    sync_channel(AHEAD)
}

/// Sends each line on, without its end, until the input or the other side is gone; then asks, each `wait`.
pub(crate) fn read(lines: &SyncSender<Input>, begun: &Begun, handle: &Handle, wait: Duration) {
    // A buffer as large as the standard input's own, which is then passed by.
    let mut input = BufReader::with_capacity(64 << 10, io::stdin().lock());
    let send = |what| {
        let sent = lines.send(what).is_ok();
        handle.wake(Place::new(0)); // there is one core
        sent
    };
    let mut whole = 0;
    let mut line = Vec::new();
    loop {
        if input.buffer().is_empty() {
            let read = match input.fill_buf() {
                Ok([]) | Err(_) => break,
                Ok(read) => read,
            };
            whole += read.iter().filter(|byte| **byte == b'\n').count() as u64;
            begun.0.store(whole + u64::from(read.last() != Some(&b'\n')), Ordering::Release);
        }
        let has_come = input.buffer();
        let end = has_come.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&has_come[..end.unwrap_or(has_come.len())]);
        let len = end.map_or(has_come.len(), |end| end + 1);
        input.consume(len);
        if end.is_some() && !send(Input::Line(std::mem::take(&mut line))) {
            return;
        }
    }
    if !line.is_empty() && !send(Input::Line(line)) {
        return;
    }
    if send(Input::End) && !wait.is_zero() {
        loop {
            std::thread::sleep(wait);
            if !send(Input::Quiet) {
                return;
            }
        }
    }
}
