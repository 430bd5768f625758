//! What the command answers to plain HTTP requests, whatever it serves: health checks are answered well, everything else is told what this is.

use wsring::http::{HeaderValue, StatusCode, header};
use wsring::{Opening, Response};

/// The answer to a request. `about` is the page at `/`, one line that says what to connect to.
pub(crate) fn answer(opening: &Opening<'_>, about: &str) -> Response {
    let (status, body) = match (opening.request.path(), opening.request.method()) {
        // Proxies that are told no path check `/`, by any of the three methods; HAProxy does it by OPTIONS.
        (_, "OPTIONS") => (StatusCode::OK, ""),
        ("/healthz", "GET" | "HEAD") => (StatusCode::OK, "ok\n"),
        ("/", "GET" | "HEAD") => (StatusCode::OK, about),
        ("/healthz" | "/", _) => (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD or OPTIONS\n"),
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
