//! Requests over TLS that are answered later.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

use rustls::version::TLS13;
use wsring::http::StatusCode;
use wsring::{CoreCx, Cx, Handler, Message, Opening, Pending, Response, Verdict};

use super::{Wire, echo, with_tls};
use crate::common::certificates::Authority;
use crate::common::*;

/// Has everybody wait, and asks each time what TLS knows.
struct Later(Sender<Pending>);

fn is_tls13(opening: &Opening<'_>) -> bool {
    opening.tls.is_some_and(|peer| peer.version() == Some(rustls::ProtocolVersion::TLSv1_3))
}

impl Handler for Later {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<()> {
        assert!(is_tls13(opening));
        let pending = cx.defer(opening).expect("there is room");
        self.0.send(pending).expect("the test listens");
        Verdict::defer(pending)
    }

    fn on_admit(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>, (): ()) -> Verdict<()> {
        assert!(is_tls13(opening));
        Verdict::accept(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert!(cx.forward(message).is_queued());
    }
}

/// One is admitted, and what it had sent behind its request is echoed; one is refused, and told goodbye; one says goodbye itself and is
/// forgotten.
#[test]
fn who_waits_over_tls_is_answered() {
    let authority = Authority::new();
    let (told, tells) = mpsc::channel();
    let (running, addr) = serve(with_tls(authority.server()), 1, move |_| Later(told.clone()));
    let client = Arc::new(authority.client(&[&TLS13]));
    let ask = |behind: &[u8]| {
        let mut wire = Wire::connect(addr, &client);
        wire.write_all(&[upgrade_head("/").as_bytes(), behind].concat()).expect("it goes out");
        (tells.recv_timeout(WAIT).expect("it is asked about"), wire)
    };
    let mut frame = Vec::new();
    client_frame(&mut frame, true, TEXT, b"early", [1, 2, 3, 4]);
    let ((first, mut admitted), (second, mut refused), (third, mut gone)) = (ask(&frame), ask(b""), ask(b""));
    let handle = running.handle();
    gone.tls.send_close_notify();
    gone.send().expect("it goes out");
    while gone.receive().expect("no reset") {}
    handle.admit(third, ()).expect("there is room");
    let mut response = Response::new(b"who are you?\n".to_vec());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    handle.respond(second, response).expect("there is room");
    let mut answer = String::new();
    refused.read_to_string(&mut answer).expect("a response and the end");
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.ends_with("\r\n\r\nwho are you?\n"), "{answer}");
    refused.expect_goodbye();
    handle.admit(first, ()).expect("there is room");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        admitted.read_exact(&mut byte).expect("a response");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    let mut early = [0; 7];
    admitted.read_exact(&mut early).expect("an echo");
    assert_eq!(&early, b"\x81\x05early");
    echo(&mut admitted, b"and now");
    drop(admitted);
    let stats = finish(running);
    assert_eq!((stats.deferred_answered, stats.deferred_gone, stats.answers_late), (2, 1, 1), "{stats}");
    assert_eq!((stats.opened, stats.pending, stats.tls_failed), (1, 0, 0), "{stats}");
}
