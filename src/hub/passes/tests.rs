//! Passes, and the line of topics that keep something for readers alone.

use std::sync::Arc;

use super::{
    super::topics::{Topic, Topics},
    Next,
};
use crate::{
    config::{Config, TopicOptions},
    conn::Commons,
    wire::OpCode,
};

#[test]
fn the_line_of_topics_is_not_much_longer_than_topics_there_are() {
    let mut topics = Topics::new();
    let lives = [7, 9].map(|epoch| {
        let name = epoch.to_string();
        (topics.topics.insert(&name, Topic::new(epoch, TopicOptions::default())), epoch)
    });
    topics.add_to_line(lives[0].0, 7);
    // Another life of this place is over.
    topics.add_to_line(lives[0].0, 6);
    topics.add_to_line(lives[1].0, 9);
    for over in 0..66 {
        topics.add_to_line(100 + over, 1);
    }
    assert_eq!(topics.line.len(), 2 * 2 + 64 + 1, "few are over");
    topics.add_to_line(1000, 1);
    assert_eq!(topics.line, [lives[0], lives[1], (1000, 1)]);
}

#[test]
fn what_readers_alone_need_gives_way_to_what_fits_then_to_the_byte() {
    // Bytes that are to fit beside 1000 that stay, in a process for 1500; whether they do, and whether what
    // is kept for readers gives way.
    let cases = [
        (500, true, true),
        (501, false, true),
        (1500, false, true),
        (1501, false, false),
        (100, true, false),
    ];
    for (bytes, fits, gives_way) in cases {
        let mut commons = Commons::new(Config::default(), Arc::default());
        let mut topics = Topics::new();
        let topic = topics.topics.insert("ada", Topic::new(7, TopicOptions::default()));
        let log = &mut topics.topics[topic].log;
        log.push((OpCode::Text, b"text"), 1, None, false, &mut commons);
        log.add_reader(0);
        topics.topics[topic].reached = 1;
        topics.settle(topic, &mut commons);
        let kept = commons.queued_bytes;
        assert!((1..400).contains(&kept) && topics.line == [(topic, 7)]);

        commons.config.send_queues_bytes_max = 1500;
        commons.queued_bytes += 1000;
        assert_eq!(topics.make_room(bytes, &mut commons), fits, "{bytes}");
        let left = if gives_way { 1000 } else { 1000 + kept };
        assert_eq!((commons.queued_bytes, topics.line.is_empty()), (left, gives_way));
    }
}

#[test]
fn a_pass_takes_no_more_steps_than_it_may_and_counts_them() {
    let (mut commons, mut topics) =
        (Commons::new(Config::default(), Arc::default()), Topics::new());
    for connection in 0..3 {
        topics.handle_accepted(connection);
        topics.subscribe("ada", connection, TopicOptions::default());
    }
    let topic = topics.find("ada").unwrap();
    topics.topics[topic].log.push((OpCode::Text, b"text"), 1, None, false, &mut commons);
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
    topics.topics[topic].log.push((OpCode::Text, b"text"), 1, None, false, &mut commons);
    topics.topics[topic].reached = 1;
    topics.settle(topic, &mut commons);
    assert!(topics.line.is_empty() && commons.queued_bytes == 0);
}
