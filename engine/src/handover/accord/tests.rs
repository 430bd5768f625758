//! All that can happen between the two: each word late, unheard or never said, a call that fails, each of them dead or at its end between any two steps. A walk through every order of that, and
//! random orders; and faults on purpose that both must find.

use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;

thread_local! {
    static PLANTED: Cell<Option<Flaw>> = const { Cell::new(None) };
}

/// Whether a fault is planted in this thread.
pub(super) fn is_planted(flaw: Flaw) -> bool {
    PLANTED.get() == Some(flaw)
}

const FLAWS: [Flaw; 8] = [
    Flaw::LeavesUnheard,
    Flaw::LooksNot,
    Flaw::StaysSilently,
    Flaw::DoubtsListening,
    Flaw::RefusesListening,
    Flaw::OwnsUnsaid,
    Flaw::OwnsUnheard,
    Flaw::FailsAlone,
];

/// The two, and the connection between them as the kernel has it (unix(7), SOCK_SEQPACKET): what was said is heard in order, also when its speaker has gone; nothing can be said to
/// one that has gone or listens no more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    goes: Goes,
    goes_lives: bool,
    /// Its end of the connection is open; and it listens.
    goes_is_there: bool,
    goes_listens: bool,
    to_goes: Vec<Word>,
    comes: Comes,
    comes_lives: bool,
    comes_is_there: bool,
    to_comes: Vec<Word>,
    /// The one that comes was gone before the other one had left: that one is to be there.
    comes_was_early: bool,
    /// The one that comes has failed although it was alone.
    failed_alone: bool,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    GoesSteps,
    GoesIsLate,
    GoesEnds,
    GoesDies,
    ComesSteps,
    ComesIsLate,
    ComesDies,
    /// A call of the one that goes fails, by which it would hear or see the other one.
    GoesMisses,
}

const ACTS: [Act; 8] = [
    Act::GoesSteps,
    Act::ComesSteps,
    Act::GoesIsLate,
    Act::ComesIsLate,
    Act::GoesEnds,
    Act::GoesDies,
    Act::ComesDies,
    Act::GoesMisses,
];

impl World {
    fn new() -> Self {
        Self {
            goes: Goes::Given,
            goes_lives: true,
            goes_is_there: true,
            goes_listens: true,
            to_goes: vec![],
            comes: Comes::Ready,
            comes_lives: true,
            comes_is_there: true,
            to_comes: vec![],
            comes_was_early: false,
            failed_alone: false,
        }
    }

    /// What a step of the one that goes brings. None: it waits.
    fn goes_event(&mut self) -> Option<Event> {
        Some(match self.goes.next()? {
            Step::Say(_) if !self.comes_is_there => Event::Unsaid,
            Step::Say(word) => {
                self.to_comes.push(word);
                Event::Said
            }
            Step::Hear if !self.to_goes.is_empty() => Event::Heard(self.to_goes.remove(0)),
            Step::Hear if !self.comes_is_there => Event::Gone,
            Step::Hear => return None,
            Step::HearLast => {
                self.goes_listens = false;
                if self.to_goes.is_empty() { Event::Late } else { Event::Heard(self.to_goes.remove(0)) }
            }
            Step::Look if self.comes_is_there => Event::There,
            Step::Look => Event::Gone,
        })
    }

    fn comes_event(&mut self) -> Option<Event> {
        Some(match self.comes.next()? {
            Step::Say(_) if !(self.goes_is_there && self.goes_listens) => Event::Unsaid,
            Step::Say(word) => {
                self.to_goes.push(word);
                Event::Said
            }
            Step::Hear if !self.to_comes.is_empty() => Event::Heard(self.to_comes.remove(0)),
            Step::Hear if !self.goes_is_there => Event::Gone,
            Step::Hear => return None,
            Step::HearLast | Step::Look => panic!("it has no such step: {:?}", self.comes),
        })
    }

    /// The world after that, if it can happen.
    fn after(&self, act: Act) -> Option<World> {
        let mut world = self.clone();
        let goes_runs = world.goes_lives && world.goes.next().is_some();
        let comes_runs = world.comes_lives && world.comes.next().is_some();
        match act {
            Act::GoesSteps if goes_runs => {
                let event = world.goes_event()?;
                world.goes_on(event);
            }
            // Of a wait that ends so: there is nothing to hear, and somebody who could say it.
            Act::GoesIsLate if goes_runs && world.goes.next() == Some(Step::Hear) => {
                if world.goes_event().is_some() {
                    return None;
                }
                world.goes_on(Event::Late);
            }
            Act::GoesEnds if goes_runs && world.goes.next() == Some(Step::Hear) => world.goes_on(Event::Over),
            // Not of one that is gone as well: that are two misfortunes.
            Act::GoesMisses if goes_runs && world.comes_is_there => match world.goes.next()? {
                Step::Hear | Step::Look => world.goes_on(Event::Heard(Word::Other)),
                Step::Say(_) | Step::HearLast => return None,
            },
            Act::GoesDies if world.goes_lives => (world.goes_lives, world.goes_is_there) = (false, false),
            Act::ComesSteps if comes_runs => {
                let event = world.comes_event()?;
                world.comes_on(event);
            }
            Act::ComesIsLate if comes_runs && world.comes.next() == Some(Step::Hear) => {
                if world.comes_event().is_some() {
                    return None;
                }
                world.comes_on(Event::Late);
            }
            Act::ComesDies if world.comes_lives => {
                (world.comes_lives, world.comes_is_there) = (false, false);
                world.comes_was_early = world.goes != Goes::Leaves;
            }
            _ => return None,
        }
        Some(world)
    }

    fn goes_on(&mut self, event: Event) {
        self.goes = self.goes.on(event);
        if matches!(self.goes, Goes::Stays | Goes::Ended) {
            (self.goes_is_there, self.to_goes) = (false, vec![]);
        }
    }

    fn comes_on(&mut self, event: Event) {
        self.comes = self.comes.on(event);
        if self.comes == Comes::Fails {
            self.comes_is_there = false;
            self.failed_alone = event == Event::Gone;
        }
    }

    /// What may never be.
    fn fault(&self) -> Option<&'static str> {
        let goes_accepts = self.goes_lives && self.goes.accepts();
        let comes_accepts = self.comes_lives && self.comes != Comes::Fails;
        let has_left = self.goes_lives && self.goes == Goes::Leaves;
        if !goes_accepts && !comes_accepts && has_left && (self.comes_lives || self.comes_was_early) {
            return Some("nobody accepts: one has left, and the other one had failed or was gone before");
        }
        if has_left && self.comes_lives && self.comes != Comes::Owns {
            return Some("one has left, and the other one does not know yet that all is its own");
        }
        if self.failed_alone {
            return Some("nobody accepts: the other one was gone, and this one has failed");
        }
        let are_settled = self.goes.next().is_none() && self.comes.next().is_none();
        (are_settled && goes_accepts && comes_accepts).then_some("both have it all in the end")
    }

    /// Nobody is to die any more, nor to come late: to its end.
    fn settle(mut self) -> World {
        while let Some(world) = ACTS[..4].iter().find_map(|act| self.after(*act)) {
            self = world;
        }
        self
    }
}

/// Every order of everything: how many worlds there are, and a way to a fault, if there is one.
fn walk() -> (BTreeSet<World>, Option<(Vec<Act>, &'static str)>) {
    let (mut seen, mut open) = (BTreeSet::new(), vec![(World::new(), vec![])]);
    while let Some((world, way)) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        if let Some(fault) = world.fault() {
            return (seen, Some((way, fault)));
        }
        for act in ACTS {
            open.extend(world.after(act).map(|world| (world, [&way[..], &[act]].concat())));
        }
    }
    (seen, None)
}

/// At every moment one of the two accepts, and in the end exactly one, in whatever order things happen; and each end is reached.
#[test]
fn one_of_the_two_accepts_whatever_happens() {
    let (worlds, fault) = walk();
    assert_eq!(fault, None);
    let goes: BTreeSet<Goes> = worlds.iter().map(|world| world.goes).collect();
    let comes: BTreeSet<Comes> = worlds.iter().map(|world| world.comes).collect();
    assert_eq!((goes.len(), comes.len()), (9, 6), "{goes:?} {comes:?}");
    for world in &worlds {
        let end = world.clone().settle();
        assert!(!end.goes_lives || end.goes.next().is_none(), "it waits for ever: {end:?}");
        assert!(!end.comes_lives || end.comes.next().is_none(), "it waits for ever: {end:?}");
        assert_eq!(end.fault(), None, "{end:?}");
    }
    println!("{} worlds", worlds.len());
}

/// Where nothing goes wrong the new one has all.
#[test]
fn a_hand_over_comes_to_its_end() {
    let end = World::new().settle();
    assert_eq!((end.goes, end.comes), (Goes::Leaves, Comes::Owns));
}

#[test]
fn the_walk_finds_every_planted_fault() {
    for flaw in FLAWS {
        PLANTED.set(Some(flaw));
        let (_, fault) = walk();
        PLANTED.set(None);
        println!("{flaw:?}: {:?}", fault.as_ref().expect("it is found"));
    }
}

/// Acts by chance, of those that can happen; then to the end.
fn run(picks: &[u8]) -> Result<(), TestCaseError> {
    let mut world = World::new();
    for pick in picks {
        // Mostly what is to be, or nothing would come far.
        let acts = if *pick < 160 { &ACTS[..2] } else { &ACTS[..] };
        let next: Vec<World> = acts.iter().filter_map(|act| world.after(*act)).collect();
        let Some(chosen) = next.get(usize::from(*pick) % next.len().max(1)) else { continue };
        world = chosen.clone();
        prop_assert_eq!(world.fault(), None, "{:?}", world);
    }
    let end = world.settle();
    prop_assert_eq!(end.fault(), None, "{:?}", end);
    let (goes, comes) = (end.goes_lives && end.goes.accepts(), end.comes_lives && end.comes != Comes::Fails);
    // Who is gone, by death or at its end, cannot be made up for; of two that are there one serves.
    let both_are_there = end.goes_lives && end.goes != Goes::Ended && end.comes_lives;
    prop_assert!(!both_are_there || goes != comes, "in the end one: {end:?}");
    Ok(())
}

fn picks() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..20)
}

fn config() -> Config {
    Config { cases: 2000, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn one_of_the_two_accepts_by_any_chance(picks in picks()) {
        run(&picks)?;
    }
}

#[test]
fn chance_finds_every_planted_fault() {
    for flaw in FLAWS {
        PLANTED.set(Some(flaw));
        // The same chance each time, so that nobody has to be lucky.
        let chance = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(Config { cases: 100_000, ..config() }, chance);
        let found = runner.run(&picks(), |picks| run(&picks));
        PLANTED.set(None);
        assert!(found.is_err(), "{flaw:?}");
    }
}
