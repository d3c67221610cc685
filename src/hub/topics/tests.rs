//! What room topics keep, which steps they count, and what they know of one subscriber.

use std::{mem, sync::Arc};

use super::*;
use crate::{config::Config, conn::Ticks, wire::OpCode};

const ADA: ConnId = ConnId { index: 0, generation: 1 };

/// Topics to which one connection subscribes, in this order.
fn subscribed(names: &[&str]) -> (Topics, Commons) {
    let mut topics = Topics::new();
    for name in names {
        topics.subscribe(name, ADA.index, TopicOptions::default());
    }
    (topics, Commons::new(Config::default(), Arc::default()))
}

fn publish(topics: &mut Topics, name: &str, commons: &mut Commons) {
    let topic = topics.find(name).unwrap();
    topics.topics[topic].log.push((OpCode::Text, b"text"), 1, None, false, usize::MAX, commons);
    topics.handle_published(topic);
}

#[test]
fn options_that_are_taken_back_give_back_their_room() {
    let mut topics = Topics::new();
    let mut commons = Commons::new(Config::default(), Arc::default());
    let commons = &mut commons;
    let mut configure = |names: std::ops::Range<usize>, options: Option<TopicOptions>| {
        for name in names {
            topics.configure(&name.to_string(), options, TopicOptions::default(), 1000, commons);
        }
        topics.options.capacity()
    };
    let room = configure(0..300, Some(TopicOptions::default()));
    // A place that was taken may not be free at once.
    assert!(configure(0..100, None) >= room - 100, "most of it is used");
    assert!(configure(100..300, None) <= 4 * 64, "none of it is");
    topics.options.reserve(1000);
    topics.configure("none", None, TopicOptions::default(), 1000, commons);
    assert_eq!(topics.options.capacity(), 0, "also where it was never used");
}

#[test]
fn steps_along_a_connections_list_are_counted() {
    let (mut topics, mut commons) = subscribed(&["one", "two", "six", "ten"]);
    topics.subscribe("other", 1, TopicOptions::default());
    for (name, steps) in [("one", 1), ("six", 3), ("other", 4)] {
        let topic = topics.find(name).unwrap();
        topics.subscription_of(ADA.index, topic);
        assert_eq!(mem::take(&mut topics.steps), steps, "{name}");
    }
    for name in ["one", "two"] {
        publish(&mut topics, name, &mut commons);
    }
    let mut counts = |what: &str, act: fn(&mut Topics, &mut Commons), steps| {
        act(&mut topics, &mut commons);
        assert_eq!(mem::take(&mut topics.steps), steps, "{what}");
        mem::take(&mut topics.departures)
    };
    counts("each batch", |topics, commons| topics.seal(commons), 2);
    let leave = |topics: &mut Topics, commons: &mut Commons| {
        assert!(topics.unsubscribe(ADA, 0, true, false, commons));
    };
    assert_eq!(counts("it leaves `one`, and `ten` is first", leave, 1), 1);
    let block = |topics: &mut Topics, commons: &mut Commons| topics.handle_blocked(ADA, commons);
    counts("what it has left", block, 1);
    let apply = |topics: &mut Topics, commons: &mut Commons| {
        assert!(topics.apply_policies(ADA, true, commons));
    };
    counts("that, and what it subscribes to", apply, 4);
    counts("these again", |topics, commons| topics.catch_up(ADA, commons), 4);
}

/// A box is kept for a connection that has several subscriptions, or has left some behind.
#[test]
fn a_list_that_was_long_gives_back_its_box() {
    let (mut topics, mut commons) = subscribed(&["one", "two"]);
    assert!(matches!(topics.list(0), Subscriptions::Many(_)));
    publish(&mut topics, "one", &mut commons);
    topics.unsubscribe(ADA, 0, true, false, &mut commons);
    assert!(matches!(topics.list(0), Subscriptions::Many(_)), "one is left behind");
    topics.forget_leaving(ADA, true, &mut commons);
    assert!(matches!(topics.list(0), Subscriptions::One(_)));
    publish(&mut topics, "two", &mut commons);
    topics.unsubscribe(ADA, 0, true, false, &mut commons);
    topics.forget_leaving(ADA, true, &mut commons);
    assert!(matches!(topics.list(0), Subscriptions::None));
}

/// The floor waits for what a connection that keeps up has left, and not for one that lags.
#[test]
fn what_is_left_behind_is_fresh_if_the_connection_keeps_up() {
    for (is_parked, is_blocked, fresh) in
        [(false, false, 1), (true, false, 0), (false, true, 0), (true, true, 0)]
    {
        let (mut topics, mut commons) = subscribed(&["one"]);
        publish(&mut topics, "one", &mut commons);
        let topic = topics.find("one").unwrap();
        if is_parked {
            topics.park(topic, 0);
        }
        topics.unsubscribe(ADA, 0, true, is_blocked, &mut commons);
        assert_eq!(topics.topics[topic].fresh, fresh, "{is_parked} {is_blocked}");
    }
}

/// A publication that is not for a subscriber costs its batch nothing if the subscriber has taken all
/// that is before: it is passed over at once, unless it is a reader of the log.
#[test]
fn a_batch_says_whom_it_is_not_for_if_that_one_is_behind() {
    for (published, is_parked, is_behind) in [(0, false, false), (1, false, true), (0, true, true)]
    {
        let (mut topics, mut commons) = subscribed(&["one"]);
        (0..published).for_each(|_| publish(&mut topics, "one", &mut commons));
        let topic = topics.find("one").unwrap();
        if is_parked {
            topics.park(topic, 0);
        }
        assert_eq!(topics.except_next(topic, 0), is_behind);
        let it = &topics.topics[topic].subscribers[0];
        let passed = u64::from(!is_behind);
        assert_eq!((it.cursor, u64::from(it.excepted)), (passed, 1 - passed));
    }
}

/// More than the field can count are counted in the log, unless that is gone.
#[test]
fn what_is_not_for_a_subscriber_is_the_field_or_what_the_log_says() {
    let (mut topics, mut commons) = subscribed(&["one"]);
    publish(&mut topics, "one", &mut commons);
    let entry = &mut topics.topics[0];
    for (excepted, left_out) in [(7, 7), (u16::MAX, 0)] {
        entry.subscribers[0].excepted = excepted;
        assert_eq!(entry.left_out(ADA, 0), left_out);
    }
    entry.log.raise_floor(1, None, &mut commons);
    assert_eq!(entry.left_out(ADA, 0), u16::MAX.into());
}

/// Places of topics that have gone are filled from the end.
#[test]
fn a_topic_that_a_list_knows_by_its_place_stays_there() {
    let lists: [fn(&mut Topic); 7] = [
        |_| {},
        |topic| topic.is_listed = true,
        |topic| topic.is_open = true,
        |topic| topic.in_line = true,
        |topic| topic.leaving = 1,
        |topic| topic.listed = Some(Ticks::FIRST),
        |topic| topic.idle_since = Some(Ticks::FIRST),
    ];
    for (nth, list) in lists.into_iter().enumerate() {
        let mut directory = Directory::<RandomState>::default();
        for name in 0..600 {
            directory.insert(&name.to_string(), Topic::new(7, TopicOptions::default()));
        }
        list(&mut directory[599]);
        for name in 0..599 {
            let place = directory.find(&name.to_string()).unwrap();
            directory.remove(place, &mut []);
        }
        assert_eq!(directory.find("599") == Some(599), nth > 0);
    }
}
