//! The example client against a mock of an exchange, for a thousand reconnects: each with a token of its own, none too soon, and nothing leaked.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wsring::{Client, Config, Place, Reconnect};
use wsring_testkit::WAIT;
use wsring_testkit::effort::whole_or_quick;

#[path = "../../examples/exchange.rs"]
#[allow(dead_code, reason = "its main is the example's")]
mod exchange;

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("procfs").count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

fn exchange() -> (Child, BufReader<std::process::ChildStdout>, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exchange/exchange.py");
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python 3 is there: see CONTRIBUTING.md");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("it says its port");
    let port = line.trim().strip_prefix("port ").expect("its port").to_owned();
    (child, lines, format!("127.0.0.1:{port}"))
}

/// The number of this name in the report.
fn number(report: &str, name: &str) -> u64 {
    let rest = report.split_once(&format!("\"{name}\": ")).unwrap_or_else(|| panic!("no {name} in {report}")).1;
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}

#[test]
fn a_thousand_reconnects_leak_nothing() {
    let connections = whole_or_quick(1_000, 300);
    let (mut child, mut lines, host) = exchange();
    let (before, threads_before) = (descriptors(), threads());
    let policy = Reconnect::default().wait_first(Duration::from_millis(1)).wait_max(Duration::from_millis(5));
    // Whoever is silent for longer is cut: seldom somebody who is slow, on a busy machine, which is one connection more.
    let config = Config::default().data_timeout(Duration::from_millis(200));
    let asked = host.clone();
    let running = Client::new()
        .config(config)
        .start(move |_| exchange::Feed(asked.clone(), policy, |_| {}, None))
        .expect("it starts");
    let handle = running.handle();
    let began = Instant::now();
    loop {
        let stats = handle.stats(Place::new(0), WAIT).expect("it runs");
        if stats.opened >= connections {
            break;
        }
        // The core and the one thread that asks; and the other test of this file, with a thread of its own.
        assert!(threads() <= threads_before + 4, "{} threads, and {threads_before} before", threads());
        assert!(began.elapsed() < 4 * WAIT, "{} connections in {:?}", stats.opened, began.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    handle.stop();
    let stats = running.join().expect("it ends well")[0];
    drop(child.stdin.take());
    let mut report = String::new();
    lines.read_line(&mut report).expect("it reports");
    child.wait().expect("it ends");
    assert!(report.contains("\"faults\": []"), "{report}");
    let told = |name| number(&report, name);
    assert!(told("opened") >= stats.opened && told("asked") <= told("given"), "{report}, {stats}");
    assert_eq!((stats.open, stats.connected), (0, stats.closed), "{stats}");
    assert!(stats.timeouts > 0 && told("silent") > 0 && told("resets") > 0 && told("refused") > 0, "{report}, {stats}");
    let (after, waited) = (descriptors(), Instant::now());
    // The thread that asks for tokens has it by then.
    let mut now = after;
    while now > before {
        assert!(waited.elapsed() < WAIT, "{now} descriptors, and {before} before");
        std::thread::sleep(Duration::from_millis(20));
        now = descriptors();
    }
}

/// An exchange that takes connections and says nothing costs seconds, and neither the thread nor the reconnect that waits for it.
#[test]
fn a_token_that_does_not_come_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = silent.local_addr().expect("an address").to_string();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(exchange::target(&addr).is_err()));
    assert_eq!(receiver.recv_timeout(WAIT), Ok(true));
}
