//! `wsring connect`: lines of the input become messages, messages become lines of the output.
//!
//! Owns the command line of a client, and what is told on standard error: openings, closes with code and reason, failures, and what was
//! lost. Promises that a line is sent once and in order, that lines wait while there is no connection or it is slow (the reader then
//! waits too), and that the exit status is 0 only if nothing is known to be lost: every line was sent, every connection ended by a Close
//! that means well, and nothing came that was not printed. Standard output has messages alone, so it works in a pipe.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wsring::{
    Answered, Client, CloseCode, CloseReason, Config, ConnId, CoreCx, Cx, Deflate, DialError, DialId, Dialled, Handler,
    Limits, Message, Reconnect, SendOutcome, Target,
};

use crate::lines::{self, Begun, Input};
use crate::tls;

/// The longest message taken.
const MESSAGE_MAX: u64 = 256 << 20;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to connect to, such as ws://127.0.0.1:9001/
    url: String,
    /// Subprotocol to offer, most wanted first; may be given several times.
    #[arg(long, value_name = "NAME")]
    subprotocol: Vec<String>,
    /// Header of the request, such as 'Authorization: Bearer x'; may be given several times.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// Origin to send, as a browser would.
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// Offer compression (permessage-deflate, RFC 7692).
    #[arg(long)]
    deflate: bool,
    /// Ping the server after so many seconds of silence, and give it up if it stays silent as long again (at most 10 s).
    #[arg(long, value_name = "SECS", value_parser = crate::seconds::seconds_above_zero)]
    ping: Option<f64>,
    /// Connect again when the connection fails or is lost.
    #[arg(long)]
    reconnect: bool,
    /// Trust those who signed the certificates in this file, in PEM [default: those whom the machine trusts].
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Trust any server: whoever sits between can read along.
    #[arg(long)]
    insecure: bool,
    /// Show the server the certificate in this file, in PEM, with the chain behind it: for servers that want to know who comes.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of that certificate, in PEM, not encrypted.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Send lines as binary messages.
    #[arg(long)]
    binary: bool,
    /// What it does its socket's work by: `uring` is io_uring or fails to start, `epoll` works where io_uring is forbidden, `auto` is the
    /// first that can be had.
    #[arg(long, value_name = "RING", default_value = "auto", value_parser = ["auto", "uring", "epoll"])]
    ring: String,
    /// When the input ends, stay until nothing has come or gone for so many seconds, then close. 0: at once, whatever is still to come.
    #[arg(long, value_name = "SECS", default_value_t = 1.0, value_parser = crate::seconds::seconds)]
    wait: f64,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// What went wrong on the way has been told by then.
pub(crate) fn run(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    let target = target(&args)?;
    let config = config(&args);
    let (lines, input) = lines::channel();
    let begun = Begun::default();
    // The factory may be called once a core, and there is one core.
    let input = Arc::new(Mutex::new(Some(input)));
    let well = Arc::new(AtomicBool::new(false));
    let (told, binary, wait) = (Arc::clone(&well), args.binary, Duration::from_secs_f64(args.wait));
    let read = begun.clone();
    let running = Client::new().config(config).start(move |_| Talk {
        target: target.clone(),
        dial: None,
        input: input.lock().expect("nobody panics with it").take().expect("one core"),
        read: read.clone(),
        taken: 0,
        waiting: None,
        open: None,
        high: false,
        binary,
        wait,
        ended: false,
        moved: false,
        queued: 0,
        discarded: 0,
        lost: false,
        unread: false,
        well: Arc::clone(&told),
    })?;
    running.stop_on_signals()?;
    let handle = running.handle();
    // It may stay behind in a read from a terminal; the process ends without it.
    std::thread::Builder::new().name("lines".to_owned()).spawn(move || lines::read(&lines, &begun, &handle, wait))?;
    running.join()?;
    Ok(if well.load(Ordering::Relaxed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn target(args: &Args) -> Result<Target, Box<dyn Error>> {
    let mut target = Target::new(&args.url)?;
    for name in &args.subprotocol {
        target = target.subprotocol(name)?;
    }
    for (name, value) in &args.header {
        target = target.header(name, value)?;
    }
    if let Some(origin) = &args.origin {
        target = target.origin(origin)?;
    }
    if target.is_secure() {
        let own = args.cert.as_deref().zip(args.key.as_deref());
        target = target.tls(Arc::new(tls::client(args.ca.as_deref(), args.insecure, own)?));
    } else if args.insecure || args.ca.is_some() || args.cert.is_some() {
        return Err("--ca, --insecure, --cert and --key are for wss:// alone".into());
    }
    if args.reconnect {
        target = target.reconnect(Reconnect::default());
    }
    Ok(target)
}

fn config(args: &Args) -> Config {
    let ping = args.ping.map(Duration::from_secs_f64);
    Config::default()
        .limits(Limits::default().frame_max_bytes(MESSAGE_MAX).message_max_bytes(MESSAGE_MAX))
        .output_max_bytes(1 << 30)
        .deflate(if args.deflate { Deflate::dedicated() } else { Deflate::off() })
        .ring(super::serve::ring(&args.ring))
        .pinned(false) // many may run at once, and each would take the same core
        .idle_timeout(ping)
        .pong_timeout(ping.unwrap_or_default().clamp(Duration::from_millis(1), Duration::from_secs(10)))
}

/// The one core's handler.
struct Talk {
    target: Target,
    dial: Option<DialId>,
    input: Receiver<Input>,
    /// What has been read of it,
    read: Begun,
    /// of which so many lines were sent, or told not to be.
    taken: u64,
    /// Read, and not taken by the connection.
    waiting: Option<Vec<u8>>,
    open: Option<ConnId>,
    /// Its output is high: nothing more is sent before it is writable.
    high: bool,
    binary: bool,
    wait: Duration,
    /// The input has ended.
    ended: bool,
    /// Something came or was sent since that was last asked,
    moved: bool,
    /// and so many bytes no socket had taken then.
    queued: usize,
    /// Messages that had come behind a Close of ours when this connection opened.
    discarded: u64,
    /// Something is known to be lost.
    lost: bool,
    /// Nobody reads our output any more, so nothing can be lost.
    unread: bool,
    well: Arc<AtomicBool>,
}

impl Talk {
    /// Sends what was read, as far as the connection takes it.
    fn send_lines(&mut self, cx: &mut CoreCx<'_, Self>) {
        let Some(mut conn) = self.open.and_then(|id| cx.conn(id)) else { return };
        while !self.high {
            let line = match self.waiting.take() {
                Some(line) => line,
                None => match self.input.try_recv() {
                    Ok(Input::Line(line)) => line,
                    Ok(Input::End) => {
                        self.ended = true;
                        if self.wait.is_zero() {
                            conn.close(CloseCode::NORMAL, "");
                        }
                        continue;
                    }
                    Ok(Input::Quiet) => {
                        // Asked several times while the output was slow, it was asked once: what came since is not read yet.
                        while let Ok(Input::Quiet) = self.input.try_recv() {}
                        let before = std::mem::replace(&mut self.queued, conn.queued());
                        if !std::mem::take(&mut self.moved) && self.queued == before {
                            conn.close(CloseCode::NORMAL, "");
                        }
                        continue;
                    }
                    Err(_) => return,
                },
            };
            let message = match std::str::from_utf8(&line) {
                Ok(text) if !self.binary => Message::Text(text),
                _ if self.binary => Message::Binary(&line),
                _ => {
                    tell("a line that is not UTF-8 was not sent; --binary sends any bytes");
                    self.taken += 1;
                    continue;
                }
            };
            match conn.send(message) {
                outcome if outcome.is_queued() => {
                    self.moved = true;
                    self.high = outcome == SendOutcome::High;
                    self.taken += 1;
                }
                _ => {
                    self.waiting = Some(line);
                    return;
                }
            }
        }
    }

    fn print(&mut self, cx: &mut CoreCx<'_, Self>, message: Message<'_>) {
        self.moved = true;
        let mut out = io::stdout().lock();
        let printed = match message {
            // A terminal must not do what the server says; a pipe gets every byte.
            Message::Text(text) if out.is_terminal() => writeln!(out, "{}", Shown(text)),
            Message::Text(text) => writeln!(out, "{text}"),
            Message::Binary(bytes) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(out, "{hex}")
            }
        };
        if let Err(error) = printed.and_then(|()| out.flush()) {
            // Nobody reads any more (`wsring connect ... | head -1`): that is an end like another.
            self.unread = error.kind() == io::ErrorKind::BrokenPipe;
            if !self.unread {
                tell(&format!("cannot write to the standard output: {error}"));
                self.lost = true;
            }
            cx.stop_core();
        }
    }

    /// What the end of a connection lost, as far as that is known.
    fn tell_losses(&mut self, cx: &CoreCx<'_, Self>, id: ConnId, why: &CloseReason<'_>) {
        let (unsent, late) = (cx.unsent(id), cx.stats().discarded - self.discarded);
        if self.unread {
            return;
        }
        if unsent > 0 {
            tell(&format!("{unsent} bytes were not sent"));
            self.lost = true;
        }
        // Of a stop whoever stopped us knows, and with --wait 0 nobody wanted any.
        if late > 0 && matches!(why, CloseReason::Local { .. }) && !self.wait.is_zero() {
            tell(&format!("{late} messages came after our close and were not printed; see --wait"));
            self.lost = true;
        }
    }

    /// No other connection follows.
    fn end(&mut self, cx: &mut CoreCx<'_, Self>, well: bool) {
        let lines = self.read.lines() - self.taken;
        if lines > 0 && !self.unread {
            tell(&format!("{lines} lines of the input were read and not sent"));
            self.lost = true;
        }
        self.well.store(self.unread || well && !self.lost, Ordering::Relaxed);
        self.dial.take().into_iter().for_each(|dial| cx.abandon(dial));
        cx.stop_core();
    }
}

/// Text of the server with the characters escaped that a terminal acts upon: controls, ends of lines among them, and those
/// that change the direction of writing (UAX #9).
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let acts = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        self.0.chars().try_for_each(|c| if acts(c) { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
    }
}

fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "wsring: {line}");
}

impl Handler for Talk {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        self.dial = Some(cx.connect(self.target.clone()));
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, answered: &Answered<'_>) -> Option<()> {
        let spoken = answered.subprotocol.map(|name| format!(", subprotocol {name}")).unwrap_or_default();
        if spoken.is_empty() && !io::stderr().is_terminal() {
            return Some(());
        }
        tell(&format!("connected{spoken}"));
        Some(())
    }

    fn on_dial_failed(&mut self, cx: &mut CoreCx<'_, Self>, _: &Dialled, why: &DialError, retry: Option<Duration>) {
        match retry {
            Some(wait) => tell(&format!("{why}; again in {:.1} s", wait.as_secs_f64())),
            None => {
                tell(&why.to_string());
                if let DialError::Declined(declined) = why {
                    for (name, value) in &declined.headers {
                        tell(&format!("  {name}: {}", Shown(&String::from_utf8_lossy(value.as_bytes()))));
                    }
                    if !declined.body.is_empty() {
                        tell(&format!("  {}", String::from_utf8_lossy(&declined.body).trim_end().escape_debug()));
                    }
                }
                // Stopped while it waited for a server: as well as it was then.
                let well = matches!(why, DialError::Stopped) && self.well.load(Ordering::Relaxed);
                self.end(cx, well);
            }
        }
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        self.open = Some(cx.id());
        (self.high, self.moved, self.discarded) = (false, true, cx.stats().discarded);
        self.send_lines(cx);
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        self.print(cx, message);
    }

    fn on_writable(&mut self, cx: &mut Cx<'_, Self>) {
        self.high = false;
        self.send_lines(cx);
    }

    fn on_wake(&mut self, cx: &mut CoreCx<'_, Self>) {
        self.send_lines(cx);
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, id: ConnId, (): (), why: &CloseReason<'_>) {
        self.open = None;
        let well = match why {
            CloseReason::Peer { code, reason } => {
                let number = code.map_or(1005, CloseCode::as_u16); // RFC 6455 §7.1.5
                // A terminal must not do what the server says.
                tell(format!("closed by the server: {number} {}", Shown(reason)).trim_end());
                matches!(number, 1000 | 1001 | 1005)
            }
            CloseReason::Local { clean: true } | CloseReason::Stopped => true,
            CloseReason::Local { .. } => {
                tell("the server did not answer our close");
                false
            }
            CloseReason::Violation(violation) => {
                tell(&format!("the server broke the protocol: {} {violation}", violation.close_code()));
                false
            }
            CloseReason::Eof => {
                tell("the server ended the connection without a close (1006)");
                false
            }
            CloseReason::Timeout if cx.unsent(id) > 0 => {
                tell("the server takes nothing");
                false
            }
            CloseReason::Timeout => {
                tell("the server is silent");
                false
            }
            CloseReason::Stalled => {
                tell("the server began a message and did not finish it in time");
                false
            }
            CloseReason::Reset(errno) => {
                tell(&format!("the connection broke: {errno}"));
                false
            }
            CloseReason::Tls(error) => {
                tell(&error.to_string());
                false
            }
            _ => false,
        };
        self.lost |= !well;
        self.tell_losses(cx, id, why);
        self.well.store(well, Ordering::Relaxed);
        let again = self.target.is_redialled() && !matches!(why, CloseReason::Local { .. } | CloseReason::Stopped);
        if !again || self.ended {
            self.end(cx, well);
        }
    }
}
