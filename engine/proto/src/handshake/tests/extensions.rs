//! The grammar of RFC 6455 §9.1: a table, and print and parse as inverses.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::*;
use super::{handshake_with, parse_with};

type Parsed = Vec<(String, Vec<(String, Option<String>)>)>;

fn parse(headers: &[&str]) -> Result<Parsed, Malformed> {
    let headers: Vec<_> = headers.iter().map(|value| format!("Sec-WebSocket-Extensions: {value}")).collect();
    let head = handshake_with(&headers.iter().map(|header| &**header).collect::<Vec<_>>());
    let limits = HeadLimits::default().bytes_max(1 << 20).headers_max(1 << 10);
    let request = parse_with(&head, &limits).expect("a valid head");
    request
        .extensions()
        .map(|offer| {
            let offer = offer?;
            let param = |param: Param<'_>| (param.name.into(), param.value.map(|value| value.text().into_owned()));
            Ok((offer.name().into(), offer.params().map(param).collect()))
        })
        .collect()
}

#[test]
fn well_formed() {
    type Params = &'static [(&'static str, Option<&'static str>)];
    type Row = (&'static [&'static str], &'static [(&'static str, Params)]);
    let table: &[Row] = &[
        (&["foo"], &[("foo", &[])]),
        (&["foo, bar; baz=2"], &[("foo", &[]), ("bar", &[("baz", Some("2"))])]), // RFC 6455 §9.1
        (&["deflate-stream"], &[("deflate-stream", &[])]),
        (&["a; b; c=d"], &[("a", &[("b", None), ("c", Some("d"))])]),
        (&["a; b=\"c\""], &[("a", &[("b", Some("c"))])]),
        (&["a; b=\"\\c\\d\""], &[("a", &[("b", Some("cd"))])]),
        (&["a;b=\"1\\0\";c"], &[("a", &[("b", Some("10")), ("c", None)])]),
        (&[" \ta \t;\tb = c , d"], &[("a", &[("b", Some("c"))]), ("d", &[])]),
        (&[",, a,\t,b,"], &[("a", &[]), ("b", &[])]),
        (&["a; b; b; b=1"], &[("a", &[("b", None), ("b", None), ("b", Some("1"))])]), // for the negotiator to judge
        (&["a", "a; b", ""], &[("a", &[]), ("a", &[("b", None)])]),
        (&["", "a"], &[("a", &[])]),
        (&[""], &[]),
        (&[" , ,", ""], &[]),
    ];
    for (headers, expected) in table {
        let param = |&(name, value): &(&str, Option<&str>)| (name.to_string(), value.map(String::from));
        let expected: Parsed =
            expected.iter().map(|(name, params)| (name.to_string(), params.iter().map(param).collect())).collect();
        assert_eq!(parse(headers), Ok(expected), "{headers:?}");
    }
}

#[test]
fn malformed() {
    for header in [
        ";",
        "a;",
        "a;;b",
        "a; =b",
        "a; b=",
        "a; b=;c",
        "a b",
        "a; b c",
        "=",
        "a=b",
        "a; b=c d",
        "a; b=\"",
        "a; b=\"c",
        "a; b=\"\"",
        "a; b=\"c d\"",
        "a; b=\"c,d\"",
        "a; b=\"c\\\"",
        "a; b=\"\\\\\"",
        "a; b=\"\\\"\"",
        "a; b=\"c\"d",
        "a; b=c\"d\"",
        "\"a\"",
        "a; \"b\"",
        "a/b",
        "a; b='c=d'",
        "\u{e4}",
        "a; b=\u{e4}",
        "a; b=\"\u{e4}\"",
        "a; b=\"\t\"",
        "a(b)",
    ] {
        assert_eq!(parse(&[header]), Err(Malformed), "{header:?}");
        // Wherever it stands among good ones.
        assert_eq!(parse(&["ok", header, "ok"]), Err(Malformed), "{header:?}");
    }
}

#[test]
fn an_error_ends_the_iteration() {
    let head = handshake_with(&["Sec-WebSocket-Extensions: a, b c, d"]);
    let request = parse_with(&head, &HeadLimits::default()).expect("a valid head");
    let offers: Vec<_> = request.extensions().take(9).map(|offer| offer.map(|offer| offer.name())).collect();
    assert_eq!(offers, [Ok("a"), Err(Malformed)]);
}

#[test]
fn as_many_as_the_limits() {
    let offers = |count: usize| parse(&[&vec!["a"; count].join(",")]).map(|offers| offers.len());
    assert_eq!(offers(OFFERS_MAX), Ok(OFFERS_MAX));
    assert_eq!(offers(OFFERS_MAX + 1), Err(Malformed));
    let headers = |count: usize| parse(&vec!["a"; count]).map(|offers| offers.len());
    assert_eq!(headers(OFFERS_MAX), Ok(OFFERS_MAX));
    assert_eq!(headers(OFFERS_MAX + 1), Err(Malformed));
    let params = |count: usize| parse(&[&format!("a{}", ";b".repeat(count))]).map(|offers| offers[0].1.len());
    assert_eq!(params(PARAMS_MAX), Ok(PARAMS_MAX));
    assert_eq!(params(PARAMS_MAX + 1), Err(Malformed));
}

#[test]
fn a_value_is_equal_however_it_is_written() {
    let head = handshake_with(&["Sec-WebSocket-Extensions: a; b=10; b=\"10\"; b=\"\\1\\0\"; b=11"]);
    let request = parse_with(&head, &HeadLimits::default()).expect("a valid head");
    let offer = request.extensions().next().expect("one").expect("well-formed");
    let values: Vec<_> = offer.params().map(|param| param.value.expect("a value")).collect();
    assert!(values[0] == values[1] && values[1] == values[2] && values[2] == "10");
    assert!(values[3] != values[2] && values[3] != "10" && values[3] != "1" && values[3] != "110");
    assert!(matches!(values[1].text(), Cow::Borrowed("10")), "not allocated");
    assert!(matches!(values[2].text(), Cow::Owned(text) if text == "10"));
}

const TOKEN_TEXT: &str = "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}";

/// How one value is written: bare, in quotes, or in quotes with an escape before each character.
fn written(value: &str, style: u8) -> String {
    match style {
        0 => value.into(),
        1 => format!("\"{value}\""),
        _ => format!("\"{}\"", value.chars().flat_map(|c| ['\\', c]).collect::<String>()),
    }
}

proptest! {
    #[test]
    fn print_and_parse(
        offers in prop::collection::vec(
            (TOKEN_TEXT, prop::collection::vec((TOKEN_TEXT, prop::option::of((TOKEN_TEXT, 0..3u8))), 0..5)), 1..6),
        spaces in prop::collection::vec("[ \t]{0,2}", 7),
        splits in prop::collection::vec(any::<bool>(), 6),
        empties in "[ ,]{0,3}",
    ) {
        let mut headers = vec![String::new()];
        for ((name, params), split) in offers.iter().zip(&splits) {
            let header = headers.last_mut().expect("never empty");
            header.push_str(&format!("{empties}{}{name}{}", spaces[0], spaces[1]));
            for (name, value) in params {
                header.push_str(&format!(";{}{name}{}", spaces[2], spaces[3]));
                if let Some((value, style)) = value {
                    header.push_str(&format!("={}{}{}", spaces[4], written(value, *style), spaces[5]));
                }
            }
            if *split { headers.push(String::new()) } else { header.push(',') }
        }
        let expected: Parsed = offers
            .into_iter()
            .map(|(name, params)| (name, params.into_iter().map(|(name, value)| (name, value.map(|(value, _)| value))).collect()))
            .collect();
        prop_assert_eq!(parse(&headers.iter().map(|header| &**header).collect::<Vec<_>>()), Ok(expected));
    }

    /// What parses at all prints back to something that parses the same.
    #[test]
    fn parse_and_print(text in "[ab;,=\"\\\\ \t]{0,16}") {
        if let Ok(offers) = parse(&[&text]) {
            let param = |(name, value): &(String, Option<String>)| match value {
                Some(value) => format!(";{name}={value}"),
                None => format!(";{name}"),
            };
            let printed: Vec<_> = offers.iter().map(|(name, params)| format!("{name}{}", params.iter().map(param).collect::<String>())).collect();
            prop_assert_eq!(parse(&[&printed.join(",")]), Ok(offers));
        }
    }
}
