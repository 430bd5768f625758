//! A request's head: its end does not depend on how it comes, what is accepted keeps the promises of RFC 6455 §4.2.1, and the answer to
//! it satisfies our own client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wsring_proto::handshake::{
    Answer, Expected, HeadEnd, HeadLimits, HeadScan, HeaderTable, Policy, Request, SUBPROTOCOLS_MAX, accept, verify,
    write_refusal, write_switching,
};

/// The end of a head, found in one piece and in many.
fn end_of(data: &[u8], step: usize, limits: &HeadLimits) -> HeadEnd {
    let whole = HeadScan::default().feed(data, limits);
    let mut scan = HeadScan::default();
    let mut len = 0;
    while len < data.len() {
        len = (len + step).min(data.len());
        let found = scan.feed(&data[..len], limits);
        if found != HeadEnd::Partial {
            assert_eq!(found, whole, "fed {step} bytes at a time");
            return whole;
        }
    }
    assert_eq!(whole, HeadEnd::Partial, "fed {step} bytes at a time");
    whole
}

fuzz_target!(|data: &[u8]| {
    let [how, data @ ..] = data else { return };
    let limits = HeadLimits::default().bytes_max(if how & 128 == 0 { 8192 } else { 256 }).headers_max(16);
    let HeadEnd::Complete(len) = end_of(data, usize::from(how & 63) + 1, &limits) else { return };
    assert!(len <= limits.bytes_max && len <= data.len(), "a head of {len} bytes");
    let mut table = HeaderTable::new();
    let Ok(request) = Request::parse(&data[..len], &limits, &mut table) else { return };
    assert!(request.headers().count() <= limits.headers_max);
    assert!(request.headers().all(|(_, value)| !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))));
    let path = request.target().find('?').map_or(request.target(), |at| &request.target()[..at]);
    // An absolute target may have no path (RFC 7230 §5.3.2).
    assert!(path.ends_with(request.path()) || request.path() == "/", "{} of {}", request.path(), request.target());
    let policy = Policy::default().subprotocols(["chat".to_owned(), "v2".to_owned()]);
    let accepted = match accept(&request, &policy) {
        Ok(accepted) => accepted,
        Err(refusal) => {
            let mut out = Vec::new();
            write_refusal(&mut out, &refusal);
            let mut table = HeaderTable::new();
            let answer = Answer::parse(&out, &HeadLimits::default(), &mut table);
            // The head of what we say ends where its body begins; a whole head is wanted there.
            assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == refusal.status()));
            return;
        }
    };
    assert!(request.is_upgrade() && request.method() == "GET" && request.version_minor() == 1);
    assert!(request.subprotocols().count() <= SUBPROTOCOLS_MAX);
    let key = request.header("sec-websocket-key").expect("accepted without a key");
    let key: &[u8; 24] = key.try_into().expect("16 bytes in base64");
    let mut out = Vec::new();
    write_switching(&mut out, &accepted.key, accepted.subprotocol, [].into_iter())
        .expect("nothing of the peer's is in it");
    let mut table = HeaderTable::new();
    let answer = Answer::parse(&out, &HeadLimits::default(), &mut table).expect("our own answer");
    let offered: Vec<String> = request.subprotocols().map(str::to_owned).collect();
    let agreement = verify(&answer, &Expected { key, subprotocols: &offered, extensions_offered: false });
    assert_eq!(agreement.expect("our own answer").subprotocol, accepted.subprotocol);
});
