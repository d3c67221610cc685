//! Positions in what a topic publishes: they may come from outside, and none is trusted.

use pushloop::{OnLag, Position, PositionError};

use super::overflow::{number, numbers, publish, reads_all, slow_subscriber};
use super::{sim, subscribers, texts};
use crate::support::net::Sim;

fn at(sim: &mut Sim) -> Position {
    sim.hub().position("t").unwrap()
}

/// A position so many publications later, or earlier.
fn moved(position: Position, by: i64) -> Position {
    Position { offset: position.offset.wrapping_add_signed(by), ..position }
}

#[test]
fn a_position_counts_what_was_published() {
    let mut sim = sim();
    let peers = subscribers(&mut sim, 2, "t");
    let start = at(&mut sim);
    assert_eq!((start.offset, sim.hub().published_since("t", start)), (0, Ok(0)));
    for offset in 1..=5 {
        match offset {
            2 => sim.hub().publish_except("t", "x", peers[0].0).unwrap(),
            _ => sim.hub().publish("t", "x").unwrap(),
        };
        assert_eq!(at(&mut sim), moved(start, offset));
        assert_eq!(sim.hub().published_since("t", start), Ok(offset as u64));
    }
    // What all have is not kept.
    sim.turn();
    assert_eq!(at(&mut sim), moved(start, 5));
    assert_eq!(sim.hub().published_since("t", moved(start, 5)), Ok(0));
    assert_eq!(sim.hub().published_since("t", moved(start, 4)), Err(PositionError::NotKept));
}

#[test]
fn what_was_published_since_is_known_exactly_as_far_as_it_is_kept() {
    let (mut sim, _, wire) = slow_subscriber(OnLag::Skip, |config| {
        config.topic_lag_bytes_max = 4000;
    });
    publish(&mut sim, 1..=500);
    let head = at(&mut sim);
    let mut kept = 0;
    while sim.hub().published_since("t", moved(head, -kept)).is_ok() {
        assert_eq!(sim.hub().published_since("t", moved(head, -kept)), Ok(kept as u64));
        kept += 1;
    }
    assert!((50..400).contains(&kept), "{kept}");
    for gone in kept..=500 {
        let since = sim.hub().published_since("t", moved(head, -gone));
        assert_eq!(since, Err(PositionError::NotKept));
    }
    // The subscriber goes on in the middle of exactly that.
    let kept = kept as usize - 1;
    let first = 500 - kept + kept / 2 + 1;
    assert_eq!(reads_all(&mut sim, &wire), [numbers(1..=3), numbers(first..=500)].concat());
}

#[test]
fn a_position_that_cannot_be_is_an_error_that_says_why() {
    let mut sim = sim();
    let stranger = Position { epoch: 1, offset: 0 };
    let no_topic = Err(PositionError::NoTopic);
    assert_eq!(
        (sim.hub().position("t"), sim.hub().published_since("t", stranger)),
        (None, no_topic)
    );
    let _peers = subscribers(&mut sim, 1, "t");
    publish(&mut sim, 1..=3);
    let here = at(&mut sim);
    for (position, error) in [
        (Position { epoch: here.epoch ^ 1, ..here }, PositionError::OtherEpoch),
        (
            Position { epoch: here.epoch.wrapping_add(1), offset: u64::MAX },
            PositionError::OtherEpoch,
        ),
        (moved(here, 1), PositionError::Future),
        (Position { offset: u64::MAX, ..here }, PositionError::Future),
        (moved(here, -1), PositionError::NotKept),
        (moved(here, -3), PositionError::NotKept),
    ] {
        assert_eq!(sim.hub().published_since("t", position), Err(error), "{position:?}");
    }
    assert_eq!(sim.hub().published_since("t", here), Ok(0));
    assert_eq!(sim.hub().published_since("u", here), no_topic);
    let said = [
        (PositionError::NoTopic, "neither subscribers"),
        (PositionError::OtherEpoch, "another life"),
        (PositionError::Future, "ahead"),
        (PositionError::NotKept, "no longer kept"),
    ];
    said.iter().for_each(|(error, words)| assert!(error.to_string().contains(words), "{error}"));
}

#[test]
fn each_life_of_a_topic_has_an_epoch_of_its_own() {
    let mut sim = sim();
    let (id, _wire) = sim.opens();
    let mut lives: Vec<Position> = Vec::new();
    for _ in 0..20 {
        sim.hub().subscribe(id, "t").unwrap();
        sim.hub().subscribe(id, "u").unwrap();
        let (here, other) = (at(&mut sim), sim.hub().position("u").unwrap());
        assert_eq!((here.offset, other.offset), (0, 0));
        for before in &lives {
            assert_eq!(sim.hub().published_since("t", *before), Err(PositionError::OtherEpoch));
        }
        lives.extend([here, other]);
        publish(&mut sim, 1..=2);
        sim.hub().unsubscribe(id, "t");
        sim.hub().unsubscribe(id, "u");
        assert_eq!(sim.hub().published_since("t", here), Err(PositionError::NoTopic));
    }
}

#[test]
fn a_topic_that_was_left_and_is_still_read_has_no_position() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |_| {});
    publish(&mut sim, 1..=10);
    let here = at(&mut sim);
    sim.hub().unsubscribe(id, "t");
    assert_eq!((sim.hub().position("t"), sim.hub().topic_count()), (None, 0));
    assert_eq!(sim.hub().published_since("t", here), Err(PositionError::NoTopic));
    assert_eq!(sim.hub().publish("t", number(0)).map(|it| it.subscribers), Ok(0));
    assert_eq!(reads_all(&mut sim, &wire), numbers(1..=10));
    // What is subscribed to again before all have read it is still the same life.
    sim.hub().subscribe(id, "t").unwrap();
    assert_ne!(at(&mut sim).epoch, here.epoch);
    wire.holds(0);
    sim.hub().publish("t", "kept").unwrap();
    sim.turn();
    let kept = at(&mut sim);
    sim.hub().unsubscribe(id, "t");
    sim.hub().subscribe(id, "t").unwrap();
    assert_eq!((at(&mut sim), sim.hub().published_since("t", kept)), (kept, Ok(0)));
    wire.holds(usize::MAX);
    assert_eq!(super::overflow::reads_again(&mut sim, &wire), texts(&["kept"]));
}
