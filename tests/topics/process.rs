//! What waits in the whole process: where that is full, and who gives way.
//!
//! Every message here is 8 bytes long, and its frame 10, unless its test says otherwise.

use std::time::Duration;

use pushloop::{Overflow, PublishError, SendError};

use super::net::Sim;
use super::overflow::{TOO_SLOW, number, numbers, reads_all, slow_subscriber};
use super::support::close;
use super::{config, subscribers};

#[test]
fn the_process_is_full_at_the_byte() {
    let mut sim = Sim::new(config(|config| config.send_queues_bytes_max = 1000));
    // However many subscribe, a publication counts once.
    let peers = subscribers(&mut sim, 3, "t");
    for at in 1..=99 {
        assert_eq!(sim.hub().publish("t", &number(at)), Ok(3));
    }
    assert_eq!(sim.hub().queued_bytes_total(), 990);
    assert_eq!(sim.hub().publish("t", "9 bytes 9"), Err(PublishError::ProcessFull));
    assert_eq!(
        sim.hub().publish_except("t", "9 bytes 9", peers[0].0),
        Err(PublishError::ProcessFull)
    );
    assert_eq!(sim.hub().send(peers[1].0, "9 bytes 9"), Err(SendError::ProcessFull));
    assert_eq!(sim.hub().counters().messages_dropped_full, 3);
    assert!(sim.hub().is_open(peers[1].0));
    sim.hub().send(peers[1].0, &number(100)).unwrap();
    assert_eq!(sim.hub().queued_bytes_total(), 1000);
    assert_eq!(sim.hub().publish("t", ""), Err(PublishError::ProcessFull));
    sim.turn();
    assert_eq!(sim.hub().queued_bytes_total(), 0);
    for (at, (_, wire)) in peers.iter().enumerate() {
        let last = if at == 1 { 100 } else { 99 };
        assert_eq!(wire.reads(), numbers(1..=last));
    }
    // The last byte may be a publication's.
    for at in 1..=100 {
        assert_eq!(sim.hub().publish("t", &number(at)), Ok(3));
    }
    assert_eq!(sim.hub().publish("t", ""), Err(PublishError::ProcessFull));
    sim.turn();
    peers.iter().for_each(|(_, wire)| assert_eq!(wire.reads(), numbers(1..=100)));
}

#[test]
fn above_four_fifths_those_that_lag_most_are_closed() {
    let mut sim = Sim::new(config(|config| config.send_queues_bytes_max = 1000));
    let peers = subscribers(&mut sim, 10, "t");
    // Whose turn it is does not depend on the order in which they came.
    let lags = [7, 13, 5, 11, 9, 14, 6, 10, 12, 8];
    for ((id, wire), lag) in peers.iter().zip(lags) {
        wire.holds(0);
        (0..lag).for_each(|at| sim.hub().send(*id, &number(at)).unwrap());
        assert!(peers.iter().all(|(id, _)| sim.hub().is_open(*id)));
    }
    assert_eq!(sim.hub().queued_bytes_total(), 950);
    sim.turn();
    // 140 go, 34 come with the Close; 844 are still too many, and 748 are not.
    assert_eq!(sim.hub().queued_bytes_total(), 950 - 140 - 130 + 2 * (4 + TOO_SLOW.len()));
    assert_eq!(sim.hub().counters().messages_dropped_full, 14 + 13);
    for ((id, wire), lag) in peers.iter().zip(lags) {
        assert_eq!(sim.hub().is_open(*id), lag < 13);
        wire.holds(usize::MAX);
        wire.reads_bytes();
    }
    (0..2).for_each(|_| sim.turn());
    for ((_, wire), lag) in peers.iter().zip(lags) {
        let kept = if lag < 13 { numbers(0..=lag - 1) } else { vec![close(1013, TOO_SLOW)] };
        assert_eq!(wire.reads(), kept);
    }
    assert_eq!(sim.hub().queued_bytes_total(), 0);
}

#[test]
fn nobody_is_closed_for_the_log_of_which_it_has_the_end() {
    let mut sim = Sim::new(config(|config| config.send_queues_bytes_max = 1000));
    // Each has half a frame left of another log of 450: together more than four fifths.
    let mut peers = Vec::new();
    for topic in ["one", "other"] {
        peers.extend(subscribers(&mut sim, 1, topic));
        peers.last().unwrap().1.holds(445);
        (1..=45).for_each(|at| assert_eq!(sim.hub().publish(topic, &number(at)), Ok(1)));
        sim.turn();
    }
    assert_eq!(sim.hub().queued_bytes_total(), 5 + 5);
    for (id, wire) in &peers {
        assert!(sim.hub().is_open(*id));
        assert_eq!(reads_all(&mut sim, wire), numbers(1..=45));
    }
    assert_eq!(sim.hub().queued_bytes_total(), 0);
}

#[test]
fn peers_that_stall_at_different_times_do_not_pin_more_than_the_process_may_hold() {
    const MAX: usize = 50_000;
    let mut sim = Sim::new(config(|config| {
        config.send_queues_bytes_max = MAX;
        config.send_queue_bytes_max = 20_000;
    }));
    let peers = subscribers(&mut sim, 60, "t");
    let mut refused = 0;
    for (turn, message) in (0..600).zip([&"x".repeat(990), "y"].into_iter().cycle()) {
        if let Some((_, wire)) = peers.get(turn / 2) {
            wire.holds(0);
        }
        refused += usize::from(sim.hub().publish("t", message).is_err());
        assert!(sim.hub().queued_bytes_total() <= MAX);
        sim.turn();
    }
    // Whoever stalled is closing; their Close frames have room of their own.
    assert_eq!((sim.hub().subscribers("t"), refused), (0, 0));
    sim.turn_within(Some(Duration::from_secs(6)));
    (0..3).for_each(|_| sim.turn());
    assert_eq!(sim.hub().queued_bytes_total(), 0);
}

/// It is the process that is full, and not this peer's queue, which would hold just that.
#[test]
fn a_message_that_fits_a_queue_to_the_byte_does_not_close_a_peer_of_a_full_process() {
    let mut sim = Sim::new(config(|config| {
        config.send_queue_bytes_max = 600;
        config.send_queues_bytes_max = 1000;
    }));
    let peers = subscribers(&mut sim, 2, "t");
    sim.hub().send(peers[0].0, &[b'x'; 496]).unwrap();
    assert_eq!(sim.hub().send(peers[1].0, &[b'x'; 596]), Err(SendError::ProcessFull));
    assert_eq!(sim.hub().send(peers[1].0, &[b'x'; 597]), Err(SendError::Full));
    assert!(!sim.hub().is_open(peers[1].0));
}

/// Who lags copies what is short, and does not keep the log that it is the end of.
#[test]
fn a_short_end_of_a_long_log_does_not_pin_it() {
    let (mut sim, id, wire) = slow_subscriber(Overflow::Close, 10_000);
    wire.holds(0);
    sim.hub().send(id, &number(1)).unwrap();
    sim.turn();
    sim.hub().unsubscribe(id, "t");
    let _reader = subscribers(&mut sim, 1, "t");
    sim.hub().publish("t", &[b'x'; 5000]).unwrap();
    sim.hub().subscribe(id, "t").unwrap();
    sim.hub().publish("t", &number(2)).unwrap();
    sim.turn();
    assert_eq!(sim.hub().queued_bytes_total(), 20);
    wire.holds(usize::MAX);
    assert_eq!(reads_all(&mut sim, &wire), []);
}

/// Where many have the same end of a log, a copy for each would be more than the log, and close them.
#[test]
fn nobody_is_closed_for_copies_of_what_was_shared() {
    let mut sim = Sim::new(config(|config| config.send_queues_bytes_max = 100_000));
    let peers = subscribers(&mut sim, 50, "t");
    peers.iter().for_each(|(_, wire)| wire.holds(6000));
    (0..4).for_each(|at| assert_eq!(sim.hub().publish("t", &[at; 2000]), Ok(50)));
    sim.turn();
    assert_eq!(sim.hub().queued_bytes_total(), 4 * 2004);
    let (greedy, wire) = sim.opens();
    wire.holds(0);
    sim.hub().send(greedy, &[0; 90_000]).unwrap();
    sim.turn();
    assert!(!sim.hub().is_open(greedy));
    assert!(peers.iter().all(|(id, _)| sim.hub().is_open(*id)));
    assert!(sim.hub().queued_bytes_total() < 20_000);
}
