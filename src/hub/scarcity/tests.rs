//! What is given up with a connection, and how many come when there is no room.

use std::time::Instant;

use super::super::{Hub, tests_hub, tests_open};
use crate::{
    conn::{Unread, WorkFlags},
    event::Events,
};

// The clock starts somewhere; it is read once.
#[allow(clippy::disallowed_methods)]
fn hub() -> Hub {
    tests_hub(Instant::now())
}

#[test]
fn input_that_was_set_aside_is_given_up_with_its_connection() {
    let mut hub = hub();
    hub.commons.config.incomplete_bytes_max = 1000;
    let [large, small] = [600, 500].map(|bytes| {
        let id = tests_open(&mut hub);
        let flags = &mut hub.slots[id.index as usize].connection.flags;
        flags.set(WorkFlags::REPLAYING);
        flags.unread = Unread::Something;
        hub.replays.push_back((id, vec![0; bytes]));
        id
    });
    tests_open(&mut hub);
    hub.shed_incomplete(&mut Events::default());
    assert_eq!(hub.topics.steps, 5, "it goes along three connections and two inputs");
    hub.shed_windows(1, &mut Events::default());
    assert_eq!(hub.topics.steps, 8, "no window is kept, and the connections are gone along for it");
    assert_eq!(hub.replays, [(small, vec![0; 500])]);
    assert_eq!(hub.commons.incomplete_bytes, 500);
    let replaying = |id: crate::event::ConnId| {
        hub.slots[id.index as usize].connection.flags.has(WorkFlags::REPLAYING)
    };
    assert!(!replaying(large) && replaying(small));
    assert_eq!(hub.ending, [large]);
}

/// So that there are turns for the request of each before others take its place.
#[test]
fn a_quarter_of_the_reserve_is_accepted_in_a_turn_when_no_other_place_is_free() {
    // Connections of one that may be open, the reserve beyond, and how many are accepted, of ten at most.
    let cases = [(0, 0, 10), (1, 0, 10), (0, 8, 10), (1, 8, 2), (1, 3, 1), (1, 80, 10)];
    for (open, reserved, accepts) in cases {
        let mut hub = hub();
        let config = &mut hub.commons.config;
        (config.connections_max, config.connections_reserved) = (1, reserved);
        config.accepts_per_turn = 10;
        for _ in 0..open {
            tests_open(&mut hub);
        }
        assert_eq!(hub.accepts_per_turn(), accepts, "{open} of 1, and {reserved} in reserve");
        assert_eq!(hub.make_room(&mut Events::default()), None, "a WebSocket keeps its place");
    }
}
