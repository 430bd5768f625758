//! Topics on a real ring: who is given what, and what becomes of it where a peer does not read.

use wsring::{
    CloseCode, Config, ConnId, CoreCx, Counts, Cx, Deflate, Delivery, Handler, Lagged, Message, Opening, Publish,
    Published, Retain, Server, SubscribeError, Topic, TopicError, TopicId, Update, Verdict,
};

use crate::common::packed::Packed;
use crate::common::*;

/// What the client's words do: `sub NAME HOW`, `unsub NAME`, `pub NAME TEXT`, `key NAME KEY TEXT`, `trade NAME TEXT`,
/// `remove NAME KEY`, `flood NAME COUNT LEN`, `counts NAME`, `all`, `lag`, `close`. It answers what came of it.
struct Board {
    known: Vec<ConnId>,
}

impl Board {
    fn topic(cx: &mut CoreCx<'_, Self>, name: &str) -> TopicId {
        cx.topic(name).expect("there is room")
    }
}

fn delivery(how: &str) -> Delivery {
    match how {
        "queue" => Delivery::queue(),
        "oldest" => Delivery::drop_oldest(3),
        "newest" => Delivery::drop_newest(3),
        "conflate" => Delivery::conflate(),
        "merge" => Delivery::merge(),
        "close" => Delivery::close(CloseCode::new(4001).expect("a valid code"), 2),
        other => panic!("{other} is no delivery"),
    }
}

impl Handler for Board {
    type Conn = Option<Lagged>;
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<Self::Conn> {
        Verdict::accept(None)
    }

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        let last = Self::topic(cx, "last");
        cx.configure_topic(last, Topic::default().retain(Retain::Last));
        let book = Self::topic(cx, "book");
        let book_of = |update: &Update<'_>, into: &mut Vec<u8>| {
            let Update { seq, prev, merged, .. } = *update;
            into.extend_from_slice(format!("{prev}>{seq} x{merged} ").as_bytes());
            into.extend_from_slice(update.payload);
        };
        let both = |old: &[u8], new: &[u8], into: &mut Vec<u8>| {
            into.extend_from_slice(old);
            into.extend_from_slice(new);
        };
        let how = Topic::default().retain(Retain::LastPerKey { max: 2 }).merge(both).write(book_of);
        cx.configure_topic(book, how);
        let broken = Self::topic(cx, "broken");
        cx.configure_topic(broken, Topic::default().write(|_, _| panic!("it cannot be written")));
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        self.known.push(cx.id());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let mut words = message.as_text().expect("words").splitn(4, ' ');
        let (what, name) = (words.next().unwrap_or_default(), words.next().unwrap_or("any"));
        let topic = match cx.topic(name) {
            Ok(topic) => topic,
            Err(TopicError { max, .. }) => {
                let _ = cx.send(format!("only {max}").as_str());
                return;
            }
        };
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let answer = match what {
            "sub" => match cx.subscribe(topic, delivery(first)) {
                Ok(subscribed) => format!("subscribed {}", subscribed.retained),
                Err(error @ SubscribeError::TooMany) => error.to_string(),
                Err(error) => panic!("{error}"),
            },
            "unsub" => cx.unsubscribe(topic).expect("it had subscribed").to_string(),
            "pub" => told(cx.publish(topic, first)),
            "key" => told(cx.publish_keyed(topic, first.parse().expect("a key"), second)),
            "trade" => told(cx.publish_as(topic, Publish::default().must_not_conflate(), first)),
            "remove" => told(cx.remove_key(topic, first.parse().expect("a key"), "gone")),
            "flood" => {
                let (count, len): (u32, usize) = (first.parse().expect("a count"), second.parse().expect("a length"));
                let mut all = Counts::default();
                for number in 0..count {
                    let text = format!("{number:0len$}");
                    let Published { sent, waiting, conflated, dropped, refused, .. } = cx.publish(topic, text.as_str());
                    all.sent += u64::from(sent);
                    all.waiting += u64::from(waiting);
                    all.conflated += u64::from(conflated);
                    all.dropped += u64::from(dropped + refused);
                }
                format!("{} {} {} {}", all.sent, all.waiting, all.conflated, all.dropped)
            }
            "counts" => {
                let id = self.known[first.parse::<usize>().expect("a number")];
                cx.conn(id).and_then(|conn| conn.counts(topic)).map_or("none".to_owned(), |counts| counts.to_string())
            }
            "lagged" => format!("{:?}", cx.data()),
            "all" => cx.counts_of_all().to_string(),
            "close" => {
                let (text, _) = (cx.publish(topic, "last words"), cx.close(CloseCode::NORMAL, ""));
                assert_eq!(text.subscribers(), 1);
                assert_eq!(cx.publish(topic, "to nobody").subscribers(), 0, "it is closing");
                assert_eq!(cx.subscribe(topic, Delivery::queue()), Err(SubscribeError::Gone));
                return;
            }
            other => panic!("{other}?"),
        };
        let _ = cx.send(answer.as_str());
    }

    fn on_lagged(&mut self, cx: &mut Cx<'_, Self>, lagged: Lagged) {
        let id = cx.id();
        assert_eq!(cx.lag(id), std::time::Duration::ZERO, "nothing waits any more");
        *cx.data() = Some(lagged);
    }
}

fn told(published: Published) -> String {
    let Published { sent, waiting, conflated, dropped, refused, .. } = published;
    format!("{sent} {waiting} {conflated} {dropped} {refused}")
}

fn board(config: Config) -> (wsring::Running, std::net::SocketAddr) {
    serve(config, 1, |_| Board { known: Vec::new() })
}

/// Panics end what they are about.
fn lenient() -> (wsring::Running, std::net::SocketAddr) {
    let server = Server::bind("127.0.0.1:0").expect("a port").cores(cores(1));
    let running = server.start(|_| Board { known: Vec::new() }).expect("the server starts");
    let addr = running.local_addrs()[0];
    (running, addr)
}

trait Talks {
    fn say(&mut self, words: &str);
    fn hear(&mut self) -> String;

    fn ask(&mut self, words: &str) -> String {
        self.say(words);
        self.hear()
    }
}

impl Talks for Client {
    fn say(&mut self, words: &str) {
        self.send(TEXT, words.as_bytes());
    }

    fn hear(&mut self) -> String {
        let frame = self.frame();
        assert_eq!(frame.opcode, TEXT, "{frame:?}");
        String::from_utf8(frame.payload).expect("text")
    }
}

#[test]
fn a_message_goes_to_those_who_have_subscribed_and_to_nobody_else() {
    let (running, addr) = board(Config::default());
    let mut clients = [(); 3].map(|()| Client::connect(addr));
    for (client, how) in clients.iter_mut().zip(["queue", "conflate", "oldest"]) {
        assert_eq!(client.ask(&format!("sub news {how}")), "subscribed 0");
    }
    assert_eq!(clients[1].ask("sub other queue"), "subscribed 0");
    let [first, second, third] = &mut clients;
    first.say("pub news hello");
    assert_eq!((first.hear(), first.hear()), ("hello".to_owned(), "3 0 0 0 0".to_owned()));
    assert_eq!((second.hear(), third.hear()), ("hello".to_owned(), "hello".to_owned()));
    assert_eq!(third.ask("unsub news"), "1 = 1 + 0 + 0 + 0");
    second.say("pub news again");
    assert_eq!((second.hear(), second.hear(), first.hear()), ("again".into(), "2 0 0 0 0".into(), "again".into()));
    assert_eq!(third.ask("pub other there"), "1 0 0 0 0");
    assert_eq!(second.hear(), "there");
    assert_eq!(second.ask("all"), "3 = 3 + 0 + 0 + 0");
    assert_eq!(third.ask("all"), "1 = 1 + 0 + 0 + 0", "what has ended counts on");
    clients.into_iter().for_each(Client::close);
    let stats = finish(running);
    assert_eq!((stats.published, stats.delivered, stats.conflated, stats.dropped), (3, 6, 0, 0));
}

#[test]
fn what_is_retained_goes_first_and_what_was_removed_does_not() {
    let (running, addr) = board(Config::default());
    let mut feed = Client::connect(addr);
    assert_eq!(feed.ask("pub last old"), "0 0 0 0 0");
    assert_eq!(feed.ask("pub last new"), "0 0 0 0 0");
    assert_eq!(feed.ask("trade last trade"), "0 0 0 0 0");
    for words in ["key book 1 a", "key book 2 b", "key book 1 c", "key book 3 lost", "remove book 2", "key book 3 d"] {
        assert_eq!(feed.ask(words), "0 0 0 0 0");
    }
    let mut late = Client::connect(addr);
    late.say("sub last conflate");
    assert_eq!((late.hear(), late.hear()), ("new".into(), "subscribed 1".into()), "a trade is no state");
    late.say("sub book conflate");
    assert_eq!([(); 3].map(|()| late.hear()), ["0>2 x0 c", "0>1 x0 d", "subscribed 2"]);
    feed.say("key book 1 e");
    assert_eq!((feed.hear(), late.hear()), ("1 0 0 0 0".into(), "2>3 x1 e".into()));
    feed.say("remove book 3");
    assert_eq!((feed.hear(), late.hear()), ("1 0 0 0 0".into(), "1>2 x1 gone".into()));
    assert_eq!(late.ask("all"), "2 = 2 + 0 + 0 + 0", "what is retained is not counted");
    feed.close();
    late.close();
    finish(running);
}

/// More than its socket takes at once, in one callback: what waits is conflated, and the newest comes last.
#[test]
fn a_peer_that_does_not_read_is_given_the_newest() {
    let (running, addr) = board(Config::default());
    let mut slow = Client::connect(addr);
    let mut feed = Client::connect(addr);
    assert_eq!(slow.ask("sub news conflate"), "subscribed 0");
    // Sockets hold some megabytes. Each is one callback: what has gone before it is not known in advance.
    let (mut sent, mut all) = (0, 0);
    for _ in 0..40 {
        let answer = feed.ask("flood news 200 10000");
        let numbers: Vec<u64> = answer.split(' ').map(|number| number.parse().expect("a number")).collect();
        assert_eq!(numbers.iter().sum::<u64>(), 200);
        sent += numbers[0];
        all += 200;
    }
    assert!(sent < all / 2, "{sent} of {all} were sent to a peer that does not read");
    // It reads on, until nothing waits any more and all that was sent has come.
    let newest = format!("{:010000}", 199);
    let mut came = 0;
    loop {
        let last = slow.hear();
        came += 1;
        if last == newest {
            let counts = feed.ask("counts news 0");
            let numbers: Vec<u64> = counts.split(' ').filter_map(|word| word.parse().ok()).collect();
            assert_eq!((numbers[0], numbers[1] + numbers[2] + numbers[3], numbers[4]), (all, all, 0), "{counts}");
            if numbers[2] == 0 && numbers[1] == came {
                break;
            }
        }
    }
    let lagged = slow.ask("lagged");
    assert!(lagged.contains("conflated: ") && lagged.contains("dropped: 0"), "{lagged}");
    slow.close();
    feed.close();
    let stats = finish(running);
    assert_eq!((stats.published, stats.delivered, stats.delivered + stats.conflated), (8000, came, 8000));
}

#[test]
fn each_delivery_does_what_it_says_with_a_backlog() {
    for (how, after) in [("oldest", "dropped"), ("newest", "dropped"), ("conflate", "conflated"), ("close", "closed")] {
        let (running, addr) = board(Config::default());
        let mut slow = Client::connect(addr);
        let mut feed = Client::connect(addr);
        assert_eq!(slow.ask(&format!("sub news {how}")), "subscribed 0");
        // More than 64 KiB in one callback does not go at once.
        let answer = feed.ask("flood news 20 10000");
        let expected = match how {
            "oldest" => "7 3 0 10",
            "newest" => "7 3 0 10",
            "conflate" => "7 1 12 0",
            _ => "7 2 0 1",
        };
        assert_eq!(answer, expected, "{how} {after}");
        let mut came: Vec<u64> = Vec::new();
        let want = if how == "conflate" {
            8
        } else if how == "close" {
            9
        } else {
            10
        };
        for _ in 0..if how == "close" { 7 } else { want } {
            came.push(slow.hear().parse().expect("a number"));
        }
        let last: &[u64] = match how {
            "oldest" => &[17, 18, 19],
            "newest" => &[7, 8, 9],
            "conflate" => &[19],
            _ => &[],
        };
        let expected: Vec<u64> = (0..7).chain(last.iter().copied()).collect();
        assert_eq!(came, expected, "{how}");
        if how == "close" {
            assert_eq!(slow.expect_close().0, 4001);
        } else {
            let lagged = slow.ask("lagged");
            let dropped = if how == "conflate" { "dropped: 0, conflated: 12" } else { "dropped: 10, conflated: 0" };
            assert!(lagged.contains(dropped), "{how}: {lagged}");
            slow.close();
        }
        feed.close();
        finish(running);
    }
}

#[test]
fn what_waits_goes_before_a_close_and_nobody_subscribes_behind_it() {
    let (running, addr) = board(Config::default());
    let mut client = Client::connect(addr);
    assert_eq!(client.ask("sub news conflate"), "subscribed 0");
    client.say("close news");
    assert_eq!(client.hear(), "last words");
    assert_eq!(client.expect_close().0, 1000);
    finish(running);
}

/// A closure of a topic that panics ends the connection of the message, and nobody else's.
#[test]
fn a_message_that_cannot_be_written_ends_its_connection() {
    let (running, addr) = lenient();
    let (mut sub, mut feed) = (Client::connect(addr), Client::connect(addr));
    assert_eq!(sub.ask("sub broken queue"), "subscribed 0");
    assert_eq!(feed.ask("pub broken x"), "0 0 0 1 0");
    assert_eq!(sub.expect_close().0, 1011);
    assert_eq!(feed.ask("pub broken x"), "0 0 0 0 0");
    feed.close();
    let stats = finish(running);
    assert_eq!(stats.panics, 1);
}

/// At the cap and one past it.
#[test]
fn there_are_so_many_topics_and_subscriptions() {
    let (running, addr) = board(Config::default().topics_max(5).subscriptions_max(2));
    let mut client = Client::connect(addr);
    assert_eq!(client.ask("sub four queue"), "subscribed 0");
    assert_eq!(client.ask("sub five queue"), "subscribed 0");
    assert_eq!(client.ask("sub six queue"), "only 5");
    assert!(client.ask("sub broken queue").contains("Config::subscriptions_max"));
    assert_eq!(client.ask("unsub four"), "0 = 0 + 0 + 0 + 0");
    assert_eq!(client.ask("sub broken queue"), "subscribed 0");
    client.close();
    finish(running);
}

/// As many subscribers as there are, and the message is compressed once.
#[test]
fn what_is_published_is_compressed_once() {
    let config = Config::default().deflate(Deflate::shared().threshold_bytes(0));
    let (running, addr) = board(config);
    let mut subs: Vec<Packed> = (0..3).map(|_| Packed::connect(addr, "permessage-deflate")).collect();
    for sub in &mut subs {
        sub.send(TEXT, b"sub news conflate");
        sub.expect(TEXT, b"subscribed 0");
    }
    let mut feed = Client::connect(addr);
    let text = "much of the same ".repeat(300).replace(' ', "-");
    assert_eq!(feed.ask(&format!("pub news {text}")), "3 0 0 0 0");
    for sub in &mut subs {
        sub.expect(TEXT, text.as_bytes());
    }
    feed.close();
    let stats = finish(running);
    assert_eq!(stats.delivered, 3);
}
