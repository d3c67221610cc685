//! Limits and turns between loops, at their edges.

use std::time::Duration;

use super::*;
use crate::hub::log::Log;

#[test]
fn one_that_is_told_to_end_has_all_end() {
    let mut world = world(3, LANE_BYTES_MAX, &Config::default());
    world.hubs[1].shutdown(Duration::from_secs(9));
    (0..3).for_each(|at| world.turn(at));
    assert!(world.hubs.iter().all(|hub| hub.shutdown.is_some()));
}

#[test]
fn each_life_of_a_replica_has_a_number_of_its_own() {
    let mut world = world(2, LANE_BYTES_MAX, &Config::default());
    let peers = world.hubs[0].topics.peers.as_deref_mut().unwrap();
    let lives = [(); 3].map(|()| peers.open(1, "t", Arc::default()));
    assert_eq!(lives, [1, 2, 3]);
}

#[test]
fn a_name_is_as_long_elsewhere_as_it_may_be_here() {
    let config = Config { topic_name_bytes_max: 40, ..Config::default() };
    let mut world = world(2, LANE_BYTES_MAX, &config);
    for (bytes, refused) in [(40, false), (41, true), (42, true)] {
        let mut names = (0..).map(|nth| format!("{nth:0>bytes$}"));
        let name = names.find(|it| !world.hubs[0].is_home(it)).unwrap();
        let expected = refused.then_some(PublishError::NameTooLong);
        assert_eq!(world.hubs[0].publish(&name, "x").err(), expected, "{bytes}");
    }
}

/// Only a connection of another loop counts as left out there.
#[test]
fn a_connection_that_does_not_subscribe_is_none_of_another_loop() {
    let mut world = world(2, LANE_BYTES_MAX, &Config::default());
    let topic = world.topics()[0].clone();
    let (own, afar) = (world.connect(0), world.connect(1));
    world.hubs[1].subscribe(afar, &topic).unwrap();
    world.settle();
    assert_eq!(world.hubs[0].publish_except(&topic, "x", own).unwrap().subscribers, 1);
    assert_eq!(world.hubs[0].publish_except(&topic, "x", afar).unwrap().subscribers, 0);
}

/// A batch of another loop counts where it is kept, and waits where there is no room; where nothing is kept, any is
/// taken.
#[test]
fn what_another_loop_has_published_waits_for_room_in_the_process() {
    let mut world = world(2, LANE_BYTES_MAX, &Config::default());
    let topic = world.topics()[0].clone();
    let id = world.connect(1);
    world.hubs[1].subscribe(id, &topic).unwrap();
    world.settle();
    world.hubs[1].commons.config.send_queues_bytes_max = 4096;
    for (payload, waits) in [(5_000, false), (10, true)] {
        world.hubs[0].publish(&topic, "x".repeat(payload)).unwrap();
        world.turn(0);
        world.hubs[1].handle_lanes(&mut Events::default());
        assert_eq!(world.hubs[1].holds_items(), waits, "{payload}");
        assert!(world.hubs[1].commons.queued_bytes > 4096);
    }
}

/// Two loops that take nothing wait for room, and each has all that it waits for when it has some.
#[test]
fn each_loop_without_room_is_brought_what_waits_for_it() {
    for order in [[1, 2], [2, 1]] {
        let mut world = world(3, 512, &Config::default());
        let topic = world.topics()[0].clone();
        let ids = [1, 2].map(|at| world.connect(at));
        for (at, id) in ids.iter().enumerate() {
            world.hubs[1 + at].subscribe(*id, &topic).unwrap();
        }
        world.settle();
        let texts: Vec<_> = (0..20).map(|nth| format!("{topic}{nth}")).collect();
        for text in &texts {
            world.hubs[0].publish(&topic, &**text).unwrap();
            world.turn(0);
        }
        // One takes all that there is for it before the other takes anything.
        for at in order {
            (0..50).for_each(|_| [at, 0].into_iter().for_each(|at| world.turn(at)));
            assert_eq!(world.peers[&ids[at - 1]].of(&topic), texts, "of loop {at}");
        }
    }
}

#[test]
fn a_publication_with_one_left_out_counts_as_more_bytes() {
    let mut world = world(2, LANE_BYTES_MAX, &Config::default());
    let topic = world.topics()[0].clone();
    let ids = [0, 1].map(|at| world.connect(at));
    for (at, id) in ids.iter().enumerate() {
        world.hubs[at].subscribe(*id, &topic).unwrap();
    }
    world.settle();
    world.hubs[0].commons.config.topic_unserved_bytes_max = Log::cost(4, false);
    for id in ids {
        let refused = world.hubs[0].publish_except(&topic, "text", id).err();
        assert_eq!(refused, Some(PublishError::TopicFull), "{id:?}");
    }
    assert!(world.hubs[0].publish(&topic, "text").is_ok());
}

/// What a turn has not come to is for the next one.
#[test]
fn a_turn_takes_so_many_items_and_there_is_more() {
    let mut world = world(2, LANE_BYTES_MAX, &Config::default());
    let topic = world.topics()[1].clone();
    for _ in 0..=ITEMS_PER_TURN {
        world.hubs[0].publish(&topic, "x").unwrap();
    }
    for left in [true, false] {
        world.hubs[1].handle_lanes(&mut Events::default());
        assert_eq!((world.hubs[1].has_items(), world.hubs[1].holds_items()), (left, false));
        assert_eq!(world.hubs[1].is_busy(), left);
    }
}

#[test]
fn what_is_handed_on_counts_with_its_names() {
    let mut world = world(2, 3 * (ITEM_BYTES + 100), &Config::default());
    let topic = world.topics()[1].clone();
    let key = "k".repeat(20);
    let text = "x".repeat(100 - 20 - topic.len());
    for _ in 0..3 {
        assert!(world.hubs[0].publish_once(&topic, &key, &*text).is_ok());
    }
    assert_eq!(world.hubs[0].publish_once(&topic, &key, &*text), Err(PublishError::LoopFull));
    world.turn(1);
    for _ in 0..3 {
        assert!(world.hubs[0].publish(&topic, format!("{text}{key}")).is_ok());
    }
    assert_eq!(world.hubs[0].publish(&topic, "x"), Err(PublishError::LoopFull));
}

/// A batch is taken if nothing of its topic waits to be given out, and one behind it as far as the topic's limit goes.
#[test]
fn a_topic_of_another_loop_has_the_same_limit() {
    for (beyond, waits) in [(0, false), (1, true)] {
        let mut world = world(2, LANE_BYTES_MAX, &Config::default());
        let topic = world.topics()[0].clone();
        let id = world.connect(1);
        world.hubs[1].subscribe(id, &topic).unwrap();
        world.settle();
        for _ in 0..2 {
            world.hubs[0].publish(&topic, "text").unwrap();
            world.turn(0);
        }
        let two = 2 * (Log::cost(4, false));
        world.hubs[1].commons.config.topic_unserved_bytes_max = two - beyond;
        world.hubs[1].handle_lanes(&mut Events::default());
        assert_eq!(world.hubs[1].holds_items(), waits);
        // The first batch of a topic is taken whatever its length.
        world.settle();
        world.hubs[1].commons.config.topic_unserved_bytes_max = 1;
        world.hubs[0].publish(&topic, "text").unwrap();
        world.turn(0);
        world.hubs[1].handle_lanes(&mut Events::default());
        assert!(!world.hubs[1].holds_items());
    }
}

#[test]
fn each_hub_has_a_secret_of_its_own() {
    let world = world(2, LANE_BYTES_MAX, &Config::default());
    assert_ne!(world.hubs[0].secret(), world.hubs[1].secret());
}

/// A loop that left and came again is told of two places, and begins at the second.
#[test]
fn where_a_topic_was_when_a_loop_came_before_is_of_no_use() {
    let mut world = world(2, LANE_BYTES_MAX, &Config::default());
    let topic = world.topics()[0].clone();
    let ids = [0, 1].map(|at| world.connect(at));
    world.hubs[0].subscribe(ids[0], &topic).unwrap();
    world.hubs[1].subscribe(ids[1], &topic).unwrap();
    world.turn(0);
    world.hubs[1].unsubscribe(ids[1], &topic);
    world.turn(0);
    world.hubs[0].publish(&topic, format!("{topic}missed")).unwrap();
    world.turn(0);
    world.hubs[1].subscribe(ids[1], &topic).unwrap();
    world.turn(0);
    world.settle();
    world.hubs[0].publish(&topic, format!("{topic}had")).unwrap();
    world.settle();
    assert_eq!(world.peers[&ids[1]].of(&topic), [format!("{topic}had")]);
    assert_eq!(world.hubs[1].position(&topic), world.hubs[0].position(&topic));
}

#[test]
fn what_is_given_up_at_home_is_not_kept_elsewhere() {
    let mut world = world(2, LANE_BYTES_MAX, &with_history());
    let topic = world.topics()[0].clone();
    let places: Vec<_> =
        (0..5).map(|_| world.hubs[0].publish(&topic, "x").unwrap().position.unwrap()).collect();
    world.settle();
    assert_eq!(world.hubs[0].expire_history(&topic, places[2]), Ok(3));
    assert_eq!(world.hubs[0].history_len(&topic), 2);
    assert_eq!(world.hubs[1].open_topic(&topic, 9), Ok(false));
    world.settle();
    assert_eq!(world.hubs[1].history_len(&topic), 2);
}
