//! What a topic has kept: how much of it, for how long, and for whom.

use std::time::Duration;

use pushloop::{History, OnLag, Position, PositionError, PublishError, SubscribeError};

use super::overflow::{number, numbers, publish, reads_all, too_slow};
use super::subscribers;
use crate::support::net::{Sim, Told, Wire};
use crate::support::{Frame, quiet, text};

const MINUTE: Duration = Duration::from_secs(60);

/// A server whose topics have this history.
pub fn keeping(history: History, set: impl FnOnce(&mut pushloop::Config)) -> Sim {
    Sim::new(quiet(|config| {
        config.topic.history = Some(history);
        set(config);
    }))
}

pub fn with(set: impl FnOnce(&mut History)) -> History {
    let mut history = History::default();
    set(&mut history);
    history
}

pub fn of(publications: u64) -> Sim {
    keeping(History::of(publications), |_| {})
}

pub fn place(sim: &mut Sim) -> Position {
    sim.hub().position("t").unwrap()
}

/// So many publications earlier.
pub fn before(position: Position, count: u64) -> Position {
    Position { offset: position.offset - count, ..position }
}

/// So much time passes, in turns that sleep.
pub fn waits(sim: &mut Sim, time: Duration) {
    let until = sim.server.net().slept() + time;
    while let left = until.saturating_sub(sim.server.net().slept())
        && left > Duration::ZERO
    {
        sim.turn_within(Some(left));
    }
    sim.turn();
}

/// A new connection resumes, and reads.
pub fn resumes(sim: &mut Sim, after: Position) -> (Result<u64, PositionError>, Vec<Frame>) {
    let (id, wire) = sim.opens();
    let joined = sim.hub().subscribe_after(id, "t", after).unwrap();
    sim.rests();
    (joined.kept, wire.reads())
}

#[test]
fn one_that_comes_back_gets_what_it_missed_and_then_what_is_live() {
    let mut sim = of(1000);
    publish(&mut sim, 1..=50);
    let here = place(&mut sim);
    for missed in 0..=50 {
        let (id, wire) = sim.opens();
        let joined = sim.hub().subscribe_after(id, "t", before(here, missed)).unwrap();
        assert_eq!((joined.kept, joined.position), (Ok(missed), here));
        assert_eq!(sim.hub().lag(id, "t"), Some(0));
        sim.turn();
        assert_eq!(wire.reads(), numbers(51 - missed as usize..=50));
        sim.hub().abort(id);
        sim.turn();
    }
    // What is published in the turn in which it comes back, and in the turns after, is live.
    let (id, wire) = sim.opens();
    sim.hub().publish("t", number(51)).unwrap();
    assert_eq!(sim.hub().subscribe_after(id, "t", here).unwrap().kept, Ok(1));
    sim.hub().publish("t", number(52)).unwrap();
    sim.turn();
    publish(&mut sim, 53..=60);
    assert_eq!(wire.reads(), numbers(51..=60));
    assert_eq!(sim.hub().counters().messages_lost, 0);
}

#[test]
fn who_subscribes_may_begin_with_the_latest() {
    let mut sim = of(10);
    for (published, asked, got) in [(0, 1, 0), (1, 1, 1), (4, 3, 3), (10, u64::MAX, 10), (0, 0, 0)]
    {
        let from = sim.hub().position("t").map_or(0, |place| place.offset) as usize;
        publish(&mut sim, from + 1..=from + published);
        let (id, wire) = sim.opens();
        let joined = sim.hub().subscribe_last(id, "t", asked).unwrap();
        assert_eq!(joined.kept, Ok(got));
        sim.rests();
        let head = joined.position.offset as usize;
        assert_eq!(wire.reads(), numbers(head + 1 - got as usize..=head));
    }
    let (id, _) = sim.opens();
    sim.hub().subscribe(id, "t").unwrap();
    assert_eq!(sim.hub().subscribe_last(id, "t", 1), Err(SubscribeError::Subscribed));
    let here = place(&mut sim);
    assert_eq!(sim.hub().subscribe_after(id, "t", here), Err(SubscribeError::Subscribed));
}

#[test]
fn a_position_that_cannot_be_resumed_from_is_refused_and_the_stream_is_live() {
    let mut sim = of(10);
    publish(&mut sim, 1..=30);
    let here = place(&mut sim);
    let ahead = Position { offset: here.offset + 1, ..here };
    for (after, why) in [
        (Position { epoch: here.epoch ^ 1, ..here }, PositionError::OtherEpoch),
        (Position { epoch: 0, offset: 0 }, PositionError::OtherEpoch),
        (ahead, PositionError::Future),
        (Position { offset: u64::MAX, ..here }, PositionError::Future),
        (before(here, 11), PositionError::NotKept),
        (before(here, 30), PositionError::NotKept),
    ] {
        let (id, wire) = sim.opens();
        let joined = sim.hub().subscribe_after(id, "t", after).unwrap();
        assert_eq!((joined.kept, joined.position), (Err(why), here));
        sim.hub().publish("other", "nobody's").unwrap();
        sim.rests();
        assert_eq!(wire.reads(), []);
        let since = sim.hub().history_after("t", after).map(Iterator::count);
        assert_eq!(since, Err(why));
        sim.hub().abort(id);
        sim.turn();
    }
    assert_eq!(resumes(&mut sim, before(here, 10)), (Ok(10), numbers(21..=30)));
    let (id, _) = sim.opens();
    let nothing = sim.hub().subscribe_after(id, "unknown", here).unwrap();
    assert_eq!((nothing.kept, nothing.position.offset), (Err(PositionError::NoTopic), 0));
}

#[test]
fn as_many_are_kept_as_were_asked_for_and_not_one_more() {
    for count in [0, 1, 2, 3, 10, 100] {
        let mut sim = of(count);
        publish(&mut sim, 1..=250);
        let here = place(&mut sim);
        let kept = |sim: &mut Sim| sim.hub().history_last("t", u64::MAX).count() as u64;
        assert_eq!(kept(&mut sim), count);
        assert_eq!(sim.hub().published_since("t", before(here, count)), Ok(count));
        let beyond = sim.hub().published_since("t", before(here, count + 1));
        assert_eq!(beyond, Err(PositionError::NotKept));
        // In one turn, and not yet given to anybody.
        (251..=400).for_each(|at| assert!(sim.hub().publish("t", number(at)).is_ok()));
        assert_eq!(kept(&mut sim), count);
        sim.turn();
        assert_eq!(kept(&mut sim), count);
        publish(&mut sim, 401..=700);
        // At most as many again are held, of 8 bytes with their frames, in batches.
        let held = sim.hub().counters().history_bytes;
        assert!(held <= 2 * (count + 1) * 300, "{held} bytes for {count}");
    }
}

#[test]
fn what_is_too_old_is_given_up_without_anything_happening() {
    let age = Duration::from_secs(160);
    let mut sim = keeping(with(|history| history.age = age), |_| {});
    for at in 1..=20 {
        sim.hub().publish("t", number(at)).unwrap();
        sim.turn();
        waits(&mut sim, Duration::from_secs(10));
    }
    sim.turn();
    // Those of the last 160 seconds, and no more than a sixteenth older; a tick is 67 ms.
    let kept = sim.hub().history_last("t", u64::MAX).count();
    assert!((16..=18).contains(&kept), "{kept}");
    // The loop wakes up for it.
    while sim.hub().history_last("t", 1).count() > 0 {
        sim.turn_within(None);
    }
    let slept = sim.server.net().slept();
    sim.turn();
    assert_eq!(sim.hub().counters().history_bytes, 0);
    assert!(slept <= Duration::from_secs(200) + age + Duration::from_secs(1), "{slept:?}");
    let here = place(&mut sim);
    assert_eq!((here.offset, sim.hub().history_last("t", 1).count()), (20, 0));
    assert_eq!(resumes(&mut sim, before(here, 1)).0, Err(PositionError::NotKept));
    assert_eq!(resumes(&mut sim, here).0, Ok(0));
}

#[test]
fn a_history_has_so_many_bytes_and_its_oldest_go() {
    let mut sim = keeping(with(|history| history.bytes = 16_000), |_| {});
    for at in 1..=1000 {
        sim.hub().publish("t", number(at)).unwrap();
        sim.turn();
        assert!(sim.hub().counters().history_bytes <= 16_000);
    }
    let kept = sim.hub().history_last("t", u64::MAX).count();
    // 14 bytes each, with what they are found by; pieces of a quarter.
    assert!((12_000 / 16..=16_000 / 14).contains(&kept), "{kept}");
    // One that is longer than all of it is not kept.
    sim.hub().publish("t", vec![0; 16_000]).unwrap();
    sim.turn();
    sim.turn();
    assert_eq!(sim.hub().counters().history_bytes, 0);
}

/// What is kept in each topic.
fn kept(sim: &mut Sim, topics: usize) -> Vec<usize> {
    let mut of = |topic: usize| sim.hub().history_last(&topic.to_string(), u64::MAX).count();
    (0..topics).map(&mut of).collect()
}

#[test]
fn the_process_keeps_so_many_bytes_and_what_ends_soonest_goes_first() {
    const KIB: usize = 1024;
    let mut sim = keeping(History::default(), |config| config.history_bytes_max = 64 * KIB);
    for topic in 0..8 {
        sim.hub().publish(&topic.to_string(), vec![0; 10 * KIB]).unwrap();
        sim.turn();
        waits(&mut sim, Duration::from_secs(1));
        assert!(sim.hub().counters().history_bytes <= 64 * KIB as u64);
    }
    sim.turn();
    assert_eq!(kept(&mut sim, 8), [0, 0, 1, 1, 1, 1, 1, 1]);
    assert_eq!(sim.hub().counters().history_given_up, 2);
    // One that takes all of it.
    sim.hub().publish("8", vec![0; 60 * KIB]).unwrap();
    sim.turn();
    sim.turn();
    assert_eq!(kept(&mut sim, 9), [0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(sim.hub().counters().history_given_up, 8);
}

#[test]
fn a_topic_keeps_its_place_without_subscribers_and_is_forgotten_in_time() {
    let mut sim = of(5);
    let first = sim.hub().publish("t", number(1)).unwrap();
    assert_eq!((first.subscribers, first.position), (0, Some(place(&mut sim))));
    let (id, _) = subscribers(&mut sim, 1, "t").remove(0);
    assert_eq!(sim.hub().publish("t", number(2)).unwrap().position.unwrap().offset, 2);
    sim.hub().unsubscribe(id, "t");
    sim.turn();
    let here = place(&mut sim);
    assert_eq!((here.offset, here.epoch), (2, first.position.unwrap().epoch));
    // It was used a moment before it would have been forgotten.
    waits(&mut sim, Duration::from_secs(24 * 60 * 60 - 1));
    sim.hub().publish("t", number(3)).unwrap();
    waits(&mut sim, Duration::from_secs(24 * 60 * 60 - 1));
    assert_eq!(place(&mut sim).epoch, here.epoch);
    waits(&mut sim, 2 * Duration::from_secs(1));
    assert_eq!(sim.hub().position("t"), None);
    assert_eq!(sim.hub().counters().topics_forgotten, 0, "that is in time");
    let again = sim.hub().publish("t", number(4)).unwrap().position.unwrap();
    assert_eq!(again.offset, 1);
    assert_ne!(again.epoch, here.epoch);
    assert_eq!(resumes(&mut sim, here).0, Err(PositionError::OtherEpoch));
}

#[test]
fn so_many_topics_are_remembered_and_those_unused_for_longest_go() {
    let mut sim = keeping(History::of(1), |config| {
        (config.topics_remembered_max, config.topics_max) = (3, 5);
    });
    let alive = |sim: &mut Sim| {
        let is_alive = |topic: &&str| sim.hub().position(topic).is_some();
        ["a", "b", "c", "d", "e", "f"].into_iter().filter(is_alive).collect::<String>()
    };
    for topic in ["a", "b", "c"] {
        sim.hub().publish(topic, topic).unwrap();
        waits(&mut sim, MINUTE);
    }
    sim.hub().publish("a", "again").unwrap();
    waits(&mut sim, MINUTE);
    assert_eq!(alive(&mut sim), "abc");
    sim.hub().publish("d", "d").unwrap();
    assert_eq!((alive(&mut sim), sim.hub().counters().topics_forgotten), ("acd".into(), 1));
    // One that has a subscriber is not among them.
    let (id, _) = subscribers(&mut sim, 1, "c").remove(0);
    waits(&mut sim, MINUTE);
    sim.hub().publish("e", "e").unwrap();
    assert_eq!(alive(&mut sim), "acde");
    let _others = subscribers(&mut sim, 1, "f");
    assert_eq!(sim.hub().publish("g", "g"), Err(PublishError::TooManyTopics));
    let long = "x".repeat(256);
    assert_eq!(sim.hub().publish(&long, "x"), Err(PublishError::NameTooLong));
    sim.hub().unsubscribe(id, "c");
    sim.turn();
    assert_eq!((alive(&mut sim), sim.hub().counters().topics_forgotten), ("cdef".into(), 2));
}

/// It resumes, and its kernel takes only a part of what was kept.
fn resumes_slowly(on_lag: OnLag) -> (Sim, Wire) {
    let mut sim = keeping(History::of(20), |config| {
        (config.topic.on_lag, config.topic_lag_bytes_max) = (on_lag, 300);
    });
    publish(&mut sim, 1..=20);
    let here = place(&mut sim);
    let (id, wire) = sim.opens();
    wire.holds(25);
    assert_eq!(sim.hub().subscribe_after(id, "t", before(here, 20)).unwrap().kept, Ok(20));
    sim.turn();
    (sim, wire)
}

#[test]
fn one_that_takes_its_history_slowly_gets_all_of_it_or_is_closed() {
    for on_lag in [OnLag::Close, OnLag::Latest, OnLag::Skip] {
        let (mut sim, wire) = resumes_slowly(on_lag);
        assert_eq!(reads_all(&mut sim, &wire), numbers(1..=20));
        publish(&mut sim, 21..=22);
        assert_eq!(reads_all(&mut sim, &wire), numbers(21..=22));
        // What is kept is given up before it has read it: none of it is passed over.
        let (mut sim, wire) = resumes_slowly(on_lag);
        publish(&mut sim, 21..=200);
        let got = reads_all(&mut sim, &wire);
        let (close, got) = got.split_last().unwrap();
        assert_eq!(*close, too_slow("topic_lag_bytes_max"), "{on_lag:?}");
        assert_eq!(got, numbers(1..=got.len()));
        assert!(got.len() < 20, "{on_lag:?}");
    }
}

#[test]
fn what_was_kept_comes_behind_what_was_sent_before_and_in_front_of_what_is_sent_after() {
    let mut sim = of(100);
    publish(&mut sim, 1..=3);
    sim.hub().publish("other", "o1").unwrap();
    sim.turn();
    let here = place(&mut sim);
    let (id, wire) = sim.opens();
    sim.hub().send(id, "begins").unwrap();
    sim.hub().subscribe_after(id, "t", before(here, 3)).unwrap();
    sim.hub().send(id, "has t").unwrap();
    sim.hub().publish("t", number(4)).unwrap();
    sim.hub().send(id, "and 4").unwrap();
    sim.hub().subscribe_last(id, "other", 1).unwrap();
    sim.hub().send(id, "has other").unwrap();
    sim.turn();
    let due = [
        vec![text("begins")],
        numbers(1..=3),
        vec![text("has t"), text(number(4)), text("and 4"), text("o1"), text("has other")],
    ];
    assert_eq!(wire.reads(), due.concat());
}

#[test]
fn one_that_leaves_again_still_gets_what_was_due() {
    let mut sim = of(100);
    publish(&mut sim, 1..=5);
    let here = place(&mut sim);
    let (id, wire) = sim.opens();
    wire.holds(25);
    sim.hub().subscribe_after(id, "t", before(here, 5)).unwrap();
    publish(&mut sim, 6..=7);
    sim.hub().unsubscribe(id, "t");
    publish(&mut sim, 8..=9);
    let here = place(&mut sim);
    sim.hub().subscribe_after(id, "t", before(here, 1)).unwrap();
    assert_eq!(reads_all(&mut sim, &wire), [numbers(1..=7), numbers(9..=9)].concat());
    assert_eq!(sim.hub().counters().messages_lost, 0);
}

#[test]
fn the_application_reads_what_is_kept() {
    let mut sim = of(4);
    publish(&mut sim, 1..=3);
    sim.hub().publish("t", [1_u8, 2]).unwrap();
    sim.hub().publish_except("t", "", sim_nobody()).unwrap();
    let here = place(&mut sim);
    let read: Vec<_> = sim.hub().history_last("t", 10).collect();
    let positions = read.iter().map(|it| it.position).collect::<Vec<_>>();
    assert_eq!(positions, [3, 2, 1, 0].map(|back| before(here, back)));
    let bytes = read.iter().map(|it| it.message.as_bytes().to_vec()).collect::<Vec<_>>();
    let expected = [number(2).as_bytes(), number(3).as_bytes(), &[1, 2], b""].map(<[u8]>::to_vec);
    assert_eq!(bytes, expected);
    let texts = read.iter().map(|it| it.message.as_text().is_some()).collect::<Vec<_>>();
    assert_eq!(texts, [true, true, false, true]);
    let after = sim.hub().history_after("t", before(here, 2)).unwrap().count();
    assert_eq!((after, sim.hub().history_last("unknown", 1).count()), (2, 0));
}

fn sim_nobody() -> pushloop::ConnId {
    pushloop::ConnId::from_bits(u64::MAX)
}

#[test]
fn what_is_before_a_position_is_given_up_and_what_is_behind_it_stays() {
    let mut sim = of(10);
    publish(&mut sim, 1..=5);
    let here = place(&mut sim);
    let expires = |sim: &mut Sim, back| sim.hub().expire_history("t", before(here, back));
    assert_eq!([4, 3, 3, 5].map(|back| expires(&mut sim, back)), [1, 1, 0, 0].map(Ok));
    assert_eq!(resumes(&mut sim, before(here, 4)).0, Err(PositionError::NotKept));
    for (position, wrong) in [
        (Position { epoch: here.epoch ^ 1, ..here }, PositionError::OtherEpoch),
        (Position { offset: here.offset + 1, ..here }, PositionError::Future),
    ] {
        assert_eq!(sim.hub().expire_history("t", position), Err(wrong));
    }
    assert_eq!(sim.hub().expire_history("unknown", here), Err(PositionError::NoTopic));
    assert_eq!(resumes(&mut sim, before(here, 3)), (Ok(3), numbers(3..=5)));
    assert_eq!((expires(&mut sim, 0), sim.hub().history_len("t")), (Ok(3), 0));
    sim.turn();
    assert_eq!((place(&mut sim), sim.hub().counters().history_bytes), (here, 0));
}

/// What is given up for its number has no part in the bytes any more.
#[test]
fn a_history_that_was_published_to_for_long_keeps_as_many_as_at_first() {
    let mut history = History::of(4);
    history.bytes = 100_000;
    let mut sim = keeping(history, |_| {});
    for _ in 0..400 {
        sim.hub().publish("t", "x".repeat(1000)).unwrap();
        sim.turn();
        let kept = sim.hub().history_len("t");
        assert!(kept >= 1, "{kept}");
    }
    assert_eq!(sim.hub().history_len("t"), 4);
}

/// One piece has all five, and the history only the last.
#[test]
fn what_was_given_up_is_not_kept_again_by_other_options() {
    let mut sim = of(1);
    (1..=5).for_each(|n| _ = sim.hub().publish("t", number(n)).unwrap());
    sim.turn();
    let here = place(&mut sim);
    assert_eq!(sim.hub().expire_history("t", before(here, 2)), Ok(0));
    let mut options = sim.hub().topic_options("t");
    options.history = Some(History::of(10));
    sim.hub().configure_topic("t", options).unwrap();
    assert_eq!(resumes(&mut sim, before(here, 3)).0, Err(PositionError::NotKept));
    assert_eq!(resumes(&mut sim, before(here, 2)), (Ok(2), numbers(4..=5)));
}

/// Its pieces go as soon as all that is in them is before the position.
#[test]
fn the_memory_of_what_is_given_up_comes_back_by_pieces() {
    let mut sim = of(1000);
    (0..4).for_each(|_| _ = sim.hub().publish("t", "x".repeat(60_000)));
    sim.turn();
    let here = place(&mut sim);
    for (back, least, most) in [(4, 240_000, 300_000), (2, 120_000, 150_000), (0, 0, 0)] {
        sim.hub().expire_history("t", before(here, back)).unwrap();
        sim.turn();
        let bytes = sim.hub().counters().history_bytes;
        assert!((least..=most).contains(&bytes), "{bytes} for {back}");
    }
}

#[test]
fn a_history_that_is_cleared_or_ended_is_gone_and_the_place_stays() {
    let mut sim = of(10);
    publish(&mut sim, 1..=3);
    let here = place(&mut sim);
    assert!(sim.hub().clear_history("t") && !sim.hub().clear_history("t"));
    assert!(!sim.hub().clear_history("unknown"));
    sim.turn();
    assert_eq!((place(&mut sim), sim.hub().counters().history_bytes), (here, 0));
    assert_eq!(resumes(&mut sim, before(here, 1)).0, Err(PositionError::NotKept));
    publish(&mut sim, 4..=5);
    assert_eq!(resumes(&mut sim, here), (Ok(2), numbers(4..=5)));
    // Without a history, a topic without subscribers is over.
    let mut options = sim.hub().topic_options("t");
    options.history = None;
    sim.hub().configure_topic("t", options).unwrap();
    publish(&mut sim, 6..=6);
    assert_eq!(sim.hub().history_last("t", 9).count(), 0);
    let told = sim.takes();
    assert!(!told.iter().any(|told| matches!(told, Told::Closed(..))));
    sim.hub().configure_topic("u", options).unwrap();
    assert_eq!(sim.hub().publish("u", "nobody's").unwrap().position, None);
    sim.hub().forget_topic_options("u");
    assert!(sim.hub().publish("u", "kept").unwrap().position.is_some());
    sim.hub().configure_topic("u", options).unwrap();
    assert_eq!(sim.hub().position("u"), None);
}
