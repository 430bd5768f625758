//! Sec-WebSocket-Extensions (RFC 6455 §9.1): counts are bounded, nothing follows an error, and what was understood says the same when it
//! is written again, over one header or over several.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wsring_proto::deflate::{ANSWER_LEN_MAX, Agreed, Settings, choose};
use wsring_proto::handshake::{HeadLimits, HeaderTable, OFFERS_MAX, PARAMS_MAX, Request};

/// An offer by name, with its parameters and their values.
type Offer = (String, Vec<(String, Option<String>)>);

/// What a request offers; the last may be an error.
fn offers(values: &[&[u8]]) -> Option<(Vec<Offer>, bool)> {
    let mut head = b"GET / HTTP/1.1\r\nHost: fuzz\r\n".to_vec();
    for value in values {
        head.extend([b"Sec-WebSocket-Extensions: ", *value, b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    let mut table = HeaderTable::new();
    let limits = HeadLimits::default().bytes_max(1 << 20).headers_max(64);
    let request = Request::parse(&head, &limits, &mut table).ok()?;
    let mut known = Vec::new();
    let mut list = request.extensions();
    while let Some(offer) = list.next() {
        let Ok(offer) = offer else {
            assert!(list.next().is_none(), "something follows an error");
            return Some((known, false));
        };
        let params = offer.params().map(|param| {
            let value = param.value.map(|value| value.text().into_owned());
            assert!(value.as_ref().is_none_or(|value| !value.is_empty()), "an empty value is no token");
            (param.name.to_owned(), value)
        });
        let params: Vec<(String, Option<String>)> = params.collect();
        assert!(params.len() <= PARAMS_MAX, "{} parameters", params.len());
        known.push((offer.name().to_owned(), params));
    }
    assert!(known.len() <= OFFERS_MAX, "{} offers", known.len());
    negotiate(&request);
    Some((known, true))
}

/// RFC 7692 §7.1: what is agreed on was offered, is one extension, and leaves no parameter out of its range.
fn negotiate(request: &Request<'_>) {
    for settings in [Settings::shared(), Settings::dedicated(), Settings::dedicated().window_bits(9)] {
        let Ok(Some(answer)) = choose(request.extensions(), &settings, 0) else { continue };
        let offered =
            request.extensions().flatten().any(|offer| offer.name().eq_ignore_ascii_case("permessage-deflate"));
        assert!(offered, "accepted and not offered");
        let Agreed { server_window_bits, client_window_bits, .. } = answer.agreed();
        assert!((9..=settings.window_bits).contains(&server_window_bits), "we compress with {server_window_bits} bits");
        assert!((8..=15).contains(&client_window_bits), "the client compresses with {client_window_bits} bits");
        let mut room = [0; ANSWER_LEN_MAX];
        let text = answer.text(&mut room);
        assert!(text.starts_with("permessage-deflate") && !text.contains(','), "{text}");
    }
}

fuzz_target!(|data: &[u8]| {
    if data.contains(&b'\r') {
        return; // another header, not this one's value
    }
    // A line break parts the value into several headers.
    let values: Vec<&[u8]> = data.split(|byte| *byte == b'\n').take(20).collect();
    let Some((known, true)) = offers(&values) else { return };
    if known.is_empty() {
        return;
    }
    let written: Vec<String> = known
        .iter()
        .map(|(name, params)| {
            let params = params.iter().map(|(name, value)| match value {
                // Quoted, which means the same as a token (RFC 6455 §9.1).
                Some(value) => format!("; {name}=\"{value}\""),
                None => format!(";{name}"),
            });
            format!("{name}{}", params.collect::<String>())
        })
        .collect();
    let one = written.join(" , ");
    assert_eq!(offers(&[one.as_bytes()]), Some((known.clone(), true)), "written as {one}");
    let several: Vec<&[u8]> = written.iter().map(|offer| offer.as_bytes()).collect();
    assert_eq!(offers(&several), Some((known, true)), "written as {several:?}");
});
