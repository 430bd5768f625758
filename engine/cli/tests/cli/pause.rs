//! A process that stands still (SIGSTOP, a freezer of cgroups, a machine that is paused) past all deadlines of its peers: what they
//! have sent meanwhile waits in their sockets, and is read before anybody is cut.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use wsring_testkit::{Client, PING, PONG, TEXT, read_head, tcp, upgrade_head};

use crate::process::{first_core, start};

/// More than the kernel hands over in one io_uring_enter(2), which is about twenty.
const PEERS: usize = 60;

#[test]
fn nobody_who_spoke_in_time_is_cut_after_a_pause_of_the_process() {
    let (pong, head) = (Duration::from_secs(2), Duration::from_secs(6));
    let serve = start(&["--cores", &first_core(), "--idle-timeout", "2", "--handshake-timeout", "6", "--spin-us", "0"]);
    // They are accepted before the peers below, which wait for their answers.
    let mut half: Vec<TcpStream> = (0..PEERS).map(|_| tcp(serve.addr())).collect();
    let mut peers: Vec<Client> = (0..PEERS).map(|_| Client::open(serve.addr(), "/")).collect();
    let accepted = Instant::now();
    let pings: Vec<_> = peers.iter_mut().map(Client::frame).collect();
    let pinged = Instant::now();
    serve.freeze();
    for (peer, ping) in peers.iter_mut().zip(&pings) {
        assert_eq!(ping.opcode, PING);
        peer.send(PONG, &ping.payload);
    }
    half.iter_mut().for_each(|stream| stream.write_all(upgrade_head("/").as_bytes()).unwrap());
    // Deadlines are time: until the last of them has passed, with a second to spare, there is nothing else to wait for.
    let passed = (pinged + pong).max(accepted + head) + Duration::from_secs(1);
    std::thread::sleep(passed.saturating_duration_since(Instant::now()));
    serve.signal("CONT");
    for peer in &mut peers {
        peer.send(TEXT, b"still here");
        let heard = std::iter::repeat_with(|| peer.frame()).find(|frame| frame.opcode != PING);
        assert_eq!(heard.map(|frame| frame.payload).as_deref(), Some(&b"still here"[..]));
    }
    for stream in &half {
        let (head, _) = read_head(stream).expect("an answer");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }
    assert_eq!(serve.stop()["timeouts"], 0);
}
