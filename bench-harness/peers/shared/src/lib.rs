//! What the peers written in Rust have in common: the command line, the line printed at start, the listener, and the
//! fan-out on `/bcast`.
//!
//! Owns no protocol. Promises that no message of a fan-out is dropped and that what is ready together is written
//! together. Knows nothing of the libraries behind it but that they are streams and sinks of messages.

use std::net::SocketAddr;
use std::task::Poll;

use futures_util::{Sink, SinkExt, Stream, StreamExt};

#[cfg(feature = "listener")]
pub mod listener;
pub mod room;

/// Largest payload that every peer must take.
pub const PAYLOAD_MAX: usize = 64 << 20;

/// The path whose messages go to everybody connected to it; any other path is an echo.
pub const FAN_OUT_PATH: &str = "/bcast";

/// Messages taken from a connection before their replies are written.
pub const BATCH_MAX: usize = 64;

/// The address after `--listen`. Ends the process with 2 and a line of usage if the command line says anything else.
pub fn listen_address() -> SocketAddr {
    match command_line() {
        Some((address, false)) => address,
        _ => usage("--listen ADDRESS:PORT"),
    }
}

/// The same for a peer that compresses if asked to: whether `--deflate shared` follows.
pub fn listen_address_and_deflate() -> (SocketAddr, bool) {
    command_line().unwrap_or_else(|| usage("--listen ADDRESS:PORT [--deflate shared]"))
}

fn command_line() -> Option<(SocketAddr, bool)> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["--listen", address] => Some((address.parse().ok()?, false)),
        ["--listen", address, "--deflate", "shared"] => Some((address.parse().ok()?, true)),
        _ => None,
    }
}

fn usage(line: &str) -> ! {
    eprintln!("usage: peer-NAME {line}");
    std::process::exit(2);
}

/// The one line that a peer prints, once connections are accepted.
pub fn announce(name: &str, version: &str, address: SocketAddr, settings: &str) {
    println!("{name} {version}, ws://{address}/: {settings}");
}

/// Waits for a message, then takes those that are ready with it, [`BATCH_MAX`] at most. False when the stream has
/// ended, by an error or otherwise. Nothing is lost if the future is dropped.
pub async fn gather<S, M, E>(stream: &mut S, batch: &mut Vec<M>) -> bool
where
    S: Stream<Item = Result<M, E>> + Unpin,
{
    std::future::poll_fn(|cx| {
        while batch.len() < BATCH_MAX {
            match stream.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(message))) => batch.push(message),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(false),
                Poll::Pending if batch.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(true)
    })
    .await
}

/// An echo for libraries whose stream flushes whatever is unsent each time it is polled: messages are gathered first,
/// so that the replies to those that came together leave together.
pub async fn echo_gathered<S, M, E>(ws: &mut S, carries_data: fn(&M) -> bool) -> Result<(), E>
where
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
{
    let mut batch = Vec::new();
    loop {
        let open = gather(ws, &mut batch).await;
        for message in batch.drain(..).filter(carries_data) {
            ws.feed(message).await?;
        }
        ws.flush().await?;
        if !open {
            return Ok(());
        }
    }
}
