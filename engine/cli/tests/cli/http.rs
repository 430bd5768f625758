//! Plain HTTP on the same port, echoes on any path, and clients that nobody here wrote.

use std::process::Command;

use wsring_testkit::{BINARY, Client, PING, PONG, TEXT, ask, tcp};

use crate::process::start;

#[test]
fn health_and_other_paths() {
    let serve = start(&[]);
    let request = |line: &str| ask(serve.addr(), &format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let health = request("GET /healthz");
    assert_eq!((health.status, &health.body[..], health.header("content-length")), (200, &b"ok\n"[..], Some("3")));
    // RFC 7231 §4.3.2: the same headers, no body.
    let head = request("HEAD /healthz");
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some("3")));
    let page = request("GET /");
    assert!(page.status == 200 && page.body.starts_with(b"a WebSocket echo server"), "{page:?}");
    for path in ["/healthz", "/"] {
        let post = request(&format!("POST {path}"));
        assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    }
    for path in ["/healthz/", "/health", "/bcast"] {
        let other = request(&format!("GET {path}"));
        assert!(other.status == 404 && other.body.starts_with(b"a WebSocket echo server"), "{path}: {other:?}");
    }
    assert_eq!(request("GET /healthz?verbose=1").status, 200);
    let stats = serve.stop();
    assert_eq!((stats["declined"], stats["opened"]), (5, 0));
}

/// On a page, and as the first message of a WebSocket, which echoes then.
#[test]
fn whoami_tells_who_asks() {
    let serve = start(&[]);
    let page = ask(serve.addr(), "GET /whoami HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let said: serde_json::Value = serde_json::from_slice(&page.body).expect("JSON");
    assert!(said["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{said}");
    assert!(page.status == 200 && said["alpn"].is_null() && said["subprotocol"].is_null(), "{said}");
    let mut client = Client::open(serve.addr(), "/whoami");
    let own = client.stream.local_addr().expect("an address");
    let told = format!(r#"{{"alpn":null,"peer":"{own}","subprotocol":null,"tls_server_name":null,"via":null}}"#);
    client.expect(TEXT, told.as_bytes());
    client.echo(TEXT, b"and echoes");
    client.close();
    serve.stop();
}

/// What proxies send unless they are told what to ask: a server that answers with another status than 200 to 399 is down to them.
#[test]
fn health_checks_of_proxies_find_it_up() {
    let serve = start(&[]);
    for (check, len) in [
        ("OPTIONS / HTTP/1.0\r\n\r\n", "0"), // HAProxy, `option httpchk`
        ("OPTIONS / HTTP/1.0\r\nHost: a\r\nConnection: close\r\n\r\n", "0"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "0"),
        ("OPTIONS /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "0"),
        ("HEAD / HTTP/1.0\r\n\r\n", "44"),
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "44"),
        ("HEAD /healthz HTTP/1.0\r\n\r\n", "3"),
    ] {
        let answer = ask(serve.addr(), check);
        assert_eq!(
            (answer.status, &answer.body[..], answer.header("content-length")),
            (200, &b""[..], Some(len)),
            "{check}"
        );
        let allowed = check.starts_with("OPTIONS").then_some("GET, HEAD, OPTIONS");
        assert_eq!(answer.header("allow"), allowed, "{check}");
    }
    assert_eq!(serve.stop()["declined"], 0);
}

/// Python's http.client is strict about lengths and line ends.
#[test]
fn pythons_http_client_reads_the_answers() {
    let script = "
import http.client, sys
for method, path in [('GET', '/healthz'), ('HEAD', '/healthz'), ('POST', '/healthz'), ('GET', '/'), ('GET', '/other')]:
    connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=20)
    connection.request(method, path, body=b'x' * 10000 if method == 'POST' else None)
    response = connection.getresponse()
    print(method, path, response.status, response.reason, response.read())
";
    let serve = start(&[]);
    let port = serve.addr().port().to_string();
    let output = match Command::new("python3").args(["-c", script, &port]).output() {
        Ok(output) => output,
        Err(error) => return println!("skipped: no python3 here ({error})"),
    };
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = "GET /healthz 200 OK b'ok\\n'\n\
        HEAD /healthz 200 OK b''\n\
        POST /healthz 405 Method Not Allowed b'GET, HEAD or OPTIONS\\n'\n\
        GET / 200 OK b'a WebSocket echo server: connect with ws://\\n'\n\
        GET /other 404 Not Found b'a WebSocket echo server: connect with ws://\\n'\n";
    assert_eq!(told, expected);
}

#[test]
fn every_path_echoes_with_the_opcode_it_came_with() {
    let serve = start(&[]);
    for path in ["/", "/chat?room=1", "/healthz", "/a/b/c"] {
        let mut peer = Client::open(serve.addr(), path);
        for len in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
            peer.echo(TEXT, "ä".repeat(len / 2).as_bytes());
            peer.echo(BINARY, &vec![0xff; len]);
        }
        // RFC 6455 §5.4, §5.5.3: a ping between fragments is answered first, and the fragments come back as one message.
        peer.send_frame(false, TEXT, b"three ");
        peer.send_frame(false, 0, b"frag");
        peer.send(PING, b"now");
        peer.send_frame(true, 0, b"ments");
        let (pong, whole) = (peer.frame(), peer.frame());
        assert_eq!((pong.opcode, &pong.payload[..]), (PONG, &b"now"[..]));
        assert_eq!((whole.opcode, &whole.payload[..]), (TEXT, &b"three fragments"[..]));
        peer.close();
    }
    assert_eq!(serve.stop()["messages"], 4 * 15);
}

#[test]
fn tungstenite_talks_to_it() {
    use tungstenite::Message;
    let serve = start(&["--subprotocol", "echo"]);
    let stream = tcp(serve.addr());
    let url = format!("ws://{}/any/path", serve.addr());
    let (mut socket, response) = tungstenite::client(&*url, wsring_testkit::Patient(stream)).unwrap();
    assert_eq!(response.status().as_u16(), 101);
    let sent =
        [Message::text("grüße"), Message::text(""), Message::binary(vec![0; 1 << 20]), Message::binary(vec![1, 2, 3])];
    for message in &sent {
        socket.send(message.clone()).unwrap();
    }
    for message in &sent {
        assert_eq!(socket.read().unwrap(), *message);
    }
    socket.send(Message::Ping(vec![7; 125].into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong(vec![7; 125].into()));
    socket.close(None).unwrap();
    assert!(socket.read().unwrap().is_close());
    assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
    assert_eq!(serve.stop()["messages"], 4);
}
