//! Passes, and the line of topics that keep something for readers alone.

use std::sync::Arc;

use super::{
    super::topics::{Topic, Topics},
    Next,
};
use crate::{
    config::{Config, OnLag, TopicOptions},
    conn::{Batch, Commons},
    wire::OpCode,
};

/// A topic of publications of so many bytes, of which a reader needs all and nothing else does.
fn lagging(
    topics: &mut Topics,
    name: &str,
    on_lag: OnLag,
    payloads: &[usize],
    commons: &mut Commons,
) -> u32 {
    let options = TopicOptions { on_lag, ..TopicOptions::default() };
    let topic = topics.topics.insert(name, Topic::new(7, options));
    let entry = &mut topics.topics[topic];
    for payload in payloads {
        entry.log.push((OpCode::Binary, &vec![0; *payload]), 1, None, false, usize::MAX, commons);
    }
    entry.log.add_reader(0);
    entry.reached = entry.log.head();
    topics.settle(topic, commons);
    topic
}

#[test]
fn the_line_of_topics_is_not_much_longer_than_topics_there_are() {
    let mut topics = Topics::new();
    let lives = [7, 8, 9].map(|epoch| {
        let name = epoch.to_string();
        (topics.topics.insert(&name, Topic::new(epoch, TopicOptions::default())), epoch)
    });
    topics.add_to_line(lives[0].0, 7);
    // Another life of this place is over.
    topics.add_to_line(lives[0].0, 6);
    topics.add_to_line(lives[1].0, 8);
    topics.add_to_line(lives[2].0, 9);
    for over in 0..67 {
        topics.add_to_line(100 + over, 1);
    }
    assert_eq!(topics.line.len(), 2 * 3 + 64 + 1, "few are over");
    topics.add_to_line(1000, 1);
    assert_eq!(topics.line, [lives[0], lives[1], lives[2], (1000, 1)]);
}

#[test]
fn what_readers_alone_need_gives_way_to_what_fits_then_to_the_byte() {
    // Bytes that are to fit beside 1000 that stay, in a process for 1500; whether they do, and whether what
    // is kept for readers gives way.
    let kept = Batch::BYTES + 6 + Batch::PUBLICATION_BYTES;
    let cases = [
        (500, true, true),
        (501, false, true),
        (1500, false, true),
        (1501, false, false),
        (501 - kept, true, true),
        (500 - kept, true, false),
    ];
    for (bytes, fits, gives_way) in cases {
        let mut commons = Commons::new(Config::default(), Arc::default());
        let mut topics = Topics::new();
        let topic = lagging(&mut topics, "ada", OnLag::Close, &[4], &mut commons);
        assert!(commons.queued_bytes == kept && topics.line == [(topic, 7)]);

        commons.config.send_queues_bytes_max = 1500;
        commons.queued_bytes += 1000;
        assert_eq!(topics.make_room(bytes, &mut commons), fits, "{bytes}");
        let left = if gives_way { 1000 } else { 1000 + kept };
        assert_eq!((commons.queued_bytes, topics.line.is_empty()), (left, gives_way));
    }
}

/// So that a topic that keeps much is not spared by those before it in the line.
#[test]
fn a_batch_of_each_topic_in_turn_gives_way_and_each_is_a_step() {
    let one = Batch::BYTES + 70_010 + Batch::PUBLICATION_BYTES;
    // Of how much more than fits; the offsets from which on two topics keep the rest, and the line behind.
    let cases: [(usize, [u64; 2], &[usize], u64); 5] = [
        (0, [0, 0], &[0, 1], 0),
        (1, [1, 0], &[1, 0], 1),
        (one + 1, [1, 1], &[0, 1], 2),
        // The last batch stays, but for its newest publication.
        (2 * one + 1, [2, 1], &[1, 0], 3),
        (usize::MAX, [2, 1], &[], 5),
    ];
    for (excess, starts, line, steps) in cases {
        let (mut commons, mut topics) =
            (Commons::new(Config::default(), Arc::default()), Topics::new());
        commons.config.topic_lag_bytes_max = 1 << 20;
        let of = [("ada", &[70_000, 100, 100][..]), ("bob", &[70_000, 70_000])].map(
            |(name, payloads)| lagging(&mut topics, name, OnLag::Skip, payloads, &mut commons),
        );
        let keep_bytes = commons.queued_bytes.saturating_sub(excess);
        topics.trim_line(keep_bytes, &mut commons);
        assert_eq!(of.map(|topic| topics.topics[topic].log.start()), starts, "{excess}");
        let left: Vec<u32> = topics.line.iter().map(|(topic, _)| *topic).collect();
        assert_eq!(left, line.iter().map(|nth| of[*nth]).collect::<Vec<_>>(), "{excess}");
        assert_eq!(topics.steps, steps, "{excess}");
    }
}

#[test]
fn a_pass_does_not_come_to_one_that_subscribes_meanwhile() {
    let (mut commons, mut topics) =
        (Commons::new(Config::default(), Arc::default()), Topics::new());
    topics.subscribe("ada", 0, TopicOptions::default());
    let topic = topics.find("ada").unwrap();
    topics.topics[topic].log.push(
        (OpCode::Text, b"text"),
        1,
        None,
        false,
        usize::MAX,
        &mut commons,
    );
    topics.handle_published(topic);
    assert_eq!(topics.next_unserved(topic, &mut 1), Next::Connection(0));
    topics.subscribe("ada", 1, TopicOptions::default());
    assert_eq!(topics.next_unserved(topic, &mut 1), Next::Connection(0), "at the first step");
}

#[test]
fn a_pass_takes_no_more_steps_than_it_may_and_counts_them() {
    let (mut commons, mut topics) =
        (Commons::new(Config::default(), Arc::default()), Topics::new());
    for connection in 0..3 {
        topics.subscribe("ada", connection, TopicOptions::default());
    }
    let topic = topics.find("ada").unwrap();
    topics.topics[topic].log.push(
        (OpCode::Text, b"text"),
        1,
        None,
        false,
        usize::MAX,
        &mut commons,
    );
    topics.handle_published(topic);
    // The second has taken all in an earlier phase.
    let second = topics.topics[topic].subscribers[1].connection;
    topics.topics[topic].subscribers[1].cursor = 1;
    let mut steps = 4;
    let mut next = |topics: &mut Topics| topics.next_unserved(topic, &mut steps);
    let Next::Connection(first) = next(&mut topics) else { panic!("none has taken it") };
    topics.topics[topic].subscribers[0].cursor = 1;
    let Next::Connection(third) = next(&mut topics) else { panic!("the last has not taken it") };
    assert!(first != second && second != third && third != first);
    assert_eq!(next(&mut topics), Next::Later, "one more step is needed to see it");
    assert_eq!((steps, topics.steps), (0, 4));
}

#[test]
fn a_topic_of_which_nothing_is_kept_for_readers_is_not_in_the_line() {
    let mut commons = Commons::new(Config::default(), Arc::default());
    let mut topics = Topics::new();
    let topic = topics.topics.insert("ada", Topic::new(7, TopicOptions::default()));
    topics.topics[topic].log.push(
        (OpCode::Text, b"text"),
        1,
        None,
        false,
        usize::MAX,
        &mut commons,
    );
    topics.topics[topic].reached = 1;
    topics.settle(topic, &mut commons);
    assert!(topics.line.is_empty() && commons.queued_bytes == 0);
}
