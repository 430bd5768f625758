//! How long mail takes from another thread to a core of wsring, and how much of it a core takes.
//!
//! Owns: the core, the sender, and the table that is printed. Promises: in the measured pings one letter at a time is on its way. Refuses to know: how a
//! core is woken.

use std::io::{self, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use wsring::{Client, Config, CoreCx, Cx, Handle, Handler, MailError, Message, Place};

#[derive(Args)]
pub struct MailArgs {
    /// The CPU of the core that gets mail.
    #[arg(long, default_value_t = 0)]
    core: u16,
    /// The CPU of the thread that sends it.
    #[arg(long, default_value_t = 1)]
    from: usize,
    /// Letters, one at a time, of each measurement.
    #[arg(long, default_value_t = 20_000)]
    pings: u64,
    /// Letters as fast as they are taken.
    #[arg(long, default_value_t = 10_000_000)]
    flood: u64,
}

enum Letter {
    /// When it was sent.
    Ping(Instant),
    Count(u64),
    Stop,
}

/// Writes down how long letters took, and counts.
struct Taker {
    times: Histogram<u64>,
    taken: Arc<AtomicU64>,
    next: u64,
    says: &'static str,
}

impl Handler for Taker {
    type Conn = ();
    type Mail = Letter;

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}

    fn on_mail(&mut self, cx: &mut CoreCx<'_, Self>, letter: Letter) {
        match letter {
            Letter::Ping(at) => self.times.saturating_record(at.elapsed().as_nanos() as u64),
            Letter::Count(number) => {
                assert_eq!(number, self.next, "a letter is lost or out of order");
                self.next += 1;
            }
            Letter::Stop => {
                let at = |quantile| self.times.value_at_quantile(quantile) as f64 / 1000.0;
                if !self.times.is_empty() {
                    println!("{:<22} {:>8.2} {:>8.2} {:>8.2}", self.says, at(0.5), at(0.99), at(0.999));
                }
                return cx.stop_core();
            }
        }
        self.taken.fetch_add(1, Ordering::Release);
    }
}

/// Sends until it is taken.
fn insist(handle: &Handle<Letter>, mut letter: Letter) {
    while let Err(error) = handle.mail(Place::new(0), letter) {
        letter = match error {
            MailError::Full(letter) => letter,
            _ => panic!("the core has gone"),
        };
        std::hint::spin_loop();
    }
}

/// A core that polls for so long, and `send` in another thread, which ends with what it has to say.
fn with_core(
    args: &MailArgs,
    spin: Duration,
    says: &'static str,
    send: impl FnOnce(&Handle<Letter>, &AtomicU64),
) -> io::Result<()> {
    let taken = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&taken);
    let running = Client::new().cores([args.core]).config(Config::default().spin(spin)).start(move |_| Taker {
        times: Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("up to a minute, three digits"),
        taken: Arc::clone(&counts),
        next: 0,
        says,
    });
    let running = running.map_err(Error::other)?;
    let handle = running.handle();
    send(&handle, &taken);
    insist(&handle, Letter::Stop);
    running.join().map_err(Error::other)?;
    Ok(())
}

/// One letter at a time, each so long behind the arrival of the last.
fn pings(handle: &Handle<Letter>, taken: &AtomicU64, count: u64, pause: Duration) {
    for number in 1..=count {
        let last = Instant::now();
        if pause > Duration::from_micros(100) {
            std::thread::sleep(pause);
        }
        while last.elapsed() < pause {
            std::hint::spin_loop();
        }
        insist(handle, Letter::Ping(Instant::now()));
        while taken.load(Ordering::Acquire) < number {
            std::hint::spin_loop();
        }
    }
}

/// Measures and prints.
pub fn measure(args: &MailArgs) -> io::Result<()> {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: args.from }) {
        return Err(Error::other(format!("cannot run on CPU {}", args.from)));
    }
    println!("{:<22} {:>8} {:>8} {:>8}", "one way, us", "p50", "p99", "p99.9");
    let (busy, idle) = (Duration::from_micros(2), Duration::from_micros(200));
    let spin = Duration::from_secs(1);
    with_core(args, spin, "to a core that polls", |handle, taken| pings(handle, taken, args.pings, busy))?;
    let few = args.pings / 10;
    with_core(args, Duration::ZERO, "to a core that sleeps", |handle, taken| pings(handle, taken, few, idle))?;
    let began = Instant::now();
    with_core(args, spin, "flood", |handle, _| (0..args.flood).for_each(|n| insist(handle, Letter::Count(n))))?;
    println!(
        "{} letters in a row: {:.0} ns each",
        args.flood,
        began.elapsed().as_nanos() as f64 / args.flood.max(1) as f64
    );
    Ok(())
}
