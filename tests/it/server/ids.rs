//! Ids are never reused, though their slots are: what is meant for a connection that is gone
//! reaches nobody, least of all the one that came into its place.

use std::collections::HashSet;
use std::time::Duration;

use pushloop::{
    Accept, AcceptError, CloseCode, ConnId, ConnMap, Message, Ready, RespondError, Response,
    SendError, SubscribeError,
};

use crate::support::net::{Sim, Told, Wire};
use crate::support::{close, handshake, quiet, text};

/// The number of the slot.
fn slot(id: ConnId) -> u32 {
    id.to_bits() as u32
}

/// Ends a connection, so that its slot is free.
fn resets(sim: &mut Sim, wire: &Wire) {
    wire.resets();
    sim.rests();
    assert!(wire.is_dropped());
}

/// The id of a connection that is gone, and one that is open in its place.
fn successor(sim: &mut Sim) -> (ConnId, ConnId, Wire) {
    let (old, wire) = sim.opens();
    sim.hub().subscribe(old, "t").unwrap();
    resets(sim, &wire);
    let (new, wire) = sim.opens();
    assert_eq!(slot(new), slot(old));
    assert_ne!(new, old);
    sim.takes();
    (old, new, wire)
}

#[test]
fn an_old_id_reaches_nobody() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (old, new, wire) = successor(&mut sim);
    let hub = sim.hub();
    assert_eq!(hub.send(old, "x"), Err(SendError::Gone));
    assert_eq!(hub.subscribe(old, "t"), Err(SubscribeError::Gone));
    assert_eq!(hub.topic_count(), 0);
    hub.subscribe(new, "t").unwrap();
    assert!(!hub.unsubscribe(old, "t"));
    assert_eq!((hub.topics_of(old).count(), hub.topics_of(new).count()), (0, 1));
    assert!(!hub.is_open(old) && hub.is_open(new));
    // It leaves out nobody.
    assert_eq!(hub.publish_except("t", "1", old).map(|it| it.subscribers), Ok(1));
    hub.close(old, CloseCode::NORMAL, "");
    hub.send(new, "2").unwrap();
    assert_eq!(hub.queued_bytes(old), 0);
    let handle = sim.server.handle();
    handle.send(old, Message::Text("x")).unwrap();
    handle.close(old, CloseCode::NORMAL, "").unwrap();
    handle.send(new, Message::Text("3")).unwrap();
    sim.rests();
    assert_eq!(wire.reads(), ["1", "2", "3"].map(text));
    assert_eq!(sim.hub().counters().stale_commands, 2);
    assert!(sim.hub().is_open(new));
    assert_eq!(sim.takes(), []);
}

#[test]
fn an_old_id_answers_nobodys_request() {
    let mut sim = Sim::new(quiet(|_| {}));
    sim.accepts = false;
    let asks = |sim: &mut Sim| {
        let wire = sim.server.net().connects();
        wire.sends_bytes(handshake("/", ""));
        sim.rests();
        let [Told::Request(id)] = sim.takes()[..] else { panic!() };
        (id, wire)
    };
    let (old, wire) = asks(&mut sim);
    // It ends without an answer, and another comes into its place.
    wire.resets();
    sim.hub().respond(old, Response::text(200, "nobody reads it")).unwrap();
    sim.rests();
    assert!(wire.is_dropped());
    let (new, wire) = asks(&mut sim);
    assert_eq!(slot(new.conn()), slot(old.conn()));
    assert_eq!(sim.hub().accept(old, Accept::default()), Err(AcceptError::Gone));
    assert_eq!(sim.hub().refuse(old, 403, "no"), Err(RespondError::Gone));
    sim.hub().close(old.conn(), CloseCode::NORMAL, "");
    sim.rests();
    assert_eq!(wire.reads_bytes(), [0; 0]);
    sim.hub().accept(new, Accept::default()).unwrap();
    assert_eq!(sim.hub().accept(new, Accept::default()), Err(AcceptError::Gone));
    sim.rests();
    assert_eq!(sim.takes(), [Told::Opened(new.conn())]);
}

#[test]
fn old_readiness_is_not_the_new_connections() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (old, new, wire) = successor(&mut sim);
    // Its kernel is full, and nothing is to be read.
    wire.holds(0);
    sim.hub().send(new, "x").unwrap();
    sim.rests();
    let before = sim.server.net().calls;
    let stray = Ready::Connection { id: old, readable: true, writable: true, read_closed: true };
    sim.server.net().strays.push(stray);
    sim.rests();
    let after = sim.server.net().calls;
    assert_eq!((after.reads, after.writes), (before.reads, before.writes));
    assert!(sim.hub().is_open(new));
    // Its own is looked at, and found untrue.
    let spurious =
        Ready::Connection { id: new, readable: true, writable: true, read_closed: false };
    sim.server.net().strays.push(spurious);
    sim.rests();
    let after = sim.server.net().calls;
    assert_eq!((after.reads, after.writes), (before.reads + 1, before.writes + 1));
    assert_eq!(sim.takes(), []);
}

#[test]
fn ids_that_never_were_are_gone() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = sim.opens();
    for bits in [0, 1, u64::MAX, u64::from(slot(id)), id.to_bits() + 1, id.to_bits() + (1 << 32)] {
        let other = ConnId::from_bits(bits);
        assert_eq!(sim.hub().send(other, "x"), Err(SendError::Gone));
        sim.hub().close(other, CloseCode::NORMAL, "");
    }
    assert_eq!(ConnId::from_bits(id.to_bits()), id);
    sim.rests();
    assert!(sim.hub().is_open(id) && wire.reads().is_empty());
}

#[test]
fn an_id_does_not_come_again() {
    let mut sim = Sim::new(quiet(|_| {}));
    let mut ids = HashSet::new();
    for _ in 0..1000 {
        let (id, wire) = sim.opens();
        assert_eq!(slot(id), 0);
        assert!(ids.insert(id), "{id:?}");
        resets(&mut sim, &wire);
    }
}

#[test]
fn a_slot_is_not_given_away_within_a_batch() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (old, old_wire) = sim.opens();
    let (other, other_wire) = sim.opens();
    // In one turn: one goes, another speaks, and a third comes.
    old_wire.resets();
    other_wire.sends(text("x"));
    let third = sim.server.net().connects();
    third.sends_bytes(handshake("/", ""));
    let mut batch = Vec::new();
    sim.turn_with(None, |hub, told| {
        batch.push(told.clone());
        assert_eq!(hub.send(old, "late"), Err(SendError::Gone));
        hub.close(old, CloseCode::NORMAL, "");
    });
    assert_eq!(batch, [Told::Closed(old, 1006), Told::Message(other, b"x".into())]);
    sim.takes();
    sim.rests();
    let [Told::Opened(new)] = sim.takes()[..] else { panic!() };
    assert_ne!(slot(new), slot(old));
    // The next one gets it.
    assert_eq!(slot(sim.opens().0), slot(old));
}

#[test]
fn a_connection_may_be_closed_while_another_ones_event_is_handled() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (first, first_wire) = sim.opens();
    let (second, second_wire) = sim.opens();
    let (closing, closing_wire) = sim.opens();
    first_wire.sends(text("close the others"));
    second_wire.sends(text("of the same batch"));
    closing_wire.sends(close(1000, "bye"));
    let mut batch = Vec::new();
    sim.turn_with(None, |hub, told| {
        batch.push(told.clone());
        if batch.len() == 1 {
            for id in [first, second, closing] {
                hub.close(id, CloseCode::GOING_AWAY, "all");
                // A second time changes nothing.
                hub.close(id, CloseCode::NORMAL, "again");
            }
            assert_eq!(hub.send(second, "x"), Err(SendError::Gone));
            // It has closed by itself already; what answers its messages still arrives.
            assert_eq!(hub.send(closing, "x"), Ok(()));
        }
    });
    // A batch is what happened before its events were looked at.
    let messages = [(first, "close the others"), (second, "of the same batch")];
    let messages = messages.map(|(id, text)| Told::Message(id, text.into()));
    assert_eq!(batch[..2], messages);
    assert_eq!(batch[2..], [Told::Closed(closing, 1000)]);
    sim.takes();
    second_wire.sends(text("of a later batch"));
    sim.rests();
    assert_eq!(first_wire.reads(), [close(1001, "all")]);
    assert_eq!(second_wire.reads(), [close(1001, "all")]);
    assert_eq!(closing_wire.reads(), [text("x"), close(1000, "bye")]);
    second_wire.sends(close(1001, ""));
    first_wire.finishes();
    sim.rests();
    assert_eq!(sim.takes(), [Told::Closed(first, 1001), Told::Closed(second, 1001)]);
    // Nothing is told of them twice, to the end.
    for _ in 0..10 {
        sim.turn_within(Some(Duration::from_secs(1)));
    }
    assert_eq!((sim.takes(), sim.hub().connection_count()), (vec![], 0));
}

#[test]
fn data_of_an_old_connection_is_not_found_for_the_new_one() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (old, new, _wire) = successor(&mut sim);
    let mut names = ConnMap::new();
    names.insert(old, "old");
    assert_eq!(names.get(new), None);
    assert_eq!(names.insert(new, "new"), None);
    assert_eq!((names.get(old), names.get(new), names.len()), (None, Some(&"new"), 1));
}

/// Its slot is still there, to the end of the turn.
#[test]
fn commands_for_a_connection_that_is_lost_in_the_same_turn_are_too_late() {
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire) = sim.opens();
    sim.hub().send(id, "finds out").unwrap();
    wire.resets();
    let handle = sim.server.handle();
    handle.send(id, Message::Text("x")).unwrap();
    handle.close(id, CloseCode::NORMAL, "").unwrap();
    sim.rests();
    assert_eq!(sim.takes(), [Told::Closed(id, 1006)]);
    assert_eq!(sim.hub().counters().stale_commands, 2);
}
