//! Single things that random sequences come to too seldom, or cannot see.

use std::time::Duration;

use super::follow::Stage;
use crate::engine::topics::*;
use crate::ring::Time;

fn at(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

/// Otherwise a key that was sent a moment ago would have all topics looked at in each pass.
#[test]
fn a_key_that_was_sent_is_due_when_its_interval_is_over() {
    let mut stage = Stage::with(0, &[Delivery::conflate().at_most(Duration::from_millis(100))]);
    assert_eq!(stage.topics.next_due(at(0)), None);
    stage.hurry(0);
    stage.publish(0, 1, "a");
    assert_eq!(stage.topics.next_due(at(0)), Some(at(128)));
    assert!(!stage.topics.is_due(at(127)) && stage.topics.is_due(at(128)));
    stage.at(128);
    assert_eq!(stage.topics.next_due(at(128)), None);
    assert!(!stage.topics.is_due(at(1_000)));
}

#[test]
fn a_connection_that_misses_much_is_told_once() {
    let mut stage = Stage::with(0, &[Delivery::drop_newest(0)]);
    for round in 0..2 {
        for _ in 0..100 {
            stage.publish(0, 1, "a");
        }
        // Its lane is looked at for other reasons, too.
        stage.take(0);
        assert_eq!(stage.topics.take_lagged(), [0], "{round}");
        assert_eq!(stage.topics.lagged_of(0), Some(Lagged { dropped: 100, conflated: 0 }));
        assert_eq!((stage.topics.take_lagged().len(), stage.topics.lagged_of(0)), (0, None));
    }
}
