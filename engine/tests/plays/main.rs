//! Plays in virtual time: one or two peers, each of which does a given thing at a given millisecond, against the whole engine.
//!
//! Owns what each deadline, limit and clock of the configuration does, by the millisecond and the pass. Promises that nothing depends on
//! the machine: the kernel is simulated, and quiet unless a play says otherwise.

mod ages;
mod deadlines;
mod drains;
mod lookups;
mod patience;
mod pressure;
mod proxies;
mod race;
mod stage;
mod stalls;
mod terms;
mod timers;
mod tunnels;
mod turns;
