//! Topics that go on where another process left them.

use std::time::Duration;

use pushloop::{History, Message, Position, PositionError, PublishError, RestoreError};

use super::history::{before, keeping, of, place, resumes, waits, with};
use super::overflow::{number, numbers, publish};
use super::subscribers;
use crate::support::net::Sim;
use crate::support::{quiet, text};

const PLACE: Position = Position { epoch: 0xfeed, offset: 70 };

/// Begins the topic `t` at `PLACE` with these numbers, as old as that.
fn restores(
    sim: &mut Sim,
    range: std::ops::RangeInclusive<usize>,
    age: Duration,
) -> Result<Position, RestoreError> {
    let texts: Vec<_> = range.map(number).collect();
    let publications: Vec<_> = texts.iter().map(|it| (Message::Text(it), age)).collect();
    sim.hub().restore_topic("t", PLACE, &publications)
}

#[test]
fn a_topic_goes_on_as_if_nothing_had_been() {
    for (count, kept) in [(0, 0), (1, 1), (10, 10), (999, 999), (1500, 1000)] {
        let mut sim = of(1000);
        let here = restores(&mut sim, 71..=70 + count, Duration::ZERO).unwrap();
        assert_eq!(here, Position { offset: 70 + count as u64, ..PLACE });
        assert_eq!(sim.hub().position("t"), Some(here));
        assert_eq!(sim.hub().history_last("t", u64::MAX).count(), kept);
        for missed in [0, 1, kept / 2, kept].into_iter().filter(|missed| *missed <= kept) {
            let got = resumes(&mut sim, before(here, missed as u64));
            assert_eq!(got, (Ok(missed as u64), numbers(71 + count - missed..=70 + count)));
        }
        let beyond = resumes(&mut sim, before(here, kept as u64 + 1)).0;
        assert_eq!(beyond, Err(PositionError::NotKept));
        let other = Position { epoch: 1, ..here };
        assert_eq!(resumes(&mut sim, other).0, Err(PositionError::OtherEpoch));
        publish(&mut sim, 71 + count..=80 + count);
        assert_eq!(place(&mut sim), Position { offset: here.offset + 10, ..PLACE });
        let missed = if count == 0 { here } else { before(here, 1) };
        let first = missed.offset as usize + 1;
        assert_eq!(resumes(&mut sim, missed).1, numbers(first..=80 + count));
    }
}

#[test]
fn both_kinds_and_long_ones_come_back_as_they_were() {
    let mut sim = of(1000);
    let long = "x".repeat(100_000);
    let messages =
        [Message::Text("a"), Message::Binary(&[0xff, 0]), Message::Text(&long), Message::Text("")];
    let publications = messages.map(|message| (message, Duration::ZERO));
    sim.hub().restore_topic("t", PLACE, &publications).unwrap();
    let kept: Vec<_> = sim.hub().history_last("t", 9).map(|it| it.message).collect();
    assert_eq!(kept, messages);
}

#[test]
fn what_cannot_be_restored_is_refused_and_nothing_has_changed() {
    let mut sim = of(1000);
    publish(&mut sim, 1..=2);
    let here = place(&mut sim);
    assert_eq!(restores(&mut sim, 1..=5, Duration::ZERO), Err(RestoreError::Alive));
    assert_eq!(place(&mut sim), here);
    let none = Sim::new(quiet(|_| {}));
    let full = keeping(History::default(), |config| config.topics_max = 1);
    let short = keeping(History::default(), |config| config.topic_name_bytes_max = 0);
    let small = keeping(History::default(), |config| config.history_bytes_max = 50);
    for (mut sim, why) in [
        (none, RestoreError::NoHistory),
        (full, RestoreError::TooManyTopics),
        (short, RestoreError::NameTooLong),
        (small, RestoreError::HistoryFull),
    ] {
        if why == RestoreError::TooManyTopics {
            sim.hub().publish("", "x").unwrap();
        }
        assert_eq!(restores(&mut sim, 1..=5, Duration::ZERO), Err(why));
        assert_eq!(sim.hub().position("t"), None);
    }
    let mut sim = of(1000);
    let last = Position { offset: (1 << 63) - 1, ..PLACE };
    let one = [(Message::Text("x"), Duration::ZERO)];
    for (offset, publications) in [(last.offset, &one[..]), (1 << 63, &[]), (u64::MAX, &one)] {
        let too_large = sim.hub().restore_topic("t", Position { offset, ..PLACE }, publications);
        assert_eq!(too_large, Err(RestoreError::OffsetTooLarge), "{offset}");
    }
    assert_eq!(sim.hub().restore_topic("t", last, &[]), Ok(last));
    assert!(sim.hub().publish("t", "it goes on").is_ok());
}

#[test]
fn what_was_published_before_is_as_old_as_it_is() {
    let age = Duration::from_secs(160);
    let mut sim = keeping(with(|history| history.age = age), |_| {});
    let texts: Vec<_> = (1..=20).map(number).collect();
    let ages = (1..=20).rev().map(|nth| Duration::from_secs(10 * nth));
    let publications: Vec<_> = texts.iter().map(|it| Message::Text(it)).zip(ages).collect();
    sim.hub().restore_topic("t", PLACE, &publications).unwrap();
    let kept = |sim: &mut Sim| sim.hub().history_last("t", u64::MAX).count();
    assert!((15..=17).contains(&kept(&mut sim)), "{}", kept(&mut sim));
    waits(&mut sim, Duration::from_secs(100));
    assert!((5..=7).contains(&kept(&mut sim)), "{}", kept(&mut sim));
    waits(&mut sim, Duration::from_secs(65));
    assert_eq!((kept(&mut sim), sim.hub().counters().history_bytes), (0, 0));
    assert_eq!(place(&mut sim).offset, 90);
}

#[test]
fn a_topic_that_is_restored_or_begun_is_remembered_for_its_time() {
    let hour = Duration::from_secs(3600);
    let mut sim = keeping(History::of(5), |config| config.topic_memory = hour);
    restores(&mut sim, 1..=5, Duration::ZERO).unwrap();
    let begun = sim.hub().begin_topic("u").unwrap().unwrap();
    assert_eq!(sim.hub().begin_topic("u"), Ok(Some(begun)));
    assert_eq!((begun.offset, sim.hub().position("u")), (0, Some(begun)));
    let published = sim.hub().publish("u", "x").unwrap();
    assert_eq!(published.position, Some(Position { offset: 1, ..begun }));
    waits(&mut sim, hour / 2);
    assert!(sim.hub().position("t").is_some() && sim.hub().position("u").is_some());
    waits(&mut sim, hour);
    assert_eq!((sim.hub().position("t"), sim.hub().position("u")), (None, None));
    let bytes = sim.hub().counters().history_bytes;
    assert_eq!(bytes, 0);
}

#[test]
fn a_topic_begins_where_it_could_be_published_to() {
    let mut sim = keeping(History::default(), |config| config.topics_max = 1);
    let _subscriber = subscribers(&mut sim, 1, "t");
    assert_eq!(sim.hub().begin_topic("u"), Err(PublishError::TooManyTopics));
    let here = place(&mut sim);
    assert_eq!(sim.hub().begin_topic("t"), Ok(Some(here)));
    let mut none = Sim::new(quiet(|_| {}));
    assert_eq!(none.hub().begin_topic("t"), Ok(None));
}

#[test]
fn what_was_answered_under_a_key_is_told() {
    let mut sim = of(10);
    assert_eq!(sim.hub().published_under("t", "k"), None);
    let first = sim.hub().publish_once("t", "k", "x").unwrap();
    assert_eq!(sim.hub().published_under("t", "k"), Some(first));
    assert_eq!(sim.hub().published_under("tk", ""), None);
    let (id, wire) = sim.opens();
    assert_eq!(sim.hub().subscribe_last(id, "t", 9).unwrap().kept, Ok(1));
    sim.turn();
    assert_eq!(wire.reads(), [text("x")]);
    waits(&mut sim, Duration::from_secs(301));
    assert_eq!(sim.hub().published_under("t", "k"), None);
}

/// Its history is over with it, and what comes next is of another life.
#[test]
fn a_topic_that_nobody_reads_can_be_forgotten() {
    let mut sim = of(1000);
    assert!(sim.hub().forget_topic("t"), "there is none");
    let here = restores(&mut sim, 71..=80, Duration::ZERO).unwrap();
    assert!(sim.hub().forget_topic("t"));
    assert_eq!((sim.hub().position("t"), sim.hub().history_len("t")), (None, 0));
    assert_eq!(restores(&mut sim, 71..=75, Duration::ZERO), Ok(before(here, 5)));
    let peers = subscribers(&mut sim, 2, "t");
    let ids: Vec<_> = peers.iter().map(|(id, _)| *id).collect();
    let mut found: Vec<_> = sim.hub().subscribers("t").collect();
    found.sort_unstable();
    assert_eq!(found, ids);
    assert_eq!(sim.hub().subscribers("other").count(), 0);
    assert!(!sim.hub().forget_topic("t"), "there are subscribers");
    // One that leaves with something due still reads.
    sim.hub().publish("t", "76").unwrap();
    ids.iter().for_each(|id| assert!(sim.hub().unsubscribe(*id, "t")));
    assert!(!sim.hub().forget_topic("t"));
    assert_eq!(sim.hub().position("t"), Some(before(here, 4)));
    sim.rests();
    assert!(sim.hub().forget_topic("t"));
    publish(&mut sim, 1..=1);
    assert_ne!(place(&mut sim).epoch, PLACE.epoch);
}
