//! What the simulated worlds found of histories, each by itself.

use std::time::Duration;

use pushloop::{CloseCode, Config, History, OnLag, Position, PositionError, PublishError};

use super::history::{before, keeping, of, place, resumes, waits, with};
use super::overflow::{number, numbers, publish, reads_all};
use super::subscribers;
use crate::support::net::{Sim, Wire};
use crate::support::{close, quiet, text};

/// From here on, the topic keeps so much.
fn keeps(sim: &mut Sim, history: Option<History>) {
    let mut options = sim.hub().topic_options("t");
    options.history = history;
    sim.hub().configure_topic("t", options).unwrap();
}

fn kept(sim: &mut Sim) -> usize {
    sim.hub().history_last("t", u64::MAX).count()
}

/// A subscriber that has taken a part of the topic's last batch, and no more.
fn laggard(sim: &mut Sim) -> Wire {
    let (id, wire) = sim.opens();
    wire.holds(20);
    sim.hub().subscribe(id, "t").unwrap();
    (1..=5).for_each(|at| _ = sim.hub().publish("t", number(at)));
    sim.turn();
    wire
}

#[test]
fn what_was_published_just_now_is_cleared_as_well() {
    let mut sim = of(10);
    (1..=3).for_each(|at| _ = sim.hub().publish("t", number(at)));
    assert!(sim.hub().clear_history("t") && !sim.hub().clear_history("t"));
    assert_eq!(kept(&mut sim), 0);
    let here = place(&mut sim);
    assert_eq!(resumes(&mut sim, before(here, 1)).0, Err(PositionError::NotKept));
}

/// It is still there for a subscriber that lags, and what is published next joins it.
#[test]
fn what_is_cleared_stays_so_when_the_topic_publishes_on() {
    for gives_up in [
        |sim: &mut Sim| assert!(sim.hub().clear_history("t")),
        |sim: &mut Sim| {
            let here = place(sim);
            assert_eq!(sim.hub().expire_history("t", here), Ok(5));
        },
        |sim: &mut Sim| {
            keeps(sim, None);
            keeps(sim, Some(History::of(10)));
        },
    ] {
        let mut sim = of(10);
        let wire = laggard(&mut sim);
        gives_up(&mut sim);
        publish(&mut sim, 6..=6);
        assert_eq!(kept(&mut sim), 1);
        let here = place(&mut sim);
        assert_eq!(resumes(&mut sim, before(here, 2)).0, Err(PositionError::NotKept));
        assert_eq!(reads_all(&mut sim, &wire), numbers(1..=6), "it was due");
    }
}

#[test]
fn what_lags_is_no_history_of_a_topic_that_begins_to_keep_one() {
    let mut sim = Sim::new(quiet(|_| {}));
    let _wire = laggard(&mut sim);
    keeps(&mut sim, Some(History::of(10)));
    publish(&mut sim, 6..=6);
    assert_eq!(kept(&mut sim), 1);
}

#[test]
fn an_age_that_is_made_shorter_is_obeyed() {
    let mut sim = of(10);
    publish(&mut sim, 1..=3);
    let mut history = History::of(10);
    history.age = Duration::from_secs(2);
    keeps(&mut sim, Some(history));
    assert_eq!(kept(&mut sim), 3);
    waits(&mut sim, Duration::from_secs(3));
    assert_eq!(kept(&mut sim), 0);
}

#[test]
fn a_topic_does_not_begin_with_a_publication_that_is_refused() {
    let mut sim = keeping(History::of(10), |config| config.send_queues_bytes_max = 10);
    assert_eq!(sim.hub().publish("t", "too much"), Err(PublishError::ProcessFull));
    assert_eq!(sim.hub().position("t"), None);
    let (id, _wire) = sim.opens();
    let after = Position { epoch: 1, offset: 0 };
    let joined = sim.hub().subscribe_after(id, "t", after).unwrap();
    assert_eq!(joined.kept, Err(PositionError::NoTopic));
}

/// Whether the connection had taken what came before or not.
#[test]
fn what_is_kept_is_for_one_that_was_left_out_as_well() {
    for is_behind in [false, true] {
        let mut sim = of(10);
        let (id, wire) = sim.opens();
        sim.hub().subscribe(id, "t").unwrap();
        let began = place(&mut sim);
        sim.hub().publish("t", number(1)).unwrap();
        if !is_behind {
            sim.turn();
        }
        sim.hub().publish_except("t", number(2), id).unwrap();
        sim.hub().publish("t", number(3)).unwrap();
        sim.rests();
        assert_eq!(wire.reads(), [text(number(1)), text(number(3))]);
        sim.hub().unsubscribe(id, "t");
        let joined = sim.hub().subscribe_after(id, "t", began).unwrap();
        assert_eq!(joined.kept, Ok(3));
        sim.rests();
        assert_eq!(wire.reads(), numbers(1..=3), "behind: {is_behind}");
        assert_eq!(sim.hub().counters().deliveries, 5);
    }
}

#[test]
fn what_one_turn_publishes_is_given_up_in_pieces_too() {
    let mut history = History::of(1000);
    history.bytes = 20_000;
    let mut sim = keeping(history, |_| {});
    (0..100).for_each(|_| _ = sim.hub().publish("t", "x".repeat(500)));
    sim.turn();
    // Three fourths of it, less what 30 batches count as.
    let kept = kept(&mut sim);
    assert!((20..40).contains(&kept), "{kept}");
}

/// Its kernel holds two frames, and it has resumed from before all of it.
fn resumes_slowly(set: impl FnOnce(&mut Config)) -> (Sim, pushloop::ConnId, Wire) {
    let mut history = History::of(1000);
    history.age = Duration::from_secs(2);
    let mut sim = keeping(history, |config| {
        config.blocked_timeout = Duration::from_secs(3600);
        set(config);
    });
    (0..300).for_each(|at| _ = sim.hub().publish("t", number(at)));
    sim.turn();
    let here = place(&mut sim);
    let (id, wire) = sim.opens();
    wire.holds(20);
    assert_eq!(sim.hub().subscribe_after(id, "t", before(here, 300)).unwrap().kept, Ok(300));
    sim.turn();
    (sim, id, wire)
}

/// Nothing else happens: the limits hold all the same.
#[test]
fn what_is_no_history_any_more_is_kept_for_readers_within_their_limits() {
    let (mut sim, ..) = resumes_slowly(|config| config.topic_lag_bytes_max = 400);
    waits(&mut sim, Duration::from_secs(3));
    assert_eq!(sim.hub().counters().history_bytes, 0);
    let waits = sim.hub().queued_bytes_total();
    assert!(waits <= 400, "{waits} bytes");
}

#[test]
fn behind_what_was_kept_and_is_lost_nothing_comes_but_a_close() {
    for on_lag in [OnLag::Close, OnLag::Skip, OnLag::Latest] {
        let (mut sim, id, wire) = resumes_slowly(|config| {
            config.topic.on_lag = on_lag;
            config.topic_lag_bytes_max = 400;
        });
        waits(&mut sim, Duration::from_secs(3));
        publish(&mut sim, 300..=301);
        sim.hub().close(id, CloseCode::NORMAL, "");
        let got = reads_all(&mut sim, &wire);
        assert_eq!(got, [numbers(0..=1), vec![close(1000, "")]].concat(), "{on_lag:?}");
    }
}

/// A crowd of topics without subscribers, remembered or forgotten at once, is not to hold up what others are due.
#[test]
fn publications_that_nobody_is_due_hold_up_no_pass() {
    for remembered in [0, 100_000] {
        nobody_is_held_up(remembered);
    }
}

fn nobody_is_held_up(remembered: usize) {
    let mut sim = Sim::new(quiet(|config| {
        config.topic.history = Some(History::of(1));
        config.topics_remembered_max = remembered;
        config.fan_out_writes_per_turn = 4;
    }));
    let (_, wire) = subscribers(&mut sim, 1, "t").remove(0);
    for at in 0..10_000 {
        sim.hub().publish(&format!("other {at}"), "nobody's").unwrap();
    }
    sim.hub().publish("t", "due").unwrap();
    let steps = sim.hub().counters().list_steps;
    // A turn's pass looks at 64 entries here.
    sim.turn();
    assert_eq!(wire.reads(), [text("due")]);
    assert!(sim.hub().counters().list_steps - steps < 40_000);
    let forgotten = 10_000_u64.saturating_sub(remembered as u64);
    assert_eq!(sim.hub().counters().topics_forgotten, forgotten);
    let kept = (10_000 - forgotten) as usize;
    assert_eq!(sim.hub().history_last("other 9999", 1).count(), kept.min(1));
}

/// What is made of history for one that comes back is as long as history, or some times as long, and is kept for
/// the next one. It counts, and goes before a publication does.
#[test]
fn no_publication_is_given_up_for_what_can_be_made_of_it_again() {
    for process in [false, true] {
        let bytes = |config: &mut pushloop::Config| {
            if process {
                config.history_bytes_max = 16_000;
            }
        };
        let history = with(|history| {
            if !process {
                history.bytes = 16_000
            }
        });
        let mut sim = keeping(history, bytes);
        for at in 0..700 {
            sim.hub().publish("t", number(at)).unwrap();
            sim.turn();
        }
        let first = before(place(&mut sim), 700);
        let (id, wire) = sim.opens();
        assert!(sim.hub().use_envelopes(id));
        assert_eq!(sim.hub().subscribe_after(id, "t", first).unwrap().kept, Ok(700));
        sim.rests();
        assert_eq!(wire.reads().len(), 700);
        sim.hub().publish("t", number(700)).unwrap();
        sim.rests();
        assert!(sim.hub().counters().history_bytes <= 16_000);
        assert_eq!(sim.hub().published_since("t", first), Ok(701), "{process}");
    }
}
