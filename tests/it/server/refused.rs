//! The application hears of requests that the server itself refuses, and when less waits for a connection.

use std::time::Duration;

use pushloop::{Config, Event, Events, Hosts, Origins};

use crate::support::net::{Sim, Told};
use crate::support::{get, handshake, quiet};

/// What the application is told of a server's own refusals, in one turn after another.
fn refusals(sim: &mut Sim, turns: usize, timeout: Duration) -> Vec<(u16, String)> {
    let mut events = Events::default();
    let mut refused = Vec::new();
    for _ in 0..turns {
        sim.server.poll(&mut events, Some(timeout)).expect("the poll works");
        for event in &events {
            match event {
                Event::Refused { peer: None, status, why } => {
                    refused.push((status, why.to_owned()))
                }
                other => panic!("the application was told of {other:?}"),
            }
        }
    }
    refused
}

#[test]
fn the_application_is_told_of_each_refusal_once() {
    let no_pages = |limits: &mut Config| {
        (limits.origins, limits.hosts) = (Origins::List(vec![]), Hosts::List(vec![]));
        (limits.body_bytes_max, limits.incomplete_bytes_max) = (10, 100_000);
    };
    for (request, status, why) in [
        ("GET /\r\n\r\n".into(), 400, "well-formed"),
        (get("/").replace("localhost", "evil.example"), 421, "Host"),
        (handshake("/", "Origin: http://evil.example\r\n"), 403, "Origin"),
        (get("/").replace("\r\n\r\n", "\r\nContent-Length: 11\r\n\r\n"), 413, "body_bytes_max"),
    ] {
        let mut sim = Sim::new(quiet(no_pages));
        let wire = sim.server.net().connects();
        wire.sends_bytes(&request);
        let refused = refusals(&mut sim, 10, Duration::ZERO);
        let [(told, sentence)] = &refused[..] else { panic!("{request}: {refused:?}") };
        assert!(*told == status && sentence.contains(why), "{request}: {refused:?}");
        let answer = String::from_utf8(wire.reads_bytes()).expect("text");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.trim_end().ends_with(sentence.as_str()), "{answer}");
    }
}

#[test]
fn a_request_that_does_not_come_whole_in_time_is_told_of() {
    let mut sim = Sim::new(quiet(|_| {}));
    let wire = sim.server.net().connects();
    wire.sends_bytes("GET / HT");
    let idle = sim.server.net().connects();
    let refused = refusals(&mut sim, 10, Duration::from_secs(2));
    assert_eq!(refused, [(408, "the request did not come whole in time".to_owned())]);
    // Of a connection that asked for nothing, nothing is told.
    assert!(idle.reads_bytes().is_empty() && idle.is_dropped());
}

/// One message in flight after the other, and never the queue's limit.
#[test]
fn less_waits_than_was_asked_to_be_told_of() {
    let mut sim = Sim::new(quiet(|limits| limits.send_queue_bytes_max = 1 << 20));
    let (id, wire) = sim.opens();
    wire.holds(1000);
    for _ in 0..10 {
        sim.hub().send(id, [0; 1000]).unwrap();
    }
    sim.hub().notify_below(id, 5000);
    sim.rests();
    for left in (1..10).rev() {
        assert_eq!(sim.hub().queued_bytes(id) / 1000, left);
        let expected = if left == 4 { vec![Told::Writable(id)] } else { vec![] };
        assert_eq!(sim.takes(), expected, "{left} wait");
        wire.reads_bytes();
        sim.rests();
    }
    wire.reads_bytes();
    sim.rests();
    assert_eq!(sim.takes(), [Told::Writable(id)], "the kernel had refused some");
    // Nothing waits, and it is told at once.
    sim.hub().notify_below(id, 0);
    sim.rests();
    assert_eq!(sim.takes(), [Told::Writable(id)]);
}

/// A queue that leaves whole, in the turn in which it was made, is told of as well, and once.
#[test]
fn less_waits_also_where_the_kernel_never_refuses() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, _wire) = sim.opens();
    sim.hub().send(id, "x").unwrap();
    sim.hub().notify_below(id, 1);
    sim.rests();
    assert_eq!(sim.takes(), [Told::Writable(id)]);
    sim.hub().send(id, "y").unwrap();
    sim.rests();
    assert_eq!(sim.takes(), []);
}

#[test]
fn a_connection_that_ends_is_not_watched_any_more() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = sim.opens();
    wire.holds(0);
    sim.hub().send(id, "x").unwrap();
    sim.hub().notify_below(id, 1);
    wire.resets();
    sim.rests();
    assert_eq!(sim.takes(), [Told::Closed(id, 1006)]);
    sim.hub().notify_below(id, 1);
    sim.rests();
    assert_eq!(sim.takes(), []);
}
