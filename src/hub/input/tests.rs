//! What a turn may do.

use std::time::Instant;

use super::super::tests_hub;
use crate::event::Events;

/// So that those that come first do not keep others waiting.
// The clock starts somewhere; it is read once.
#[allow(clippy::disallowed_methods)]
#[test]
fn next_requests_have_half_of_those_that_a_turn_may_take() {
    for (may, left, requests) in [(5, 2, 7), (4, 2, 8), (1, 0, 9), (0, 0, 10), (100, 90, 0)] {
        let mut hub = tests_hub(Instant::now());
        for _ in 0..10 {
            let id = hub.handle_accepted(None, false).unwrap();
            hub.resumed.push_back(id);
        }
        hub.requests_left = may;
        hub.handle_set_aside(&mut Events::default());
        assert_eq!((hub.requests_left, hub.resumed.len()), (left, requests), "of {may}");
    }
}
