//! `wsring connect` as its users meet it, in a pipe: what goes in, what comes out, what is said of the end, and the exit status.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use wsring_testkit::{WAIT, patiently, refused};

use crate::process::{BIN, start};

/// A client whose input is ours.
pub struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: JoinHandle<String>,
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Talk {
    pub fn start(url: &str, args: &[&str]) -> Self {
        let mut command = Command::new(BIN);
        command.args(["connect", url]).args(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let errors = collect(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { input: child.stdin.take(), child, lines, errors }
    }

    /// For whoever types more than is read.
    pub fn take_input(&mut self) -> ChildStdin {
        self.input.take().expect("not ended")
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.input.as_mut().expect("not ended").write_all(bytes).expect("it reads");
    }

    pub fn line(&self) -> String {
        self.lines.recv_timeout(WAIT).expect("a line")
    }

    /// Ends the input, and returns the exit status, what it printed and what it told.
    pub fn end(mut self) -> (Option<i32>, String, String) {
        drop(self.input.take());
        self.ended()
    }

    pub fn ended(mut self) -> (Option<i32>, String, String) {
        let since = std::time::Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if since.elapsed() < WAIT => thread::sleep(std::time::Duration::from_millis(5)),
                None => {
                    let _ = self.child.kill();
                    panic!("still running after {WAIT:?}");
                }
            }
        };
        drop(self.input);
        let output = self.lines.iter().flat_map(|line| [line, "\n".to_owned()]).collect();
        (status.code(), output, self.errors.join().unwrap())
    }
}

pub fn url(addr: SocketAddr) -> String {
    format!("ws://{addr}/")
}

/// A server of one request: `serve` gets the stream and the head.
pub fn scripted(serve: impl FnOnce(TcpStream, &str) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            head.push(byte[0]);
        }
        serve(stream, std::str::from_utf8(&head).expect("ASCII"));
    });
    (url(addr), thread)
}

pub fn switching(head: &str, more: &str) -> String {
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
    let accept = wsring_proto::handshake::accept_key(key.as_bytes().first_chunk().expect("24 characters"));
    let accept = std::str::from_utf8(&accept).expect("base64");
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{more}\r\n"
    )
}

#[test]
fn lines_go_out_and_come_back() {
    let serve = start(&[]);
    let mut talk = Talk::start(&url(serve.addr()), &["--wait", "2"]);
    let lines: String = (0..5_000).map(|i| format!("line {i} é\n")).collect();
    talk.say(lines.as_bytes());
    talk.say(b"\nthe last has no end");
    lines.lines().for_each(|line| assert_eq!(talk.line(), line));
    assert_eq!(talk.line(), "");
    assert_eq!(talk.end(), (Some(0), "the last has no end\n".to_owned(), String::new()));
    assert_eq!(serve.stop()["messages"], 5_002);
}

#[test]
fn binary_lines_and_hex() {
    let serve = start(&[]);
    let mut talk = Talk::start(&url(serve.addr()), &["--binary", "--wait", "0.3"]);
    talk.say(b"\x00\xff\x7fz\n");
    assert_eq!(talk.line(), "00ff7f7a");
    assert_eq!(talk.end(), (Some(0), String::new(), String::new()));
    // Without the option, what is no text is not sent, and said.
    let mut talk = Talk::start(&url(serve.addr()), &["--wait", "0.3"]);
    talk.say(b"\xff\ntext\n");
    assert_eq!(talk.line(), "text");
    let (code, output, errors) = talk.end();
    assert_eq!((code, &*output), (Some(0), ""));
    assert!(errors.contains("not UTF-8"), "{errors}");
}

/// What is offered is used: the server counts what it sent compressed.
#[test]
fn deflate_is_offered() {
    let line = "the same again and again ".repeat(100);
    for (args, compressed) in [(&["--deflate", "--wait", "0.3"][..], 1), (&["--wait", "0.3"], 0)] {
        let serve = start(&["--deflate", "shared"]);
        let mut talk = Talk::start(&url(serve.addr()), args);
        talk.say(format!("{line}\n").as_bytes());
        assert_eq!(talk.line(), line);
        assert_eq!(talk.end(), (Some(0), String::new(), String::new()));
        let stats = serve.stop();
        assert_eq!((stats["messages"], stats["compressed"]), (1, compressed));
        assert_eq!(stats["bytes_in"] < 1000, compressed == 1, "{stats:?}");
    }
}

/// Each answer within the time, all together not: the time begins anew with each.
#[test]
fn a_slow_answer_is_waited_for() {
    let (url, server) = scripted(|mut stream, head| {
        stream.write_all(switching(head, "").as_bytes()).unwrap();
        let mut frame = [0; 6 + 2];
        stream.read_exact(&mut frame).expect("a frame");
        for _ in 0..3 {
            // Three are longer than the wait, and each leaves a busy machine seconds for the rest.
            thread::sleep(std::time::Duration::from_millis(2_200));
            stream.write_all(b"\x81\x02hi").unwrap();
        }
        let mut close = [0; 2 + 4 + 2];
        stream.read_exact(&mut close).expect("a close, when nothing has come for a while");
        assert_eq!(close[0], 0x88);
        stream.write_all(&[0x88, 2, 0x03, 0xe8]).unwrap();
    });
    let mut talk = Talk::start(&url, &["--wait", "6"]);
    talk.say(b"ho\n");
    assert_eq!(talk.end(), (Some(0), "hi\n".repeat(3), String::new()));
    server.join().unwrap();
}

#[test]
fn what_the_request_says() {
    let (url, server) = scripted(|mut stream, head| {
        for line in ["Origin: https://desk.example", "Sec-WebSocket-Protocol: v2, v1", "authorization: Bearer x:y"] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "no {line}: {head}");
        }
        stream.write_all(switching(head, "Sec-WebSocket-Protocol: v1\r\n").as_bytes()).unwrap();
        stream.write_all(b"\x88\x09\x0f\xa1enough\x07").unwrap();
        let _ = patiently(|| stream.read(&mut [0; 100]));
    });
    let args = ["--origin", "https://desk.example", "--subprotocol", "v2", "--subprotocol", "v1"];
    let args = [&args[..], &["--header", "Authorization: Bearer x:y"]].concat();
    let (code, output, errors) = Talk::start(&url, &args).ended();
    server.join().unwrap();
    assert_eq!((code, &*output), (Some(1), ""), "4001 is no good end");
    assert!(
        errors.contains("subprotocol v1") && errors.contains("closed by the server: 4001 enough\\u{7}"),
        "{errors}"
    );
}

/// Messages with what moves a cursor, sets a title, clears a screen or turns the direction of writing.
const UNRULY: &str = "a\u{1b}[2Jb\u{1b}]0;title\u{7}c\rd\ne\u{9b}31mf\u{202e}g\u{7f}h \u{e9}\u{1f600}";

/// A server that sends that, and closes.
fn unruly() -> (String, JoinHandle<()>) {
    scripted(|mut stream, head| {
        stream.write_all(switching(head, "").as_bytes()).unwrap();
        stream.write_all(&[0x81, UNRULY.len() as u8]).unwrap();
        stream.write_all(UNRULY.as_bytes()).unwrap();
        stream.write_all(&[0x88, 2, 0x03, 0xe8]).unwrap();
        let _ = patiently(|| stream.read(&mut [0; 100]));
    })
}

#[test]
fn a_pipe_gets_every_byte() {
    let (url, server) = unruly();
    let output = Command::new(BIN).args(["connect", &url]).stdin(Stdio::piped()).output().unwrap();
    server.join().unwrap();
    assert_eq!(output.stdout, format!("{UNRULY}\n").into_bytes());
}

#[test]
fn a_terminal_is_told_what_it_would_have_done() {
    // What it says comes with the terminal's own CR before each LF.
    let script = "
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
said = b''
while True:
    try:
        more = os.read(terminal, 65536)
    except OSError: # Linux's word for the end
        break
    if not more:
        break
    said += more
os.waitpid(child, 0)
sys.stdout.buffer.write(said)
";
    let python = Command::new("python3").arg("--version").output();
    if let Err(error) = python {
        return println!("skipped: no python3 here ({error})");
    }
    let (url, server) = unruly();
    let output = Command::new("python3").args(["-c", script, BIN, "connect", &url]).output().unwrap();
    server.join().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let shown = "a\\u{1b}[2Jb\\u{1b}]0;title\\u{7}c\\rd\\ne\\u{9b}31mf\\u{202e}g\\u{7f}h \u{e9}\u{1f600}\r\n";
    assert!(said.contains(shown), "{said:?} {}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\u{7f}']), "{said:?}");
}

#[test]
fn a_refusal_is_shown_whole() {
    let (url, server) = scripted(|mut stream, _| {
        let answer = "HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 5\r\n\r\nmoved";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let (code, _, errors) = Talk::start(&url, &[]).ended();
    server.join().unwrap();
    assert_eq!(code, Some(1));
    for part in ["status 302", "location: https://elsewhere.example/", "moved"] {
        assert!(errors.contains(part), "no {part}: {errors}");
    }
}

#[test]
fn errors_say_what_to_do() {
    let cases = [
        ("http://localhost/", "ws:// or wss://"),
        ("ws://localhost/#x", "%23"),
        ("localhost:9001", "no URL"),
        ("ws://127.0.0.1:1/", "Connection refused"),
        ("ws://no-such-host.invalid/", "cannot look up no-such-host.invalid"),
    ];
    for (url, says) in cases {
        let (code, output, errors) = Talk::start(url, &[]).ended();
        assert!(code == Some(1) && output.is_empty() && errors.contains(says), "{url}: {code:?} {errors}");
    }
    let serve = start(&[]);
    for (args, says) in [
        (["--header", "no colon"], "NAME: VALUE"),
        (["--header", "Host: x"], "only the engine may write"),
        (["--subprotocol", "a b"], "not a token"),
        (["--ping", "0"], "above 0"),
    ] {
        let (code, _, errors) = Talk::start(&url(serve.addr()), &args).ended();
        assert!(code != Some(0) && errors.contains(says), "{args:?}: {errors}");
    }
}

#[test]
fn ping_keeps_a_silent_server_company() {
    let (url, server) = scripted(|mut stream, head| {
        stream.write_all(switching(head, "").as_bytes()).unwrap();
        let mut ping = [0; 6];
        stream.read_exact(&mut ping).expect("a ping");
        assert_eq!(ping[..2], [0x89, 0x80], "a masked ping");
        let _ = patiently(|| stream.read(&mut [0; 100])); // no pong: it hangs up
    });
    let mut talk = Talk::start(&url, &["--ping", "0.1"]);
    talk.say(b""); // its input stays open
    let input = talk.input.take();
    let (code, _, errors) = talk.ended();
    drop(input);
    server.join().unwrap();
    assert_eq!(code, Some(1));
    assert!(errors.contains("silent"), "{errors}");
}

/// Lines that come while the server is away wait for it.
#[test]
fn reconnect_waits_for_the_server() {
    let (_held, addr) = refused();
    let serve = start(&["--listen", &addr.to_string()]);
    let mut talk = Talk::start(&url(addr), &["--reconnect", "--wait", "1"]);
    talk.say(b"one\n");
    assert_eq!(talk.line(), "one");
    assert_eq!(serve.stop()["messages"], 1);
    talk.say(b"two\n");
    let serve = start(&["--listen", &addr.to_string()]);
    assert_eq!(talk.line(), "two");
    let (code, output, errors) = talk.end();
    assert_eq!((code, &*output), (Some(0), ""), "{errors}");
    assert!(errors.contains("closed by the server: 1001"), "{errors}");
    assert_eq!(serve.stop()["messages"], 1);
}

/// `wsring connect ... | head -1`: that nobody reads any more is a good end.
#[test]
fn a_reader_that_leaves() {
    let serve = start(&[]);
    let command = format!("seq 1 100000 | {BIN} connect {} | head -1", url(serve.addr()));
    let output = Command::new("bash").args(["-c", &format!("set -o pipefail; {command}")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n");
    serve.stop();
}
