//! The end of a server: everybody gets what is queued and Close 1001, and nobody holds it up for
//! longer than the deadline.

use std::time::Duration;

use pushloop::{
    Accept, CloseCode, Config, ConnId, Handler, Hub, Message, RequestId, Response, Server,
};

use super::Running;
use crate::support::http::after_head;
use crate::support::net::{Sim, Told, Wire, frames};
use crate::support::{PATIENCE, Peer, close, handshake, quiet, text};

const MINUTE: Duration = Duration::from_secs(60);
/// Deadlines of connections are kept in steps of 67 ms, and are never early.
const TICKS: Duration = Duration::from_millis(2 * 64);
const FAREWELL: &str = "the server is shutting down";
const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Turns until the server has finished, and gives how long it slept.
fn finishes(sim: &mut Sim) -> Duration {
    let before = sim.server.net().slept();
    while !sim.hub().is_finished() {
        sim.turn_within(None);
    }
    sim.server.net().slept() - before
}

/// Does what a peer does about a Close.
fn answers(wire: &Wire) {
    wire.sends(close(1001, ""));
    wire.finishes();
}

/// A connection whose request the application has not answered.
fn asks(sim: &mut Sim, request: &str) -> (RequestId, Wire) {
    sim.accepts = false;
    let wire = sim.server.net().connects();
    wire.sends_bytes(request);
    sim.rests();
    let Some(Told::Request(id)) = sim.told.pop() else { panic!("no request: {:?}", sim.told) };
    (id, wire)
}

/// Sends fifty messages at once, as soon as a connection opens.
struct Greets;

impl Handler for Greets {
    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        (0..50).for_each(|at| hub.send(id, greeting(at)).unwrap());
    }

    fn on_message(&mut self, hub: &mut Hub, _: ConnId, _: Message<'_>) {
        hub.shutdown(MINUTE);
    }
}

fn greeting(at: usize) -> String {
    format!("{at:04000}")
}

/// A server of peers that have got the first of their messages, and so have all in their queues.
fn greeted() -> (Running, Vec<Peer>) {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let running = Running::start(server, Greets);
    let opens = |_| {
        let mut peer = Peer::connect(address);
        peer.sends_bytes(handshake("/", ""));
        peer.expects_upgrade();
        peer.expects(text(greeting(0)));
        peer
    };
    (running, (0..20).map(opens).collect())
}

/// Reads the other messages, and the Close behind them.
fn reads_to_the_close(peer: &mut Peer) {
    (1..50).for_each(|at| peer.expects(text(greeting(at))));
    assert_eq!(peer.expects_close(1001), FAREWELL);
}

#[test]
fn everybody_gets_what_is_queued_and_1001_and_run_returns() {
    let (running, mut peers) = greeted();
    running.handle.shutdown(MINUTE).unwrap();
    for peer in &mut peers {
        reads_to_the_close(peer);
        peer.sends(close(1001, ""));
        peer.expects_eof();
    }
    drop(peers);
    running.ends();
    let counters = running.handle.counters();
    assert_eq!((counters.connections_accepted, counters.connections_open), (20, 0));
    assert_eq!(counters.messages_sent, 1000);
}

#[test]
fn a_handler_may_shut_the_server_down() {
    let (running, mut peers) = greeted();
    peers[7].sends(text("enough"));
    peers.iter_mut().for_each(reads_to_the_close);
    drop(peers);
    running.ends();
}

#[test]
fn run_returns_at_the_deadline_whoever_does_not_answer() {
    let (running, mut peers) = greeted();
    running.handle.shutdown(Duration::from_millis(200)).unwrap();
    running.ends();
    for peer in &mut peers {
        reads_to_the_close(peer);
        peer.expects_end();
    }
}

#[test]
fn a_server_without_connections_ends_at_once() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let running = Running::start(server, Greets);
    running.handle.shutdown(MINUTE).unwrap();
    running.ends();
    let mut sim = Sim::new(Config::default());
    assert!(!sim.hub().is_finished());
    sim.hub().shutdown(Duration::MAX);
    assert!(sim.hub().is_shutting_down() && sim.hub().is_finished());
    sim.server.run(&mut Greets).unwrap();
    assert_eq!(sim.server.net().slept(), Duration::ZERO);
}

#[test]
fn it_does_not_outlast_the_last_connection() {
    let mut sim = Sim::new(quiet(|_| {}));
    let peers: Vec<_> = (0..10).map(|_| sim.opens()).collect();
    sim.hub().shutdown(MINUTE);
    // Nobody waits for another's.
    sim.turn();
    for (_, wire) in &peers {
        assert_eq!(wire.reads(), [close(1001, FAREWELL)]);
        answers(wire);
    }
    assert_eq!(finishes(&mut sim), Duration::ZERO);
    let closed = peers.iter().map(|(id, _)| Told::Closed(*id, 1001));
    assert!(sim.takes().into_iter().eq(closed));
    assert!(peers.iter().all(|(_, wire)| wire.is_dropped()));
}

#[test]
fn a_full_kernel_holds_the_close_up_and_loses_nothing() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = sim.opens();
    wire.holds(2500);
    sim.hub().subscribe(id, "t").unwrap();
    for at in 0..4 {
        sim.hub().publish("t", greeting(at)).unwrap();
        sim.turn();
    }
    sim.hub().publish("t", greeting(4)).unwrap();
    sim.hub().shutdown(MINUTE);
    let mut bytes = Vec::new();
    for _ in 0..20 {
        sim.turn();
        bytes.extend(wire.reads_bytes());
    }
    let mut expected: Vec<_> = (0..5).map(|at| text(greeting(at))).collect();
    expected.push(close(1001, FAREWELL));
    assert_eq!(crate::support::net::frames(&bytes), expected);
    answers(&wire);
    assert_eq!(finishes(&mut sim), Duration::ZERO);
}

#[test]
fn the_deadline_is_kept_to_the_moment_in_every_state() {
    let mut sim = Sim::new(quiet(|config| config.close_timeout = MINUTE));
    let (open, silent) = sim.opens();
    let (stuck, full) = sim.opens();
    full.holds(0);
    sim.hub().send(stuck, "x").unwrap();
    let (closing, closed) = sim.opens();
    sim.hub().close(closing, CloseCode::NORMAL, "");
    let (ending, ended) = sim.opens();
    ended.holds(0);
    ended.sends(close(1000, ""));
    sim.rests();
    assert_eq!(sim.takes(), [Told::Closed(ending, 1000)]);
    let (undecided, unanswered) = asks(&mut sim, &handshake("/", ""));
    let (answered, answer) = asks(&mut sim, GET);
    answer.holds(0);
    sim.hub().respond(answered, Response::text(200, "x")).unwrap();
    sim.rests();
    sim.hub().shutdown(Duration::from_secs(3));
    assert_eq!(finishes(&mut sim), Duration::from_secs(3));
    let over = [
        Told::Closed(open, 1001),
        Told::Closed(stuck, 1001),
        Told::Closed(closing, 1000),
        Told::RequestGone(undecided),
    ];
    assert_eq!(sim.takes(), over);
    let wires = [silent, full, closed, ended, unanswered, answer];
    assert!(wires.iter().all(Wire::is_dropped));
    assert_eq!((sim.hub().connection_count(), sim.hub().queued_bytes_total()), (0, 0));
}

#[test]
fn who_does_not_answer_the_close_is_given_up_before_a_late_deadline() {
    let mut sim = Sim::new(quiet(|config| config.close_timeout = Duration::from_secs(5)));
    let (id, wire) = sim.opens();
    sim.hub().shutdown(MINUTE);
    let slept = finishes(&mut sim);
    assert!(
        (Duration::from_secs(5)..=Duration::from_secs(5) + TICKS).contains(&slept),
        "{slept:?}"
    );
    assert_eq!(sim.takes(), [Told::Closed(id, 1001)]);
    assert!(wire.is_dropped());
}

/// Of a crowd with full queues, some come to read theirs late.
#[test]
fn what_is_queued_has_until_the_deadline() {
    for reads in [true, false] {
        let mut sim = Sim::new(quiet(|config| config.close_timeout = Duration::from_secs(5)));
        let (closed, ends) = (sim.opens(), sim.opens());
        for (id, wire) in [&closed, &ends] {
            wire.holds(0);
            sim.hub().send(*id, "x").unwrap();
        }
        // One is closed by the shutdown, the other has just said its last.
        ends.1.sends(close(1000, ""));
        sim.rests();
        let before = sim.server.net().slept();
        sim.hub().shutdown(Duration::from_secs(30));
        while sim.server.net().slept() - before < Duration::from_secs(29) {
            sim.turn_within(Some(Duration::from_secs(1)));
        }
        if reads {
            for ((_, wire), code, reason) in [(&closed, 1001, FAREWELL), (&ends, 1000, "")] {
                wire.holds(usize::MAX);
                wire.reads_bytes();
                sim.rests();
                assert_eq!(wire.reads(), [text("x"), close(code, reason)]);
                answers(wire);
            }
            assert_eq!(finishes(&mut sim), Duration::ZERO);
        } else {
            finishes(&mut sim);
            assert_eq!(sim.server.net().slept() - before, Duration::from_secs(30));
        }
        assert_eq!(sim.takes(), [Told::Closed(ends.0, 1000), Told::Closed(closed.0, 1001)]);
    }
}

/// What leaves nobody waiting: a batch goes on after the shutdown, and the rest is forgotten.
#[test]
fn a_shutdown_within_a_batch_meets_those_who_have_just_ended() {
    let mut sim = Sim::new(quiet(|_| {}));
    // `Ending`: its last words are due in the next turn; `Closed`: its slot is.
    let (ending, closes) = sim.opens();
    let (closed, lost) = sim.opens();
    let (_, drains) = sim.opens();
    // `Draining`, its FIN sent.
    drains.sends(close(1000, ""));
    sim.rests();
    assert!(drains.is_ended() && !drains.is_dropped());
    sim.takes();
    closes.sends(close(1000, ""));
    lost.resets();
    let mut batch = Vec::new();
    sim.turn_with(None, |hub, told| {
        batch.push(told.clone());
        hub.shutdown(MINUTE);
    });
    assert_eq!(batch, [Told::Closed(ending, 1000), Told::Closed(closed, 1006)]);
    sim.rests();
    assert_eq!(closes.reads(), [close(1000, "")]);
    assert!(lost.is_dropped());
    closes.finishes();
    drains.finishes();
    assert!(finishes(&mut sim) <= TICKS);
    assert_eq!((sim.hub().connection_count(), sim.hub().queued_bytes_total()), (0, 0));
}

#[test]
fn close_frames_are_spread_evenly_and_all_goes_on_until_then() {
    let spread = Duration::from_secs(1);
    let mut sim = Sim::new(quiet(|config| config.shutdown_spread = spread));
    // More than a hundred for the second: else they take less.
    let peers: Vec<_> = (0..200).map(|_| sim.opens()).collect();
    for (id, _) in &peers {
        sim.hub().subscribe(*id, "t").unwrap();
    }
    let began = sim.server.net().slept();
    sim.hub().shutdown(MINUTE);
    let mut closed_at = Vec::new();
    let mut publications = 0;
    loop {
        sim.turn();
        let passed = sim.server.net().slept() - began;
        for (_, wire) in &peers {
            let mut frames = wire.reads();
            if frames.last() == Some(&close(1001, FAREWELL)) {
                frames.pop();
                closed_at.push(passed);
                answers(wire);
            }
            publications -= frames.len();
        }
        if closed_at.len() == peers.len() {
            break;
        }
        publications += sim.hub().publish("t", "still here").unwrap().subscribers;
        sim.rests();
        sim.turn_within(None);
    }
    assert_eq!(publications, 0, "a publication was lost, or came to somebody who was closed");
    let expected = (0..200).map(|at| spread * at / 200);
    assert!(closed_at.iter().copied().eq(expected), "{closed_at:?}");
    assert_eq!(finishes(&mut sim), Duration::ZERO);
}

#[test]
fn few_do_not_wait_for_each_other_and_nobody_beyond_the_deadline() {
    let mut sim = Sim::new(quiet(|config| config.shutdown_spread = MINUTE));
    let peers: Vec<_> = (0..5).map(|_| sim.opens()).collect();
    let began = sim.server.net().slept();
    sim.hub().shutdown(MINUTE);
    let mut closed = 0;
    loop {
        sim.turn();
        for (_, wire) in peers.iter().filter(|(_, wire)| !wire.reads().is_empty()) {
            closed += 1;
            answers(wire);
        }
        if closed == peers.len() {
            break;
        }
        sim.rests();
        sim.turn_within(None);
    }
    assert_eq!(sim.server.net().slept() - began, Duration::from_millis(40));
    let mut sim = Sim::new(quiet(|config| config.shutdown_spread = MINUTE));
    let peers: Vec<_> = (0..1000).map(|_| sim.opens()).collect();
    sim.hub().shutdown(Duration::from_secs(1));
    assert_eq!(finishes(&mut sim), Duration::from_secs(1));
    assert!(peers.iter().all(|(_, wire)| wire.is_dropped()));
}

#[test]
fn a_second_shutdown_changes_the_deadline() {
    for seconds in [1, 7] {
        let mut sim = Sim::new(quiet(|config| config.close_timeout = MINUTE));
        let (_, wire) = sim.opens();
        sim.hub().shutdown(Duration::from_secs(5));
        sim.rests();
        let later = Duration::from_secs(seconds);
        sim.hub().shutdown(later);
        assert_eq!(finishes(&mut sim), later);
        assert_eq!(wire.reads(), [close(1001, FAREWELL)]);
    }
}

#[test]
fn a_connection_that_has_not_asked_is_waited_for_a_second() {
    let mut sim = Sim::new(quiet(|_| {}));
    let asks_late = sim.server.net().connects();
    let silent = sim.server.net().connects();
    // Half a head, half a body, and nothing yet of a body.
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n";
    let halves = ["GET / HT", &format!("{post}x"), post].map(|half| {
        let wire = sim.server.net().connects();
        wire.sends_bytes(half);
        wire
    });
    sim.rests();
    sim.hub().shutdown(MINUTE);
    // They are told what they did, and have time to read it.
    let before = sim.server.net().slept();
    let passed = Duration::from_millis(900);
    sim.server.net().passes(passed);
    asks_late.sends_bytes(handshake("/", ""));
    sim.rests();
    let told = asks_late.reads_bytes();
    assert!(told.starts_with(b"HTTP/1.1 101 "), "its client knows of no end");
    assert!(told.ends_with(FAREWELL.as_bytes()));
    answers(&asks_late);
    while !halves.iter().all(Wire::is_ended) {
        sim.turn_within(Some(Duration::from_millis(1)));
    }
    let waited = passed + sim.server.net().slept() - before - Duration::from_secs(1);
    assert!(waited <= TICKS, "{waited:?}");
    assert!(silent.is_dropped());
    for half in &halves {
        assert!(half.reads_bytes().starts_with(b"HTTP/1.1 408 "));
        half.finishes();
    }
    assert!(finishes(&mut sim) <= TICKS);
}

#[test]
fn an_idle_keep_alive_connection_is_not_waited_for() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = asks(&mut sim, GET);
    sim.hub().respond(id, Response::text(200, "x")).unwrap();
    sim.rests();
    assert!(wire.reads_bytes().starts_with(b"HTTP/1.1 200 "));
    sim.hub().shutdown(MINUTE);
    assert!(finishes(&mut sim) <= TICKS);
    assert!(wire.is_dropped());
}

#[test]
fn a_request_that_waits_for_its_answer_gets_it() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (accepted, socket) = asks(&mut sim, &handshake("/", ""));
    let (answered, plain) = asks(&mut sim, GET);
    let (stuck, full) = asks(&mut sim, GET);
    full.holds(10);
    sim.hub().respond(stuck, Response::text(200, "stuck")).unwrap();
    sim.rests();
    sim.hub().shutdown(MINUTE);
    sim.rests();
    sim.hub().accept(accepted, Accept::default()).unwrap();
    sim.hub().respond(answered, Response::text(200, "late")).unwrap();
    full.holds(usize::MAX);
    let mut late = full.reads_bytes();
    sim.rests();
    let upgrade = socket.reads_bytes();
    assert!(upgrade.starts_with(b"HTTP/1.1 101 "));
    assert_eq!(frames(after_head(&upgrade)), [close(1001, FAREWELL)]);
    assert!(plain.reads_bytes().ends_with(b"late"));
    // It was told that there is no further one.
    plain.finishes();
    late.extend(full.reads_bytes());
    assert!(late.ends_with(b"stuck"));
    answers(&socket);
    assert!(finishes(&mut sim) <= TICKS);
    let accepted = accepted.conn();
    assert_eq!(sim.takes(), [Told::Opened(accepted), Told::Closed(accepted, 1001)]);
}

#[test]
fn a_closing_handshake_under_way_is_finished_with_its_own_code() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = sim.opens();
    sim.hub().close(id, CloseCode::NORMAL, "bye");
    sim.rests();
    sim.hub().shutdown(MINUTE);
    sim.rests();
    assert_eq!(wire.reads(), [close(1000, "bye")]);
    answers(&wire);
    assert_eq!(finishes(&mut sim), Duration::ZERO);
    assert_eq!(sim.takes(), [Told::Closed(id, 1000)]);
}

#[test]
fn a_connection_that_the_kernel_holds_is_not_taken_any_more() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (_, wire) = sim.opens();
    let late = sim.server.net().connects();
    sim.hub().shutdown(PATIENCE);
    sim.rests();
    assert_eq!(sim.hub().connection_count(), 1);
    answers(&wire);
    assert_eq!(finishes(&mut sim), Duration::ZERO);
    assert_eq!((late.reads_bytes(), sim.takes().len()), (Vec::new(), 1));
}

#[test]
fn a_connection_that_comes_with_the_shutdown_is_turned_away() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (_, wire) = sim.opens();
    let late = sim.server.net().connects();
    sim.server.handle().shutdown(PATIENCE).unwrap();
    sim.turn();
    sim.turn();
    assert!(sim.hub().is_shutting_down());
    assert_eq!(
        sim.hub().counters().connections_accepted,
        1,
        "what waits may be another process' as well"
    );
    assert!(late.reads_bytes().is_empty());
    answers(&wire);
    assert_eq!(finishes(&mut sim), Duration::ZERO);
}

#[test]
fn a_deadline_beyond_the_clocks_end_is_none() {
    let mut sim = Sim::new(quiet(|config| config.close_timeout = MINUTE));
    let (_, wire) = sim.opens();
    sim.hub().shutdown(Duration::MAX);
    sim.rests();
    assert_eq!(wire.reads(), [close(1001, FAREWELL)]);
    assert!(!wire.is_dropped());
    assert!(finishes(&mut sim) >= MINUTE);
}
