//! `wsring serve`: echo, health and broadcast, on the public API alone.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use wsring::http::{HeaderValue, StatusCode, header};
use wsring::{
    CloseReason, Config, ConnId, CoreCx, Cx, Feature, Handle, Handler, Limits, Message, OriginList, Origins, Request,
    Response, Server, Stats, Verdict,
};

/// Microseconds to poll before sleeping, unless told otherwise: measured, see `docs/decisions.md`.
const SPIN_US: u32 = 50;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; may be given several times.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001")]
    listen: Vec<SocketAddr>,
    /// Cores to run on, one thread each [default: the process's affinity mask].
    #[arg(long, value_name = "N,N...", value_delimiter = ',')]
    cores: Option<Vec<usize>>,
    /// Microseconds to poll for traffic before sleeping; 0 sleeps at once.
    #[arg(long, value_name = "N", default_value_t = SPIN_US)]
    spin_us: u32,
    /// Longest message accepted, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, value_parser = clap::value_parser!(u32).range(1..=1 << 29))]
    max_message: u32,
    /// Connections per core; one more is answered 503 [default: what the descriptor limit allows].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// Seconds of silence after which a peer is pinged; 0 never.
    #[arg(long, value_name = "SECS", default_value_t = 60.0, value_parser = seconds)]
    idle_timeout: f64,
    /// Seconds that a connection has for its request head.
    #[arg(long, value_name = "SECS", default_value_t = 10.0, value_parser = seconds)]
    handshake_timeout: f64,
    /// Origin that may connect, such as https://example.com; may be given several times [default: any].
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,
    /// Subprotocol to offer, most preferred first; may be given several times.
    #[arg(long, value_name = "NAME")]
    subprotocol: Vec<String>,
    /// Kernel feature to do without; may be given several times.
    #[arg(long, value_name = "FEATURE", value_parser = str::parse::<Feature>)]
    without: Vec<Feature>,
}

/// A number of seconds from 0 to a year.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(secs) if (0.0..=31_536_000.0).contains(&secs) => Ok(secs),
        _ => Err("a number of seconds from 0 to 31536000".to_owned()),
    }
}

pub(crate) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let addrs: Vec<SocketAddr> = args.listen.clone();
    let (cores, config) = (args.cores.clone(), config(args)?);
    let mut server = Server::bind(addrs.as_slice())?.config(config);
    if let Some(cores) = cores {
        server = server.cores(cores);
    }
    let shared = Arc::new(Shared { inboxes: (0..256).map(|_| Mutex::default()).collect(), handle: OnceLock::new() });
    let for_cores = Arc::clone(&shared);
    let running = server.start(move |core| Echo { core, shared: Arc::clone(&for_cores), members: BTreeSet::new() })?;
    // Only this thread sets it, and nothing is broadcast to another core before.
    let _ = shared.handle.set(running.handle());
    running.stop_on_signals()?;
    let urls: Vec<String> = running.local_addrs().iter().map(|addr| format!("ws://{addr}/")).collect();
    let cores: Vec<String> = running.cores().iter().map(usize::to_string).collect();
    println!("wsring: listening on {} | cores {} | features {}", urls.join(" "), cores.join(","), running.features());
    let mut total = Stats::default();
    running.join()?.into_iter().for_each(|stats| total += stats);
    println!("wsring: stopped | {total}");
    Ok(())
}

fn config(args: Args) -> Result<Config, Box<dyn Error>> {
    let mut config = Config::default();
    let message_max = u64::from(args.max_message);
    config.limits = Limits { frame_max: message_max, message_max, fragments_max: 262_144 };
    // An echo of the longest message must fit behind what may be queued already.
    config.output_max = config.output_max.max(args.max_message + config.output_high + (1 << 20));
    config.spin_us = args.spin_us;
    config.connections_max = args.max_connections.unwrap_or(config.connections_max);
    config.idle_timeout = (args.idle_timeout > 0.0).then(|| Duration::from_secs_f64(args.idle_timeout));
    config.handshake_timeout = Duration::from_secs_f64(args.handshake_timeout);
    if !args.origin.is_empty() {
        config.policy.origins = Origins::List(OriginList::new(&args.origin)?);
    }
    config.policy.subprotocols = args.subprotocol;
    for feature in args.without {
        config.features = config.features.without(feature);
    }
    Ok(config)
}

/// A broadcast message on its way to another core.
struct Post {
    text: bool,
    bytes: Vec<u8>,
}

/// What the cores share, for `/bcast` alone.
struct Shared {
    /// One for each core.
    inboxes: Vec<Mutex<Vec<Arc<Post>>>>,
    handle: OnceLock<Handle>,
}

struct Echo {
    core: usize,
    shared: Arc<Shared>,
    /// This core's connections on `/bcast`.
    members: BTreeSet<ConnId>,
}

/// What a connection's messages are for.
enum Room {
    Echo,
    Broadcast,
}

impl Echo {
    /// A copy for every other core.
    fn post(&self, message: Message<'_>) {
        let Some(handle) = self.shared.handle.get() else { return };
        if handle.cores() < 2 {
            return;
        }
        let post = Arc::new(Post { text: matches!(message, Message::Text(_)), bytes: message.as_bytes().to_vec() });
        for core in (0..handle.cores()).filter(|&core| core != self.core) {
            self.shared.inboxes[core].lock().expect("no thread panics with an inbox").push(Arc::clone(&post));
            handle.wake(core);
        }
    }

    fn broadcast(&self, cx: &mut CoreCx<'_, Self>, message: Message<'_>) {
        for &member in &self.members {
            // A member whose output is at its cap misses it; `refused` in the counters says how many did.
            let _ = cx.send_to(member, message);
        }
    }
}

impl Handler for Echo {
    type Conn = Room;

    fn on_upgrade(&mut self, request: &Request<'_>) -> Verdict<Room> {
        Verdict::accept(if request.path() == "/bcast" { Room::Broadcast } else { Room::Echo })
    }

    fn on_request(&mut self, request: &Request<'_>) -> Response {
        let (status, body) = match (request.path(), request.method()) {
            ("/healthz", "GET" | "HEAD") => (StatusCode::OK, "ok\n"),
            ("/healthz", _) => (StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n"),
            _ => (StatusCode::NOT_FOUND, "a WebSocket echo server: connect with ws://\n"),
        };
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        if matches!(cx.data(), Room::Broadcast) {
            self.members.insert(cx.id());
        }
    }

    #[inline]
    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        match cx.data() {
            Room::Echo => {
                // Never refused: a peer that does not read is not read from.
                let _ = cx.send(message);
            }
            Room::Broadcast => {
                self.broadcast(cx, message);
                self.post(message);
            }
        }
    }

    fn on_wake(&mut self, cx: &mut CoreCx<'_, Self>) {
        let posts = std::mem::take(&mut *self.shared.inboxes[self.core].lock().expect("no thread panics with an inbox"));
        for post in posts {
            let message = match std::str::from_utf8(&post.bytes) {
                Ok(text) if post.text => Message::Text(text),
                _ => Message::Binary(&post.bytes),
            };
            self.broadcast(cx, message);
        }
    }

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, id: ConnId, _: Room, _: &CloseReason<'_>) {
        self.members.remove(&id);
    }
}
