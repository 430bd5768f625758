//! Dials by themselves: their timers, targets, waits and connects.

use std::time::Duration;

use super::*;

fn at(millis: u64) -> Time {
    Time::default().plus(Duration::from_millis(millis))
}

#[test]
fn a_dial_has_one_timer_and_no_other_is_left() {
    let mut dials = Dials::new(Place::new(0), None);
    let [first, second] =
        [0, 1].map(|_| dials.add(Target::new("ws://127.0.0.1/").expect("a URL"))).map(|id| dials.find(id).unwrap());
    dials.wanted.clear();
    dials.set_timer(first, at(10));
    dials.set_timer(second, at(20));
    dials.set_timer(first, at(30));
    assert_eq!((dials.timers.len(), dials.next_due()), (2, Some(at(20))), "its first timer was replaced");
    assert_eq!(dials.pop_due(at(15), u64::MAX), None);
    assert_eq!(dials.pop_due(at(40), u64::MAX), Some(second));
    dials.remove(first);
    assert_eq!(dials.pop_due(at(40), u64::MAX), None, "it is gone");
    assert_eq!(dials.next_due(), None);
}

/// However often an application sets a wait, abandons a dial or gives it a target: each takes the place of the one before.
#[test]
fn calls_without_end_take_no_memory() {
    let mut dials = Dials::new(Place::new(0), Some(1));
    let target = || Target::new("ws://127.0.0.1:1/").expect("a URL").reconnect(Reconnect::default());
    let [first, second] = [(); 2].map(|()| dials.add(target()));
    let [other, index] = [first, second].map(|id| dials.find(id).expect("there"));
    dials.wanted.clear();
    assert!(dials.may_begin(other, at(0)));
    dials.dial(index).state = State::Waiting;
    for millis in 0..1_000 {
        assert!(!dials.may_begin(index, at(millis)) && dials.dial(index).ticket.is_some());
        assert!(dials.set_wait(second, Duration::from_secs(3600), at(millis)) && dials.retarget(second, target()));
        assert!(dials.dial(index).ticket.is_none());
    }
    assert_eq!((dials.timers.len(), dials.turnstile.next_due()), (1, None));
    (0..1_000).for_each(|_| dials.abandon(second));
    assert_eq!(dials.wanted.len(), 1);
    dials.clear();
    assert_eq!((dials.timers.len(), dials.next_due()), (0, None));
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
    let [first, second, third] = [(); 3].map(|()| dials.add(target()).index());
    dials.wanted.clear();
    assert!(dials.may_begin(first, at(1_000)) && !dials.may_begin(second, at(1_000)));
    assert!(!dials.may_begin(third, at(1_000)));
    dials.dial(second).state = State::Waiting;
    assert!(dials.set_wait(dials.id_of(second), Duration::ZERO, at(1_001)));
    assert_eq!(dials.pop_due(at(1_001), u64::MAX), Some(second));
    assert!(!dials.may_begin(second, at(1_001)), "behind those that came meanwhile");
    assert_eq!((dials.pop_turn(at(1_999)), dials.pop_turn(at(2_000))), (None, Some(third)), "the turn that it left");
    assert_eq!((dials.next_due(), dials.pop_turn(at(3_000))), (Some(at(3_000)), Some(second)));
}

/// Dials that are abandoned, or over, in line leave their turns to those behind them.
#[test]
fn who_is_abandoned_leaves_its_turn() {
    let mut dials = Dials::new(Place::new(0), Some(1));
    let target = || Target::new("ws://127.0.0.1:1/").expect("a URL");
    let ids = [(); 4].map(|()| dials.add(target()));
    dials.wanted.clear();
    assert!(dials.may_begin(ids[0].index(), at(0)));
    ids[1..].iter().for_each(|id| assert!(!dials.may_begin(id.index(), at(0))));
    dials.abandon(ids[1]);
    dials.remove(ids[2].index());
    assert_eq!(dials.pop_turn(at(1_000)), Some(ids[3].index()));
    assert_eq!(dials.pop_turn(at(9_000)), None);
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
    assert!(dials.retarget(id, target("second")));
    assert!(dials.retarget(id, target("third")));
    assert_eq!((dials.dial(index).state, &*dials.wanted), (State::Told, &[id][..]));
    assert_eq!((host(&mut dials), dials.dial(index).has_next()), ("third".to_owned(), false), "the last of the two");
    assert_eq!(dials.pop_due(at(10), u64::MAX), None, "nobody waits for it any more");
    dials.dial(index).replace(target("fourth"));
    assert_eq!((host(&mut dials), dials.dial(index).has_next()), ("fourth".to_owned(), false));
    dials.abandon(id);
    assert!(!dials.retarget(id, target("fifth")));
    dials.remove(index);
    assert!(!dials.retarget(id, target("sixth")));
}

/// What is taken is for an attempt that comes.
#[test]
fn nothing_is_taken_for_an_attempt_that_never_comes() {
    let target = || Target::new("ws://127.0.0.1:1/").expect("a URL");
    let mut dials = Dials::new(Place::new(0), None);
    let takes = |dials: &mut Dials, id| [dials.set_wait(id, Duration::ZERO, at(0)), dials.retarget(id, target())];
    let once = dials.add(target());
    let never = dials.add(target().reconnect(Reconnect::default().attempts_max(0)));
    let again = dials.add(target().reconnect(Reconnect::default()));
    assert_eq!([once, never, again].map(|id| takes(&mut dials, id)), [[false; 2], [false; 2], [true; 2]]);
    dials.dial(again.index()).ends(false);
    assert_eq!(takes(&mut dials, again), [false; 2], "its connection was the last");
    dials.dial(again.index()).ends(true);
    assert_eq!(takes(&mut dials, again), [true; 2]);
    dials.stop();
    assert_eq!(takes(&mut dials, again), [false; 2], "the core stops");
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
