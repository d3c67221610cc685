//! How much of what is due is looked at in a turn.

use std::sync::Arc;

use super::*;
use crate::config::Config;

#[test]
fn what_is_due_is_looked_at_some_at_a_time_also_where_topics_are_over() {
    let mut topics = Topics::new();
    let mut commons = Commons::new(Config::default(), Arc::default());
    for place in 0..200 {
        topics.memory.due.push(Reverse((commons.now, (place, 7))));
    }
    for left in [200 - LOOKS, 200 - 2 * LOOKS, 200 - 3 * LOOKS, 0] {
        topics.forget_due(&mut commons);
        assert_eq!(topics.memory.due.len(), left);
    }
    assert_eq!(topics.steps, 200);
}
