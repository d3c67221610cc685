//! Whatever a hub can do, another thread can ask for: answers to requests above all.

use std::thread;

use pushloop::{
    Accept, AcceptError, AnswerError, CloseCode, ConnId, HandleError, InvalidHeader, Pending,
    RequestId, Response,
};

use super::requests::sim;
use crate::support::net::{Sim, Told, Wire};
use crate::support::{close, get, handshake, quiet, text};

/// A connection with a first request that waits.
#[track_caller]
fn asks(sim: &mut Sim, request: &str) -> (Pending, Wire) {
    let (id, wire) = sim.asks(request);
    (sim.hub().defer(id).expect("it waits"), wire)
}

fn answer_of(sim: &mut Sim, wire: &Wire) -> String {
    sim.rests();
    String::from_utf8(wire.reads_bytes()).expect("a plain answer")
}

/// A token is looked at elsewhere, and what comes of it is done there: in the order of the calls.
#[test]
fn a_request_is_accepted_greeted_and_subscribed_from_another_thread() {
    let mut sim = sim(|_| {});
    let offers = "Sec-WebSocket-Protocol: a, b\r\n";
    let (mut pending, wire) = asks(&mut sim, &handshake("/room", offers));
    assert_eq!(pending.asked_at(), sim.hub().now());
    let id = pending.id().conn();
    thread::spawn(move || {
        assert_eq!(pending.request().path(), "/room");
        let headers = [("X-User", "ada")];
        pending.accept(Accept { subprotocol: Some("b"), headers: &headers }).unwrap();
        let handle = pending.handle();
        handle.send(id, "welcome").unwrap();
        handle.subscribe(id, "room").unwrap();
        handle.publish("room", "all").unwrap();
        handle.publish_except("room", "all but one", id).unwrap();
        handle.unsubscribe(id, "room").unwrap();
        handle.publish("room", "nobody").unwrap();
    })
    .join()
    .unwrap();
    sim.rests();
    let head = String::from_utf8_lossy(&wire.reads_bytes()).into_owned();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("X-User: ada\r\n"), "{head}");
    assert!(head.contains("Sec-WebSocket-Protocol: b\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\n\u{fffd}\u{7}welcome\u{fffd}\u{3}all"), "{head}");
    assert_eq!(sim.takes(), [Told::Opened(id)]);
    assert_eq!(sim.hub().counters().stale_commands, 0);
}

/// What is wrong is said at once, and another answer can be given.
#[test]
fn a_wrong_answer_is_refused_on_the_thread_that_gives_it() {
    let mut sim = sim(|_| {});
    let (mut pending, wire) = asks(&mut sim, &get("/"));
    let not_websocket = Err(AnswerError::Accept(AcceptError::NotWebSocket));
    assert_eq!(pending.accept(Accept::default()), not_websocket);
    let broken = Response::text(200, "x").header("X", "\n");
    let invalid = AnswerError::InvalidHeader(InvalidHeader::Value);
    assert_eq!(pending.respond(broken.clone()), Err((invalid, broken)));
    assert_eq!(pending.refuse(403, "not today"), Ok(()));
    assert_eq!(pending.refuse(200, "twice"), Err(AnswerError::Answered));
    let answer = answer_of(&mut sim, &wire);
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("not today"), "{answer}");

    let (mut pending, _wire) = asks(&mut sim, &handshake("/", ""));
    let not_offered = Accept { subprotocol: Some("b"), ..Accept::default() };
    let expected = Err(AnswerError::Accept(AcceptError::SubprotocolNotOffered));
    assert_eq!(pending.accept(not_offered), expected);
    let not_ours = Accept { headers: &[("Upgrade", "h2c")], ..Accept::default() };
    let expected = Err(AnswerError::Accept(AcceptError::InvalidHeader));
    assert_eq!(pending.accept(not_ours), expected);
    assert_eq!(pending.accept(Accept::default()), Ok(()));
}

/// An answer comes back from a full mailbox, and one that is never given is 503 all the same.
#[test]
fn a_full_mailbox_gives_the_response_back_and_a_drop_answers_503() {
    let mut sim = sim(|limits| limits.mailbox_commands_max = 1);
    let (mut first, one) = asks(&mut sim, &get("/"));
    let (second, two) = asks(&mut sim, &get("/"));
    sim.server.handle().publish("t", "x").unwrap();
    let page = Response::text(200, "page");
    assert_eq!(first.respond(page.clone()), Err((AnswerError::Full, page.clone())));
    drop(second);
    assert!(answer_of(&mut sim, &two).starts_with("HTTP/1.1 503 "));
    assert_eq!(first.respond(page), Ok(()));
    assert!(answer_of(&mut sim, &one).ends_with("page"));
    drop(first);
    assert_eq!((answer_of(&mut sim, &one), sim.hub().counters().stale_commands), ("".into(), 0));
}

/// The answer to the first does not become that to the second.
#[test]
fn an_answer_that_comes_late_is_stale() {
    let mut sim = sim(|_| {});
    let (mut pending, wire) = asks(&mut sim, &get("/").repeat(2));
    let id = pending.id();
    sim.hub().refuse(id, 404, "the loop's").unwrap();
    assert!(sim.hub().defer(id).is_none());
    assert_eq!(pending.refuse(200, "too late"), Ok(()));
    let answer = answer_of(&mut sim, &wire);
    assert!(answer.starts_with("HTTP/1.1 404 ") && !answer.contains("too late"), "{answer}");
    assert_eq!(sim.hub().counters().stale_commands, 1);
    let next = sim.takes_request();
    assert!(sim.hub().defer(next).is_some_and(|pending| pending.id() == next));
}

#[test]
fn a_server_that_is_gone_takes_no_answer() {
    let mut sim = sim(|_| {});
    let (mut pending, _wire) = asks(&mut sim, &get("/"));
    drop(sim);
    assert_eq!(pending.refuse(200, "x"), Err(AnswerError::Closed));
}

#[test]
fn a_user_is_kicked_from_another_thread() {
    let mut sim = Sim::new(quiet(|limits| limits.topics_max = 1));
    let [(first, one), (second, two), (third, three)] = [(); 3].map(|()| sim.opens());
    let handle = sim.server.handle();
    let code = CloseCode::new(4000).unwrap();
    let soon = sim.hub().now() + std::time::Duration::from_secs(5);
    for topic in ["t", "u"] {
        handle.subscribe(third, topic).unwrap();
    }
    handle.abort(first).unwrap();
    handle.close_at(second, soon, code, "time is up").unwrap();
    sim.rests();
    assert!(one.is_dropped() && sim.hub().is_open(second));
    assert_eq!(sim.hub().topics_of(third).collect::<Vec<_>>(), ["t"]);
    assert_eq!(sim.hub().counters().commands_refused, 1);
    sim.turn_within(None);
    sim.rests();
    assert_eq!((two.reads(), three.reads()), (vec![close(4000, "time is up")], vec![]));
    for gone in [first, ConnId::from_bits(u64::MAX)] {
        handle.abort(gone).unwrap();
        handle.subscribe(gone, "t").unwrap();
        handle.unsubscribe(gone, "t").unwrap();
        handle.close_at(gone, soon, code, "").unwrap();
    }
    sim.rests();
    assert_eq!(sim.hub().counters().stale_commands, 8);
}

/// However many calls, one event for each key, and one more for a call after it.
#[test]
fn notices_of_one_key_are_one_until_they_are_taken() {
    let mut sim = Sim::new(quiet(|limits| limits.mailbox_commands_max = 1));
    let handle = sim.server.handle();
    let (id, wire) = sim.opens();
    handle.send(id, "fills the mailbox").unwrap();
    assert_eq!(handle.send(id, ""), Err(HandleError::Full));
    for key in [7, u32::MAX, 7, 0, 7] {
        handle.notify(key).unwrap();
    }
    sim.rests();
    assert_eq!(sim.takes(), [7, u32::MAX, 0].map(Told::Notified));
    assert_eq!(wire.reads(), [text("fills the mailbox")]);
    handle.notify(7).unwrap();
    sim.turn_within(None);
    assert_eq!(sim.takes(), [Told::Notified(7)]);
    drop(sim);
    assert_eq!(handle.notify(7), Err(HandleError::Closed));
}

/// Ids of requests are small and plain: they can be kept, compared and sent to threads.
#[test]
fn what_crosses_threads_can() {
    fn crosses<T: Send + 'static>() {}
    crosses::<Pending>();
    crosses::<RequestId>();
    crosses::<pushloop::Handle>();
}
