//! An echo server on tokio-tungstenite, to be measured.
//!
//! Owns its settings and the echo loop. Promises to write all replies to the messages of one read together.

use std::future::poll_fn;
use std::task::{Poll, ready};

use futures_util::{SinkExt, StreamExt};
use peer_shared::room::Room;
use peer_shared::{FAN_OUT_PATH, PAYLOAD_MAX};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

static ROOM: Room<Message> = Room::new();

fn main() -> std::io::Result<()> {
    let address = peer_shared::listen_address();
    // Every read first fills the buffer's room with zeros: at the default of 128 KiB that costs more than the rest of
    // the work on small messages. Writes are gathered to the default, 128 KiB.
    let config = WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .max_message_size(Some(PAYLOAD_MAX))
        .max_frame_size(Some(PAYLOAD_MAX));
    let settings = format!(
        "read buffer {} KiB, write buffer {} KiB, replies to one read flushed together, one thread",
        config.read_buffer_size >> 10,
        config.write_buffer_size >> 10,
    );
    let ready = || peer_shared::announce("tokio-tungstenite", env!("CARGO_PKG_VERSION"), address, &settings);
    peer_shared::listener::serve(address, ready, |stream| async move {
        let mut fan_out = false;
        #[expect(clippy::result_large_err, reason = "the library's signature")]
        let on_request = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            fan_out = request.uri().path() == FAN_OUT_PATH;
            Ok(response)
        };
        let ws = tokio_tungstenite::accept_hdr_async_with_config(stream, on_request, Some(config)).await;
        let Ok(mut ws) = ws else { return };
        // An error is the end of the connection, and the client sees it.
        let _ = if fan_out { ROOM.stay(&mut ws, carries_data).await } else { echo(&mut ws).await };
    })
}

fn carries_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}

/// Takes messages while there are any, then flushes: what futures' `forward` does, for one that is not split.
async fn echo(ws: &mut WebSocketStream<tokio::net::TcpStream>) -> Result<(), Error> {
    poll_fn(|cx| {
        loop {
            // A reply that finds no room must not be asked for.
            ready!(ws.poll_ready_unpin(cx))?;
            match ws.poll_next_unpin(cx) {
                Poll::Ready(Some(message)) => {
                    let message = message?;
                    if carries_data(&message) {
                        ws.start_send_unpin(message)?;
                    }
                }
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(ws.poll_flush_unpin(cx))?;
                    return Poll::Pending;
                }
            }
        }
    })
    .await
}
