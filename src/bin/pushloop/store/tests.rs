//! What is in the file, by opening it again.

use std::{fs, path::PathBuf, thread};

use pushloop::History;

use super::*;
use crate::patterns::ByTopic;

/// A file of one test's own.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let name = format!("pushloop-store-{}-{:?}", std::process::id(), thread::current().id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn open(&self, limits: Limits, now: u64) -> (Store, Vec<Kept>) {
        Store::open(&self.0, limits, now).expect("it can be used")
    }

    /// The topics that are in the file: each with its first place, and its payloads.
    fn has(&self, now: u64) -> Vec<(String, Position, Vec<u8>)> {
        let kept = self.open(limits(), now).1;
        let payloads = |kept: &Kept| kept.publications.iter().map(|it| it.2[0]).collect();
        kept.iter().map(|it| (it.name.clone(), it.first, payloads(it))).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn limits() -> Limits {
    Limits { patterns: keeps(100), bytes: usize::MAX, topics: usize::MAX }
}

/// Each topic keeps so many.
fn keeps(publications: u64) -> Patterns {
    let history = Some(History::of(publications));
    Patterns::new(ByTopic { history, ..ByTopic::default() }, Vec::new())
}

fn at(epoch: u64, offset: u64) -> Position {
    Position { epoch, offset }
}

/// A publication of ten bytes, which begin with `first`.
fn record(topic: &str, place: Position, made_at: u64, first: u8) -> Arc<Record> {
    let mut payload = [0; 10];
    payload[0] = first;
    Arc::new(Record {
        topic: topic.into(),
        place,
        made_at,
        is_text: false,
        payload: payload.into(),
    })
}

#[test]
fn what_is_not_the_next_publication_begins_the_topic_anew() {
    for (next, first) in [(at(7, 2), 0), (at(8, 2), 2), (at(8, 0), 0), (at(7, 3), 3), (at(7, 1), 1)]
    {
        let place = Place::new();
        let mut store = place.open(limits(), 0).0;
        let before = [record("t", at(7, 0), 1, b'a'), record("t", at(7, 1), 2, b'b')];
        store.write(&before, 2).expect("there is room");
        store.write(&[record("t", next, 3, b'c')], 3).expect("there is room");
        drop(store);
        let payloads = if next == at(7, 2) { b"abc".to_vec() } else { b"c".to_vec() };
        let expected = vec![("t".to_owned(), at(next.epoch, first), payloads)];
        assert_eq!(place.has(3), expected, "{next}");
    }
}

#[test]
fn what_is_too_much_of_all_topics_or_too_old_goes_the_oldest_first() {
    let four = 4 * cost(10) as usize;
    let records = ["a", "b", "a", "b", "a", "b"]
        .iter()
        .zip(0..)
        .map(|(topic, nth)| record(topic, at(1, nth / 2), 10 * nth, b'0' + nth as u8));
    let records: Vec<_> = records.collect();
    let both = |a: (u64, &[u8]), b: (u64, &[u8])| {
        let topic = |name: &str, (first, payloads): (u64, &[u8])| {
            (name.to_owned(), at(1, first), payloads.to_vec())
        };
        vec![topic("a", a), topic("b", b)]
    };
    let place = Place::new();
    let mut store = place.open(Limits { bytes: four, ..limits() }, 0).0;
    store.write(&records, 50).expect("there is room");
    assert_eq!(store.index.bytes, four as u64);
    drop(store);
    assert_eq!(place.has(50), both((1, b"24"), (1, b"35")));
    // The default is five minutes.
    let (store, _) = place.open(limits(), 300_030);
    assert!(!store.is_due(300_030) && store.is_due(300_031));
    drop(store);
    assert_eq!(place.has(300_031), both((2, b"4"), (2, b"5")));
    assert_eq!(place.has(900_000), both((3, b""), (3, b"")));
}

#[test]
fn of_too_many_topics_the_one_that_was_published_to_first_goes() {
    let place = Place::new();
    let mut store = place.open(Limits { topics: 2, ..limits() }, 0).0;
    for (nth, topic) in (0..).zip(["a", "b", "c", "b", "d"]) {
        let offset = if nth == 3 { 1 } else { 0 };
        store.write(&[record(topic, at(1, offset), nth, b'x')], nth).expect("there is room");
    }
    let names = |index: &Index| index.latest.iter().map(|it| it.1.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&store.index), ["b", "d"]);
    drop(store);
    let has: Vec<_> = place.has(9).into_iter().map(|it| (it.0, it.2.len())).collect();
    assert_eq!(has, [("b".to_owned(), 2), ("d".to_owned(), 1)]);
}

#[test]
fn each_topic_keeps_what_its_prefix_says_and_one_without_a_history_is_gone() {
    let keeps = |prefix: &str, publications, seconds| {
        let mut history = History::of(publications);
        history.age = Duration::from_secs(seconds);
        (prefix.to_owned(), ByTopic { history: Some(history), ..ByTopic::default() })
    };
    let by_prefix = vec![keeps("few/", 1, 300), keeps("long/", 9, 900)];
    let patterns = Patterns::new(ByTopic::default(), by_prefix);
    let of_prefixes = Limits { patterns, ..limits() };
    let names = |place: &Place, now| -> Vec<_> {
        place.has(now).into_iter().map(|(name, _, payloads)| (name, payloads.len())).collect()
    };
    let expected = |few, long| vec![("few/a".to_owned(), few), ("long/a".to_owned(), long)];
    let place = Place::new();
    let mut store = place.open(limits(), 0).0;
    for (topic, nth) in ["none", "few/a", "long/a"].iter().flat_map(|it| [(it, 0), (it, 1)]) {
        store.write(&[record(topic, at(1, nth), nth, b'x')], nth).expect("there is room");
    }
    drop(store);
    let mut store = place.open(of_prefixes, 1).0;
    // What is written later is bounded as well.
    store.write(&[record("few/a", at(1, 2), 1, b'x')], 1).expect("there is room");
    assert!(!store.is_due(300_001) && store.is_due(300_002));
    store.write(&[], 300_002).expect("there is room");
    // The other is older, and kept for longer.
    assert!(!store.is_due(900_000) && store.is_due(900_001));
    drop(store);
    assert_eq!(names(&place, 2), expected(0, 2));
}
