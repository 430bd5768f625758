//! What the command answers to plain HTTP requests, whatever it serves: health checks are answered well, everything else is told what this is.

use wsring::http::{HeaderValue, StatusCode, header};
use wsring::{Opening, Response};

/// What is known of whoever asks, as JSON: `peer`, its address; `via`, that of the proxy through which it comes; `tls_server_name`, the name that it asked for
/// in TLS; `alpn`, the protocol agreed on there; `subprotocol`, which the connection opens with. What there is not is null.
pub(crate) fn whoami(opening: &Opening<'_>) -> String {
    let peer = opening.peer.addr().map(|_| opening.peer.to_string());
    serde_json::json!({
        "peer": peer,
        "via": opening.via.map(|via| via.to_string()),
        "tls_server_name": opening.tls_server_name(),
        "alpn": opening.alpn().map(String::from_utf8_lossy),
        "subprotocol": opening.subprotocol,
    })
    .to_string()
}

/// The answer to a request. `about` is the page at `/`, one line that says what to connect to. Health checks find a server that `is_draining` down.
pub(crate) fn answer(opening: &Opening<'_>, is_draining: bool, about: &str) -> Response {
    if let ("/whoami", "GET" | "HEAD") = (opening.request.path(), opening.request.method()) {
        let mut response = Response::new((whoami(opening) + "\n").into_bytes());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return response;
    }
    let (status, body) = match (opening.request.path(), opening.request.method()) {
        (_, "OPTIONS") if is_draining => (StatusCode::SERVICE_UNAVAILABLE, ""),
        ("/healthz" | "/", "GET" | "HEAD") if is_draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        // Proxies that are told no path check `/`, by any of the three methods; HAProxy does it by OPTIONS.
        (_, "OPTIONS") => (StatusCode::OK, ""),
        ("/healthz", "GET" | "HEAD") => (StatusCode::OK, "ok\n"),
        ("/", "GET" | "HEAD") => (StatusCode::OK, about),
        ("/healthz" | "/" | "/whoami", _) => (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD or OPTIONS\n"),
        _ => (StatusCode::NOT_FOUND, about),
    };
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if status == StatusCode::METHOD_NOT_ALLOWED || opening.request.method() == "OPTIONS" {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    }
    response
}
