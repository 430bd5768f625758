//! Compression: `--deflate`, `--deflate-threshold`, `--deflate-level`.

use wsring_testkit::TEXT;
use wsring_testkit::packed::{Packed, words};

use crate::process::{run, start};

const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// Sends words of this length plain and reads the echo: whether it came compressed, and its bytes as sent.
fn echo(peer: &mut Packed, len: usize) -> (bool, usize) {
    let content = words(1, len);
    peer.send_raw(0x80 | TEXT, &content);
    let got = peer.next();
    assert!(got.payload == content && got.opcode == TEXT);
    (got.compressed, got.sent_len)
}

#[test]
fn nothing_is_compressed_unless_asked_for() {
    let serve = start(&[]);
    let mut peer = Packed::connect(serve.addr(), OFFER);
    assert_eq!(peer.extensions, "");
    assert_eq!(echo(&mut peer, 4096), (false, 4096));
    drop(peer);
    assert_eq!(serve.stop()["compressed"], 0);
}

#[test]
fn shared_compresses_from_the_threshold_on_each_message_by_itself() {
    for (args, threshold) in
        [(&["--deflate", "shared"][..], 512), (&["--deflate", "shared", "--deflate-threshold", "300"], 300)]
    {
        let serve = start(args);
        let mut peer = Packed::connect(serve.addr(), OFFER);
        assert_eq!(peer.extensions, "permessage-deflate");
        assert!(!echo(&mut peer, threshold - 1).0);
        let (compressed, first) = echo(&mut peer, threshold);
        peer.forget_received();
        assert_eq!((compressed, echo(&mut peer, threshold)), (true, (true, first)));
        drop(peer);
        assert_eq!(serve.stop()["compressed"], 2);
    }
}

#[test]
fn dedicated_remembers_what_was_sent() {
    let serve = start(&["--deflate", "dedicated"]);
    let mut peer = Packed::connect(serve.addr(), OFFER);
    assert_eq!(peer.extensions, "permessage-deflate");
    let (first, again) = (echo(&mut peer, 4096), echo(&mut peer, 4096));
    assert!(first.0 && again.0 && again.1 < first.1 * 2 / 3, "{first:?}, then {again:?}");
    assert!(!echo(&mut peer, 63).0 && echo(&mut peer, 64).0);
}

#[test]
fn a_higher_level_makes_fewer_bytes() {
    let bytes = |level: &str| {
        let serve = start(&["--deflate", "shared", "--deflate-level", level]);
        let (compressed, bytes) = echo(&mut Packed::connect(serve.addr(), OFFER), 4096);
        assert!(compressed);
        bytes
    };
    assert!(bytes("2") < bytes("1") && bytes("9") < bytes("2"));
}

#[test]
fn a_broadcast_is_compressed_for_those_who_take_it() {
    let serve = start(&["--deflate", "shared"]);
    let mut members: Vec<Packed> =
        [OFFER, "none", OFFER].iter().map(|offer| Packed::connect_to(serve.addr(), "/bcast", offer)).collect();
    // A member that has heard a message of its own is one.
    for sender in 0..3 {
        members[sender].send_raw(0x80 | TEXT, &words(sender as u64, 100));
        for member in &mut members {
            assert!(!member.expect(TEXT, &words(sender as u64, 100)));
        }
    }
    let content = words(9, 2000);
    members[1].send_raw(0x80 | TEXT, &content);
    let compressed: Vec<bool> = members.iter_mut().map(|member| member.expect(TEXT, &content)).collect();
    assert_eq!(compressed, [true, false, true]);
}

#[test]
fn settings_of_a_compression_that_is_off_are_refused() {
    for option in ["--deflate-threshold", "--deflate-level"] {
        let ended = run(&["serve", "--listen", "127.0.0.1:0", option, "5"]);
        assert!(ended.code == Some(1) && ended.errors.contains("need --deflate shared or dedicated"), "{ended:?}");
    }
}
