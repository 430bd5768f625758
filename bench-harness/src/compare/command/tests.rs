//! The command line: who is chosen, what is refused, how long the sets take.

use super::*;
use crate::{Cli, Task, load};
use clap::{CommandFactory, Parser};

fn chosen(words: &[&str]) -> io::Result<Vec<String>> {
    let words = [&["x", "compare", "--extra", "x y:raw=./a {port}"], words].concat();
    let Task::Compare(args) = Cli::try_parse_from(words).expect("a command line").task else { panic!("compare") };
    Ok(choose(&args)?.into_iter().map(|contender| contender.name).collect())
}

#[test]
fn contenders_are_chosen_by_name() {
    let all = chosen(&[]).expect("everybody");
    assert_eq!(all[..4], ["wsring", "wsring (waiting)", "wsring (epoll)", "tokio-uring"]);
    assert_eq!(all[4..6], ["epoll-echo", "ring-echo"]);
    assert_eq!(all.last().map(String::as_str), Some("x y"));
    assert_eq!(chosen(&["--only", "wsring"]).expect("one"), ["wsring"]);
    assert_eq!(
        chosen(&["--only", "wsr,x"]).expect("by their beginning"),
        ["wsring", "wsring (waiting)", "wsring (epoll)", "wsring (deflate 6)", "x y"]
    );
    assert!(chosen(&["--only", "nobody"]).is_err());
    assert!(chosen(&["--extra", "wsring=./other {port}"]).is_err(), "two of one name");
    assert!(chosen(&["--extra", "wsring:tls=./other {port}"]).is_err(), "ours is not added to");
    assert_eq!(chosen(&["--extra", "x y:raw:tls=./a {port}", "--only", "x"]).expect("one server"), ["x y"]);
    assert!(chosen(&["--extra", "x y:raw=./b {port}"]).is_err(), "two commands for one way");
    assert!(chosen(&["--peers", "/nonexistent/peers.json"]).is_err(), "asked for and not there");
}

/// With everybody at hand who usually is: six peers, two of which compress.
fn planned(words: &[&str]) -> compare::Plan {
    let Task::Compare(args) = Cli::try_parse_from([&["x", "compare"], words].concat()).expect("a command line").task
    else {
        panic!("compare")
    };
    let mut plan = plan(&args).expect("a plan");
    plan.contenders = contenders::own().expect("ours");
    plan.contenders.iter_mut().for_each(|contender| contender.missing = None);
    let peer = |number| {
        let mut peer: Contender = format!("peer {number}=./a {{port}}").parse().expect("a peer");
        let compresses = format!("peer {number}:deflate=./a {{port}}").parse().expect("a peer");
        assert!(number >= 2 || peer.merge(&compresses));
        peer
    };
    plan.contenders.extend((0..6).map(peer));
    plan.drop_variants();
    plan
}

#[test]
fn the_sets_end_in_time() {
    let full = planned(&["--full"]);
    assert!(full.expected() < Duration::from_secs(40 * 60), "{:?}", full.expected());
    assert!(full.contenders.iter().any(|contender| contender.name == "wsring (deflate 6)"));
    let quick = planned(&["--quick"]);
    assert!(quick.expected() < Duration::from_secs(3 * 60), "{:?}", quick.expected());
    assert!(!quick.contenders.iter().any(Contender::is_variant), "nobody who finds no cell");
    let applications = planned(&["--applications"]);
    assert!(applications.expected() < Duration::from_secs(30 * 60), "{:?}", applications.expected());
    assert!(applications.contenders.iter().any(|contender| contender.name == "ring-fanout"));
}

#[test]
fn bodies_are_discarded_unless_told_otherwise() {
    assert_eq!(planned(&[]).bodies, load::Bodies::Discarded);
    assert_eq!(planned(&["--copy"]).bodies, load::Bodies::Copied);
    assert_eq!(planned(&["--check"]).bodies, load::Bodies::Compared);
    assert!(Cli::try_parse_from(["x", "compare", "--copy", "--check"]).is_err(), "what is compared is copied");
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
    assert!(Cli::try_parse_from(["x", "compare", "--cells", "1x2x3,4x5x6"]).is_ok());
    assert!(Cli::try_parse_from(["x", "compare", "--cells", "1x2"]).is_err());
    assert!(Cli::try_parse_from(["x", "load", "--url", "ws://127.0.0.1:1/", "--raw", "127.0.0.1:1"]).is_err());
    assert!(Cli::try_parse_from(["x", "load"]).is_err());
    assert!(Cli::try_parse_from(["x", "load", "--url", "ws://127.0.0.1:1/", "--deflate"]).is_ok());
    assert!(Cli::try_parse_from(["x", "load", "--raw", "127.0.0.1:1", "--deflate"]).is_err());
    assert!(Cli::try_parse_from(["x", "compare", "--deflate-offer", "gzip"]).is_err());
    assert!(Cli::try_parse_from(["x", "load", "--raw", "127.0.0.1:1", "--rate", "5", "--depth", "2"]).is_err());
    assert!(Cli::try_parse_from(["x", "compare", "--quick", "--full"]).is_err());
    assert!(Cli::try_parse_from(["x", "compare", "--applications", "--full"]).is_err());
    assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
    assert!(seconds("3600").is_ok() && seconds("3600.1").is_err() && seconds("-1").is_err());
}
