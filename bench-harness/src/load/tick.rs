//! A game that tells its players of each tick: what `wsring serve --demo game` speaks.
//!
//! Owns the players, and what each tick has shown. Promises that a tick which comes twice, or behind a later one, ends the run; that
//! ticks passed over are counted; and that lateness is measured beside the server's own word. Refuses to know what happens in the game.
//!
//! Each player sends an input every ten ticks, so that a server has some to gather.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::STALL;
use super::course::on_conn;
use super::plan::{Edge, OnEdge, Outcome, histogram};
use super::texts::{self, Said, Texts, wrong};
use crate::dial::Target;
use crate::net::{Event, Keep, Net, Patience};
use crate::proc;

/// A player sends an input in one tick of so many.
const INPUT_EVERY: u64 = 10;
/// Ticks that are kept until all have them. One that somebody passes over falls out in the end.
const OPEN_MAX: usize = 256;
const TURN: Duration = Duration::from_millis(10);

/// What is played.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server; each player has a path of its own.
    pub target: Target,
    /// Players.
    pub players: usize,
    /// Ticks a second.
    pub hz: u32,
    /// Time before counting begins.
    pub warmup: Duration,
    /// Time that is counted.
    pub measured: Duration,
}

/// What a run has shown beside its [`Outcome`], whose latencies are those of the last player of each tick behind the first.
pub struct Shown {
    /// Ticks of the counted time.
    pub ticks: u64,
    /// Messages of a player for each of them.
    pub each: f64,
    /// Receives for each message.
    pub pieces: f64,
    /// How late the server says that each tick was, in microseconds.
    pub told_us: Histogram<u64>,
    /// How late each came to its first player, in nanoseconds, in a row without drift whose earliest is on time.
    pub late: Histogram<u64>,
}

/// A tick on its way to its players.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    number: u64,
    first: u64,
    last: u64,
    players: usize,
}

/// What ticks have shown.
#[derive(Debug)]
struct Ticks {
    players: usize,
    /// Those that not all have.
    open: VecDeque<Open>,
    counting: bool,
    /// Of those that count: number, and when the first player had it.
    firsts: Vec<(u64, u64)>,
    told_us: Histogram<u64>,
    skews: Histogram<u64>,
}

impl Ticks {
    fn new(players: usize) -> Ticks {
        let (open, firsts) = (VecDeque::with_capacity(OPEN_MAX), Vec::new());
        Ticks { players, open, counting: false, firsts, told_us: histogram(), skews: histogram() }
    }

    /// A player has got tick `number` at `now`.
    fn take(&mut self, number: u64, told_us: u64, now: u64) {
        let place = self.open.iter().rposition(|open| open.number <= number);
        let at = match place {
            Some(at) if self.open[at].number == number => at,
            _ => {
                let at = place.map_or(0, |at| at + 1);
                self.open.insert(at, Open { number, first: now, last: now, players: 0 });
                if self.counting {
                    self.firsts.push((number, now));
                    self.told_us.saturating_record(told_us.max(1));
                }
                at
            }
        };
        let open = &mut self.open[at];
        open.last = now;
        open.players += 1;
        if open.players == self.players {
            if self.counting {
                self.skews.saturating_record((open.last - open.first).max(1));
            }
            self.open.remove(at);
        } else if self.open.len() > OPEN_MAX {
            self.open.pop_front();
        }
    }
}

/// How late each of these (number, time) is in a row of `period` nanoseconds whose earliest is on time.
fn lateness(firsts: &[(u64, u64)], period: f64) -> Histogram<u64> {
    let offset = |&(number, at): &(u64, u64)| at as f64 - number as f64 * period;
    let earliest = firsts.iter().map(offset).fold(f64::INFINITY, f64::min);
    let mut late = histogram();
    firsts.iter().for_each(|first| late.saturating_record((offset(first) - earliest).max(1.0) as u64));
    late
}

/// `{"tick":T,"late_us":L,"players":...`
fn tick(text: &[u8]) -> Option<(u64, u64)> {
    fn number<'a>(text: &'a [u8], before: &[u8]) -> Option<(u64, &'a [u8])> {
        let text = text.strip_prefix(before)?;
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
        Some((number, &text[digits..]))
    }
    let (tick, rest) = number(text, b"{\"tick\":")?;
    let (late_us, rest) = number(rest, b",\"late_us\":")?;
    (rest.starts_with(b",\"players\":") && rest.ends_with(b"}")).then_some((tick, late_us))
}

#[derive(Debug, Default)]
struct Player {
    texts: Texts,
    /// The last tick that it got.
    last: Option<u64>,
    sending: bool,
}

struct Load<'a> {
    net: Net<'a>,
    input_len: usize,
    players: Vec<Player>,
    ticks: Ticks,
    messages: u64,
    bytes: u64,
    pieces: u64,
}

/// Runs `plan`. Whatever is not as it must be ends the run with an error that names the player.
pub fn run(plan: &Plan, on_edge: OnEdge<'_>) -> io::Result<(Outcome, Shown)> {
    if plan.players == 0 || plan.hz == 0 {
        return Err(io::Error::new(ErrorKind::InvalidInput, "one player and one tick a second at least"));
    }
    let input = texts::text(r#"{"input":{"dx":1}}"#);
    let join = |nth: usize| {
        let stream = plan
            .target
            .at_path(&format!("/game?name=p{nth}"))
            .speaking_first()
            .dial(nth)
            .map_err(|error| on_conn(nth, error))?;
        stream.tcp.set_nonblocking(true)?;
        Ok(stream)
    };
    let streams = (0..plan.players).map(join).collect::<io::Result<Vec<_>>>()?;
    let net = Net::new(streams, &input, Patience::Poll, Keep::All)?;
    let players = (0..plan.players).map(|_| Player::default()).collect();
    let ticks = Ticks::new(plan.players);
    let mut load = Load { net, input_len: input.len(), players, ticks, messages: 0, bytes: 0, pieces: 0 };
    let begun = Instant::now();
    load.turn_until(|load| begun.elapsed() >= plan.warmup && load.players.iter().all(|player| player.last.is_some()))?;

    on_edge(Edge::Begin)?;
    load.ticks.counting = true;
    let (messages, bytes, pieces, idle) = (load.messages, load.bytes, load.pieces, load.net.idle());
    let (begun, cpu) = (Instant::now(), proc::thread_cpu()?);
    let lasts: u64 = load.lasts();
    load.turn_until(|load| begun.elapsed() >= plan.measured && !load.ticks.skews.is_empty())?;
    let seconds = begun.elapsed().as_secs_f64();
    let client_cpu = proc::thread_cpu()? - cpu;
    on_edge(Edge::End)?;
    let messages_in_all = load.messages;
    let (messages, reply_bytes) = (load.messages - messages, load.bytes - bytes);
    let shown = Shown {
        ticks: load.ticks.firsts.len() as u64,
        // What the players' numbers have gone on by is what there was for them.
        each: messages as f64 / (load.lasts() - lasts) as f64,
        pieces: (load.pieces - pieces) as f64 / messages as f64,
        told_us: load.ticks.told_us.clone(),
        late: lateness(&load.ticks.firsts, 1e9 / f64::from(plan.hz)),
    };
    let (latencies, client_idle) = (load.ticks.skews.clone(), load.net.idle() - idle);
    crate::dial::say_goodbye(load.net.into_streams(), plan.target.echo());
    Ok((Outcome { messages, reply_bytes, seconds, latencies, client_cpu, client_idle, messages_in_all }, shown))
}

impl Load<'_> {
    /// The sum of the players' ticks.
    fn lasts(&self) -> u64 {
        self.players.iter().filter_map(|player| player.last).sum()
    }

    fn turn_until(&mut self, done: impl Fn(&Self) -> bool) -> io::Result<()> {
        let (mut last, mut messages) = (Instant::now(), self.messages);
        while !done(self) {
            self.turn()?;
            if self.messages > messages {
                (last, messages) = (Instant::now(), self.messages);
            } else if last.elapsed() > STALL {
                return Err(io::Error::new(ErrorKind::TimedOut, format!("no tick for {STALL:?}")));
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        self.net.wait(TURN)?;
        while let Some(event) = self.net.next() {
            match event {
                Event::Received(conn, piece) => {
                    let now = proc::monotonic_nanos();
                    self.pieces += 1;
                    let Load { net, players, ticks, messages, bytes, .. } = self;
                    let player = &mut players[conn];
                    let mut has_input = false;
                    let last = &mut player.last;
                    let taken = player.texts.feed(net.bytes(piece), |said| {
                        let Said::Message(text) = said else { return Ok(()) };
                        let Some((number, late_us)) = tick(text) else {
                            let text = String::from_utf8_lossy(&text[..text.len().min(200)]);
                            return Err(wrong(format!("the server said {text:?}")));
                        };
                        if let Some(before) = *last
                            && number <= before
                        {
                            return Err(wrong(format!("tick {number} came after tick {before}")));
                        }
                        *last = Some(number);
                        *messages += 1;
                        *bytes += text.len() as u64;
                        ticks.take(number, late_us, now);
                        has_input |= (number + conn as u64).is_multiple_of(INPUT_EVERY);
                        Ok(())
                    });
                    net.release(piece);
                    taken.map_err(|error| on_conn(conn, error))?;
                    if has_input && !player.sending {
                        player.sending = true;
                        net.send(conn, 0, self.input_len);
                    }
                }
                Event::Sent(conn, sent) if sent == self.input_len => self.players[conn].sending = false,
                Event::Sent(conn, _) => {
                    return Err(on_conn(
                        conn,
                        io::Error::new(ErrorKind::WriteZero, "the server does not read its inputs"),
                    ));
                }
                Event::Ended(conn, error) => return Err(on_conn(conn, error)),
                Event::Head(..) | Event::Discarded(..) => unreachable!("all is kept"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_read_by_its_first_fields() {
        assert_eq!(tick(br#"{"tick":7,"late_us":31,"players":{"a":{"inputs":1}}}"#), Some((7, 31)));
        for bad in [
            "",
            "{}",
            r#"{"tick":7,"players":{}}"#,
            r#"{"tick":x,"late_us":1,"players":{}}"#,
            r#"{"tick":7,"late_us":31,"players":"#,
        ] {
            assert_eq!(tick(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_skew_is_from_the_first_player_to_the_last() {
        let mut ticks = Ticks::new(3);
        ticks.counting = true;
        // One player is a tick behind the others.
        for (number, at) in [(1, 1000), (1, 1500), (2, 11_000), (1, 11_200), (2, 11_900), (2, 12_000)] {
            ticks.take(number, 5, at);
        }
        assert!(ticks.open.is_empty());
        assert_eq!(ticks.firsts, [(1, 1000), (2, 11_000)]);
        assert_eq!((ticks.skews.len(), ticks.skews.min(), ticks.skews.max()), (2, 1000, 10_207));
        assert_eq!(ticks.told_us.len(), 2, "once a tick");
    }

    /// A player who passes over ticks leaves no pile of them.
    #[test]
    fn ticks_that_somebody_never_gets_fall_out() {
        let mut ticks = Ticks::new(2);
        ticks.counting = true;
        (0..2 * OPEN_MAX as u64).for_each(|number| ticks.take(number, 0, number));
        assert_eq!((ticks.open.len(), ticks.skews.len()), (OPEN_MAX, 0));
        assert_eq!(ticks.firsts.len(), 2 * OPEN_MAX);
    }

    #[test]
    fn a_drift_shows_as_lateness() {
        let on_time: Vec<_> = (0..100).map(|number| (number, 5_000 + number * 1000)).collect();
        assert!(lateness(&on_time, 1000.0).max() <= 1);
        let drifts: Vec<_> = (0..100).map(|number| (number, 5_000 + number * 1010)).collect();
        assert_eq!(lateness(&drifts, 1000.0).max(), 990);
        let one_late: Vec<_> =
            (0..100).map(|number| (number, number * 1000 + if number == 50 { 700 } else { 0 })).collect();
        let late = lateness(&one_late, 1000.0);
        assert!(late.max() == 700 && late.value_at_quantile(0.9) <= 1);
    }
}
