//! The players of a game, and what a tick tells of them.
//!
//! Promises that a tick is of a bounded length however many they are: those of whom something is new come first, the others in turn. So
//! as long as all fit, each tick tells of all. Refuses to know connections and time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

/// Bytes of a tick: with its header it fits in a send block of 4 KiB.
const TICK_MAX: usize = 4_000;
/// Of more who left than this since the last tick the first are not told of.
const GONE_MAX: usize = 256;

/// Everybody who plays.
#[derive(Default)]
pub(crate) struct World {
    players: BTreeMap<u32, Player>,
    names: BTreeSet<String>,
    /// Whose turn it is among those of whom nothing is new, and the next to join.
    turn: u32,
    next: u32,
    /// Those of whom something is new, each once.
    news: VecDeque<u32>,
    /// Names of those who left.
    gone: VecDeque<String>,
}

struct Player {
    name: String,
    inputs: u64,
    /// The last input: JSON.
    last: String,
    is_news: bool,
    /// The tick that told of it last.
    told: u64,
}

impl World {
    /// A player of this name joins. `None`: it is taken.
    pub(crate) fn join(&mut self, name: &str) -> Option<u32> {
        if !self.names.insert(name.to_owned()) {
            return None;
        }
        let id = self.next;
        self.next += 1;
        self.gone.retain(|gone| gone != name);
        let (name, last) = (name.to_owned(), "null".to_owned());
        self.players.insert(id, Player { name, inputs: 0, last, is_news: true, told: 0 });
        self.news.push_back(id);
        Some(id)
    }

    /// An input of a player, as JSON.
    pub(crate) fn input(&mut self, id: u32, input: &str) {
        let Some(player) = self.players.get_mut(&id) else { return };
        player.inputs += 1;
        player.last.clear();
        player.last.push_str(input);
        if !std::mem::replace(&mut player.is_news, true) {
            self.news.push_back(id);
        }
    }

    pub(crate) fn leave(&mut self, id: u32) {
        if let Some(player) = self.players.remove(&id) {
            self.names.remove(&player.name);
            self.gone.push_back(player.name);
            if self.gone.len() > GONE_MAX {
                self.gone.pop_front();
            }
        }
    }

    /// Writes what a tick tells.
    pub(crate) fn tell(&mut self, number: u64, late_us: u128, into: &mut String) {
        into.clear();
        let _ = write!(into, r#"{{"tick":{number},"late_us":{late_us},"players":{{"#); // to a string
        while let Some(name) = self.gone.front()
            && fits(into, name, "null")
        {
            let _ = write!(into, r#""{name}":null,"#); // likewise
            self.gone.pop_front();
        }
        while let Some(&id) = self.news.front()
            && self.players.get_mut(&id).is_none_or(|player| player.tell(number, into))
        {
            self.news.pop_front();
        }
        let turn = self.turn;
        self.turn = 0;
        for round in [turn..u32::MAX, 0..turn] {
            for (&id, player) in self.players.range_mut(round) {
                if player.told != number && !player.is_news && !player.tell(number, into) {
                    self.turn = id;
                    return end(into);
                }
            }
        }
        end(into);
    }
}

impl Player {
    /// Whether there was room.
    fn tell(&mut self, number: u64, into: &mut String) -> bool {
        let Self { name, inputs, last, .. } = self;
        if !fits(into, name, last) {
            return false;
        }
        let _ = write!(into, r#""{name}":{{"inputs":{inputs},"last":{last}}},"#); // to a string
        (self.told, self.is_news) = (number, false);
        true
    }
}

/// Whether a player fits in, with what stands around it.
fn fits(text: &str, name: &str, last: &str) -> bool {
    text.len() + name.len() + last.len() + 64 <= TICK_MAX
}

fn end(into: &mut String) {
    if into.ends_with(',') {
        into.pop();
    }
    into.push_str("}}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    fn tell(world: &mut World, number: u64) -> BTreeMap<String, Value> {
        let mut text = "what was told before".to_owned();
        world.tell(number, 7, &mut text);
        assert!(text.len() <= TICK_MAX, "{} bytes", text.len());
        let Value::Object(mut tick) = serde_json::from_str(&text).expect(&text) else { panic!("{text}") };
        assert_eq!((tick["tick"].as_u64(), tick["late_us"].as_u64(), tick.len()), (Some(number), Some(7), 3));
        let Value::Object(players) = tick.remove("players").expect("players") else { panic!("{text}") };
        assert_eq!(text.matches(r#""inputs":"#).count(), players.values().filter(|value| value.is_object()).count());
        players.into_iter().collect()
    }

    #[test]
    fn a_few_players_are_told_of_in_each_tick() {
        let mut world = World::default();
        assert_eq!(tell(&mut world, 1), BTreeMap::new());
        let (ann, bob) = (world.join("ann").unwrap(), world.join("bob").unwrap());
        assert_eq!(world.join("ann"), None);
        let state = |inputs: u64, last: Value| serde_json::json!({ "inputs": inputs, "last": last });
        for number in 2..5 {
            let players = tell(&mut world, number);
            assert_eq!((players.len(), &players["ann"]), (2, &state(0, Value::Null)));
        }
        world.input(bob, r#"{"dx":1}"#);
        world.input(bob, "[]");
        assert_eq!(tell(&mut world, 5)["bob"], state(2, serde_json::json!([])));
        world.leave(ann);
        world.input(ann, "1");
        assert_eq!(tell(&mut world, 6)["ann"], Value::Null);
        assert_eq!(tell(&mut world, 7).len(), 1);
        world.leave(bob);
        assert!(world.join("bob").is_some());
        assert_eq!(tell(&mut world, 8)["bob"], state(0, Value::Null), "once, not gone as well");
    }

    /// At the limit all are told of, one past it the first is not.
    #[test]
    fn only_so_many_who_left_are_remembered() {
        for (left, told) in [(GONE_MAX, GONE_MAX), (GONE_MAX + 1, GONE_MAX)] {
            let mut world = World::default();
            let ids: Vec<u32> = (0..left).map(|number| world.join(&number.to_string()).unwrap()).collect();
            ids.into_iter().for_each(|id| world.leave(id));
            let all: BTreeMap<String, Value> = (1..20).flat_map(|number| tell(&mut world, number)).collect();
            assert_eq!((all.len(), all.contains_key("0")), (told, left == told));
        }
    }

    /// What is new comes first, and everybody's turn comes.
    #[test]
    fn many_players_are_told_of_in_turn() {
        let mut world = World::default();
        let ids: Vec<u32> = (0..300).map(|number| world.join(&format!("{number:032}")).unwrap()).collect();
        let mut heard: BTreeMap<String, u64> = BTreeMap::new();
        for number in 1..=40 {
            let told = tell(&mut world, number);
            assert!(told.len() > 20, "{} of them", told.len());
            told.into_keys().for_each(|name| *heard.entry(name).or_default() += 1);
        }
        assert_eq!(heard.len(), 300);
        assert!(heard.values().max().unwrap() - heard.values().min().unwrap() <= 1, "{heard:?}");
        let long = format!("\"{}\"", "x".repeat(126));
        for number in 41..50 {
            ids[..10].iter().for_each(|&id| world.input(id, &long));
            let told = tell(&mut world, number);
            assert!((0..10).all(|at| told[&format!("{at:032}")]["inputs"] == number - 40), "{told:?}");
        }
        // More than fit at once: each is told of, none is forgotten.
        ids.iter().for_each(|&id| world.input(id, &long));
        ids[..150].iter().for_each(|&id| world.leave(id));
        let all: BTreeMap<String, Value> = (50..80).flat_map(|number| tell(&mut world, number)).collect();
        assert_eq!(all.values().filter(|value| value.is_null()).count(), 150);
        assert_eq!(all.values().filter(|value| value["last"].as_str().is_some()).count(), 150);
    }
}
