//! An echo server on sockudo-ws, to be measured.
//!
//! Owns its settings and the loops, which are those of its own manual. Promises to write all replies to the messages
//! of one read together.

use std::sync::LazyLock;

use futures_util::{SinkExt, StreamExt};
use peer_shared::{BATCH_MAX, FAN_OUT_PATH, PAYLOAD_MAX};
use sockudo_ws::pubsub::PubSub;
use sockudo_ws::{Config, Message, Role, WebSocketStream, handshake};
use tokio::net::TcpStream;

static PUBSUB: LazyLock<PubSub> = LazyLock::new(PubSub::new);
const TOPIC: &str = "everybody";

fn main() -> std::io::Result<()> {
    let address = peer_shared::listen_address();
    // Its own pings and idle clock are off: no other peer has them, and they cost a reading of the clock.
    let config = Config::builder()
        .max_message_size(PAYLOAD_MAX)
        .max_frame_size(PAYLOAD_MAX)
        .max_backpressure(PAYLOAD_MAX)
        .auto_ping(false)
        .idle_timeout(0)
        .build();
    let settings = format!(
        "write coalescing {}, replies to one read flushed together, no pings, no idle clock, mimalloc, one thread",
        if config.write_coalescing { "on" } else { "off" },
    );
    let ready = || peer_shared::announce("sockudo-ws", env!("CARGO_PKG_VERSION"), address, &settings);
    peer_shared::listener::serve(address, ready, |mut stream| {
        let config = config.clone();
        async move {
            let Ok(request) = handshake::server_handshake(&mut stream).await else { return };
            // Its `WebSocketServer` would do the same behind a box, and comes only with HTTP/2.
            let mut ws = WebSocketStream::from_raw_with_leftover(stream, Role::Server, config, request.leftover);
            // An error is the end of the connection, and the client sees it.
            let _ = if request.path == FAN_OUT_PATH { fan_out(&mut ws).await } else { echo(&mut ws).await };
        }
    })
}

/// The echo loop of its manual: replies are fed, and `next` flushes them when it has to wait for more.
async fn echo(ws: &mut WebSocketStream<TcpStream>) -> sockudo_ws::Result<()> {
    while let Some(message) = ws.next().await {
        match message? {
            message @ (Message::Text(_) | Message::Binary(_)) => ws.feed(message).await?,
            Message::Close(_) => {
                // Its answer to the close goes out with the next turn.
                while let Some(Ok(_)) = ws.next().await {}
                break;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Publishes through its own topics; the queue of a subscriber is drained in batches.
async fn fan_out(ws: &mut WebSocketStream<TcpStream>) -> sockudo_ws::Result<()> {
    let (sender, mut inbox) = tokio::sync::mpsc::unbounded_channel();
    let id = PUBSUB.create_subscriber(sender);
    PUBSUB.subscribe(id, TOPIC);
    let outcome = stay(ws, &mut inbox).await;
    PUBSUB.remove_subscriber(id);
    outcome
}

async fn stay(
    ws: &mut WebSocketStream<TcpStream>,
    inbox: &mut tokio::sync::mpsc::UnboundedReceiver<Message>,
) -> sockudo_ws::Result<()> {
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    let mut open = true;
    while open {
        tokio::select! { biased;
            still_open = peer_shared::gather(ws, &mut said) => open = still_open,
            _ = inbox.recv_many(&mut heard, BATCH_MAX) => {}
        }
        for message in said.drain(..) {
            match message {
                Message::Text(_) | Message::Binary(_) => {
                    PUBSUB.publish(TOPIC, message);
                }
                Message::Close(_) => open = false,
                _ => {}
            }
        }
        while heard.len() < BATCH_MAX
            && let Ok(message) = inbox.try_recv()
        {
            heard.push(message);
        }
        if open {
            for message in heard.drain(..) {
                ws.feed(message).await?;
            }
            ws.flush().await?;
        }
    }
    while let Some(Ok(_)) = ws.next().await {}
    Ok(())
}
