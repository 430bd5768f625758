//! LISTEN_FDS: sockets that whoever started it has opened, as systemd does; and what systemd is told (NOTIFY_SOCKET).

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

use wsring_testkit::{CLOSE, Client, Folder, TEXT, WAIT, bounded, tcp};

use crate::process::{BIN, Process, Serve};

/// Opens sockets as its arguments say (an address and port, or a path), up to `--`, and becomes the program behind that, which finds them as systemd(1) leaves them.
const LAUNCHER: &str = r#"
import os, socket, sys
end = sys.argv.index("--")
names, sockets = [], []
for number, place in enumerate(sys.argv[1:end]):
    if place.startswith("datagram"):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    elif "/" in place:
        opened = socket.socket(socket.AF_UNIX)
        opened.bind(place)
        opened.listen(10)
    else:
        host, port = place.rsplit(":", 1)
        opened = socket.socket()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, int(port)))
        opened.listen(10)
    opened.setblocking(False)
    sockets.append(os.dup(opened.fileno() + 0))
    names.append("place%d" % number)
for number, fd in enumerate(sockets):
    os.dup2(fd, 100 + number)
for number in range(len(sockets)):
    os.dup2(100 + number, 3 + number, inheritable=True)
os.environ.update(LISTEN_FDS=str(len(sockets)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=":".join(names))
os.execv(sys.argv[end + 1], sys.argv[end + 1:])
"#;

fn launched(places: &[&str]) -> Option<Command> {
    if Command::new("python3").arg("-c").arg("").status().is_err() {
        println!("skipped: no python3 here");
        return None;
    }
    let mut command = Command::new("python3");
    command.args(["-c", LAUNCHER]).args(places).args(["--", BIN]);
    Some(command)
}

/// A process that serves what it was given, and its start line.
fn served(mut command: Command, options: &[&str]) -> (Process, String) {
    let process = Process::start(command.arg("serve").args(options));
    let line = process.line();
    let line = line.expect("a start line");
    (process, line)
}

/// What listens where systemd does.
struct Manager {
    folder: Folder,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = Folder::new();
        let socket = UnixDatagram::bind(folder.path("notify")).expect("nobody is there");
        socket.set_read_timeout(Some(WAIT)).expect("a timeout");
        Self { folder, socket }
    }

    /// The command, which knows where that is.
    fn command(&self) -> Command {
        let mut command = Command::new(BIN);
        command.env("NOTIFY_SOCKET", self.folder.path("notify"));
        command
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 1000];
        let len = self.socket.recv(&mut bytes).expect("it is told");
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }
}

/// Instead of the address that it would listen on by itself, and beside those that are named. Their files are not its own.
#[test]
fn it_serves_the_sockets_that_it_is_given() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let place = path.to_str().expect("UTF-8");
    for (ring, options) in [("uring", &[][..]), ("epoll", &["--listen", "127.0.0.1:0"])] {
        let Some(command) = launched(&["127.0.0.1:0", place]) else { return };
        let (process, line) = served(command, &[&["--ring", ring], options].concat());
        assert!(line.contains(&format!(" unix:{place} ")) && !line.contains(":9001"), "{line}");
        let urls: Vec<SocketAddr> =
            line.split(' ').filter_map(|word| word.strip_prefix("ws://")?.strip_suffix('/')?.parse().ok()).collect();
        assert_eq!(urls.len(), 1 + options.len() / 2, "{line}");
        for addr in urls {
            for _ in 0..5 {
                Client::open(addr, "/").echo(TEXT, b"given");
            }
        }
        let stream = UnixStream::connect(&path).expect("it listens");
        stream.set_read_timeout(Some(WAIT)).expect("a timeout");
        crate::handover::visit_over(stream);
        process.signal("TERM");
        let ended = process.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(path.exists(), "who made the file removes it");
        std::fs::remove_file(&path).expect("it is there");
    }
}

/// What is no listening socket of a stream, and numbers that make no sense.
#[test]
fn what_it_cannot_serve_is_named() {
    let Some(mut command) = launched(&["datagram"]) else { return };
    let ended = Process::start(command.arg("serve")).end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.errors.contains("cannot listen on descriptor 3 of LISTEN_FDS (place0): it is no socket of a stream"),
        "{ended:?}"
    );
    // Another process's.
    let mut other = Command::new(BIN);
    other.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let serve = Serve::start_by(other, &[]);
    serve.stop();
}

/// systemd's own.
#[test]
fn systemd_activates_it() {
    let Ok(version) = Command::new("systemd-socket-activate").arg("--version").output() else {
        println!("skipped: no systemd-socket-activate here");
        return;
    };
    assert!(version.status.success());
    // A port that is free: it was a moment ago.
    let addr = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--listen", &addr.to_string(), BIN, "serve"]);
    let process = Process::start(&mut command);
    // It is started by the first who connects, who waits in the queue meanwhile.
    let stream =
        std::iter::repeat_with(|| std::net::TcpStream::connect(addr)).find_map(Result::ok).expect("at some time");
    bounded(&stream);
    crate::handover::visit_over(stream);
    let line = process.line().expect("a start line");
    assert!(line.contains(&format!("listening on ws://{addr}/ | ")), "{line}");
    Client::open(addr, "/").echo(TEXT, b"and another");
    process.signal("TERM");
    assert_eq!(process.end().code, Some(0));
}

/// Restarted again and again by whoever keeps the sockets: who connects meanwhile waits, and is served.
#[test]
fn nobody_is_refused_while_it_is_restarted() {
    /// Opens a socket, and has the program behind its arguments serve it, again each time that it ends, until its own input does.
    const KEEPER: &str = r#"
import os, socket, subprocess, sys, threading
opened = socket.create_server(("127.0.0.1", 0))
os.dup2(opened.fileno(), 100)
print("port", opened.getsockname()[1], flush=True)
def run():
    os.dup2(100, 3, inheritable=True)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = "1"
for line in sys.stdin:
    child = subprocess.Popen(sys.argv[1:], preexec_fn=run, close_fds=False, stdout=subprocess.PIPE)
    print("started", child.pid, child.stdout.readline().decode().strip(), flush=True)
    sys.stdin.readline()
    child.terminate()
    child.stdout.read()
    print("ended", child.wait(), flush=True)
"#;
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;
    let keeper =
        Command::new("python3").args(["-c", KEEPER, BIN, "serve"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut keeper) = keeper else {
        println!("skipped: no python3 here");
        return;
    };
    let (mut orders, mut lines) =
        (keeper.stdin.take().expect("piped"), BufReader::new(keeper.stdout.take().expect("piped")).lines());
    let mut line = |wanted: &str| {
        let line = lines.next().expect("it goes on").expect("text");
        assert!(line.starts_with(wanted), "{line}");
        line
    };
    let port: u16 = line("port ").rsplit(' ').next().and_then(|port| port.parse().ok()).expect("a port");
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let over = std::sync::atomic::AtomicBool::new(false);
    let ends = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut ends = Vec::new();
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                ends.push(crate::handover::visit_once(tcp(addr)));
            }
            ends
        });
        for _ in 0..3 {
            writeln!(orders, "start").expect("it reads");
            line("started ");
            let mut here = Client::open(addr, "/");
            here.echo(TEXT, b"up");
            writeln!(orders, "stop").expect("it reads");
            here.expect_close();
            drop(here);
            line("ended 0");
        }
        writeln!(orders, "start").expect("it reads");
        line("started ");
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let ends = client.join().expect("nobody is refused or reset");
        writeln!(orders, "stop").expect("it reads");
        line("ended 0");
        ends
    });
    drop(orders);
    keeper.wait().expect("it ends");
    // A request that was being read when the stop came is answered 503, by a server that is stopping.
    assert!(ends.iter().all(|end| ["served", "1001", "503"].contains(&&**end)), "{ends:?}");
    assert!(ends.iter().any(|end| end == "served"), "{ends:?}");
}

/// sd_notify(3): it is ready, and stops.
#[test]
fn systemd_is_told_how_far_it_is() {
    let manager = Manager::new();
    let serve = Serve::start_by(manager.command(), &[]);
    assert_eq!(manager.hear(), format!("READY=1\nMAINPID={}\n", serve.id()));
    serve.signal("TERM");
    assert_eq!(manager.hear(), "STOPPING=1\n");
    serve.ended_well();
    std::fs::remove_file(manager.folder.path("notify")).expect("it is there");
    let mut command = manager.command();
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let process = Process::start(&mut command);
    assert!(process.line().is_some(), "it serves all the same");
    process.signal("TERM");
    let ended = process.end();
    assert!(ended.code == Some(0) && ended.errors.contains("NOTIFY_SOCKET"), "{ended:?}");
}

/// Of two processes of a service the one that has been taken over from does not say that the service stops, although it hears a signal while it drains.
#[test]
fn who_has_been_taken_over_from_does_not_say_that_the_service_stops() {
    let manager = Manager::new();
    let start = || {
        let handover = manager.folder.text("handover");
        let serve = Serve::start_by(manager.command(), &["--handover", &handover, "--drain", "600"]);
        assert_eq!(manager.hear(), format!("READY=1\nMAINPID={}\n", serve.id()));
        serve
    };
    let first = start();
    let mut client = Client::connect(first.addr());
    client.echo(TEXT, b"it drains as long as this one is there");
    let sockets = first.sockets_open();
    let second = start();
    // It has left its places when it knows.
    while first.sockets_open() >= sockets {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Since it has been taken over from, a signal is its second word.
    first.signal("INT");
    assert_eq!(client.expect_close().0, 1001);
    client.send(CLOSE, &1001_u16.to_be_bytes());
    let ended = first.into_process().end();
    assert!(ended.code == Some(0) && ended.lines.iter().any(|line| line.contains("handed over to")), "{ended:?}");
    second.signal("INT");
    assert_eq!(manager.hear(), "STOPPING=1\n", "the first that is said so, by the second");
    second.ended_well();
    manager.socket.set_nonblocking(true).expect("a socket");
    assert!(manager.socket.recv(&mut [0; 10]).is_err(), "nobody else has said anything");
}
