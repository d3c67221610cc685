//! A request has an id of its own: what answers one never answers another, and the application is
//! told, once, of a request that is over or whose peer has left.

use std::time::Duration;

use pushloop::{
    Accept, AcceptError, CloseCode, Config, ConnId, Handler, Hub, InvalidHeader, Message, Request,
    RequestId, RespondError, Response,
};

use crate::support::net::{Sim, Told, Wire};
use crate::support::{get, handshake, quiet};

const MINUTE: Duration = Duration::from_secs(60);

/// Without Pings, and its requests wait for the test.
pub fn sim(set: impl FnOnce(&mut Config)) -> Sim {
    let mut sim = Sim::new(quiet(set));
    sim.accepts = false;
    sim
}

fn page(text: &str) -> Response {
    Response::text(200, text)
}

/// It takes no answer of any kind, and none reaches the peer.
#[track_caller]
fn is_over(sim: &mut Sim, id: RequestId, wire: &Wire) {
    let hub = sim.hub();
    assert_eq!(hub.respond(id, page("another's")), Err(RespondError::Gone));
    assert_eq!(hub.refuse(id, 403, "another's"), Err(RespondError::Gone));
    assert_eq!(hub.accept(id, Accept::default()), Err(AcceptError::Gone));
    sim.rests();
    assert_eq!(wire.reads_bytes(), [0; 0]);
}

/// Nothing more is told, whatever becomes of the connection.
#[track_caller]
fn is_told_nothing_more(sim: &mut Sim, wire: &Wire) {
    wire.finishes();
    sim.rests();
    wire.resets();
    for _ in 0..5 {
        sim.turn_within(Some(MINUTE));
    }
    assert_eq!((sim.takes(), sim.hub().connection_count()), (vec![], 0));
}

#[test]
fn a_response_that_cannot_be_sent_leaves_the_request_waiting() {
    let mut sim = sim(|_| {});
    let (id, wire) = sim.asks(&get("/"));
    for (name, value, error) in [
        ("X Y", "z", InvalidHeader::Name),
        ("X-Y", "z\r\nSet-Cookie: a=b", InvalidHeader::Value),
        ("Content-Length", "1", InvalidHeader::Reserved),
    ] {
        let response = page("never sent").header(name, value).header("X-Fine", "yes");
        assert_eq!(sim.hub().respond(id, response), Err(RespondError::InvalidHeader(error)));
    }
    sim.rests();
    assert!(wire.reads_bytes().is_empty());
    sim.hub().respond(id, page("sent").header("X-Fine", "yes")).unwrap();
    sim.rests();
    assert!(String::from_utf8(wire.reads_bytes()).unwrap().contains("\r\nX-Fine: yes\r\n"));
}

#[test]
fn an_answer_given_twice_is_not_the_next_requests() {
    let mut sim = sim(|_| {});
    let (first, wire) = sim.asks(&get("/").repeat(3));
    sim.hub().respond(first, page("first")).unwrap();
    assert_eq!(sim.hub().respond(first, page("first")), Err(RespondError::Gone));
    sim.rests();
    assert!(wire.reads_bytes().ends_with(b"first"));
    let second = sim.takes_request();
    assert_eq!(second.conn(), first.conn());
    assert!(first < second);
    is_over(&mut sim, first, &wire);
    sim.hub().respond(second, page("second")).unwrap();
    sim.rests();
    assert!(wire.reads_bytes().ends_with(b"second"));
    let third = sim.takes_request();
    for id in [first, second] {
        is_over(&mut sim, id, &wire);
    }
    sim.hub().respond(third, page("third")).unwrap();
    sim.rests();
    assert!(wire.reads_bytes().ends_with(b"third"));
    is_told_nothing_more(&mut sim, &wire);
}

#[test]
fn an_id_of_a_connection_that_is_gone_answers_no_request_in_its_slot() {
    let mut sim = sim(|_| {});
    let (old, wire) = sim.asks(&get("/"));
    sim.hub().respond(old, page("x")).unwrap();
    sim.rests();
    wire.resets();
    sim.rests();
    let (new, wire) = sim.asks(&get("/"));
    assert_eq!(new.conn().to_bits() as u32, old.conn().to_bits() as u32);
    assert_ne!(new, old);
    is_over(&mut sim, old, &wire);
    sim.hub().respond(new, page("new")).unwrap();
    sim.rests();
    assert!(wire.reads_bytes().ends_with(b"new"));
}

#[test]
fn an_id_of_a_request_that_was_accepted_is_over() {
    let mut sim = sim(|_| {});
    let (plain, wire) = sim.asks(&[get("/"), handshake("/", "")].concat());
    sim.hub().respond(plain, page("plain")).unwrap();
    sim.rests();
    let upgrade = sim.takes_request();
    sim.hub().accept(upgrade, Accept::default()).unwrap();
    sim.rests();
    wire.reads_bytes();
    for id in [plain, upgrade] {
        is_over(&mut sim, id, &wire);
    }
    assert!(sim.hub().is_open(upgrade.conn()));
    assert_eq!(sim.takes(), [Told::Opened(upgrade.conn())]);
}

#[test]
fn the_application_is_told_that_a_requester_has_left_and_may_answer() {
    for resets in [false, true] {
        let mut sim = sim(|_| {});
        let (id, wire) = sim.asks(&get("/").repeat(2));
        if resets {
            wire.resets()
        } else {
            wire.finishes()
        }
        sim.turn_within(Some(MINUTE));
        assert_eq!(sim.takes(), [Told::RequestGone(id)]);
        // Readiness may be told again.
        wire.finishes();
        sim.turn_within(Some(Duration::from_millis(1)));
        assert_eq!(sim.takes(), []);
        sim.hub().respond(id, page("late")).unwrap();
        sim.rests();
        if resets {
            assert!(wire.is_dropped());
        } else {
            assert!(wire.reads_bytes().ends_with(b"late"));
            // The next one was sent before the end, and its peer has left as well.
            let told = sim.takes();
            let [Told::Request(next), Told::RequestGone(gone)] = told[..] else {
                panic!("{told:?}");
            };
            assert_eq!(gone, next);
            sim.hub().respond(next, page("the last")).unwrap();
            sim.rests();
            assert!(wire.reads_bytes().ends_with(b"the last") && wire.is_dropped());
        }
        is_told_nothing_more(&mut sim, &wire);
    }
}

/// The application has its chance to answer first.
#[test]
fn a_request_that_comes_with_the_end_is_told_to_be_gone_in_the_next_batch() {
    for answers in [false, true] {
        let mut sim = sim(|_| {});
        let wire = sim.server.net().connects();
        wire.sends_bytes(get("/"));
        wire.finishes();
        while sim.told.is_empty() {
            sim.turn_within(Some(MINUTE));
        }
        let id = sim.takes_request();
        if answers {
            sim.hub().respond(id, page("at once")).unwrap();
        }
        // The loop does not sleep over it.
        let slept = sim.server.net().slept();
        sim.turn_within(Some(MINUTE));
        assert_eq!(sim.server.net().slept(), slept);
        if answers {
            assert!(wire.reads_bytes().ends_with(b"at once"));
        } else {
            assert_eq!(sim.takes(), [Told::RequestGone(id)]);
        }
        is_told_nothing_more(&mut sim, &wire);
    }
}

#[test]
fn a_request_that_the_server_answers_itself_is_told_to_be_gone_once() {
    type Case = (u16, fn(&mut Config), fn(&mut Sim, RequestId));
    let cases: [Case; 3] = [
        (
            503,
            |limits| limits.answer_timeout = Duration::from_secs(5),
            |sim, _| {
                while sim.told.is_empty() {
                    sim.turn_within(Some(Duration::from_secs(1)));
                }
            },
        ),
        (
            503,
            |limits| limits.incomplete_bytes_max = 500,
            |sim, _| {
                // As much again has come half: it has held its own for longer.
                sim.turn_within(Some(Duration::from_secs(1)));
                let other = sim.server.net().connects();
                other.sends_bytes(&get(&format!("/{}", "x".repeat(480)))[..480]);
                sim.rests();
                other.resets();
                sim.rests();
            },
        ),
        (503, |_| {}, |sim, id| sim.hub().close(id.conn(), CloseCode::NORMAL, "")),
    ];
    for (at, (status, set, ends)) in cases.into_iter().enumerate() {
        for leaves_before in [false, true] {
            let mut sim = sim(set);
            let request = get(&format!("/{}", "x".repeat(100)));
            let (id, wire) = sim.asks(&request);
            if leaves_before {
                wire.finishes();
                sim.turn();
                assert_eq!(sim.takes(), [Told::RequestGone(id)], "case {at}");
            }
            if leaves_before && at == 0 {
                for _ in 0..10 {
                    sim.turn_within(Some(Duration::from_secs(1)));
                }
            } else {
                ends(&mut sim, id);
            }
            sim.rests();
            let told = if leaves_before { vec![] } else { vec![Told::RequestGone(id)] };
            assert_eq!(sim.takes(), told, "case {at}");
            let answer = wire.reads_bytes();
            assert!(answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "case {at}");
            is_over(&mut sim, id, &wire);
            is_told_nothing_more(&mut sim, &wire);
        }
    }
}

#[test]
fn a_request_that_waits_at_a_shutdowns_deadline_is_told_to_be_gone() {
    let mut sim = sim(|_| {});
    let ((left, wire), (waits, other)) = (sim.asks(&get("/")), sim.asks(&get("/")));
    wire.finishes();
    sim.turn();
    assert_eq!(sim.takes(), [Told::RequestGone(left)]);
    sim.hub().shutdown(Duration::from_secs(1));
    while !sim.hub().is_finished() {
        sim.turn_within(None);
    }
    assert_eq!(sim.takes(), [Told::RequestGone(waits)]);
    assert!(wire.is_dropped() && other.is_dropped());
    is_over(&mut sim, waits, &other);
}

/// One turn of an application that answers what it is told of. Gives how many answers there were.
fn answers(sim: &mut Sim) -> usize {
    sim.turn_with(Some(Duration::from_millis(1)), |hub, told| {
        if let Told::Request(id) = told {
            hub.respond(*id, page("x")).unwrap();
        }
    });
    sim.takes().len()
}

/// As the server does that is about to end.
#[test]
fn an_answer_may_be_the_last_of_its_connection() {
    let mut sim = sim(|_| {});
    let (id, wire) = sim.asks(&get("/").repeat(2));
    sim.hub().respond(id, page("last").close()).unwrap();
    sim.rests();
    let read = wire.reads_bytes();
    assert_eq!(count(&read, "\r\nConnection: close\r\n"), 1, "{}", read.escape_ascii());
    assert!(wire.is_ended() && sim.takes().is_empty());
    // It is no refusal.
    assert_eq!(sim.hub().counters().handshakes_refused, 0);
}

#[test]
fn a_peer_that_pipelines_without_end_does_not_hold_up_a_shutdown() {
    let mut sim = sim(|_| {});
    // One has sent its requests, one sends on and on, and one does not read.
    let (waits, wire) = sim.asks(&get("/").repeat(3));
    let [endless, full] = [(); 2].map(|()| sim.server.net().connects());
    endless.sends_bytes(get("/").repeat(100));
    full.sends_bytes(get("/").repeat(100));
    full.holds(10);
    let before: usize = (0..10).map(|_| answers(&mut sim)).sum();
    assert_eq!(before, 9 + 1);
    endless.reads_bytes();
    let refused = sim.hub().counters().handshakes_refused;
    sim.hub().shutdown(MINUTE);
    // What is answered later is the last as well, and what was under way is followed by one.
    let mut after = 0;
    for turn in 0..10 {
        if turn == 5 {
            sim.hub().respond(waits, page("late")).unwrap();
            full.holds(usize::MAX);
            assert_eq!(count(&full.reads_bytes(), "HTTP/1.1 200 "), 0, "ten bytes");
        }
        endless.sends_bytes(get("/"));
        after += answers(&mut sim);
    }
    assert_eq!(after, 2);
    for (wire, answers) in [(&wire, 1), (&endless, 2), (&full, 2)] {
        let read = wire.reads_bytes();
        assert_eq!(count(&read, "\r\nx").max(count(&read, "late")), answers);
        assert_eq!(count(&read, "Connection: close"), 1, "{}", read.escape_ascii());
        assert!(wire.is_ended());
        wire.finishes();
    }
    sim.rests();
    assert!(sim.hub().is_finished());
    assert_eq!(sim.hub().counters().handshakes_refused, refused);
}

fn count(bytes: &[u8], part: &str) -> usize {
    bytes.windows(part.len()).filter(|window| *window == part.as_bytes()).count()
}

/// Answers all that wait as soon as one of them is gone.
#[derive(Default)]
struct Late {
    waiting: Vec<RequestId>,
    gone: Vec<RequestId>,
}

impl Handler for Late {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, _: &Request) {
        self.waiting.push(id);
        if self.waiting.len() == 3 {
            hub.close(id.conn(), CloseCode::NORMAL, "");
        }
    }

    fn on_request_gone(&mut self, hub: &mut Hub, id: RequestId) {
        self.gone.push(id);
        // The third has its answer.
        let answers = self.waiting.iter().map(|id| hub.respond(*id, page("late")).is_ok());
        let answered = answers.filter(|is_ok| *is_ok).count();
        assert_eq!(answered, if self.gone.len() == 1 { 2 } else { 0 });
        hub.shutdown(Duration::ZERO);
    }

    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}
}

#[test]
fn a_handler_is_not_told_of_what_it_has_answered_since_the_batch_was_filled() {
    let mut sim = sim(|_| {});
    for _ in 0..3 {
        let wire = sim.server.net().connects();
        wire.sends_bytes(get("/"));
        wire.finishes();
    }
    let mut late = Late::default();
    sim.server.run(&mut late).unwrap();
    // The batch begins with what the server answered itself; the others were answered over it.
    assert_eq!(late.gone, [late.waiting[2]]);
    assert_eq!(sim.hub().counters().handler_panics, 0);
}

/// Panics over each request, and over each that is gone.
#[derive(Default)]
struct Falls {
    told: Vec<String>,
}

impl Handler for Falls {
    fn on_request(&mut self, _: &mut Hub, id: RequestId, request: &Request) {
        self.told.push(format!("{id:?}"));
        assert_eq!(request.path(), "/waits", "on purpose");
    }

    fn on_request_gone(&mut self, hub: &mut Hub, id: RequestId) {
        self.told.push(format!("{id:?} is gone"));
        hub.set_timer(hub.now(), 0);
        panic!("on purpose");
    }

    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}

    fn on_timer(&mut self, hub: &mut Hub, _: u64) {
        hub.shutdown(MINUTE);
    }
}

/// What the application kept of the request, it can give up.
#[test]
fn a_request_that_a_handler_panicked_over_is_told_to_be_gone_once() {
    for path in ["/falls", "/waits"] {
        let mut sim = sim(|_| {});
        let wire = sim.server.net().connects();
        wire.sends_bytes(get(path));
        wire.finishes();
        let mut falls = Falls::default();
        sim.server.run(&mut falls).unwrap();
        assert_eq!(falls.told, ["0#1/1", "0#1/1 is gone"]);
        assert!(wire.reads_bytes().starts_with(b"HTTP/1.1 500 "), "{path}");
        let panics = if path == "/falls" { 2 } else { 1 };
        assert_eq!(sim.hub().counters().handler_panics, panics);
    }
}
