//! What topics publish in an encoding of the application.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pushloop::{
    CloseCode, Config, ConnId, Encoder, EncodingId, EncodingsFull, History, Message, OnLag,
    Position, Publication, Response,
};

use crate::support::net::{Sim, Wire};
use crate::support::{Frame, binary, get, quiet, text};

fn sim(set: impl FnOnce(&mut Config)) -> Sim {
    Sim::new(quiet(|config| {
        config.topic.history = Some(History::of(100));
        set(config);
    }))
}

/// The topic, the place and the text.
fn line(topic: &str, publication: Publication<'_>, out: &mut String) {
    out.push_str(&said(topic, publication.position, publication.message));
}

fn said(topic: &str, position: Position, message: Message<'_>) -> String {
    match message {
        Message::Text(text) => format!("{topic} {position} {text}"),
        Message::Binary(bytes) => format!("{topic} {position} {bytes:?}"),
    }
}

/// The offset, and the bytes backwards.
fn backwards(_: &str, publication: Publication<'_>, out: &mut Vec<u8>) {
    out.push(publication.position.offset as u8);
    out.extend(publication.message.as_bytes().iter().rev());
}

/// A WebSocket that takes publications so, and subscribes to the topics.
fn takes(sim: &mut Sim, encoding: EncodingId, topics: &[&str]) -> (ConnId, Wire) {
    let (id, wire) = sim.opens();
    assert!(sim.hub().use_encoding(id, encoding));
    topics.iter().for_each(|topic| sim.hub().subscribe(id, topic).unwrap());
    (id, wire)
}

fn publish(sim: &mut Sim, topic: &str, message: &str) -> Frame {
    let position = sim.hub().publish(topic, message).unwrap().position.unwrap();
    text(said(topic, position, Message::Text(message)))
}

#[test]
fn publications_of_all_topics_come_in_the_encoding_that_was_asked_for() {
    let mut sim = sim(|_| {});
    let line = sim.hub().add_encoding(Encoder::Text(line)).unwrap();
    let backwards = sim.hub().add_encoding(Encoder::Binary(backwards)).unwrap();
    let (id, wire) = takes(&mut sim, line, &["t", "u"]);
    let (bytes, bytes_wire) = takes(&mut sim, backwards, &["t"]);
    let (plain, plain_wire) = sim.opens();
    sim.hub().subscribe(plain, "t").unwrap();
    let one = publish(&mut sim, "t", "κόσμε");
    let two = sim.hub().publish_except("t", [7, 8], bytes).unwrap().position.unwrap();
    sim.hub().send(id, "between").unwrap();
    let three = publish(&mut sim, "t", "");
    let other = publish(&mut sim, "u", "other");
    sim.rests();
    let two = text(said("t", two, Message::Binary(&[7, 8])));
    let got = wire.reads();
    // Each topic's are in order, and so is what was sent between them.
    let of_t: Vec<_> = got.iter().filter(|it| **it != other).cloned().collect();
    assert_eq!((got.len(), of_t), (5, vec![one, two, text("between"), three]));
    let reversed: Vec<u8> = [1].into_iter().chain("κόσμε".bytes().rev()).collect();
    assert_eq!(bytes_wire.reads(), [binary(reversed), binary([3])]);
    assert_eq!(plain_wire.reads(), [text("κόσμε"), binary([7, 8]), text("")]);
    assert_eq!((sim.hub().counters().deliveries, sim.hub().queued_bytes_total()), (9, 0));
}

#[test]
fn a_hub_has_so_many_encodings_and_connections_take_those_of_their_kind() {
    let mut sim = sim(|_| {});
    let (early, _) = sim.opens();
    let ids: Vec<_> = [Encoder::Text(line); 7].map(|it| sim.hub().add_encoding(it).unwrap()).into();
    let stream = sim.hub().add_encoding(LINES).unwrap();
    assert_eq!((EncodingId::ENCODINGS_MAX, ids.len()), (8, 7));
    let full: EncodingsFull = sim.hub().add_encoding(Encoder::Text(line)).unwrap_err();
    assert_eq!(full.to_string(), "a hub has 8 encodings at the most (ENCODINGS_MAX)");
    // One that another hub has is none of this one.
    let mut other = Sim::new(quiet(|_| {}));
    let (id, _) = other.opens();
    assert!(!other.hub().use_encoding(id, ids[0]));
    assert!(sim.hub().use_encoding(early, ids[3]));
    let (request, _) = sim.asks(&get("/"));
    sim.hub().event_stream(request, Response::new(200)).unwrap();
    assert!(!sim.hub().use_encoding(request.conn(), ids[0]));
    assert!(sim.hub().use_encoding(request.conn(), stream));
    assert!(!sim.hub().use_encoding(early, stream));
    let (waits, _) = sim.asks(&get("/"));
    assert!(!sim.hub().use_encoding(waits.conn(), stream), "it is not answered");
    sim.hub().stream(waits, Response::new(200)).unwrap();
    assert!(!sim.hub().use_encoding(waits.conn(), stream), "it has no topics");
    sim.hub().close(early, CloseCode::NORMAL, "");
    sim.hub().close(request.conn(), CloseCode::NORMAL, "");
    assert!(!sim.hub().use_encoding(early, ids[0]));
    assert!(!sim.hub().use_encoding(request.conn(), stream));
}

static CALLS: AtomicUsize = AtomicUsize::new(0);

fn counting(topic: &str, publication: Publication<'_>, out: &mut String) {
    CALLS.fetch_add(1, Relaxed);
    line(topic, publication, out);
}

/// However many take it, and it is counted as long as it is held.
#[test]
fn it_is_made_once_for_all_and_counted_while_it_is_held() {
    let mut sim = sim(|config| config.topic_lag_bytes_max = 1 << 20);
    let counting = sim.hub().add_encoding(Encoder::Text(counting)).unwrap();
    let peers: Vec<_> = (0..50).map(|_| takes(&mut sim, counting, &["t"])).collect();
    let due = publish(&mut sim, "t", &"x".repeat(10_000));
    sim.rests();
    assert_eq!(CALLS.load(Relaxed), 1);
    let due = [due];
    peers.iter().for_each(|(_, wire)| assert_eq!(wire.reads(), due));
    // In the history it is as it was published: what can be made again is not kept.
    let counters = sim.hub().counters();
    assert!((10_000..11_000).contains(&counters.history_bytes), "{}", counters.history_bytes);
    assert_eq!(counters.queued_bytes, 0);
    // Of those that take nothing, the one that reads on has it made once more, for all.
    peers.iter().for_each(|(_, wire)| wire.holds(0));
    let due = publish(&mut sim, "t", &"y".repeat(10_000));
    sim.rests();
    let held = |sim: &mut Sim| {
        let counters = sim.hub().counters();
        counters.queued_bytes + counters.history_bytes
    };
    let (calls, plain) = (CALLS.load(Relaxed), held(&mut sim));
    assert!((20_000..21_000).contains(&plain), "{plain}");
    for (at, (_, wire)) in peers.iter().enumerate() {
        wire.holds(usize::MAX);
        let mut got = wire.reads_bytes();
        sim.rests();
        got.extend(wire.reads_bytes());
        assert_eq!(got, due.unmasked());
        let made = held(&mut sim);
        // The history is one batch by now, and has both publications.
        assert!((40_000..41_000).contains(&made), "{at}: {made}");
    }
    assert_eq!(CALLS.load(Relaxed), calls + 2);
    sim.hub().clear_history("t");
    sim.rests();
    let counters = sim.hub().counters();
    assert_eq!((counters.history_bytes, sim.hub().queued_bytes_total()), (0, 0));
}

#[test]
fn one_that_comes_back_goes_on_where_it_was() {
    for missed in 0..=20 {
        let mut sim = sim(|_| {});
        let line = sim.hub().add_encoding(Encoder::Text(line)).unwrap();
        let here = sim.hub().publish("t", "here").unwrap().position.unwrap();
        let kept: Vec<_> = (0..missed).map(|_| publish(&mut sim, "t", "kept")).collect();
        sim.rests();
        let (id, wire) = takes(&mut sim, line, &[]);
        sim.hub().send(id, "before").unwrap();
        assert_eq!(sim.hub().subscribe_after(id, "t", here).unwrap().kept, Ok(missed));
        sim.hub().send(id, "after").unwrap();
        let live = publish(&mut sim, "t", "live");
        sim.rests();
        let due: Vec<_> =
            [text("before")].into_iter().chain(kept).chain([text("after"), live]).collect();
        assert_eq!(wire.reads(), due);
    }
}

#[test]
fn one_that_lags_is_closed_or_goes_on_as_its_topic_says() {
    for (on_lag, ends) in [(OnLag::Close, true), (OnLag::Latest, false), (OnLag::Skip, false)] {
        let mut sim = sim(|config| {
            (config.topic.on_lag, config.topic_lag_bytes_max) = (on_lag, 1000);
            config.topic.history = None;
        });
        let line = sim.hub().add_encoding(Encoder::Text(line)).unwrap();
        let (_, wire) = takes(&mut sim, line, &["t"]);
        wire.holds(100);
        let all: Vec<_> = (0..200)
            .map(|at| {
                let due = publish(&mut sim, "t", &format!("{at}"));
                sim.turn();
                due
            })
            .collect();
        wire.holds(usize::MAX);
        let mut got = wire.reads_bytes();
        sim.rests();
        got.extend(wire.reads_bytes());
        let got = crate::support::net::frames(&got);
        let closed = got.last().is_some_and(|it| it.first == 0x88);
        assert_eq!((closed, got.contains(&all[199])), (ends, !ends), "{on_lag:?}");
        // Each message is whole, and they are in order.
        let places = got.iter().filter(|it| it.first != 0x88);
        let places: Vec<_> =
            places.map(|it| all.iter().position(|due| due == it).unwrap()).collect();
        assert!(places.is_sorted_by(|a, b| a < b) && places[0] == 0, "{places:?}");
        assert!(places.len() < 200, "some were passed over");
    }
}

/// What clients of a protocol do when they are closed goes by the code.
#[test]
fn an_encoding_may_have_close_codes_of_its_own() {
    let code_of = |frames: &[Frame]| {
        let last = frames.last().expect("there is one");
        (last.first == 0x88).then(|| u16::from_be_bytes([last.payload[0], last.payload[1]]))
    };
    let mut sim = sim(|config| {
        (config.topic.history, config.topic_lag_bytes_max) = (None, 1000);
    });
    let line = sim.hub().add_encoding(Encoder::Text(line)).unwrap();
    let backwards = sim.hub().add_encoding(Encoder::Binary(backwards)).unwrap();
    let [ends, slow] = [3001, 3008].map(|code| CloseCode::new(code).unwrap());
    assert!(sim.hub().set_close_codes(line, ends, slow));
    let (lags, lags_wire) = takes(&mut sim, line, &["t"]);
    let peers = [takes(&mut sim, line, &["u"]), takes(&mut sim, backwards, &["u"])];
    let (plain, plain_wire) = sim.opens();
    lags_wire.holds(100);
    (0..200).for_each(|at| {
        publish(&mut sim, "t", &format!("{at}"));
        sim.turn();
    });
    lags_wire.holds(usize::MAX);
    let mut got = lags_wire.reads_bytes();
    sim.rests();
    got.extend(lags_wire.reads_bytes());
    assert_eq!(code_of(&crate::support::net::frames(&got)), Some(3008));
    // The application's own code is its own.
    sim.hub().close(peers[0].0, CloseCode::NORMAL, "");
    let again = takes(&mut sim, line, &[]);
    sim.rests();
    assert_eq!(code_of(&peers[0].1.reads()), Some(1000));
    sim.hub().shutdown(std::time::Duration::from_secs(30));
    sim.rests();
    assert_eq!(code_of(&again.1.reads()), Some(3001));
    assert_eq!([&peers[1].1, &plain_wire].map(|wire| code_of(&wire.reads())), [Some(1001); 2]);
    assert!(!sim.hub().is_open(lags) && !sim.hub().is_open(plain));
}

/// Lines in the body of a stream: publications, and why it ends.
const LINES: Encoder = Encoder::Stream { publication: body_line, close: last_line };

fn body_line(topic: &str, publication: Publication<'_>, out: &mut Vec<u8>) {
    let line = said(topic, publication.position, publication.message);
    out.extend_from_slice(format!("{line}\n").as_bytes());
}

fn last_line(code: CloseCode, reason: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("end {} {reason}\n", code.get()).as_bytes());
}

/// A stream that takes publications so, and subscribes to the topic.
fn streams(sim: &mut Sim, encoding: EncodingId, topic: &str) -> (ConnId, Wire) {
    let (request, wire) = sim.asks(&get("/"));
    let response = Response::new(200).header("Content-Type", "text/plain").body("begin\n");
    sim.hub().event_stream(request, response).unwrap();
    let id = request.conn();
    assert!(sim.hub().use_encoding(id, encoding));
    sim.hub().subscribe(id, topic).unwrap();
    (id, wire)
}

/// What came behind the head.
fn body(wire: &Wire) -> String {
    let bytes = String::from_utf8(wire.reads_bytes()).expect("it is text");
    bytes.split_once("\r\n\r\n").map_or(bytes.clone(), |(_, body)| body.to_owned())
}

#[test]
fn a_stream_has_publications_in_a_form_of_the_applications_made_once_for_all() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let counted = |topic: &str, publication: Publication<'_>, out: &mut Vec<u8>| {
        MADE.fetch_add(1, Relaxed);
        body_line(topic, publication, out);
    };
    let mut sim = sim(|config| config.ping_interval = Some(std::time::Duration::from_secs(1)));
    let counted = Encoder::Stream { publication: counted, close: last_line };
    let lines = sim.hub().add_encoding(counted).unwrap();
    let all: Vec<_> = (0..20).map(|_| streams(&mut sim, lines, "t")).collect();
    sim.rests();
    let first = sim.hub().publish("t", "first").unwrap().position.unwrap();
    all.iter().for_each(|(id, _)| sim.hub().write(*id, "written\n").unwrap());
    let second = sim.hub().publish("t", "second").unwrap().position.unwrap();
    sim.rests();
    assert_eq!(MADE.load(Relaxed), 2);
    for (_, wire) in &all {
        let due = format!("begin\nt {first} first\nwritten\nt {second} second\n");
        assert_eq!(body(wire), due);
    }
    // No comment comes where nothing else does, which would be none of its form.
    sim.turn_within(Some(std::time::Duration::from_secs(100)));
    sim.rests();
    assert!(all.iter().all(|(_, wire)| body(wire).is_empty()));
    assert_eq!(sim.hub().connection_count(), 20);
}

#[test]
fn a_stream_ends_with_what_its_form_has_for_that_behind_what_is_due() {
    let mut sim = sim(|config| {
        (config.topic.history, config.topic_lag_bytes_max) = (None, 1000);
    });
    let lines = sim.hub().add_encoding(LINES).unwrap();
    let [ends, slow] = [3001, 3008].map(|code| CloseCode::new(code).unwrap());
    assert!(sim.hub().set_close_codes(lines, ends, slow));
    let [(closed, closed_wire), (finished, finished_wire), (lags, lags_wire), (_, rest_wire)] =
        [(); 4].map(|()| streams(&mut sim, lines, "t"));
    let (full, full_wire) = streams(&mut sim, lines, "u");
    sim.rests();
    [&closed_wire, &finished_wire, &lags_wire, &rest_wire]
        .into_iter()
        .for_each(|it| drop(body(it)));
    sim.hub().publish("t", "due").unwrap();
    sim.hub().close(closed, CloseCode::new(4000).unwrap(), "because");
    assert!(sim.hub().finish(finished));
    sim.rests();
    let told = body(&closed_wire);
    let (line, end) = told.split_at(told.find("end").unwrap_or(told.len()));
    assert!(line.ends_with(" due\n") && end == "end 4000 because\n", "{told}");
    assert!(body(&finished_wire).ends_with(" due\n"), "the application has said what it says");
    assert!(closed_wire.is_ended() && finished_wire.is_ended());
    lags_wire.holds(10);
    (0..200).for_each(|_| {
        sim.hub().publish("t", "more").unwrap();
        sim.turn();
    });
    lags_wire.holds(usize::MAX);
    let mut got = body(&lags_wire);
    sim.rests();
    got += &body(&lags_wire);
    assert!(got.ends_with("\nend 3008 too slow: topic_lag_bytes_max\n"), "{got}");
    body(&rest_wire);
    // Another thread's piece finds no room.
    body(&full_wire);
    let piece = vec![b'x'; sim.hub().config().send_queue_bytes_max];
    sim.hub().handle().write(full, piece).unwrap();
    sim.rests();
    assert_eq!(body(&full_wire), "end 3008 too slow: send_queue_bytes_max\n");
    sim.hub().shutdown(std::time::Duration::from_secs(30));
    sim.rests();
    assert_eq!(body(&rest_wire), "end 3001 the server is shutting down\n");
    assert!(rest_wire.is_ended() && sim.hub().lag(lags, "t").is_none());
}

/// What is due has its room, and the last words have what is left: if that is not enough, the stream ends without.
#[test]
fn last_words_have_the_room_that_is_left() {
    const MAX: usize = 1000;
    let reason = "because ".repeat(10);
    let words = format!("end 1000 {reason}\n");
    for (waits, are_said) in [(MAX - words.len(), true), (MAX - words.len() + 1, false)] {
        let mut sim = sim(|config| config.send_queue_bytes_max = MAX);
        let lines = sim.hub().add_encoding(LINES).unwrap();
        let (id, wire) = streams(&mut sim, lines, "t");
        sim.rests();
        body(&wire);
        let piece = "x".repeat(waits);
        sim.hub().write(id, &piece).unwrap();
        assert_eq!(sim.hub().queued_bytes(id), waits);
        sim.hub().close(id, CloseCode::NORMAL, &reason);
        sim.rests();
        assert_eq!(body(&wire), piece + if are_said { &words } else { "" });
        assert!(wire.is_ended());
    }
}
