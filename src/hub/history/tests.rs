//! How much of what is due is looked at in a turn.

use std::sync::Arc;

use super::*;
use crate::{
    config::{Config, History},
    hub::tests_hub,
};

#[test]
fn what_is_due_is_looked_at_some_at_a_time_also_where_topics_are_over() {
    let mut topics = Topics::new();
    let mut commons = Commons::new(Config::default(), Arc::default());
    for place in 0..200 {
        topics.memory.due.push(Reverse((commons.now, (place, 7))));
    }
    for left in [200 - LOOKS, 200 - 2 * LOOKS, 200 - 3 * LOOKS, 0] {
        topics.forget_due(&mut commons);
        assert_eq!(topics.memory.due.len(), left);
    }
    assert_eq!(topics.steps, 200);
}

/// What is listed of topics that are over is dropped when it is more than what counts.
#[test]
fn the_list_of_what_is_due_is_no_longer_than_twice_the_topics_and_64() {
    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    let mut hub = tests_hub(std::time::Instant::now());
    hub.commons.config.topic.history = Some(History::of(10));
    for (stale, left) in [(66, 67), (67, 1)] {
        hub.topics.memory.due.clear();
        let due = Reverse((hub.commons.now, (u32::MAX, 7)));
        hub.topics.memory.due.extend(std::iter::repeat_n(due, stale));
        assert!(hub.publish("t", "x").is_ok());
        hub.begin_flush();
        assert_eq!((hub.topics.topics.len(), hub.topics.memory.due.len()), (1, left));
        assert!(hub.clear_history("t"));
        hub.topics.topics[0].listed = None;
    }
}
