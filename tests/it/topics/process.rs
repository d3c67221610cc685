//! What waits in the whole process: where that is full, and who gives way.
//!
//! Every message here is 8 bytes long, and its frame 10, unless its test says otherwise.

use std::time::Duration;

use pushloop::{OnLag, PublishError, SendError};

use super::lag::options;
use super::overflow::{
    number, numbers, publish, reads_again, reads_all, slow_subscriber, too_slow,
};
use super::subscribers;
use crate::support::net::{Sim, Wire};
use crate::support::{binary, quiet};

/// What a publication of so many bytes counts as that is the first of its batch.
fn counted(len: usize) -> usize {
    let (mut sim, _, _wire) = slow_subscriber(OnLag::Close, |_| {});
    sim.hub().publish("t", vec![0; len]).unwrap();
    sim.hub().queued_bytes_total()
}

#[test]
fn the_process_is_full_at_the_byte() {
    let mut sim = Sim::new(quiet(|config| config.send_queues_bytes_max = 1000));
    let peers = subscribers(&mut sim, 3, "t");
    let id = peers[1].0;
    for at in 1..=99 {
        assert_eq!(sim.hub().send(id, number(at)), Ok(()));
    }
    assert_eq!(sim.hub().queued_bytes_total(), 990);
    assert_eq!(sim.hub().send(peers[0].0, "9 bytes 9"), Err(SendError::ProcessFull));
    assert_eq!(sim.hub().publish("t", ""), Err(PublishError::ProcessFull));
    assert_eq!(sim.hub().publish_except("t", "", id), Err(PublishError::ProcessFull));
    assert_eq!(sim.hub().counters().messages_dropped_full, 3);
    assert!(sim.hub().is_open(peers[0].0));
    sim.hub().send(peers[2].0, number(100)).unwrap();
    assert_eq!(sim.hub().queued_bytes_total(), 1000);
    assert_eq!(sim.hub().send(peers[0].0, ""), Err(SendError::ProcessFull));
    sim.turn();
    assert_eq!(sim.hub().queued_bytes_total(), 0);
    let got: Vec<_> = peers.iter().map(|(_, wire)| wire.reads()).collect();
    assert_eq!(got, [vec![], numbers(1..=99), numbers(100..=100)]);
    assert!(SendError::ProcessFull.to_string().contains("send_queues_bytes_max"));
    assert!(PublishError::ProcessFull.to_string().contains("send_queues_bytes_max"));
}

/// However many subscribe, a publication counts once, with what the topic notes of it.
#[test]
fn the_last_byte_of_the_process_may_be_a_publications() {
    let one = counted(8);
    for (max, expected) in [(500 + one, Ok(3)), (500 + one - 1, Err(PublishError::ProcessFull))] {
        let mut sim = Sim::new(quiet(|config| config.send_queues_bytes_max = max));
        let peers = subscribers(&mut sim, 3, "t");
        for at in 1..=50 {
            assert_eq!(sim.hub().send(peers[0].0, number(at)), Ok(()));
        }
        assert_eq!(sim.hub().publish("t", number(51)).map(|it| it.subscribers), expected);
        assert_eq!(sim.hub().publish("t", number(52)), Err(PublishError::ProcessFull));
        assert_eq!(
            sim.hub().queued_bytes_total(),
            max - usize::from(expected.is_err()) * (one - 1)
        );
        sim.turn();
        let last = if expected.is_ok() { 51 } else { 50 };
        assert_eq!(peers[0].1.reads(), numbers(1..=last));
        assert_eq!(peers[1].1.reads(), numbers(51..=last));
    }
}

#[test]
fn above_four_fifths_those_that_lag_most_are_closed() {
    let mut sim = Sim::new(quiet(|config| config.send_queues_bytes_max = 1000));
    let peers = subscribers(&mut sim, 10, "t");
    // Whose turn it is does not depend on the order in which they came.
    let lags = [7, 13, 5, 11, 9, 14, 6, 10, 12, 8];
    for ((id, wire), lag) in peers.iter().zip(lags) {
        wire.holds(0);
        (0..lag).for_each(|at| sim.hub().send(*id, number(at)).unwrap());
        assert!(peers.iter().all(|(id, _)| sim.hub().is_open(*id)));
    }
    assert_eq!(sim.hub().queued_bytes_total(), 950);
    sim.turn();
    // 140 go, and a Close comes; there are still too many, and then there are not.
    let closed = too_slow("send_queues_bytes_max");
    let close_bytes = 2 + closed.payload.len();
    assert_eq!(sim.hub().queued_bytes_total(), 950 - 140 - 130 + 2 * close_bytes);
    assert_eq!(sim.hub().counters().messages_dropped_full, 14 + 13);
    for ((id, wire), lag) in peers.iter().zip(lags) {
        assert_eq!(sim.hub().is_open(*id), lag < 13);
        wire.holds(usize::MAX);
        wire.reads_bytes();
    }
    (0..2).for_each(|_| sim.turn());
    for ((_, wire), lag) in peers.iter().zip(lags) {
        let kept = if lag < 13 { numbers(0..=lag - 1) } else { vec![closed.clone()] };
        assert_eq!(wire.reads(), kept);
    }
    assert_eq!(sim.hub().queued_bytes_total(), 0);
}

#[test]
fn nobody_is_closed_for_the_log_of_which_it_has_the_end() {
    let mut sim = Sim::new(quiet(|config| config.send_queues_bytes_max = 2200));
    // Each has half a frame left of another log: together more than four fifths.
    let mut peers = Vec::new();
    for topic in ["one", "other"] {
        peers.extend(subscribers(&mut sim, 1, topic));
        peers.last().unwrap().1.holds(445);
    }
    for topic in ["one", "other"] {
        (1..=45).for_each(|at| {
            assert_eq!(sim.hub().publish(topic, number(at)).map(|it| it.subscribers), Ok(1))
        });
    }
    let logs = sim.hub().queued_bytes_total();
    assert!(logs > sim.hub().config().send_queues_bytes_max / 5 * 4, "{logs}");
    (0..2).for_each(|_| sim.turn());
    assert_eq!(sim.hub().queued_bytes_total(), 5 + 5);
    for (id, wire) in &peers {
        assert!(sim.hub().is_open(*id));
        assert_eq!(reads_all(&mut sim, wire), numbers(1..=45));
    }
    assert_eq!(sim.hub().queued_bytes_total(), 0);
}

/// Until there is need of room: it counts for as long as somebody has the end of it.
#[test]
fn a_log_of_which_somebody_has_the_end_counts_as_a_whole() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |_| {});
    wire.holds(445);
    (1..=45).for_each(|at| {
        assert_eq!(sim.hub().publish("t", number(at)).map(|it| it.subscribers), Ok(1))
    });
    let whole = sim.hub().queued_bytes_total();
    (0..3).for_each(|_| sim.turn());
    assert_eq!((sim.hub().queued_bytes(id), sim.hub().queued_bytes_total()), (5, whole));
    assert_eq!(reads_all(&mut sim, &wire), numbers(1..=45));
    assert_eq!((sim.hub().queued_bytes(id), sim.hub().queued_bytes_total()), (0, 0));
}

#[test]
fn peers_that_stall_at_different_times_do_not_pin_more_than_the_process_may_hold() {
    const MAX: usize = 50_000;
    for on_lag in [OnLag::Close, OnLag::Latest, OnLag::Skip] {
        let mut sim = Sim::new(quiet(|config| {
            (config.send_queues_bytes_max, config.topic.on_lag) = (MAX, on_lag);
        }));
        let peers = subscribers(&mut sim, 60, "t");
        for (turn, message) in (0..600).zip([&"x".repeat(990), "y"].into_iter().cycle()) {
            if let Some((_, wire)) = peers.get(turn / 2) {
                // Some stall in the middle of a frame.
                wire.holds([0, 1, 500, usize::MAX][turn % 4]);
            }
            // Nobody is refused anything for peers that lag.
            assert!(sim.hub().publish("t", message).is_ok());
            assert!(sim.hub().queued_bytes_total() <= MAX);
            sim.turn();
            // Those that hold the ends of logs are not gone through for every byte more.
            assert!(sim.hub().queued_bytes_total() <= MAX / 10 * 9);
            peers.iter().filter(|(_, wire)| turn % 7 == 0 && !wire.is_ended()).for_each(
                |(_, wire)| {
                    wire.reads_bytes();
                },
            );
        }
        for (id, _) in &peers {
            sim.hub().close(*id, pushloop::CloseCode::NORMAL, "");
        }
        sim.turn_within(Some(Duration::from_secs(6)));
        (0..3).for_each(|_| sim.turn_within(Some(Duration::from_secs(6))));
        assert_eq!((sim.hub().connection_count(), sim.hub().queued_bytes_total()), (0, 0));
    }
}

/// It is the process that is full, and not this peer's queue, which would hold just that.
#[test]
fn a_message_that_fits_a_queue_to_the_byte_does_not_close_a_peer_of_a_full_process() {
    let mut sim = Sim::new(quiet(|config| {
        config.send_queue_bytes_max = 600;
        config.send_queues_bytes_max = 1000;
    }));
    let peers = subscribers(&mut sim, 2, "t");
    sim.hub().send(peers[0].0, [b'x'; 496]).unwrap();
    assert_eq!(sim.hub().send(peers[1].0, [b'x'; 596]), Err(SendError::ProcessFull));
    assert_eq!(sim.hub().send(peers[1].0, [b'x'; 597]), Err(SendError::Closing));
    assert!(!sim.hub().is_open(peers[1].0));
}

/// Where many have the same end of a log, a copy for each would be more than the log, and close them.
#[test]
fn nobody_is_closed_for_copies_of_what_was_shared() {
    let mut sim = Sim::new(quiet(|config| {
        (config.send_queues_bytes_max, config.topic.on_lag) = (100_000, OnLag::Skip);
    }));
    let peers = subscribers(&mut sim, 50, "t");
    peers.iter().for_each(|(_, wire)| wire.holds(6000));
    (0..4).for_each(|at| {
        assert_eq!(sim.hub().publish("t", [at; 2000]).map(|it| it.subscribers), Ok(50))
    });
    let whole = sim.hub().queued_bytes_total();
    sim.turn();
    assert_eq!(sim.hub().queued_bytes_total(), whole);
    let (greedy, wire) = sim.opens();
    wire.holds(0);
    sim.hub().send(greedy, [0; 90_000]).unwrap();
    sim.turn();
    assert!(!sim.hub().is_open(greedy));
    assert!(peers.iter().all(|(id, _)| sim.hub().is_open(*id)));
    assert!(sim.hub().queued_bytes_total() < 20_000);
    for (_, wire) in &peers {
        let got = reads_again(&mut sim, wire);
        assert_eq!(got, (0..4).map(|at| binary([at; 2000])).collect::<Vec<_>>());
    }
}

const CAP: usize = 100_000;

/// A subscriber of each policy that takes nothing, and is behind in its topic by more than the process
/// may hold.
fn laggards() -> (Sim, Vec<Wire>) {
    let mut sim = Sim::new(quiet(|config| {
        (config.send_queues_bytes_max, config.topic_lag_bytes_max) = (CAP, 1 << 20);
    }));
    let open = |(topic, on_lag)| {
        let wire = subscribers(&mut sim, 1, topic).remove(0).1;
        sim.hub().configure_topic(topic, options(on_lag)).unwrap();
        wire.holds(0);
        wire
    };
    let policies = [("close", OnLag::Close), ("latest", OnLag::Latest), ("skip", OnLag::Skip)];
    let wires = policies.map(open).into();
    for at in 1..=200 {
        for (topic, _) in policies {
            assert_eq!(
                sim.hub().publish(topic, [at; 1000]).map(|it| it.subscribers),
                Ok(1),
                "{topic} {at}"
            );
        }
        sim.turn();
        assert!(sim.hub().queued_bytes_total() <= CAP / 5 * 4);
    }
    (sim, wires)
}

#[test]
fn what_is_kept_for_laggards_gives_way_before_anybody_is_refused_or_closed() {
    let (mut sim, _wires) = laggards();
    assert_eq!(sim.hub().counters().messages_dropped_full, 0);
    assert_eq!(sim.hub().connection_count(), 3);
    // All of it, if that is what it takes: but for the newest of the two that are to get something.
    let (id, wire) = sim.opens();
    let left = 2 * (64 << 10);
    sim.hub().send(id, vec![0; CAP / 5 * 4]).unwrap();
    assert!(sim.hub().queued_bytes_total() <= CAP / 5 * 4 + 14 + left);
    assert_eq!(subscribers(&mut sim, 1, "news").len(), 1);
    sim.turn();
    assert_eq!(wire.reads_bytes().len(), CAP / 5 * 4 + 10);
    assert_eq!((sim.hub().counters().messages_dropped_full, sim.hub().connection_count()), (0, 5));
}

#[test]
fn the_newest_of_a_topic_of_which_the_latest_is_to_be_had_is_kept_whatever_gives_way() {
    let (mut sim, wires) = laggards();
    let (id, wire) = sim.opens();
    wire.holds(0);
    // Another comes to hold more than there is room for, and is closed for it.
    while sim.hub().send(id, [0; 5000]).is_ok() {}
    sim.turn();
    assert!(!sim.hub().is_open(id));
    let [close, latest, skip] = &wires[..] else { panic!() };
    assert_eq!(reads_again(&mut sim, latest), [binary([200; 1000])]);
    assert_eq!(reads_again(&mut sim, close), [too_slow("topic_lag_bytes_max")]);
    let skipped = reads_again(&mut sim, skip);
    assert_eq!(skipped.last(), Some(&binary([200; 1000])));
    let counters = sim.hub().counters();
    assert_eq!((counters.messages_conflated, counters.messages_lost), (199, 200));
    assert_eq!(counters.messages_skipped as usize, 200 - skipped.len());
}

/// Those are trimmed a batch of each in turn, so that no topic pays for all others.
#[test]
fn topics_give_way_in_turn() {
    let mut sim = Sim::new(quiet(|config| {
        config.send_queues_bytes_max = CAP;
        (config.topic.on_lag, config.topic_lag_bytes_max) = (OnLag::Skip, 20_000);
    }));
    let topics: Vec<String> = (0..10).map(|at| format!("{at}")).collect();
    let mut wires = Vec::new();
    for topic in &topics {
        let (_, wire) = subscribers(&mut sim, 1, topic).remove(0);
        wire.holds(0);
        wires.push(wire);
    }
    for at in 1..=200 {
        for topic in &topics {
            assert_eq!(sim.hub().publish(topic, number(at)).map(|it| it.subscribers), Ok(1));
        }
        sim.turn();
    }
    assert!(sim.hub().queued_bytes_total() <= CAP / 5 * 4);
    let kept: Vec<usize> = wires.iter().map(|wire| reads_again(&mut sim, wire).len()).collect();
    assert!(kept.iter().all(|kept| kept + 40 > *kept.max(&1)), "{kept:?}");
    let (least, most) = (kept.iter().min().unwrap(), kept.iter().max().unwrap());
    assert!(*least > 50 && most - least < 100, "{kept:?}");
}

#[test]
fn what_is_published_meanwhile_to_one_that_keeps_up_is_not_touched() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Skip, |config| {
        (config.send_queues_bytes_max, config.topic_lag_bytes_max) = (20_000, 1 << 20);
    });
    wire.holds(0);
    let (_, reads) = subscribers(&mut sim, 1, "t").remove(0);
    publish(&mut sim, 1..=2000);
    assert_eq!(reads.reads(), numbers(1..=2000));
    assert_eq!((sim.hub().is_open(id), sim.hub().lag(id, "t")), (true, Some(2000)));
    assert_eq!(reads_again(&mut sim, &wire).pop(), numbers(2000..=2000).pop());
}
