//! Answers whose bodies are sent as they are made.

use std::time::Duration;

use pushloop::{CloseCode, ConnId, HandleError, Response, SendError};

use crate::support::net::{Sim, Told, Wire};
use crate::support::{get, quiet};

const SECOND: Duration = Duration::from_secs(1);

/// A connection whose request is answered with a stream, and what has come back so far.
fn streams(sim: &mut Sim, request: &str, response: Response) -> (ConnId, Wire, String) {
    let (id, wire) = sim.asks(request);
    sim.hub().stream(id, response).expect("it waits");
    sim.rests();
    let back = text(&wire);
    (id.conn(), wire, back)
}

fn text(wire: &Wire) -> String {
    String::from_utf8(wire.reads_bytes()).expect("text")
}

/// What chunks of this form say, and whether the last one is among them.
fn decode(mut chunks: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            assert_eq!(rest, "\r\n", "something follows the last chunk");
            return (body, true);
        }
        let (data, rest) = rest.split_at(size);
        body += data;
        chunks = rest.strip_prefix("\r\n").expect("data ends as its size says");
    }
    assert!(chunks.is_empty(), "{chunks}");
    (body, false)
}

#[test]
fn a_body_comes_in_pieces_as_they_are_written() {
    let mut sim = Sim::new(quiet(|_| {}));
    let response = Response::text(200, "first ");
    let (id, wire, back) = streams(&mut sim, &(get("/") + &get("/unheard")), response);
    let (head, body) = back.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nDate: "), "{head}");
    assert!(head.ends_with("\r\nTransfer-Encoding: chunked\r\nConnection: close"), "{head}");
    assert_eq!(body, "6\r\nfirst \r\n");
    sim.hub().write(id, "").expect("it is nothing");
    sim.hub().write(id, "second ").expect("there is room");
    sim.hub().write(id, "\r\n0\r\n\r\n").expect("there is room");
    sim.rests();
    assert_eq!(decode(&text(&wire)), ("second \r\n0\r\n\r\n".into(), false));
    assert!(sim.hub().finish(id) && !sim.hub().finish(id));
    assert_eq!(sim.hub().write(id, "late"), Err(SendError::Gone));
    wire.sends_bytes(get("/behind"));
    sim.rests();
    assert_eq!((text(&wire), wire.is_ended()), ("0\r\n\r\n".into(), true));
    assert_eq!(sim.takes(), [Told::Closed(id, 1000)]);
    wire.finishes();
    sim.rests();
    assert_eq!((sim.hub().connection_count(), sim.takes()), (0, vec![]));
}

#[test]
fn a_body_ends_with_the_connection_in_http_1_0() {
    let mut sim = Sim::new(quiet(|_| {}));
    let old = get("/").replace("HTTP/1.1", "HTTP/1.0");
    let (id, wire, back) = streams(&mut sim, &old, Response::new(200).body("one "));
    assert!(back.contains("Connection: close\r\n\r\none "), "{back}");
    assert!(!back.contains("chunked") && !back.contains("Length"), "{back}");
    sim.hub().write(id, "two").expect("there is room");
    sim.hub().close(id, CloseCode::NORMAL, "a stream has no code");
    sim.rests();
    assert_eq!((text(&wire), wire.is_ended()), ("two".into(), true));
    assert_eq!(sim.takes(), [Told::Closed(id, 1000)]);
}

/// RFC 9110 §9.3.2, §8.6, §6.4.1: what a HEAD is told is what a GET would be.
#[test]
fn an_answer_without_a_body_is_finished_at_once() {
    let mut sim = Sim::new(quiet(|_| {}));
    for (request, status) in [(get("/").replace("GET", "HEAD"), 200), (get("/"), 204)] {
        let response = Response::new(status).body("unsent");
        let (id, wire, back) = streams(&mut sim, &request, response);
        assert!(back.ends_with("\r\n\r\n") && !back.contains("Content-Length"), "{back}");
        assert_eq!(back.contains("chunked"), status == 200, "{back}");
        assert_eq!(sim.hub().write(id, "x"), Err(SendError::Gone));
        assert_eq!((sim.takes(), wire.is_ended()), (vec![Told::Closed(id, 1000)], true));
    }
}

/// Nothing but a finished body looks whole.
#[test]
fn a_stream_that_is_not_finished_is_not_whole_and_its_end_is_told_once() {
    type End = fn(&mut Sim, ConnId, &Wire);
    let ends: [(u16, End); 4] = [
        (1006, |_, _, wire| wire.finishes()),
        (1006, |_, _, wire| wire.resets()),
        (1006, |sim, id, _| sim.hub().abort(id)),
        (1001, |sim, _, _| sim.hub().shutdown(SECOND)),
    ];
    for (code, end) in ends {
        let mut sim = Sim::new(quiet(|_| {}));
        let (id, wire, back) = streams(&mut sim, &get("/"), Response::new(200).body("begun"));
        end(&mut sim, id, &wire);
        sim.turn_within(Some(2 * SECOND));
        sim.rests();
        sim.turn_within(Some(2 * SECOND));
        let rest = if wire.is_reset() { String::new() } else { text(&wire) };
        assert!(back.ends_with("5\r\nbegun\r\n") && rest.is_empty(), "{rest}");
        assert_eq!(sim.takes(), [Told::Closed(id, code)]);
        assert_eq!(sim.hub().connection_count(), 0);
        assert_eq!(sim.hub().queued_bytes_total(), 0);
    }
}

#[test]
fn so_much_may_wait_and_what_is_not_taken_is_the_callers() {
    const MAX: usize = 1_000;
    let mut sim = Sim::new(quiet(|limits| limits.send_queue_bytes_max = MAX));
    let (id, wire, _) = streams(&mut sim, &get("/"), Response::new(200));
    assert_eq!(sim.hub().write(id, vec![b'x'; MAX - 19]), Err(SendError::Full));
    assert_eq!(sim.hub().write(id, vec![b'x'; MAX - 20]), Ok(()));
    assert_eq!(sim.hub().write(id, vec![b'y'; MAX - 20]), Err(SendError::Full));
    sim.rests();
    assert_eq!(sim.hub().write(id, vec![b'y'; MAX - 20]), Ok(()));
    assert!(sim.hub().finish(id));
    sim.rests();
    let (body, is_whole) = decode(&text(&wire));
    assert_eq!((body, is_whole), ("x".repeat(MAX - 20) + &"y".repeat(MAX - 20), true));
    assert_eq!(sim.hub().counters().messages_dropped_full, 0);
}

/// 10 MB to a peer that takes 50 kB at a time, from an application that keeps 64 KiB queued.
#[test]
fn a_long_download_is_paced_by_its_reader() {
    const BYTES: usize = 10_000_000;
    const LOW: usize = 64 * 1024;
    let mut sim = Sim::new(quiet(|_| {}));
    let (id, wire, _) = streams(&mut sim, &get("/"), Response::new(200));
    wire.holds(50_000);
    let (mut written, mut most, mut got) = (0, 0, String::new());
    sim.hub().notify_below(id, LOW);
    while !wire.is_ended() {
        sim.turn_with(Some(Duration::ZERO), |hub, told| {
            if *told != Told::Writable(id) {
                return;
            }
            while written < BYTES && hub.queued_bytes(id) < LOW {
                let piece = [b'0' + (written / 10_000 % 10) as u8; 10_000];
                hub.write(id, piece).expect("there is room");
                written += piece.len();
            }
            match written {
                BYTES => assert!(hub.finish(id)),
                _ => hub.notify_below(id, LOW),
            }
            most = most.max(hub.queued_bytes(id));
        });
        got += &text(&wire);
    }
    let (body, is_whole) = decode(&got);
    let expected = (0..BYTES).step_by(10_000).map(|at| b'0' + (at / 10_000 % 10) as u8);
    assert!(is_whole && body.len() == BYTES);
    assert!(body.bytes().step_by(10_000).eq(expected));
    assert!(most < LOW + 10_100, "{most}");
}

/// `answer_timeout` is time in which nothing of what waits is taken.
#[test]
fn a_reader_that_takes_nothing_is_dropped_and_one_that_is_slow_is_not() {
    let mut sim = Sim::new(quiet(|limits| limits.answer_timeout = 30 * SECOND));
    let (id, wire, _) = streams(&mut sim, &get("/"), Response::new(200));
    // Nothing waits, so nothing is late.
    sim.turn_within(Some(100 * SECOND));
    wire.holds(10);
    sim.hub().write(id, "a piece of twenty-five B.").expect("there is room");
    sim.rests();
    for _ in 0..3 {
        sim.turn_within(Some(29 * SECOND));
        assert_eq!(wire.reads_some(10).len(), 10);
        sim.rests();
    }
    sim.hub().write(id, "it is not taken any more").expect("there is room");
    for _ in 0..3 {
        sim.turn_within(Some(29 * SECOND));
    }
    assert_eq!((wire.is_dropped(), wire.is_finished()), (true, false));
    let told = sim.takes().into_iter().filter(|told| !matches!(told, Told::Writable(_)));
    assert_eq!(told.collect::<Vec<_>>(), [Told::Closed(id, 1006)]);
}

/// Also if the kernel took nothing before the stream began.
#[test]
fn a_stream_that_begins_on_a_blocked_connection_has_its_deadline() {
    let mut sim = Sim::new(quiet(|limits| limits.answer_timeout = 30 * SECOND));
    sim.accepts = false;
    let wire = sim.server.net().connects();
    let head = get("/").replace("GET", "POST");
    let fields = "\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    wire.holds(0);
    wire.sends_bytes(head.replace("\r\n\r\n", fields));
    sim.rests();
    wire.sends_bytes("hi");
    sim.rests();
    let id = sim.takes_request();
    sim.hub().stream(id, Response::new(200).body("begun")).expect("it waits");
    for _ in 0..4 {
        sim.turn_within(Some(20 * SECOND));
    }
    assert_eq!(sim.takes(), [Told::Closed(id.conn(), 1006)]);
}

/// So is it for an answer that is whole, in steps of 16 KiB.
#[test]
fn a_long_answer_has_time_for_each_16_kib() {
    let mut sim = Sim::new(quiet(|limits| limits.answer_timeout = 30 * SECOND));
    for (bytes, arrives) in [(17_000, true), (1_000, false)] {
        let (id, wire) = sim.asks(&get("/"));
        wire.holds(bytes);
        sim.hub().respond(id, Response::new(200).body(vec![b'x'; 100_000])).expect("it waits");
        let mut got = 0;
        for _ in 0..10 {
            got += wire.reads_bytes().len();
            sim.rests();
            sim.turn_within(Some(20 * SECOND));
        }
        assert_eq!(got > 100_000, arrives, "{got}");
    }
}

#[test]
fn another_thread_may_stream() {
    let mut sim = Sim::new(quiet(|limits| limits.send_queue_bytes_max = 1_000));
    let handle = sim.server.handle();
    for (pieces, is_whole) in [(&["one ", "two"][..], true), (&["one ", &"x".repeat(990)], false)] {
        let (id, wire) = sim.asks(&get("/"));
        let mut pending = sim.hub().defer(id).expect("it waits");
        pending.stream(Response::new(200).header("X", "y")).expect("there is room");
        for piece in pieces {
            handle.write(id.conn(), piece).expect("there is room");
        }
        handle.finish(id.conn()).expect("there is room");
        sim.rests();
        let back = text(&wire);
        let (head, body) = back.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains("\r\nX: y\r\n") && wire.is_ended(), "{head}");
        let expected = if is_whole { "one two" } else { "one " };
        assert_eq!(decode(body), (expected.into(), is_whole));
        let code = if is_whole { 1000 } else { 1013 };
        assert_eq!(sim.takes(), [Told::Closed(id.conn(), code)]);
    }
    let counters = sim.hub().counters();
    assert_eq!((counters.commands_refused, counters.stale_commands), (1, 1));
    drop(sim);
    assert_eq!(handle.write(ConnId::from_bits(0), "x"), Err(HandleError::Closed));
}

#[test]
fn streams_whose_peers_have_vanished_are_freed() {
    const STREAMS: usize = 10_000;
    let mut sim = Sim::new(quiet(|limits| limits.answer_timeout = 30 * SECOND));
    sim.accepts = false;
    for _ in 0..STREAMS {
        let wire = sim.server.net().connects();
        wire.sends_bytes(get("/"));
        wire.holds(0);
    }
    sim.rests();
    for told in sim.takes() {
        let Told::Request(id) = told else { panic!("{told:?}") };
        let response = Response::new(200).body("is anybody there?");
        sim.hub().stream(id, response).expect("it waits");
    }
    for _ in 0..40 {
        sim.turn_within(Some(SECOND));
        sim.rests();
    }
    assert_eq!(sim.takes().len(), STREAMS);
    assert_eq!((sim.hub().connection_count(), sim.hub().queued_bytes_total()), (0, 0));
}
