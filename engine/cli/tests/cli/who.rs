//! Who asks, and through whom: `--proxy-protocol`, `--trust-forwarded`, `--listen unix:`, `--unix-mode`, `--max-per-network`, told at `/whoami`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use wsring_testkit::{Folder, TEXT, WAIT, tcp};

use crate::process::start;

const V1: &str = "PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n";

/// What `GET /whoami` says over a stream, behind this and with these header lines; null if nothing does.
fn whoami(mut stream: impl Read + Write, preface: &str, lines: &str) -> Value {
    let request = format!("{preface}GET /whoami HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let _ = stream.write_all(request.as_bytes()); // who is refused may have been closed by now
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.split_once("\r\n\r\n").map_or(Value::Null, |(_, body)| serde_json::from_str(body).expect("JSON"))
}

fn own(stream: &TcpStream) -> String {
    stream.local_addr().expect("an address").to_string()
}

#[test]
fn a_proxy_header_is_required_if_asked_for() {
    let serve = start(&["--proxy-protocol", "--subprotocol", "chat"]);
    let stream = tcp(serve.addr());
    let told = json!({"peer": "203.0.113.7:40000", "via": own(&stream), "tls_server_name": null, "alpn": null, "subprotocol": null});
    assert_eq!(whoami(&stream, V1, ""), told);
    assert_eq!(whoami(tcp(serve.addr()), "", ""), Value::Null);
    // A WebSocket is told the same first.
    let mut stream = tcp(serve.addr());
    let via = own(&stream);
    let request = wsring_testkit::handshake("/whoami", &["Sec-WebSocket-Protocol: chat"]);
    stream.write_all((V1.to_owned() + &request).as_bytes()).expect("it goes out");
    let mut client = wsring_testkit::Client::upgraded(stream);
    let first = client.frame();
    let said: Value = serde_json::from_slice(&first.payload).expect("JSON");
    assert_eq!((first.opcode, &said["peer"], &said["via"]), (TEXT, &json!("203.0.113.7:40000"), &json!(via)));
    assert_eq!(said["subprotocol"], json!("chat"));
    client.close();
    assert_eq!(serve.stop()["proxy_failed"], 1);
}

#[test]
fn proxies_that_are_named_are_believed() {
    let args =
        ["--trust-forwarded", "10.0.0.0/8", "--trust-forwarded", "127.0.0.1", "--forwarded-field", "X-Forwarded-For"];
    let lines = "X-Forwarded-For: 203.0.113.7, 10.1.1.1\r\nForwarded: for=198.51.100.1\r\n";
    let serve = start(&args);
    let stream = tcp(serve.addr());
    let told = whoami(&stream, "", lines);
    assert_eq!((&told["peer"], &told["via"]), (&json!("203.0.113.7"), &json!(own(&stream))));
    serve.stop();
    let serve = start(&["--trust-forwarded", "127.0.0.1", "--forwarded-field", "forwarded"]);
    assert_eq!(whoami(tcp(serve.addr()), "", lines)["peer"], json!("198.51.100.1"));
    serve.stop();
    let serve = start(&[]);
    assert_eq!(whoami(tcp(serve.addr()), "", lines)["via"], Value::Null);
    serve.stop();
}

#[test]
fn it_listens_at_a_path_beside_an_address() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let listen = format!("unix:{}", path.display());
    let args = ["--listen", "127.0.0.1:0", "--listen", &listen, "--unix-mode", "600"];
    let connect = || {
        let stream = UnixStream::connect(&path).expect("it listens");
        stream.set_read_timeout(Some(WAIT)).expect("a timeout");
        stream
    };
    let lines = "X-Forwarded-For: 203.0.113.7\r\n";
    let trust = |whom| ["--trust-forwarded", whom, "--forwarded-field", "x-forwarded-for"];
    for (more, client) in [
        (vec![], (Value::Null, Value::Null)),
        (trust("127.0.0.1").to_vec(), (Value::Null, Value::Null)),
        (trust("unix").to_vec(), (json!("203.0.113.7"), json!("unknown"))),
    ] {
        let serve = start(&[&args[..], &more].concat());
        assert!(serve.start_line.contains(&format!("/ {listen} | ")), "{}", serve.start_line);
        assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        let told = whoami(connect(), "", lines);
        assert_eq!((told["peer"].clone(), told["via"].clone()), client, "{more:?}");
        assert!(whoami(tcp(serve.addr()), "", "")["peer"].is_string());
        assert_eq!(serve.stop()["accepted"], 2);
        assert!(!path.exists(), "the file is left");
    }
}

#[test]
fn a_network_has_as_many_connections_as_it_may() {
    let serve = start(&["--cores", &crate::process::first_core(), "--max-per-network", "1"]);
    let client = wsring_testkit::Client::open(serve.addr(), "/");
    assert_eq!(whoami(tcp(serve.addr()), "", ""), Value::Null);
    client.close();
    assert_eq!(serve.stop()["crowded"], 1);
}
