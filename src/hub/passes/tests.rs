//! The line of topics that keep something for readers alone.

use super::super::topics::{Topic, Topics};
use crate::config::TopicOptions;

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
