//! PROXY headers: more bytes never change an answer, lengths are bounded, and what we take the crate `proxy-header` reads alike.
//!
//! It takes more than we do (ports like `+1`, any byte behind `PROXY`, lines of any length), so that only what we take is compared.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proxy_header::{ParseConfig, ProxyHeader};
use wsring_proto::proxy::{LEN_MAX, LINE_MAX, Parsed, parse};

fuzz_target!(|data: &[u8]| {
    let all = parse(data);
    let mut partial = 0;
    while partial < data.len() && parse(&data[..partial]) == Ok(Parsed::Partial) {
        partial += 1;
    }
    for cut in partial..data.len() {
        let now = parse(&data[..cut]);
        assert_eq!(now, all, "after {cut} of {} bytes", data.len());
    }
    let header = match all {
        Ok(Parsed::Whole(header)) => header,
        Ok(Parsed::Partial) => return assert!(data.len() < LEN_MAX, "{} bytes are partial", data.len()),
        Err(_) => return,
    };
    assert!(partial == header.len || partial == data.len(), "whole after {partial} bytes, not {}", header.len);
    assert!(header.len <= if header.version == 1 { LINE_MAX } else { LEN_MAX }, "{} bytes", header.len);
    let Some(source) = header.source else { return };
    let (theirs, len) = ProxyHeader::parse(data, ParseConfig::default()).expect("proxy-header reads what we read");
    let theirs_at = theirs.proxied_address().expect("and finds addresses in it");
    assert_eq!(len, header.len);
    assert_eq!((theirs_at.source.ip().to_canonical(), theirs_at.source.port()), (source.ip(), source.port()));
    let destination = header.destination.expect("both ends or none");
    assert_eq!(theirs_at.destination.ip().to_canonical(), destination.ip());
    assert_eq!(theirs_at.destination.port(), destination.port());
    if let Some(authority) = header.authority {
        assert!(theirs.tlvs().flatten().any(|tlv| matches!(tlv, proxy_header::Tlv::Authority(a) if a == authority)));
    }
});
