//! Leaving while behind: what was published before still arrives, what comes after does not, and a
//! Close waits behind all that is due.

use std::time::Duration;

use pushloop::{CloseCode, OnLag, SendError, SubscribeError};

use super::overflow::{
    number, numbers, publish, reads_again, reads_all, slow_subscriber, too_slow,
};
use super::subscribers;
use crate::support::net::{Sim, Told, frames};
use crate::support::{binary, close, quiet};

#[test]
fn a_subscriber_that_leaves_while_behind_and_comes_back_misses_only_what_came_between() {
    for on_lag in [OnLag::Close, OnLag::Skip] {
        let (mut sim, id, wire) = slow_subscriber(on_lag, |_| {});
        let (_, reads) = subscribers(&mut sim, 1, "t").remove(0);
        publish(&mut sim, 1..=10);
        assert!(sim.hub().unsubscribe(id, "t"));
        assert_eq!((sim.hub().subscriber_count("t"), sim.hub().lag(id, "t")), (1, None));
        publish(&mut sim, 11..=20);
        sim.hub().subscribe(id, "t").unwrap();
        assert_eq!(sim.hub().lag(id, "t"), Some(0));
        publish(&mut sim, 21..=30);
        assert_eq!(sim.hub().lag(id, "t"), Some(10));
        // And once more, so that it has left twice.
        sim.hub().unsubscribe(id, "t");
        publish(&mut sim, 31..=40);
        sim.hub().subscribe(id, "t").unwrap();
        publish(&mut sim, 41..=50);
        let due = [numbers(1..=10), numbers(21..=30), numbers(41..=50)].concat();
        assert_eq!(reads_all(&mut sim, &wire), due);
        assert_eq!(reads.reads(), numbers(1..=50));
        let counters = sim.hub().counters();
        assert_eq!((counters.deliveries, counters.messages_lost), (80, 0));
        assert_eq!(sim.hub().queued_bytes_total(), 0);
    }
}

#[test]
fn a_subscriber_that_leaves_between_direct_sends_gets_all_in_the_order_in_which_it_was_done() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |_| {});
    wire.holds(0);
    for at in 0..10 {
        sim.hub().subscribe(id, "t").unwrap();
        sim.hub().publish("t", number(3 * at)).unwrap();
        sim.hub().send(id, number(3 * at + 1)).unwrap();
        sim.hub().publish("t", number(3 * at + 2)).unwrap();
        if at % 3 == 0 {
            sim.turn();
        }
        sim.hub().unsubscribe(id, "t");
    }
    sim.turn();
    assert_eq!(reads_again(&mut sim, &wire), numbers(0..=29));
}

#[test]
fn a_subscriber_of_the_latest_that_leaves_gets_what_was_the_latest_if_it_is_kept() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Latest, |_| {});
    publish(&mut sim, 1..=10);
    sim.hub().unsubscribe(id, "t");
    assert_eq!(sim.hub().publish("t", "nobody's").map(|it| it.subscribers), Ok(0));
    assert_eq!(reads_all(&mut sim, &wire), [numbers(1..=3), numbers(10..=10)].concat());
    let counters = sim.hub().counters();
    let conflated = counters.messages_conflated + counters.messages_skipped;
    assert_eq!((conflated, counters.messages_lost), (6, 0));
    // If a later one took its place, that is not for one that has left.
    let _others = subscribers(&mut sim, 1, "t");
    sim.hub().subscribe(id, "t").unwrap();
    wire.holds(0);
    publish(&mut sim, 11..=12);
    sim.hub().unsubscribe(id, "t");
    publish(&mut sim, 13..=14);
    assert_eq!(reads_again(&mut sim, &wire), []);
}

#[test]
fn a_subscriber_that_has_left_is_too_slow_as_well_if_what_is_due_is_given_up() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |config| {
        config.topic_lag_bytes_max = 4000;
    });
    let _others = subscribers(&mut sim, 1, "t");
    publish(&mut sim, 1..=10);
    sim.hub().unsubscribe(id, "t");
    publish(&mut sim, 11..=1000);
    let closed = vec![too_slow("topic_lag_bytes_max")];
    assert_eq!(reads_all(&mut sim, &wire), [numbers(1..=3), closed].concat());
    assert_eq!((sim.hub().is_open(id), sim.hub().counters().messages_lost), (false, 7));
}

#[test]
fn a_close_waits_behind_all_that_is_due() {
    for by_peer in [false, true] {
        let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |_| {});
        let (_, reads) = subscribers(&mut sim, 1, "t").remove(0);
        publish(&mut sim, 1..=20);
        sim.hub().send(id, number(21)).unwrap();
        publish(&mut sim, 22..=30);
        if by_peer {
            wire.sends(close(1000, ""));
            sim.turn();
            assert_eq!(sim.takes(), [Told::Closed(id, 1000)]);
            sim.turn();
        } else {
            sim.hub().close(id, CloseCode::NORMAL, "");
        }
        assert_eq!((sim.hub().subscriber_count("t"), sim.hub().lag(id, "t")), (1, None));
        assert_eq!(sim.hub().subscribe(id, "t"), Err(SubscribeError::Gone));
        assert_eq!(sim.hub().send(id, "late"), Err(SendError::Gone));
        publish(&mut sim, 31..=40);
        let closed = vec![close(1000, "")];
        assert_eq!(reads_all(&mut sim, &wire), [numbers(1..=30), closed].concat());
        let others = [numbers(1..=20), numbers(22..=40)].concat();
        assert_eq!((reads.reads(), sim.hub().counters().messages_lost), (others, 0));
        wire.sends(close(1000, ""));
        wire.finishes();
        sim.rests();
        assert!(wire.is_dropped());
    }
}

#[test]
fn a_connection_that_is_closed_gets_what_is_left_of_what_is_due() {
    for on_lag in [OnLag::Close, OnLag::Skip] {
        let (mut sim, id, wire) = slow_subscriber(on_lag, |config| {
            config.topic_lag_bytes_max = 4000;
        });
        let _others = subscribers(&mut sim, 1, "t");
        publish(&mut sim, 1..=10);
        sim.hub().close(id, CloseCode::NORMAL, "");
        publish(&mut sim, 11..=1000);
        assert_eq!(reads_all(&mut sim, &wire), [numbers(1..=3), vec![close(1000, "")]].concat());
        let counters = sim.hub().counters();
        assert_eq!(counters.messages_lost + counters.messages_skipped, 7);
    }
}

#[test]
fn what_was_due_to_one_that_is_gone_is_lost_and_counted() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Latest, |_| {});
    sim.hub().subscribe(id, "u").unwrap();
    publish(&mut sim, 1..=10);
    sim.hub().publish("u", "u").unwrap();
    sim.hub().unsubscribe(id, "u");
    wire.resets();
    sim.turn();
    assert_eq!(sim.takes(), [Told::Closed(id, 1006)]);
    sim.turn();
    let counters = sim.hub().counters();
    assert_eq!((counters.deliveries, counters.messages_lost), (3, 8));
    assert_eq!((sim.hub().topic_count(), sim.hub().queued_bytes_total()), (0, 0));
}

/// What it is due for waits no longer than for the peer to take each piece of it.
#[test]
fn a_peer_that_is_closed_while_behind_and_reads_nothing_is_dropped() {
    let mut sim = Sim::new(quiet(|config| config.close_timeout = Duration::from_secs(5)));
    let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
    wire.holds(25);
    publish(&mut sim, 1..=100);
    sim.hub().close(id, CloseCode::NORMAL, "");
    while !wire.is_dropped() {
        sim.turn_within(Some(Duration::from_secs(1)));
    }
    assert_eq!(sim.takes(), [Told::Closed(id, 1000)]);
    assert_eq!((sim.hub().counters().messages_lost, sim.hub().queued_bytes_total()), (97, 0));
    assert_eq!(frames(&wire.reads_bytes()[..20]), numbers(1..=2));
}

/// The hub's end: all are closed, and get what is due.
#[test]
fn a_server_that_ends_gives_its_laggards_what_is_due() {
    let (mut sim, _, wire) = slow_subscriber(OnLag::Close, |_| {});
    publish(&mut sim, 1..=100);
    sim.hub().shutdown(Duration::from_secs(60));
    sim.turn();
    let mut got = reads_all(&mut sim, &wire);
    assert_eq!(got.pop().map(|frame| frame.first), Some(0x88));
    assert_eq!(got, numbers(1..=100));
}

/// A burst that takes the loop several turns to write, and of which no kernel refuses a byte.
static BURST: [[u8; 60_000]; 16] = [[7; 60_000]; 16];

fn publishes_a_burst(sim: &mut Sim) {
    for message in &BURST {
        sim.hub().publish("t", message).unwrap();
    }
}

#[test]
fn a_subscriber_that_keeps_up_and_leaves_gets_what_takes_several_turns_to_write() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
    let (_, stays) = subscribers(&mut sim, 1, "t").remove(0);
    publishes_a_burst(&mut sim);
    sim.hub().unsubscribe(id, "t");
    sim.rests();
    let burst: Vec<_> = BURST.iter().map(binary).collect();
    assert_eq!((wire.reads(), stays.reads()), (burst.clone(), burst));
    assert!(sim.hub().is_open(id));
    assert_eq!((sim.hub().counters().messages_lost, sim.hub().queued_bytes_total()), (0, 0));
}

#[test]
fn a_connection_that_keeps_up_and_is_closed_gets_what_takes_several_turns_to_write() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
    publishes_a_burst(&mut sim);
    sim.hub().close(id, CloseCode::NORMAL, "bye");
    (0..10).for_each(|_| sim.turn());
    let mut got = wire.reads();
    assert_eq!(got.pop(), Some(close(1000, "bye")));
    assert_eq!(got, BURST.iter().map(binary).collect::<Vec<_>>());
    assert_eq!(sim.hub().counters().messages_lost, 0);
}

#[test]
fn what_was_left_behind_by_a_peer_that_then_stops_reading_is_given_up_like_others() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
    publishes_a_burst(&mut sim);
    sim.hub().unsubscribe(id, "t");
    wire.holds(100_000);
    (0..5).for_each(|_| sim.turn());
    let limit = sim.hub().config().topic_lag_bytes_max;
    assert!(sim.hub().queued_bytes_total() <= limit + 64 * 1024);
    wire.holds(usize::MAX);
    wire.reads_bytes();
    (0..5).for_each(|_| sim.turn());
    assert!(!sim.hub().is_open(id), "it has missed something, and is told so");
}

#[test]
fn a_peer_that_was_blocked_once_catches_up_with_a_topic_that_publishes_much_in_each_turn() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
    wire.holds(0);
    sim.hub().publish("t", "x").unwrap();
    sim.turn();
    wire.holds(usize::MAX);
    wire.reads_bytes();
    for _ in 0..20 {
        for message in &BURST[..4] {
            sim.hub().publish("t", message).unwrap();
        }
        sim.turn();
        wire.reads_bytes();
    }
    assert!(sim.hub().is_open(id));
    sim.rests();
    assert_eq!(sim.hub().lag(id, "t"), Some(0));
}

/// Of one that ends, it is known in the turn that tells so; the next in its place begins at nothing.
#[test]
fn what_each_connection_gets_is_counted_where_that_is_asked_for() {
    for (is_counted, expected) in [(false, [0; 3]), (true, [3, 2, 0])] {
        let mut sim = Sim::new(quiet(|config| config.count_deliveries = is_counted));
        let peers = subscribers(&mut sim, 2, "t");
        let [first, second] = [peers[0].0, peers[1].0];
        for except in [None, Some(second), None] {
            match except {
                Some(id) => sim.hub().publish_except("t", "x", id).unwrap(),
                None => sim.hub().publish("t", "x").unwrap(),
            };
            sim.turn();
        }
        let delivered = [first, second].map(|id| sim.hub().delivered(id));
        sim.hub().abort(first);
        let mut at_the_end = None;
        for _ in 0..4 {
            sim.turn_with(Some(Duration::ZERO), |hub, told| {
                if matches!(told, Told::Closed(id, _) if *id == first) {
                    at_the_end = Some(hub.delivered(first));
                }
            });
        }
        // And not later.
        assert_eq!((at_the_end, sim.hub().delivered(first)), (Some(expected[0]), 0));
        let (next, _wire) = sim.opens();
        let delivered = [delivered[0], delivered[1], sim.hub().delivered(next)];
        assert_eq!(delivered, expected, "{is_counted}");
    }
}
