//! A client and a server that nobody here wrote: tungstenite, the protocol of tokio-tungstenite.

use std::io::{Read, Write};
use std::net::TcpListener;

use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Message, WebSocket};
use wsring::{
    Answered, Client, CloseReason, Config, ConnId, CoreCx, Cx, Dialled, Feature, Features, Handler, RecvBuffers,
    SendBuffers, Target,
};
use wsring_testkit::Patient;

use crate::common::{Echo, Random, bounded, cores, finish, serve, strict, tcp};

fn config() -> WebSocketConfig {
    WebSocketConfig::default().max_frame_size(Some(16 << 20)).max_message_size(Some(16 << 20))
}

/// [`talk`] as a client, on a stream that is connected.
pub(crate) fn converse<S: Read + Write>(url: &str, stream: S) -> u64 {
    let (client, response) =
        tungstenite::client::client_with_config(url, stream, Some(config())).expect("it accepts our handshake");
    assert_eq!(response.status(), 101);
    talk(client)
}

/// All lengths there and back, fragments, pings and a close. Returns how many messages that is.
fn talk<S: Read + Write>(mut client: WebSocket<S>) -> u64 {
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
    // RFC 6455 §5.4: a message in three frames, one empty, a character cut in two, and a ping between them.
    let pieces: [(&[u8], _, _); 3] =
        [(b"\xe2\x82", Data::Text, false), (b"", Data::Continue, false), (b"\xac", Data::Continue, true)];
    for (payload, kind, last) in pieces {
        let frame = Frame::message(payload.to_vec(), OpCode::Data(kind), last);
        client.send(Message::Frame(frame)).expect("it goes out");
        if !last {
            client.send(Message::Ping("between".into())).expect("it goes out");
            assert_eq!(client.read().expect("a pong"), Message::Pong("between".into()));
        }
    }
    assert_eq!(client.read().expect("an echo"), Message::text("\u{20ac}"));
    count += 1;
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
    let tiny = Config::default()
        .recv_buffers(RecvBuffers::Fixed { count: 2, bytes: 512 })
        .send_buffers(SendBuffers { count: 2, bytes: 512 })
        .features(Features::all().without(Feature::MultishotRecv));
    for config in [Config::default(), tiny] {
        let (running, addr) = serve(config, 1, |_| Echo);
        let count = converse(&format!("ws://{addr}/"), Patient(tcp(addr)));
        let stats = finish(running);
        assert_eq!((stats.messages, stats.opened, stats.closed, stats.violations), (count, 1, 1, 0));
    }
}

/// A client of ours at a server of theirs.
#[test]
fn a_foreign_server_converses() {
    struct Mirror(Target);
    impl Handler for Mirror {
        type Conn = ();
        type Mail = ();
        fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
            cx.connect(self.0.clone());
        }
        fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, answered: &Answered<'_>) -> Option<()> {
            assert_eq!((answered.header("X-Served"), answered.subprotocol), (Some(&b"by them"[..]), Some("v1")));
            Some(())
        }
        fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: wsring::Message<'_>) {
            assert!(cx.forward(message).is_queued());
        }
        fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, _: ConnId, (): (), why: &CloseReason<'_>) {
            assert_eq!(*why, CloseReason::Peer { code: Some(wsring::CloseCode::NORMAL), reason: "bye" });
            cx.stop_core();
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        bounded(&stream);
        #[allow(clippy::result_large_err, reason = "the type is tungstenite's")]
        let answer = |request: &Request, mut response: Response| {
            assert_eq!(request.headers()["sec-websocket-protocol"], "v2, v1");
            assert_eq!((request.uri().path(), request.uri().query()), ("/feed", Some("depth=5")));
            response.headers_mut().insert("sec-websocket-protocol", "v1".parse().expect("a value"));
            response.headers_mut().insert("x-served", "by them".parse().expect("a value"));
            Ok(response)
        };
        talk(tungstenite::accept_hdr_with_config(Patient(stream), answer, Some(config())).expect("a handshake"))
    });
    let target = Target::new(&format!("ws://{addr}/feed?depth=5")).expect("a URL");
    let target = target.subprotocol("v2").and_then(|target| target.subprotocol("v1")).expect("tokens");
    let running = Client::new()
        .cores(cores(1))
        .config(strict(Config::default()))
        .start(move |_| Mirror(target.clone()))
        .expect("the client starts");
    let count = server.join().expect("the server is content");
    let stats = running.join().expect("it stops itself");
    assert_eq!((stats[0].messages, stats[0].opened, stats[0].closed, stats[0].violations), (count, 1, 1, 0));
}
