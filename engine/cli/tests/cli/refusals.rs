//! Values that make no sense: refused before anything starts, with a sentence that says what would.

use std::net::TcpListener;

use crate::process::{first_core, run};

/// Status 2 for the command line, as is the custom.
#[test]
fn bad_values_are_refused_with_a_clear_sentence() {
    for (option, value, says) in [
        ("--listen", "localhost:9001", "an IP address and a port, such as 127.0.0.1:9001 or [::1]:9001"),
        ("--listen", "9001", "an IP address and a port"),
        ("--listen", "unix:", "unix: and the path of a socket"),
        ("--unix-mode", "1777", "a mode in octal"),
        ("--unix-mode", "rw", "a mode in octal"),
        ("--trust-forwarded", "10.0.0.1/8", "bits behind its length"),
        ("--trust-forwarded", "localhost", "does not begin with an IP address"),
        ("--forwarded-field", "via", "[possible values: x-forwarded-for, forwarded]"),
        ("--max-per-network", "0", "is not in"),
        ("--listen", "127.0.0.1:65536", "an IP address and a port"),
        ("--cores", "one", "the number of a core"),
        ("--cores", "0,", "the number of a core"),
        ("--cores", "65536", "the number of a core"),
        ("--cores", "0-1", "separated by commas"),
        ("--spin-us", "fast", "invalid digit"),
        ("--spin-us", "1000001", "0..=1000000"),
        ("--max-message", "0", "1..=536870912"),
        ("--max-message", "536870913", "1..=536870912"),
        ("--max-message", "1M", "invalid digit"),
        ("--max-head", "127", "128..=1048576"),
        ("--max-head", "1048577", "128..=1048576"),
        ("--max-headers", "0", "1..=128"),
        ("--max-headers", "129", "1..=128"),
        ("--max-connections", "0", "1..=1048512"),
        ("--max-connections", "1048513", "1..=1048512"),
        ("--idle-timeout", "never", "a number of seconds from 0 to 31536000"),
        ("--idle-timeout", "NaN", "a number of seconds from 0"),
        ("--idle-timeout", "31536001", "a number of seconds from 0"),
        ("--message-timeout", "never", "a number of seconds from 0 to 31536000"),
        ("--message-timeout", "31536001", "a number of seconds from 0"),
        ("--handshake-timeout", "0", "a number of seconds above 0"),
        ("--handshake-timeout", "inf", "a number of seconds above 0"),
        ("--origin", "example.com", "write scheme://host"),
        ("--origin", "https://example.com/", "without a path"),
        ("--origin", "https://*.example.com", "is not an origin"),
        ("--origin", "file:///index.html", "is not an origin"),
        ("--origin", "NULL", "is not an origin"),
        ("--subprotocol", "two words", "without blanks or commas"),
        ("--subprotocol", "", "letters, digits"),
        ("--deflate", "on", "[possible values: off, shared, dedicated]"),
        ("--deflate-threshold", "-1", "0..=4294967295"),
        ("--deflate-level", "0", "1..=9"),
        ("--deflate-level", "10", "1..=9"),
        ("--ring", "io_uring", "[possible values: auto, uring, epoll]"),
        ("--without", "", "there are: multishot-accept"),
    ] {
        let ended = run(&["serve", &format!("{option}={value}")]);
        let told = ended.errors.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(ended.code == Some(2) && ended.lines.is_empty(), "{option}={value}: {ended:?}");
        assert!(told.contains(says) && told.contains(option), "{option}={value} says: {told}");
    }
}

#[test]
fn negative_values_and_unknown_options_are_refused() {
    for args in [["--idle-timeout=-1"], ["--handshake-timeout=-0.5"], ["--spin-us=-1"], ["--nonsense"], ["stray"]] {
        let ended = run(&[&["serve"], &args[..]].concat());
        assert!(ended.code == Some(2) && ended.lines.is_empty(), "{args:?}: {ended:?}");
        assert!(ended.errors.starts_with("error: "), "{args:?}: {}", ended.errors);
    }
    assert_eq!(run(&[]).code, Some(2));
}

/// Status 1 for what is well said but cannot be done.
fn cannot(args: &[&str], says: &str) {
    let ended = run(&[&["serve", "--listen", "127.0.0.1:0"], args].concat());
    assert!(ended.code == Some(1) && ended.lines.is_empty(), "{args:?}: {ended:?}");
    assert!(ended.errors.starts_with("wsring: ") && ended.errors.contains(says), "{args:?}: {}", ended.errors);
    assert_eq!(ended.errors.lines().count(), 1, "{args:?}: {}", ended.errors);
}

#[test]
fn cores_that_are_not_there_are_named() {
    cannot(&["--cores", "1023"], "CPU 1023");
    cannot(&["--cores", "1024"], "CPU 1024");
    cannot(&["--cores", "65535"], "affinity mask");
    let core = first_core();
    cannot(&["--cores", &format!("{core},{core}")], &format!("names core {core} twice"));
}

#[test]
fn an_address_of_another_machine_is_named() {
    // RFC 5737: for documentation, so nobody's.
    cannot(&["--listen", "192.0.2.1:0"], "cannot listen on 192.0.2.1:0");
}

/// A foreign socket without SO_REUSEPORT owns its port (socket(7)).
#[test]
fn a_port_in_use_is_named() {
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = foreign.local_addr().unwrap().to_string();
    let ended = run(&["serve", "--listen", &addr]);
    assert!(ended.code == Some(1) && ended.lines.is_empty(), "{ended:?}");
    let says = format!("cannot listen on {addr}: Address already in use");
    assert!(ended.errors.contains(&says), "{}", ended.errors);
}
