//! What room topics' options keep.

use super::*;

#[test]
fn options_that_are_taken_back_give_back_their_room() {
    let mut topics = Topics::new();
    let mut configure = |names: std::ops::Range<usize>, options: Option<TopicOptions>| {
        for name in names {
            topics.configure(&name.to_string(), options, TopicOptions::default(), 1000);
        }
        topics.options.capacity()
    };
    let room = configure(0..300, Some(TopicOptions::default()));
    // A place that was taken may not be free at once.
    assert!(configure(0..100, None) >= room - 100, "most of it is used");
    assert!(configure(100..300, None) <= 4 * 64, "none of it is");
}
