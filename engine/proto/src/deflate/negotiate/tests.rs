//! Offers and answers against RFC 7692 §7.1: each row is one header.

use super::*;
use crate::handshake::{HeadLimits, HeaderTable, Request};
use alloc::format;
use alloc::string::{String, ToString};

/// Runs `judge` over the extensions that a header lists.
fn with<T>(value: &str, judge: impl FnOnce(crate::handshake::Offers<'_>) -> T) -> T {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Extensions: {value}\r\n\r\n");
    let mut table = HeaderTable::new();
    let request = Request::parse(head.as_bytes(), &HeadLimits::default(), &mut table).expect("a valid head");
    judge(request.extensions())
}

fn answer(value: &str, settings: &Settings) -> Option<String> {
    answer_beside(0, value, settings)
}

/// The answer of a core that keeps so many windows already.
fn answer_beside(windows: u32, value: &str, settings: &Settings) -> Option<String> {
    let answer = with(value, |offers| choose(offers, settings, windows)).expect("well-formed")?;
    assert_eq!(answer.text(&mut [0; ANSWER_LEN_MAX]), answer.to_string());
    Some(answer.to_string())
}

/// What a client that offered by `settings` makes of its own server's answer must be what the server made of it.
fn judge(value: &str, settings: &Settings) -> Result<Option<Agreed>, CompressionError> {
    with(value, |answer| ClientOffer::new(settings).expect("not off").judge(answer))
}

const PLAIN: &str = "permessage-deflate";

// RFC 7692 §7.1.1, §7.1.2: what is offered is answered, nothing more than we need is added.
#[test]
fn offers_that_are_taken() {
    let dedicated = Settings::dedicated();
    let small = dedicated.window_bits(11);
    let table = [
        (dedicated, PLAIN, "permessage-deflate"),
        (dedicated, "permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover"),
        (dedicated, "permessage-deflate; client_no_context_takeover", "permessage-deflate; client_no_context_takeover"),
        (dedicated, "permessage-deflate; server_max_window_bits=15", "permessage-deflate; server_max_window_bits=15"),
        (dedicated, "permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_max_window_bits=9"),
        (
            dedicated,
            "permessage-deflate; server_max_window_bits=\"1\\0\"",
            "permessage-deflate; server_max_window_bits=10",
        ),
        (dedicated, "permessage-deflate; client_max_window_bits", "permessage-deflate"),
        (dedicated, "permessage-deflate; client_max_window_bits=8", "permessage-deflate; client_max_window_bits=8"),
        (dedicated, "permessage-deflate; client_max_window_bits=15", "permessage-deflate; client_max_window_bits=15"),
        (small, PLAIN, "permessage-deflate"), // a window smaller than agreed on needs no word
        (small, "permessage-deflate; server_max_window_bits=12", "permessage-deflate; server_max_window_bits=11"),
        (small, "permessage-deflate; server_max_window_bits=10", "permessage-deflate; server_max_window_bits=10"),
        (Settings::shared(), PLAIN, "permessage-deflate"),
        (Settings::shared(), "permessage-deflate; client_max_window_bits", "permessage-deflate"),
        (
            Settings::shared(),
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover",
        ),
        (
            Settings::shared(),
            "permessage-deflate; client_no_context_takeover",
            "permessage-deflate; client_no_context_takeover",
        ),
        (
            Settings::shared(), // all four
            "permessage-deflate; client_max_window_bits=10; server_max_window_bits=12; server_no_context_takeover; \
             client_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12; \
             client_max_window_bits=10",
        ),
    ];
    for (settings, offer, expected) in table {
        assert_eq!(answer(offer, &settings).as_deref(), Some(expected), "{offer}");
        assert_eq!(answer(offer, &Settings::off()), None);
    }
}

// RFC 7692 §7.1.1.2: beyond the windows that a core keeps, a client is asked to keep none, whatever it offered.
#[test]
fn windows_are_kept_up_to_the_limit() {
    let settings = Settings::shared().peer_windows_max(2);
    let told = "permessage-deflate; client_no_context_takeover";
    for (windows, expected) in [(0, PLAIN), (1, PLAIN), (2, told), (3, told)] {
        assert_eq!(answer_beside(windows, PLAIN, &settings).as_deref(), Some(expected), "{windows}");
        assert_eq!(answer_beside(windows, told, &settings).as_deref(), Some(told), "{windows}");
        // One compressor a connection is what that mode is for.
        assert_eq!(answer_beside(windows, PLAIN, &Settings::dedicated().peer_windows_max(0)).as_deref(), Some(PLAIN));
    }
    assert_eq!(answer(PLAIN, &Settings::shared().peer_windows_max(0)).as_deref(), Some(told));
}

// A second offer of the same extension is allowed (RFC 7692 §5.1), but not every server knows that.
#[test]
fn an_offer_names_the_extension_once() {
    for (settings, expected) in [
        (
            Settings::shared(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        ),
        (Settings::dedicated(), "permessage-deflate; client_max_window_bits"),
        (Settings::dedicated().window_bits(10), "permessage-deflate; client_max_window_bits=10"),
    ] {
        assert_eq!(ClientOffer::new(&settings).expect("not off").to_string(), expected);
    }
}

// RFC 7692 §7.1: such an offer is declined, and the next one stands by itself (§5.1); none is the handshake's fault.
#[test]
fn offers_that_are_declined() {
    let bad = [
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=8", // no compressor of ours has so small a window
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=100",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; server_max_window_bits=1",
        "permessage-deflate; server_max_window_bits=a",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=010",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; unknown",
        "permessage-deflate; unknown=3",
        "permessage-deflate; Server_no_context_takeover",
        "Permessage-deflate",
        "permessage-bzip2",
        "x-webkit-deflate-frame",
    ];
    for settings in [Settings::shared(), Settings::dedicated()] {
        for offer in bad {
            assert_eq!(answer(offer, &settings), None, "{offer}");
            let next = format!("{offer}, permessage-deflate; server_max_window_bits=12, permessage-deflate");
            let expected = answer("permessage-deflate; server_max_window_bits=12", &settings);
            assert!(expected.is_some());
            assert_eq!(answer(&next, &settings), expected, "{next}");
        }
    }
    // A header that breaks the grammar is the handshake's fault, wherever.
    let broken = with("permessage-deflate, ;", |offers| choose(offers, &Settings::shared(), 0));
    assert_eq!(broken, Err(Malformed));
}

// RFC 7692 §7.1: an answer to us that is not by the letter fails the connection.
#[test]
fn answers_that_fail_the_connection() {
    let dedicated = Settings::dedicated();
    let narrow = dedicated.window_bits(10);
    let table = [
        (dedicated, "permessage-bzip2", CompressionError::NotOffered),
        (dedicated, "permessage-deflate, permessage-bzip2", CompressionError::NotOffered),
        (dedicated, "permessage-deflate, permessage-deflate", CompressionError::Repeated),
        (dedicated, "permessage-deflate, ;", CompressionError::Malformed),
        (dedicated, "permessage-deflate; client_max_window_bits", CompressionError::Parameter),
        (dedicated, "permessage-deflate; client_max_window_bits=7", CompressionError::Parameter),
        (dedicated, "permessage-deflate; client_max_window_bits=16", CompressionError::Parameter),
        (dedicated, "permessage-deflate; server_max_window_bits", CompressionError::Parameter),
        (dedicated, "permessage-deflate; server_max_window_bits=16", CompressionError::Parameter),
        (
            dedicated,
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
            CompressionError::Parameter,
        ),
        (dedicated, "permessage-deflate; server_no_context_takeover=1", CompressionError::Parameter),
        (dedicated, "permessage-deflate; unknown", CompressionError::Parameter),
        (narrow, "permessage-deflate; client_max_window_bits=11", CompressionError::Parameter),
    ];
    for (settings, value, error) in table {
        assert_eq!(judge(value, &settings), Err(error), "{value}");
    }
}

#[test]
fn answers_that_open_the_connection() {
    let agreed = |server: bool, client: bool, server_window_bits, client_window_bits| Agreed {
        server_no_context_takeover: server,
        client_no_context_takeover: client,
        server_window_bits,
        client_window_bits,
    };
    let (shared, dedicated) = (Settings::shared(), Settings::dedicated());
    let narrow = dedicated.window_bits(10);
    let table = [
        (dedicated, "permessage-deflate", agreed(false, false, 15, 15)),
        (dedicated, "permessage-deflate; client_no_context_takeover", agreed(false, true, 15, 15)),
        (dedicated, "permessage-deflate; server_no_context_takeover", agreed(true, false, 15, 15)),
        (dedicated, "permessage-deflate; server_max_window_bits=8", agreed(false, false, 8, 15)),
        (dedicated, "permessage-deflate; client_max_window_bits=8", agreed(false, false, 15, 8)),
        (narrow, "permessage-deflate", agreed(false, false, 15, 10)),
        (narrow, "permessage-deflate; client_max_window_bits=9", agreed(false, false, 15, 9)),
        // A server that keeps its window though asked not to: ours is for that connection then.
        (shared, "permessage-deflate", agreed(false, true, 15, 15)),
        (shared, "permessage-deflate; server_no_context_takeover", agreed(true, true, 15, 15)),
    ];
    for (settings, value, expected) in table {
        assert_eq!(judge(value, &settings), Ok(Some(expected)), "{value}");
    }
    let none = ClientOffer::new(&dedicated).expect("not off").judge(core::iter::empty());
    assert_eq!(none, Ok(None));
    assert_eq!(ClientOffer::new(&Settings::off()), None);
}

// Both ends of every pair of settings agree on the same thing, within what each wants.
#[test]
fn our_server_answers_our_client() {
    let settings = [Settings::shared(), Settings::dedicated()];
    for mine in settings {
        for other in settings {
            for (mine_bits, other_bits) in [(15, 15), (9, 15), (15, 9), (12, 10)] {
                let client = mine.window_bits(mine_bits);
                let server = other.window_bits(other_bits);
                let offer = ClientOffer::new(&client).expect("not off").to_string();
                let answer = with(&offer, |offers| choose(offers, &server, 0)).expect("well-formed").expect("taken");
                let agreed = judge(&answer.to_string(), &client).expect("acceptable").expect("taken");
                assert_eq!(agreed.server_no_context_takeover, answer.agreed().server_no_context_takeover);
                assert!(agreed.of(Role::Client).window_bits <= answer.agreed().of_peer(Role::Server).window_bits);
                assert!(answer.agreed().of(Role::Server).window_bits <= agreed.of_peer(Role::Client).window_bits);
                assert!(agreed.client_no_context_takeover || !answer.agreed().client_no_context_takeover);
                if mine.mode == Mode::Shared {
                    assert!(agreed.server_no_context_takeover && agreed.client_no_context_takeover);
                }
            }
        }
    }
}
