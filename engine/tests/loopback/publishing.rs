//! What is published on all cores: by a handle, from other threads and from callbacks.

use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};

use wsring::{
    Config, CoreCx, Cx, Delivery, Handle, Handler, Message, Opening, OwnedMessage, Place, Running, Server, Stats,
    Verdict,
};

use crate::common::*;

/// So much each publisher publishes.
const COUNT: usize = 2_000;

/// Tells each connection its core, and subscribes it to `news`; what a connection says is published on all cores, `COUNT` times.
struct Herald {
    place: Place,
    told: Sender<Place>,
}

impl Handler for Herald {
    type Conn = ();
    /// The core reads nothing until this says so.
    type Mail = Receiver<()>;

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<()> {
        Verdict::accept(())
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let news = cx.topic("news").expect("there is room");
        cx.subscribe(news, Delivery::queue()).expect("it is open");
        let place = self.place.index();
        let _ = cx.send(format!("{place}").as_str());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let news = cx.topic("news").expect("there is room");
        let publisher = message.as_text().expect("a name").to_owned();
        for number in 0..COUNT {
            let posted = cx.handle().publish(news, format!("{publisher} {number}"));
            assert_eq!((posted.taken, posted.full, posted.gone), (2, 0, 0));
        }
    }

    fn on_mail(&mut self, _: &mut CoreCx<'_, Self>, waits: Receiver<()>) {
        self.told.send(self.place).expect("the test waits");
        waits.recv().expect("the test lets it go on");
    }
}

/// Two cores, with a connection on each, in the order of their places.
fn heralds(config: Config) -> (Running<Receiver<()>>, [Client; 2], Receiver<Place>) {
    let (told, tells) = mpsc::channel();
    let server = Server::bind("127.0.0.1:0").expect("a free port").cores(cores(2)).config(strict(config));
    let started = server.start(move |info| Herald { place: info.place, told: told.clone() });
    let running = started.expect("it starts");
    let clients = one_a_core(running.local_addrs()[0]);
    (running, clients, tells)
}

fn one_a_core(addr: SocketAddr) -> [Client; 2] {
    let mut found = [None, None];
    while found.iter().any(Option::is_none) {
        let mut client = Client::connect(addr);
        let place: usize = hear(&mut client).parse().expect("its place");
        found[place].get_or_insert(client);
    }
    found.map(|client| client.expect("there is one"))
}

fn hear(client: &mut Client) -> String {
    String::from_utf8(client.frame().payload).expect("text")
}

fn end(running: Running<Receiver<()>>) -> Vec<Stats> {
    running.handle().stop();
    running.join().expect("a clean end")
}

/// Two callbacks, one on each core, and a thread, all at once: the subscribers of both cores get all of it, what each publisher
/// published in its order.
#[test]
fn subscribers_of_all_cores_get_what_each_publisher_published_in_order() {
    let (running, mut clients, _tells) = heralds(Config::default());
    let handle = running.handle();
    clients.iter_mut().enumerate().for_each(|(place, client)| client.send(TEXT, place.to_string().as_bytes()));
    let thread = std::thread::spawn(move || publish_by(&handle));
    for client in &mut clients {
        let mut next = [0; 3];
        while next != [COUNT; 3] {
            let words = hear(client);
            let (publisher, number) = words.split_once(' ').expect("a name and a number");
            let publisher: usize = publisher.parse().expect("a publisher");
            assert_eq!(number.parse(), Ok(next[publisher]), "of publisher {publisher}");
            next[publisher] += 1;
        }
    }
    thread.join().expect("no panic");
    for stats in end(running) {
        assert_eq!((stats.published, stats.mail_refused, stats.mail_unread), (3 * COUNT as u64, 0, 0));
        assert!(stats.delivered >= 3 * COUNT as u64);
    }
}

fn publish_by(handle: &Handle<Receiver<()>>) {
    let news = handle.topic("news").expect("there is room");
    for number in 0..COUNT {
        assert!(handle.publish(news, format!("2 {number}")).is_everywhere());
    }
}

/// A core that reads nothing goes without what finds no room, the other does not: it is said, and counted.
#[test]
fn a_core_whose_mailbox_is_full_goes_without() {
    const ROOM: u32 = 4;
    let (running, [mut here, mut there], tells) = heralds(Config::default().mailbox_max(ROOM));
    let handle = running.handle();
    let news = handle.topic("news").expect("there is room");
    let second = Place::new(1);
    let (go_on, waits) = mpsc::channel();
    handle.mail(second, waits).expect("there is room");
    assert_eq!(tells.recv_timeout(WAIT), Ok(second));
    for number in 0..ROOM + 3 {
        let posted = handle.publish_keyed(news, 7, number.to_string());
        let full = u32::from(number >= ROOM);
        assert_eq!((posted.taken, posted.full, posted.is_everywhere()), (2 - full, full, full == 0));
        assert_eq!(hear(&mut here), number.to_string());
    }
    let late = OwnedMessage::from("late".to_owned());
    let refused = handle.publish_on(second, news, wsring::Publish::default(), late.clone());
    assert_eq!(refused.expect_err("it is full").into_inner(), late);
    go_on.send(()).expect("it waits");
    for number in 0..ROOM {
        assert_eq!(hear(&mut there), number.to_string());
    }
    handle.publish_on(second, news, wsring::Publish::default(), late).expect("there is room again");
    assert_eq!(hear(&mut there), "late");
    let stats = end(running);
    assert_eq!((stats[0].published, stats[0].mail_refused), ((ROOM + 3).into(), 0));
    assert_eq!((stats[1].published, stats[1].mail_refused), ((ROOM + 1).into(), 4));
}
