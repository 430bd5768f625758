//! Who may come in, and as what: a token in a header, a choice of subprotocols, and a web page on the same port.
//!
//! Run `cargo run --example upgrade` and try
//!
//! ```sh
//! curl http://127.0.0.1:9001/
//! websocat -H 'Authorization: Bearer let-me-in' --protocol quotes.v1 ws://127.0.0.1:9001/
//! ```
//!
//! Browsers cannot set headers on a WebSocket. For them, put a short-lived token into the query or use a cookie, and with
//! a cookie list your own pages in `Policy::origins`, or any page may connect as its visitor (RFC 6455 §10.2).

use wsring::http::{HeaderValue, StatusCode, header};
use wsring::{CoreCx, Cx, Handler, Message, Opening, Response, Server, Verdict};

/// What the header must say. A real service looks the token up, and compares without telling the time it took.
const AUTHORIZATION: &[u8] = b"Bearer let-me-in";

const PAGE: &str = "<!doctype html><title>quotes</title><p>Quotes are on this port, by WebSocket.</p>\n";

/// The two versions of our messages that a client may speak.
#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

struct Quotes;

impl Handler for Quotes {
    /// Decided once, at the handshake; each message finds it in `cx.data()`.
    type Conn = Version;
    type Mail = ();

    /// The request is a valid WebSocket handshake. Whether it is welcome is for us to say.
    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<Version> {
        if opening.request.header("authorization") != Some(AUTHORIZATION) {
            return Verdict::reject_status(StatusCode::UNAUTHORIZED)
                .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Ours is the choice among what the client offers. (If only the name matters, list the names in
        // `Policy::subprotocols` and the engine chooses.)
        let offers = |name| opening.request.subprotocols().any(|offered| offered == name);
        if offers("quotes.v2") {
            Verdict::accept(Version::Two).subprotocol("quotes.v2")
        } else if offers("quotes.v1") {
            Verdict::accept(Version::One).subprotocol("quotes.v1")
        } else {
            Verdict::reject_status(StatusCode::BAD_REQUEST)
        }
    }

    /// Anything else that speaks HTTP: a browser, a load balancer's health check.
    fn on_request(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        let (status, kind, body) = match (opening.request.method(), opening.request.path()) {
            ("GET" | "HEAD", "/") => (StatusCode::OK, "text/html; charset=utf-8", PAGE),
            ("GET" | "HEAD", "/healthz") => (StatusCode::OK, "text/plain", "ok\n"),
            _ => (StatusCode::NOT_FOUND, "text/plain", "not found\n"),
        };
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response // Content-Length and Connection: close are added
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let answer = match (*cx.data(), message) {
            (Version::One, Message::Text(symbol)) => format!("{symbol} 101.5"),
            (Version::Two, Message::Text(symbol)) => format!(r#"{{"symbol":{symbol:?},"bid":101.5}}"#),
            (_, Message::Binary(_)) => "text only".to_owned(),
        };
        let _ = cx.send(&answer); // one answer to one question: bounded as an echo is
    }
}

fn main() -> Result<(), wsring::Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    serve(&addr)
}

/// Runs until Ctrl-C.
pub fn serve(addr: &str) -> Result<(), wsring::Error> {
    let server = Server::bind(addr)?;
    println!("quotes on ws://{}/", server.local_addrs()?[0]);
    server.run(|_| Quotes).map(drop)
}
