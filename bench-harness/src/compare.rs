//! Two servers under the same load, turn by turn.
//!
//! Owns: the order of rounds and what is measured in each. Promises: A and B alternate, each round has a fresh server, CPU
//! time is the server's own over the counted time only, and a round that others disturbed is marked, never dropped.
//! Refuses to know: how the servers work; it takes their word for nothing but the count of their system calls.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::dial::Target;
use crate::load::{self, Edge};
use crate::proc::{self, Server};
use crate::report::{self, Line, Row};

/// A round is disturbed when the server stood ready but did not run, or the hypervisor took its core or the load's, for a
/// larger part of the counted time.
const DISTURBED_SHARE: f64 = 0.03;
/// Ticks of /proc/stat a second (USER_HZ, fixed at 100 for user space).
const TICKS_PER_SECOND: f64 = 100.0;

/// A shape of load: `SIZExCONNECTIONSxDEPTH`, as in `125x64x16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Payload bytes of a message.
    pub size: usize,
    /// Connections.
    pub connections: usize,
    /// Messages in flight on each.
    pub depth: u32,
}

impl FromStr for Cell {
    type Err = String;

    fn from_str(text: &str) -> Result<Cell, String> {
        let wrong = || format!("{text:?} is not SIZExCONNECTIONSxDEPTH, as in 125x64x16");
        let mut parts = text.trim().split('x');
        let (Some(size), Some(connections), Some(depth), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let cell = Cell {
            size: size.parse().map_err(|_| wrong())?,
            connections: connections.parse().map_err(|_| wrong())?,
            depth: depth.parse().map_err(|_| wrong())?,
        };
        if cell.connections == 0 || cell.depth == 0 { Err(wrong()) } else { Ok(cell) }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.size, self.connections, self.depth)
    }
}

/// A server to measure: its name, its command, what it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// For the table.
    pub name: String,
    /// Program and arguments, with `SELF` (this program), `{dir}` (its folder), `{port}` and `{core}` still to be filled in.
    command: Vec<String>,
    /// It returns bytes as they come, without WebSocket.
    pub raw: bool,
}

impl FromStr for Contender {
    type Err = String;

    /// `NAME=COMMAND` or, for a raw echo, `NAME:raw=COMMAND`; our own `epoll-echo` is known to be raw. The command is split
    /// at blanks; there is no quoting.
    fn from_str(text: &str) -> Result<Contender, String> {
        let (name, command) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=COMMAND"))?;
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        if name.is_empty() || !command.iter().any(|word| word.contains("{port}")) {
            return Err(format!("{text:?}: a name, and a command that names {{port}}"));
        }
        let own_echo =
            command[0] == "SELF" && command.get(1).is_some_and(|word| word == "epoll-echo" || word == "ring-echo");
        let bare = name.strip_suffix(":raw");
        Ok(Contender { name: bare.unwrap_or(name).to_owned(), command, raw: bare.is_some() || own_echo })
    }
}

impl Contender {
    fn command_at(&self, own: &Path, port: u16, core: usize) -> Vec<String> {
        let folder = own.parent().unwrap_or(Path::new(".")).to_string_lossy().into_owned();
        let mut words = self.command.clone();
        if words[0] == "SELF" {
            words[0] = own.to_string_lossy().into_owned();
        }
        let fill = |word: String| {
            let word = word.replace("{dir}", &folder);
            word.replace("{port}", &port.to_string()).replace("{core}", &core.to_string())
        };
        words.into_iter().map(fill).collect()
    }
}

/// A comparison.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Shapes of load, in order.
    pub cells: Vec<Cell>,
    /// Rounds per cell; in each, A then B.
    pub rounds: usize,
    /// Counted time of each turn.
    pub measured: Duration,
    /// Time under load before it.
    pub warmup: Duration,
    /// The first server: what B is compared with.
    pub a: Contender,
    /// The second.
    pub b: Contender,
    /// Core of the servers.
    pub server_core: usize,
    /// Core of the load.
    pub load_core: usize,
    /// Compare every byte that comes back.
    pub check: bool,
    /// Where a JSON line per turn and per cell goes.
    pub json: Option<PathBuf>,
}

/// One turn of one server.
struct Turn {
    messages: u64,
    seconds: f64,
    rate: f64,
    cpu_ns: f64,
    p50_us: f64,
    p99_us: f64,
    syscalls: f64,
    client_ns: f64,
    client_busy: f64,
    wait_share: f64,
    steal_share: f64,
    disturbed: bool,
}

/// What a server and its core have used so far.
struct Meter {
    at: Instant,
    cpu: Duration,
    wait: Duration,
    steal_ticks: u64,
}

impl Meter {
    fn read(pid: u32, plan: &Plan) -> io::Result<Meter> {
        // Both ends of the counted time take this same way, so what it costs cancels.
        let wait = proc::run_queue_wait(pid)?;
        let steal_ticks = proc::steal_ticks(plan.server_core)? + proc::steal_ticks(plan.load_core)?;
        Ok(Meter { at: Instant::now(), cpu: proc::process_cpu(pid)?, wait, steal_ticks })
    }
}

/// Runs `plan`, prints a table per cell to `out`, and writes JSON lines if asked. Pins this thread to the load's core. A
/// server that does not start, or answers wrongly, ends the comparison with an error.
pub fn run(plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let own = std::env::current_exe()?;
    proc::pin_thread(plan.load_core)?;
    let mut json = plan.json.as_ref().map(File::create).transpose()?;
    let machine = report::machine();
    writeln!(
        out,
        "{machine}\nservers on core {}, load on core {}; {} alternated rounds of {:?} after {:?} of warm-up\n",
        plan.server_core, plan.load_core, plan.rounds, plan.measured, plan.warmup
    )?;
    for cell in &plan.cells {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for round in 0..plan.rounds {
            for (side, contender, turns) in [("a", &plan.a, &mut a), ("b", &plan.b, &mut b)] {
                let turn = run_turn(plan, *cell, contender, &own).map_err(|error| {
                    io::Error::new(error.kind(), format!("{cell}, round {round}, {}: {error}", contender.name))
                })?;
                if let Some(json) = &mut json {
                    let line = Line::new().text("kind", "turn").text("cell", &cell.to_string()).text("side", side);
                    let line = line.text("name", &contender.name).count("round", round as u64);
                    writeln!(json, "{}", turn.describe(line))?;
                }
                turns.push(turn);
            }
        }
        let rows = rows(&a, &b);
        let disturbed = [&a, &b].map(|turns| turns.iter().filter(|turn| turn.disturbed).count());
        let title = format!(
            "{} bytes, {} connections, {} deep; of {} turns disturbed: {} and {}",
            cell.size, cell.connections, cell.depth, plan.rounds, disturbed[0], disturbed[1]
        );
        writeln!(out, "{}", report::table(&title, &plan.a.name, &plan.b.name, &rows))?;
        if let Some(json) = &mut json {
            let line = Line::new()
                .text("kind", "cell")
                .text("cell", &cell.to_string())
                .text("machine", &machine)
                .text("a", &plan.a.name)
                .text("b", &plan.b.name)
                .count("rounds", plan.rounds as u64)
                .count("disturbed_a", disturbed[0] as u64)
                .count("disturbed_b", disturbed[1] as u64);
            writeln!(json, "{}", rows.iter().fold(line, describe_row).finish())?;
        }
    }
    Ok(())
}

/// Medians of both sides and both kinds of ratio, null where there is none.
fn describe_row(line: Line, row: &Row) -> Line {
    let [a, b] = row.spreads().map(|spread| spread.map(|spread| spread.median));
    let rounds = row.round_ratios().map(|spread| spread.median);
    let figures = [("a", a), ("b", b), ("ratio", row.ratio_of_medians()), ("round_ratio", rounds)];
    figures
        .into_iter()
        .fold(line, |line, (what, figure)| line.number(&format!("{}_{what}", row.key), figure.unwrap_or(f64::NAN)))
}

fn run_turn(plan: &Plan, cell: Cell, contender: &Contender, own: &Path) -> io::Result<Turn> {
    let port = proc::free_port()?;
    let server = Server::start(&contender.command_at(own, port, plan.server_core), plan.server_core, port)?;
    let address = format!("127.0.0.1:{port}");
    let target =
        if contender.raw { Target::raw(&address, false)? } else { Target::web(&format!("ws://{address}/"), false)? };
    let load = load::Plan {
        target,
        connections: cell.connections,
        depth: cell.depth,
        size: cell.size,
        warmup: plan.warmup,
        measured: plan.measured,
        check: plan.check,
    };
    let mut random = File::open("/dev/urandom")?;
    let mut edges = Vec::with_capacity(2);
    let outcome = load::run(&load, &mut random, &mut |_: Edge| {
        edges.push(Meter::read(server.pid(), plan)?);
        Ok(())
    })?;
    let output = server.stop()?;
    let [begin, end] = &edges[..] else { unreachable!("a run has two edges, not {}", edges.len()) };
    if outcome.messages == 0 {
        return Err(io::Error::new(ErrorKind::TimedOut, "no message ended in the counted time: give it more seconds"));
    }

    let messages = outcome.messages as f64;
    let window = (end.at - begin.at).as_secs_f64();
    let wait_share = (end.wait.saturating_sub(begin.wait)).as_secs_f64() / window;
    let steal_share = end.steal_ticks.saturating_sub(begin.steal_ticks) as f64 / TICKS_PER_SECOND / window;
    // The server's own count covers its whole life; a server that does not count messages is given ours.
    let syscalls = report::printed_count(&output, "enters").map_or(f64::NAN, |enters| {
        let all = report::printed_count(&output, "messages").unwrap_or(outcome.messages_in_all);
        enters as f64 / all as f64
    });
    let quantile_us = |quantile| outcome.round_trips.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Turn {
        messages: outcome.messages,
        seconds: outcome.seconds,
        rate: outcome.rate(),
        cpu_ns: (end.cpu - begin.cpu).as_nanos() as f64 / messages,
        p50_us: quantile_us(0.5),
        p99_us: quantile_us(0.99),
        syscalls,
        client_ns: outcome.client_cpu.as_nanos() as f64 / messages,
        client_busy: outcome.client_cpu.as_secs_f64() / outcome.seconds,
        wait_share,
        steal_share,
        disturbed: wait_share > DISTURBED_SHARE || steal_share > DISTURBED_SHARE,
    })
}

impl Turn {
    fn describe(&self, line: Line) -> String {
        line.count("messages", self.messages)
            .number("seconds", self.seconds)
            .number("messages_per_s", self.rate)
            .number("server_cpu_ns_per_message", self.cpu_ns)
            .number("round_trip_p50_us", self.p50_us)
            .number("round_trip_p99_us", self.p99_us)
            .number("syscalls_per_message", self.syscalls)
            .number("client_cpu_ns_per_message", self.client_ns)
            .number("client_busy_share", self.client_busy)
            .number("run_queue_wait_share", self.wait_share)
            .number("steal_share", self.steal_share)
            .flag("disturbed", self.disturbed)
            .finish()
    }
}

fn rows(a: &[Turn], b: &[Turn]) -> Vec<Row> {
    let row = |key, name, digits, of: fn(&Turn) -> f64| Row {
        name,
        key,
        compared: !name.ends_with('%'),
        a: a.iter().map(of).collect(),
        b: b.iter().map(of).collect(),
        digits,
    };
    vec![
        row("server_cpu_ns_per_message", "server CPU, ns/message", 0, |turn| turn.cpu_ns),
        row("messages_per_s", "messages/s", 0, |turn| turn.rate),
        row("round_trip_p50_us", "round trip p50, us", 1, |turn| turn.p50_us),
        row("round_trip_p99_us", "round trip p99, us", 1, |turn| turn.p99_us),
        row("syscalls_per_message", "syscalls/message", 4, |turn| turn.syscalls),
        row("client_cpu_ns_per_message", "client CPU, ns/message", 0, |turn| turn.client_ns),
        row("client_busy_percent", "client busy, %", 1, |turn| turn.client_busy * 100.0),
        row("server_waited_percent", "server waited, %", 1, |turn| turn.wait_share * 100.0),
        row("stolen_percent", "stolen, %", 1, |turn| turn.steal_share * 100.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read() {
        let cell = Cell { size: 125, connections: 64, depth: 16 };
        assert_eq!("125x64x16".parse(), Ok(cell));
        assert_eq!(cell.to_string(), "125x64x16");
        for bad in ["", "125", "125x64", "125x64x16x1", "125x0x1", "125x1x0", "x1x1", "-1x1x1"] {
            assert!(bad.parse::<Cell>().is_err(), "{bad}");
        }
    }

    #[test]
    fn commands_are_filled_in() {
        let echo: Contender = "epoll=SELF epoll-echo --listen 127.0.0.1:{port}".parse().expect("good");
        assert!(echo.raw, "our own echo is raw");
        let own = Path::new("/opt/tools/wsring-bench");
        let words = echo.command_at(own, 9001, 0);
        assert_eq!(words, ["/opt/tools/wsring-bench", "epoll-echo", "--listen", "127.0.0.1:9001"]);
        let ring: Contender = "ring={dir}/wsring serve --cores {core} --listen 127.0.0.1:{port}".parse().expect("good");
        assert!(!ring.raw);
        assert_eq!(ring.command_at(own, 1, 3)[..4], ["/opt/tools/wsring", "serve", "--cores", "3"]);
        let other: Contender = "x:raw=./echo {port}".parse().expect("good");
        assert_eq!((other.name.as_str(), other.raw), ("x", true));
        for bad in ["", "echo {port}", "=echo {port}", "x=echo", "x="] {
            assert!(bad.parse::<Contender>().is_err(), "{bad}");
        }
    }
}
