//! What a comparison has measured, before anybody draws or prints it.
//!
//! Owns: the figures and their names, the turns, the cells. Promises: nothing is dropped: a disturbed turn keeps its mark, a
//! contender that is missing or failed keeps its reason. Refuses to know: how a figure was come by, and how it is shown.

use hdrhistogram::Histogram;

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Less of it.
    Lower,
    /// More of it.
    Higher,
    /// It describes the run, not the server: no ratio is drawn from it.
    Neither,
}

/// One kind of figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// In JSON.
    pub key: &'static str,
    /// For people, unit last.
    pub name: &'static str,
    /// Digits after the point.
    pub digits: usize,
    /// Which way it is better.
    pub better: Better,
}

macro_rules! figures {
    ($($(#[$doc:meta])* $id:ident $key:literal $name:literal $digits:literal $better:ident;)*) => {
        $($(#[$doc])* pub const $id: Figure =
            Figure { key: $key, name: $name, digits: $digits, better: Better::$better };)*
        /// Every figure, in the order of tables.
        pub const ALL: &[Figure] = &[$($id),*];
    };
}

figures! {
    /// CPU time of the server's process, all threads, over the counted time.
    CPU "server_cpu_ns_per_message" "server CPU, ns/message" 0 Lower;
    /// Messages answered; for fan-out, messages delivered; for connecting, connections opened and closed.
    RATE "messages_per_s" "messages/s" 0 Higher;
    /// Payload of a reply as it travels, where servers compress: what their CPU time has bought.
    TRAVELS "payload_bytes_per_reply" "payload bytes/reply" 0 Lower;
    /// Round trips, or the time from the intended send.
    P50 "latency_p50_us" "latency p50, us" 1 Lower;
    /// As above.
    P90 "latency_p90_us" "latency p90, us" 1 Lower;
    /// As above.
    P99 "latency_p99_us" "latency p99, us" 1 Lower;
    /// As above.
    P999 "latency_p999_us" "latency p99.9, us" 1 Lower;
    /// As above.
    P9999 "latency_p9999_us" "latency p99.99, us" 1 Lower;
    /// As above.
    MAX "latency_max_us" "latency max, us" 1 Lower;
    /// The same of the same connections in the same turn, without those that disturb them: slow readers, a noisy neighbour.
    ALONE_P50 "alone_p50_us" "p50 alone, us" 1 Lower;
    /// As above.
    ALONE_P99 "alone_p99_us" "p99 alone, us" 1 Lower;
    /// As above.
    ALONE_P999 "alone_p999_us" "p99.9 alone, us" 1 Lower;
    /// [`P50`] / [`ALONE_P50`], and so on.
    TIMES_P50 "disturbed_p50_ratio" "p50 disturbed / alone" 2 Lower;
    /// As above.
    TIMES_P99 "disturbed_p99_ratio" "p99 disturbed / alone" 2 Lower;
    /// As above.
    TIMES_P999 "disturbed_p999_ratio" "p99.9 disturbed / alone" 2 Lower;
    /// Updates that a feed's server published.
    PUBLISHED "published_per_s" "updates published/s" 0 Higher;
    /// Of what slow readers read, from publishing to reading.
    AGE_P50 "slow_age_p50_ms" "age read by the slow, p50, ms" 0 Lower;
    /// As above.
    AGE_MAX "slow_age_max_ms" "age read by the slow, max, ms" 0 Lower;
    /// What of the greatest age of any slow reader the bytes in its two sockets do not account for, at its rate.
    AGE_BEYOND "slow_age_beyond_sockets_ms" "age beyond sockets, max, ms" 0 Lower;
    /// Updates of all readers that another took the place of, when the counted time was over, for each that was published.
    CONFLATED "conflated_percent" "conflated, %" 1 Neither;
    /// Resident memory of the server's process when the counted time was over.
    RSS_THEN "rss_bytes" "RSS, bytes" 0 Lower;
    /// What that of a turn with slow readers is more than that of the one without.
    RSS_MORE "rss_more_bytes" "RSS for the slow, bytes" 0 Lower;
    /// CPU time of the server's process for each tick of a game.
    TICK_CPU "server_cpu_us_per_tick" "server CPU, us/tick" 1 Lower;
    /// Ticks that a player got for each that there was: 1, or some were passed over.
    TICKS "messages_per_player_and_tick" "messages/player and tick" 5 Higher;
    /// Times that a player's socket had something for each message: 1 if each tick leaves in one send.
    PIECES "receives_per_message" "receives/message" 4 Lower;
    /// How late the server says that its ticks were.
    TOLD_P50 "told_late_p50_us" "late by its own word, p50, us" 0 Lower;
    /// As above.
    TOLD_P99 "told_late_p99_us" "late by its own word, p99, us" 0 Lower;
    /// Of the first player, how much later than in a row without drift whose earliest is on time.
    LATE_P50 "late_p50_us" "first player late, p50, us" 1 Lower;
    /// As above.
    LATE_P99 "late_p99_us" "first player late, p99, us" 1 Lower;
    /// From the first player's message of a tick to the last player's.
    SKEW_P50 "skew_p50_us" "skew p50, us" 1 Lower;
    /// As above.
    SKEW_P99 "skew_p99_us" "skew p99, us" 1 Lower;
    /// What a noisy neighbour got rid of: how much a server let it have.
    NOISE "neighbour_bytes_per_s" "neighbour, bytes/s" 0 Neither;
    /// How late the load itself may have looked at what had come.
    LOAD_LATE "load_late_p99_us" "load late, p99, us" 1 Neither;
    /// System calls as the server counts them itself.
    SYSCALLS "syscalls_per_message" "syscalls/message" 4 Lower;
    /// Resident memory of the server's process for each connection at rest.
    RSS "rss_bytes_per_connection" "RSS, bytes/connection" 0 Lower;
    /// Kernel memory (slab) of the whole machine for each connection at rest, both ends of it.
    KERNEL "kernel_bytes_per_connection" "kernel, bytes/connection" 0 Lower;
    /// Resident memory of the server's process after its warm-up, before the connections that rest: what [`RSS`] counts from.
    RSS_BEFORE "rss_before_bytes" "RSS before, bytes" 0 Lower;
    /// The same with all connections at rest.
    RSS_AT_REST "rss_at_rest_bytes" "RSS with all at rest, bytes" 0 Lower;
    /// CPU time of the load's thread.
    CLIENT_CPU "client_cpu_ns_per_message" "client CPU, ns/message" 0 Neither;
    /// How much of the counted time the load's thread ran.
    CLIENT_BUSY "client_busy_percent" "client busy, %" 1 Neither;
    /// How much of the counted time the server's threads ran.
    SERVER_BUSY "server_busy_percent" "server busy, %" 1 Neither;
    /// How long the server was ready to run and had no core.
    WAITED "server_waited_percent" "server waited, %" 1 Neither;
    /// What the hypervisor took from the two cores.
    STOLEN "stolen_percent" "stolen, %" 1 Neither;
}

/// One turn of one contender in one cell.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// By [`Figure::key`]; a figure that was not measured is not there.
    figures: Vec<(&'static str, f64)>,
    /// All latencies of the turn, in nanoseconds.
    pub latencies: Option<Histogram<u64>>,
    /// Why the turn is to be read with care, if it is.
    pub disturbed: Option<String>,
}

impl Turn {
    /// Notes a figure; one that is no number is left out.
    pub fn note(&mut self, figure: Figure, value: f64) {
        if value.is_finite() {
            self.figures.push((figure.key, value));
        }
    }

    /// The figure, if it was measured.
    pub fn figure(&self, figure: Figure) -> Option<f64> {
        self.figures.iter().find(|(key, _)| *key == figure.key).map(|(_, value)| *value)
    }
}

/// A server that is compared, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// For tables.
    pub name: String,
    /// Its version, as far as it is known.
    pub version: String,
    /// As it was started, with its port still open: for whoever repeats it.
    pub command: String,
    /// It returns bytes as they come, without WebSocket: a baseline, not a peer.
    pub raw: bool,
    /// Why it takes no part, if it does not.
    pub missing: Option<String>,
}

/// The turns of all contenders under one shape of load.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Short name, as on the command line: `125x64x16`.
    pub id: String,
    /// In words: `125 bytes, 64 connections, 16 in flight`.
    pub title: String,
    /// The figure that decides this cell: [`CPU`] for most.
    pub main: Figure,
    /// By contender, in the order of [`Run::contenders`]; a round that failed leaves no turn.
    pub turns: Vec<Vec<Turn>>,
    /// By contender: why it has no (more) turns in this cell.
    pub failures: Vec<Option<String>>,
    /// By contender: why it was not asked to take part in this cell.
    pub left_out: Vec<Option<String>>,
}

/// A whole comparison.
#[derive(Clone, Debug)]
pub struct Run {
    /// Date and time it began, UTC, `2026-01-31 12:00`.
    pub began: String,
    /// The machine, as (name, value): processor, kernel, mitigations, governor, virtualisation...
    pub machine: Vec<(String, String)>,
    /// What a reader should know: shared cores, a governor that is not performance, a noisy box, an early end.
    pub warnings: Vec<String>,
    /// The command line.
    pub command: String,
    /// Rounds planned for each cell.
    pub rounds: usize,
    /// Who was compared.
    pub contenders: Vec<Contender>,
    /// In order; the last may be unfinished.
    pub cells: Vec<Cell>,
}

/// The middle of some samples, and how far they spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median; of an even number, the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many samples there were.
    pub count: usize,
}

impl Spread {
    /// Of `samples`; none if there are none.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = samples.into_iter().filter(|sample| sample.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
        Some(Spread { median, min, max, count: sorted.len() })
    }
}

impl Cell {
    /// A figure of one contender over its turns.
    pub fn spread(&self, contender: usize, figure: Figure) -> Option<Spread> {
        Spread::of(self.turns[contender].iter().filter_map(|turn| turn.figure(figure)))
    }

    /// The ratios of `contender` to `base`, round by round, which cancels what drifts slowly; none for a figure that says
    /// nothing of the server, and none from a round where either is not above zero: memory is the difference of two readings
    /// and can come out as nothing or less, and of such a pair nobody needs "so many times" the other.
    pub fn ratio(&self, contender: usize, base: usize, figure: Figure) -> Option<Spread> {
        if figure.better == Better::Neither {
            return None;
        }
        let above_zero = |turn: &Turn| turn.figure(figure).filter(|value| *value > 0.0);
        let pairs = self.turns[contender].iter().zip(&self.turns[base]);
        Spread::of(pairs.filter_map(|(turn, base)| Some(above_zero(turn)? / above_zero(base)?)))
    }

    /// How many turns of a contender are marked.
    pub fn disturbed(&self, contender: usize) -> usize {
        self.turns[contender].iter().filter(|turn| turn.disturbed.is_some()).count()
    }

    /// All latencies of a contender in this cell, over its turns.
    pub fn latencies(&self, contender: usize) -> Option<Histogram<u64>> {
        let mut turns = self.turns[contender].iter().filter_map(|turn| turn.latencies.as_ref());
        let mut sum = turns.next()?.clone();
        for turn in turns {
            sum.add(turn).ok()?;
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(cpu: f64) -> Turn {
        let mut turn = Turn::default();
        turn.note(CPU, cpu);
        turn.note(CLIENT_BUSY, cpu);
        turn.note(RATE, f64::NAN);
        turn
    }

    #[test]
    fn medians_and_ratios() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0, count: 3 }));
        assert_eq!(Spread::of([4.0, 1.0, f64::NAN, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of([]), None);
        let cell = Cell {
            id: "1x1x1".into(),
            title: String::new(),
            main: CPU,
            turns: vec![[10.0, 20.0, 40.0].map(turn).into(), [5.0, 20.0].map(turn).into(), vec![]],
            failures: vec![None; 3],
            left_out: vec![None; 3],
        };
        assert_eq!(cell.ratio(1, 0, CPU), Some(Spread { median: 0.75, min: 0.5, max: 1.0, count: 2 }));
        assert_eq!(cell.spread(0, CPU).map(|spread| spread.median), Some(20.0));
        assert_eq!((cell.ratio(1, 0, CLIENT_BUSY), cell.ratio(2, 0, CPU), cell.spread(0, RATE)), (None, None, None));
    }

    #[test]
    fn a_ratio_needs_two_figures_above_zero() {
        let cell = Cell {
            id: "idle".into(),
            title: String::new(),
            main: CPU,
            turns: vec![
                [10.0, 0.0, 10.0, -10.0, 10.0].map(turn).into(),
                [20.0, 20.0, -20.0, -20.0, 40.0].map(turn).into(),
                [-1.0, 0.0].map(turn).into(),
            ],
            failures: vec![None; 3],
            left_out: vec![None; 3],
        };
        assert_eq!(cell.ratio(1, 0, CPU), Some(Spread { median: 3.0, min: 2.0, max: 4.0, count: 2 }));
        assert_eq!((cell.ratio(2, 0, CPU), cell.ratio(0, 2, CPU)), (None, None));
        assert_eq!(cell.spread(2, CPU).map(|spread| spread.median), Some(-0.5), "the figure itself is shown as it is");
    }

    #[test]
    fn no_two_figures_share_a_name() {
        for (at, figure) in ALL.iter().enumerate() {
            assert!(ALL[at + 1..].iter().all(|other| other.key != figure.key && other.name != figure.name));
        }
    }
}
