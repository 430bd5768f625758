//! An echo server on compio-ws and compio's runtime, to be measured.
//!
//! Owns its settings, the ring's among them. Promises to write all replies to the messages of one read together.

use compio_driver::{DriverType, ProactorBuilder};
use compio_net::{TcpListener, TcpStream};
use compio_ws::tungstenite::Message;
use compio_ws::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use compio_ws::tungstenite::protocol::WebSocketConfig;
use peer_shared::room::Room;
use peer_shared::{FAN_OUT_PATH, PAYLOAD_MAX};

static ROOM: Room<Message> = Room::new();

fn main() -> std::io::Result<()> {
    let address = peer_shared::listen_address();
    let mut ring = ProactorBuilder::new();
    ring.driver_type(DriverType::IoUring).capacity(4096).single_issuer(true).defer_taskrun(true).taskrun_flag(true);
    let runtime = compio_runtime::Runtime::builder().with_proactor(ring).build()?;
    // Reads fill the buffer's room with zeros first, as in tokio-tungstenite: it is the same protocol code.
    let config = WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .max_message_size(Some(PAYLOAD_MAX))
        .max_frame_size(Some(PAYLOAD_MAX));
    let driver = runtime.driver_type();
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let settings = format!(
            "{driver:?}, single issuer, deferred task work, read buffer {} KiB, write buffer {} KiB, replies to one \
             read flushed together, one thread",
            config.read_buffer_size >> 10,
            config.write_buffer_size >> 10,
        );
        peer_shared::announce("compio-ws", env!("CARGO_PKG_VERSION"), address, &settings);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => compio_runtime::spawn(serve(stream, config)).detach(),
                Err(error) => eprintln!("accept: {error}"),
            }
        }
    })
}

async fn serve(stream: TcpStream, config: WebSocketConfig) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut fan_out = false;
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let on_request = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        fan_out = request.uri().path() == FAN_OUT_PATH;
        Ok(response)
    };
    let Ok(mut ws) = compio_ws::accept_hdr_with_config_async(stream, on_request, config).await else { return };
    // An error is the end of the connection, and the client sees it.
    let _ = if fan_out {
        ROOM.stay(&mut ws, carries_data).await
    } else {
        // Its stream flushes whatever is unsent before it hands out a message: hence gathered first.
        peer_shared::echo_gathered(&mut ws, carries_data).await
    };
}

fn carries_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}
