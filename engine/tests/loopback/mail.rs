//! Mail: what other threads and cores send to a core, and to connections by a handle.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use wsring::{
    Client as Dialler, CloseCode, CloseReason, Config, ConnId, CoreCx, CoreInfo, CoreState, Cx, Delivery, Error,
    Handle, Handler, MailError, Message, OnPanic, Opening, OwnedMessage, Place, Running, Server, Stats, Verdict,
};

use crate::common::*;

/// What is sent to a [`Clerk`].
#[derive(Debug, PartialEq)]
enum Order {
    /// A number of a sender, which counts.
    Count(usize, u64),
    /// To be passed on to this core.
    Pass(Place, String),
    /// To be told to the test, and to the connection that asked for it.
    Tell(String, Option<ConnId>),
    /// Wait until the test says so.
    Wait,
    Stop,
    Panic,
}

/// Does what mail says.
struct Clerk {
    place: Place,
    /// The next number of each sender.
    next: Vec<u64>,
    /// Says how often it counted, when it has so often.
    most: u64,
    told: Sender<String>,
    waits: Option<Receiver<()>>,
}

impl Clerk {
    fn new(info: &CoreInfo<Order>, told: &Sender<String>) -> Self {
        Self { place: info.place, next: vec![0; 4], most: 0, told: told.clone(), waits: None }
    }

    fn tell(&self, what: impl Into<String>) {
        let _ = self.told.send(what.into()); // a test that has seen enough has gone
    }
}

impl Handler for Clerk {
    type Conn = ();
    type Mail = Order;

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        self.tell("open");
        let id = cx.id();
        let _ = cx.mail(self.place, Order::Tell("to myself".to_owned(), Some(id))); // in a flood there may be no room
        self.tell("told itself");
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        // To all other cores, and back from there.
        let Message::Text(text) = message else {
            let _ = cx.forward(message);
            return;
        };
        let others: Vec<Place> = cx.handle().places().filter(|place| *place != self.place).collect();
        for other in others {
            cx.mail(other, Order::Tell(format!("{text} at {other}"), Some(cx.id()))).expect("there is room");
        }
    }

    fn on_mail(&mut self, cx: &mut CoreCx<'_, Self>, order: Order) {
        match order {
            Order::Count(from, number) => {
                assert_eq!(number, self.next[from], "mail of sender {from} is lost or out of order");
                self.next[from] += 1;
                if self.next.iter().sum::<u64>() == self.most {
                    self.tell("all has come");
                }
            }
            Order::Pass(to, what) => cx.mail(to, Order::Tell(what, None)).expect("there is room"),
            Order::Tell(what, Some(id)) if id.place() == self.place => {
                self.tell(what.clone());
                if let Some(mut conn) = cx.conn(id) {
                    let _ = conn.send(what.as_str());
                }
            }
            Order::Tell(what, Some(id)) => {
                cx.mail(id.place(), Order::Tell(what, Some(id))).expect("there is room");
            }
            Order::Tell(what, None) => self.tell(what),
            Order::Wait => {
                self.tell("waits");
                self.waits.as_ref().expect("it may wait").recv().expect("the test lets it go on");
            }
            Order::Stop => cx.stop_core(),
            Order::Panic => std::panic::resume_unwind(Box::new("as it was told to")),
        }
    }

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, _: ConnId, (): (), why: &CloseReason<'_>) {
        self.tell(format!("{why:?}"));
    }
}

const FIRST: Place = Place::new(0);

fn clerks(config: Config, core_count: usize) -> (Running<Order>, SocketAddr, Receiver<String>) {
    let (told, tells) = mpsc::channel();
    let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(core_count)).config(config.ring(ring()));
    let running = server.start(move |info| Clerk::new(&info, &told)).expect("it starts");
    let addr = running.local_addrs()[0];
    (running, addr, tells)
}

/// One clerk without a listener, who waits when he is told to.
fn waiter(config: Config) -> (Running<Order>, Receiver<String>, Sender<()>) {
    let (told, tells) = mpsc::channel();
    let (go_on, waits) = mpsc::channel();
    let waits = std::sync::Mutex::new(Some(waits));
    let started = Dialler::new().cores(cores(1)).config(config).start(move |info| {
        let waits = waits.lock().expect("no panic").take();
        Clerk { waits, ..Clerk::new(&info, &told) }
    });
    (started.expect("it starts"), tells, go_on)
}

fn stop(running: Running<Order>) -> Vec<Stats> {
    running.handle().stop();
    running.join().expect("a clean end")
}

fn heard(tells: &Receiver<String>) -> String {
    tells.recv_timeout(WAIT).expect("something is told")
}

/// Sends until it is taken.
fn insist(handle: &Handle<Order>, to: Place, mut order: Order) {
    while let Err(error) = handle.mail(to, order) {
        assert!(matches!(error, MailError::Full(_)), "the core has gone");
        order = error.into_inner();
        std::thread::yield_now();
    }
}

/// From two threads to a core that spins or sleeps: none lost, and the order of each sender kept. `MAILS=10000000` sends
/// more of them.
#[test]
fn a_million_mails_come_in_order() {
    let all: u64 = std::env::var("MAILS").map_or(1_000_000, |mails| mails.parse().expect("a number"));
    for spin in [Duration::ZERO, Duration::from_millis(1)] {
        let share = all / 2 / 2;
        let (told, tells) = mpsc::channel();
        let config = strict(Config::default().spin(spin).mailbox_max(1024));
        let started = Dialler::new()
            .cores(cores(1))
            .config(config)
            .start(move |info| Clerk { most: share * 2, ..Clerk::new(&info, &told) });
        let running = started.expect("it starts");
        std::thread::scope(|scope| {
            for from in 0..2 {
                let handle = running.handle();
                scope.spawn(move || {
                    for number in 0..share {
                        insist(&handle, FIRST, Order::Count(from, number));
                        // Now and then the core falls asleep.
                        if number.is_multiple_of(10_000) {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                });
            }
        });
        assert_eq!(tells.recv_timeout(WAIT * 10).expect("all comes"), "all has come");
        let stats = stop(running)[0];
        assert_eq!((stats.mails, stats.mail_unread), (share * 2, 0));
    }
}

/// Three kinds of letters: mail, messages for a connection, and its close.
#[test]
fn letters_of_all_kinds_stay_in_order() {
    let (running, addr, tells) = clerks(strict(Config::default()), 1);
    let handle = running.handle();
    let mut client = Client::connect(addr);
    let told = || heard(&tells);
    assert_eq!(
        [told(), told(), told()],
        ["open", "told itself", "to myself"],
        "mail to itself comes behind the callback"
    );
    client.expect(TEXT, b"to myself");
    let id = first_id();
    handle.send(id, "one".to_owned()).expect("there is room");
    handle.mail(FIRST, Order::Tell("two".to_owned(), Some(id))).expect("there is room");
    handle.send(id, vec![3; 100_000]).expect("there is room");
    handle.close(id, CloseCode::new(4000).expect("a code"), "that is all").expect("there is room");
    handle.send(id, "too late".to_owned()).expect("there is room");
    client.expect(TEXT, b"one");
    client.expect(TEXT, b"two");
    client.expect(BINARY, &[3; 100_000]);
    assert_eq!(client.expect_close(), (4000, "that is all".to_owned()));
    client.send(CLOSE, &4000_u16.to_be_bytes());
    assert_eq!(client.expect_end(), End::Eof);
    assert_eq!((heard(&tells), heard(&tells)), ("two".to_owned(), "Local { clean: true }".to_owned()));
    let before = handle.stats(FIRST, WAIT).expect("it runs");
    assert_eq!((before.gone, before.mail_gone), (1, 0));
    // The connection is over: counted, and no error.
    handle.send(id, "nobody's".to_owned()).expect("there is room");
    handle.close(id, CloseCode::NORMAL, "").expect("there is room");
    let after = handle.stats(FIRST, WAIT).expect("it runs");
    assert_eq!((after.gone, after.mail_gone, after.open, after.sent), (1, 2, 0, before.sent));
    stop(running);
}

/// Tells the ids of its connections.
struct Ids(Sender<ConnId>);

impl Handler for Ids {
    type Conn = ();
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let _ = self.0.send(cx.id());
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}
}

/// Subscribes each connection to `news`, and waits where mail has it wait.
struct Newsroom(Sender<ConnId>);

impl Handler for Newsroom {
    type Conn = ();
    type Mail = Receiver<()>;

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let news = cx.topic("news").expect("there is room");
        cx.subscribe(news, Delivery::conflate()).expect("it is open");
        let _ = self.0.send(cx.id());
    }

    fn on_message(&mut self, _: &mut Cx<'_, Self>, _: Message<'_>) {}

    fn on_mail(&mut self, _: &mut CoreCx<'_, Self>, waits: Receiver<()>) {
        waits.recv().expect("the test lets it go on");
    }
}

/// More is published in a pass than an output takes at once, so that a part waits: a close by a handle lets that go first, as one by a
/// callback does.
#[test]
fn a_close_by_a_handle_comes_behind_what_waits_of_topics() {
    let (told, ids) = mpsc::channel();
    let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(1)).config(strict(Config::default()));
    let running = server.start(move |_| Newsroom(told.clone())).expect("it starts");
    let mut client = Client::connect(running.local_addrs()[0]);
    let (handle, id) = (running.handle(), ids.recv_timeout(WAIT).expect("it opens"));
    let news = handle.topic("news").expect("there is room");
    // All that is sent until the core goes on is read in one pass.
    let (go_on, waits) = mpsc::channel();
    handle.mail(FIRST, waits).expect("there is room");
    for (key, fill) in [(0, 1), (1, 2), (2, 3), (1, 4)] {
        assert!(handle.publish_keyed(news, key, vec![fill; 100_000]).is_everywhere());
    }
    handle.close(id, CloseCode::new(4000).expect("a code"), "that is all").expect("there is room");
    go_on.send(()).expect("it waits");
    for fill in [1, 4, 3] {
        client.expect(BINARY, &[fill; 100_000]);
    }
    assert_eq!(client.expect_close(), (4000, "that is all".to_owned()));
    client.send(CLOSE, &4000_u16.to_be_bytes());
    assert_eq!(client.expect_end(), End::Eof);
    handle.stop();
    let stats = running.join().expect("a clean end")[0];
    assert_eq!((stats.published, stats.delivered, stats.conflated, stats.dropped), (4, 3, 1, 0));
}

/// What the first connection of any server's first core is called: its first slot, and the first who has it.
fn first_id() -> ConnId {
    let (told, ids) = mpsc::channel();
    let (running, addr) = serve(Config::default(), 1, move |_| Ids(told.clone()));
    let client = Client::connect(addr);
    let id = ids.recv_timeout(WAIT).expect("it opens");
    client.close();
    finish(running);
    id
}

/// A message on one core goes to the other by mail, and back to its connection.
#[test]
fn cores_send_to_each_other() {
    let (running, addr, tells) = clerks(strict(Config::default()), 2);
    let clients: Vec<Client> = (0..8).map(|_| Client::connect(addr)).collect();
    for mut client in clients {
        client.expect(TEXT, b"to myself");
        client.send(TEXT, b"hello");
        let frame = client.frame();
        assert!(frame.payload == b"hello at 0" || frame.payload == b"hello at 1");
        client.close();
    }
    running.handle().mail(FIRST, Order::Pass(Place::new(1), "over there".to_owned())).expect("there is room");
    assert!(tells.iter().any(|told| told == "over there"));
    let stats = stop(running);
    assert_eq!(stats.iter().map(|stats| stats.mails).sum::<u64>(), 8 + 2 * 8 + 2);
}

/// A core that reads nothing: what is sent to it does not grow, and nothing of what was taken is lost.
#[test]
fn a_core_that_does_not_read_refuses_mail() {
    for room in [1_u32, 8] {
        let (running, tells, go_on) = waiter(strict(Config::default().mailbox_max(room)));
        let handle = running.handle();
        handle.mail(FIRST, Order::Wait).expect("there is room");
        assert_eq!(heard(&tells), "waits");
        for number in 0..u64::from(room) {
            assert_eq!(handle.mail(FIRST, Order::Count(0, number)), Ok(()));
        }
        for _ in 0..3 {
            let refused = handle.mail(FIRST, Order::Count(0, 77)).expect_err("it is full");
            assert_eq!(refused, MailError::Full(Order::Count(0, 77)), "it comes back");
        }
        assert_eq!(handle.stats(FIRST, Duration::from_millis(1)), None, "it does not answer in time");
        go_on.send(()).expect("it waits");
        let stats = handle.stats(FIRST, WAIT).expect("it runs");
        assert_eq!((stats.mails, stats.mail_refused), (1 + u64::from(room), 3));
        assert_eq!(handle.mail(FIRST, Order::Count(0, room.into())), Ok(()), "there is room again");
        assert_eq!(stop(running)[0].mail_refused, 3);
    }
}

/// Mail to a core that does not run yet, from a factory; also to the one whose handler is being made.
#[test]
fn mail_waits_for_its_core_to_run() {
    let (told, tells) = mpsc::channel();
    let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(2)).config(strict(Config::default()));
    let started = server.start(move |info: CoreInfo<Order>| {
        for place in info.handle.places() {
            let what = format!("from {} to {place}", info.place);
            info.handle.mail(place, Order::Tell(what, None)).expect("there is room");
        }
        Clerk::new(&info, &told)
    });
    let running = started.expect("it starts");
    let mut all: Vec<String> = (0..4).map(|_| heard(&tells)).collect();
    all.sort();
    assert_eq!(all, ["from 0 to 0", "from 0 to 1", "from 1 to 0", "from 1 to 1"]);
    stop(running);
}

/// A pass reads 256 letters. What a core has not read when it ends is counted, and nothing is taken any more.
#[test]
fn a_core_that_has_ended_takes_no_mail() {
    let (running, tells, go_on) = waiter(strict(Config::default()));
    let handle = running.handle();
    handle.mail(FIRST, Order::Wait).expect("there is room");
    assert_eq!(heard(&tells), "waits");
    handle.mail(FIRST, Order::Stop).expect("there is room");
    for number in 0..300 {
        handle.mail(FIRST, Order::Count(0, number)).expect("there is room");
    }
    go_on.send(()).expect("it waits");
    let stats = running.join().expect("a clean end")[0];
    assert_eq!((stats.mails, stats.mail_unread), (256, 302 - 256));
    assert_eq!(handle.mail(FIRST, Order::Stop), Err(MailError::Gone(Order::Stop)));
    assert_eq!(handle.stats(FIRST, Duration::ZERO), Some(stats), "those of its end");
}

/// A panic in `on_mail` is about the core and ends it: its peers are told 1011, and what is sent then comes back.
#[test]
fn a_panic_in_on_mail_ends_the_core() {
    for on_panic in [OnPanic::Close, OnPanic::Stop] {
        let (running, addr, _tells) = clerks(Config::default().on_panic(on_panic), 1);
        let mut client = Client::connect(addr);
        client.expect(TEXT, b"to myself");
        let handle = running.handle();
        for order in [Order::Panic, Order::Tell("is not read".to_owned(), None)] {
            let _ = handle.mail(FIRST, order); // it may have failed by then
        }
        assert_eq!(client.expect_close(), (1011, "server failed".to_owned()));
        client.send(CLOSE, &1011_u16.to_be_bytes());
        assert_eq!(handle.state(FIRST), CoreState::Failed);
        assert!(matches!(handle.mail(FIRST, Order::Stop), Err(MailError::Gone(Order::Stop))));
        assert!(matches!(running.join(), Err(Error::Panicked { place }) if place == FIRST));
        let stats = handle.stats(FIRST, Duration::ZERO).expect("it counted to its end");
        assert_eq!((stats.panics, stats.mails), (1, 2), "those of its end");
    }
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A flood of mail does not keep a core from its connections.
#[test]
fn connections_have_their_turn_beside_a_flood_of_mail() {
    let (running, addr, _tells) = clerks(strict(Config::default()), 1);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (handle, over) = (running.handle(), &over);
        scope.spawn(move || {
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                match handle.mail(FIRST, Order::Count(0, number)) {
                    Ok(()) => number += 1,
                    Err(MailError::Full(_)) => {}
                    Err(_) => break,
                }
            }
        });
        let _over = Over(over); // also when this panics, for the scope waits
        for _ in 0..10 {
            let mut client = Client::connect(addr);
            client.send(BINARY, b"still here?");
            while client.frame().payload != b"still here?" {}
        }
    });
    let stats = stop(running)[0];
    assert_eq!(stats.opened, 10);
}

/// A handle is asked from any thread while the core serves, and each answer is a new one.
#[test]
fn stats_are_of_the_pass_that_answers() {
    let (running, _addr, _tells) = clerks(strict(Config::default()), 2);
    let handle = running.handle();
    for number in 0..100 {
        handle.mail(FIRST, Order::Count(0, number)).expect("there is room");
        let asked = Instant::now();
        let stats = handle.stats(FIRST, WAIT).expect("it runs");
        assert!(asked.elapsed() < WAIT, "it did not wait for its patience to end");
        assert_eq!(stats.mails, number + 1, "what was sent before the question has been read");
        assert_eq!(handle.stats(Place::new(1), WAIT).expect("it runs").mails, 0);
    }
    stop(running);
}

/// What is not taken comes back whole.
#[test]
fn a_message_that_is_not_taken_comes_back() {
    let (running, tells, go_on) = waiter(strict(Config::default().mailbox_max(1)));
    let handle = running.handle();
    handle.mail(FIRST, Order::Wait).expect("there is room");
    assert_eq!(heard(&tells), "waits");
    handle.mail(FIRST, Order::Count(0, 0)).expect("there is room");
    let id = first_id();
    let message = OwnedMessage::from("a message".to_owned());
    assert_eq!(handle.send(id, message.clone()), Err(MailError::Full(message.clone())));
    assert_eq!(handle.close(id, CloseCode::NORMAL, ""), Err(MailError::Full(())));
    go_on.send(()).expect("it waits");
    stop(running);
    assert_eq!(handle.send(id, message.clone()), Err(MailError::Gone(message)));
}
