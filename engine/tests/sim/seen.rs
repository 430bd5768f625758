//! What a peer got of topics, against what it must have got: numbers that show what is missing, no older value behind a newer one, and counts that add up.

use std::collections::BTreeMap;

use super::board::{Key, MARK, Posts, Subscription};
use super::oracle::Person;

/// A message of a topic, as a peer got it.
#[derive(Clone, Debug)]
struct Got {
    topic: u32,
    key: Key,
    seq: u64,
    prev: u64,
    merged: u32,
    removes: bool,
    at: u64,
    /// The first and the last that it is made of.
    numbers: (u64, u64),
}

impl Got {
    fn of(line: &str, posts: &Posts) -> Self {
        let mut parts = line.trim_start_matches(MARK).splitn(8, '|');
        let mut next = || parts.next().expect("eight parts");
        let topic = next().parse().expect("a topic");
        let key = next().parse().ok();
        let [seq, prev] = [next(), next()].map(|part| part.parse().expect("a number"));
        let (merged, removes, at) =
            (next().parse().expect("a count"), next() == "true", next().parse().expect("a time"));
        let mut all = next().trim_end_matches('.').split('+').map(|part| posts.number(part));
        let first = all.next().expect("there is one");
        Self { topic, key, seq, prev, merged, removes, at, numbers: (first, all.next_back().unwrap_or(first)) }
    }
}

/// What one subscription has been given.
struct View<'s> {
    sub: &'s Subscription,
    retained: BTreeMap<Key, u64>,
    last: BTreeMap<Key, u64>,
    highest: u64,
    newest: BTreeMap<Key, u64>,
    /// When the last two of each key were published, and their numbers.
    times: BTreeMap<Key, [Option<(u64, u64)>; 2]>,
    fixed: u64,
    any: u64,
    counted: u64,
    merged: u64,
}

impl<'s> View<'s> {
    fn new(sub: &'s Subscription) -> Self {
        let highest = if sub.begun.value.is_empty() { sub.begun.count } else { 0 };
        Self {
            sub,
            retained: sub.begun.value.clone(),
            last: sub.begun.last.clone(),
            highest,
            newest: BTreeMap::new(),
            times: BTreeMap::new(),
            fixed: 0,
            any: 0,
            counted: 0,
            merged: 0,
        }
    }

    fn take(&mut self, got: &Got, posts: &Posts) -> Result<(), String> {
        let check = |holds: bool, says: &str| if holds { Ok(()) } else { Err(format!("{says}: {got:?}")) };
        let (first, number) = got.numbers;
        let known = posts.known[number as usize];
        check((known.topic, known.key, known.removes) == (got.topic, got.key, got.removes), "it was not published so")?;
        let per_key = got.topic >= 2;
        if got.merged == 0 {
            let value = self.retained.remove(&got.key);
            check(value == Some(number) && got.prev == 0, "it was not what is retained")?;
            let seq = if per_key { self.sub.begun.last[&got.key] } else { self.sub.begun.count };
            check(got.seq == seq, "what is retained has another number")?;
        } else {
            // A value that was retained, waited, and was replaced.
            if self.retained.remove(&got.key).is_some() {
                self.last.insert(got.key, 0);
            }
            let before = self.newest.get(&got.key).copied().unwrap_or_default();
            let merges_retained = number > before && self.sub.begun.value.values().any(|value| *value == first);
            check(first > before || merges_retained, "an older value of a key behind a newer one")?;
            check(number > self.fixed, "it is behind a newer one that may not be conflated")?;
            check(!known.fixed || number > self.any && first == number, "it has overtaken what waited")?;
            // A key that was removed since begins anew.
            let mut since = posts.known[..number as usize].iter().skip(self.sub.begun_at.max(before + 1) as usize);
            let anew = since.any(|known| (known.topic, known.key, known.removes) == (got.topic, got.key, true));
            let last = self.last.get(&got.key).copied().filter(|_| !anew).unwrap_or(0);
            let prev = if per_key { last } else { self.highest };
            check(got.seq == 0 || got.prev == prev, &format!("the number before it is {prev}"))?;
            self.counted += 1;
            self.merged += u64::from(got.merged);
            self.check_rate(got, posts)?;
        }
        if known.fixed {
            self.fixed = number;
        }
        self.any = self.any.max(number);
        self.newest.insert(got.key, number);
        self.highest = self.highest.max(got.seq);
        self.last.insert(got.key, if got.removes { 0 } else { got.seq });
        Ok(())
    }

    /// Of three messages of a key the last was published when the second had gone, and that was an interval behind the first; unless
    /// one that may not be conflated was published meanwhile, before which all goes that was held, as it does before a close of ours.
    fn check_rate(&mut self, got: &Got, posts: &Posts) -> Result<(), String> {
        let is_held = !self.sub.changed && self.sub.closing.is_none();
        let Some(interval) = self.sub.interval.filter(|_| is_held) else { return Ok(()) };
        let (at, number) = (got.at, got.numbers.1);
        let times = self.times.entry(got.key).or_default();
        let [first, second] = *times;
        *times = [second, Some((at, number))];
        let Some((before, from)) = first else { return Ok(()) };
        let between = &posts.known[from as usize..=number as usize];
        let is_free = between.iter().any(|known| known.topic == got.topic && known.fixed);
        if !is_free && at < before + interval.as_nanos() as u64 {
            return Err(format!("three within {interval:?}: {got:?}"));
        }
        Ok(())
    }
}

/// What a peer got of topics is what it must have got.
pub fn judge(person: &Person, posts: &Posts) -> Result<(), String> {
    let mut views: BTreeMap<u32, View<'_>> = person.subs.iter().map(|(topic, sub)| (*topic, View::new(sub))).collect();
    for line in &person.updates {
        let got = Got::of(line, posts);
        let view = views.get_mut(&got.topic).ok_or_else(|| format!("it has not subscribed to this: {line}"))?;
        view.take(&got, posts)?;
    }
    // Whoever sees an orderly end has seen everything.
    let whole = person.eof_at.is_some() && person.reason.is_some() && !person.faulted;
    for (topic, view) in views {
        if let Some(counts) = view.sub.ended.filter(|counts| whole && counts.dropped == 0)
            && view.merged != counts.sent + counts.conflated
        {
            return Err(format!(
                "topics are miscounted: {} say that they stand for {}: {counts}",
                view.counted, view.merged
            ));
        }
        let sent = match (view.sub.ended, view.sub.closing) {
            (Some(counts), _) => counts.sent..=counts.sent,
            (None, Some(counts)) => counts.sent..=counts.sent + counts.waiting,
            (None, None) => continue,
        };
        if whole && !sent.contains(&view.counted) || view.counted > *sent.end() {
            let (counted, sub) = (view.counted, view.sub);
            return Err(format!("topics are miscounted: of {topic} {counted} came, and {sent:?} were sent: {sub:?}"));
        }
    }
    Ok(())
}
