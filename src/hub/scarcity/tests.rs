//! What is given up with a connection.

use std::time::Instant;

use super::super::{tests_hub, tests_open};
use crate::{conn::Unread, event::Events};

// The clock starts somewhere; it is read once.
#[allow(clippy::disallowed_methods)]
#[test]
fn input_that_was_set_aside_is_given_up_with_its_connection() {
    let mut hub = tests_hub(Instant::now());
    hub.commons.config.incomplete_bytes_max = 1000;
    let [large, small] = [600, 500].map(|bytes| {
        let id = tests_open(&mut hub);
        let flags = &mut hub.slots[id.index as usize].connection.flags;
        (flags.replaying, flags.unread) = (true, Unread::Something);
        hub.replays.push_back((id, vec![0; bytes]));
        id
    });
    tests_open(&mut hub);
    hub.shed_incomplete(&mut Events::default());
    assert_eq!(hub.topics.steps, 5, "it goes along three connections and two inputs");
    assert_eq!(hub.replays, [(small, vec![0; 500])]);
    assert_eq!(hub.commons.incomplete_bytes, 500);
    let flags = |id: crate::event::ConnId| &hub.slots[id.index as usize].connection.flags;
    assert!(!flags(large).replaying && flags(small).replaying);
    assert_eq!(hub.ending, [large]);
}
