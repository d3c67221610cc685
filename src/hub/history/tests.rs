//! How much of what is due is looked at in a turn.

use std::sync::Arc;

use super::*;
use crate::{
    config::{Config, History},
    event::{Message, Position},
    hub::{PublishError, RestoreError, log::Log, tests_hub},
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

/// What is listed of a topic at another time than it is due counts no more than what is listed of none.
#[test]
fn what_counts_stays_in_the_list_of_what_is_due() {
    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    let mut hub = tests_hub(std::time::Instant::now());
    hub.commons.config.topic.history = Some(History::of(10));
    for name in ["a", "b"] {
        assert!(hub.publish(name, "x").is_ok());
    }
    hub.begin_flush();
    let (a, due) = (&hub.topics.topics[0], hub.commons.now);
    let (known, listed) = ((0, a.epoch), a.listed.unwrap());
    // Another time of a topic that is there, and what is left beside the two that count.
    for (stale, left) in [(66, 69), (67, 2)] {
        hub.topics.memory.due.clear();
        hub.topics.memory.due.push(Reverse((listed, known)));
        hub.topics.memory.due.extend(std::iter::repeat_n(Reverse((due, known)), stale));
        hub.topics.memory.due.push(Reverse((due, (0, known.1 ^ 1))));
        hub.topics.topics[1].listed = None;
        hub.topics.note_historic(1);
        assert_eq!(hub.topics.memory.due.len(), left);
    }
}

#[test]
fn as_much_history_is_kept_as_the_process_may_have() {
    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    let mut hub = tests_hub(std::time::Instant::now());
    hub.commons.config.topic.history = Some(History::of(10));
    assert!(hub.publish("t", "x").is_ok());
    hub.begin_flush();
    let kept = hub.commons.history_bytes;
    for (max, given_up) in [(kept, 0), (kept - 1, 1)] {
        hub.commons.config.history_bytes_max = max;
        hub.topics.bound_history(&mut hub.commons);
        assert_eq!(hub.counters().history_given_up, given_up);
    }
    // To forget the topic is a step.
    let (before, known) = (hub.topics.steps, (0, hub.topics.topics[0].epoch));
    hub.topics.forget(known, &mut hub.commons);
    assert_eq!((hub.topics.steps - before, hub.topics.topics.len()), (1, 0));
}

#[test]
fn a_topic_with_a_history_has_a_name_that_is_as_long_as_it_may_be() {
    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    let mut hub = tests_hub(std::time::Instant::now());
    hub.commons.config.topic.history = Some(History::of(10));
    hub.commons.config.topic_name_bytes_max = 40;
    let (long, place) = ("x".repeat(41), Position { epoch: 7, offset: 1 });
    assert!(hub.publish(&long[1..], "x").is_ok());
    assert_eq!(hub.publish(&long, "x"), Err(PublishError::NameTooLong));
    let other = "y".repeat(41);
    assert!(hub.restore_topic(&other[1..], place, &[]).is_ok());
    assert_eq!(hub.restore_topic(&other, place, &[]), Err(RestoreError::NameTooLong));
}

/// When the process has too much, what is oldest goes first, and not what a topic had before.
#[test]
fn what_is_too_old_first_is_given_up_first() {
    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    let mut hub = tests_hub(std::time::Instant::now());
    hub.commons.config.topic.history = Some(History::of(1));
    for (moment, name) in [(10, "a"), (20, "b"), (30, "a")] {
        hub.commons.now = Ticks(moment);
        assert!(hub.publish(name, "x").is_ok());
        hub.begin_flush();
    }
    assert_eq!(["a", "b"].map(|name| hub.history_len(name)), [1, 1]);
    hub.commons.config.history_bytes_max = hub.commons.history_bytes - 1;
    hub.topics.bound_history(&mut hub.commons);
    assert_eq!(["a", "b"].map(|name| hub.history_len(name)), [1, 0]);
}

#[test]
fn as_much_is_restored_as_the_process_may_keep() {
    for (beyond, restored) in [(0, Ok(())), (1, Err(RestoreError::HistoryFull))] {
        // The clock starts somewhere; it is read once.
        #[allow(clippy::disallowed_methods)]
        let mut hub = tests_hub(std::time::Instant::now());
        hub.commons.config.topic.history = Some(History::of(10));
        hub.commons.config.history_bytes_max = Log::kept_cost(1) - beyond;
        let kept = [(Message::Text("x"), std::time::Duration::ZERO)];
        let at = Position { epoch: 7, offset: 1 };
        assert_eq!(hub.restore_topic("t", at, &kept).map(|_| ()), restored);
    }
}
