//! Publications that leave one subscriber out: it never gets them, however far it is behind, and all
//! others do.

use std::collections::BTreeSet;

use pushloop::{ConnId, OnLag};

use super::overflow::{number, reads_again};
use super::subscribers;
use crate::support::net::{Sim, Wire, frames};
use crate::support::{quiet, text};

const MANY: usize = 600;

/// What happens to the publications that were due, once for each subscriber.
fn accounted(sim: &mut Sim) -> u64 {
    let counters = sim.hub().counters();
    counters.deliveries
        + counters.messages_conflated
        + counters.messages_skipped
        + counters.messages_lost
}

/// Everybody in turn publishes to the others, and every fourth is for all. Gives how many were due.
fn everybody_publishes(sim: &mut Sim, peers: &[(ConnId, Wire)], from: usize, turns: bool) -> usize {
    let mut due = 0;
    for at in from..from + MANY {
        let message = number(at);
        due += if at.is_multiple_of(4) {
            sim.hub().publish("t", &message).unwrap().subscribers
        } else {
            sim.hub().publish_except("t", &message, peers[at % peers.len()].0).unwrap().subscribers
        };
        if turns && at.is_multiple_of(7) {
            sim.turn();
        }
    }
    due
}

fn is_for(at: usize, peer: usize, peers: usize) -> bool {
    at.is_multiple_of(4) || at % peers != peer
}

#[test]
fn a_sender_never_gets_its_own_at_any_lag_and_all_is_counted() {
    for on_lag in [OnLag::Close, OnLag::Latest, OnLag::Skip] {
        for (room, lag_bytes) in [(0, 1 << 20), (25, 1 << 20), (0, 5000), (25, 5000), (333, 5000)] {
            let mut sim = Sim::new(quiet(|config| {
                (config.topic.on_lag, config.topic_lag_bytes_max) = (on_lag, lag_bytes);
            }));
            let peers = subscribers(&mut sim, 5, "t");
            // The first two keep up, the others lag.
            peers[2..].iter().for_each(|(_, wire)| wire.holds(room));
            let mut due = everybody_publishes(&mut sim, &peers, 0, false);
            sim.turn();
            due += everybody_publishes(&mut sim, &peers, MANY, true);
            for (peer, (id, wire)) in peers.iter().enumerate() {
                let got = reads_again(&mut sim, wire);
                let own = |at: &usize| is_for(*at, peer, peers.len());
                let all: Vec<_> = (0..2 * MANY).filter(own).map(number).map(text).collect();
                let known: BTreeSet<_> = all.iter().map(|frame| frame.payload.clone()).collect();
                let messages: Vec<_> = got.iter().filter(|frame| frame.first == 0x81).collect();
                assert!(messages.iter().all(|frame| known.contains(&frame.payload)));
                assert!(messages.is_sorted_by(|a, b| a.payload < b.payload));
                let keeps_all = lag_bytes > 5000 && on_lag != OnLag::Latest;
                if peer < 2 || keeps_all {
                    assert_eq!(got, all, "{on_lag:?} {room} {lag_bytes}");
                }
                let is_closed = on_lag == OnLag::Close && peer >= 2 && !keeps_all;
                assert_eq!(sim.hub().is_open(*id), !is_closed);
            }
            assert_eq!(accounted(&mut sim), due as u64, "{on_lag:?} {room} {lag_bytes}");
        }
    }
}

#[test]
fn what_a_subscriber_is_left_out_of_is_not_what_it_is_behind_by() {
    let mut sim = Sim::new(quiet(|_| {}));
    let peers = subscribers(&mut sim, 2, "t");
    let id = peers[0].0;
    peers[0].1.holds(0);
    sim.hub().publish("t", "all").unwrap();
    (0..5).for_each(|_| {
        assert_eq!(sim.hub().publish_except("t", "others", id).map(|it| it.subscribers), Ok(1))
    });
    assert_eq!((sim.hub().lag(id, "t"), sim.hub().lag(peers[1].0, "t")), (Some(1), Some(6)));
    sim.turn();
    sim.hub().publish_except("t", "others", id).unwrap();
    sim.turn();
    assert_eq!((sim.hub().lag(id, "t"), sim.hub().lag(peers[1].0, "t")), (Some(1), Some(0)));
    assert_eq!(reads_again(&mut sim, &peers[0].1), [text("all")]);
    assert_eq!(sim.hub().lag(id, "t"), Some(0));
}

/// More than a small number can count.
#[test]
fn a_subscriber_may_be_left_out_of_any_number() {
    const EXCEPTED: usize = 70_000;
    for (blocked, leaves) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut sim = Sim::new(quiet(|config| config.topic_lag_bytes_max = 16 << 20));
        let peers = subscribers(&mut sim, 2, "t");
        let (id, wire) = &peers[0];
        if blocked {
            wire.holds(0);
        }
        sim.hub().publish("t", "first").unwrap();
        for at in 0..EXCEPTED {
            assert_eq!(sim.hub().publish_except("t", "", *id).map(|it| it.subscribers), Ok(1));
            if blocked && at.is_multiple_of(10_000) {
                sim.turn();
            }
        }
        sim.hub().publish("t", "last").unwrap();
        assert_eq!(sim.hub().lag(*id, "t"), Some(2));
        if leaves {
            assert!(sim.hub().unsubscribe(*id, "t"));
        }
        sim.rests();
        assert_eq!(reads_again(&mut sim, wire), ["first", "last"].map(text));
        assert_eq!(frames(&peers[1].1.reads_bytes()).len(), EXCEPTED + 2);
        assert_eq!(accounted(&mut sim), EXCEPTED as u64 + 4);
        assert_eq!(sim.hub().queued_bytes_total(), 0);
    }
}
