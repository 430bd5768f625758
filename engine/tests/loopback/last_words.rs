//! What a peer says last is heard although it breaks the connection: it closes its socket while bytes of ours lie unread in it, which
//! resets the connection (RFC 9293 §3.6.1), and a send of ours fails before what it said has been read.

use std::sync::mpsc::{self, Sender};

use wsring::{CloseReason, Config, ConnId, CoreCx, Cx, Handler, Message, Opening, SendOutcome, Verdict};

use crate::common::*;

/// Queues more than a socket takes, and tells what it hears.
struct Full(Sender<String>);

impl Handler for Full {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        while cx.queued() < 16 << 20 {
            assert!(cx.send(&[7_u8; 1 << 20]).is_queued());
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert_eq!(cx.send("an answer"), SendOutcome::Gone, "nothing goes out any more");
        let _ = self.0.send(String::from_utf8_lossy(message.as_bytes()).into_owned());
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, id: ConnId, (): (), why: &CloseReason<'_>) {
        assert!(cx.unsent(id) > 1 << 20, "most of it was never taken: {}", cx.unsent(id));
        let _ = self.0.send(why.to_string());
    }
}

/// With a Close, and without: then the reason is why the send failed, whatever the socket says once that has been told.
#[test]
fn last_words_outlive_a_failed_send() {
    let (heard, hears) = mpsc::channel();
    let (running, addr) = serve(Config::default(), 1, move |_| Full(heard.clone()));
    for closes in [true, false] {
        let mut client = Client::connect(addr);
        client.send(TEXT, b"last words");
        if closes {
            client.send(CLOSE, &[&1008_u16.to_be_bytes()[..], b"enough"].concat());
        }
        drop(client); // with most of what it was sent unread
        assert_eq!(hears.recv_timeout(WAIT).as_deref(), Ok("last words"));
        let why = hears.recv_timeout(WAIT).expect("its end is told");
        match closes {
            true => assert_eq!(why, "closed by the peer: 1008 \"enough\""),
            false => assert!(why.starts_with("the connection broke: E"), "{why}"),
        }
    }
    let stats = finish(running);
    assert_eq!((stats.messages, stats.opened, stats.resets, stats.timeouts), (2, 2, 2, 0));
}
