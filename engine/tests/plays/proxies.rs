//! Exact behaviour in virtual time at a listener that requires a PROXY header: when it comes, in how many pieces, and what becomes of those that do not
//! send it.

use wsring::Config;
use wsring_proto::Opcode;

use crate::stage::{Act, Do, Play, Step, ms, open, play_on, quiet, text};

const HEADER: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n";

fn config() -> Config {
    Config::default().connections_max(2).handshake_timeout(ms(500)).idle_timeout(None)
}

/// A play at one listener, which requires a header.
fn play(config: Config, steps: Vec<Step>) -> Play {
    play_on(config, quiet(), Act::echo(), steps, 3_000, |engine| engine.proxied([0]))
}

/// The connection of peer 0, which says these bytes a millisecond apart from each other.
fn says(pieces: impl IntoIterator<Item = Vec<u8>>) -> Vec<Step> {
    let writes = pieces.into_iter().zip(1..).map(|(piece, at)| (at, 0, Do::Write(piece)));
    [(0, 0, Do::Connect)].into_iter().chain(writes).collect()
}

/// Header, request and first message, cut at any place, or in single bytes.
#[test]
fn whatever_the_pieces_it_opens() {
    let all = [HEADER, &open(), &text("hello")].concat();
    let mut ways: Vec<Vec<Vec<u8>>> =
        (1..HEADER.len() + 4).map(|at| vec![all[..at].to_vec(), all[at..].to_vec()]).collect();
    ways.push(all.iter().map(|byte| vec![*byte]).collect());
    ways.push(vec![all.clone()]);
    for way in ways {
        let count = way.len();
        let play = play(config(), says(way));
        assert_eq!((play.status(0), play.messages(0)), (Some(101), vec![b"hello".to_vec()]), "in {count} pieces");
        assert_eq!((play.stats.proxy_failed, play.stats.accepted), (0, 1));
    }
}

/// One deadline for header and request: nobody has that time twice.
#[test]
fn a_header_has_the_time_of_the_handshake() {
    let late = |pieces: Vec<Vec<u8>>| {
        let play = play(config(), says(pieces));
        let gone = play.gone_at(0).expect("it is over");
        let reads = if play.status(0).is_some() { 240 } else { 0 }; // the linger, in which it may read its answer
        assert!((500..=532 + reads).contains(&gone), "at {gone} ms");
        (play.status(0), play.stats.timeouts, play.stats.proxy_failed)
    };
    assert_eq!(late(vec![]), (None, 1, 0), "who has said nothing is told nothing");
    assert_eq!(late(vec![HEADER[..20].to_vec()]), (None, 1, 1));
    assert_eq!(late(vec![HEADER.to_vec()]), (None, 1, 0), "the header is no request");
    assert_eq!(late(vec![HEADER.to_vec(), b"GET / HT".to_vec()]), (Some(408), 1, 0));
}

#[test]
fn what_is_no_header_ends_at_once() {
    for wrong in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00",
        b"PROXY TCP4 203.0.113.7 x",
        b"\r\n\r\n\0\r\nQUIT\n\x31",
    ] {
        let play = play(config(), says([wrong.to_vec()]));
        assert_eq!((play.status(0), play.stats.proxy_failed, play.stats.opened), (None, 1, 0), "{wrong:?}");
        assert!(play.gone_at(0).is_some_and(|at| at < 100), "{wrong:?}");
    }
}

/// When all places are taken, whoever has sent no header gives way, and so does a client that has asked for nothing behind one.
#[test]
fn who_has_sent_no_header_gives_way() {
    for said in [&b""[..], HEADER] {
        let asks = [HEADER, &open()].concat();
        let mut steps: Vec<Step> = (0..2).map(|peer| (0, peer, Do::Connect)).collect();
        steps.extend((0..2).map(|peer| (1, peer, Do::Write(said.to_vec()))));
        steps.extend([(50, 2, Do::Connect), (51, 2, Do::Write(asks))]);
        let play = play(config(), steps);
        assert_eq!((play.status(2), play.stats.displaced), (Some(101), 1), "{said:?}");
        assert_eq!([0, 1].map(|peer| play.status(peer)), [None, None], "it has asked for nothing");
    }
}

/// Half a header is a beginning: it has its second.
#[test]
fn half_a_header_has_begun() {
    let config = config().handshake_timeout(ms(5_000));
    let asks = || Do::Write([HEADER, &open()].concat());
    let mut steps: Vec<Step> = (0..2).map(|peer| (0, peer, Do::Connect)).collect();
    steps.extend((0..2).map(|peer| (1, peer, Do::Write(HEADER[..9].to_vec()))));
    steps.extend([(50, 2, Do::Connect), (51, 2, asks()), (1_500, 3, Do::Connect), (1_501, 3, asks())]);
    let play = play(config, steps);
    assert_eq!((play.status(2), play.status(3)), (Some(503), Some(101)));
    assert_eq!((play.stats.full, play.stats.displaced), (1, 1));
}

#[test]
fn a_stop_answers_who_has_sent_no_header() {
    let steps =
        vec![(0, 0, Do::Connect), (1, 1, Do::Connect), (1, 1, Do::Write(HEADER[..9].to_vec())), (50, 9, Do::Stop)];
    let play = play(config(), steps);
    assert_eq!([0, 1].map(|peer| play.status(peer)), [Some(503), Some(503)]);
    assert_eq!(play.stats.proxy_failed, 1, "half a header is counted, whoever ends it; none at all is not");
    assert!(play.saw_at(0, Opcode::Text).is_none() && play.ended < 1_000);
}
