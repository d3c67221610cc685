//! Subscribers that lag: what each policy gives them, to the message.
//!
//! Every message here is 8 bytes long, and its frame 10. A subscriber's kernel holds two and a half.

use pushloop::{ConnId, OnLag, Overflow, TopicOptions};

use super::overflow::{
    number, numbers, publish, reads_again, reads_all, slow_subscriber, too_slow,
};
use super::subscribers;
use crate::support::net::{Sim, Told, Wire, frames};
use crate::support::{Frame, close, quiet, text};

/// So much that a topic keeps less than the messages of [`MANY`].
const LAG: usize = 4000;
/// So many messages.
const MANY: usize = 1000;

pub fn options(on_lag: OnLag) -> TopicOptions {
    let mut options = TopicOptions::default();
    options.on_lag = on_lag;
    options
}

/// The offset of the oldest publication that the topic keeps.
fn oldest(sim: &mut Sim, topic: &str) -> u64 {
    let mut position = sim.hub().position(topic).unwrap();
    while position.offset > 0 {
        position.offset -= 1;
        if sim.hub().published_since(topic, position).is_err() {
            return position.offset + 1;
        }
    }
    0
}

#[test]
fn a_subscriber_that_is_behind_by_no_more_than_is_kept_gets_everything() {
    for on_lag in [OnLag::Close, OnLag::Skip] {
        let (mut sim, id, wire) = slow_subscriber(on_lag, |_| {});
        publish(&mut sim, 1..=MANY);
        assert_eq!((sim.hub().lag(id, "t"), oldest(&mut sim, "t")), (Some(997), 3));
        assert_eq!(reads_all(&mut sim, &wire), numbers(1..=MANY));
        let counters = sim.hub().counters();
        assert_eq!((counters.deliveries, counters.messages_skipped), (MANY as u64, 0));
        assert_eq!((sim.hub().lag(id, "t"), sim.hub().queued_bytes_total()), (Some(0), 0));
    }
}

#[test]
fn too_slow_a_subscriber_gets_an_unbroken_sequence_and_1013() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |config| {
        config.topic_lag_bytes_max = LAG;
    });
    let (_, reads) = subscribers(&mut sim, 1, "t").remove(0);
    publish(&mut sim, 1..=MANY);
    // It is asked when it reads again.
    assert!(oldest(&mut sim, "t") > 3);
    assert_eq!((sim.hub().is_open(id), sim.hub().lag(id, "t")), (true, Some(997)));
    let mut got = reads_all(&mut sim, &wire);
    assert_eq!((sim.hub().is_open(id), sim.hub().subscriber_count("t")), (false, 1));
    let counters = sim.hub().counters();
    assert_eq!((counters.closed_overflow, counters.messages_lost), (0, 997));
    assert_eq!(got.pop(), Some(too_slow("topic_lag_bytes_max")));
    assert_eq!(got, numbers(1..=3));
    assert_eq!(sim.takes(), []);
    wire.sends(close(1013, ""));
    sim.turn();
    assert_eq!(sim.takes(), [Told::Closed(id, 1013)]);
    assert_eq!(sim.hub().counters().closed_overflow, 1, "counted when it is over");
    assert_eq!(reads.reads(), numbers(1..=MANY));
}

#[test]
fn what_was_sent_directly_comes_before_the_close_of_one_that_was_too_slow() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |config| {
        config.topic_lag_bytes_max = LAG;
    });
    publish(&mut sim, 1..=5);
    sim.hub().send(id, "direct 1").unwrap();
    publish(&mut sim, 6..=MANY);
    sim.hub().send(id, "direct 2").unwrap();
    sim.turn();
    let last = ["direct 1", "direct 2"].map(text).into();
    let closed = vec![too_slow("topic_lag_bytes_max")];
    assert_eq!(reads_all(&mut sim, &wire), [numbers(1..=3), last, closed].concat());
}

/// What came behind the gap would be taken for what was published next.
#[test]
fn a_subscriber_that_is_closed_for_one_topic_gets_nothing_more_of_others() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |config| {
        config.topic_lag_bytes_max = LAG;
    });
    sim.hub().subscribe(id, "other").unwrap();
    publish(&mut sim, 1..=3);
    sim.hub().publish("other", "other's").unwrap();
    publish(&mut sim, 4..=MANY);
    let closed = vec![too_slow("topic_lag_bytes_max")];
    assert_eq!(reads_all(&mut sim, &wire), [numbers(1..=3), closed].concat());
    assert_eq!(sim.hub().counters().messages_lost, 997 + 1);
}

#[test]
fn a_subscriber_that_lags_gets_the_latest() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Latest, |_| {});
    publish(&mut sim, 1..=20);
    assert_eq!((sim.hub().queued_bytes(id), oldest(&mut sim, "t")), (5, 19));
    // The last of several in one turn is the latest.
    (21..=30).for_each(|at| {
        assert_eq!(sim.hub().publish("t", number(at)).map(|it| it.subscribers), Ok(1))
    });
    sim.turn();
    assert_eq!(sim.hub().lag(id, "t"), Some(27));
    assert_eq!(reads_all(&mut sim, &wire), [numbers(1..=3), numbers(30..=30)].concat());
    let counters = sim.hub().counters();
    assert_eq!((counters.messages_conflated, counters.messages_skipped), (26, 0));
    assert_eq!(counters.deliveries, 4);
    // One that keeps up gets everything.
    wire.holds(usize::MAX);
    publish(&mut sim, 31..=40);
    assert_eq!(wire.reads(), numbers(31..=40));
    assert_eq!(sim.hub().counters().messages_conflated, 26);
}

#[test]
fn a_topic_of_which_the_latest_is_to_be_had_keeps_no_more_than_that() {
    let (mut sim, _, wire) = slow_subscriber(OnLag::Latest, |_| {});
    wire.holds(0);
    publish(&mut sim, 1..=1);
    let one = sim.hub().queued_bytes_total();
    publish(&mut sim, 2..=MANY);
    assert_eq!(sim.hub().queued_bytes_total(), one);
    assert_eq!(reads_again(&mut sim, &wire), numbers(MANY..=MANY));
}

#[test]
fn a_subscriber_that_skips_goes_on_in_the_middle_of_what_is_kept() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Skip, |config| {
        config.topic_lag_bytes_max = LAG;
    });
    let (_, reads) = subscribers(&mut sim, 1, "t").remove(0);
    publish(&mut sim, 1..=MANY);
    let oldest = oldest(&mut sim, "t") as usize;
    let middle = oldest + (MANY - oldest) / 2;
    assert!(oldest > 3 && middle > oldest + 50 && middle < MANY - 50, "{oldest}");
    let got = reads_all(&mut sim, &wire);
    assert_eq!(got, [numbers(1..=3), numbers(middle + 1..=MANY)].concat());
    assert!(sim.hub().is_open(id));
    let counters = sim.hub().counters();
    assert_eq!((counters.messages_skipped, counters.messages_lost), (middle as u64 - 3, 0));
    assert_eq!(reads.reads(), numbers(1..=MANY));
    // One that keeps up gets everything.
    wire.holds(usize::MAX);
    publish(&mut sim, MANY + 1..=MANY + 10);
    assert_eq!(wire.reads(), numbers(MANY + 1..=MANY + 10));
}

#[test]
fn each_topic_has_the_policy_that_was_set_for_it() {
    const POLICIES: [(&str, OnLag); 3] =
        [("latest", OnLag::Latest), ("skip", OnLag::Skip), ("default", OnLag::Close)];
    let mut sim = Sim::new(quiet(|config| config.topic_lag_bytes_max = LAG));
    // Before there is such a topic, over a time when there is none, and while there is.
    sim.hub().configure_topic("latest", options(OnLag::Latest)).unwrap();
    let mut peers: Vec<(ConnId, Wire)> = Vec::new();
    for (topic, _) in POLICIES {
        drop(subscribers(&mut sim, 1, topic));
        let (id, wire) = subscribers(&mut sim, 1, topic).remove(0);
        sim.hub().unsubscribe(id, topic);
        sim.hub().subscribe(id, topic).unwrap();
        wire.holds(25);
        peers.push((id, wire));
    }
    sim.hub().configure_topic("skip", options(OnLag::Skip)).unwrap();
    for (topic, on_lag) in POLICIES {
        assert_eq!(sim.hub().topic_options(topic).on_lag, on_lag);
    }
    for at in 1..=MANY {
        for (topic, _) in POLICIES {
            sim.hub().publish(topic, number(at)).unwrap();
        }
        sim.turn();
    }
    let oldest = oldest(&mut sim, "skip") as usize;
    let middle = oldest + (MANY - oldest) / 2;
    let expected =
        [numbers(MANY..=MANY), numbers(middle + 1..=MANY), vec![too_slow("topic_lag_bytes_max")]];
    for ((_, wire), expected) in peers.iter().zip(expected) {
        assert_eq!(reads_all(&mut sim, wire), [numbers(1..=3), expected].concat());
    }
}

#[test]
fn a_topic_whose_options_are_forgotten_has_the_default_again() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |config| {
        config.topic_lag_bytes_max = LAG;
    });
    sim.hub().configure_topic("t", options(OnLag::Latest)).unwrap();
    publish(&mut sim, 1..=4);
    sim.hub().forget_topic_options("t");
    assert_eq!(sim.hub().topic_options("t").on_lag, OnLag::Close);
    assert_eq!(reads_all(&mut sim, &wire), numbers(1..=4));
    wire.holds(25);
    publish(&mut sim, 5..=MANY);
    let expected = [numbers(5..=7), vec![too_slow("topic_lag_bytes_max")]].concat();
    assert_eq!((reads_all(&mut sim, &wire), sim.hub().is_open(id)), (expected, false));
}

/// Nothing of what it was behind by is left, and the policy that gave it up is not the one that holds.
#[test]
fn the_latest_cannot_be_had_where_it_was_given_up_before() {
    for on_lag in [OnLag::Latest, OnLag::Skip] {
        let (mut sim, id, wire) = slow_subscriber(OnLag::Close, |config| {
            config.topic_lag_bytes_max = 0;
        });
        publish(&mut sim, 1..=10);
        let here = sim.hub().position("t").unwrap();
        assert_eq!(oldest(&mut sim, "t"), here.offset);
        sim.hub().configure_topic("t", options(on_lag)).unwrap();
        assert_eq!(reads_all(&mut sim, &wire), numbers(1..=3));
        assert_eq!((sim.hub().is_open(id), sim.hub().lag(id, "t")), (true, Some(0)));
        let counters = sim.hub().counters();
        assert_eq!(counters.messages_conflated + counters.messages_skipped, 7);
        wire.holds(usize::MAX);
        publish(&mut sim, 11..=12);
        assert_eq!(wire.reads(), numbers(11..=12));
    }
}

#[test]
fn the_latest_comes_in_its_place_among_the_messages_of_others() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Latest, |_| {});
    sim.hub().subscribe(id, "all").unwrap();
    sim.hub().configure_topic("all", options(OnLag::Close)).unwrap();
    publish(&mut sim, 1..=3);
    for at in 4..=20 {
        publish(&mut sim, at..=at);
        sim.hub().send(id, number(100 + at)).unwrap();
        sim.turn();
        sim.hub().publish("all", number(200 + at)).unwrap();
        sim.turn();
    }
    let mut got = reads_all(&mut sim, &wire);
    // Two topics have no order between them.
    let last = got.iter().position(|frame| *frame == text(number(20))).unwrap();
    let direct = got.iter().position(|frame| *frame == text(number(120))).unwrap();
    assert!(last < direct && got.iter().position(|frame| *frame == text(number(119))) < Some(last));
    got.remove(last);
    let mut expected = numbers(1..=3);
    (4..=20).for_each(|at| expected.extend([100 + at, 200 + at].map(|at| text(number(at)))));
    assert_eq!(got, expected);
    assert_eq!(sim.hub().counters().messages_conflated, 16);
}

/// What arrives is a part of what was done, in the order in which it was done.
#[test]
fn the_latest_comes_in_its_place_between_direct_sends() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Latest, |_| {});
    publish(&mut sim, 1..=3);
    for at in 4..=20 {
        sim.hub().publish("t", number(at)).unwrap();
        sim.hub().send(id, number(100 + at)).unwrap();
        sim.turn();
    }
    let latest: Vec<Frame> = [20, 120].map(|at| text(number(at))).into();
    let expected = [numbers(1..=3), numbers(104..=119), latest].concat();
    assert_eq!(reads_all(&mut sim, &wire), expected);
    assert_eq!(sim.hub().counters().messages_conflated, 16);
}

#[test]
fn the_latest_comes_before_a_direct_message_that_was_sent_after_it() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Latest, |_| {});
    wire.holds(0);
    for (published, sent) in [("P1", "D1"), ("P2", "D2")] {
        sim.hub().publish("t", published).unwrap();
        sim.hub().send(id, sent).unwrap();
    }
    sim.turn();
    assert_eq!(reads_again(&mut sim, &wire), ["D1", "P2", "D2"].map(text));
}

#[test]
fn a_latest_that_comes_later_does_not_hold_up_what_was_sent_before_it() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Latest, |_| {});
    wire.holds(0);
    for (published, sent) in [("P1", Some("D1")), ("P2", Some("D2")), ("P3", None)] {
        sim.hub().publish("t", published).unwrap();
        if let Some(sent) = sent {
            sim.hub().send(id, sent).unwrap();
        }
        sim.turn();
    }
    assert_eq!(reads_again(&mut sim, &wire), ["D1", "D2", "P3"].map(text));
}

#[test]
fn the_latest_of_each_topic_is_kept() {
    let (mut sim, id, wire) = slow_subscriber(OnLag::Latest, |_| {});
    sim.hub().subscribe(id, "u").unwrap();
    publish(&mut sim, 1..=3);
    for at in 4..=20 {
        publish(&mut sim, at..=at);
        sim.hub().publish("u", number(100 + at)).unwrap();
        sim.turn();
    }
    let latest = [text(number(20)), text(number(120))];
    assert_eq!(reads_all(&mut sim, &wire), [&numbers(1..=3)[..], &latest].concat());
    assert_eq!(sim.hub().counters().messages_conflated, 32);
}

/// Another one fills the process, and is closed for it.
fn fills_the_process(sim: &mut Sim) {
    let (greedy, wire) = sim.opens();
    wire.holds(0);
    sim.hub().send(greedy, [0; 90_000]).unwrap();
    sim.turn();
    assert!(!sim.hub().is_open(greedy));
}

#[test]
fn the_latest_is_kept_also_where_the_process_is_nearly_full() {
    let (mut sim, _, wire) = slow_subscriber(OnLag::Latest, |config| {
        config.send_queues_bytes_max = 100_000;
    });
    wire.holds(0);
    for turn in 0..3 {
        for at in 4 * turn + 1..=4 * turn + 4 {
            sim.hub().publish("t", number(at)).unwrap();
        }
        sim.turn();
        fills_the_process(&mut sim);
    }
    assert_eq!(reads_again(&mut sim, &wire), numbers(12..=12));
    assert_eq!(sim.hub().counters().messages_conflated, 11);
}

/// The same while its log is being written, in the middle of a frame.
#[test]
fn a_subscriber_that_comes_to_lag_in_a_process_that_is_nearly_full_keeps_the_latest() {
    let (mut sim, _, wire) = slow_subscriber(OnLag::Latest, |config| {
        (config.send_queues_bytes_max, config.overflow) = (100_000, Overflow::Close);
    });
    wire.holds(503);
    for at in 1..=100 {
        sim.hub().publish("t", number(at)).unwrap();
    }
    sim.turn();
    fills_the_process(&mut sim);
    let mut bytes = wire.reads_bytes();
    assert_eq!(bytes.len(), 503);
    wire.holds(usize::MAX);
    (0..3).for_each(|_| sim.turn());
    bytes.extend(wire.reads_bytes());
    assert_eq!(frames(&bytes), [numbers(1..=51), numbers(100..=100)].concat());
}
