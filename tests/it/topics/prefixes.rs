//! Options of topics by how their names begin.

use pushloop::{ConfigureError, History, OnLag, TopicOptions};

use super::lag::options;
use super::{sim, subscribers};
use crate::support::net::Sim;
use crate::support::quiet;

fn keeps(publications: u64) -> TopicOptions {
    let mut options = TopicOptions::default();
    options.history = Some(History::of(publications));
    options
}

fn prefixes(of: &[(&str, TopicOptions)]) -> Vec<(String, TopicOptions)> {
    of.iter().map(|(prefix, options)| ((*prefix).to_owned(), *options)).collect()
}

#[test]
fn a_topic_begins_with_the_options_of_the_longest_prefix_of_its_name() {
    let mut sim = sim();
    let hub = sim.hub();
    let (skip, latest) = (options(OnLag::Skip), options(OnLag::Latest));
    let by_prefix = prefixes(&[("a/", skip), ("a/b/", keeps(2)), ("a/b", latest)]);
    hub.configure_topics(keeps(1), by_prefix).unwrap();
    hub.configure_topic("a/own", keeps(9)).unwrap();
    for (name, expected) in [
        ("a/x", skip),
        ("a/b", latest),
        ("a/bc", latest),
        ("a/b/c", keeps(2)),
        ("a/own", keeps(9)),
        ("a", keeps(1)),
        ("b/a/b/", keeps(1)),
    ] {
        assert_eq!(hub.topic_options(name), expected, "{name}");
    }
    hub.forget_topic_options("a/own");
    assert_eq!(hub.topic_options("a/own"), skip);
    // It is kept where nobody subscribes, by those that have a history alone.
    for (name, kept) in [("a/x", 0), ("a/b/c", 2), ("other", 1)] {
        for _ in 0..3 {
            sim.hub().publish(name, "x").unwrap();
            sim.turn();
        }
        assert_eq!(sim.hub().history_len(name), kept, "{name}");
        assert_eq!(sim.hub().begin_topic(name).unwrap().is_some(), kept > 0, "{name}");
    }
}

#[test]
fn a_topic_that_lives_keeps_its_options_when_others_come() {
    let mut sim = sim();
    sim.hub().configure_topics(TopicOptions::default(), prefixes(&[("a", keeps(1))])).unwrap();
    let _peers = subscribers(&mut sim, 1, "a1");
    sim.hub().configure_topics(keeps(3), prefixes(&[("b", keeps(2))])).unwrap();
    for (name, expected) in [("a1", keeps(1)), ("a2", keeps(3)), ("b", keeps(2))] {
        assert_eq!(sim.hub().topic_options(name), expected, "{name}");
    }
    // One that had options of its own has those of today.
    let _more = subscribers(&mut sim, 1, "b1");
    for (name, expected) in [("a1", keeps(3)), ("b1", keeps(2))] {
        sim.hub().configure_topic(name, keeps(7)).unwrap();
        sim.hub().forget_topic_options(name);
        assert_eq!(sim.hub().topic_options(name), expected, "{name}");
    }
}

#[test]
fn so_many_prefixes_may_have_options_and_none_more() {
    let mut sim = Sim::new(quiet(|config| config.topic_name_bytes_max = 10));
    let max = sim.hub().config().topic_prefixes_max;
    let many = |count| (0..count).map(|nth| (format!("p{nth}"), keeps(1))).collect::<Vec<_>>();
    assert_eq!(sim.hub().configure_topics(keeps(2), many(max)), Ok(()));
    for (others, why, limit) in [
        (many(max + 1), ConfigureError::TooManyPrefixes, "topic_prefixes_max"),
        (
            prefixes(&[("0123456789a", keeps(1))]),
            ConfigureError::NameTooLong,
            "topic_name_bytes_max",
        ),
    ] {
        assert_eq!(sim.hub().configure_topics(keeps(3), others), Err(why));
        assert!(why.to_string().contains(limit), "{why}");
        // All is as it was.
        assert_eq!(sim.hub().topic_options("p0"), keeps(1));
        assert_eq!(sim.hub().topic_options("x"), keeps(2));
    }
    let longest = prefixes(&[("0123456789", keeps(1))]);
    assert_eq!(sim.hub().configure_topics(keeps(2), longest), Ok(()));
}

/// Publications, their bytes, subscriptions and topics, of each prefix in the order of the list.
fn counted(sim: &mut Sim) -> Vec<(String, [u64; 4])> {
    let counters = sim.hub().handle().prefix_counters().into_iter();
    counters
        .map(|(prefix, it)| {
            (prefix, [it.publications, it.published_bytes, it.subscribers, it.topics])
        })
        .collect()
}

#[test]
fn what_topics_of_a_prefix_do_is_counted_together() {
    let mut sim = sim();
    let options = TopicOptions::default();
    let both = [("a/", options), ("a/b/", options)];
    sim.hub().configure_topics(options, prefixes(&both)).unwrap();
    let [first, second, _other] = ["a/1", "a/b/1", "b"].map(|name| subscribers(&mut sim, 2, name));
    let third = subscribers(&mut sim, 1, "a/2");
    for (name, text) in [("a/1", "12345"), ("a/b/1", "1"), ("b", "x"), ("a/nobody", "x")] {
        sim.hub().publish(name, text).unwrap();
    }
    assert_eq!(counted(&mut sim), [("a/".into(), [1, 5, 3, 2]), ("a/b/".into(), [1, 1, 2, 1])]);
    // Another list: one that stays goes on counting.
    sim.hub().configure_topics(options, prefixes(&[("c", options), both[0]])).unwrap();
    sim.hub().publish("a/1", "1").unwrap();
    assert!(sim.hub().unsubscribe(first[0].0, "a/1"));
    sim.hub().abort(third[0].0);
    sim.hub().abort(second[0].0);
    sim.rests();
    assert_eq!(counted(&mut sim), [("c".into(), [0; 4]), ("a/".into(), [2, 6, 1, 1])]);
}
