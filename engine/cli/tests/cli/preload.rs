//! Libraries in front of the C library. A network stack that is preloaded sees every call for a socket: a library of ours stands where Onload or VMA would (`preload.c`), and what
//! it counts is compared with what the command and its peer know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use wsring_testkit::{BINARY, Client, Folder, TEXT};

use crate::process::{BIN, Process, Serve};

/// The library, in a folder that ends with it.
pub struct Shim(Folder);

impl Shim {
    /// Of this source, which stands beside this file.
    pub fn build(source: &str) -> Shim {
        let shim = Shim(Folder::new());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(source);
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let mut built = Command::new(compiler);
        built.args(["-shared", "-fPIC", "-O1", "-o"]).arg(shim.library()).arg(source).arg("-ldl");
        let built = built.output().expect("a C compiler");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        shim
    }

    pub fn library(&self) -> PathBuf {
        self.0.path("counts.so")
    }

    /// The command with the library in front of the C library's.
    fn command(&self, report: &Path) -> Command {
        let mut command = Command::new(BIN);
        command.env("LD_PRELOAD", self.library()).env("COUNTED", report);
        command
    }
}

/// Calls and bytes, by the name of the function.
fn counted(report: &Path) -> BTreeMap<String, (u64, u64)> {
    let text = std::fs::read_to_string(report).expect("a report");
    let line = |line: &str| {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("three words").to_owned();
        let (name, calls, bytes) = (word(), word(), word());
        (name, (calls.parse().expect("a number"), bytes.parse().expect("a number")))
    };
    text.lines().map(line).collect()
}

/// Each byte that came and went, each connection, and each look at what is ready: a single one that went by the kernel alone would be missing.
#[test]
fn a_preloaded_stack_sees_every_call_for_a_socket() {
    let shim = Shim::build("preload.c");
    let report = shim.0.path("report");
    let serve = Serve::start_by(shim.command(&report), &["--ring", "epoll", "--cores", &crate::process::first_core()]);
    assert_eq!(serve.told("ring"), "epoll");
    const PEERS: u64 = 20;
    let mut peers: Vec<Client> = (0..PEERS).map(|_| Client::open(serve.addr(), "/")).collect();
    for peer in &mut peers {
        peer.echo(TEXT, b"short");
        peer.echo(BINARY, &vec![3; 300_000]);
    }
    peers.into_iter().for_each(Client::close);
    let stats = serve.stop();
    let seen = counted(&report);
    println!("{seen:?}");
    assert_eq!((stats["accepted"], stats["messages"]), (PEERS, 2 * PEERS));
    assert_eq!(seen["recv"].1, stats["bytes_in"], "bytes that came");
    assert_eq!(seen["send"].1, stats["bytes_out"], "bytes that went");
    assert!(seen["accept4"].0 >= PEERS && seen["epoll_ctl"].0 >= PEERS, "{seen:?}");
    assert!(seen["epoll_wait"].0 >= 2 * PEERS, "{seen:?}");
    for once in ["socket", "bind", "listen", "epoll_create1"] {
        assert_eq!(seen[once].0, 1, "{once}");
    }
    for never in ["accept", "recvfrom", "recvmsg", "sendto", "sendmsg"] {
        assert_eq!(seen[never].0, 0, "{never}");
    }
    // All that the ring has done by itself: what is counted here, and the little that is of no socket and no epoll, the timer's.
    let calls: u64 = ["accept4", "recv", "send", "epoll_ctl", "epoll_wait"].iter().map(|name| seen[*name].0).sum();
    assert!(calls <= stats["enters"] + 10, "{calls} calls of {}", stats["enters"]);
}

/// The same of a connection that is dialled.
#[test]
fn a_preloaded_stack_sees_what_a_client_does() {
    let shim = Shim::build("preload.c");
    let (report, other) = (shim.0.path("report"), shim.0.path("other"));
    let serve = Serve::start_by(shim.command(&other), &["--ring", "epoll"]);
    let url = format!("ws://{}/", serve.addr());
    let ended = Process::start(shim.command(&report).args(["connect", &url, "--ring", "epoll", "--wait", "0"])).end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let stats = serve.stop();
    let seen = counted(&report);
    assert_eq!((stats["opened"], seen["connect"].0), (1, 1), "{seen:?}");
    assert_eq!((seen["send"].1, seen["recv"].1), (stats["bytes_in"], stats["bytes_out"]));
}
