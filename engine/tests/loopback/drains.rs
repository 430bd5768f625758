//! Cores that are drained, on real rings: what clients are told, what goes on meanwhile, and, as a measurement, how evenly five thousand go.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use wsring::http::StatusCode;
use wsring::{
    Answered, CloseCode, CloseReason, Config, ConnId, CoreCx, CoreState, Cx, Dialled, Drain, Handler, Message, Opening,
    Place, Response, Stats, Target, Verdict,
};

use crate::common::*;

const HOUR: Duration = Duration::from_secs(3_600);

/// Echoes, and tells health checks whether it is up.
struct Service;

impl Handler for Service {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        assert!(!cx.is_draining(), "it is asked although nobody may open");
        Verdict::accept(())
    }

    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Response {
        let mut response = Response::new(b"health\n".to_vec());
        if cx.is_draining() {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert!(cx.forward(message).is_queued());
    }

    fn on_goodbye(&mut self, cx: &mut Cx<'_, Self>) {
        assert!(cx.send("goodbye").is_queued());
    }
}

/// All cores have looked.
fn await_drain(running: &Running) {
    let since = Instant::now();
    let handle = running.handle();
    while handle.places().any(|place| handle.state(place) == CoreState::Running) {
        assert!(since.elapsed() < WAIT, "a core is not drained");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn sum(stats: Vec<Stats>) -> Stats {
    stats.into_iter().fold(Stats::default(), |mut total, stats| {
        total += stats;
        total
    })
}

/// On one core and on two, each of which parts with its own: the code, the reason, what the application says before; what is answered meanwhile; and the
/// end, which comes when a second drain takes the least time away.
#[test]
fn clients_are_told_and_cores_end() {
    for core_count in [1, 2] {
        let (running, addr) = serve(Config::default(), core_count, |_| Service);
        let _port = held(addr);
        let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(addr)).collect();
        clients[7].echo(TEXT, b"before");
        let drain = Drain::over(Duration::from_millis(200)).at_least(HOUR).deadline(HOUR);
        running.drain(drain.code(CloseCode::SERVICE_RESTART).reason("back soon"));
        for client in &mut clients {
            client.expect(TEXT, b"goodbye");
            assert_eq!(client.expect_close(), (1012, "back soon".to_owned()));
            client.send(CLOSE, &1012_u16.to_be_bytes());
            assert_eq!(client.expect_end(), End::Eof);
        }
        await_drain(&running);
        assert!((0..core_count).all(|place| running.state(Place::new(place as u8)) == CoreState::Draining));
        assert_eq!(ask(addr, "GET /health HTTP/1.1\r\nHost: h\r\n\r\n").status, 503);
        let refused = ask(addr, &upgrade_head("/"));
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{refused:?}");
        assert_eq!((refused.header("connection"), &*refused.body), (Some("close"), &b"the server is draining\n"[..]));
        running.drain(Drain::over(Duration::ZERO));
        let stats = sum(running.join().expect("a clean end"));
        let report = stats.drain_report().expect("it was drained");
        assert_eq!(
            (report.cores, report.open, report.closed, report.refused),
            (core_count as u64, 20, 20, 1),
            "{report}"
        );
        assert_eq!((stats.opened, stats.timeouts, stats.resets), (20, 0, 0), "{stats}");
        assert!(TcpStream::connect(addr).is_err(), "somebody still listens");
    }
}

/// Nobody listens any more, as where another process has the port: those who are connected have their turn.
#[test]
fn a_drain_behind_the_end_of_accepting() {
    let (running, addr) = serve(Config::default(), 1, |_| Service);
    let mut client = Client::connect(addr);
    client.echo(TEXT, b"before");
    running.handle().stop_accepting();
    while TcpStream::connect(addr).is_ok() {}
    client.echo(TEXT, b"and served on");
    running.drain(Drain::over(Duration::ZERO));
    client.expect(TEXT, b"goodbye");
    assert_eq!(client.expect_close(), (1001, "server draining".to_owned()));
    client.send(CLOSE, &1001_u16.to_be_bytes());
    let stats = running.join().expect("a clean end")[0];
    assert_eq!((stats.drain_open, stats.drain_closed), (1, 1), "{stats}");
}

/// Between a client and a server that it has dialled.
struct Gateway {
    upstream: Target,
    ends: [Option<ConnId>; 2],
    told: Sender<String>,
}

/// Of a gateway's connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl Handler for Gateway {
    type Conn = Side;
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        cx.connect(self.upstream.clone());
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<Side> {
        Some(Side::Server)
    }

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<Side> {
        Verdict::accept(Side::Client)
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let side = *cx.data();
        self.ends[side as usize] = Some(cx.id());
        let _ = self.told.send(format!("{} open", name(side)));
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let other = self.ends[1 - *cx.data() as usize].expect("both are open");
        assert!(cx.conn(other).expect("both are open").send(message).is_queued());
    }

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, _: ConnId, side: Side, why: &CloseReason<'_>) {
        let _ = self.told.send(format!("{} {why:?}", name(side)));
    }
}

fn name(side: Side) -> &'static str {
    if side == Side::Client { "client" } else { "server" }
}

/// What it has dialled is not drained: its clients need it until they have gone. Then the core ends, and its server is told.
#[test]
fn what_was_dialled_goes_on_until_all_clients_have_gone() {
    let (upstream, at) = serve(Config::default(), 1, |_| Echo);
    let (tell, told): (_, Receiver<String>) = mpsc::channel();
    let target = Target::new(&format!("ws://{at}/")).expect("a URL");
    let (running, addr) =
        serve(Config::default(), 1, move |_| Gateway { upstream: target.clone(), ends: [None; 2], told: tell.clone() });
    let next = || told.recv_timeout(WAIT).expect("something happens");
    assert_eq!(next(), "server open");
    let mut client = Client::connect(addr);
    client.echo(TEXT, b"to and fro");
    running.drain(Drain::over(HOUR));
    await_drain(&running);
    client.echo(TEXT, b"and again");
    running.drain(Drain::over(Duration::ZERO));
    assert_eq!(client.expect_close().0, 1001);
    client.send(CLOSE, &1001_u16.to_be_bytes());
    let stats = running.join().expect("a clean end")[0];
    assert_eq!([next(), next(), next()], ["client open", "client Drained { clean: true }", "server Stopped"]);
    assert_eq!((stats.drain_open, stats.drain_closed, stats.connected), (1, 1, 1), "{stats}");
    assert_eq!(finish(upstream).messages, 2);
}

/// Dials so many connections, and tells when each was closed, and with what code.
struct Crowd {
    addr: SocketAddr,
    count: usize,
    told: Sender<(Instant, Option<u16>)>,
}

impl Handler for Crowd {
    type Conn = ();
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        let target = Target::new(&format!("ws://{}/", self.addr)).expect("a URL");
        (0..self.count).for_each(|_| _ = cx.connect(target.clone()));
    }

    fn on_answer(&mut self, _: &mut CoreCx<'_, Self>, _: &Dialled, _: &Answered<'_>) -> Option<()> {
        Some(())
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, _: ConnId, (): (), why: &CloseReason<'_>) {
        let code = match why {
            CloseReason::Peer { code, .. } => code.map(CloseCode::as_u16),
            _ => None,
        };
        let _ = self.told.send((Instant::now(), code));
    }
}

/// `cargo test -p wsring-loopback five_thousand -- --ignored --nocapture`
#[test]
#[ignore = "a measurement: five thousand connections, and ten seconds that nothing else disturbs"]
fn five_thousand_old_connections_go_evenly() {
    const COUNT: usize = 5_000;
    const WINDOW: Duration = Duration::from_secs(10);
    let config = || Config::default().connections_max(COUNT as u32 + 100).idle_timeout(None);
    let (server, addr) = serve(config(), 1, |_| Echo);
    let (tell, told) = mpsc::channel();
    let client =
        start_client(config().connects_per_second(2_000), move |_| Crowd { addr, count: COUNT, told: tell.clone() });
    let since = Instant::now();
    while server.handle().stats(Place::new(0), WAIT).is_none_or(|stats| stats.open < COUNT as u64) {
        assert!(since.elapsed() < 2 * WAIT, "they do not all open");
        std::thread::sleep(Duration::from_millis(50));
    }
    let begin = Instant::now();
    server.drain(Drain::over(WINDOW));
    let closes: Vec<(Duration, Option<u16>)> = (0..COUNT)
        .map(|_| told.recv_timeout(WINDOW + WAIT).expect("each is told"))
        .map(|(at, code)| (at.duration_since(begin), code))
        .collect();
    let stats = server.join().expect("a clean end")[0];
    let took = begin.elapsed();
    assert!(closes.iter().all(|(_, code)| *code == Some(1001)));
    let within = |parts: u128| {
        let mut counts = vec![0_usize; parts as usize];
        for (at, _) in &closes {
            counts[(at.as_nanos() * parts / WINDOW.as_nanos()).min(parts - 1) as usize] += 1;
        }
        counts
    };
    let (tenths, hundredths) = (within(10), within(100));
    let range = |counts: &[usize]| (*counts.iter().min().expect("some"), *counts.iter().max().expect("some"));
    println!("{COUNT} connections over {WINDOW:?}, Closes at the client in each tenth: {tenths:?}");
    println!("in each hundredth {:?}; in each thousandth {:?}", range(&hundredths), range(&within(1_000)));
    println!(
        "first {:?}, last {:?}, all over {took:?} | {}",
        closes[0].0,
        closes[COUNT - 1].0,
        stats.drain_report().expect("it was drained")
    );
    assert!(tenths.iter().all(|some| some.abs_diff(COUNT / 10) <= COUNT / 25), "{tenths:?}");
    finish(client);
}
