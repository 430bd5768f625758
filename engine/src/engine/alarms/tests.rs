use super::*;

fn at(nanos: u64) -> Time {
    Time::from_nanos(nanos)
}

fn alarms(most: u32) -> Alarms {
    Alarms::new(Place::new(3), most, None)
}

/// A timer of the core that has come.
fn fired(alarms: &mut Alarms, now: u64) -> Option<Fired> {
    match alarms.pop_core(at(now))? {
        (None, Came::Timer(fired)) => Some(fired),
        other => panic!("not the core's: {other:?}"),
    }
}

/// Those of the core that have come, by their keys.
fn come(alarms: &mut Alarms, now: u64) -> Vec<u64> {
    let keys = std::iter::from_fn(|| fired(alarms, now).map(|fired| fired.key)).collect();
    alarms.look_ahead();
    keys
}

fn once(alarms: &mut Alarms, now: u64, after: u64, key: u64) -> TimerId {
    alarms.set(at(now), Duration::from_nanos(after), false, key, None).expect("there is room")
}

#[test]
fn a_hundred_thousand_are_set_cancelled_and_come_in_order() {
    const COUNT: u64 = 100_000;
    let mut alarms = alarms(COUNT as u32);
    let after = |key: u64| 1 + key * 7_919 % 1_000 * 1_000_003; // a hundred have each time
    let ids: Vec<TimerId> = (0..COUNT).map(|key| once(&mut alarms, 500, after(key), key)).collect();
    let is_cancelled = |key: &u64| key.is_multiple_of(3);
    (0..COUNT).filter(is_cancelled).for_each(|key| assert!(alarms.cancel(ids[key as usize])));
    let mut expected: Vec<u64> = (0..COUNT).filter(|key| !is_cancelled(key)).collect();
    expected.sort_by_key(|key| after(*key)); // and those of a time in the order in which they were set
    let mut told = Vec::new();
    while let Some(now) = alarms.next_due() {
        told.extend(come(&mut alarms, now.as_nanos()));
    }
    assert_eq!((told, alarms.count), (expected, 0));
    assert!(ids.iter().all(|id| !alarms.cancel(*id)), "all ids are stale");
}

/// The most that may be set, and one more; a place is free again when its timer has come or is cancelled.
#[test]
fn there_is_a_cap() {
    let mut alarms = alarms(2);
    let first = once(&mut alarms, 0, 5, 1);
    once(&mut alarms, 0, 6, 2);
    let more = |alarms: &mut Alarms| alarms.set(at(0), Duration::ZERO, true, 3, Some(0)).err();
    assert_eq!(more(&mut alarms), Some(TimersFull));
    assert!(alarms.cancel(first));
    assert_eq!(more(&mut alarms), None);
    assert_eq!(more(&mut alarms), Some(TimersFull));
    assert_eq!(come(&mut alarms, 6), [2]);
    assert_eq!(more(&mut alarms), None);
    assert_eq!(more(&mut alarms), Some(TimersFull));
    alarms.end(0);
    assert_eq!(alarms.count, 0);
}

#[test]
fn a_stale_id_is_nobody() {
    let mut alarms = alarms(8);
    let first = once(&mut alarms, 0, 5, 1);
    assert_eq!(come(&mut alarms, 5), [1]);
    let second = once(&mut alarms, 5, 5, 2);
    assert_eq!((first.index(), second.index()), (0, 0), "the same place");
    assert!(!alarms.cancel(first), "it has come");
    let elsewhere = TimerId::new(Place::new(4), second.generation(), second.index());
    assert!(!alarms.cancel(elsewhere), "another core's");
    assert!(!alarms.cancel(TimerId::new(Place::new(3), 0, 77)), "never set");
    assert!(alarms.cancel(second) && !alarms.cancel(second));
    assert_eq!((come(&mut alarms, 99), alarms.next_due()), (vec![], None));
    assert_eq!((format!("{second}"), second.place()), ("3/0.1".to_owned(), Place::new(3)));
}

/// Also one for at once: or a pass might never end.
#[test]
fn what_is_set_comes_in_a_later_pass() {
    let mut alarms = alarms(8);
    once(&mut alarms, 10, 0, 1);
    assert_eq!(come(&mut alarms, 10), []);
    assert_eq!(alarms.next_due(), Some(at(11)));
    assert_eq!(come(&mut alarms, 11), [1]);
    once(&mut alarms, 11, u64::MAX, 2);
    assert_eq!(alarms.next_due(), None, "after 584 years");
}

/// The next one comes a period after the last was due, whenever that was told; those that nobody told are counted.
#[test]
fn what_repeats_does_not_drift() {
    let mut alarms = alarms(8);
    let id = alarms.set(at(0), Duration::from_nanos(1_000), true, 7, None).expect("there is room");
    for count in 1..=10_000_u64 {
        assert_eq!(alarms.next_due(), Some(at(count * 1_000)));
        let late = count * 37 % 1_000;
        let fired = fired(&mut alarms, count * 1_000 + late).expect("it has come");
        assert_eq!(fired, Fired { id, key: 7, due: at(count * 1_000), missed: 0 });
        assert_eq!(alarms.pop_core(at(count * 1_000 + late)), None, "once");
        alarms.look_ahead();
    }
    let fired = fired(&mut alarms, 10_005_500).expect("it has come");
    assert_eq!((fired.due, fired.missed), (at(10_001_000), 4));
    alarms.look_ahead();
    assert_eq!(alarms.next_due(), Some(at(10_006_000)));
    assert!(alarms.cancel(id), "from its own callback as from any");
    assert_eq!((come(&mut alarms, u64::MAX), alarms.count), (vec![], 0));
}

#[test]
fn those_of_a_connection_end_with_it_and_are_measured_by_what_was_heard() {
    let mut alarms = alarms(99);
    let mut set = |owner, key, repeats| {
        let after = Duration::from_nanos(10 * (1 + key));
        alarms.set(at(0), after, repeats, key, owner).expect("there is room")
    };
    let ids: Vec<TimerId> = (0..9).map(|key| set(Some(key as u32 % 3), key, key == 4)).collect();
    set(None, 100, false);
    assert_eq!(alarms.pop_conn(at(9)), None);
    let pop = |alarms: &mut Alarms, heard| match alarms.pop_conn(at(heard))? {
        (owner, Came::Timer(fired)) => Some((owner, fired.key)),
        (_, Came::Age(_)) => panic!("none was set"),
    };
    assert_eq!([20; 3].map(|heard| pop(&mut alarms, heard)), [Some((0, 0)), Some((1, 1)), None]);
    assert!(alarms.cancel(ids[3]), "in the middle of its connection's");
    for owner in [0, 0, 77] {
        alarms.end(owner);
    }
    assert_eq!([ids[0], ids[3], ids[6]].map(|id| alarms.cancel(id)), [false; 3]);
    let rest = [Some((2, 2)), Some((1, 4)), Some((2, 5)), Some((1, 7)), Some((2, 8)), None];
    assert_eq!([90; 6].map(|heard| pop(&mut alarms, heard)), rest);
    assert_eq!(alarms.count, 2, "the one that repeats, and the core's");
    alarms.end(1);
    assert_eq!(come(&mut alarms, u64::MAX), [100]);
    assert_eq!(alarms.count, 0);
}

/// No word of a peer changes when its rate allows more: that comes though nothing has been heard, and ends with its connection.
#[test]
fn a_rate_goes_on_by_the_clock() {
    let mut alarms = Alarms::new(Place::new(0), 10, None);
    for owner in [3, 4] {
        alarms.set_age(at(0), Duration::from_nanos(50), Age::Rate, owner);
        alarms.set_age(at(0), Duration::from_nanos(50), Age::Silence, owner);
    }
    alarms.end(4);
    assert_eq!((alarms.pop_conn(at(10)), alarms.pop_core(at(49))), (None, None));
    assert_eq!(alarms.pop_core(at(50)), Some((Some(3), Came::Age(Age::Rate))));
    assert_eq!((alarms.pop_core(at(99)), alarms.pop_conn(at(49))), (None, None));
    assert_eq!(alarms.pop_conn(at(50)), Some((3, Came::Age(Age::Silence))));
}
