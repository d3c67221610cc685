//! Peers that do not read, and what is sent to them directly: what waits, to the byte.
//!
//! Every message here is 8 bytes long, and its frame 10.

use std::ops::RangeInclusive;
use std::time::Duration;

use pushloop::{Config, ConnId, Message, OnLag, Overflow, SendError};

use super::subscribers;
use crate::support::net::{Sim, Told, Wire};
use crate::support::{Frame, burst, close, ping, pong, quiet, text};

const MINUTE: Duration = Duration::from_secs(60);

/// The Close frame that a peer gets which reads too slowly for this limit.
pub fn too_slow(limit: &str) -> Frame {
    close(1013, format!("too slow: {limit}"))
}

pub fn number(number: usize) -> String {
    format!("{number:08}")
}

pub fn numbers(range: RangeInclusive<usize>) -> Vec<Frame> {
    range.map(|at| text(number(at))).collect()
}

/// A server with one subscriber of "t", which has this policy. The subscriber's kernel holds two and
/// a half frames.
pub fn slow_subscriber(on_lag: OnLag, set: impl FnOnce(&mut Config)) -> (Sim, ConnId, Wire) {
    let mut sim = Sim::new(quiet(|config| {
        config.topic.on_lag = on_lag;
        set(config);
    }));
    let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
    wire.holds(25);
    (sim, id, wire)
}

/// A server that holds so much for a peer, whose kernel holds two and a half frames.
fn slow_peer(overflow: Overflow, send_queue_bytes_max: usize) -> (Sim, ConnId, Wire) {
    let mut sim = Sim::new(quiet(|config| {
        (config.overflow, config.send_queue_bytes_max) = (overflow, send_queue_bytes_max);
    }));
    let (id, wire) = sim.opens();
    wire.holds(25);
    (sim, id, wire)
}

/// Publishes one message in each of several turns.
pub fn publish(sim: &mut Sim, range: RangeInclusive<usize>) {
    for at in range {
        sim.hub().publish("t", number(at)).unwrap();
        sim.turn();
    }
}

/// Sends one message in each of several turns; says which were taken.
fn send(sim: &mut Sim, id: ConnId, range: RangeInclusive<usize>) -> Vec<bool> {
    let one = |at| {
        let sent = sim.hub().send(id, number(at)).is_ok();
        sim.turn();
        sent
    };
    range.map(one).collect()
}

/// The peer reads until nothing more comes.
pub fn reads_all(sim: &mut Sim, wire: &Wire) -> Vec<Frame> {
    let mut bytes = wire.reads_bytes();
    loop {
        (0..3).for_each(|_| sim.turn());
        let more = wire.reads_bytes();
        if more.is_empty() {
            break;
        }
        bytes.extend(more);
    }
    crate::support::net::frames(&bytes)
}

/// The same, and its kernel holds all from here on.
pub fn reads_again(sim: &mut Sim, wire: &Wire) -> Vec<Frame> {
    wire.holds(usize::MAX);
    reads_all(sim, wire)
}

#[test]
fn a_send_to_too_slow_a_peer_is_refused_at_the_byte_and_closes_it() {
    let (mut sim, id, wire) = slow_peer(Overflow::Close, 40);
    wire.holds(0);
    for at in 1..=4 {
        sim.hub().send(id, number(at)).unwrap();
        assert_eq!(sim.hub().queued_bytes(id), 10 * at);
        sim.turn();
    }
    assert_eq!(sim.hub().send(id, ""), Err(SendError::Closing));
    assert_eq!(sim.hub().send(id, ""), Err(SendError::Gone));
    let mut expected = numbers(1..=4);
    expected.push(too_slow("send_queue_bytes_max"));
    assert_eq!(reads_again(&mut sim, &wire), expected);
}

#[test]
fn a_send_that_is_dropped_leaves_the_connection_open() {
    let (mut sim, id, wire) = slow_peer(Overflow::DropNewest, 40);
    wire.holds(0);
    send(&mut sim, id, 1..=4);
    for dropped in 1..=3 {
        assert_eq!(sim.hub().send(id, "x"), Err(SendError::Full));
        assert_eq!(sim.hub().counters().messages_dropped_full, dropped);
    }
    wire.holds(usize::MAX);
    wire.reads_bytes();
    (0..2).for_each(|_| sim.turn());
    assert_eq!(sim.takes(), [Told::Writable(id)]);
    send(&mut sim, id, 5..=5);
    assert_eq!(wire.reads(), numbers(1..=5));
}

#[test]
fn the_newest_are_dropped_whole_from_the_byte_on() {
    // Half a frame is in the kernel; the other half, and whole frames, may wait.
    for limit in 10..=56 {
        let (mut sim, id, wire) = slow_peer(Overflow::DropNewest, limit);
        let waits = (limit - 5) / 10;
        let taken = send(&mut sim, id, 1..=9);
        assert_eq!(taken, [vec![true; 3 + waits], vec![false; 6 - waits]].concat());
        assert_eq!(sim.hub().queued_bytes(id), 5 + 10 * waits);
        assert_eq!(sim.hub().queued_bytes_total(), 5 + 10 * waits);
        assert_eq!(sim.hub().counters().messages_dropped_full as usize, 6 - waits, "limit {limit}");
        wire.holds(usize::MAX);
        let mut got = wire.reads_bytes();
        sim.turn();
        assert_eq!(sim.takes(), []);
        sim.turn();
        // It is told once, and there is room again.
        assert_eq!(sim.takes(), [Told::Writable(id)]);
        send(&mut sim, id, 10..=19);
        got.extend(wire.reads_bytes());
        let mut expected = numbers(1..=3 + waits);
        expected.extend(numbers(10..=19));
        assert_eq!(crate::support::net::frames(&got), expected);
        assert_eq!(sim.takes(), []);
        assert_eq!(sim.hub().queued_bytes_total(), 0);
    }
}

#[test]
fn the_newest_of_one_turn_are_dropped_as_those_of_several() {
    for limit in 15..=70 {
        let (mut sim, id, wire) = slow_peer(Overflow::DropNewest, limit);
        send(&mut sim, id, 1..=4);
        let before = sim.hub().queued_bytes(id);
        let taken = (5..=9).filter(|at| sim.hub().send(id, number(*at)).is_ok()).count();
        sim.turn();
        let waits = ((limit - 5) / 10).min(6);
        assert_eq!((before, taken), (15, waits - 1), "limit {limit}");
        assert_eq!(sim.hub().queued_bytes(id), 5 + 10 * waits, "limit {limit}");
        assert_eq!(sim.hub().counters().messages_dropped_full as usize, 6 - waits);
        assert_eq!(reads_all(&mut sim, &wire), numbers(1..=3 + waits));
    }
}

/// What topics publish waits in the topics, however much it is.
#[test]
fn publications_take_no_room_from_what_is_sent_directly() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |config| {
        config.send_queue_bytes_max = 10 + 8;
    });
    publish(&mut sim, 1..=100);
    // The rest of the third has begun to leave.
    assert_eq!((sim.hub().queued_bytes(id), sim.hub().lag(id, "t")), (5, Some(97)));
    assert_eq!(sim.hub().send(id, number(101)), Ok(()));
    assert_eq!(sim.hub().queued_bytes(id), 5 + 10 + 8);
    publish(&mut sim, 102..=200);
    assert_eq!(reads_all(&mut sim, &wire), numbers(1..=200));
    assert_eq!((sim.hub().queued_bytes_total(), sim.hub().lag(id, "t")), (0, Some(0)));
}

#[test]
fn a_pong_takes_no_room_from_messages_and_they_none_from_it() {
    let (mut sim, id, wire) = slow_peer(Overflow::DropNewest, 40);
    wire.sends(ping("12345678"));
    let taken: Vec<_> = (1..=6).map(|at| sim.hub().send(id, number(at)).is_ok()).collect();
    assert_eq!(taken, [true, true, true, true, false, false]);
    (0..3).for_each(|_| sim.turn());
    let got = reads_all(&mut sim, &wire);
    assert!(got.contains(&pong("12345678")));
    assert_eq!(
        got.iter().filter(|frame| frame.first == 0x81).cloned().collect::<Vec<_>>(),
        numbers(1..=4)
    );
    assert_eq!(sim.hub().counters().messages_dropped_full, 2);
}

#[test]
fn a_control_frame_at_the_limit_neither_goes_nor_closes() {
    let mut sim = Sim::new(quiet(|config| {
        (config.ping_interval, config.pong_timeout) = (Some(Duration::from_secs(1)), MINUTE);
        (config.send_queue_bytes_max, config.overflow) = (40, Overflow::Close);
    }));
    let (id, wire) = sim.opens();
    let handle = sim.server.handle();
    let mut sent = 0;
    // It is pinged in a turn that fills its queue.
    while sim.hub().counters().pings_sent == 0 {
        for _ in 0..4 {
            sent += 1;
            handle.send(id, Message::Text(&number(sent))).unwrap();
        }
        sim.server.net().passes(Duration::from_millis(100));
        sim.turn();
    }
    assert_eq!(sim.hub().queued_bytes(id), 40 + 2);
    assert!(sim.hub().is_open(id), "closed for a control frame");
    sim.turn();
    let expected = [numbers(1..=sent), vec![ping("")]].concat();
    assert_eq!((wire.reads(), sim.hub().counters().messages_dropped_full), (expected, 0));
}

#[test]
fn a_peer_that_reads_everything_is_never_too_slow() {
    // As much as one turn can bring from the network, turn after turn.
    let mut sim = Sim::new(quiet(|_| {}));
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
    while sim.hub().lag(id, "t") > Some(0) {
        sim.turn();
        got.extend(wire.reads_bytes());
    }
    assert_eq!(crate::support::net::frames(&got), vec![text(&message); 80]);
}

#[test]
fn one_turn_writes_no_more_to_a_connection_than_its_budget() {
    let (mut sim, id, wire) = slow_peer(Overflow::Close, 1 << 20);
    wire.holds(usize::MAX);
    let budget = sim.hub().config().write_bytes_per_turn;
    let message = "x".repeat(budget);
    (0..4).for_each(|_| sim.hub().send(id, &message).unwrap());
    let mut turns = Vec::new();
    while sim.hub().queued_bytes(id) > 0 {
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
    let mut sim = Sim::new(quiet(|config| config.write_bytes_per_turn = 200));
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

/// It is closing by itself, and not for it: the message is dropped.
#[test]
fn what_is_refused_to_who_has_said_close_is_counted() {
    let (mut sim, id, wire) = slow_peer(Overflow::Close, 40);
    wire.sends(close(1000, ""));
    sim.turn();
    sim.takes();
    (1..=4).for_each(|at| assert_eq!(sim.hub().send(id, number(at)), Ok(())));
    assert_eq!(sim.hub().send(id, "x"), Err(SendError::Full));
    assert_eq!(sim.hub().counters().messages_dropped_full, 1);
}
