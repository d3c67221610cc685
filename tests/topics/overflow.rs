//! Peers that do not read: what a full kernel does to whom, to the byte.
//!
//! Every message here is 8 bytes long, and its frame 10.

use std::ops::RangeInclusive;
use std::time::Duration;

use pushloop::{ConnId, Message, Overflow, SendError};

use super::net::{Sim, Told, Wire};
use super::support::{Frame, burst, close, ping, pong, text};
use super::{config, subscribers};

const MINUTE: Duration = Duration::from_secs(60);
pub const TOO_SLOW: &str = "too slow: send_queue_bytes_max";

pub fn number(number: usize) -> String {
    format!("{number:08}")
}

pub fn numbers(range: RangeInclusive<usize>) -> Vec<Frame> {
    range.map(|at| text(number(at))).collect()
}

/// A server with one subscriber of "t", and so many bytes that may wait for it. Its kernel holds
/// two and a half frames.
pub fn slow_subscriber(policy: Overflow, send_queue_bytes_max: usize) -> (Sim, ConnId, Wire) {
    let mut sim = Sim::new(config(|config| {
        config.send_queue_bytes_max = send_queue_bytes_max;
        config.overflow = policy;
    }));
    let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
    wire.holds(25);
    (sim, id, wire)
}

/// Publishes one message in each of several turns.
fn publish(sim: &mut Sim, range: RangeInclusive<usize>) {
    for at in range {
        sim.hub().publish("t", &number(at)).unwrap();
        sim.turn();
    }
}

/// The peer reads until nothing more comes.
pub fn reads_all(sim: &mut Sim, wire: &Wire) -> Vec<Frame> {
    let mut bytes = Vec::new();
    loop {
        let more = wire.reads_bytes();
        if more.is_empty() {
            return super::net::frames(&bytes);
        }
        bytes.extend(more);
        (0..3).for_each(|_| sim.turn());
    }
}

#[test]
fn too_slow_a_subscriber_gets_an_unbroken_sequence_and_1013() {
    let (mut sim, id, wire) = slow_subscriber(Overflow::Close, 40);
    let (_, reads) = subscribers(&mut sim, 1, "t").remove(0);
    // 25 bytes in the kernel, 35 here.
    publish(&mut sim, 1..=6);
    assert_eq!((sim.hub().queued_bytes(id), sim.hub().is_open(id)), (35, true));
    publish(&mut sim, 7..=7);
    assert_eq!((sim.hub().is_open(id), sim.hub().subscribers("t")), (false, 1));
    assert_eq!(sim.hub().counters().closed_overflow, 0, "counted when it is over");
    publish(&mut sim, 8..=9);
    let mut got = reads_all(&mut sim, &wire);
    assert_eq!(got.pop(), Some(close(1013, TOO_SLOW)));
    assert_eq!(got, numbers(1..=7));
    assert_eq!(sim.takes(), []);
    wire.sends(close(1013, ""));
    sim.turn();
    assert_eq!(sim.takes(), [Told::Closed(id, 1013)]);
    assert_eq!(sim.hub().counters().closed_overflow, 1);
    assert_eq!(reads.reads(), numbers(1..=9));
}

#[test]
fn a_send_to_too_slow_a_peer_is_refused_at_the_byte_and_closes_it() {
    let (mut sim, id, wire) = slow_subscriber(Overflow::Close, 40);
    wire.holds(0);
    for at in 1..=4 {
        sim.hub().send(id, &number(at)).unwrap();
        assert_eq!(sim.hub().queued_bytes(id), 10 * at);
        sim.turn();
    }
    assert_eq!(sim.hub().send(id, ""), Err(SendError::Full));
    assert_eq!(sim.hub().send(id, ""), Err(SendError::Gone));
    wire.holds(usize::MAX);
    wire.reads_bytes();
    (0..2).for_each(|_| sim.turn());
    let mut expected = numbers(1..=4);
    expected.push(close(1013, TOO_SLOW));
    assert_eq!(reads_all(&mut sim, &wire), expected);
}

#[test]
fn a_send_that_is_dropped_leaves_the_connection_open() {
    for policy in [Overflow::DropNewest, Overflow::KeepLatest] {
        let (mut sim, id, wire) = slow_subscriber(policy, 40);
        wire.holds(0);
        for at in 1..=4 {
            sim.hub().send(id, &number(at)).unwrap();
            sim.turn();
        }
        for dropped in 1..=3 {
            assert_eq!(sim.hub().send(id, "x"), Err(SendError::Full));
            assert_eq!(sim.hub().counters().messages_dropped_full, dropped);
        }
        wire.holds(usize::MAX);
        wire.reads_bytes();
        (0..2).for_each(|_| sim.turn());
        assert_eq!(sim.takes(), [Told::Writable(id)]);
        sim.hub().send(id, &number(5)).unwrap();
        sim.turn();
        assert_eq!(wire.reads(), numbers(1..=5));
    }
}

#[test]
fn the_newest_are_dropped_whole_from_the_byte_on() {
    // Half a frame is in the kernel; the other half, and whole frames, may wait.
    for limit in 5..=56 {
        let (mut sim, id, wire) = slow_subscriber(Overflow::DropNewest, limit);
        publish(&mut sim, 1..=9);
        let waits = (limit - 5) / 10;
        assert_eq!(sim.hub().queued_bytes(id), 5 + 10 * waits);
        assert_eq!(sim.hub().queued_bytes_total(), 5 + 10 * waits + 5, "the begun log is whole");
        assert_eq!(sim.hub().counters().messages_dropped_full as usize, 6 - waits, "limit {limit}");
        wire.holds(usize::MAX);
        let mut got = wire.reads_bytes();
        sim.turn();
        assert_eq!(sim.takes(), []);
        sim.turn();
        // It is told once, and there is room again.
        assert_eq!(sim.takes(), [Told::Writable(id)]);
        publish(&mut sim, 10..=19);
        got.extend(wire.reads_bytes());
        let mut expected = numbers(1..=3 + waits);
        expected.extend(numbers(10..=19));
        assert_eq!(super::net::frames(&got), expected);
        assert_eq!(sim.takes(), []);
        assert_eq!(sim.hub().queued_bytes_total(), 0);
    }
}

#[test]
fn the_newest_of_one_turn_are_dropped_as_those_of_several() {
    for limit in 15..=70 {
        let (mut sim, id, wire) = slow_subscriber(Overflow::DropNewest, limit);
        publish(&mut sim, 1..=4);
        for at in 5..=9 {
            sim.hub().publish("t", &number(at)).unwrap();
        }
        sim.turn();
        let waits = ((limit - 5) / 10).min(6);
        assert_eq!(sim.hub().queued_bytes(id), 5 + 10 * waits, "limit {limit}");
        assert_eq!(sim.hub().counters().messages_dropped_full as usize, 6 - waits);
        assert_eq!(reads_all(&mut sim, &wire), numbers(1..=3 + waits));
    }
}

#[test]
fn a_pong_is_no_message_to_drop() {
    let mut sim = Sim::new(config(|config| {
        (config.write_bytes_per_turn, config.send_queue_bytes_max) = (25, 40);
        config.overflow = Overflow::DropNewest;
    }));
    let (_, wire) = subscribers(&mut sim, 1, "t").remove(0);
    sim.rests();
    wire.reads_bytes();
    // The kernel takes the bytes of one turn and no more, but that is known with the next turn.
    wire.holds(25);
    wire.sends(ping("12345678"));
    for at in 1..=6 {
        sim.hub().publish("t", &number(at)).unwrap();
    }
    (0..3).for_each(|_| sim.turn());
    wire.holds(usize::MAX);
    assert!(reads_all(&mut sim, &wire).contains(&pong("12345678")));
    assert!(sim.hub().counters().messages_dropped_full <= 1);
}

#[test]
fn a_control_frame_at_the_limit_neither_goes_nor_closes() {
    let mut sim = Sim::new(config(|config| {
        (config.ping_interval, config.pong_timeout) = (Some(Duration::from_secs(1)), MINUTE);
        (config.send_queue_bytes_max, config.overflow) = (40, Overflow::DropNewest);
    }));
    // One is pinged while its queue is at the limit, the other pings as it gets there.
    let peers = subscribers(&mut sim, 2, "t");
    let handle = sim.server.handle();
    for (id, wire) in &peers {
        wire.holds(0);
        for at in 1..=4 {
            handle.send(*id, Message::Text(&number(at))).unwrap();
        }
    }
    peers[1].1.sends(ping("12345678"));
    (0..3).for_each(|_| sim.turn());
    let all_open = |sim: &mut Sim| peers.iter().all(|(id, _)| sim.hub().is_open(*id));
    while sim.hub().counters().pings_sent < 2 {
        assert!(all_open(&mut sim), "closed for a control frame");
        sim.turn_within(None);
    }
    publish(&mut sim, 5..=7);
    assert!(all_open(&mut sim), "closed for a control frame");
    for (_, wire) in &peers {
        wire.holds(usize::MAX);
        assert_eq!(wire.reads_bytes(), []);
    }
    (0..2).for_each(|_| sim.turn());
    let got: Vec<_> = peers.iter().map(|(_, wire)| reads_all(&mut sim, wire)).collect();
    assert!(got.iter().all(|got| got.contains(&ping(""))), "{got:?}");
    assert!(got[1].contains(&pong("12345678")), "{got:?}");
    let is_message = |frame: &&Frame| frame.first == 0x81;
    for got in &got {
        let kept: Vec<_> = got.iter().filter(is_message).cloned().collect();
        assert!(numbers(1..=4).starts_with(&kept) && kept.len() >= 3, "{got:?}");
    }
}

#[test]
fn a_subscriber_that_lags_keeps_the_latest() {
    let (mut sim, id, wire) = slow_subscriber(Overflow::KeepLatest, 40);
    publish(&mut sim, 1..=20);
    assert_eq!(sim.hub().queued_bytes(id), 15, "the rest of the third, and the twentieth");
    let counters = sim.hub().counters();
    assert_eq!((counters.messages_conflated, counters.messages_dropped_full), (16, 0));
    // The last of several in one turn is the latest.
    for at in 21..=30 {
        sim.hub().publish("t", &number(at)).unwrap();
    }
    sim.turn();
    assert_eq!(sim.hub().counters().messages_conflated, 26);
    wire.holds(usize::MAX);
    let mut expected = numbers(1..=3);
    expected.extend(numbers(30..=30));
    assert_eq!(reads_all(&mut sim, &wire), expected);
    // Who keeps up gets everything.
    publish(&mut sim, 31..=40);
    assert_eq!(wire.reads(), numbers(31..=40));
    assert_eq!(sim.hub().counters().messages_conflated, 26);
}

#[test]
fn each_topic_has_the_policy_that_was_set_for_it() {
    let mut sim = Sim::new(config(|config| config.send_queue_bytes_max = 40));
    // Before there is such a topic, over a time when there is none, and while there is.
    sim.hub().set_topic_overflow("latest", Overflow::KeepLatest);
    let mut peers = Vec::new();
    for topic in ["latest", "newest", "default"] {
        drop(subscribers(&mut sim, 1, topic));
        let (id, wire) = subscribers(&mut sim, 1, topic).remove(0);
        sim.hub().unsubscribe(id, topic);
        sim.hub().subscribe(id, topic).unwrap();
        wire.holds(25);
        peers.push((id, wire));
    }
    sim.hub().set_topic_overflow("newest", Overflow::DropNewest);
    for at in 1..=20 {
        for topic in ["latest", "newest", "default"] {
            sim.hub().publish(topic, &number(at)).unwrap();
        }
        sim.turn();
    }
    let [latest, newest, default] = &peers[..] else { panic!() };
    assert_eq!(reads_all(&mut sim, &latest.1), [numbers(1..=3), numbers(20..=20)].concat());
    assert_eq!(reads_all(&mut sim, &newest.1), numbers(1..=6));
    let closed = vec![close(1013, TOO_SLOW)];
    assert_eq!(reads_all(&mut sim, &default.1), [numbers(1..=7), closed].concat());
}

#[test]
fn the_latest_is_kept_in_its_place_among_others() {
    let (mut sim, id, wire) = slow_subscriber(Overflow::KeepLatest, 1 << 20);
    sim.hub().subscribe(id, "all").unwrap();
    sim.hub().set_topic_overflow("all", Overflow::Close);
    publish(&mut sim, 1..=3);
    for at in 4..=20 {
        publish(&mut sim, at..=at);
        sim.hub().send(id, &number(100 + at)).unwrap();
        sim.turn();
        sim.hub().publish("all", &number(200 + at)).unwrap();
        sim.turn();
    }
    let mut expected = numbers(1..=3);
    (4..=19).for_each(|at| expected.extend([100 + at, 200 + at].map(|at| text(number(at)))));
    expected.extend([20, 120, 220].map(|at| text(number(at))));
    assert_eq!(reads_all(&mut sim, &wire), expected);
    assert_eq!(sim.hub().counters().messages_conflated, 16);
}

#[test]
fn the_latest_is_kept_also_between_direct_sends() {
    let (mut sim, id, wire) = slow_subscriber(Overflow::KeepLatest, 1000);
    publish(&mut sim, 1..=3);
    for at in 4..=20 {
        sim.hub().publish("t", &number(at)).unwrap();
        sim.hub().send(id, &number(100 + at)).unwrap();
        sim.turn();
    }
    wire.holds(usize::MAX);
    let mut expected = numbers(1..=3);
    expected.extend(numbers(104..=119));
    expected.extend([text(number(20)), text(number(120))]);
    assert_eq!(reads_all(&mut sim, &wire), expected);
    assert_eq!(sim.hub().counters().messages_conflated, 16);
}

#[test]
fn the_latest_of_each_topic_is_kept() {
    let (mut sim, id, wire) = slow_subscriber(Overflow::KeepLatest, 1000);
    sim.hub().subscribe(id, "u").unwrap();
    publish(&mut sim, 1..=3);
    for at in 4..=20 {
        publish(&mut sim, at..=at);
        sim.hub().publish("u", &number(100 + at)).unwrap();
        sim.turn();
    }
    let latest = [text(number(20)), text(number(120))];
    assert_eq!(reads_all(&mut sim, &wire), [&numbers(1..=3)[..], &latest].concat());
    assert_eq!(sim.hub().counters().messages_conflated, 32);
}

#[test]
fn a_peer_that_reads_everything_is_never_too_slow() {
    // As much as one turn can bring from the network, turn after turn.
    let mut sim = Sim::new(config(|_| {}));
    let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
    let message = "x".repeat(64 << 10);
    let mut got = Vec::new();
    for turn in 0..20 {
        for _ in 0..4 {
            sim.hub().publish("t", &message).unwrap();
        }
        sim.turn();
        got.extend(wire.reads_bytes());
        assert!(sim.hub().is_open(id), "closed in turn {turn}, with its kernel empty");
    }
    while sim.hub().queued_bytes(id) > 0 {
        sim.turn();
        got.extend(wire.reads_bytes());
    }
    assert_eq!(super::net::frames(&got), vec![text(&message); 80]);
}

#[test]
fn one_turn_writes_no_more_to_a_connection_than_its_budget() {
    let (mut sim, id, wire) = slow_subscriber(Overflow::Close, 1 << 20);
    sim.hub().unsubscribe(id, "t");
    wire.holds(usize::MAX);
    let budget = sim.hub().config().write_bytes_per_turn;
    let message = "x".repeat(budget);
    for topic in ["a", "b", "c", "d"] {
        sim.hub().subscribe(id, topic).unwrap();
        sim.hub().publish(topic, &message).unwrap();
    }
    let mut turns = Vec::new();
    while sim.hub().queued_bytes(id) > 0 || turns.is_empty() {
        sim.turn();
        turns.push(wire.reads_bytes().len());
    }
    // Four messages with their headers, in as many turns as it takes.
    let all = 4 * (budget + 10);
    assert_eq!(turns, [budget, budget, budget, budget, all - 4 * budget]);
}

/// What an earlier turn could not write has gone, and with it the reason to answer only the last.
#[test]
fn each_ping_is_answered_again_when_a_long_queue_has_gone_out() {
    let mut sim = Sim::new(config(|config| config.write_bytes_per_turn = 200));
    let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
    let long = "x".repeat(400);
    sim.hub().send(id, &long).unwrap();
    sim.turn();
    wire.sends_bytes(burst(&[ping("a"), ping("b")]));
    sim.rests();
    assert_eq!(wire.reads(), [text(&long), pong("b")]);
    wire.sends_bytes(burst(&[ping("c"), ping("d")]));
    sim.rests();
    assert_eq!(wire.reads(), [pong("c"), pong("d")]);
}

/// Another one fills the process, and is closed for it.
fn fills_the_process(sim: &mut Sim) {
    let (greedy, wire) = sim.opens();
    wire.holds(0);
    sim.hub().send(greedy, &[0; 90_000]).unwrap();
    sim.turn();
    assert!(!sim.hub().is_open(greedy));
}

/// What is short of a long log is copied then, and gives way to a later one all the same.
#[test]
fn the_latest_is_kept_also_where_the_process_is_nearly_full() {
    let mut sim = Sim::new(config(|config| config.send_queues_bytes_max = 100_000));
    sim.hub().set_topic_overflow("t", Overflow::KeepLatest);
    let (_, wire) = subscribers(&mut sim, 1, "t").remove(0);
    wire.holds(0);
    for turn in 0..3 {
        for at in 4 * turn + 1..=4 * turn + 4 {
            sim.hub().publish("t", &number(at)).unwrap();
        }
        sim.turn();
        fills_the_process(&mut sim);
    }
    wire.holds(usize::MAX);
    wire.reads_bytes();
    (0..2).for_each(|_| sim.turn());
    assert_eq!(wire.reads(), numbers(12..=12));
    assert_eq!(sim.hub().counters().messages_conflated, 11);
}

/// The same while its log is being written, in the middle of a frame.
#[test]
fn who_comes_to_lag_in_a_process_that_is_nearly_full_keeps_the_latest() {
    let mut sim = Sim::new(config(|config| {
        (config.send_queues_bytes_max, config.write_bytes_per_turn) = (100_000, 153);
    }));
    sim.hub().set_topic_overflow("t", Overflow::KeepLatest);
    let (_, wire) = subscribers(&mut sim, 1, "t").remove(0);
    for at in 1..=100 {
        sim.hub().publish("t", &number(at)).unwrap();
    }
    fills_the_process(&mut sim);
    let mut bytes = wire.reads_bytes();
    let begun = bytes.len().div_ceil(10);
    assert!(bytes.len() % 10 > 0 && begun > 50 && begun < 99, "{begun}");
    wire.holds(0);
    sim.turn();
    wire.holds(usize::MAX);
    wire.reads_bytes();
    (0..2).for_each(|_| sim.turn());
    bytes.extend(wire.reads_bytes());
    let expected = [numbers(1..=begun), numbers(100..=100)].concat();
    assert_eq!(super::net::frames(&bytes), expected);
}

/// Whoever lost it would have none: those before it gave way to it.
#[test]
fn the_newest_of_others_are_dropped_before_the_latest_of_a_topic() {
    let (mut sim, id, wire) = slow_subscriber(Overflow::DropNewest, 40);
    sim.hub().set_topic_overflow("state", Overflow::KeepLatest);
    sim.hub().subscribe(id, "state").unwrap();
    publish(&mut sim, 1..=9);
    for at in 101..=103 {
        sim.hub().publish("state", &number(at)).unwrap();
        sim.turn();
    }
    // 25 bytes in the kernel, 35 here: the latest is one of them.
    let expected = [numbers(1..=5), numbers(103..=103)].concat();
    assert_eq!(reads_all(&mut sim, &wire), expected);
    let counters = sim.hub().counters();
    assert_eq!((counters.messages_dropped_full, counters.messages_conflated), (4, 2));
}

/// As they are for what is published where nothing may be dropped: who lags has a queue full of them.
#[test]
fn what_may_be_dropped_is_dropped_for_what_is_sent_directly() {
    let mut sim = Sim::new(config(|config| {
        (config.send_queue_bytes_max, config.send_queues_bytes_max) = (40, 100);
        config.overflow = Overflow::Close;
    }));
    let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
    wire.holds(25);
    sim.hub().set_topic_overflow("t", Overflow::DropNewest);
    publish(&mut sim, 1..=9);
    assert_eq!(sim.hub().queued_bytes(id), 35);
    for at in 101..=103 {
        assert_eq!(sim.hub().send(id, &number(at)), Ok(()));
        assert_eq!(sim.hub().queued_bytes(id), 35);
    }
    let counters = sim.hub().counters();
    assert_eq!((counters.messages_dropped_full, counters.messages_sent), (3 + 3, 3));
    // What has begun to leave, and what is sent directly, stay.
    assert_eq!(sim.hub().send(id, &number(104)), Err(SendError::Full));
    assert!(!sim.hub().is_open(id));
    let mut got = reads_all(&mut sim, &wire);
    assert_eq!(got.pop(), Some(close(1013, TOO_SLOW)));
    assert_eq!(got, [numbers(1..=3), numbers(101..=103)].concat());
}

/// It is closing by itself, and not for it: the message is dropped.
#[test]
fn what_is_refused_to_who_has_said_close_is_counted() {
    let (mut sim, id, wire) = slow_subscriber(Overflow::Close, 40);
    wire.sends(close(1000, ""));
    sim.turn();
    sim.takes();
    (1..=4).for_each(|at| assert_eq!(sim.hub().send(id, &number(at)), Ok(())));
    assert_eq!(sim.hub().send(id, "x"), Err(SendError::Full));
    assert_eq!(sim.hub().counters().messages_dropped_full, 1);
}
