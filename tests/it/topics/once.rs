//! Publications under a key: made again, they are answered and not made again.

use std::time::Duration;

use pushloop::{Config, PublishError};

use super::overflow::number;
use super::subscribers;
use crate::support::net::Sim;
use crate::support::{quiet, text};

fn sim(set: impl FnOnce(&mut Config)) -> Sim {
    Sim::new(quiet(set))
}

#[test]
fn what_is_published_again_under_its_key_is_answered_as_the_first_time() {
    let mut sim = sim(|_| {});
    let (_, wire) = subscribers(&mut sim, 1, "t").remove(0);
    let first = sim.hub().publish_once("t", "a", "one").unwrap();
    let _second = subscribers(&mut sim, 1, "t");
    for message in ["one", "another"] {
        assert_eq!(sim.hub().publish_once("t", "a", message), Ok(first));
    }
    assert_eq!(sim.hub().publish_once("t", "b", "two").unwrap().subscribers, 2);
    // A key is one of its topic.
    let elsewhere = sim.hub().publish_once("", "ta", "x").unwrap();
    assert_eq!((elsewhere.subscribers, elsewhere.position), (0, None));
    let _third = subscribers(&mut sim, 1, "u");
    assert_eq!(sim.hub().publish_once("u", "a", "x").unwrap().subscribers, 1);
    sim.turn();
    assert_eq!(wire.reads(), [text("one"), text("two")]);
    let counters = sim.hub().counters();
    assert_eq!((counters.publications, counters.publications_repeated), (3, 2));
}

#[test]
fn a_key_is_remembered_for_its_time_and_no_longer() {
    let mut sim = sim(|_| {});
    let _peers = subscribers(&mut sim, 1, "t");
    let mut published = |wait: u64| {
        let until = sim.server.net().slept() + Duration::from_secs(wait);
        while let left = until.saturating_sub(sim.server.net().slept())
            && left > Duration::ZERO
        {
            sim.turn_within(Some(left));
        }
        sim.turn();
        sim.hub().publish_once("t", "a", "x").unwrap().position.unwrap().offset
    };
    assert_eq!([published(0), published(299), published(2), published(299)], [1, 1, 2, 2]);
}

#[test]
fn so_many_keys_are_remembered_and_the_oldest_go() {
    let mut sim = sim(|config| config.idempotency_keys_max = 3);
    let _peers = subscribers(&mut sim, 1, "t");
    let mut repeats = |key: usize| {
        let before = sim.hub().counters().publications_repeated;
        sim.hub().publish_once("t", &number(key), "x").unwrap();
        let counters = sim.hub().counters();
        (counters.publications_repeated - before, counters.keys_forgotten)
    };
    for key in [1, 2, 3] {
        assert_eq!(repeats(key), (0, 0));
    }
    assert_eq!((repeats(1), repeats(4), repeats(1)), ((1, 0), (0, 1), (0, 2)));
    assert_eq!((repeats(3), repeats(4)), ((1, 2), (1, 2)));
}

#[test]
fn a_key_has_a_longest_length_and_a_refusal_is_not_remembered() {
    let mut sim = sim(|config| config.topic_unserved_bytes_max = 300);
    let _peers = subscribers(&mut sim, 1, "t");
    let long = "k".repeat(256);
    assert_eq!(sim.hub().publish_once("t", &long, "x"), Err(PublishError::KeyTooLong));
    assert!(PublishError::KeyTooLong.to_string().contains("idempotency_key_bytes_max"));
    assert!(sim.hub().publish_once("t", &long[1..], "x").is_ok());
    let full = sim.hub().publish_once("t", "a", vec![0; 300]);
    assert_eq!(full, Err(PublishError::TopicFull));
    sim.turn();
    assert_eq!(sim.hub().publish_once("t", "a", "x").unwrap().subscribers, 1);
    assert_eq!(sim.hub().counters().publications_repeated, 0);
}
