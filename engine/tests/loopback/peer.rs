//! A client that nobody here wrote: tungstenite.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tungstenite::{Message, WebSocket};
use wsring::{Config, Feature};

use crate::common::{Echo, Random, finish, read_some, serve, tcp};

/// A stream that reads on after a signal: see [`read_some`].
struct Patient(TcpStream);

impl Read for Patient {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        read_some(&self.0, bytes)
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn connect<S: Read + Write>(url: &str, stream: S) -> WebSocket<S> {
    let config = WebSocketConfig::default().max_frame_size(Some(16 << 20)).max_message_size(Some(16 << 20));
    let (client, response) =
        tungstenite::client::client_with_config(url, stream, Some(config)).expect("it accepts our handshake");
    assert_eq!(response.status(), 101);
    client
}

/// All lengths there and back, a ping and a close, on a stream that is connected. Returns how many messages that is.
pub(crate) fn converse<S: Read + Write>(url: &str, stream: S) -> u64 {
    let mut client = connect(url, stream);
    let mut random = Random::new(5);
    let mut count = 0;
    for len in [0, 1, 125, 126, 4096, 65_535, 65_536, 1 << 20, 16 << 20] {
        let text = String::from_utf8(random.multi_byte(len)).expect("UTF-8");
        for message in [Message::binary(random.bytes(len)), Message::text(text)] {
            client.send(message.clone()).expect("it goes out");
            assert_eq!(client.read().expect("an echo"), message);
            count += 1;
        }
    }
    client.send(Message::Ping("are you there?".into())).expect("it goes out");
    assert_eq!(client.read().expect("a pong"), Message::Pong("are you there?".into()));
    let bye = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
    client.close(Some(bye)).expect("it goes out");
    let answer = match client.read() {
        Ok(Message::Close(frame)) => frame.expect("a code"),
        other => panic!("{other:?}"),
    };
    assert_eq!(answer.code, CloseCode::Normal);
    assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
    count
}

#[test]
fn a_foreign_client_converses() {
    let mut tiny = Config { recv_buffers: (2, 512), send_blocks: (2, 512), ..Config::default() };
    tiny.features = tiny.features.without(Feature::MultishotRecv);
    for config in [Config::default(), tiny] {
        let (running, addr) = serve(config, 1, |_| Echo);
        let count = converse(&format!("ws://{addr}/"), Patient(tcp(addr)));
        let stats = finish(running);
        assert_eq!((stats.messages, stats.opened, stats.closed, stats.violations), (count, 1, 1, 0));
    }
}
