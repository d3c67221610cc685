//! Topics: who gets what, in which order, and how often.
//!
//! Most of it runs in memory, where a turn is a call; `topics/model.rs` compares thousands of
//! random operations with a naive model. `topics/overflow.rs` fills the peers' kernels, `topics/lag.rs`
//! lets subscribers lag, `topics/process.rs` fills the whole process, and `topics/pressure.rs` does all
//! of it at random.

mod except;
mod history;
mod kept;
mod lag;
mod laggards;
mod leaving;
mod limits;
mod model;
mod once;
mod overflow;
mod positions;
mod prefixes;
mod pressure;
mod process;
mod restored;
mod resumes;
mod slices;

use std::collections::HashMap;

use crate::support::net::{Sim, Told, Wire};
use crate::support::{Frame, Seen, TestServer, accept, close, quiet, text};
use pushloop::{CloseCode, Config, ConnId, Event, SendError, SubscribeError};

fn sim() -> Sim {
    Sim::new(quiet(|_| {}))
}

/// So many WebSockets that subscribe to `topic`.
fn subscribers(sim: &mut Sim, count: usize, topic: &str) -> Vec<(ConnId, Wire)> {
    let opens = |_| {
        let (id, wire) = sim.opens();
        sim.hub().subscribe(id, topic).unwrap();
        (id, wire)
    };
    (0..count).map(opens).collect()
}

fn texts(payloads: &[&str]) -> Vec<Frame> {
    payloads.iter().map(text).collect()
}

fn conn_id(peer: &(ConnId, Wire)) -> ConnId {
    peer.0
}

#[test]
fn every_subscriber_gets_what_several_publish_once_and_in_the_same_order() {
    const PUBLISHERS: usize = 4;
    const MESSAGES: usize = 250;
    const SUBSCRIBERS: usize = 25;
    let server = TestServer::start(Config::default(), |hub, event| match event {
        Event::Opened { id } => hub.subscribe(id, "all").unwrap(),
        Event::Message { message, .. } => assert!(hub.publish("all", message).is_ok()),
        event => accept(hub, event),
    });
    let mut peers: Vec<_> = (0..SUBSCRIBERS).map(|_| server.opens()).collect();
    for round in 0..MESSAGES / 10 {
        for (publisher, peer) in peers.iter_mut().take(PUBLISHERS).enumerate() {
            let number = |at| format!("{publisher} {}", round * 10 + at);
            let burst: Vec<_> = (0..10).map(|at| text(number(at))).collect();
            peer.sends_burst(&burst);
        }
    }
    let got: Vec<Vec<Frame>> = peers
        .iter_mut()
        .map(|peer| (0..PUBLISHERS * MESSAGES).map(|_| peer.reads()).collect())
        .collect();
    for publisher in 0..PUBLISHERS {
        let prefix = format!("{publisher} ");
        let of_one = got[0].iter().filter(|frame| frame.payload.starts_with(prefix.as_bytes()));
        assert!(
            of_one.eq((0..MESSAGES)
                .map(|at| text(format!("{prefix}{at}")))
                .collect::<Vec<_>>()
                .iter())
        );
    }
    assert!(got.iter().all(|other| *other == got[0]), "two subscribers saw different orders");
    // Nothing follows: a second copy would come before this.
    server.act(|hub| hub.publish("all", "end")).unwrap();
    peers.iter_mut().for_each(|peer| peer.expects(text("end")));
    // In the turn after.
    let counters = server.act(|hub| hub.counters());
    assert_eq!(counters.publications as usize, PUBLISHERS * MESSAGES + 1);
    assert_eq!(counters.deliveries, counters.publications * SUBSCRIBERS as u64);
}

#[test]
fn a_subscription_reaches_from_its_beginning_to_its_end() {
    let mut sim = sim();
    let stays = subscribers(&mut sim, 1, "t").remove(0);
    let (id, wire) = sim.opens();
    let hub = sim.hub();
    // All in one turn.
    assert_eq!(hub.publish("t", "before").map(|it| it.subscribers), Ok(1));
    hub.subscribe(id, "t").unwrap();
    assert_eq!(hub.publish("t", "within").map(|it| it.subscribers), Ok(2));
    assert!(hub.unsubscribe(id, "t"));
    assert!(!hub.unsubscribe(id, "t"));
    assert_eq!(hub.publish("t", "between").map(|it| it.subscribers), Ok(1));
    hub.subscribe(id, "t").unwrap();
    hub.publish("t", "again").unwrap();
    sim.turn();
    // And over several.
    sim.hub().publish("t", "later").unwrap();
    sim.turn();
    sim.hub().unsubscribe(id, "t");
    sim.hub().publish("t", "after").unwrap();
    sim.turn();
    assert_eq!(wire.reads(), texts(&["within", "again", "later"]));
    let all = ["before", "within", "between", "again", "later", "after"];
    assert_eq!(stays.1.reads(), texts(&all));
}

#[test]
fn a_second_subscription_to_a_topic_changes_nothing() {
    let mut sim = sim();
    let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
    sim.hub().publish("t", "1").unwrap();
    sim.hub().subscribe(id, "t").unwrap();
    assert_eq!(sim.hub().subscriber_count("t"), 1);
    sim.hub().publish("t", "2").unwrap();
    sim.turn();
    assert_eq!(wire.reads(), texts(&["1", "2"]));
    assert!(sim.hub().unsubscribe(id, "t"));
    assert_eq!(sim.hub().publish("t", "3").map(|it| it.subscribers), Ok(0));
}

#[test]
fn what_is_published_and_what_is_sent_arrive_as_they_were_done() {
    let mut sim = sim();
    let peers = subscribers(&mut sim, 3, "t");
    let sent_to = peers[1].0;
    for turn in 0..3 {
        for at in 0..4 {
            sim.hub().publish("t", format!("published {turn} {at}")).unwrap();
            sim.hub().send(sent_to, format!("sent {turn} {at}")).unwrap();
        }
        sim.turn();
    }
    let each = |both: bool| -> Vec<Frame> {
        let kinds = if both { &["published", "sent"][..] } else { &["published"] };
        let turns = (0..3).flat_map(|turn| (0..4).map(move |at| (turn, at)));
        turns
            .flat_map(|(turn, at)| kinds.iter().map(move |kind| format!("{kind} {turn} {at}")))
            .map(text)
            .collect()
    };
    assert_eq!(peers[0].1.reads(), each(false));
    assert_eq!(peers[1].1.reads(), each(true));
    assert_eq!(peers[2].1.reads(), each(false));
}

#[test]
fn a_sender_is_left_out_of_exactly_its_own_messages() {
    let mut sim = sim();
    let peers = subscribers(&mut sim, 3, "t");
    let (stranger, stranger_wire) = sim.opens();
    let hub = sim.hub();
    assert_eq!(hub.publish("t", "all 1").map(|it| it.subscribers), Ok(3));
    assert_eq!(hub.publish_except("t", "not 0", peers[0].0).map(|it| it.subscribers), Ok(2));
    assert_eq!(hub.publish_except("t", "not 1", peers[1].0).map(|it| it.subscribers), Ok(2));
    assert_eq!(hub.publish_except("t", "not 1 again", peers[1].0).map(|it| it.subscribers), Ok(2));
    hub.send(peers[1].0, "direct 1").unwrap();
    assert_eq!(hub.publish_except("t", "not 0 again", peers[0].0).map(|it| it.subscribers), Ok(2));
    // Who does not subscribe is left out of nothing.
    assert_eq!(hub.publish_except("t", "all 2", stranger).map(|it| it.subscribers), Ok(3));
    assert_eq!(hub.publish_except("nobody's", "x", stranger).map(|it| it.subscribers), Ok(0));
    assert_eq!(hub.publish_except("t", "not 2", peers[2].0).map(|it| it.subscribers), Ok(2));
    sim.turn();
    let expected: [&[&str]; 3] = [
        &["all 1", "not 1", "not 1 again", "all 2", "not 2"],
        &["all 1", "not 0", "direct 1", "not 0 again", "all 2", "not 2"],
        &["all 1", "not 0", "not 1", "not 1 again", "not 0 again", "all 2"],
    ];
    for (peer, expected) in peers.iter().zip(expected) {
        assert_eq!(peer.1.reads(), texts(expected));
    }
    assert_eq!(stranger_wire.reads(), []);
    // A sender alone reaches nobody.
    sim.hub().subscribe(stranger, "own").unwrap();
    assert_eq!(sim.hub().publish_except("own", "x", stranger).map(|it| it.subscribers), Ok(0));
    sim.turn();
    assert_eq!(stranger_wire.reads(), []);
    // An id that is gone leaves nobody out.
    sim.hub().close(peers[0].0, CloseCode::NORMAL, "");
    peers[0].1.finishes();
    (0..4).for_each(|_| sim.turn());
    assert_eq!(sim.hub().publish_except("t", "all 3", peers[0].0).map(|it| it.subscribers), Ok(2));
}

#[test]
fn what_was_published_before_a_connection_leaves_still_arrives() {
    let mut sim = sim();
    let peers = subscribers(&mut sim, 3, "t");
    for (id, _) in &peers {
        sim.hub().subscribe(*id, "u").unwrap();
    }
    // One leaves by itself, one is closed, and one closes.
    peers[2].1.sends(close(1000, ""));
    sim.turn_with(None, |hub, told| {
        assert_eq!(*told, Told::Closed(peers[2].0, 1000));
        hub.publish("t", "t").unwrap();
        hub.publish("u", "u").unwrap();
        hub.unsubscribe(peers[0].0, "t");
        hub.close(peers[1].0, CloseCode::NORMAL, "done");
        assert_eq!(hub.publish("t", "late").map(|it| it.subscribers), Ok(1));
        assert_eq!(hub.subscribe(peers[1].0, "t"), Err(SubscribeError::Gone));
        assert_eq!(hub.send(peers[1].0, "late"), Err(SendError::Gone));
    });
    sim.turn();
    let mut by_itself = peers[0].1.reads();
    by_itself.sort_by_key(|frame| frame.payload.clone());
    assert_eq!(by_itself, texts(&["t", "u"]));
    let mut closed = peers[1].1.reads();
    closed[..2].sort_by_key(|frame| frame.payload.clone());
    assert_eq!(closed, [text("t"), text("u"), close(1000, "done")]);
    let mut closing = peers[2].1.reads();
    assert_eq!(closing.pop(), Some(close(1000, "")));
    let t: Vec<_> = closing.iter().filter(|frame| **frame != text("u")).cloned().collect();
    assert_eq!((t, closing.len()), (texts(&["t", "late"]), 3));
    assert_eq!(sim.hub().subscriber_count("t"), 0);
    assert_eq!(sim.hub().topics_of(peers[0].0).collect::<Vec<_>>(), ["u"]);
}

#[test]
fn a_connection_may_have_as_many_topics_as_the_limit_says() {
    let mut sim = Sim::new(quiet(|config| config.topics_per_connection_max = 100));
    let peers: Vec<_> = (0..3).map(|_| sim.opens()).collect();
    let name = |topic: usize| format!("topic {topic}");
    for id in peers.iter().map(conn_id) {
        for topic in 0..100 {
            sim.hub().subscribe(id, &name(topic)).unwrap();
        }
        assert_eq!(sim.hub().subscribe(id, "one more"), Err(SubscribeError::TooManyTopics));
        // One that it has already is no further one.
        sim.hub().subscribe(id, &name(7)).unwrap();
    }
    assert_eq!((sim.hub().topic_count(), sim.hub().subscriber_count("one more")), (100, 0));
    // From the front, from the back and from the middle, so that the lists are shuffled.
    let id = peers[1].0;
    for topic in [0, 99, 50, 1, 98, 49, 51] {
        assert!(sim.hub().unsubscribe(id, &name(topic)));
    }
    for topic in 0..100 {
        sim.hub().publish(&name(topic), name(topic)).unwrap();
    }
    sim.turn();
    for (peer, left) in peers.iter().zip([&[][..], &[0, 99, 50, 1, 98, 49, 51], &[]]) {
        let mut got: HashMap<Vec<u8>, usize> = HashMap::new();
        peer.1.reads().into_iter().for_each(|frame| *got.entry(frame.payload).or_default() += 1);
        for topic in 0..100 {
            let expected = usize::from(!left.contains(&topic));
            let count = got.remove(name(topic).as_bytes()).unwrap_or_default();
            assert_eq!(count, expected, "{}", name(topic));
        }
        assert!(got.is_empty());
    }
    sim.hub().subscribe(id, "one more").unwrap();
}

#[test]
fn a_topics_name_has_a_longest_length_and_may_be_anything_else() {
    let mut sim = Sim::new(quiet(|config| config.topic_name_bytes_max = 6));
    let (id, wire) = sim.opens();
    assert_eq!(sim.hub().subscribe(id, "seven77"), Err(SubscribeError::NameTooLong));
    // Counted in bytes.
    assert_eq!(sim.hub().subscribe(id, "ééééé"), Err(SubscribeError::NameTooLong));
    for name in ["", "ééé", "a\0b\n ", "/$*#"] {
        sim.hub().subscribe(id, name).unwrap();
        assert_eq!(sim.hub().publish(name, name).map(|it| it.subscribers), Ok(1));
        sim.turn();
        assert_eq!(wire.reads(), [text(name)]);
    }
    // Longer than any topic can be: nobody's, and no error.
    assert_eq!(sim.hub().publish(&"x".repeat(1000), "x").map(|it| it.subscribers), Ok(0));
}

#[test]
fn what_nobody_subscribes_to_is_not_published() {
    let mut sim = sim();
    let (id, _wire) = sim.opens();
    assert_eq!(sim.hub().publish("t", "x").map(|it| it.subscribers), Ok(0));
    sim.hub().subscribe(id, "t").unwrap();
    sim.hub().unsubscribe(id, "t");
    assert_eq!(sim.hub().publish("t", "x").map(|it| it.subscribers), Ok(0));
    assert_eq!((sim.hub().topic_count(), sim.hub().queued_bytes_total()), (0, 0));
    assert_eq!(sim.hub().counters().publications, 0);
}

#[test]
fn a_topic_without_subscribers_is_none() {
    let mut sim = sim();
    let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
    sim.hub().publish("t", "x").unwrap();
    sim.hub().unsubscribe(id, "t");
    assert_eq!(
        sim.hub().topic_count(),
        0,
        "its publication is still to be delivered, but it is over"
    );
    sim.turn();
    assert_eq!(wire.reads(), texts(&["x"]));
}

#[test]
fn a_connection_that_is_not_open_cannot_subscribe() {
    let mut sim = sim();
    let (id, wire) = sim.opens();
    sim.hub().subscribe(id, "t").unwrap();
    wire.resets();
    sim.turn();
    assert_eq!(sim.takes(), [Told::Closed(id, 1006)]);
    // Before its slot is freed, and after.
    for _ in 0..3 {
        assert_eq!(sim.hub().subscribe(id, "t"), Err(SubscribeError::Gone));
        assert!(!sim.hub().unsubscribe(id, "t"));
        assert_eq!((sim.hub().topic_count(), sim.hub().topics_of(id).count()), (0, 0));
        sim.turn();
    }
}

#[test]
fn binary_and_every_length_are_delivered_as_they_were_published() {
    let server = TestServer::start(Config::default(), |hub, event| match event {
        Event::Opened { id } => hub.subscribe(id, "t").unwrap(),
        Event::Message { id, message } => drop(hub.publish_except("t", message, id)),
        event => accept(hub, event),
    });
    let (mut talks, mut hears) = (server.opens(), server.opens());
    for len in [0, 1, 125, 126, 127, 1000, 65_535, 65_536] {
        let payload: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let binary = crate::support::binary(&payload);
        talks.sends(binary.clone());
        hears.expects(binary);
        talks.sends(text("x".repeat(len)));
        hears.expects(text("x".repeat(len)));
    }
    // The talker has heard nothing of it.
    server.act(|hub| hub.publish("t", "end")).unwrap();
    talks.expects(text("end"));
    assert!(matches!(server.next_of(&talks), Seen::Binary(payload) if payload.is_empty()));
}

/// Its Close has come, and the answer is due at the start of the next turn: until then it is open, and
/// a close of ours has nothing to add.
#[test]
fn who_has_said_close_is_not_closed_again_and_hears_what_is_published_before_the_answer() {
    let mut sim = sim();
    let (id, wire) = subscribers(&mut sim, 1, "t").remove(0);
    wire.sends(close(1000, ""));
    sim.turn();
    assert_eq!(sim.takes(), [Told::Closed(id, 1000)]);
    sim.hub().close(id, CloseCode::GOING_AWAY, "");
    assert_eq!(sim.hub().publish("t", "late").map(|it| it.subscribers), Ok(1));
    sim.rests();
    assert_eq!(wire.reads(), [text("late"), close(1000, "")]);
}
