//! `wsring serve`: from the command line to a running server, and one line at each end of its life.
//!
//! Owns what each option means and refuses values that make no sense (exit status 2 for the command line, 1 for what
//! the machine cannot do). Knows nothing of messages: see `echo` and `demo`.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wsring::{
    Config, CoreInfo, Cpu, Deflate, Feature, Features, ForwardedField, Handler, Handover, HeadLimits, Limits,
    ListenFds, Listener, OriginList, Origins, Policy, Prefix, PrefixError, ProxyProtocol, RingKind, Server, Stats,
    map_long_buffers,
};

use crate::demo::chat::{self, Chat};
use crate::demo::feed::{self, Feed};
use crate::demo::game::{self, Game};
use crate::demo::{self, Demo};
use crate::echo::{Echo, INBOX_HIGH, Room};
use crate::operator::{self, Certificate, say};
use crate::seconds::{seconds, seconds_above_zero};
use crate::signals;

/// Microseconds to poll before sleeping, unless told otherwise: measured, see `docs/decisions/0016-polling-follows-messages.md`.
const SPIN_US: u32 = 50;
/// Bytes queued for a connection above which it is not read from; and beyond which nothing more is queued, if messages are short.
const OUTPUT_HIGH: u32 = 1 << 20;
const OUTPUT_MAX: u32 = 20 << 20;
/// Buffers so long and longer go back to the system as soon as they are freed, whatever the C library would keep.
const MAPPED_FROM: usize = 1 << 20;
/// What a browser sends for a page without an origin.
const NO_ORIGIN: &str = "null";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on, or unix: and the path of a socket; may be given several times [default: 127.0.0.1:9001, or the sockets that systemd
    /// has opened for it (LISTEN_FDS)].
    #[arg(long, value_name = "ADDR", value_parser = place)]
    listen: Vec<Place>,
    /// Take over from the server that is at this Unix-domain socket, if one is, without a connection being refused or reset; and hand over there to the next.
    #[arg(long, value_name = "PATH")]
    handover: Option<PathBuf>,
    /// Take the ports for this process alone: a second server that is started by mistake, here or there, fails instead of sharing the connections.
    #[arg(long)]
    exclusive: bool,
    /// Take IPv4 as well at `[::]`.
    #[arg(long)]
    ipv4_too: bool,
    /// Who may connect to Unix-domain sockets: the mode of their files, in octal [default: what the umask leaves].
    #[arg(long, value_name = "MODE", value_parser = mode)]
    unix_mode: Option<u32>,
    /// Require a PROXY header (version 1 or 2) in front of each connection: whom it names is the client. Let nobody but your proxies connect then.
    #[arg(long)]
    proxy_protocol: bool,
    /// Network of proxies that name their clients in their requests, such as 10.0.0.0/8, or `unix` for whoever connects to Unix-domain sockets; may
    /// be given several times.
    #[arg(long, value_name = "PREFIX", requires = "forwarded_field", value_parser = forwarder)]
    trust_forwarded: Vec<Forwarder>,
    /// The header field that those proxies write; what it says in another is the client's to choose.
    #[arg(long, value_name = "FIELD", requires = "trust_forwarded", value_parser = ["x-forwarded-for", "forwarded"], ignore_case = true)]
    forwarded_field: Option<String>,
    /// Connections per core from one network, which is an IPv4 address or 64 bits of an IPv6 address; one more is closed [default: any number].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_per_network: Option<u32>,
    /// Cores to run on, one thread each [default: the process's affinity mask, or as many of it as its control group's CPU quota could keep
    /// busy].
    #[arg(long, value_name = "N,N...", value_delimiter = ',', value_parser = core_number)]
    cores: Option<Vec<Cpu>>,
    /// Pin each thread to its core [default: unless no cores are named and a CPU quota leaves less than the affinity mask].
    #[arg(long, conflicts_with = "no_pin")]
    pin: bool,
    /// Let the threads run on any core of the affinity mask.
    #[arg(long)]
    no_pin: bool,
    /// Microseconds to poll rather than sleep after a message, at most a second; 0 sleeps at once.
    #[arg(long, value_name = "N", default_value_t = SPIN_US, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    spin_us: u32,
    /// Longest message accepted, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, value_parser = clap::value_parser!(u32).range(1..=1 << 29))]
    max_message: u32,
    /// Connections per core; one more is answered 503 [default: what the descriptor limit allows].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_048_512))]
    max_connections: Option<u32>,
    /// Bytes that all peers of a core together may have it keep: above 3/4 of that new ones are answered 503, above it those that hold
    /// most are closed [default: half of what the process may use beyond 16 MiB, shared by the cores].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1 << 20..))]
    memory_max: Option<u64>,
    /// Seconds of silence after which a peer is pinged, and cut if it stays silent as long again (1 to 10 s); 0 never.
    #[arg(long, value_name = "SECS", default_value_t = 60.0, value_parser = seconds)]
    idle_timeout: f64,
    /// Seconds in which a message that has begun must be whole, and as long again for each 16 KiB that came in time; 0 never closes.
    #[arg(long, value_name = "SECS", default_value_t = 30.0, value_parser = seconds)]
    message_timeout: f64,
    /// Seconds that a connection has for its request head, and for the TLS handshake before it.
    #[arg(long, value_name = "SECS", default_value_t = 10.0, value_parser = seconds_above_zero)]
    handshake_timeout: f64,
    /// Longest request head, in bytes; longer ones are answered 431.
    #[arg(long, value_name = "BYTES", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(128..=1 << 20))]
    max_head: u32,
    /// Most headers of a request; more are answered 431.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..=128))]
    max_headers: u8,
    /// Origin that may connect, such as https://example.com; may be given several times [default: any].
    ///
    /// `file://` and `null`, which browsers send for pages of no site, can be listed too; any page can be `null`. Clients that
    /// send no Origin, which no browser does, may connect as well.
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    origin: Vec<String>,
    /// Subprotocol to offer, most preferred first; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = subprotocol)]
    subprotocol: Vec<String>,
    /// Speak TLS (wss://) with the certificate in this file, in PEM, and those behind it that sign it. SIGHUP reads both files again.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM and not encrypted.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Compression (permessage-deflate, RFC 7692): `shared` has one compressor a core, which costs connections no memory,
    /// `dedicated` one a connection, which finds in a message what earlier ones held.
    #[arg(long, value_name = "MODE", default_value = "off", value_parser = ["off", "shared", "dedicated"])]
    deflate: String,
    /// Send messages of fewer bytes plain [default: 512 shared, 64 dedicated].
    #[arg(long, value_name = "BYTES")]
    deflate_threshold: Option<u32>,
    /// 1 is fastest, 9 smallest; at 1 KiB of JSON, shared: 1 takes 4.5 us and 2 takes 7 us for 3/4 of the
    /// bytes [default: 1].
    #[arg(long, value_name = "1-9", value_parser = clap::value_parser!(u8).range(1..=9))]
    deflate_level: Option<u8>,
    /// What the cores do their sockets' work by: `uring` is io_uring or fails to start, `epoll` works where io_uring is forbidden, `auto`
    /// is the first that can be had.
    #[arg(long, value_name = "RING", default_value = "auto", value_parser = ["auto", "uring", "epoll"])]
    ring: String,
    /// Kernel feature to do without; may be given several times.
    #[arg(long, value_name = "FEATURE", value_parser = str::parse::<Feature>)]
    without: Vec<Feature>,
    #[command(flatten)]
    signals: signals::Args,
    #[command(flatten)]
    demo: demo::Args,
}

/// Where to listen.
#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

fn place(text: &str) -> Result<Place, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err("unix: and the path of a socket, such as unix:/run/wsring.socket".to_owned()),
        Some(path) => Ok(Place::Unix(path.into())),
        None => text.parse().map(Place::Tcp).map_err(|_| {
            "an IP address and a port, such as 127.0.0.1:9001 or [::1]:9001, or unix: and the path of a socket"
                .to_owned()
        }),
    }
}

fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "a mode in octal, such as 660".to_owned())
}

/// Whose word is taken for whom a request comes.
#[derive(Clone, Debug)]
enum Forwarder {
    Network(Prefix),
    Unix,
}

fn forwarder(text: &str) -> Result<Forwarder, String> {
    match text {
        "unix" => Ok(Forwarder::Unix),
        _ => text.parse().map(Forwarder::Network).map_err(|error: PrefixError| error.to_string()),
    }
}

/// A listener at this place.
fn listener(args: &Args, place: &Place) -> Listener {
    match place {
        Place::Tcp(addr) => Listener::tcp(addr).exclusive(args.exclusive).ipv4_too(args.ipv4_too),
        Place::Unix(path) => args.unix_mode.into_iter().fold(Listener::unix(path), Listener::mode),
    }
}

/// The same with what the options say of whoever connects.
fn set(args: &Args, listener: Listener) -> Listener {
    let listener = if args.proxy_protocol { listener.proxy(ProxyProtocol::Required) } else { listener };
    let trusts_files = args.trust_forwarded.iter().any(|forwarder| matches!(forwarder, Forwarder::Unix));
    let networks = args.trust_forwarded.iter().filter_map(|forwarder| match forwarder {
        Forwarder::Network(network) => Some(*network),
        Forwarder::Unix => None,
    });
    let field = match args.forwarded_field.as_deref() {
        Some(field) if field.eq_ignore_ascii_case("forwarded") => ForwardedField::Forwarded,
        Some(_) => ForwardedField::XForwardedFor,
        None => return listener,
    };
    if listener.is_unix() && !trusts_files {
        return listener;
    }
    listener.trust_forwarded(field, networks)
}

/// All listeners: those that systemd has opened, and those that are named; bound, or taken over.
fn bind(args: &Args, given: ListenFds) -> Result<Server, wsring::Error> {
    let is_default = args.listen.is_empty() && given.is_empty();
    let default = Place::Tcp(SocketAddr::from(([127, 0, 0, 1], 9001)));
    let named = args.listen.iter().chain(is_default.then_some(&default)).map(|place| listener(args, place));
    let mut listeners =
        given.into_iter().map(|(_, listener)| listener).chain(named).map(|listener| set(args, listener));
    let server = match &args.handover {
        Some(path) => {
            let handover = args.signals.drain_after_handover().into_iter().fold(Handover::at(path), Handover::drain);
            Server::take_over(handover)?
        }
        None => Server::listen(listeners.next().expect("there is a default"))?,
    };
    listeners.try_fold(server, Server::and_listen)
}

fn core_number(text: &str) -> Result<Cpu, String> {
    text.trim()
        .parse()
        .map(Cpu::new)
        .map_err(|_| "the number of a core, as in taskset(1); several are separated by commas".to_owned())
}

/// Of the option --ring.
pub(crate) fn ring(name: &str) -> Option<RingKind> {
    name.parse().ok() // `auto` is none
}

/// An origin, or what stands for none (RFC 6454 §7.1).
fn origin(text: &str) -> Result<String, String> {
    match text {
        NO_ORIGIN => Ok(text.to_owned()),
        _ => OriginList::new([text]).map(|_| text.to_owned()).map_err(|error| error.to_string()),
    }
}

/// RFC 6455 §4.1 item 10: a token of RFC 2616 §2.2. Nothing else can be offered, so nothing else could ever match.
fn subprotocol(text: &str) -> Result<String, String> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match !text.is_empty() && text.bytes().all(is_token) {
        true => Ok(text.to_owned()),
        false => Err("letters, digits and !#$%&'*+-.^_`|~, without blanks or commas".to_owned()),
    }
}

pub(crate) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    if let Some(cores) = &args.cores {
        let mut seen = BTreeSet::new();
        if let Some(twice) = cores.iter().find(|&&core| !seen.insert(core)) {
            return Err(format!("--cores names core {twice} twice: each runs one thread").into());
        }
    }
    let given = ListenFds::from_env()?; // before there are threads
    let _ = map_long_buffers(MAPPED_FROM); // where the C library is another, it need not be told
    let demo = args.demo.demo();
    let (config, certificate) = config(&args)?;
    let mut server = bind(&args, given)?;
    let one_core = demo.filter(|demo| matches!(demo, Demo::Game | Demo::Chat));
    match (&args.cores, one_core) {
        (Some(cores), Some(demo)) if cores.len() != 1 => {
            return Err(format!("the demo {demo} runs on one core: name one with --cores").into());
        }
        (Some(cores), _) => server = server.cores(cores.iter().copied()),
        (None, Some(_)) => server = server.cores_max(1),
        (None, None) => {}
    }
    let scheme = if args.tls_cert.is_some() { "wss" } else { "ws" };
    let signals = &args.signals;
    match demo {
        None => {
            let room = Arc::new(Room::new(INBOX_HIGH));
            serve(server.config(config), scheme, (signals, certificate), move |core| Echo::new(core, Arc::clone(&room)))
        }
        Some(Demo::Feed) => {
            let (keys, rate) = (args.demo.keys(), args.demo.rate());
            serve(server.config(feed::config(config, keys)), scheme, (signals, certificate), move |core| {
                Feed::new(&core, keys, rate)
            })
        }
        Some(Demo::Game) => {
            serve(server.config(game::config(config, args.demo.hz())), scheme, (signals, certificate), |_| Game::new())
        }
        Some(Demo::Chat) => {
            serve(server.config(chat::config(config)), scheme, (signals, certificate), |_| Chat::default())
        }
    }
}

/// Serves until a signal, and says so at both ends.
fn serve<H: Handler>(
    server: Server,
    scheme: &str,
    (signals, certificate): (&signals::Args, Option<Certificate>),
    make: impl Fn(CoreInfo<H::Mail>) -> H + Send + Sync + 'static,
) -> Result<(), Box<dyn Error>> {
    let signalled = operator::hear(certificate)?;
    let running = server.start(make)?;
    signalled.end_by(signals.on(running.handle()), running.successor());
    let urls = running.local_addrs().iter().map(|addr| format!("{scheme}://{addr}/"));
    let paths = running.local_paths().iter().map(|path| format!("unix:{}", path.display()));
    let places: Vec<String> = urls.chain(paths).collect();
    let cores: Vec<String> = running.cores().iter().map(Cpu::to_string).collect();
    let cores = if running.is_pinned() { cores.join(",") } else { format!("{}, not pinned", cores.len()) };
    let given_up: Vec<String> = running.given_up().iter().map(ToString::to_string).collect();
    let given_up = if given_up.is_empty() { String::new() } else { format!(" | gave up {}", given_up.join("; ")) };
    let before = running.predecessor().map_or_else(String::new, |pid| format!(" | took over from {pid}"));
    let before = match running.unclaimed() {
        [] => before,
        places => format!("{before} | closed {}", places.join(" ")),
    };
    say(&format!(
        "listening on {} | cores {cores} | connections {} a core | memory {} MiB a core | ring {} | features {}{before}{given_up}",
        places.join(" "),
        running.connections_max(),
        running.memory_max() >> 20,
        running.ring(),
        running.features()
    ));
    operator::tell_ready();
    let (mut total, successor) = (Stats::default(), running.successor());
    running.join()?.into_iter().for_each(|stats| total += stats);
    if let Some(pid) = successor.pid() {
        say(&format!("handed over to {pid}"));
    }
    if let Some(report) = total.drain_report() {
        say(&format!("drained | {report}"));
    }
    say(&format!("stopped | {total}"));
    Ok(())
}

fn config(args: &Args) -> Result<(Config, Option<Certificate>), Box<dyn Error>> {
    let max_message = args.demo.demo().map_or(args.max_message, |_| args.max_message.min(demo::MESSAGE_MAX));
    let longest = u64::from(max_message);
    // An echo of the longest message must fit behind what may be queued already; a broadcast, behind one that long.
    let output_max_bytes = (2 * max_message + OUTPUT_HIGH + (1 << 20)).clamp(OUTPUT_MAX, 1 << 30);
    let mut policy = Policy::default().subprotocols(&args.subprotocol);
    if !args.origin.is_empty() {
        let origins = args.origin.iter().filter(|&text| text != NO_ORIGIN);
        let null = args.origin.iter().any(|text| text == NO_ORIGIN);
        policy = policy.origins(Origins::List(OriginList::new(origins)?)).allow_null_origin(null);
    }
    let features = args.without.iter().fold(Features::all(), |features, &feature| features.without(feature));
    let mut config = Config::default()
        .connections_max(args.max_connections)
        .crowd_max(args.max_per_network)
        .head_limits(HeadLimits::default().bytes_max(args.max_head as usize).headers_max(args.max_headers.into()))
        .limits(Limits::default().frame_max_bytes(longest).message_max_bytes(longest))
        .policy(policy)
        .deflate(deflate(args)?)
        .memory_max_bytes(args.memory_max.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)))
        .output_high_bytes(OUTPUT_HIGH)
        .output_max_bytes(output_max_bytes)
        .handshake_timeout(Duration::from_secs_f64(args.handshake_timeout))
        .idle_timeout(None)
        .message_timeout((args.message_timeout > 0.0).then(|| Duration::from_secs_f64(args.message_timeout)))
        .spin(Duration::from_micros(args.spin_us.into()))
        .ring(ring(&args.ring))
        .pinned(match (args.pin, args.no_pin) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        })
        .features(features);
    if args.idle_timeout > 0.0 {
        let idle = Duration::from_secs_f64(args.idle_timeout);
        config = config.idle_timeout(idle).pong_timeout(idle.clamp(Duration::from_secs(1), Duration::from_secs(10)));
    }
    let certificate = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(Certificate::read(certificate.clone(), key.clone())?),
        _ => None,
    };
    if let Some(certificate) = &certificate {
        config = config.tls(certificate.tls.clone());
    }
    Ok((config, certificate))
}

fn deflate(args: &Args) -> Result<Deflate, &'static str> {
    let mut deflate = match &*args.deflate {
        "shared" => Deflate::shared(),
        "dedicated" => Deflate::dedicated(),
        _ if args.deflate_threshold.is_some() || args.deflate_level.is_some() => {
            return Err("--deflate-threshold and --deflate-level need --deflate shared or dedicated");
        }
        _ => Deflate::off(),
    };
    if let Some(level) = args.deflate_level {
        deflate = deflate.level(level);
    }
    if let Some(bytes) = args.deflate_threshold {
        deflate = deflate.threshold_bytes(bytes);
    }
    Ok(deflate)
}
