//! What a turn may do.

use std::time::Instant;

use super::super::{tests_hub, tests_open};
use crate::{conn::WorkFlags, event::Events, hub::Hub};

// The clock starts somewhere; it is read once.
#[allow(clippy::disallowed_methods)]
fn hub() -> Hub {
    tests_hub(Instant::now())
}

/// So that those that come first do not keep others waiting.
#[test]
fn next_requests_have_half_of_those_that_a_turn_may_take() {
    for (may, left, requests) in [(5, 2, 7), (4, 2, 8), (1, 0, 9), (0, 0, 10), (100, 90, 0)] {
        let mut hub = hub();
        for _ in 0..10 {
            let id = hub.handle_accepted(None, false).unwrap();
            hub.resumed.push_back(id);
        }
        hub.requests_left = may;
        hub.handle_set_aside(&mut Events::default());
        assert_eq!((hub.requests_left, hub.resumed.len()), (left, requests), "of {may}");
    }
}

/// What is not wanted stays in the kernel, also of one that waited for its turn when that came about.
#[test]
fn a_connection_is_read_if_it_wants_input_and_has_none_set_aside() {
    for (replaying, ends, is_read) in
        [(false, false, true), (true, false, false), (false, true, false)]
    {
        let (mut hub, mut events) = (hub(), Events::default());
        let id = tests_open(&mut hub);
        hub.readable.push(id, false);
        if replaying {
            hub.slots[id.index as usize].connection.flags.set(WorkFlags::REPLAYING);
        }
        if ends {
            hub.abort(id);
        }
        hub.begin_turn(&mut events);
        hub.begin_reading(&events);
        let (next, _) = hub.next_readable(events.room()).unwrap();
        assert_eq!(hub.begin_read(next), is_read, "{replaying} {ends}");
    }
}

#[test]
fn less_waits_than_was_asked_about_to_the_byte_or_the_connection_is_gone() {
    let mut hub = hub();
    let id = tests_open(&mut hub);
    hub.send(id, "text").unwrap();
    let waits = hub.queued_bytes(id);
    for (bytes, told) in [(waits, 0), (waits + 1, 1), (waits, 1)] {
        hub.notify_below(id, bytes);
        assert_eq!(hub.told_next.len(), told, "{waits} wait, {bytes} are asked about");
    }
    hub.handle_lost(id, &mut Events::default());
    assert!(!hub.watches.any());
}

#[test]
fn what_was_read_before_is_input() {
    for read in [&b""[..], b"G"] {
        let mut hub = hub();
        let id = hub.handle_accepted(None, false).unwrap();
        let connection = &mut hub.slots[id.index as usize].connection;
        assert_eq!(connection.take_over(read.to_vec(), &mut hub.commons), !read.is_empty());
    }
}
