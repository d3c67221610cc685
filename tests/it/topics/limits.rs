//! Each limit on what waits for subscribers: at the limit, and one beyond, with the error that names it.

use std::time::Duration;

use pushloop::{
    Config, ConfigureError, ConnId, OnLag, Overflow, PublishError, SendError, SubscribeError,
};

use super::lag::options;
use super::overflow::{
    number, numbers, publish, reads_again, reads_all, slow_subscriber, too_slow,
};
use super::subscribers;
use crate::support::net::{Sim, Told, Wire};
use crate::support::{Frame, binary, ping, quiet, text};

/// Each of these is a batch of its own, for all limits below.
const LONG: usize = 1000;

fn long(at: u8) -> Vec<u8> {
    vec![at; LONG]
}

/// What one long publication counts as.
fn counted() -> usize {
    let mut sim = Sim::new(quiet(|config| config.topic_lag_bytes_max = LONG));
    let _peers = subscribers(&mut sim, 1, "t");
    sim.hub().publish("t", long(0)).unwrap();
    let one = sim.hub().queued_bytes_total();
    sim.hub().publish("t", long(1)).unwrap();
    assert_eq!(sim.hub().queued_bytes_total(), 2 * one);
    one
}

/// A subscriber whose kernel takes nothing, behind by three long publications.
fn three_behind(on_lag: OnLag, lag_bytes: usize) -> (Sim, ConnId, Wire) {
    let (mut sim, id, wire) = slow_subscriber(on_lag, |config| {
        config.topic_lag_bytes_max = lag_bytes;
    });
    wire.holds(0);
    for at in 1..=3 {
        sim.hub().publish("t", long(at)).unwrap();
        sim.turn();
    }
    (sim, id, wire)
}

fn long_ones(numbers: impl IntoIterator<Item = u8>) -> Vec<Frame> {
    numbers.into_iter().map(|at| binary(long(at))).collect()
}

#[test]
fn a_topic_keeps_so_much_for_laggards_to_the_byte() {
    let max = 3 * counted();
    for (on_lag, lag_bytes, expected) in [
        (OnLag::Close, max, long_ones(1..=3)),
        (OnLag::Close, max - 1, vec![too_slow("topic_lag_bytes_max")]),
        (OnLag::Skip, max, long_ones(1..=3)),
        // Two are kept, and it goes on in their middle.
        (OnLag::Skip, max - 1, long_ones([3])),
        (OnLag::Latest, max, long_ones([3])),
        (OnLag::Latest, 0, long_ones([3])),
        (OnLag::Skip, 0, long_ones([3])),
    ] {
        let (mut sim, id, wire) = three_behind(on_lag, lag_bytes);
        assert!(sim.hub().is_open(id));
        assert_eq!(reads_again(&mut sim, &wire), expected, "{on_lag:?} {lag_bytes}");
        assert_eq!(sim.hub().is_open(id), on_lag != OnLag::Close || lag_bytes == max);
    }
}

#[test]
fn what_a_topic_keeps_is_bounded_while_nobody_reads() {
    const MAX: usize = 20_000;
    let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |config| {
        config.topic_lag_bytes_max = MAX;
    });
    wire.holds(0);
    for len in [0, 1, 100, 10, 3000, 0, 7].into_iter().cycle().take(3000) {
        sim.hub().publish("t", vec![0; len]).unwrap();
        sim.turn();
        assert!(sim.hub().queued_bytes_total() <= MAX);
    }
    assert!(sim.hub().queued_bytes_total() > MAX / 2);
    assert_eq!(sim.hub().lag(id, "t"), Some(3000));
}

#[test]
fn a_topic_takes_what_its_subscribers_can_be_given_to_the_byte() {
    let max = 2 * counted();
    for (unserved_bytes, expected) in
        [(max, Ok(1)), (max - 1, Err(PublishError::TopicFull)), (max + 1, Ok(1))]
    {
        let mut sim = Sim::new(quiet(|config| {
            (config.topic_lag_bytes_max, config.topic_unserved_bytes_max) = (LONG, unserved_bytes);
        }));
        let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
        let _other = subscribers(&mut sim, 1, "other");
        assert_eq!(sim.hub().publish("t", long(1)).map(|it| it.subscribers), Ok(1));
        assert_eq!(sim.hub().publish("t", long(2)).map(|it| it.subscribers), expected);
        let full = Err(PublishError::TopicFull);
        assert_eq!(sim.hub().publish("t", long(3)), full);
        assert_eq!(sim.hub().publish_except("t", long(3), id), full);
        // That is one topic's, and over when its subscribers have been given what there is.
        assert_eq!(sim.hub().publish("other", long(3)).map(|it| it.subscribers), Ok(1));
        let refused = 2 + u64::from(expected.is_err());
        assert_eq!(sim.hub().counters().messages_dropped_full, refused);
        sim.turn();
        assert_eq!(sim.hub().publish("t", long(3)).map(|it| it.subscribers), Ok(1));
        sim.turn();
        let taken = if expected.is_ok() { &[1, 2, 3][..] } else { &[1, 3] };
        assert_eq!(wire.reads(), long_ones(taken.iter().copied()));
    }
    assert!(PublishError::TopicFull.to_string().contains("topic_unserved_bytes_max"));
}

/// A subscriber that lags is given nothing, and is no reason to refuse anything.
#[test]
fn a_topic_whose_subscribers_all_lag_is_not_full() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Skip, |config| {
        (config.topic_lag_bytes_max, config.topic_unserved_bytes_max) = (1 << 20, 10_000);
    });
    wire.holds(0);
    publish(&mut sim, 1..=1000);
    assert_eq!(sim.hub().lag(id, "t"), Some(1000));
    assert_eq!(reads_again(&mut sim, &wire), numbers(1..=1000));
}

/// A mark of 8 bytes says what a direct message goes behind.
#[test]
fn a_queue_holds_what_is_sent_directly_and_its_marks_to_the_byte() {
    for (count, max) in [(1, 10 + 8), (2, 2 * (10 + 8)), (5, 5 * (10 + 8))] {
        for (overflow, missing) in
            [(Overflow::Close, 0), (Overflow::Close, 1), (Overflow::DropNewest, 1)]
        {
            let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |config| {
                (config.send_queue_bytes_max, config.overflow) = (max - missing, overflow);
            });
            wire.holds(0);
            for at in 1..=count {
                publish(&mut sim, 2 * at - 1..=2 * at - 1);
                let expected = match (at == count && missing > 0, overflow) {
                    (false, _) => Ok(()),
                    (true, Overflow::Close) => Err(SendError::Closing),
                    (true, _) => Err(SendError::Full),
                };
                assert_eq!(sim.hub().send(id, number(2 * at)), expected);
            }
            let waits = count - missing;
            let is_closed = missing > 0 && overflow == Overflow::Close;
            assert_eq!(sim.hub().is_open(id), !is_closed);
            let mut expected = numbers(1..=2 * waits);
            if missing > 0 {
                expected.extend(numbers(2 * count - 1..=2 * count - 1));
            } else {
                assert_eq!(sim.hub().queued_bytes(id), max);
            }
            if is_closed {
                expected.push(too_slow("send_queue_bytes_max"));
            }
            assert_eq!(reads_again(&mut sim, &wire), expected);
        }
    }
    assert!(SendError::Full.to_string().contains("send_queue_bytes_max"));
}

/// A subscriber that is not behind needs none, and messages behind the same publications share one.
#[test]
fn a_mark_is_there_only_where_it_is_needed() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |_| {});
    wire.holds(0);
    (1..=3).for_each(|at| sim.hub().send(id, number(at)).unwrap());
    assert_eq!(sim.hub().queued_bytes(id), 30);
    sim.turn();
    publish(&mut sim, 4..=5);
    (6..=8).for_each(|at| sim.hub().send(id, number(at)).unwrap());
    assert_eq!(sim.hub().queued_bytes(id), 60 + 8);
    publish(&mut sim, 9..=9);
    (10..=12).for_each(|at| sim.hub().send(id, number(at)).unwrap());
    assert_eq!(sim.hub().queued_bytes(id), 90 + 2 * 8);
    assert_eq!(reads_again(&mut sim, &wire), numbers(1..=12));
    assert_eq!((sim.hub().queued_bytes(id), sim.hub().queued_bytes_total()), (0, 0));
}

#[test]
fn so_many_topics_may_have_options_of_their_own_and_none_more() {
    let mut sim = Sim::new(quiet(|config| {
        (config.topics_configured_max, config.topic_name_bytes_max) = (3, 10);
    }));
    let (latest, skip) = (options(OnLag::Latest), options(OnLag::Skip));
    for topic in ["a", "b", "0123456789"] {
        assert_eq!(sim.hub().configure_topic(topic, latest), Ok(()));
    }
    let full = Err(ConfigureError::TooManyTopics);
    assert_eq!(sim.hub().configure_topic("c", latest), full);
    assert_eq!(sim.hub().topic_options("c").on_lag, OnLag::Close);
    // One that has options may have others, and one that gives them up makes room.
    assert_eq!(sim.hub().configure_topic("b", skip), Ok(()));
    assert_eq!(sim.hub().topic_options("b").on_lag, OnLag::Skip);
    sim.hub().forget_topic_options("a");
    sim.hub().forget_topic_options("a");
    sim.hub().forget_topic_options("never had any");
    assert_eq!(sim.hub().configure_topic("c", latest), Ok(()));
    assert_eq!(sim.hub().configure_topic("a", latest), full);
    let long = sim.hub().configure_topic("0123456789a", latest);
    assert_eq!(long, Err(ConfigureError::NameTooLong));
    assert!(ConfigureError::TooManyTopics.to_string().contains("topics_configured_max"));
    assert!(ConfigureError::NameTooLong.to_string().contains("topic_name_bytes_max"));
}

/// Each that is left and not read yet is remembered, and gone along when the peer reads.
#[test]
fn as_many_topics_as_a_connection_may_have_may_be_left_unread_and_one_more() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |config| {
        config.topics_per_connection_max = 3;
    });
    wire.holds(0);
    publish(&mut sim, 1..=1);
    for at in 2..=4 {
        assert!(sim.hub().unsubscribe(id, "t"));
        assert_eq!(sim.hub().subscribe(id, "t"), Ok(()));
        publish(&mut sim, at..=at);
    }
    assert!(sim.hub().unsubscribe(id, "t"));
    let full = sim.hub().subscribe(id, "t");
    assert_eq!(full, Err(SubscribeError::TooManyTopics));
    assert!(SubscribeError::TooManyTopics.to_string().contains("topics_per_connection_max"));
    assert_eq!(reads_again(&mut sim, &wire), numbers(1..=4));
    assert_eq!(sim.hub().subscribe(id, "t"), Ok(()));
}

/// A tick of the deadlines is some 67 ms: they are never early, and not two ticks late.
const TICKS: Duration = Duration::from_millis(135);
const BLOCKED: Duration = Duration::from_secs(10);

fn blocks(on_lag: OnLag, set: impl FnOnce(&mut Config)) -> (Sim, ConnId, Wire) {
    let (mut sim, id, wire) = slow_subscriber(on_lag, |config| {
        (config.blocked_timeout, config.ping_interval) = (BLOCKED, Some(BLOCKED * 100));
        set(config);
    });
    publish(&mut sim, 1..=10);
    assert_eq!(sim.hub().lag(id, "t"), Some(7));
    (sim, id, wire)
}

#[test]
fn a_subscriber_that_takes_nothing_for_so_long_is_closed_whatever_it_sends() {
    for on_lag in [OnLag::Close, OnLag::Latest, OnLag::Skip] {
        let (mut sim, id, wire) = blocks(on_lag, |_| {});
        for _ in 0..10 {
            wire.sends(ping(""));
            wire.sends(text("x"));
            sim.turn();
            sim.server.net().passes(BLOCKED / 10 - Duration::from_millis(1));
            sim.turn();
            assert!(sim.hub().is_open(id));
        }
        sim.server.net().passes(TICKS + Duration::from_millis(10));
        sim.turn();
        assert!(!sim.hub().is_open(id));
        // If it reads after all, it gets what is due.
        let mut got = reads_all(&mut sim, &wire);
        assert_eq!(got.pop(), Some(too_slow("blocked_timeout")));
        assert!(got.starts_with(&numbers(1..=3)), "{got:?}");
        wire.finishes();
        sim.rests();
        assert_eq!(sim.takes().pop(), Some(Told::Closed(id, 1013)));
        assert_eq!(sim.hub().counters().closed_overflow, 1);
    }
}

#[test]
fn a_subscriber_that_takes_a_little_within_each_such_time_is_not_closed_for_it() {
    let (mut sim, id, wire) = blocks(OnLag::Close, |_| {});
    let mut bytes = Vec::new();
    for _ in 0..20 {
        sim.server.net().passes(BLOCKED - Duration::from_millis(1));
        sim.turn();
        assert!(sim.hub().is_open(id));
        wire.holds(3);
        bytes.extend(wire.reads_bytes());
        sim.rests();
        if bytes.len() == 100 {
            break;
        }
    }
    assert!(bytes.len() > 25 + 3 * 15);
    wire.holds(usize::MAX);
    bytes.extend(wire.reads_bytes());
    (0..3).for_each(|_| sim.turn());
    bytes.extend(wire.reads_bytes());
    assert_eq!(crate::support::net::frames(&bytes), numbers(1..=10));
}
