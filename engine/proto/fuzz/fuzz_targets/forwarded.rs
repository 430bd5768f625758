//! Forwarded and X-Forwarded-For: whatever a client sends, what a proxy appends behind it is what counts; nobody is told whom no
//! trusted node has named.
//!
//! Each line is one header's value; the first byte chooses who is trusted.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use wsring_proto::forwarded::{Field, client};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

fuzz_target!(|data: &[u8]| {
    let Some((&mask, data)) = data.split_first() else { return };
    let is_trusted = |address: IpAddr| {
        assert_eq!(address, address.to_canonical(), "a mapped address");
        address == PEER
            || match address {
                IpAddr::V4(address) => address.octets()[3] & mask != 0,
                IpAddr::V6(address) => address.octets()[15] & mask != 0,
            }
    };
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    for (field, appended, node) in [
        (Field::Forwarded, &b",for=\"192.0.2.0:80\""[..], "192.0.2.0"),
        (Field::Forwarded, b", For=\"[2001:db8::]\";by=\"[::1]:80\";host=\"a,b\"", "2001:db8::"),
        (Field::XForwardedFor, b",192.0.2.0", "192.0.2.0"),
    ] {
        let node: IpAddr = node.parse().expect("an address");
        let found = client(field, PEER, is_trusted, lines.iter().copied());
        assert!(client(field, node, is_trusted, lines.iter().copied()).is_none(), "one who is not trusted was heard");

        // Appended on a line of its own, and on the last.
        let own = lines.iter().copied().chain([&appended[1..]]);
        let own: Vec<&[u8]> = own.collect();
        let last = [lines[lines.len() - 1], appended].concat();
        let last = lines[..lines.len() - 1].iter().copied().chain([&last[..]]);
        let last: Vec<&[u8]> = last.collect();
        for lines in [own, last] {
            let (address, _) = client(field, PEER, is_trusted, lines.into_iter()).expect("the proxy's word");
            assert_eq!(address, node);
        }
        if let Some((address, _)) = found {
            assert_eq!(address, address.to_canonical());
        }
    }
});
