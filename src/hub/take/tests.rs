//! What is listed for one write, and what is kept from turn to turn.

use std::time::Instant;

use super::{
    super::{Hub, subscriptions::Subscriptions, tests_hub, tests_open},
    *,
};

#[test]
fn what_long_writes_took_is_given_back() {
    // Room for bytes and for pieces, and what is kept of it.
    for (room, kept) in [((65_536, 256), (65_536, 256)), ((131_072, 257), (65_536, 256))] {
        let mut pieces = Pieces {
            scratch: Vec::with_capacity(room.0),
            pieces: Vec::with_capacity(room.1),
            ..Pieces::default()
        };
        pieces.scratch.resize(room.0, 0);
        pieces.pieces.resize(room.1, Piece::Pong(1));
        pieces.rest();
        assert_eq!((pieces.scratch.capacity(), pieces.pieces.capacity()), kept);
    }
}

#[test]
fn a_write_is_full_when_its_bytes_or_its_steps_are() {
    // Bytes of one piece, further steps, and whether it is full at 100. Steps count as 8 bytes each.
    let cases = [
        (91, 0, false),
        (92, 0, true),
        (83, 1, false),
        (84, 1, true),
        (100, 0, true),
        (0, 99, false),
    ];
    for (bytes, steps, is_full) in cases {
        let pieces = vec![Piece::Line(bytes); bytes.min(1)];
        let pieces = Pieces { pieces, bytes, steps, ..Pieces::default() };
        assert_eq!(pieces.is_full(100), is_full, "{bytes} bytes, {steps} steps");
    }
}

// The clock starts somewhere; it is read once.
#[allow(clippy::disallowed_methods)]
fn subscriber(topics: &[&str]) -> (Hub, ConnId) {
    let mut hub = tests_hub(Instant::now());
    let id = tests_open(&mut hub);
    topics.iter().for_each(|topic| hub.subscribe(id, topic).unwrap());
    (hub, id)
}

/// What is listed for one write, the lengths of the pieces, and the steps that it took.
fn collect(hub: &mut Hub, id: ConnId, max: usize) -> (Pieces, Vec<usize>, u64) {
    hub.begin_flush();
    hub.topics.steps = 0;
    let mut pieces = Pieces::default();
    taking(hub, id).collect(&mut pieces, max);
    let lens = pieces.pieces.iter().map(Piece::len).collect();
    (pieces, lens, hub.topics.steps)
}

fn taking(hub: &mut Hub, id: ConnId) -> Taking<'_> {
    let connection = &mut hub.slots[id.index as usize].connection;
    Taking { id, connection, topics: &mut hub.topics, commons: &mut hub.commons }
}

#[test]
fn the_next_write_begins_with_the_first_topic_that_had_no_room() {
    let (mut hub, id) = subscriber(&["left", "ada", "bob", "eve"]);
    for topic in ["left", "ada", "bob", "eve"] {
        hub.publish(topic, &[0; 98][..]).unwrap();
    }
    hub.unsubscribe(id, "left");
    // The last one took the place of the one that was left.
    for (max, lens, next) in [(150, 2, 1), (250, 3, 0), (1000, 4, 0)] {
        assert_eq!(collect(&mut hub, id, max).1, vec![100; lens]);
        assert_eq!(hub.topics.list(id.index).first_subscription(), next, "of {max} bytes");
    }
}

/// Which one is next needs room of its own.
#[test]
fn an_only_subscription_is_next_without_saying_so() {
    let (mut hub, id) = subscriber(&["ada"]);
    hub.send(id, &[0; 98][..]).unwrap();
    hub.publish("ada", "text").unwrap();
    // The line is a step, and the subscription that is not come to another.
    assert_eq!(collect(&mut hub, id, 116).1, [100]);
    assert!(matches!(hub.topics.list(id.index), Subscriptions::One(_)));
}

#[test]
fn readers_pieces_and_what_is_passed_over_are_steps() {
    let (mut hub, id) = subscriber(&["ada"]);
    for (topic, is_due) in [("ada", true), ("ada", false)] {
        let except = if is_due { ConnId { generation: 0, ..id } } else { id };
        hub.publish_except(topic, "text", except).unwrap();
    }
    // The reader is looked at twice, what is not for it is found ahead and come to, and there is a piece.
    let (_, lens, steps) = collect(&mut hub, id, 1000);
    assert_eq!((lens, steps), (vec![6], 5));
}

#[test]
fn a_late_pong_goes_behind_a_frame_that_has_begun_to_leave() {
    for (written, lens) in [(0, vec![6, 12]), (6, vec![6, 6]), (2, vec![4, 6, 6])] {
        let (mut hub, id) = subscriber(&[]);
        hub.send(id, "text").unwrap();
        hub.send(id, "more").unwrap();
        let outbox = hub.slots[id.index as usize].connection.outbox.get_mut().unwrap();
        outbox.advance_line(written, &mut hub.commons);
        outbox.set_late_pong(|out| out.extend([0; 6]));
        assert_eq!(collect(&mut hub, id, 1000).1, lens, "{written} bytes have left");
    }
}

#[test]
fn a_publication_is_delivered_once_it_has_begun_to_leave() {
    // Of two publications of 100 bytes: what is written, how many are delivered, and what is left of one.
    for (wrote, delivered, rest) in
        [(1, 1, 99), (99, 1, 1), (100, 1, 0), (101, 2, 99), (199, 2, 1), (200, 2, 0)]
    {
        let (mut hub, id) = subscriber(&["ada"]);
        for _ in 0..2 {
            hub.publish("ada", &[0; 98][..]).unwrap();
        }
        let (pieces, lens, _) = collect(&mut hub, id, 1000);
        assert_eq!(lens, [200]);
        taking(&mut hub, id).advance(&pieces, wrote);
        let left =
            hub.slots[id.index as usize].connection.outbox.get().map_or(0, |it| it.rest().len());
        assert_eq!(
            (hub.counters().deliveries, left),
            (delivered, rest),
            "{wrote} bytes are written"
        );
    }
}
