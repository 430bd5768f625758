//! Requests that are answered later, by another thread: thousands of them, gone ones, plain ones, and a core that stops meanwhile.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use wsring::http::StatusCode;
use wsring::{
    Config, CoreCx, Cx, Handler, Message, Opening, Pending, Place, Response, Running, Server, Stats, Verdict,
};
use wsring_testkit::effort::whole_or_quick;

use crate::common::*;

#[allow(dead_code, reason = "`main` and `serve` are for who runs it")]
#[path = "../../examples/token_check.rs"]
mod token_check;

/// Who is asked about, by path, and what may be said to it.
type Asked = (Pending, String);

/// Defers all but `/now`, and tells the test, which is the other thread.
struct Desk(Sender<Asked>);

impl Desk {
    fn defer(&self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Pending {
        let pending = cx.defer(opening).expect("there is room");
        self.0.send((pending, opening.request.path().to_owned())).expect("the test listens");
        pending
    }
}

impl Handler for Desk {
    type Conn = &'static str;
    type Mail = &'static str;

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<&'static str> {
        match opening.request.path() {
            "/now" => Verdict::accept("at once"),
            _ => Verdict::defer(self.defer(cx, opening)),
        }
    }

    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        self.defer(cx, opening).into()
    }

    fn on_admit(
        &mut self,
        _: &mut CoreCx<'_, Self>,
        opening: &Opening<'_>,
        who: &'static str,
    ) -> Verdict<&'static str> {
        match opening.request.is_upgrade() {
            true => Verdict::accept(who),
            false => Verdict::reject(Response::new(format!("{} for {who}\n", opening.request.path()).into_bytes())),
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        assert!(cx.forward(message).is_queued());
    }
}

const FIRST: Place = Place::new(0);

fn desk(config: Config) -> (Running<&'static str>, SocketAddr, Receiver<Asked>) {
    let (told, asked) = mpsc::channel();
    let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(1)).config(strict(config));
    let running = server.start(move |_| Desk(told.clone())).expect("it starts");
    let addr = running.local_addrs()[0];
    (running, addr, asked)
}

fn stop<M: Send + 'static>(running: Running<M>) -> Stats {
    running.handle().stop();
    let mut total = Stats::default();
    running.join().expect("a clean end").into_iter().for_each(|stats| total += stats);
    total
}

/// Nobody is late who has so long.
fn patient() -> Config {
    Config::default().handshake_timeout(WAIT * 10)
}

fn request(addr: SocketAddr, head: &str) -> TcpStream {
    let mut stream = tcp(addr);
    stream.write_all(head.as_bytes()).expect("the request goes out");
    stream
}

/// The example: its thread takes 200 ms for each token, and a thousand wait for it at a time. Those who are nobody get their 401, and
/// somebody whose connection is open is served meanwhile.
#[test]
fn thousands_wait_for_another_thread() {
    let (rounds, crowd) = whole_or_quick((10, 1_000), (3, 100));
    let (asked, checks) = token_check::channel();
    let config = strict(patient().pending_max(crowd));
    let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(2)).config(config);
    let running = server.start(move |_| token_check::Door::new(&asked)).expect("it starts");
    let (addr, handle) = (running.local_addrs()[0], running.handle());
    let checker = std::thread::spawn(move || token_check::check(&handle, checks));
    let mut bystander = Client::open(addr, "/?token=bystander");
    for round in 0..rounds {
        let ask = |number| {
            let name = if number % 10 == 3 { "nobody" } else { "user" };
            request(addr, &upgrade_head(&format!("/?token={name}-{round}-{number}")))
        };
        let waiting: Vec<TcpStream> = (0..crowd).map(ask).collect();
        bystander.send(TEXT, b"meanwhile");
        bystander.expect(TEXT, b"bystander: meanwhile");
        let mut clients = Vec::new();
        for (number, stream) in waiting.into_iter().enumerate() {
            let (head, rest) = read_head(&stream).expect("a response");
            if number % 10 == 3 {
                assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
            } else {
                clients.push((number, Client::after(stream, &head, rest)));
            }
        }
        for (number, client) in &mut clients {
            client.send(TEXT, b"hello");
            client.expect(TEXT, format!("user-{round}-{number}: hello").as_bytes());
        }
        clients.into_iter().for_each(|(_, client)| client.close());
    }
    bystander.close();
    let stats = stop(running);
    checker.join().expect("it does not panic");
    let (all, nobodies) = (u64::from(rounds * crowd), u64::from(rounds * crowd / 10));
    assert_eq!((stats.deferred, stats.deferred_answered, stats.pending), (all + 1, all + 1, 0), "{stats}");
    assert_eq!((stats.opened, stats.declined, stats.answers_late), (all + 1 - nobodies, nobodies, 0), "{stats}");
}

/// Some have gone, in order and by a reset, when their answers come; others get them, in another order than they asked in.
#[test]
fn who_has_gone_is_forgotten() {
    let (running, addr, asked) = desk(patient());
    let handle = running.handle();
    let mut streams: Vec<Option<TcpStream>> =
        (0..60).map(|n| Some(request(addr, &upgrade_head(&format!("/{n}"))))).collect();
    let waiting: Vec<Asked> = (0..60).map(|_| asked.recv_timeout(WAIT).expect("it is asked about")).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        match number % 3 {
            0 => drop(stream.take()),
            1 => reset(stream.take().expect("it is there")),
            _ => {}
        }
    }
    let deadline = Instant::now() + WAIT;
    while handle.stats(FIRST, WAIT).expect("it runs").deferred_gone < 40 {
        assert!(Instant::now() < deadline, "those who have gone are not noticed");
        std::thread::sleep(Duration::from_millis(1));
    }
    waiting.iter().rev().for_each(|(pending, _)| handle.admit(*pending, "somebody").expect("there is room"));
    for stream in streams.into_iter().flatten() {
        let mut client = Client::upgraded(stream);
        client.echo(TEXT, b"here I am");
        client.close();
    }
    let stats = stop(running);
    assert_eq!((stats.deferred, stats.deferred_gone, stats.deferred_answered), (60, 40, 20), "{stats}");
    assert_eq!((stats.answers_late, stats.pending, stats.opened), (40, 0, 20), "{stats}");
}

/// RFC 6455 §4.1 lets no client send before the response, but bytes that are there anyway are not lost, however many they are; no more of
/// them are kept than of any connection that is not read.
#[test]
fn what_comes_behind_a_request_waits_with_it() {
    let (running, addr, asked) = desk(patient());
    for len in [0, 5, 60_000, 1_000_000] {
        let mut stream = tcp(addr);
        let mut bytes = upgrade_head("/").into_bytes();
        for message in 0..3_u8 {
            client_frame(&mut bytes, true, BINARY, &vec![message; len], [9, 8, 7, 6]);
        }
        let writer = std::thread::spawn({
            let mut stream = stream.try_clone().expect("a second descriptor");
            move || stream.write_all(&bytes).expect("all goes out")
        });
        let (pending, _) = asked.recv_timeout(WAIT).expect("it is asked about");
        if len < 1_000_000 {
            writer.join().expect("it is taken");
            running.handle().admit(pending, "somebody").expect("there is room");
        } else {
            running.handle().admit(pending, "somebody").expect("there is room");
            writer.join().expect("it is taken when it is read");
        }
        stream.flush().expect("a socket");
        let mut client = Client::upgraded(stream);
        (0..3_u8).for_each(|message| client.expect(BINARY, &vec![message; len]));
        client.close();
    }
    let stats = stop(running);
    assert_eq!((stats.messages, stats.deferred_answered, stats.memory_bytes), (12, 4, 0), "{stats}");
}

#[test]
fn a_plain_request_is_answered_later() {
    let (running, addr, asked) = desk(patient());
    let handle = running.handle();
    let say = |path: &str, method: &str, answer: &dyn Fn(Pending)| {
        std::thread::scope(|scope| {
            let asks = scope.spawn(|| ask(addr, &format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n")));
            let (pending, asked_for) = asked.recv_timeout(WAIT).expect("it is asked about");
            assert_eq!(asked_for, path);
            answer(pending);
            asks.join().expect("an answer")
        })
    };
    let respond = |pending| {
        let mut response = Response::new(b"it is here\n".to_vec());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        handle.respond(pending, response).expect("there is room");
    };
    let answer = say("/tea", "GET", &respond);
    assert_eq!((answer.status, answer.body.as_slice()), (418, &b"it is here\n"[..]));
    let answer = say("/tea", "HEAD", &respond);
    assert_eq!((answer.status, answer.header("content-length"), answer.body.len()), (418, Some("11"), 0));
    let answer = say("/tea", "POST", &|pending| handle.admit(pending, "ann").expect("there is room"));
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"/tea for ann\n"[..]));
    let stats = stop(running);
    assert_eq!((stats.deferred_answered, stats.declined, stats.opened), (3, 2, 0), "{stats}");
}

/// RFC 9110 §9.3.2: a HEAD that nobody answers in time is answered as a GET, without its body. Nor has one a body whose answer cannot be sent.
#[test]
fn an_answer_to_a_head_has_no_body_whatever_it_is() {
    let (running, addr, asked) = desk(Config::default().handshake_timeout(Duration::from_millis(200)));
    for (method, len) in [("GET", 35), ("HEAD", 0)] {
        let answer = ask(addr, &format!("{method} /late HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(
            (answer.status, answer.header("content-length"), answer.body.len()),
            (503, Some("35"), len),
            "{method}"
        );
        drop(asked.recv_timeout(WAIT).expect("it was asked about"));
    }
    assert_eq!(stop(running).deferred_expired, 2);

    let (running, addr, asked) = desk(patient());
    let handle = running.handle();
    std::thread::scope(|scope| {
        for (method, has_body) in [("GET", true), ("HEAD", false)] {
            let asks = scope.spawn(move || ask(addr, &format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")));
            let (pending, _) = asked.recv_timeout(WAIT).expect("it is asked about");
            // Nothing can wait for the answer of something that is an answer itself.
            handle.respond(pending, pending.into()).expect("there is room");
            let answer = asks.join().expect("an answer");
            assert_eq!((answer.status, answer.body.is_empty()), (500, !has_body), "{method}");
        }
    });
    assert_eq!(stop(running).deferred_answered, 2);
}

/// Whoever waits is told, and nothing is left; what is answered behind that is refused, late or unread, and counted.
#[test]
fn a_core_that_stops_answers_whoever_waits() {
    let (running, addr, asked) = desk(patient());
    let handle = running.handle();
    let mut streams: Vec<TcpStream> = (0..20).map(|_| request(addr, &upgrade_head("/wait"))).collect();
    streams.extend((0..20).map(|_| request(addr, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")));
    let waiting: Vec<Asked> = (0..40).map(|_| asked.recv_timeout(WAIT).expect("it is asked about")).collect();
    handle.stop();
    for stream in &streams {
        let (head, _) = read_head(stream).expect("a response");
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nConnection: close\r\n"), "{head}");
    }
    let taken = waiting.iter().filter(|(pending, _)| handle.admit(*pending, "somebody").is_ok()).count() as u64;
    drop(streams);
    let stats = running.join().expect("a clean end")[0];
    assert_eq!((stats.deferred, stats.deferred_expired, stats.pending, stats.memory_bytes), (40, 40, 0, 0), "{stats}");
    assert_eq!(stats.answers_late + stats.mail_unread, taken, "{stats}");
}

/// Prints what a bystander's round trips take alone, beside upgrades that are answered at once, and beside as many that wait 200 ms for another
/// thread: `cargo test -p wsring --release --test loopback -- --ignored --nocapture bystander`.
#[test]
#[ignore = "figures, not a test"]
fn a_bystander_beside_those_who_wait() {
    const LOOKUP: Duration = Duration::from_millis(200);
    let (running, addr, asked) = desk(patient());
    let handle = running.handle();
    let (stamped, due) = mpsc::channel();
    let stamps = std::thread::spawn(move || {
        asked
            .into_iter()
            .for_each(|(pending, _)| stamped.send((pending, Instant::now() + LOOKUP)).expect("it is read"));
    });
    let answers = std::thread::spawn(move || {
        for (pending, due) in due {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            handle.admit(pending, "somebody").expect("there is room");
        }
    });
    let mut bystander = Client::open(addr, "/now");
    let mut measure = |what: &str, is_over: &dyn Fn(usize) -> bool| {
        let mut took = Vec::new();
        while !is_over(took.len()) {
            let begin = Instant::now();
            bystander.echo(TEXT, b"beside");
            took.push(begin.elapsed());
            std::thread::sleep(Duration::from_micros(200));
        }
        took.sort();
        let at = |per_mille: usize| took[(took.len() - 1) * per_mille / 1000];
        println!("{what}: {} round trips, p50 {:?}, p99 {:?}, the most {:?}", took.len(), at(500), at(990), at(1000));
    };
    measure("alone", &|count| count == 10_000);
    for (what, path) in [("beside 10,000 answered at once", "/now"), ("beside 10,000 that wait 200 ms", "/later")] {
        let crowd = std::thread::spawn(move || {
            for _ in 0..10 {
                let waiting: Vec<TcpStream> = (0..1_000).map(|_| request(addr, &upgrade_head(path))).collect();
                waiting.into_iter().for_each(|stream| drop(Client::upgraded(stream)));
            }
        });
        measure(what, &|_| crowd.is_finished());
        crowd.join().expect("no panic");
    }
    println!("{}", stop(running));
    stamps.join().expect("no panic");
    answers.join().expect("no panic");
}
