//! Tests of the PROXY protocol: the specification's own examples and bounds, each rule with what passes beside what is refused.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

/// A header of version 2 with its addresses and values.
fn binary_of(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let len = u16::try_from(block.len()).expect("a length of 16 bits").to_be_bytes();
    [&SIGNATURE[..], &[version_command, family], &len, block].concat()
}

fn value_of(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).expect("16 bits").to_be_bytes(), value].concat()
}

/// Addresses as they stand in version 2.
fn addresses_of(source: SocketAddr, destination: SocketAddr) -> (u8, Vec<u8>) {
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(s), IpAddr::V4(d)) => (0x11, [&s.octets()[..], &d.octets(), &ports].concat()),
        (IpAddr::V6(s), IpAddr::V6(d)) => (0x21, [&s.octets()[..], &d.octets(), &ports].concat()),
        _ => unreachable!("addresses of one family"),
    }
}

fn line_of(source: SocketAddr, destination: SocketAddr) -> String {
    let family = if source.is_ipv4() { 4 } else { 6 };
    format!("PROXY TCP{family} {} {} {} {}\r\n", source.ip(), destination.ip(), source.port(), destination.port())
}

/// The header that all of `bytes` are; every shorter part is partial, and what follows changes nothing.
fn whole(bytes: &[u8]) -> Header<'_> {
    for len in 0..bytes.len() {
        assert_eq!(parse(&bytes[..len]), Ok(Parsed::Partial), "{len} of {:?}", bytes.escape_ascii().to_string());
    }
    let Ok(Parsed::Whole(header)) = parse(bytes) else {
        panic!("{:?} of {:?}", parse(bytes), bytes.escape_ascii().to_string());
    };
    assert_eq!(header.len, bytes.len());
    for more in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0", &vec![0xFF; LEN_MAX]] {
        assert_eq!(parse(&[bytes, more].concat()), Ok(Parsed::Whole(header)));
    }
    header
}

/// `bytes` are refused for `error`, at the last of them and not before.
#[track_caller]
fn refused_at_the_last(bytes: &[u8], error: ProxyError) {
    let text = bytes.escape_ascii().to_string();
    assert_eq!(parse(&bytes[..bytes.len() - 1]), Ok(Parsed::Partial), "before the last of {text}");
    assert_eq!(parse(bytes), Err(error), "{text}");
    assert_eq!(parse(&[bytes, b"\r\n more"].concat()), Err(error), "behind {text}");
}

fn at(text: &str) -> Option<SocketAddr> {
    Some(text.parse().expect("an address"))
}

// §2.1: the example, and the longest line of each kind.
#[test]
fn lines_of_the_specification() {
    let header = whole(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
    assert_eq!((header.source, header.destination), (at("192.168.0.1:56324"), at("192.168.0.11:443")));
    assert_eq!((header.version, header.authority, header.alpn), (1, None, None));

    let header = whole(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n");
    assert_eq!((header.source, header.len), (at("255.255.255.255:65535"), 56));

    let v6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let line = format!("PROXY TCP6 {v6} {v6} 65535 65535\r\n");
    let header = whole(line.as_bytes());
    assert_eq!((header.destination, header.len), (at(&format!("[{v6}]:65535")), 104));

    let header = whole(b"PROXY UNKNOWN\r\n");
    assert_eq!((header.source, header.destination, header.len, header.is_local), (None, None, 15, false));

    let line = format!("PROXY UNKNOWN {v6} {v6} 65535 65535\r\n");
    assert_eq!(whole(line.as_bytes()).source, None);
    assert_eq!(line.len(), LINE_MAX);
}

// §2.1: what the receiver must ignore behind UNKNOWN is anything; a line ends within 107 bytes.
#[test]
fn unknown_lines_end_within_their_limit() {
    whole(b"PROXY UNKNOWN \r\n");
    whole(b"PROXY UNKNOWN \xFF \r \n and what not, in many words\r\r\n");
    let mut line = b"PROXY UNKNOWN ".to_vec();
    line.resize(LINE_MAX - 2, b'x');
    whole(&[&line[..], b"\r\n"].concat());
    refused_at_the_last(&[&line[..], b"x\r"].concat(), ProxyError::LineTooLong);
    assert_eq!(parse(&[&line[..], b"x\r\n"].concat()), Err(ProxyError::LineTooLong));
}

// §2.1: exactly this block. Each is refused at its first wrong byte, or where the value that is wrong ends.
#[test]
fn wrong_lines_are_refused_at_once() {
    use ProxyError::*;
    for (bytes, error) in [
        (&b"G"[..], NotProxy),
        (b"\x16", NotProxy),
        (b"p", NotProxy),
        (b"PRI", NotProxy), // the preface of HTTP/2
        (b"PO", NotProxy),  // POST
        (b"PROXYx", NotProxy),
        (b"PROXY\r", NotProxy),
        (b"PROXY  ", Protocol),
        (b"PROXY t", Protocol),
        (b"PROXY TCP5", Protocol),
        (b"PROXY TCP4\r", Protocol),
        (b"PROXY UD", Protocol),
        (b"PROXY UNKNOWNX", Protocol),
        (b"PROXY UNKNOWN\rx", Protocol),
        (b"PROXY UNKNOWN\n", Protocol),
        (b"PROXY TCP4 G", Address),
        (b"PROXY TCP4  ", Address),
        (b"PROXY TCP4 256.0.0.1 ", Address),
        (b"PROXY TCP4 1.2.3 ", Address),
        (b"PROXY TCP4 01.2.3.4 ", Address),
        (b"PROXY TCP4 :", Address),
        (b"PROXY TCP4 1.2.3.4\r", Address),
        (b"PROXY TCP4 1111111111111111", Address),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8\r", Address),
        (b"PROXY TCP6 1.2.3.4 ", Address),
        (b"PROXY TCP6 ::1::2 ", Address),
        (b"PROXY TCP6 12345:: ", Address),
        (b"PROXY TCP6 fe80::1%", Address),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 +", Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 ", Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 123456", Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 01 ", Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8  ", Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r", Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ", Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 00\r", Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r ", LineEnd),
    ] {
        refused_at_the_last(bytes, error);
    }
    // Their twins.
    whole(b"PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\n");
    whole(b"PROXY TCP6 ::1 12:abcd:EF:: 1 2\r\n");
}

// inet_ntop(3) writes IPv4-mapped addresses with dots, and they count as IPv4.
#[test]
fn mapped_addresses_are_told_as_ipv4() {
    let header = whole(b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2\r\n");
    assert_eq!((header.source, header.destination), (at("192.0.2.1:1"), at("192.0.2.2:2")));
    let block = addresses_of(at("[::ffff:192.0.2.1]:1").unwrap(), at("[::1]:2").unwrap()).1;
    let bytes = binary_of(0x21, 0x21, &block);
    let header = whole(&bytes);
    assert_eq!((header.source, header.destination), (at("192.0.2.1:1"), at("[::1]:2")));
}

// §2.2: TCP over IPv4 and over IPv6, with the values of §2.2.1 and §2.2.2 among others.
#[test]
fn binary_headers_of_tcp() {
    let values = [
        value_of(0x04, b"\0\0\0"), // padding
        value_of(0x20, b"\x01\0\0\0\0\x21\0\x07TLSv1.3"),
        value_of(TYPE_AUTHORITY, "bücher.example".as_bytes()),
        value_of(0xE0, b""),
        value_of(TYPE_ALPN, b"http/1.1"),
        value_of(TYPE_ALPN, b"h2"), // the first counts
    ]
    .concat();
    for (source, destination) in
        [("192.0.2.7:1025", "198.51.100.1:443"), ("[2001:db8::7]:1025", "[2001:db8:ffff::1]:443")]
    {
        let (source, destination) = (at(source), at(destination));
        let (family, block) = addresses_of(source.unwrap(), destination.unwrap());
        let plain = binary_of(0x21, family, &block);
        let header = whole(&plain);
        assert_eq!((header.source, header.destination), (source, destination));
        assert_eq!((header.version, header.authority, header.alpn), (2, None, None));

        let told = binary_of(0x21, family, &[block, values.clone()].concat());
        let header = whole(&told);
        assert_eq!((header.source, header.destination), (source, destination));
        assert_eq!((header.authority, header.alpn), (Some("bücher.example"), Some(&b"http/1.1"[..])));
    }
}

// §2.2: LOCAL is accepted, whatever family and block it has; UNSPEC may have any block; neither has a source.
#[test]
fn blocks_without_a_source_are_skipped() {
    for (version_command, family, block) in [
        (0x20, 0x00, &b""[..]),
        (0x20, 0x11, b""),
        (0x20, 0x11, &[1; 12]),
        (0x20, 0xFF, b"\x01\xFF"),
        (0x21, 0x00, b""),
        (0x21, 0x00, b"\x02\xFF\xFF"),
        (0x21, 0x01, b""),
        (0x21, 0x10, &[1; 12]),
        (0x21, 0x20, b"1"),
    ] {
        let bytes = binary_of(version_command, family, block);
        let header = whole(&bytes);
        assert_eq!((header.source, header.destination, header.authority), (None, None, None), "{family:#x}");
        assert_eq!(header.is_local, version_command == 0x20, "{family:#x}");
    }
}

// §2.2: unix sockets and datagrams are valid; their addresses are not told, their values are.
#[test]
fn other_families_tell_their_values_alone() {
    for (family, len) in [(0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)] {
        let bytes = binary_of(0x21, family, &[vec![7; len], value_of(TYPE_AUTHORITY, b"a.example")].concat());
        let header = whole(&bytes);
        assert_eq!((header.source, header.destination, header.authority), (None, None, Some("a.example")));
        let bytes = binary_of(0x21, family, &vec![7; len - 1]);
        refused_at_the_last(&bytes[..FIXED_LEN], ProxyError::Addresses);
    }
}

// §2.2: unassigned versions, commands, families and transports are refused, at their byte.
#[test]
fn wrong_binary_headers_are_refused_at_once() {
    use ProxyError::*;
    for len in 1..SIGNATURE.len() {
        let mut bytes = SIGNATURE[..=len].to_vec();
        bytes[len] ^= 1;
        refused_at_the_last(&bytes, NotProxy);
    }
    for (behind, error) in [
        (&[0x11][..], Version),
        (&[0x31], Version),
        (&[0x01], Version),
        (&[0x22], Command),
        (&[0x2F], Command),
        (&[0x21, 0x41], Family),
        (&[0x21, 0xF0], Family),
        (&[0x21, 0x13], Family),
        (&[0x21, 0x0F], Family),
        (&[0x21, 0x11, 0, 11], Addresses),
        (&[0x21, 0x21, 0, 35], Addresses),
        (&[0x21, 0x11, 0x10, 0x01], TooLong),
        (&[0x20, 0x00, 0x10, 0x01], TooLong),
        (&[0x21, 0x11, 0xFF, 0xFF], TooLong),
    ] {
        refused_at_the_last(&[&SIGNATURE[..], behind].concat(), error);
    }
}

#[test]
fn a_header_may_have_4112_bytes() {
    let (family, block) = addresses_of(at("192.0.2.7:1").unwrap(), at("192.0.2.8:2").unwrap());
    let room = LEN_MAX - FIXED_LEN - block.len() - 3;
    let fits = binary_of(0x21, family, &[block.clone(), value_of(0x04, &vec![0; room])].concat());
    assert_eq!(fits.len(), LEN_MAX);
    assert_eq!(whole(&fits).source, at("192.0.2.7:1"));
    let too_long = binary_of(0x21, family, &[block, value_of(0x04, &vec![0; room + 1])].concat());
    refused_at_the_last(&too_long[..FIXED_LEN], ProxyError::TooLong);
}

#[test]
fn values_end_with_their_header() {
    let (family, block) = addresses_of(at("192.0.2.7:1").unwrap(), at("192.0.2.8:2").unwrap());
    for (values, error) in [
        (&b"\x04"[..], ProxyError::Value),
        (b"\x04\0", ProxyError::Value),
        (b"\x04\0\x01", ProxyError::Value),
        (b"\x02\0\x02ab\x01\xFF\xFFx", ProxyError::Value),
        (b"\x02\0\x01\xFF", ProxyError::Authority),
    ] {
        refused_at_the_last(&binary_of(0x21, family, &[&block[..], values].concat()), error);
    }
    whole(&binary_of(0x21, family, &[&block[..], b"\x04\0\0"].concat()));
}

fn end_of(v6: bool) -> BoxedStrategy<SocketAddr> {
    if v6 {
        (any::<u128>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(Ipv6Addr::from(ip).into(), port)).boxed()
    } else {
        (any::<u32>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(Ipv4Addr::from(ip).into(), port)).boxed()
    }
}

fn two_ends() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    any::<bool>().prop_flat_map(|v6| (end_of(v6), end_of(v6)))
}

/// Bytes that are nearly a header.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let written = (two_ends(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |((source, destination), line, more)| {
            if line {
                return [line_of(source, destination).as_bytes(), &more[..]].concat();
            }
            let (family, block) = addresses_of(source, destination);
            binary_of(0x21, family, &[block, more].concat())
        },
    );
    let noise = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (written, noise).prop_map(|(mut bytes, noise)| {
        for (at, byte) in noise {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    // What is written is read, and any split of it is partial until it is whole.
    #[test]
    fn written_headers_are_read(
        (source, destination) in two_ends(),
        authority in "\\PC{0,20}",
        alpn in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let canonical = |end: SocketAddr| Some(SocketAddr::new(end.ip().to_canonical(), end.port()));
        let line = line_of(source, destination);
        let header = whole(line.as_bytes());
        prop_assert_eq!((header.source, header.destination), (canonical(source), canonical(destination)));

        let (family, block) = addresses_of(source, destination);
        let values = [value_of(TYPE_AUTHORITY, authority.as_bytes()), value_of(TYPE_ALPN, &alpn)].concat();
        let bytes = binary_of(0x21, family, &[block, values].concat());
        let header = whole(&bytes);
        prop_assert_eq!((header.source, header.destination), (canonical(source), canonical(destination)));
        prop_assert_eq!((header.authority, header.alpn), (Some(&authority[..]), Some(&alpn[..])));
    }

    // Whatever the bytes are, more of them never change an answer.
    #[test]
    fn an_answer_stays(bytes in prop_oneof![nearly(), prop::collection::vec(any::<u8>(), 0..200)]) {
        let mut known = None;
        for len in 0..=bytes.len() {
            let now = parse(&bytes[..len]);
            if let Some(known) = known {
                prop_assert_eq!(now, known, "after {} of {:?}", len, bytes);
            } else if now != Ok(Parsed::Partial) {
                known = Some(now);
            }
            if let Ok(Parsed::Whole(header)) = now {
                prop_assert!(header.len <= len && header.len <= LEN_MAX);
                prop_assert_eq!(header.source.is_some(), header.destination.is_some());
            }
        }
    }
}
