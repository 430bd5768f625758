//! What a handler may do in the callbacks that answer a request, a handshake or a server, where no connection is open yet: read
//! the counters, and reach every other connection of its core.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;

use wsring::http::StatusCode;
use wsring::{
    Answered, CloseCode, CloseReason, Config, ConnId, CoreCx, Cx, Dialled, Handler, Message, Opening, Policy, Response,
    Target, Verdict,
};

use crate::common::*;

/// Serves its counters on `/metrics`, and answers each message with two of them.
struct Meter;

impl Handler for Meter {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<()> {
        assert_eq!((opening.request.path(), opening.subprotocol), ("/", None));
        assert_eq!(cx.stats().opened, 0, "this one is not open yet");
        Verdict::accept(())
    }

    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        assert_eq!((opening.request.path(), opening.subprotocol), ("/metrics", None));
        Response::new(cx.stats().to_string().into_bytes())
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, _: Message<'_>) {
        let before = cx.stats();
        assert!(cx.send(format!("{} {}", before.messages, before.sent).as_str()).is_queued());
        assert_eq!(cx.stats().sent, before.sent + 1);
    }
}

/// A counter's value on a page of `name=value` pairs.
fn counter(page: &str, name: &str) -> u64 {
    let value = page.split_whitespace().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {page}")).parse().expect("a number")
}

fn page(addr: SocketAddr) -> String {
    let mut stream = tcp(addr);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").expect("a request goes out");
    let (head, mut body) = read_head(&stream).expect("a response");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let mut piece = [0; 4096];
    while let Ok(len @ 1..) = read_some(&stream, &mut piece) {
        body.extend_from_slice(&piece[..len]);
    }
    String::from_utf8(body).expect("text")
}

#[test]
fn a_page_shows_the_counters_as_they_are() {
    let (running, addr) = serve(Config::default(), 1, |_| Meter);
    let mut client = Client::connect(addr);
    // In one segment, so in one pass: the counters move between its messages.
    let mut bytes = Vec::new();
    (0..3).for_each(|_| client_frame(&mut bytes, true, TEXT, b"how many?", [1, 2, 3, 4]));
    client.send_cut(&bytes);
    for answered in 0..3 {
        client.expect(TEXT, format!("{} {answered}", answered + 1).as_bytes());
    }
    let pages = [page(addr), page(addr)];
    for (seen, page) in pages.iter().enumerate() {
        let counted = ["messages", "sent", "opened", "accepted", "declined"].map(|name| counter(page, name));
        assert_eq!(counted, [3, 3, 1, 2 + seen as u64, 0], "{page}");
        assert!(counter(page, "bytes_in") > bytes.len() as u64, "{page}");
    }
    let enters = pages.each_ref().map(|page| counter(page, "enters"));
    client.close();
    let stats = finish(running);
    if stats.enters > 0 {
        assert!(0 < enters[0] && enters[0] < enters[1] && enters[1] < stats.enters, "{enters:?} {stats}");
    } else {
        assert_eq!(enters, [0, 0], "a runtime's ring is not ours to count");
    }
}

/// One session for each user: who opens another has the older one closed.
#[derive(Default)]
struct Sessions(BTreeMap<String, ConnId>);

impl Handler for Sessions {
    /// The user.
    type Conn = String;
    type Mail = ();

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<String> {
        let user = opening.request.path()[1..].to_owned();
        if user == "nobody" {
            return Verdict::reject_status(StatusCode::FORBIDDEN);
        }
        if let Some(mut older) = self.0.remove(&user).and_then(|older| cx.conn(older)) {
            assert!(older.send("goodbye").is_queued());
            older.close(CloseCode::POLICY, "signed in elsewhere");
        }
        Verdict::accept(user)
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let (user, id) = (cx.data().clone(), cx.id());
        assert_eq!(self.0.insert(user, id), None, "two sessions of one user");
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert!(cx.send(message).is_queued());
    }

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, id: ConnId, user: String, _: &CloseReason<'_>) {
        if self.0.get(&user) == Some(&id) {
            self.0.remove(&user);
        }
    }
}

fn sign_in(addr: SocketAddr, user: &str) -> Client {
    let mut stream = tcp(addr);
    stream.write_all(upgrade_head(&format!("/{user}")).as_bytes()).expect("a handshake goes out");
    Client::upgraded(stream)
}

#[test]
fn a_login_closes_the_older_session_of_its_user() {
    let (running, addr) = serve(Config::default(), 1, |_| Sessions::default());
    let mut bystander = sign_in(addr, "bob");
    let mut session = sign_in(addr, "alice");
    for _ in 0..3 {
        session.echo(TEXT, b"it is me");
        let newer = sign_in(addr, "alice");
        session.expect(TEXT, b"goodbye");
        assert_eq!(session.expect_close(), (1008, "signed in elsewhere".to_owned()));
        session.send(CLOSE, &1008_u16.to_be_bytes());
        assert_eq!(session.expect_end(), End::Eof);
        session = newer;
    }
    session.echo(TEXT, b"still me");
    bystander.echo(TEXT, b"nobody closed me");
    session.close();
    bystander.close();
    assert_eq!(finish(running).opened, 5);
}

/// A server that dials when its client wants that, and tells it of the answer before that connection is open.
struct Agent {
    target: Target,
    client: Option<ConnId>,
}

#[derive(PartialEq)]
enum Side {
    Client,
    Dialled,
}

impl Handler for Agent {
    type Conn = Side;
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<Side> {
        Verdict::accept(Side::Client)
    }

    fn on_answer(&mut self, cx: &mut CoreCx<'_, Self>, dial: &Dialled, answered: &Answered<'_>) -> Option<Side> {
        let upgrade = answered.header("UPGRADE").map(String::from_utf8_lossy);
        let names = answered.headers().filter(|(name, _)| name.starts_with("Sec-WebSocket-")).count();
        let line = format!("{} {:?} {names}", dial.tag, answered.subprotocol);
        assert_eq!(upgrade.as_deref(), Some("websocket"));
        let mut client = self.client.and_then(|client| cx.conn(client)).expect("a client wanted the dial");
        assert!(client.send(line.as_str()).is_queued());
        // A dial of its own, made and given up where the table of dials is in use.
        let another = cx.connect(self.target.clone());
        cx.abandon(another);
        Some(Side::Dialled)
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        match cx.data() {
            Side::Client => self.client = Some(cx.id()),
            Side::Dialled => {
                let mut client = self.client.and_then(|client| cx.conn(client)).expect("a client wanted the dial");
                assert!(client.send("it is open").is_queued());
                cx.close(CloseCode::NORMAL, "");
            }
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert!(matches!(message, Message::Text("dial")), "{message:?}");
        cx.connect(self.target.clone());
    }
}

#[test]
fn an_answer_is_passed_on_to_another_connection() {
    let config = Config::default().policy(Policy::default().subprotocols(["v2", "v1"]));
    let (server, addr) = serve(config, 1, |_| Echo);
    let url = format!("ws://{addr}/");
    let offer = |target: Target| target.subprotocol("v1")?.subprotocol("v2");
    let target = Target::new(&url).and_then(offer).expect("two tokens").tag(7);
    let (running, addr) = serve(Config::default(), 1, move |_| Agent { target: target.clone(), client: None });
    let mut client = Client::connect(addr);
    for _ in 0..2 {
        client.send(TEXT, b"dial");
        client.expect(TEXT, br#"7 Some("v2") 2"#);
        client.expect(TEXT, b"it is open");
    }
    client.close();
    let stats = finish(running);
    assert_eq!((stats.opened, stats.dials_failed), (3, 2), "{stats}");
    assert_eq!(finish(server).opened, 2);
}
