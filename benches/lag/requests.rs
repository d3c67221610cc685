//! Requests behind one another on a connection.

use std::time::Duration;

use pushloop::{Event, Hub, RequestId, Response};

use crate::Scale;
use crate::net::Says;
use crate::report::{at_most, exactly};
use crate::world::{World, config};

pub const GET: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The application answers every request.
pub fn answers(hub: &mut Hub, event: Event<'_>) {
    if let Event::Request { id, .. } = event {
        // The peer may be gone by now.
        let _ = hub.respond(id, Response::text(200, "the loop turns"));
    }
}

/// D5: a second answer to a request, while the next one of its connection waits.
pub fn second_answer(_: Scale) {
    let mut world = World::new(config());
    world.net().connects(Says::once(GET.repeat(2).into_bytes()));
    let (mut first, mut second): (Option<RequestId>, _) = (None, None);
    for _ in 0..10 {
        world.turn(|hub, event| {
            if let Event::Request { id, .. } = event {
                let is_second = first.is_some();
                let of = *first.get_or_insert(id);
                let answer = hub.respond(of, Response::text(200, "for the first"));
                second = is_second.then_some(answer);
            }
        });
    }
    let is_error = second.expect("the second request came").is_err();
    let got = if is_error { "an error" } else { "Ok" };
    exactly("D5", "a second answer to a request, while the next one waits", got, "an error");
}

/// A9: a server ends, and its peers have a further request behind each that is answered.
pub fn pipelines_in_a_drain(scale: Scale) {
    let (peers, seconds) = (10, scale.of(1, 20));
    let deadline = Duration::from_secs(seconds);
    let mut world = World::new(config());
    for _ in 0..peers {
        world.net().connects(Says::forever(GET.as_bytes()));
    }
    for _ in 0..scale.of(10, 100) {
        world.turn(answers);
    }
    world.act(|hub| hub.shutdown(deadline));
    let mut took = Duration::ZERO;
    while !world.hub().is_finished() {
        world.net().ahead += Duration::from_millis(1);
        took += Duration::from_millis(1) + world.turn(answers);
        assert!(took < 2 * deadline, "the server does not end");
    }
    let what = format!(
        "a shutdown with {seconds} s for it, beside {peers} pipelines of requests without end"
    );
    at_most("A9", what, took.as_secs_f64(), 3.0, "s");
}
