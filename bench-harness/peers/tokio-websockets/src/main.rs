//! An echo server on tokio-websockets, to be measured.
//!
//! Owns its settings. Promises to write all replies to the messages of one read together.

use peer_shared::room::Room;
use peer_shared::{FAN_OUT_PATH, PAYLOAD_MAX};
use tokio_websockets::{Config, Limits, Message, ServerBuilder};

static ROOM: Room<Message> = Room::new();

/// Bytes queued before a reply waits for the socket. The default of 8 KiB would cut a batch in two.
const FLUSH_THRESHOLD: usize = 128 << 10;

fn main() -> std::io::Result<()> {
    let address = peer_shared::listen_address();
    let settings = format!(
        "flush threshold {} KiB, replies to one read flushed together, never fragmenting, one thread",
        FLUSH_THRESHOLD >> 10
    );
    let ready = || peer_shared::announce("tokio-websockets", env!("CARGO_PKG_VERSION"), address, &settings);
    peer_shared::listener::serve(address, ready, |stream| async move {
        let accepted = ServerBuilder::new()
            // A long message in one frame, as the other peers send it.
            .config(Config::default().frame_size(usize::MAX).flush_threshold(FLUSH_THRESHOLD))
            .limits(Limits::default().max_payload_len(Some(PAYLOAD_MAX)))
            .accept(stream)
            .await;
        let Ok((request, mut ws)) = accepted else { return };
        // An error is the end of the connection, and the client sees it.
        let _ = if request.uri().path() == FAN_OUT_PATH {
            ROOM.stay(&mut ws, carries_data).await
        } else {
            // Its stream flushes whatever is unsent before it looks for the next message: hence gathered first.
            peer_shared::echo_gathered(&mut ws, carries_data).await
        };
    })
}

fn carries_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}
