//! An echo server on sockudo-ws, to be measured.
//!
//! Owns its settings, the loops, which are those of its own manual, and, for `--deflate shared`, the handshake: its own
//! for plain HTTP/1.1 negotiates no extension, but its public parts do. Promises to write all replies to the messages of
//! one read together.

use std::sync::LazyLock;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use peer_shared::{BATCH_MAX, FAN_OUT_PATH, PAYLOAD_MAX};
use sockudo_ws::deflate::negotiate_server_deflate;
use sockudo_ws::pubsub::PubSub;
use sockudo_ws::{
    CompressedWebSocketStream, Compression, Config, DeflateConfig, Error, Message, Role, WebSocketStream,
};
use sockudo_ws::{Result, handshake};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

static PUBSUB: LazyLock<PubSub> = LazyLock::new(PubSub::new);
const TOPIC: &str = "everybody";

fn main() -> std::io::Result<()> {
    let (address, deflate) = peer_shared::listen_address_and_deflate();
    // What its own `Shared` stands for: level 6, no context between messages, messages from 16 bytes on.
    let policy = if deflate { Compression::Shared.to_deflate_config() } else { None };
    // Its own pings and idle clock are off: no other peer has them, and they cost a reading of the clock.
    let config = Config::builder()
        .max_message_size(PAYLOAD_MAX)
        .max_frame_size(PAYLOAD_MAX)
        .max_backpressure(PAYLOAD_MAX)
        .auto_ping(false)
        .idle_timeout(0)
        .build();
    let settings = format!(
        "write coalescing {}, replies to one read flushed together, no pings, no idle clock, mimalloc, one thread, {}",
        if config.write_coalescing { "on" } else { "off" },
        if deflate { "permessage-deflate without context" } else { "no compression" },
    );
    let ready = || peer_shared::announce("sockudo-ws", env!("CARGO_PKG_VERSION"), address, &settings);
    peer_shared::listener::serve(address, ready, |mut stream| {
        let (config, policy) = (config.clone(), policy.clone());
        async move {
            if let Some(policy) = policy {
                // An error is the end of the connection, and the client sees it.
                let _ = compressed(stream, config, policy).await;
                return;
            }
            let Ok(request) = handshake::server_handshake(&mut stream).await else { return };
            // Its `WebSocketServer` would do the same behind a box, and comes only with HTTP/2.
            let mut ws = WebSocketStream::from_raw_with_leftover(stream, Role::Server, config, request.leftover);
            // An error is the end of the connection, and the client sees it.
            let _ = if request.path == FAN_OUT_PATH { fan_out(&mut ws).await } else { echo(&mut ws).await };
        }
    })
}

/// One connection that must negotiate permessage-deflate: without it there is nothing to measure.
async fn compressed(mut stream: TcpStream, config: Config, policy: DeflateConfig) -> Result<()> {
    let mut head = Vec::with_capacity(4096);
    let (deflate, fan_out_asked, used) = loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(Error::ConnectionClosed);
        }
        if let Some((request, used)) = handshake::parse_request(&head)? {
            let negotiated = request.extensions.and_then(|offers| negotiate_server_deflate(offers, &policy));
            let negotiated = negotiated.ok_or(Error::HandshakeFailed("no offer of permessage-deflate that fits"))?;
            let accept = handshake::generate_accept_key(request.key);
            let response = handshake::build_response(&accept, None, Some(&negotiated.to_response_header()));
            let fan_out_asked = request.path == FAN_OUT_PATH;
            stream.write_all(&response).await?;
            break (negotiated.config, fan_out_asked, used);
        }
    };
    let leftover = Some(head.split_off(used)).filter(|bytes| !bytes.is_empty()).map(Into::into);
    let mut ws = CompressedWebSocketStream::server_with_leftover(stream, config, deflate, leftover);
    if fan_out_asked { fan_out(&mut ws).await } else { echo(&mut ws).await }
}

/// The echo loop of its manual: replies are fed, and `next` flushes them when it has to wait for more.
async fn echo<S>(ws: &mut S) -> Result<()>
where
    S: Stream<Item = Result<Message>> + Sink<Message, Error = Error> + Unpin,
{
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
async fn fan_out<S>(ws: &mut S) -> Result<()>
where
    S: Stream<Item = Result<Message>> + Sink<Message, Error = Error> + Unpin,
{
    let (sender, mut inbox) = tokio::sync::mpsc::unbounded_channel();
    let id = PUBSUB.create_subscriber(sender);
    PUBSUB.subscribe(id, TOPIC);
    let outcome = stay(ws, &mut inbox).await;
    PUBSUB.remove_subscriber(id);
    outcome
}

async fn stay<S>(ws: &mut S, inbox: &mut tokio::sync::mpsc::UnboundedReceiver<Message>) -> Result<()>
where
    S: Stream<Item = Result<Message>> + Sink<Message, Error = Error> + Unpin,
{
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
