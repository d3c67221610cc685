//! Timers and sources of the application's own, in the poll that the connections use.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use pushloop::mio::{Interest, net::UnixStream};
use pushloop::{Config, Event, Events, Server};

use crate::support::net::{Sim, Told};
use crate::support::{
    PATIENCE, Peer, burst, close, continuation, echo, handshake, ping, pong, quiet, text,
};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn timers_come_in_order_and_on_time() {
    let mut sim = Sim::new(quiet(|_| {}));
    let start = sim.hub().now();
    for (after, key) in [(30, 1), (10, 1), (20, 3), (10, 2), (20, u64::MAX), (0, 4)] {
        sim.hub().set_timer(start + millis(after), key);
    }
    let mut told = Vec::new();
    for _ in 0..4 {
        sim.turn_within(None);
        let at = sim.hub().now() - start;
        assert_eq!(at, sim.server.net().slept());
        told.extend(sim.takes().into_iter().map(|timer| (at, timer)));
    }
    let expected = [(0, 4), (10, 1), (10, 2), (20, 3), (20, u64::MAX), (30, 1)];
    assert_eq!(told, expected.map(|(at, key)| (millis(at), Told::Timer(key))));
    // Each came once.
    sim.turn_within(Some(millis(1000)));
    assert_eq!(sim.takes(), []);
}

#[test]
fn a_timer_is_taken_back_by_its_id() {
    let mut sim = Sim::new(quiet(|_| {}));
    let start = sim.hub().now();
    let [first, again, _, last] = [(10, 1), (20, 1), (15, 2), (30, 1)]
        .map(|(after, key)| sim.hub().set_timer(start + millis(after), key));
    sim.turn_within(None);
    assert_eq!(sim.takes(), [Told::Timer(1)]);
    let cancels = [first, again, last, again].map(|timer| sim.hub().cancel_timer(timer));
    assert_eq!(cancels, [false, true, true, false], "the first came, and none is taken back twice");
    sim.turn_within(None);
    assert_eq!((sim.takes(), sim.server.net().slept()), (vec![Told::Timer(2)], millis(15)));
    sim.turn_within(Some(millis(100)));
    assert_eq!((sim.takes(), sim.server.net().slept()), (vec![], millis(115)));
}

#[test]
fn two_timers_of_one_moment_and_key_are_two() {
    let mut sim = Sim::new(quiet(|_| {}));
    let at = sim.hub().now() + millis(10);
    let [first, second] = [(); 2].map(|()| sim.hub().set_timer(at, 1));
    assert!(first < second && sim.hub().cancel_timer(first));
    sim.turn_within(None);
    assert_eq!(sim.takes(), [Told::Timer(1)]);
}

#[test]
fn a_timer_in_the_past_comes_at_once_and_one_far_ahead_does_no_harm() {
    let mut sim = Sim::new(quiet(|_| {}));
    sim.turn_within(Some(millis(500)));
    let now = sim.hub().now();
    sim.hub().set_timer(now - millis(400), 1);
    sim.hub().set_timer(now + Duration::from_secs(1 << 32), 2);
    sim.turn_within(None);
    assert_eq!((sim.takes(), sim.server.net().slept()), (vec![Told::Timer(1)], millis(500)));
}

#[test]
fn a_wait_is_no_longer_than_it_was_asked_to_be() {
    let mut sim = Sim::new(quiet(|_| {}));
    let start = sim.hub().now();
    sim.hub().set_timer(start + millis(100), 1);
    sim.turn_within(Some(millis(99)));
    assert_eq!((sim.takes(), sim.server.net().slept()), (vec![], millis(99)));
    sim.turn_within(Some(millis(99)));
    assert_eq!((sim.takes(), sim.server.net().slept()), (vec![Told::Timer(1)], millis(100)));
}

#[test]
fn a_timer_may_be_set_again_when_it_comes() {
    let mut sim = Sim::new(quiet(|_| {}));
    let start = sim.hub().now();
    sim.hub().set_timer(start, 1);
    for _ in 0..10 {
        sim.turn_with(None, |hub, told| {
            assert_eq!(*told, Told::Timer(1));
            hub.set_timer(hub.now() + millis(7), 1);
        });
    }
    assert_eq!(sim.server.net().slept(), millis(9 * 7));
}

#[test]
fn sources_timers_and_connections_share_one_poll() {
    let mut server = Server::bind_with("127.0.0.1:0", Config::default()).unwrap();
    let pair = || {
        let (far, near) = StdUnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        (far, UnixStream::from_std(near))
    };
    let (mut far, mut near) = pair();
    let (other_far, mut other) = pair();
    // Keys are the application's; none is the waker's, a listener's or a connection's.
    server.register(&mut near, u32::MAX, Interest::READABLE).unwrap();
    server.register(&mut other, 0, Interest::READABLE | Interest::WRITABLE).unwrap();
    let mut events = Events::default();
    let mut seen = Vec::new();
    let mut until = |server: &mut Server, wanted: &str| {
        for _ in 0..1000 {
            if let Some(at) = seen.iter().position(|seen: &String| seen.starts_with(wanted)) {
                return seen.swap_remove(at);
            }
            server.poll(&mut events, Some(PATIENCE)).unwrap();
            for event in &events {
                seen.push(match event {
                    Event::Source { key, readable, writable } => {
                        format!("source {key} {readable} {writable}")
                    }
                    Event::Timer { key } => format!("timer {key}"),
                    Event::Request { .. } => "request".into(),
                    Event::Opened { .. } => "opened".into(),
                    Event::Message { .. } => "message".into(),
                    _ => "something else".into(),
                });
                echo(server.hub(), event);
            }
        }
        panic!("{wanted} does not come: {seen:?}");
    };
    assert_eq!(until(&mut server, "source 0"), "source 0 false true");
    far.write_all(b"x").unwrap();
    assert_eq!(until(&mut server, "source 4294967295"), "source 4294967295 true false");
    near.read_exact(&mut [0]).unwrap();
    let soon = server.hub().now() + millis(20);
    server.hub().set_timer(soon, 9);
    let mut peer = Peer::connect(server.local_addr().unwrap());
    peer.sends_bytes(handshake("/", ""));
    until(&mut server, "timer 9");
    assert!(server.hub().now() >= soon);
    until(&mut server, "request");
    until(&mut server, "opened");
    peer.expects_upgrade();
    peer.sends(text("x"));
    until(&mut server, "message");
    server.poll(&mut Events::default(), Some(Duration::ZERO)).unwrap();
    peer.expects(text("x"));
    // What is deregistered is not told of.
    server.deregister(&mut near).unwrap();
    far.write_all(b"x").unwrap();
    drop(other_far);
    assert!(until(&mut server, "source").starts_with("source 0 true"));
    server.poll(&mut Events::default(), Some(Duration::ZERO)).unwrap();
}

#[test]
fn an_hour_in_which_the_machine_stood_still_is_a_second_of_each_deadline() {
    let limit = Duration::from_secs(5);
    let mut sim = Sim::new(quiet(|config| config.handshake_timeout = limit));
    let wire = sim.server.net().connects();
    wire.sends_bytes("GET / HT");
    sim.rests();
    sim.server.net().passes(Duration::from_secs(3600));
    let before = sim.server.net().slept();
    while !wire.is_ended() {
        sim.turn_within(Some(millis(1)));
    }
    // A deadline is never early, and at most two ticks of 67 ms late.
    let waited = sim.server.net().slept() - before;
    assert!((millis(3_990)..millis(4_200)).contains(&waited), "{waited:?}");
}

/// Neither what it may hear nor what others hear is a message of its own, and Pings are none.
#[test]
fn a_subscriber_that_gets_nothing_is_idle() {
    let idle = Duration::from_secs(10);
    let mut sim = Sim::new(quiet(|config| config.idle_timeout = Some(idle)));
    let ((early, _), (late, wire)) = (sim.opens(), sim.opens());
    sim.hub().subscribe(early, "t").unwrap();
    let mut got = Vec::new();
    for _ in 0..4 {
        // It comes after what is published in its turn.
        sim.hub().publish("t", "x").unwrap();
        sim.hub().subscribe(late, "t").unwrap();
        wire.sends(ping("p"));
        sim.turn();
        sim.turn();
        sim.hub().unsubscribe(late, "t");
        sim.turn_within(Some(idle * 3 / 10));
        sim.turn();
        got.extend(wire.reads());
    }
    assert_eq!(got, [pong("p"), pong("p"), pong("p"), pong("p"), close(1001, "idle_timeout")]);
    assert!(sim.hub().is_open(early));
}

/// A message is one however it comes: whole, or in fragments.
#[test]
fn messages_in_fragments_keep_a_connection_from_being_idle() {
    let idle = Duration::from_secs(10);
    let mut sim = Sim::new(quiet(|config| config.idle_timeout = Some(idle)));
    let (id, wire) = sim.opens();
    for _ in 0..5 {
        wire.sends_bytes(burst(&[text("one ").open(), continuation("message")]));
        sim.turn();
        assert_eq!(sim.takes(), [Told::Message(id, "one message".into())]);
        sim.turn_within(Some(idle * 3 / 10));
        sim.turn();
    }
    assert_eq!((wire.reads(), sim.hub().is_open(id)), (vec![], true));
}
