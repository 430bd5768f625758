//! What becomes of connections that are not open yet when a server stops, or stops accepting: those that wait in the accept queue,
//! and those whose request is on its way. Nobody is reset.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};

use wsring::{Config, CoreCx, Cx, Handler, Message, Server};

use crate::common::*;

/// However busy the machine is, an answer is read before its time is over.
fn stage() -> Stage {
    Stage::of(Server::bind("127.0.0.1:0").expect("a free port"), unhurried().linger(WAIT))
}

/// Connections in every state before a 101, or in those in which the server cannot answer yet, and what they still send when they
/// read their answer.
fn unopened(addr: SocketAddr, unanswered: bool) -> Vec<(&'static str, TcpStream, Vec<u8>)> {
    let head = upgrade_head("/");
    let (half, rest) = head.split_at(40);
    let get = "GET /health HTTP/1.1\r\nHost: h\r\n\r\n";
    let all = [
        ("nothing sent", "", head.as_str()),
        ("nothing sent, and nothing follows", "", ""),
        ("half a request", half, rest),
        ("half a request, and nothing follows", half, ""),
        ("a request", &head, ""),
        ("a plain request", get, ""),
        ("half a plain request", &get[..20], &get[20..]),
    ];
    let connect = |(what, first, rest): (&'static str, &str, &str)| {
        let mut stream = tcp(addr);
        stream.write_all(first.as_bytes()).expect("it goes out");
        (what, stream, rest.as_bytes().to_vec())
    };
    all.into_iter()
        .filter(|(what, ..)| !unanswered || !matches!(*what, "a request" | "a plain request"))
        .map(connect)
        .collect()
}

fn expect_503((what, mut stream, rest): (&'static str, TcpStream, Vec<u8>)) {
    stream.write_all(&rest).expect("it is still read");
    stream.shutdown(Shutdown::Write).expect("its end too");
    let (head, mut body) = read_head(&stream).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{what}: {head}");
    assert!(head.contains("\r\nConnection: close\r\n"), "{what}: {head}");
    let mut piece = [0; 100];
    loop {
        match read_some(&stream, &mut piece) {
            Ok(0) => break,
            Ok(len) => body.extend_from_slice(&piece[..len]),
            Err(error) => panic!("{what}: {error}"),
        }
    }
    assert_eq!(body, b"the server is stopping\n", "{what}");
}

/// Accepted before the stop: what has come of the request does not matter.
#[test]
fn a_stop_answers_requests_in_progress() {
    let mut stage = stage();
    let unopened = unopened(stage.addr, true);
    stage.client.echo(TEXT, b"whoever connected before is accepted");
    stage.running.handle().stop();
    stage.part();
    let count = unopened.len() as u64;
    unopened.into_iter().for_each(expect_503);
    let stats = stage.ends();
    assert_eq!((stats.opened, stats.declined, stats.resets), (1, count, 0), "{stats}");
}

/// They wait in the accept queue when the core is told, and come while it still computes.
#[test]
fn a_stop_answers_who_waits_to_be_accepted() {
    let mut stage = stage();
    stage.compute();
    let before = unopened(stage.addr, false);
    stage.running.handle().stop();
    let after = unopened(stage.addr, false);
    stage.go_on();
    stage.part();
    let count = (before.len() + after.len()) as u64;
    before.into_iter().chain(after).for_each(expect_503);
    let stats = stage.ends();
    assert_eq!((stats.accepted, stats.opened, stats.declined, stats.resets), (1 + count, 1, count, 0), "{stats}");
}

/// Who waits is served, nobody else is accepted, and who is connected notices nothing.
#[test]
fn a_server_that_stops_accepting_serves_on() {
    let mut stage = stage();
    stage.compute();
    let waiting: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = tcp(stage.addr);
            stream.write_all(upgrade_head("/").as_bytes()).expect("it goes out");
            stream
        })
        .collect();
    stage.running.handle().stop_accepting();
    stage.go_on();
    for stream in waiting {
        let mut client = Client::upgraded(stream);
        client.expect(TEXT, b"hello");
        client.echo(TEXT, b"served");
        client.close();
    }
    // Closed as soon as nobody waits: until then a connection is served.
    let refused =
        std::iter::repeat_with(|| TcpStream::connect(stage.addr)).find_map(Result::err).expect("at some time");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    stage.client.echo(TEXT, b"still here");
    stage.running.handle().stop();
    stage.part();
    let stats = stage.ends();
    assert_eq!((stats.opened, stats.declined, stats.full), (21, 0, 0), "{stats}");
}

/// The same from a callback, before anybody could have come: the core serves what it dials.
#[test]
fn a_core_that_accepts_nobody() {
    struct Alone;
    impl Handler for Alone {
        type Conn = ();
        type Mail = ();
        fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
            cx.stop_accepting();
        }
        fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
    }
    let (running, addr) = serve(Config::default(), 1, |_| Alone);
    std::iter::repeat_with(|| TcpStream::connect(addr)).find_map(Result::err).expect("at some time");
    assert_eq!(finish(running).opened, 0);
}
