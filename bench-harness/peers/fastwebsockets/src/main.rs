//! An echo server on fastwebsockets, to be measured.
//!
//! Owns its settings, the upgrade and the loops. Promises to write all replies to the messages of one read together
//! (`outbox`).

mod outbox;

use bytes::Bytes;
use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocket, WebSocketError, upgrade,
};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Parts;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use outbox::Outbox;
use peer_shared::room::Room;
use peer_shared::{BATCH_MAX, FAN_OUT_PATH, PAYLOAD_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;

static ROOM: Room<(OpCode, Bytes)> = Room::new();

/// Bytes of a fan-out gathered for one write.
const WRITE_BUFFER: usize = 64 << 10;

fn main() -> std::io::Result<()> {
    let address = peer_shared::listen_address();
    let settings = "replies to one read held back and written together, vectored writes, closes and pongs by itself, \
                    no task budget, one thread";
    let ready = || peer_shared::announce("fastwebsockets", env!("CARGO_PKG_VERSION"), address, settings);
    peer_shared::listener::serve(address, ready, |stream| async move {
        // An error is the end of the connection, and the client sees it.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(on_request))
            .with_upgrades()
            .await;
    })
}

async fn on_request(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    if !upgrade::is_upgrade_request(&request) {
        let mut response = Response::new(Empty::new());
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return Ok(response);
    }
    let fan_out = request.uri().path() == FAN_OUT_PATH;
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    // Without a budget, as in its example: a task that has much to read is not sent to the end of the queue.
    tokio::spawn(tokio::task::unconstrained(async move {
        // An error is the end of the connection, and the client sees it.
        let _ = if fan_out { stay(upgraded).await } else { echo(upgraded).await };
    }));
    Ok(response)
}

async fn echo(upgraded: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let (stream, early) = socket(upgraded).await?;
    let mut ws = WebSocket::after_handshake(Outbox::new(stream, early), Role::Server);
    ws.set_auto_close(true);
    ws.set_auto_pong(true);
    ws.set_writev(true);
    ws.set_max_message_size(PAYLOAD_MAX + 1); // it refuses what reaches this
    let mut ws = FragmentCollector::new(ws);
    loop {
        let frame = ws.read_frame().await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => ws.write_frame(frame).await?,
            OpCode::Close => break,
            _ => {}
        }
    }
    ws.into_inner().shutdown().await?;
    Ok(())
}

/// Everybody hears everybody: a frame is read and written at once, hence the halves.
async fn stay(upgraded: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let (stream, early) = socket(upgraded).await?;
    let (reader, writer) = stream.into_split();
    let reader = std::io::Cursor::new(early).chain(reader);
    let writer = BufWriter::with_capacity(WRITE_BUFFER, writer);
    let (mut reader, mut writer) = fastwebsockets::after_handshake_split(reader, writer, Role::Server);
    reader.set_max_message_size(PAYLOAD_MAX + 1);
    writer.set_writev(true);
    let mut reader = FragmentCollectorRead::new(reader);
    let (seat, mut inbox) = ROOM.enter();

    let reading = async {
        loop {
            // Pongs and the answer to a close wait in line with everything else for this connection.
            let mut answer = |frame: Frame<'_>| {
                let sent = seat.send((frame.opcode, shared(frame.payload)));
                std::future::ready(sent.map_err(|_| WebSocketError::ConnectionClosed))
            };
            let frame = reader.read_frame::<_, WebSocketError>(&mut answer).await?;
            match frame.opcode {
                OpCode::Text | OpCode::Binary => ROOM.publish(&(frame.opcode, shared(frame.payload))),
                // The writing half sends the answer and ends the stay.
                OpCode::Close => std::future::pending().await,
                _ => {}
            }
        }
    };
    let writing = async {
        let mut heard = Vec::new();
        while inbox.recv_many(&mut heard, BATCH_MAX).await > 0 {
            for (opcode, payload) in heard.drain(..) {
                writer.write_frame(Frame::new(true, opcode, None, Payload::Borrowed(&payload))).await?;
            }
            writer.flush().await?;
            if writer.is_closed() {
                break;
            }
        }
        Ok::<(), WebSocketError>(())
    };
    tokio::select! {
        outcome = reading => outcome,
        outcome = writing => outcome,
    }
}

/// The socket under an upgraded connection, without hyper's layers, and what hyper had read beyond the request.
async fn socket(upgraded: upgrade::UpgradeFut) -> Result<(TcpStream, Bytes), WebSocketError> {
    let Parts { io, read_buf, .. } = upgraded
        .await?
        .into_inner()
        .into_inner()
        .downcast::<TokioIo<TcpStream>>()
        .expect("serve_connection was given this type");
    Ok((io.into_inner(), read_buf))
}

fn shared(payload: Payload<'_>) -> Bytes {
    match payload {
        Payload::Bytes(bytes) => bytes.freeze(),
        Payload::Owned(bytes) => bytes.into(),
        Payload::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
        Payload::BorrowedMut(bytes) => Bytes::copy_from_slice(bytes),
    }
}
