//! A connection is closed at a moment that the application sets, or dropped at once.

use std::time::Duration;

use pushloop::{CloseCode, ConnId, RespondError, Response};

use crate::support::net::{Sim, Told, Wire};
use crate::support::{close, get, quiet, text};

const SECOND: Duration = Duration::from_secs(1);

fn expired() -> CloseCode {
    CloseCode::new(4001).expect("a code of the application's")
}

#[test]
fn a_connection_is_closed_at_its_moment_and_not_before() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = sim.opens();
    let at = sim.hub().now() + 10 * SECOND;
    sim.hub().close_at(id, at, expired(), "the token expired");
    sim.turn_within(Some(9 * SECOND));
    sim.rests();
    assert!(wire.reads().is_empty() && sim.hub().is_open(id));
    sim.turn_within(None);
    assert!(sim.hub().now() >= at);
    sim.rests();
    assert_eq!(wire.reads(), [close(4001, "the token expired")]);
    wire.sends(close(4001, ""));
    sim.rests();
    assert_eq!(sim.takes(), [Told::Closed(id, 4001)]);
}

#[test]
fn the_last_moment_that_was_set_counts_and_it_can_be_taken_back() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = sim.opens();
    let now = sim.hub().now();
    for seconds in [1, 5, 3] {
        sim.hub().close_at(id, now + seconds * SECOND, expired(), "");
    }
    sim.turn_within(Some(2 * SECOND));
    sim.rests();
    assert!(sim.hub().is_open(id));
    assert!(sim.hub().cancel_close_at(id) && !sim.hub().cancel_close_at(id));
    sim.turn_within(Some(60 * SECOND));
    sim.rests();
    assert!(wire.reads().is_empty() && sim.hub().is_open(id));
}

/// What is set for a connection that ends before is freed with it: a wait has no end then.
#[test]
fn a_moment_goes_with_its_connection() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = sim.opens();
    let start = sim.hub().now();
    sim.hub().close_at(id, start + SECOND, expired(), "");
    wire.resets();
    sim.rests();
    assert_eq!(sim.takes(), [Told::Closed(id, 1006)]);
    assert!(!sim.hub().cancel_close_at(id));
    sim.hub().close_at(id, start + SECOND, expired(), "");
    let slept = sim.server.net().slept();
    sim.turn_within(Some(60 * SECOND));
    assert_eq!(sim.server.net().slept() - slept, 60 * SECOND);
}

#[test]
fn no_more_are_closed_in_a_turn_than_expiries_per_turn() {
    let mut sim = Sim::new(quiet(|limits| limits.expiries_per_turn = 3));
    let ids: Vec<ConnId> = (0..10).map(|_| sim.opens().0).collect();
    let at = sim.hub().now() + SECOND;
    for id in &ids {
        sim.hub().close_at(*id, at, expired(), "");
    }
    sim.hub().set_timer(at, 1);
    let mut open = Vec::new();
    sim.turn_within(None);
    // What the application set for itself does not wait behind them.
    assert_eq!(sim.takes(), [Told::Timer(1)]);
    for _ in 0..5 {
        open.push(ids.iter().filter(|id| sim.hub().is_open(**id)).count());
        sim.turn();
    }
    assert_eq!(open, [7, 4, 1, 0, 0]);
}

#[test]
fn a_request_that_waits_at_its_connections_moment_is_refused() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (request, wire) = sim.asks(&get("/"));
    let now = sim.hub().now();
    sim.hub().close_at(request.conn(), now, expired(), "");
    sim.rests();
    assert_eq!(sim.takes(), [Told::RequestGone(request)]);
    assert!(wire.reads_bytes().starts_with(b"HTTP/1.1 503 "));
}

fn opens_two(sim: &mut Sim) -> [(ConnId, Wire); 2] {
    [(); 2].map(|()| sim.opens())
}

#[test]
fn a_dropped_connection_gets_nothing_more_and_is_told_once() {
    let mut sim = Sim::new(quiet(|_| {}));
    let [(id, wire), (other, others)] = opens_two(&mut sim);
    for id in [id, other] {
        sim.hub().subscribe(id, "t").unwrap();
    }
    sim.hub().send(id, "never sent").unwrap();
    sim.hub().abort(id);
    sim.hub().abort(id);
    assert!(!sim.hub().is_open(id) && sim.hub().send(id, "").is_err());
    assert_eq!((sim.hub().subscriber_count("t"), sim.hub().connection_count()), (1, 1));
    sim.hub().publish("t", "x").unwrap();
    sim.turn();
    assert!(wire.is_dropped());
    assert_eq!((wire.reads_bytes(), others.reads()), (vec![], vec![text("x")]));
    sim.rests();
    assert_eq!(sim.takes(), [Told::Closed(id, 1006)]);
}

#[test]
fn a_request_of_a_dropped_connection_is_gone() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (request, wire) = sim.asks(&get("/"));
    sim.hub().abort(request.conn());
    assert_eq!(sim.hub().respond(request, Response::new(200)), Err(RespondError::Gone));
    sim.rests();
    assert_eq!((sim.takes(), wire.is_dropped()), (vec![Told::RequestGone(request)], true));
}
