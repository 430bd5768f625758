//! The lines of the input, read ahead by a thread of their own.
//!
//! Promises that lines come in order and that few wait: who does not take them makes the reader wait, and with it whoever writes the
//! input. When the input has ended it asks now and then whether anything has moved since.

use std::io::{self, BufRead};
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

pub(crate) fn channel() -> (SyncSender<Input>, Receiver<Input>) {
    sync_channel(AHEAD)
}

/// Sends each line on, without its end, until the input or the other side is gone; then asks, each `wait`.
pub(crate) fn read(lines: &SyncSender<Input>, handle: &Handle, wait: Duration) {
    let mut input = io::stdin().lock();
    let send = |what| {
        let sent = lines.send(what).is_ok();
        handle.wake(Place::new(0)); // there is one core
        sent
    };
    loop {
        let mut line = Vec::new();
        match input.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if !send(Input::Line(line)) {
            return;
        }
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
