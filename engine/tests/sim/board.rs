//! Topics, as the application under test uses them in every callback: a model that knows what was published, who had subscribed then, and
//! nothing of sockets. What each subscriber must see of that: `seen`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use wsring::ring::Time;
use wsring::ring::sim::Random;
use wsring::{
    CloseCode, Conn, ConnId, CoreCx, Counts, Delivery, Handle, Handler, Lagged, Posted, Publish, Retain,
    SubscribeError, Topic, TopicId, Update,
};

use super::Manners;
use super::oracle::Person;
use super::rated::Rated;

/// What a message of a topic begins with: no other text does.
pub const MARK: char = '\u{2}';

const TOPICS: u32 = 4;
const KEYS: u64 = 5;

pub(super) type Key = Option<u64>;

/// A published message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) topic: u32,
    pub(super) key: Key,
    pub(super) fixed: bool,
    pub(super) removes: bool,
}

impl Known {
    fn draw(random: &mut Random) -> Self {
        let topic = random.below(TOPICS.into()) as u32;
        Self::draw_of(random, topic)
    }

    fn draw_of(random: &mut Random, topic: u32) -> Self {
        let key = random.chance(700).then(|| random.below(KEYS));
        let (removes, fixed) = (key.is_some() && random.chance(100), random.chance(80));
        Self { topic, key, fixed: fixed && !removes, removes }
    }

    fn how(self) -> Publish {
        let how = self.key.map_or_else(Publish::default, Publish::keyed);
        let how = if self.fixed { how.must_not_conflate() } else { how };
        if self.removes { how.removes() } else { how }
    }
}

/// A number, and how much there is to it.
fn payload(random: &mut Random, number: &str, in_crowd: bool) -> String {
    let long = match random.chance(50) {
        true => 2_000,
        false if in_crowd => 4_000,
        false => 60,
    };
    format!("{number}{}", ".".repeat(random.below(long) as usize))
}

fn name(topic: u32) -> String {
    format!("topic {topic}")
}

/// What a topic's messages were.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) count: u64,
    pub(super) last: BTreeMap<Key, u64>,
    pub(super) value: BTreeMap<Key, u64>,
    /// Keys that it retains.
    max: usize,
}

/// What was published by whom.
#[derive(Debug, Default)]
pub struct Posts {
    pub(super) known: Vec<Known>,
    facts: Vec<Facts>,
    /// Over all messages: how many subscribers there were, and of how many another message waited that it replaced.
    subscribers: u64,
    conflated: u64,
    dropped: u64,
    /// What other threads published, which the core took, and which it has not been seen to publish yet.
    letters: VecDeque<Known>,
    /// The numbers of what it has.
    read: Vec<u64>,
}

/// A subscription of a peer: it has one to a topic, once.
#[derive(Clone, Debug)]
pub struct Subscription {
    delivery: Delivery,
    pub(super) interval: Option<Duration>,
    closes: Option<CloseCode>,
    pub(super) changed: bool,
    /// Of the topic, when it began; and how many messages of all topics had been published.
    pub(super) begun: Facts,
    pub(super) begun_at: u64,
    /// What the engine counted at its end, or before its connection was closed.
    pub(super) ended: Option<Counts>,
    pub(super) closing: Option<Counts>,
}

/// How the application uses topics.
pub struct Board {
    random: Random,
    pub rated: Rated,
    /// Some subscriptions close those who are slow.
    closes: bool,
    /// Now and then all subscribe to this topic, as those who want nothing but what is newest, and there is much of it.
    crowd: Option<u32>,
    topics: Vec<TopicId>,
    /// Of connections something waits for: when that was asked, how long it had waited, and what had gone by then.
    lags: BTreeMap<ConnId, (Time, Duration, u64)>,
    /// What was told of those that have missed something.
    told: BTreeMap<ConnId, u64>,
    /// When connections that have missed something were seen with nothing that waits, and how much that was.
    missed: BTreeMap<ConnId, (Time, u64)>,
}

fn write(topic: u32) -> impl Fn(&Update<'_>, &mut Vec<u8>) {
    move |update, into| {
        let Update { key, seq, prev, merged, removes, published_at, .. } = *update;
        let key = key.map_or_else(|| "-".to_owned(), |key| key.to_string());
        let payload = std::str::from_utf8(update.payload).expect("it is text");
        let line = format!("{MARK}{topic}|{key}|{seq}|{prev}|{merged}|{removes}|{published_at}|{payload}");
        into.extend_from_slice(line.as_bytes());
    }
}

fn merge(old: &[u8], new: &[u8], into: &mut Vec<u8>) {
    let strip = |bytes: &[u8]| std::str::from_utf8(bytes).expect("it is text").trim_end_matches('.').to_owned();
    into.extend_from_slice(format!("{}+{}", strip(old), strip(new)).as_bytes());
}

impl Board {
    /// In half of the seeds, drawn apart from everything else.
    pub fn new(seed: u64, manners: Manners) -> Option<Self> {
        let mut random = Random::new(seed ^ 0x746f_7069_6373);
        random.chance(500).then(|| Self {
            crowd: random.chance(400).then(|| random.below(TOPICS.into()) as u32),
            random,
            rated: Rated::new(seed, manners),
            closes: manners == Manners::Rude,
            topics: Vec::new(),
            lags: BTreeMap::new(),
            told: BTreeMap::new(),
            missed: BTreeMap::new(),
        })
    }

    /// No subscription closes who is slow: nobody knows when another thread's message does that.
    pub fn closing_nobody(mut self) -> Self {
        self.closes = false;
        self
    }

    /// The core has begun.
    pub fn begin<H: Handler>(&mut self, cx: &mut CoreCx<'_, H>, posts: &mut Posts) {
        let retains = [Retain::No, Retain::Last, Retain::LastPerKey { max: 3 }, Retain::LastPerKey { max: 100 }];
        for (topic, retain) in (0..).zip(retains) {
            let id = cx.topic(&name(topic)).expect("there is room for four");
            cx.configure_topic(id, Topic::default().retain(retain).write(write(topic)).merge(merge));
            self.topics.push(id);
        }
        posts.known = vec![Known { topic: TOPICS, key: None, fixed: true, removes: false }];
        posts.facts = vec![Facts::default(); TOPICS as usize];
        (posts.facts[2].max, posts.facts[3].max) = (3, 100);
    }

    /// Whether it does something now, and to which topic.
    pub fn draws(&mut self) -> Option<(u32, u64)> {
        let begun = !self.topics.is_empty();
        (begun && self.random.chance(350)).then(|| (self.random.below(TOPICS.into()) as u32, self.random.below(10)))
    }

    /// To which topic all subscribe now, and much is published.
    pub fn crowds(&mut self) -> Option<u32> {
        self.crowd.filter(|_| !self.topics.is_empty() && self.random.chance(100))
    }

    pub fn join_crowd<H: Handler>(&mut self, conn: &mut Conn<'_, H>, topic: u32, posts: &Posts, person: &mut Person) {
        if person.subs.get(&topic).is_none_or(|sub| sub.ended.is_none()) {
            self.subscribe_as(conn, topic, (Delivery::conflate(), None, None), posts, person);
        }
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() { None } else { Some(self.random.pick(all)) }
    }

    pub fn subscribe<H: Handler>(&mut self, conn: &mut Conn<'_, H>, topic: u32, posts: &Posts, person: &mut Person) {
        if person.subs.get(&topic).is_some_and(|sub| sub.ended.is_some()) {
            return;
        }
        let code = CloseCode::new(4001).expect("a valid code");
        let (mut closes, few) = (None, self.random.range(1, 6) as u32);
        let mut delivery = match self.random.below(8) {
            0 => person.unrated(Delivery::queue()),
            1 => Delivery::drop_oldest(few),
            2 => Delivery::drop_newest(few),
            3 if self.closes && self.random.chance(300) => {
                closes = Some(code);
                Delivery::close(code, few)
            }
            3..=5 => Delivery::merge(),
            _ => Delivery::conflate(),
        };
        let interval = self.random.chance(300).then(|| Duration::from_millis(self.random.range(1, 120)));
        if let Some(interval) = interval {
            delivery = delivery.at_most(interval);
        }
        self.subscribe_as(conn, topic, (delivery, interval, closes), posts, person);
    }

    fn subscribe_as<H: Handler>(
        &mut self,
        conn: &mut Conn<'_, H>,
        topic: u32,
        (delivery, interval, closes): (Delivery, Option<Duration>, Option<CloseCode>),
        posts: &Posts,
        person: &mut Person,
    ) {
        let facts = &posts.facts[topic as usize];
        match conn.subscribe(self.topics[topic as usize], delivery) {
            Ok(subscribed) if subscribed.is_new => {
                assert_eq!(
                    subscribed.retained as usize,
                    facts.value.len(),
                    "what is retained is not what was published"
                );
                let (begun, begun_at) = (facts.clone(), posts.known.len() as u64);
                let (changed, ended, closing) = (false, None, None);
                let sub = Subscription { delivery, interval, closes, changed, begun, begun_at, ended, closing };
                assert!(person.subs.insert(topic, sub).is_none(), "a second subscription is new");
            }
            Ok(_) => {
                let sub = person.subs.get_mut(&topic).expect("it had subscribed before");
                (sub.changed, sub.delivery, sub.interval, sub.closes) = (true, delivery, interval, closes);
            }
            Err(SubscribeError::Gone | SubscribeError::NoRoom) => {}
            Err(error) => assert!(person.subs.len() >= 3, "{error}"),
        }
    }

    pub fn unsubscribe<H: Handler>(&mut self, conn: &mut Conn<'_, H>, topic: u32, posts: &Posts, person: &mut Person) {
        let counts = conn.unsubscribe(self.topics[topic as usize]);
        if let Some(counts) = counts {
            let sub = person.subs.get_mut(&topic).expect("it had subscribed");
            check(counts, posts, topic, sub);
            assert_eq!(counts.waiting, 0);
            sub.ended = Some(counts);
        }
    }

    /// Publishes something. Which connections a subscription of theirs has closed, is for the caller to find out.
    pub fn publish<H: Handler>(&mut self, cx: &mut CoreCx<'_, H>, topic: u32, posts: &mut Posts, people: &[Person]) {
        let known = Known::draw_of(&mut self.random, topic);
        let in_crowd = self.crowd == Some(topic) && self.random.chance(500);
        let payload = payload(&mut self.random, &posts.known.len().to_string(), in_crowd);
        posts.publish(known);
        let published = cx.publish_as(self.topics[topic as usize], known.how(), payload.as_str());
        posts.subscribers += u64::from(published.subscribers());
        posts.conflated += u64::from(published.conflated);
        posts.dropped += u64::from(published.dropped + published.refused);
        let most =
            people.iter().filter(|person| person.subs.get(&topic).is_some_and(|sub| sub.ended.is_none())).count();
        assert!(published.subscribers() as usize <= most, "{published:?}: more subscribers than there can be, {most}");
        let open = cx.stats().open;
        assert!(u64::from(published.subscribers()) <= open, "{published:?}: a subscriber that is not open");
    }

    /// How long something has waited for a connection, and how much of what was published has gone or been dropped.
    pub fn lag_of<H: Handler>(&self, conn: &mut Conn<'_, H>) -> Option<(Duration, u64)> {
        let (id, sum) = (conn.id(), conn.counts_of_all());
        (sum.waiting > 0).then(|| (conn.lag(id), sum.sent + sum.dropped))
    }

    /// Connections with a subscription that may close them.
    pub fn may_close(&self, topic: u32, person: &Person) -> Option<CloseCode> {
        person.subs.get(&topic).and_then(|sub| sub.closes)
    }

    /// Whether a connection has the subscription.
    pub fn has<H: Handler>(&self, conn: &Conn<'_, H>, topic: u32) -> bool {
        conn.counts(self.topics[topic as usize]).is_some()
    }

    /// What the engine counts is what was published.
    pub fn check<H: Handler>(&mut self, conn: &mut Conn<'_, H>, now: Time, posts: &Posts, person: &Person) {
        let mut sum = Counts::default();
        for (&topic, sub) in &person.subs {
            let counts = sub.ended.or_else(|| conn.counts(self.topics[topic as usize]));
            let Some(counts) = counts else { return };
            if sub.ended.is_none() {
                check(counts, posts, topic, sub);
            }
            sum += counts;
        }
        if person.subs.values().all(|sub| sub.ended.is_some()) && conn.counts_of_all() == Counts::default() {
            return; // it is closing
        }
        assert_eq!(conn.counts_of_all(), sum, "topics are miscounted: all of a connection");
        // What waits in front grows older until it goes.
        let id = conn.id();
        let retained = person.subs.values().any(|sub| !sub.begun.value.is_empty());
        let (lag, gone) = (conn.lag(id), sum.sent + sum.dropped);
        if let Some((at, before, gone_before)) = self.lags.insert(id, (now, lag, gone))
            && !retained
            && before > Duration::ZERO
            && gone == gone_before
        {
            assert_eq!(lag, before + now.since(at), "the age of what waits is wrong");
        }
        // What it missed is told, in the pass in which the last that waited has gone.
        let plain = |sub: &Subscription| !sub.changed && sub.interval.is_none() && sub.delivery != Delivery::queue();
        let missed = sum.dropped + sum.conflated;
        let is_known = person.subs.values().all(|sub| plain(sub) && sub.ended.is_none());
        if !is_known || sum.waiting > 0 || lag > Duration::ZERO || missed == 0 {
            self.missed.remove(&id);
            return;
        }
        let told = self.told.get(&id).copied().unwrap_or_default();
        if let Some((at, before)) = self.missed.insert(id, (now, missed)) {
            assert!(
                at == now || before != missed || told == missed,
                "{missed} were missed and {told} told, which was never told"
            );
        }
    }

    /// A connection is about to be closed: what waits for it goes first.
    pub fn on_closing<H: Handler>(&mut self, conn: &Conn<'_, H>, person: &mut Person) {
        for (&topic, sub) in &mut person.subs {
            if sub.ended.is_none() && sub.closing.is_none() {
                sub.closing = conn.counts(self.topics[topic as usize]);
            }
        }
    }

    pub fn on_lagged<H: Handler>(&mut self, conn: &mut Conn<'_, H>, lagged: Lagged) {
        assert!(lagged != Lagged::default(), "told of nothing");
        assert!(lagged.dropped + lagged.conflated <= conn.counts_of_all().published, "{lagged:?}");
        *self.told.entry(conn.id()).or_default() += lagged.dropped + lagged.conflated;
    }
}

/// `published = sent + waiting + conflated + dropped`, always.
fn check(counts: Counts, posts: &Posts, topic: u32, sub: &Subscription) {
    let Counts { published, sent, waiting, conflated, dropped, .. } = counts;
    let known = posts.facts[topic as usize].count - sub.begun.count;
    assert_eq!(published, known, "topics are miscounted: what was published");
    assert_eq!(published, sent + waiting + conflated + dropped, "topics are miscounted: {counts}");
}

impl Facts {
    fn publish(&mut self, topic: u32, known: Known, number: u64) {
        let Known { key, fixed, removes, .. } = known;
        self.count += 1;
        match topic {
            0 => {}
            1 if removes => self.value.retain(|kept, _| *kept != key),
            1 if fixed => {}
            1 => self.value = BTreeMap::from([(key, number)]),
            _ if removes => {
                self.value.remove(&key);
                self.last.remove(&key);
            }
            _ if self.last.contains_key(&key) || !fixed && self.last.len() < self.max => {
                *self.last.entry(key).or_default() += 1;
                if !fixed {
                    self.value.insert(key, number);
                }
            }
            _ => {}
        }
    }
}

impl Posts {
    /// What was published next.
    fn publish(&mut self, known: Known) {
        self.facts[known.topic as usize].publish(known.topic, known, self.known.len() as u64);
        self.known.push(known);
    }

    fn published(&self) -> u64 {
        (self.known.len() as u64).saturating_sub(1)
    }

    /// Another thread publishes something.
    pub fn post<M>(&mut self, random: &mut Random, handle: &Handle<M>) -> Posted {
        let known = Known::draw(random);
        let payload = payload(random, &format!("p{}", self.posted()), false);
        let topic = handle.topic(&name(known.topic)).expect("there is room for four");
        let posted = handle.publish_as(topic, known.how(), payload);
        if posted.taken > 0 {
            self.letters.push_back(known);
        }
        posted
    }

    /// The core has published so much: more than the application has, so that is what other threads did, in their order.
    pub fn learn(&mut self, published: u64) {
        for _ in self.published()..published {
            let known = self.letters.pop_front().expect("topics are miscounted: publishes of nobody");
            self.read.push(self.known.len() as u64);
            self.publish(known);
        }
    }

    /// How much other threads published, and how much of that the core was seen to publish.
    pub fn posted(&self) -> u64 {
        self.read() + self.letters.len() as u64
    }

    pub fn read(&self) -> u64 {
        self.read.len() as u64
    }

    /// Of a message: `p7` is the eighth that other threads published.
    pub(super) fn number(&self, part: &str) -> u64 {
        match part.strip_prefix('p') {
            Some(posted) => self.read[posted.parse::<usize>().expect("a number")],
            None => part.parse().expect("a number"),
        }
    }

    /// Each message came to one end with each subscriber.
    pub fn judge(&self, stats: &wsring::Stats) {
        assert_eq!(stats.published, self.published(), "topics are miscounted: publishes");
        let all = stats.delivered + stats.conflated + stats.dropped;
        // Of what other threads publish nobody is told how many subscribers there were.
        let exact = self.read.is_empty();
        let agrees = |engine: u64, known: u64| if exact { engine == known } else { engine >= known };
        assert!(agrees(all, self.subscribers), "topics are miscounted: {all} deliveries, not {}", self.subscribers);
        assert!(agrees(stats.conflated, self.conflated), "topics are miscounted: what it conflated");
        assert!(stats.dropped >= self.dropped, "topics are miscounted: what it dropped");
    }
}

/// In a rude run connections have few subscriptions.
pub fn subscriptions_max(manners: Manners) -> u32 {
    if manners == Manners::Rude { 3 } else { 10 }
}
