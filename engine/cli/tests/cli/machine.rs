//! Machines that allow less: io_uring forbidden, few descriptors, no locked memory. And a machine left in peace.

use std::process::Command;
use std::time::{Duration, Instant};

use wsring_testkit::{BINARY, Client, TEXT, WAIT};

use crate::boxes::{Copy, stranger, where_forbidden};
use crate::process::{BIN, Ended, Process, Serve, cores_allowed, first_core, start};

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;

/// How it ends there if it is told to use io_uring.
fn forbidden(errno: i32) -> Option<Ended> {
    let args = ["serve", "--listen", "127.0.0.1:0", "--ring", "uring"];
    Some(Process::start(where_forbidden(errno, BIN)?.args(args)).end())
}

/// It serves on epoll, says so in the line that an operator sees first, and why in another; and a client there gets through as well.
#[test]
fn where_io_uring_is_forbidden_it_works_on_epoll() {
    for (errno, why) in [(EPERM, "kernel.io_uring_disabled"), (ENOSYS, "does not exist here")] {
        let Some(command) = where_forbidden(errno, BIN) else { return };
        let serve = Serve::start_by(command, &[]);
        assert_eq!((serve.told("ring"), serve.told("features")), ("epoll", "none"));
        let mut peer = Client::open(serve.addr(), "/");
        peer.echo(TEXT, b"in spite of it");
        peer.echo(BINARY, &vec![7; 1 << 20]);
        peer.close();
        let Some(mut command) = where_forbidden(errno, BIN) else { return };
        let talk = command.args(["connect", &format!("ws://{}/", serve.addr()), "--wait", "0.1"]);
        let ended = Process::start(talk).end(); // its input is empty
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.errors.contains("running on epoll"), "{ended:?}");
        let (stats, errors) = serve.stop_and_tell();
        assert_eq!((stats["opened"], stats["messages"]), (2, 2));
        assert!(errors.contains("WARN") && errors.contains("running on epoll") && errors.contains(why), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[test]
fn where_io_uring_is_forbidden_it_names_the_knobs() {
    let Some(ended) = forbidden(EPERM) else { return };
    assert!(ended.code == Some(1) && ended.lines.is_empty(), "{ended:?}");
    for word in ["io_uring is forbidden", "kernel.io_uring_disabled", "seccomp", "io_uring_setup"] {
        assert!(ended.errors.contains(word), "no {word}: {}", ended.errors);
    }
    assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
}

#[test]
fn where_io_uring_is_hidden_it_says_so() {
    let Some(ended) = forbidden(ENOSYS) else { return };
    assert!(ended.code == Some(1) && ended.lines.is_empty(), "{ended:?}");
    for word in ["does not exist here", "CONFIG_IO_URING", "seccomp"] {
        assert!(ended.errors.contains(word), "no {word}: {}", ended.errors);
    }
}

/// A shell that lowers a limit for good, then becomes the command.
fn limited(ulimit: &str, program: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {ulimit} && exec \"$@\""), "sh"]).args(program);
    shell
}

/// A ring's table of sockets is checked against RLIMIT_NOFILE; 64 slots are for those who are told 503.
#[test]
fn the_connection_cap_stays_within_the_descriptor_limit() {
    let (core, shell) = (first_core(), || limited("-n 256", &[BIN]));
    // The default is what the limit allows: exactly that many connections open.
    let serve = Serve::start_by(shell(), &["--cores", &core]);
    let mut peers: Vec<Client> = (0..192).map(|_| Client::open(serve.addr(), "/")).collect();
    peers.iter_mut().for_each(|peer| peer.echo(TEXT, b"in"));
    assert_eq!(Client::try_open(serve.addr(), "/", &[]).expect_err("one more").status, 503);
    drop(peers);
    assert_eq!(serve.told("gave"), "up connections (192 a core, because the limit on descriptors is 256: ulimit -n)");
    let (stats, errors) = serve.stop_and_tell();
    assert_eq!(stats["messages"], 192);
    assert!(errors.contains("WARN") && errors.contains("gave up connections (192 a core"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");

    Serve::start_by(shell(), &["--cores", &core, "--max-connections", "192"]).stop();
    let mut command = shell();
    command.args(["serve", "--listen", "127.0.0.1:0", "--cores", &core, "--max-connections", "193"]);
    let ended = Process::start(&mut command).end();
    assert!(ended.code == Some(1) && ended.lines.is_empty(), "{ended:?}");
    for word in ["ulimit -n", "LimitNOFILE", "257 wanted", "the limit is 256", "lower the connection cap"] {
        assert!(ended.errors.contains(word), "no {word}: {}", ended.errors);
    }
}

/// The command as a user that is bound by the limit on locked memory, which it is set to (KiB); None with a printed
/// reason where there is no such user.
fn locked_memory(limit_kib: u32, copy: &Copy) -> Option<Command> {
    let stranger = stranger(copy)?;
    let path = copy.path().display().to_string();
    let program: Vec<&str> = stranger.iter().map(String::as_str).chain([&*path]).collect();
    Some(limited(&format!("-l {limit_kib}"), &program))
}

/// Of what it sends from nothing is registered: that was 4 MiB of locked memory, of which containers often have less.
#[test]
fn with_little_locked_memory_it_runs() {
    let copy = Copy::new();
    let Some(command) = locked_memory(2048, &copy) else { return };
    let serve = Serve::start_by(command, &["--cores", &first_core()]);
    let mut peer = Client::open(serve.addr(), "/");
    peer.echo(BINARY, &vec![5; 1 << 20]);
    peer.close();
    assert_eq!(serve.stop()["messages"], 1);
}

/// Of what the kernel counts as locked memory a ring takes what there is: 200 KiB by default, and 12 KiB at least. Kernels that do not count it
/// leave it as it is.
#[test]
fn rings_fit_into_little_locked_memory() {
    let copy = Copy::new();
    let cores = cores_allowed().into_iter().take(2).map(|core| core.to_string()).collect::<Vec<_>>().join(",");
    for limit_kib in [64, 32] {
        let Some(command) = locked_memory(limit_kib, &copy) else { return };
        let serve = Serve::start_by(command, &["--cores", &cores, "--ring", "uring"]);
        let mut peers: Vec<Client> = (0..100).map(|_| Client::open(serve.addr(), "/")).collect();
        // More completions at once than the smallest queue has room for: none is lost.
        for peer in &mut peers {
            (0..4).for_each(|_| peer.send(BINARY, &[7; 1000]));
        }
        for peer in &mut peers {
            (0..4).for_each(|_| peer.expect(BINARY, &[7; 1000]));
        }
        drop(peers);
        let counted = serve.start_line.contains("gave up");
        println!("{limit_kib} KiB of locked memory: {}", serve.start_line);
        let (stats, errors) = serve.stop_and_tell();
        assert_eq!(stats["messages"], 400);
        assert_eq!(errors.contains("WARN") && errors.contains("ulimit -l"), counted, "{errors}");
    }
}

/// Newer kernels count the ring itself as locked memory, older ones do not.
#[test]
fn without_locked_memory_it_names_the_limit_or_runs() {
    let copy = Copy::new();
    let Some(mut command) = locked_memory(0, &copy) else { return };
    let process = Process::start(command.args(["serve", "--listen", "127.0.0.1:0", "--cores", &first_core()]));
    match process.line() {
        Some(line) => assert!(line.starts_with("wsring: listening"), "{line}"),
        None => {
            let ended = process.end();
            assert_eq!(ended.code, Some(1), "{ended:?}");
            let helps = ["ulimit -l", "LimitMEMLOCK", "CAP_IPC_LOCK", "fewer cores", "--ring epoll"];
            for word in ["limit on locked memory is 0 bytes", "each core needs "].into_iter().chain(helps) {
                assert!(ended.errors.contains(word), "no {word}: {}", ended.errors);
            }
        }
    }
}

/// Ten idle connections cost nothing: no ring wakes, no time on a core, with the default spin time.
#[test]
fn idle_connections_cost_no_cpu() {
    let serve = start(&[]);
    let mut peers: Vec<Client> = (0..10).map(|_| Client::open(serve.addr(), "/")).collect();
    peers.iter_mut().for_each(|peer| peer.echo(TEXT, b"in"));
    let sum = || {
        let threads = serve.threads();
        (threads.iter().map(|t| t.cpu_ns).sum::<u64>(), threads.iter().map(|t| t.waits).sum::<u64>())
    };
    // At rest when it has not moved for a while.
    let since = Instant::now();
    let mut before = sum();
    while {
        std::thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut before, sum()) != before
    } {
        assert!(since.elapsed() < WAIT, "it never comes to rest");
    }
    std::thread::sleep(Duration::from_secs(2));
    let after = sum();
    let (cpu_ns, waits) = (after.0 - before.0, after.1 - before.1);
    println!("10 idle connections, 2 s: {} us of CPU, {waits} wake-ups", cpu_ns / 1000);
    assert!(cpu_ns < 20_000_000, "{cpu_ns} ns");
    assert!(waits <= 4, "{waits} wake-ups");
    peers.iter_mut().for_each(|peer| peer.echo(TEXT, b"still here"));
}
