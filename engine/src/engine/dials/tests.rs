//! Dials by themselves: their timers, targets, waits and connects.

use std::time::Duration;

use super::*;

fn at(millis: u64) -> Time {
    Time::default().plus(Duration::from_millis(millis))
}

#[test]
fn a_dial_has_one_timer_and_stale_ones_are_skipped() {
    let mut dials = Dials::new(Place::new(0), None);
    let [first, second] =
        [0, 1].map(|_| dials.add(Target::new("ws://127.0.0.1/").expect("a URL"))).map(|id| dials.find(id).unwrap());
    dials.wanted.clear();
    dials.set_timer(first, at(10));
    dials.set_timer(second, at(20));
    dials.set_timer(first, at(30));
    assert_eq!(dials.pop_due(at(15), u64::MAX), None, "its first timer was replaced");
    assert_eq!(dials.pop_due(at(40), u64::MAX), Some(second));
    dials.remove(first);
    assert_eq!(dials.pop_due(at(40), u64::MAX), None, "it is gone");
    assert_eq!(dials.next_due(), None);
}

/// What is set while timers are worked on waits for the next round, however early it is due.
#[test]
fn a_timer_set_for_at_once_waits_for_the_next_round() {
    let mut dials = Dials::new(Place::new(0), None);
    let id = dials.add(Target::new("ws://127.0.0.1/").expect("a URL"));
    let index = dials.find(id).expect("there");
    dials.set_timer(index, at(10));
    let last = dials.last_timer();
    assert_eq!(dials.pop_due(at(10), last), Some(index));
    dials.set_timer(index, at(10));
    assert_eq!(dials.pop_due(at(10), last), None);
    assert_eq!(dials.pop_due(at(10), dials.last_timer()), Some(index));
}

#[test]
fn a_dial_that_leaves_ends_what_is_under_way_and_stays_left() {
    for (state, leaving) in [
        (State::Wanted, Leaving::Attempt),
        (State::Asking, Leaving::Attempt),
        (State::Told, Leaving::Attempt),
        (State::Resolving, Leaving::Attempt),
        (State::Connecting, Leaving::Attempt),
        (State::Answering(7), Leaving::Answer(7)),
        (State::Open(7), Leaving::Connection(7)),
        (State::Waiting, Leaving::Pause),
    ] {
        assert_eq!(state.leaving(), leaving, "{state:?}");
        assert_eq!(State::Leaving(leaving).leaving(), leaving, "once more");
    }
    let mut dials = Dials::new(Place::new(0), None);
    let id = dials.add(Target::new("ws://127.0.0.1/").expect("a URL"));
    dials.wanted.clear();
    let index = dials.find(id).expect("there");
    assert!(!dials.dial(index).is_leaving());
    dials.abandon(id);
    assert!(dials.dial(index).is_leaving() && dials.wanted == [id], "it is looked at in this pass");
}

#[test]
fn a_wait_that_was_set_counts_once() {
    let mut dials = Dials::new(Place::new(0), None);
    let target = Target::new("ws://127.0.0.1/").expect("a URL");
    let once = dials.add(target.clone());
    assert!(!dials.set_wait(once, Duration::ZERO, at(0)), "it is not dialled again");
    let wait = Duration::from_secs(1);
    let id = dials.add(target.reconnect(Reconnect::default().wait_first(wait).attempts_max(2)));
    let index = dials.find(id).expect("there");
    assert!(dials.set_wait(id, Duration::from_millis(7), at(0)), "it is under way");
    let asked = Some(Duration::from_secs(60));
    assert_eq!(dials.dial(index).next_wait(0.0, asked), Some(Duration::from_millis(7)), "whatever the server asks for");
    assert_eq!(dials.dial(index).next_wait(0.0, asked), Some(Duration::from_secs(62)));
    assert!(dials.set_wait(id, Duration::from_millis(7), at(0)));
    assert_eq!(dials.dial(index).next_wait(0.0, None), None, "its attempts are used up");
    dials.dial(index).state = State::Waiting;
    dials.set_timer(index, at(1000));
    assert!(dials.set_wait(id, Duration::from_millis(5), at(10)));
    assert_eq!(dials.pop_due(at(14), u64::MAX), None);
    assert_eq!(dials.pop_due(at(15), u64::MAX), Some(index));
    dials.abandon(id);
    assert!(!dials.set_wait(id, Duration::ZERO, at(0)));
    dials.remove(index);
    assert!(!dials.set_wait(id, Duration::ZERO, at(0)));
}

/// A dial whose wait is set while it waits for its turn gives that up, and waits for another when it comes.
#[test]
fn a_wait_that_was_set_is_no_way_past_the_turnstile() {
    let mut dials = Dials::new(Place::new(0), Some(1));
    let target = || Target::new("ws://127.0.0.1:1/").expect("a URL").reconnect(Reconnect::default());
    let [first, second] = [(); 2].map(|()| dials.add(target()).index());
    assert_eq!(dials.turn_of(first, at(1_000)), None);
    assert_eq!(dials.turn_of(second, at(1_000)), Some(at(2_000)));
    dials.dial(second).state = State::Waiting;
    assert!(dials.set_wait(dials.id_of(second), Duration::ZERO, at(1_001)));
    assert_eq!(dials.turn_of(second, at(1_001)), Some(at(3_000)), "its turn of before is over");
    assert_eq!(dials.turn_of(second, at(3_000)), None, "and this one is its own");
}

/// The attempt under way keeps its target; its tag and its policy a dial keeps for good.
#[test]
fn a_new_target_is_that_of_the_next_attempt() {
    let mut dials = Dials::new(Place::new(0), None);
    let target = |host: &str| Target::new(&format!("ws://{host}/")).expect("a URL");
    let id = dials.add(target("first").tag(7).reconnect(Reconnect::default()));
    let index = dials.find(id).expect("there");
    let host = |dials: &mut Dials| dials.dial(index).target.host().to_owned();
    assert!(dials.retarget(id, target("second").tag(9)));
    assert_eq!((host(&mut dials), dials.dial(index).has_next()), ("first".to_owned(), true));
    dials.dial(index).take_next();
    assert_eq!((host(&mut dials), dials.dial(index).has_next()), ("second".to_owned(), false));
    assert_eq!((dials.dialled(index).tag, dials.dial(index).policy()), (7, Some(Reconnect::default())));
    dials.wanted.clear();
    dials.dial(index).state = State::Asking;
    dials.set_timer(index, at(10));
    assert!(dials.retarget(id, target("third")));
    assert_eq!((dials.dial(index).state, &*dials.wanted), (State::Told, &[id][..]));
    assert_eq!((host(&mut dials), dials.dial(index).has_next()), ("third".to_owned(), false));
    assert_eq!(dials.pop_due(at(10), u64::MAX), None, "nobody waits for it any more");
    dials.dial(index).replace(target("fourth"));
    assert_eq!((host(&mut dials), dials.dial(index).has_next()), ("fourth".to_owned(), false));
    dials.abandon(id);
    assert!(!dials.retarget(id, target("fifth")));
    dials.remove(index);
    assert!(!dials.retarget(id, target("sixth")));
}

/// A connect may end when its dial is over, or another has its slot.
#[test]
fn a_connect_may_outlive_its_dial() {
    let mut dials = Dials::new(Place::new(0), None);
    let target = Target::new("ws://127.0.0.1/").expect("a URL");
    let id = dials.add(target.clone());
    let index = dials.find(id).expect("there");
    let tokens = [(); 4].map(|()| dials.begin_connect(index));
    assert_eq!(dials.end_connect(tokens[0]), None, "it does not wait for connects");
    dials.dial(index).state = State::Connecting;
    assert_eq!(dials.end_connect(tokens[1]), Some(index));
    dials.disown(tokens[2]);
    assert_eq!(dials.end_connect(tokens[2]), None);
    dials.remove(index);
    let other = dials.add(target);
    assert_eq!(dials.find(other), Some(index), "the same slot");
    dials.dial(index).state = State::Connecting;
    assert_eq!(dials.end_connect(tokens[3]), None, "it was another's");
    let token = dials.begin_connect(index);
    dials.disown(tokens[3]);
    assert_eq!(dials.end_connect(token), Some(index), "which had the same place");
}

#[test]
fn ids_are_never_another_dials() {
    let mut dials = Dials::new(Place::new(3), None);
    let target = Target::new("ws://127.0.0.1/").expect("a URL");
    let old = dials.add(target.clone());
    let index = dials.find(old).expect("there");
    dials.remove(index);
    let new = dials.add(target);
    assert_eq!(dials.find(new), Some(index), "the same slot");
    assert_eq!(dials.find(old), None);
    assert_eq!(dials.find(DialId::new(Place::new(4), new.generation(), new.index())), None);
}
