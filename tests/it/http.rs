//! Plain HTTP on the same port (RFC 9112): one request after the other, its limits and deadlines.

use std::time::Duration;

use crate::support::{Peer, Seen, TestServer, config, echo, get, handshake, text};
use pushloop::{Accept, AcceptError, CloseCode, Event, Hub, Request, RespondError, Response};

/// What the tests ask for, but for the tests that answer themselves: everything is found.
fn site(hub: &mut Hub, event: Event<'_>) {
    if let Event::Request { id, request } = event {
        hub.respond(id, page(request)).expect("the request waits");
    }
}

fn page(request: &Request) -> Response {
    let body = String::from_utf8_lossy(request.body());
    Response::text(200, format!("{} {} [{body}]", request.method(), request.path()))
}

/// A server that answers nothing by itself.
fn silent() -> TestServer {
    TestServer::start(config(|_| ()), |_, _| ())
}

fn post(path: &str, body: &str) -> String {
    let len = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n{body}")
}

#[track_caller]
fn stays(peer: &mut Peer) {
    peer.sends_bytes(get("/still-here"));
    assert_eq!(peer.expects_answer(200).body, "GET /still-here []");
}

// One request after the other.

#[test]
fn a_connection_takes_one_request_after_the_other() {
    let server = TestServer::start(config(|_| ()), site);
    let mut peer = server.connects();
    for path in ["/one", "/two", "/three"] {
        peer.sends_bytes(get(path));
        let answer = peer.expects_answer(200);
        assert_eq!(answer.body, format!("GET {path} []"));
        assert_eq!(answer.header("Connection"), Some("keep-alive"));
        server.sees(&peer, Seen::Request(format!("GET {path}")));
    }
    assert_eq!(server.handle().counters().requests, 3);
}

#[test]
fn requests_in_one_segment_are_answered_in_order() {
    let server = TestServer::start(config(|_| ()), site);
    let mut peer = server.connects();
    peer.sends_bytes([get("/one"), post("/two", "body"), get("/three")].concat());
    for body in ["GET /one []", "POST /two [body]", "GET /three []"] {
        assert_eq!(peer.expects_answer(200).body, body);
    }
}

/// What comes behind an answer of 1xx is taken for the answer to the same request, and some clients
/// take a 205 to have no body, whatever its length says.
#[test]
fn an_answer_that_the_client_would_read_otherwise_is_not_taken_for_the_next() {
    let server = TestServer::start(config(|_| ()), |hub, event| {
        if let Event::Request { id, request } = event {
            let status = request.path()[1..].parse().expect("the path is a status");
            hub.respond(id, Response::text(status, "body")).expect("the request waits");
        }
    });
    let mut peer = server.connects();
    peer.sends_bytes(["/103", "/101", "/205", "/200"].map(get).concat());
    for (status, body) in [(500, "body"), (500, "body"), (205, ""), (200, "body")] {
        assert_eq!(peer.expects_answer(status).body, body);
    }
}

#[test]
fn the_next_request_is_told_when_the_last_one_is_answered() {
    let server = silent();
    let mut peer = server.connects();
    peer.sends_bytes([get("/one"), get("/two")].concat());
    let id = server.request_of(&peer);
    server.sees(&peer, Seen::Request("GET /one".into()));
    server.sees_no_more(&peer);
    let answers =
        server.act(move |hub| [(); 2].map(|()| hub.respond(id, Response::text(200, "first"))));
    assert_eq!(answers, [Ok(()), Err(RespondError::Gone)]);
    server.sees(&peer, Seen::Request("GET /two".into()));
    let next = server.request_of(&peer);
    assert_eq!(next.conn(), id.conn());
    server.act(move |hub| {
        assert_eq!(hub.respond(id, Response::text(200, "another's")), Err(RespondError::Gone));
        assert_eq!(hub.refuse(id, 403, "another's"), Err(RespondError::Gone));
        assert_eq!(hub.accept(id, Accept::default()), Err(AcceptError::Gone));
        hub.refuse(next, 404, "second").expect("the request waits");
    });
    assert_eq!(peer.expects_answer(200).body, "first");
    assert_eq!(peer.expects_answer(404).body, "second");
    // Not found is no reason to end the connection.
    peer.sends_bytes(get("/three"));
    server.sees(&peer, Seen::Request("GET /three".into()));
}

#[test]
fn requests_may_be_cut_anywhere() {
    let server = TestServer::start(config(|_| ()), site);
    let mut peer = server.connects();
    let whole = [post("/one", "body"), get("/two")].concat();
    for at in 0..whole.len() {
        let (first, second) = whole.split_at(at);
        server.takes_from(&mut peer, first.as_bytes());
        peer.sends_bytes(second);
        assert_eq!(peer.expects_answer(200).body, "POST /one [body]");
        assert_eq!(peer.expects_answer(200).body, "GET /two []");
    }
}

#[test]
fn an_upgrade_may_follow_a_plain_request() {
    let server = TestServer::start(config(|_| ()), |hub, event| match event {
        Event::Request { request, .. } if !request.path().starts_with("/ws") => site(hub, event),
        event => echo(hub, event),
    });
    let mut peer = server.connects();
    let requests = get("/page") + &handshake("/ws", "");
    peer.sends_bytes([requests.as_bytes(), &text("at once").masked([1; 4])].concat());
    assert_eq!(peer.expects_answer(200).body, "GET /page []");
    peer.expects_upgrade();
    peer.expects(text("at once"));
    peer.sends(text("later"));
    peer.expects(text("later"));
}

#[test]
fn the_answer_to_head_has_no_body() {
    let server = TestServer::start(config(|_| ()), site);
    let mut peer = server.connects();
    peer.sends_bytes(get("/page").replace("GET", "HEAD"));
    assert_eq!(peer.expects_head(200).header("Content-Length"), Some("13"));
    stays(&mut peer);
}

#[test]
fn a_peer_may_ask_for_the_connection_to_end() {
    let server = TestServer::start(config(|_| ()), site);
    let mut peer = server.connects();
    peer.sends_bytes(get("/").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    peer.expects_refusal(200);
    let mut peer = server.connects();
    peer.sends_bytes("GET / HTTP/1.0\r\n\r\n");
    peer.expects_refusal(200);
}

#[test]
fn a_peer_may_finish_before_it_is_answered() {
    let server = silent();
    let mut peer = server.connects();
    peer.sends_bytes(get("/"));
    peer.finishes();
    let id = server.request_of(&peer);
    server.sees(&peer, Seen::Request("GET /".into()));
    server.sees(&peer, Seen::RequestGone);
    server.sees_no_more(&peer);
    server.act(move |hub| hub.respond(id, Response::text(200, "late"))).expect("it waits");
    assert_eq!(peer.expects_answer(200).body, "late");
    peer.expects_eof();
    server.until(|hub| hub.connection_count() == 0);
    // It was never open, and so it is not told as closed.
    server.sees_no_more(&peer);
}

#[test]
fn requests_before_a_fin_are_all_answered() {
    let server = TestServer::start(config(|_| ()), site);
    for _ in 0..20 {
        let mut peer = server.connects();
        peer.sends_bytes([get("/one"), get("/two"), get("/three")[..20].to_owned()].concat());
        peer.finishes();
        assert_eq!(peer.expects_answer(200).body, "GET /one []");
        assert_eq!(peer.expects_answer(200).body, "GET /two []");
        peer.expects_eof();
    }
    server.until(|hub| hub.connection_count() == 0);
}

// Limits.

#[test]
fn a_head_may_be_as_long_as_the_limit() {
    let padded = |len: usize| {
        let head = "GET / HTTP/1.1\r\nHost: localhost\r\nX: ";
        format!("{head}{}\r\n\r\n", "x".repeat(len - head.len() - 4))
    };
    for max in [200, 8192] {
        let server = TestServer::start(config(|limits| limits.head_bytes_max = max), site);
        let mut peer = server.connects();
        peer.sends_bytes(padded(max));
        peer.expects_answer(200);
        stays(&mut peer);
        peer.sends_bytes(padded(max + 1));
        assert!(peer.expects_refusal(431).body.contains("head_bytes_max"));
        // It is refused for what is there, and not for what will come.
        let mut peer = server.connects();
        server.takes_from(&mut peer, &padded(max + 1).as_bytes()[..max - 1]);
        server.act(|_| ());
        assert_eq!(server.handle().counters().handshakes_refused, 1);
        peer.sends_bytes("x");
        peer.expects_refusal(431);
    }
}

#[test]
fn a_head_may_have_as_many_lines_as_the_limit() {
    let lines = |n: usize| get("/").replace("\r\n\r\n", &("\r\nX: y".repeat(n - 1) + "\r\n\r\n"));
    for max in [1, 64] {
        let server = TestServer::start(config(|limits| limits.headers_max = max), site);
        let mut peer = server.connects();
        peer.sends_bytes(lines(max));
        peer.expects_answer(200);
        peer.sends_bytes(lines(max + 1));
        assert!(peer.expects_refusal(431).body.contains("headers_max"));
    }
}

#[test]
fn a_body_may_be_as_long_as_the_limit() {
    for max in [0, 10, 64 * 1024] {
        let server = TestServer::start(config(|limits| limits.body_bytes_max = max), site);
        let mut peer = server.connects();
        let body = "b".repeat(max);
        peer.sends_bytes(post("/", &body));
        assert_eq!(peer.expects_answer(200).body, format!("POST / [{body}]"));
        // It is refused for what its head announces.
        let head = post("/", "").replace(": 0", &format!(": {}", max + 1));
        peer.sends_bytes(head);
        assert!(peer.expects_refusal(413).body.contains("body_bytes_max"));
    }
}

// Time.

#[test]
fn a_head_that_drips_is_refused_at_an_absolute_deadline() {
    let timeout = Duration::from_millis(500);
    let server = TestServer::start(config(|limits| limits.handshake_timeout = timeout), site);
    let mut peer = server.connects();
    peer.sends_bytes("GET / HTTP/1.1\r\nHost: localhost\r\nX: ");
    let mut dripped = 0;
    while peer.hears_nothing_for(Duration::from_millis(20)) {
        peer.pushes_bytes("x");
        dripped += 1;
        assert!(dripped < 400, "each byte extends the deadline");
    }
    peer.expects_refusal(408);
}

#[test]
fn a_body_that_does_not_come_is_refused_at_the_same_deadline() {
    let timeout = Duration::from_millis(500);
    let server = TestServer::start(config(|limits| limits.handshake_timeout = timeout), site);
    let mut peer = server.connects();
    peer.sends_bytes(&post("/", "body")[..post("/", "body").len() - 1]);
    peer.expects_refusal(408);
    server.act(|_| ());
    assert_eq!(server.handle().counters().requests, 0);
}

#[test]
fn a_connection_that_says_nothing_ends_without_an_answer() {
    let timeout = Duration::from_millis(50);
    let server = TestServer::start(config(|limits| limits.handshake_timeout = timeout), site);
    let mut peer = server.connects();
    peer.expects_eof();
    server.until(|hub| hub.connection_count() == 0);
}

#[test]
fn a_connection_that_waits_for_long_between_two_requests_ends_without_an_answer() {
    let timeout = Duration::from_millis(50);
    let server = TestServer::start(config(|limits| limits.keep_alive_timeout = timeout), site);
    let mut peer = server.connects();
    stays(&mut peer);
    peer.expects_eof();
    server.until(|hub| hub.connection_count() == 0);
}

/// `keep_alive_timeout` is for the pause between two requests; once the next has begun, it has
/// `handshake_timeout` to come.
#[test]
fn a_request_that_has_begun_is_not_cut_off_by_the_pause_before_it() {
    let timeout = Duration::from_millis(500);
    let server = TestServer::start(config(|limits| limits.keep_alive_timeout = timeout), site);
    let mut peer = server.connects();
    stays(&mut peer);
    let second = get("/second");
    let (first, rest) = second.split_at(10);
    peer.sends_bytes(first);
    server.act(move |hub| hub.set_timer(hub.now() + 2 * timeout, 1));
    server.sees_timer(1);
    peer.sends_bytes(rest);
    peer.expects_answer(200);
}

#[test]
fn a_request_that_is_never_answered_gets_503() {
    let timeout = Duration::from_millis(50);
    let server = TestServer::start(config(|limits| limits.answer_timeout = timeout), |_, _| ());
    for request in [get("/"), handshake("/", "")] {
        let mut peer = server.connects();
        peer.sends_bytes(request);
        peer.expects_refusal(503);
        let id = server.request_of(&peer);
        let late = server.act(move |hub| {
            (hub.accept(id, Accept::default()), hub.respond(id, Response::new(200)))
        });
        assert_eq!(late, (Err(AcceptError::Gone), Err(RespondError::Gone)));
    }
}

#[test]
fn a_head_request_that_is_never_answered_gets_no_body_either() {
    let timeout = Duration::from_millis(50);
    let limits = config(|limits| {
        limits.handshake_timeout = timeout;
        limits.answer_timeout = timeout;
    });
    let server = TestServer::start(limits, |_, _| ());
    for (request, status) in [
        (get("/"), 503),
        (get("/")[..20].to_owned(), 408),
        (post("/", "body")[..post("/", "body").len() - 1].replace("POST", "GET"), 408),
    ] {
        let mut peer = server.connects();
        peer.sends_bytes(request.replace("GET", "HEAD"));
        peer.expects_head(status);
        peer.expects_eof();
    }
}

#[test]
fn an_answer_that_is_not_read_is_given_up() {
    let timeout = Duration::from_millis(200);
    let limits = config(|limits| limits.answer_timeout = timeout);
    let server = TestServer::start(limits, |hub, event| {
        if let Event::Request { id, .. } = event {
            let large = Response::new(200).body(vec![b'x'; 16 << 20]);
            hub.respond(id, large.clone()).expect("the request waits");
        }
    });
    let mut peer = server.connects();
    peer.sends_bytes(get("/"));
    server.sees(&peer, Seen::Request("GET /".into()));
    server.until(|hub| hub.connection_count() == 0 && hub.queued_bytes_total() == 0);
    server.sees_no_more(&peer);
}

#[test]
fn closing_a_connection_that_waits_for_an_answer_refuses_it() {
    let server = silent();
    let mut peer = server.connects();
    peer.sends_bytes(handshake("/", ""));
    let id = server.id_of(&peer);
    server.act(move |hub| hub.close(id, CloseCode::NORMAL, ""));
    peer.expects_refusal(503);
    server.sees(&peer, Seen::Request("GET /".into()));
    server.sees(&peer, Seen::RequestGone);
    server.sees_no_more(&peer);
}
