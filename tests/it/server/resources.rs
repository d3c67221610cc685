//! What the system and the limits have no room for: connections are refused, and the server goes
//! on.

use std::io::ErrorKind;
use std::time::Duration;

use pushloop::{ConnId, Ready, RequestId, Response};

use crate::support::net::{Sim, Told, Wire};
use crate::support::{binary, close, get, handshake, quiet, text};

fn connects(sim: &mut Sim, count: usize) -> Vec<Wire> {
    let connect = |_| {
        let wire = sim.server.net().connects();
        wire.sends_bytes(handshake("/", ""));
        wire
    };
    (0..count).map(connect).collect()
}

#[track_caller]
fn opened(sim: &mut Sim) -> usize {
    let told = sim.takes();
    assert!(told.iter().all(|told| matches!(told, Told::Opened(_))), "{told:?}");
    told.len()
}

#[test]
fn one_turn_accepts_no_more_than_its_budget_and_the_next_goes_on() {
    let mut sim = Sim::new(quiet(|config| config.accepts_per_turn = 64));
    let _wires = connects(&mut sim, 150);
    let mut accepted = Vec::new();
    for _ in 0..4 {
        // No edge tells of those that are left, and the loop does not sleep over them.
        sim.turn_within(Some(Duration::from_secs(1)));
        accepted.push(sim.hub().counters().connections_accepted);
    }
    assert_eq!(accepted, [64, 128, 150, 150]);
    assert_eq!(sim.server.net().slept(), Duration::ZERO);
    sim.rests();
    assert_eq!(opened(&mut sim), 150);
}

#[test]
fn a_connection_over_the_limit_is_dropped_and_one_that_leaves_makes_room() {
    let mut sim = Sim::new(quiet(|config| config.connections_max = 3));
    let wires = connects(&mut sim, 5);
    sim.rests();
    assert_eq!(opened(&mut sim), 3);
    assert!(wires[3].is_dropped() && wires[4].is_dropped());
    assert_eq!(sim.hub().counters().connections_refused, 2);
    wires[0].resets();
    sim.rests();
    sim.takes();
    let _wire = connects(&mut sim, 2);
    sim.rests();
    assert_eq!((opened(&mut sim), sim.hub().connection_count()), (1, 3));
    assert_eq!(sim.hub().counters().connections_refused, 3);
}

#[test]
fn without_a_descriptor_connections_are_dropped_and_counted() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = sim.opens();
    sim.server.net().faults.exhausted = 100;
    let wires = connects(&mut sim, 200);
    sim.rests();
    assert!(wires.iter().all(Wire::is_dropped), "some hang");
    assert_eq!(sim.hub().counters().connections_refused, 200);
    // Those who are here notice nothing.
    wire.sends(text("x"));
    sim.rests();
    assert_eq!(sim.takes(), [Told::Message(id, b"x".into())]);
    sim.server.net().faults.exhausted = 0;
    sim.opens();
}

#[test]
fn without_a_reserve_either_accepting_goes_on_as_soon_as_there_is_room() {
    let mut sim = Sim::new(quiet(|_| {}));
    let net = sim.server.net();
    (net.faults.exhausted, net.faults.no_reserve) = (100, 100);
    let wires = connects(&mut sim, 3);
    let before = sim.server.net().calls.waits;
    let slept = sim.server.net().slept();
    while sim.server.net().slept() - slept < Duration::from_secs(2) {
        sim.turn_within(None);
    }
    // It looks again ten times a second, and does not spin.
    let waits = sim.server.net().calls.waits - before;
    assert!((15..=25).contains(&waits), "{waits} waits in 2 s");
    let failed = sim.hub().counters().accepts_failed;
    assert!((15..=25).contains(&failed), "{failed} accepts failed");
    assert_eq!(sim.hub().connection_count(), 0);
    // No further connection comes that would tell of the room.
    sim.server.net().faults.exhausted = 0;
    let slept = sim.server.net().slept();
    sim.turn_within(None);
    sim.rests();
    assert!(sim.server.net().slept() - slept <= Duration::from_millis(101));
    assert_eq!((opened(&mut sim), sim.hub().counters().connections_refused), (3, 0));
    drop(wires);
}

#[test]
fn a_failed_accept_is_one_connections_and_not_the_servers() {
    let mut sim = Sim::new(quiet(|_| {}));
    let errors = [
        ErrorKind::ConnectionAborted,
        ErrorKind::PermissionDenied,
        ErrorKind::HostUnreachable,
        ErrorKind::Interrupted,
    ];
    sim.server.net().accept_errors.extend(errors);
    let wires = connects(&mut sim, 7);
    sim.rests();
    assert_eq!(opened(&mut sim), 3);
    let counters = sim.hub().counters();
    assert_eq!((counters.connections_accepted, counters.accepts_failed), (3, 4));
    drop(wires);
}

#[test]
fn a_connection_that_cannot_be_registered_is_dropped() {
    let mut sim = Sim::new(quiet(|_| {}));
    sim.server.net().faults.unregistrable = 100;
    let wires = connects(&mut sim, 3);
    sim.rests();
    assert!(wires.iter().all(Wire::is_dropped));
    let counters = sim.hub().counters();
    assert_eq!((counters.connections_refused, counters.connections_open), (3, 0));
    assert_eq!(counters.connections_accepted, 0);
    assert_eq!(sim.hub().connection_count(), 0);
    sim.server.net().faults.unregistrable = 0;
    sim.opens();
}

/// A connection that waits for its next request.
fn waits_for_a_request(sim: &mut Sim) -> (ConnId, Wire) {
    let (id, wire) = sim.asks(&get("/"));
    sim.hub().respond(id, Response::text(200, "")).unwrap();
    sim.rests();
    assert!(wire.reads_bytes().starts_with(b"HTTP/1.1 200 "));
    sim.accepts = true;
    (id.conn(), wire)
}

#[test]
fn a_connection_over_the_limit_takes_the_place_of_one_that_waits_for_a_request() {
    let mut sim = Sim::new(quiet(|config| config.connections_max = 2));
    let (_, idle) = waits_for_a_request(&mut sim);
    sim.opens();
    let (_, new) = sim.opens();
    assert!(idle.is_dropped() && !new.is_dropped());
    let counters = sim.hub().counters();
    assert_eq!((counters.closed_for_descriptor, counters.connections_refused), (1, 0));
    let further = sim.server.net().connects();
    sim.rests();
    assert!(further.is_dropped());
    assert_eq!(sim.hub().counters().connections_refused, 1);
}

fn with_reserve(most: usize, reserved: usize) -> Sim {
    Sim::new(quiet(|config| {
        (config.connections_max, config.connections_reserved) = (most, reserved);
    }))
}

/// So that a health check is answered by a server that is full.
#[test]
fn connections_of_the_reserve_are_told_from_others_and_make_room_for_each_other() {
    let mut sim = with_reserve(2, 2);
    let [(first, _), (second, _)] = [(); 2].map(|()| sim.opens());
    let (third, asks) = sim.asks(&get("/"));
    let (fourth, waits) = sim.asks(&get("/"));
    let reserve = |sim: &mut Sim| {
        [first, second, third.conn(), fourth.conn()].map(|id| sim.hub().is_in_reserve(id))
    };
    assert_eq!(reserve(&mut sim), [false, false, true, true]);
    assert!(!asks.is_dropped());
    // One more than there may be.
    let silent = sim.server.net().connects();
    sim.turn();
    // Its descriptor is free at once, and not when a next turn begins.
    assert!(asks.is_dropped() && !waits.is_dropped() && !silent.is_dropped());
    assert_eq!(sim.takes(), [Told::RequestGone(third)]);
    let counters = sim.hub().counters();
    assert_eq!((counters.closed_for_descriptor, counters.connections_refused), (1, 0));
    // Of four, one leaves, and then another: no more are here than may be.
    for is_in_reserve in [true, false] {
        let leaves = if is_in_reserve { first } else { second };
        sim.hub().abort(leaves);
        sim.rests();
        sim.takes();
        assert_eq!(reserve(&mut sim), [false, false, false, is_in_reserve]);
    }
}

/// What came into the reserve first gets a place that is free, and not a place of the reserve.
#[test]
fn the_reserve_is_kept_for_those_that_come() {
    let mut sim = with_reserve(2, 2);
    let [(leaves, _), _] = [(); 2].map(|()| sim.opens());
    let (first, _wire) = sim.asks(&get("/"));
    let is_in_reserve = |sim: &mut Sim, id: RequestId| sim.hub().is_in_reserve(id.conn());
    // Health checks come and go beside one that waits.
    for _ in 0..3 {
        let (id, wire) = sim.asks(&get("/"));
        assert!(is_in_reserve(&mut sim, id) && is_in_reserve(&mut sim, first));
        sim.hub().respond(id, Response::text(200, "").close()).unwrap();
        sim.rests();
        wire.resets();
        sim.rests();
    }
    let (second, _wire) = sim.asks(&get("/"));
    sim.hub().abort(leaves);
    sim.rests();
    sim.takes();
    let (third, _wire) = sim.asks(&get("/"));
    let reserve = [first, second, third].map(|id| is_in_reserve(&mut sim, id));
    assert_eq!(reserve, [false, true, true]);
}

#[test]
fn a_websocket_that_came_into_the_reserve_is_not_dropped_for_another() {
    let mut sim = with_reserve(1, 1);
    let (first, _) = sim.opens();
    let (second, wire) = sim.opens();
    // Accepted for a place that is free again, which a third one takes.
    sim.hub().abort(first);
    sim.rests();
    let (_, third) = sim.opens();
    let (_, fourth) = (sim.server.net().connects(), sim.server.net().connects());
    sim.rests();
    assert!(sim.hub().is_open(second) && !wire.is_dropped() && !third.is_dropped());
    assert!(fourth.is_dropped());
}

/// Each has time to be read and answered before it makes room.
#[test]
fn a_crowd_in_front_of_a_full_server_is_answered_one_after_the_other() {
    let mut sim = with_reserve(1, 8);
    sim.opens();
    sim.accepts = false;
    let asks = |sim: &mut Sim| {
        let wire = sim.server.net().connects();
        wire.sends_bytes(get("/"));
        wire
    };
    let wires: Vec<_> = (0..60).map(|_| asks(&mut sim)).collect();
    for _ in 0..60 {
        sim.turn_with(Some(Duration::ZERO), |hub, told| {
            let Told::Request(id) = told else { return };
            assert!(hub.is_in_reserve(id.conn()));
            hub.respond(*id, Response::text(503, "full").close()).unwrap();
        });
    }
    let answered = wires.iter().filter(|wire| wire.reads_bytes().starts_with(b"HTTP/1.1 503 "));
    assert_eq!(answered.count(), 60);
}

/// Readiness may be told for nothing, and has to be forgotten when it was looked at.
#[test]
fn a_connection_of_which_nothing_could_be_read_can_be_spared() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = waits_for_a_request(&mut sim);
    let stray = Ready::Connection { id, readable: true, writable: false, read_closed: false };
    sim.server.net().strays.push(stray);
    sim.rests();
    sim.server.net().faults.exhausted = 100;
    let _wires = connects(&mut sim, 1);
    sim.rests();
    assert!(wire.is_dropped());
    assert_eq!(sim.hub().counters().closed_for_descriptor, 1);
}

/// Nothing tells of it that anybody hears, and the loop may not sleep over it.
#[test]
fn a_connection_whose_answer_could_not_be_written_is_freed_at_once() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = sim.asks(&get("/"));
    // No readiness is left to tell.
    wire.resets();
    sim.rests();
    assert_eq!(sim.takes(), [Told::RequestGone(id)]);
    sim.hub().respond(id, Response::text(200, "")).unwrap();
    sim.rests();
    assert!(wire.is_dropped());
    assert_eq!(sim.takes(), []);
}

/// What came this moment counts, as well as what has been there for longer.
#[test]
fn who_has_begun_much_goes_before_who_has_held_little_for_a_moment() {
    let mut sim = Sim::new(quiet(|config| config.incomplete_bytes_max = 2000));
    let ((_, old), (_, young)) = (sim.opens(), sim.opens());
    old.sends_bytes(&binary([1; 1000]).masked([1; 4])[..108]);
    sim.turn();
    sim.turn_within(Some(Duration::from_millis(200)));
    young.sends_bytes(&binary([1; 4000]).masked([1; 4])[..3008]);
    sim.rests();
    assert_eq!(young.reads(), [close(1013, "the server is at incomplete_bytes_max")]);
    assert_eq!(old.reads(), []);
}

/// A request is kept until the application has answered it.
#[test]
fn requests_that_the_application_does_not_answer_are_bounded_together() {
    for method in ["POST", "HEAD"] {
        let mut sim = Sim::new(quiet(|config| config.incomplete_bytes_max = 10_000));
        sim.accepts = false;
        let wires = [(); 10].map(|()| {
            let wire = sim.server.net().connects();
            let head = " / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1900\r\n\r\n";
            wire.sends_bytes([method, head, &"x".repeat(1900)].concat());
            wire
        });
        sim.rests();
        let mut answers = wires.each_ref().map(Wire::reads_bytes).to_vec();
        answers.retain(|answer| !answer.is_empty());
        assert_eq!(answers.len(), 6);
        for answer in answers {
            assert!(answer.starts_with(b"HTTP/1.1 503 "), "{}", answer.escape_ascii());
            assert_eq!(answer.ends_with(b"\r\n\r\n"), method == "HEAD");
        }
        assert_eq!(sim.hub().counters().closed_incomplete, 6);
    }
}

/// All that has come of a request is held, and not only what has come behind its head.
#[test]
fn heads_that_do_not_end_are_bounded_together() {
    let mut sim = Sim::new(quiet(|config| config.incomplete_bytes_max = 10_000));
    let wires = [(); 10].map(|()| {
        let wire = sim.server.net().connects();
        wire.sends_bytes(format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(1981)));
        wire
    });
    sim.rests();
    let refused = |wire: &&Wire| wire.reads_bytes().starts_with(b"HTTP/1.1 503 ");
    // They came in one turn; four fifths of the limit are left after it.
    assert_eq!(wires.iter().filter(refused).count(), 6);
    assert_eq!(sim.hub().counters().closed_incomplete, 6);
}
