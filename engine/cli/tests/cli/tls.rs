//! `--tls-cert` and `--tls-key`: a server that speaks TLS, and files that it refuses by name.

use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, StreamOwned};

use wsring::{Config, Server};
use wsring_testkit::{Echo, Folder, WAIT, cores, finish, tcp};

use crate::certificates::{Authority, NAME, name};
use crate::process::{BIN, Serve, run, start};

/// `wsring connect` believes who it is told to, and nobody else.
#[test]
fn connect_trusts_whom_it_is_told_to() {
    let folder = Folder::new();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let identity = authority.sign("127.0.0.1", 4000);
    let certificate = folder.file("certificate.pem", &identity.certificate_pem);
    let key = folder.file("key.pem", &identity.key_pem);
    let ca = folder.file("ca.pem", &authority.pem());
    let other = folder.file("other.pem", &stranger.pem());
    let serve = start(&["--tls-cert", &certificate, "--tls-key", &key]);
    let url = format!("wss://{}/", serve.addr());
    // Its input ends at once: it opens, and closes.
    let end = |args: &[&str]| run(&[&["connect", &url, "--wait", "0"], args].concat());
    for good in [&["--ca", &*ca][..], &["--insecure"]] {
        let ended = end(good);
        assert!(ended.code == Some(0) && ended.errors.is_empty(), "{good:?}: {ended:?}");
    }
    for bad in [&["--ca", &*other][..], &[]] {
        let ended = end(bad);
        assert!(ended.code == Some(1) && ended.errors.contains("UnknownIssuer"), "{bad:?}: {ended:?}");
    }
    for (bad, says) in [("/nonexistent", "cannot be read"), (&*key, "holds no certificate")] {
        let ended = end(&["--ca", bad]);
        assert!(ended.code == Some(1) && ended.errors.contains(says), "{bad}: {ended:?}");
    }
    let plain = run(&["connect", &url.replace("wss", "ws"), "--insecure"]);
    assert!(plain.code == Some(1) && plain.errors.contains("wss://"), "{plain:?}");
    assert_eq!(serve.stop()["opened"], 2);
}

/// A server that serves none but those whom it knows is shown `--cert`; files are named as those of a server are.
#[test]
fn connect_shows_its_certificate() {
    let folder = Folder::new();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let file = |name: &str, by: &Authority| {
        let identity = by.sign("client", 4000);
        let certificate = folder.file(&format!("{name}.pem"), &identity.certificate_pem);
        (certificate, folder.file(&format!("{name}-key.pem"), &identity.key_pem))
    };
    let ((known, key), (unknown, other_key)) = (file("known", &authority), file("unknown", &stranger));
    let config = Config::default().tls(Arc::new(authority.server_for_known_clients()));
    let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(1)).config(config);
    let running = server.start(|_| Echo).expect("it starts");
    let url = format!("wss://{}/", running.local_addrs()[0]);
    let end = |args: &[&str]| run(&[&["connect", &url, "--wait", "0", "--insecure"], args].concat());
    let ended = end(&["--cert", &known, "--key", &key]);
    assert!(ended.code == Some(0) && ended.errors.is_empty(), "{ended:?}");
    for bad in [&[][..], &["--cert", &unknown, "--key", &other_key]] {
        let ended = end(bad);
        assert!(ended.code == Some(1) && !ended.errors.is_empty(), "{bad:?}: {ended:?}");
    }
    for (certificate, key, says) in [
        ("/nonexistent", &*key, "--cert: /nonexistent cannot be read".to_owned()),
        (&known, "/nonexistent", "--key: /nonexistent cannot be read".to_owned()),
        (&known, &other_key, format!("--key: the key in {other_key} is not that of the certificate in {known}")),
    ] {
        let ended = end(&["--cert", certificate, "--key", key]);
        assert!(ended.code == Some(1) && ended.errors.starts_with(&format!("wsring: {says}")), "{ended:?}");
    }
    for (given, wanted) in [("--cert", "--key <FILE>"), ("--key", "--cert <FILE>")] {
        let ended = end(&[given, &known]);
        assert!(ended.code == Some(2) && ended.errors.contains(wanted), "{ended:?}");
    }
    let plain = run(&["connect", &url.replace("wss", "ws"), "--cert", &known, "--key", &key]);
    assert!(plain.code == Some(1) && plain.errors.contains("wss://"), "{plain:?}");
    assert_eq!(finish(running).opened, 1);
}

#[test]
fn it_serves_over_tls() {
    let folder = Folder::new();
    let authority = Authority::new();
    let identity = authority.sign(NAME, 4000);
    let certificate = folder.file("certificate.pem", &identity.certificate_pem);
    let key = folder.file("key.pem", &identity.key_pem);
    let serve = start(&["--tls-cert", &certificate, "--tls-key", &key]);
    assert!(serve.start_line.starts_with("wsring: listening on wss://127.0.0.1:"), "{}", serve.start_line);
    for version in [&TLS12, &TLS13] {
        let mut config = authority.client(&[version]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tls = ClientConnection::new(Arc::new(config), name()).expect("a client");
        let mut stream = StreamOwned::new(tls, tcp(serve.addr()));
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it goes out");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("a response, and a close_notify");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    let stats = serve.stop();
    assert_eq!((stats["closed"], stats["tls_failed"]), (2, 0));
}

/// The command line wants both; what is in the files is judged before anything listens.
#[test]
fn unusable_files_are_named() {
    let folder = Folder::new();
    let authority = Authority::new();
    let (one, other) = (authority.sign(NAME, 4000), authority.sign(NAME, 4000));
    let certificate = folder.file("certificate.pem", &one.certificate_pem);
    let key = folder.file("key.pem", &one.key_pem);
    let foreign = folder.file("foreign.pem", &other.key_pem);
    let garbage = folder.file("garbage", "\u{0}garbage");
    let damaged = folder.file("damaged.pem", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    let hollow = folder.file("hollow.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let absent = folder.text("absent");
    let is_folder = &*folder.text("");
    for (certificate, key, says) in [
        (&*absent, &*key, format!("--tls-cert: {absent} cannot be read: No such file or directory (os error 2)")),
        (&certificate, &absent, format!("--tls-key: {absent} cannot be read: No such file or directory (os error 2)")),
        (is_folder, &key, format!("--tls-cert: {is_folder} cannot be read: Is a directory (os error 21)")),
        (&garbage, &key, format!("--tls-cert: {garbage} holds no certificate in PEM")),
        (&key, &key, format!("--tls-cert: {key} holds no certificate in PEM")),
        (&certificate, &garbage, format!("--tls-key: {garbage} holds no private key in PEM")),
        (&certificate, &certificate, format!("--tls-key: {certificate} holds no private key in PEM")),
        (&damaged, &key, format!("--tls-cert: {damaged} is damaged: ")),
        (&hollow, &key, format!("--tls-cert, --tls-key: {hollow} and {key} cannot be used: ")),
        (
            &certificate,
            &foreign,
            format!("--tls-key: the key in {foreign} is not that of the certificate in {certificate}"),
        ),
    ] {
        let ended = run(&["serve", "--listen", "127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key]);
        assert!(ended.code == Some(1) && ended.lines.is_empty(), "{ended:?}");
        assert!(ended.errors.starts_with(&format!("wsring: {says}")), "{says}\n{}", ended.errors);
        assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    }
    for (given, wanted) in [("--tls-cert", "--tls-key <FILE>"), ("--tls-key", "--tls-cert <FILE>")] {
        let ended = run(&["serve", given, &key]);
        assert!(ended.code == Some(2) && ended.errors.contains(wanted), "{ended:?}");
    }
}

/// SIGHUP: connections that come see the new certificate, one that is there goes on; files that make no sense are told and change nothing.
#[test]
fn a_certificate_is_read_again() {
    use wsring_testkit::{BINARY, upgrade_head};

    let folder = Folder::new();
    let (first, second) = (Authority::new(), Authority::new());
    let write = |authority: &Authority| {
        let identity = authority.sign(NAME, 4000);
        (folder.file("certificate.pem", &identity.certificate_pem), folder.file("key.pem", &identity.key_pem))
    };
    let (certificate, key) = write(&first);
    let log = folder.file("log", "");
    let mut command = std::process::Command::new("sh");
    command.env("LOG", &log).args(["-c", r#"exec "$0" "$@" 2>"$LOG""#, BIN]);
    let serve = Serve::start_by(command, &["--tls-cert", &certificate, "--tls-key", &key]);
    // Whether a server is trusted that is believed for this authority alone.
    let shake = |authority: &Authority| {
        let tls = ClientConnection::new(Arc::new(authority.client(&[&TLS13])), name()).expect("a client");
        let mut stream = StreamOwned::new(tls, tcp(serve.addr()));
        stream.write_all(upgrade_head("/").as_bytes()).and_then(|()| stream.flush()).map(|()| stream)
    };
    let mut frame = Vec::new();
    wsring_testkit::client_frame(&mut frame, true, BINARY, b"still here", [7; 4]);
    let mut stays = shake(&first).expect("it is trusted");
    let mut said = Vec::new();
    let mut echo = |stays: &mut StreamOwned<ClientConnection, std::net::TcpStream>| {
        stays.write_all(&frame).expect("it goes out");
        let mut byte = [0];
        while !said.ends_with(b"still here") {
            stays.read_exact(&mut byte).expect("an echo");
            said.push(byte[0]);
        }
        said.clear();
    };
    echo(&mut stays);
    assert!(shake(&second).is_err());
    write(&second);
    serve.signal("HUP");
    assert_eq!(serve.line().as_deref(), Some("wsring: the certificate was read again"));
    shake(&second).expect("it is trusted");
    assert!(shake(&first).is_err(), "the old one is shown to nobody more");
    echo(&mut stays);
    folder.file("key.pem", "nonsense");
    serve.signal("HUP");
    let told = format!("wsring: the certificate stays as it is: --tls-key: {key} holds no private key in PEM");
    let since = std::time::Instant::now();
    while !fs::read_to_string(&log).expect("a file").contains(&told) {
        assert!(since.elapsed() < WAIT, "nobody is told");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    shake(&second).expect("the good one stays");
    write(&first);
    serve.signal("HUP");
    assert_eq!(serve.line().as_deref(), Some("wsring: the certificate was read again"));
    shake(&first).expect("it is trusted");
    echo(&mut stays);
    serve.stop();
}
