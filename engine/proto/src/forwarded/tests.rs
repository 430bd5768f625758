//! Tests of who is believed: the RFC's own examples, forgeries, and a walk over chains that were written at random.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

const PEER: &str = "10.0.0.1";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Trusted are 10.0.0.0/8 and fd00::/16.
fn is_trusted(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.segments()[0] == 0xFD00,
    }
}

/// The client by these lines of a field, written as a node.
fn client_by(field: Field, peer: &str, lines: &[&str]) -> Option<String> {
    let found = client(field, ip(peer), is_trusted, lines.iter().map(|line| line.as_bytes()))?;
    Some(match found {
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
        (address, Some(port)) => format!("{address}:{port}"),
        (address, None) => address.to_string(),
    })
}

#[track_caller]
fn forwarded(lines: &[&str], expected: Option<&str>) {
    assert_eq!(client_by(Field::Forwarded, PEER, lines).as_deref(), expected, "{lines:?}");
}

#[track_caller]
fn x_forwarded_for(lines: &[&str], expected: Option<&str>) {
    assert_eq!(client_by(Field::XForwardedFor, PEER, lines).as_deref(), expected, "{lines:?}");
}

// RFC 7239 §4, §6.3, §7.1, §7.4: every value that is shown there.
#[test]
fn examples_of_the_rfc() {
    forwarded(&["for=\"_gazonk\""], None);
    forwarded(&["For=\"[2001:db8:cafe::17]:4711\""], Some("[2001:db8:cafe::17]:4711"));
    forwarded(&["for=192.0.2.60;proto=http;by=203.0.113.43"], Some("192.0.2.60"));
    forwarded(&["for=192.0.2.43, for=198.51.100.17"], Some("198.51.100.17"));
    forwarded(&["for=192.0.2.43,for=\"[2001:db8:cafe::17]\",for=unknown"], None);
    forwarded(&["for=192.0.2.43, for=\"[2001:db8:cafe::17]\""], Some("2001:db8:cafe::17"));
    forwarded(&["for=192.0.2.43", "for=\"[2001:db8:cafe::17]\""], Some("2001:db8:cafe::17"));
    forwarded(&["for=_hidden, for=_SEVKISEK"], None);
    forwarded(&["for=192.0.2.43,for=198.51.100.17;by=203.0.113.60;proto=http;host=example.com"], Some("198.51.100.17"));
    forwarded(&["for=\"192.0.2.43:47011\""], Some("192.0.2.43:47011"));
    forwarded(&["for=\"[2001:db8:cafe::17]:_port\""], Some("2001:db8:cafe::17"));
}

// Who is not trusted is not heard.
#[test]
fn only_trusted_peers_are_heard() {
    for peer in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
        assert_eq!(client_by(Field::Forwarded, peer, &["for=198.51.100.1"]), None, "{peer}");
        assert_eq!(client_by(Field::XForwardedFor, peer, &["198.51.100.1"]), None, "{peer}");
    }
    for peer in ["10.9.9.9", "fd00::1", "::ffff:10.0.0.1"] {
        let client = Some("198.51.100.1".to_string());
        assert_eq!(client_by(Field::Forwarded, peer, &["for=198.51.100.1"]), client, "{peer}");
        assert_eq!(client_by(Field::XForwardedFor, peer, &["198.51.100.1"]), client, "{peer}");
    }
    forwarded(&[], None);
    forwarded(&["", " , ,"], None);
    x_forwarded_for(&[], None);
}

// The walk goes through trusted nodes, over lines, and ends behind the first that is not trusted.
#[test]
fn the_first_that_is_not_trusted_is_the_client() {
    x_forwarded_for(&["1.1.1.1, 192.0.2.1, 10.0.0.3, 10.0.0.2"], Some("192.0.2.1"));
    x_forwarded_for(&["1.1.1.1", "192.0.2.1, 10.0.0.3", "10.0.0.2"], Some("192.0.2.1"));
    x_forwarded_for(&["10.0.0.3", ",", "10.0.0.2 ,"], Some("10.0.0.3"));
    x_forwarded_for(&["1.1.1.1, ::ffff:192.0.2.1, ::ffff:10.0.0.2"], Some("192.0.2.1"));
    forwarded(&["for=1.1.1.1, for=192.0.2.1", "for=\"[fd00::3]\";by=_b,for=10.0.0.2"], Some("192.0.2.1"));
}

// In front of a node without an address the walk stops: the last that has one is told.
#[test]
fn a_node_without_an_address_stops_the_walk() {
    for hidden in ["unknown", "_x", "", "10.0.0", "\"10.0.0.3", "10.0.0.3\\", "fe80::1%eth0", "10.0.0.3 10.0.0.4"] {
        forwarded(&["for=192.0.2.1", &format!("for={hidden}"), "for=10.0.0.2"], Some("10.0.0.2"));
        if !hidden.is_empty() {
            x_forwarded_for(&["192.0.2.1", hidden, "10.0.0.2"], Some("10.0.0.2"));
        }
    }
    for element in [
        "proto=https",
        "by=10.0.0.3",
        "10.0.0.3",
        "for",
        "for=10.0.0.3;for=10.0.0.3",
        "for=10.0.0.3;x",
        "for=10.0.0.3;for=10.0.0.3;for=10.0.0.3",
    ] {
        forwarded(&["for=192.0.2.1", element, "for=10.0.0.2"], Some("10.0.0.2"));
    }
}

// RFC 7239 §4: a parameter's name is in any case, its value may be quoted; commas and semicolons in quotation marks part nothing.
#[test]
fn quoted_values_are_whole() {
    forwarded(&["FOR=\"192.0.2.1\";host=\"a,b;for=1.1.1.1\""], Some("192.0.2.1"));
    forwarded(&[r#"for=192.0.2.1;host="a\",for=1.1.1.1""#], Some("192.0.2.1"));
    forwarded(&[r#"for=1.1.1.1;host="a\\",for=192.0.2.1"#], Some("192.0.2.1"));
    forwarded(&["host=\"\";for=192.0.2.1 ; proto=http"], Some("192.0.2.1"));
    forwarded(&["for=192.0.2.1:80"], Some("192.0.2.1:80")); // not by the RFC, and seen
    forwarded(&["for=[2001:db8::1]:80"], Some("[2001:db8::1]:80"));
}

// RFC 7239 §6: ports have up to five digits or are hidden. X-Forwarded-For has nodes of the same forms.
#[test]
fn nodes_and_their_ports() {
    for (node, expected) in [
        ("192.0.2.1:0", Some("192.0.2.1:0")),
        ("192.0.2.1:00080", Some("192.0.2.1:80")),
        ("192.0.2.1:65535", Some("192.0.2.1:65535")),
        ("192.0.2.1:65536", None),
        ("192.0.2.1:000080", None),
        ("192.0.2.1:+80", None),
        ("192.0.2.1:", None),
        ("192.0.2.1:_", None),
        ("192.0.2.1:_a.b_c-D1", Some("192.0.2.1")),
        ("192.0.2.1:_a:b", None),
        ("192.0.2.256", None),
        ("192.0.02.1", None),
        ("2001:db8::1", Some("2001:db8::1")),
        ("[2001:db8::1]", Some("2001:db8::1")),
        ("[2001:db8::1]:443", Some("[2001:db8::1]:443")),
        ("[::ffff:192.0.2.1]:443", Some("192.0.2.1:443")),
        ("[2001:db8::1]443", None),
        ("[2001:db8::1", None),
        ("[192.0.2.1]", None),
        ("\u{661}.0.0.1", None),
    ] {
        x_forwarded_for(&[node], expected);
        forwarded(&[&format!("for=\"{node}\"")], expected);
    }
}

// What a client sends cannot swallow what the proxy appends behind it, on the same line or another.
#[test]
fn forgeries_change_nothing() {
    for sent in
        ["for=1.1.1.1", "for=\"", "for=\"1.1.1.1, ", "\"", "for=\"\\", "\\\"", ";", "for=1.1.1.1;host=\"a", ",,,"]
    {
        forwarded(&[&format!("{sent}, for=192.0.2.1")], Some("192.0.2.1"));
        forwarded(&[&format!("{sent}, for=\"192.0.2.1:5\";by=\"[fd00::1]:80\"")], Some("192.0.2.1:5"));
        forwarded(&[sent, "for=192.0.2.1"], Some("192.0.2.1"));
        x_forwarded_for(&[&format!("{sent}, 192.0.2.1")], Some("192.0.2.1"));
    }
}

#[test]
fn thirty_two_nodes_are_looked_at() {
    let chain = |trusted: usize| format!("192.0.2.1{}", ", 10.0.0.2".repeat(trusted));
    x_forwarded_for(&[&chain(NODES_MAX - 1)], Some("192.0.2.1"));
    x_forwarded_for(&[&chain(NODES_MAX)], Some("10.0.0.2"));
}

fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (prop_oneof![Just(10u8), any::<u8>()], any::<[u8; 3]>());
    let v6 = (prop_oneof![Just(0xFD00u16), any::<u16>()], any::<[u16; 7]>());
    prop_oneof![
        v4.prop_map(|(a, [b, c, d])| Ipv4Addr::new(a, b, c, d).into()),
        v6.prop_map(|(a, [b, c, d, e, f, g, h])| Ipv6Addr::new(a, b, c, d, e, f, g, h).into()),
    ]
}

proptest! {
    // The walk over what was written, in any form and on any lines, is the one over the addresses themselves.
    #[test]
    fn written_chains_are_read(
        chain in prop::collection::vec((address(), any::<Option<u16>>(), any::<bool>()), 0..40),
        peer in address(),
    ) {
        let mut lines: [Vec<String>; 2] = [Vec::from([String::new()]), Vec::from([String::new()])];
        for (address, port, new_line) in &chain {
            let node = match (address, port) {
                (IpAddr::V4(address), None) => format!("{address}"),
                (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
                (IpAddr::V6(address), None) => format!("[{address}]"),
                (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
            };
            for (lines, element) in lines.iter_mut().zip([format!("proto=http; for=\"{node}\""), node.clone()]) {
                if *new_line {
                    lines.push(element);
                } else {
                    let line = lines.last_mut().expect("one at least");
                    *line = format!("{line}, {element}");
                }
            }
        }
        let mut expected = None;
        let mut writer = peer.to_canonical();
        for (address, port, _) in chain.iter().rev().take(NODES_MAX) {
            if !is_trusted(writer) {
                break;
            }
            writer = address.to_canonical();
            expected = Some((writer, *port));
        }
        for (lines, field) in lines.iter().zip([Field::Forwarded, Field::XForwardedFor]) {
            let found = client(field, peer, is_trusted, lines.iter().map(|line| line.as_bytes()));
            prop_assert_eq!(found, expected, "{:?}", lines);
        }
    }

    // Whatever a client sends, the proxy's word behind it is what counts.
    #[test]
    fn what_stands_in_front_changes_nothing(sent in "[\"\\\\,;=for1.:\\[\\]_ ]{0,40}|.{0,40}", client_at in address()) {
        prop_assume!(!is_trusted(client_at.to_canonical()));
        let expected = Some((client_at.to_canonical(), None));
        let node = if client_at.is_ipv6() { format!("[{client_at}]") } else { client_at.to_string() };
        for (field, element) in
            [(Field::Forwarded, format!("{sent},for=\"{node}\"")), (Field::XForwardedFor, format!("{sent},{node}"))]
        {
            prop_assert_eq!(client(field, ip(PEER), is_trusted, [element.as_bytes()].into_iter()), expected);
        }
    }

    #[test]
    fn any_bytes_are_borne(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4)) {
        for field in [Field::Forwarded, Field::XForwardedFor] {
            let _ = client(field, ip(PEER), |_| true, lines.iter().map(|line| &line[..]));
        }
    }
}
