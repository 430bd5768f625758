//! Where comparisons are tried: contenders that are processes of this test program, and a folder for what they leave.
//!
//! A contender is a line of shell that notes its name and process id, does what the test wants, and becomes a server.

use super::*;
use clap::Parser;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;

/// In the environment of a process that a test has started: what it serves.
const SERVES: &str = "WSRING_BENCH_SERVES";
/// A command of this program that serves.
pub(super) const GOOD: &str = "epoll-echo --listen 127.0.0.1:{port}";
/// Echoes, but for one bit of the first piece that it receives of a connection. Of the first, because nobody knows how many
/// messages a short turn has.
pub(super) const LIAR: &str = "liar {port}";
/// Has a last word and dies when it has taken the first message.
pub(super) const MORTAL: &str = "mortal {port}";

/// Not a test: here begins a process that a test has started.
#[test]
#[ignore = "the server that other tests start"]
fn serve() {
    let Ok(task) = std::env::var(SERVES) else { return };
    let words: Vec<&str> = task.split(' ').collect();
    match words[..] {
        ["liar", port] => echo_but(port, |piece| piece[piece.len() - 1] ^= 1),
        ["mortal", port] => echo_but(port, |_| {
            eprintln!("\nout of luck");
            std::process::exit(3);
        }),
        _ => {
            let words = ["wsring-bench"].into_iter().chain(words);
            crate::perform(crate::Cli::try_parse_from(words).expect("a command line").task).expect("served");
        }
    }
}

/// Echoes bytes until a signal ends the process; the first piece of a connection is for `fate`.
fn echo_but(port: &str, fate: fn(&mut [u8])) {
    let echo = move |mut stream: TcpStream| {
        let mut buffer = [0; 4096];
        for nth in 0.. {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            if nth == 0 {
                fate(&mut buffer[..count]);
            }
            stream.write_all(&buffer[..count])?;
        }
        io::Result::Ok(())
    };
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("bind");
    for stream in listener.incoming().flatten() {
        // A connection's errors are the load's business.
        thread::spawn(move || echo(stream));
    }
}

/// A folder, removed in the end, whatever that is.
pub(super) struct Stage(PathBuf);

impl Stage {
    pub(super) fn new(name: &str) -> Stage {
        let folder = std::env::temp_dir().join(format!("wsring-compare-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Stage(folder)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A raw echo that notes its start, then does what the shell is told by `first`, then becomes what `serves` says.
    pub(super) fn contender(&self, name: &str, first: &str, serves: &str) -> Contender {
        let (folder, program) = (self.0.display(), std::env::current_exe().expect("this program"));
        let script = format!(
            "cd '{folder}' || exit; echo {name} $$ >> starts; {first} exec env '{SERVES}={serves}' '{}' \
             --exact compare::tests::stage::serve --ignored --nocapture --test-threads=1",
            program.display()
        );
        let command = ["sh".to_owned(), "-c".to_owned(), script].into();
        let (name, version) = (name.to_owned(), String::new());
        Contender { name, version, commands: vec![(Way::Plain, command)], raw: true, missing: None }
    }

    /// Who has been started so far, in order: name and process id.
    pub(super) fn starts(&self) -> Vec<(String, u32)> {
        let text = fs::read_to_string(self.path("starts")).unwrap_or_default();
        let start = |line: &str| {
            let (name, pid) = line.split_once(' ').expect("a name and an id");
            (name.to_owned(), pid.parse().expect("an id"))
        };
        text.lines().map(start).collect()
    }

    /// The names alone.
    pub(super) fn order(&self) -> String {
        self.starts().into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a process is there and not merely waiting to be taken notice of (proc(5), stat).
pub(super) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// The shortest turns that there are: at least one message is waited for in each.
pub(super) fn plan(cells: &str, rounds: usize, contenders: Vec<Contender>) -> Plan {
    let cores = core_affinity::get_core_ids().expect("cores");
    Plan {
        cells: cells.split(',').map(|cell| cell.parse().expect("a cell")).collect(),
        rounds,
        measured: Duration::from_millis(10),
        warmup: Duration::ZERO,
        contenders,
        server_core: cores[0].id,
        load_core: cores[cores.len() - 1].id,
        offer: String::new(),
        bodies: Bodies::Discarded,
        patience: Patience::Sleep,
        command: String::new(),
    }
}

/// Runs `plan` to its end.
pub(super) fn run_all(plan: &Plan) -> Run {
    run(plan, &AtomicBool::new(false), &mut |_, _| {}).expect("a machine that can be read")
}

/// How many turns each has in a cell.
pub(super) fn counts(cell: &results::Cell) -> Vec<usize> {
    cell.turns.iter().map(Vec::len).collect()
}
