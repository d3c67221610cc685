//! The application sees the head of a request before its body comes, and `100 Continue` (RFC 9110
//! §10.1.1).

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use pushloop::{Config, Event, Events, Handler, Hub, Message, Request, RequestId, Response};

use crate::support::net::{Network, Sim, Wire};

const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";

fn post(path: &str, fields: &str, len: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {len}\r\n\r\n")
}

fn expects(path: &str, len: usize) -> String {
    post(path, "Expect: 100-continue\r\n", len)
}

/// Answers what it was told of a request; `/no` at its head, `/nowhere` not before its body.
pub struct Site(Sender<String>);

impl Site {
    fn tell(&self, what: String) {
        self.0.send(what).expect("the test listens");
    }
}

impl Handler for Site {
    fn on_head(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        self.tell(format!("head {} {:?}", request.path(), request.body()));
        let is_whole = request.content_length().is_none_or(|len| len == request.body().len());
        assert!(hub.defer(id).is_none() || is_whole);
        if request.path() == "/no" {
            hub.refuse(id, 403, "not allowed").expect("it waits");
        }
    }

    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        self.tell(format!("request {} {body}", request.path()));
        hub.respond(id, Response::text(200, body)).expect("it waits");
    }

    fn on_request_gone(&mut self, _: &mut Hub, _: RequestId) {
        self.tell("gone".to_owned());
    }

    fn on_message(&mut self, _: &mut Hub, _: pushloop::ConnId, _: Message<'_>) {}
}

pub struct World {
    pub sim: Sim,
    pub site: Site,
    told: Receiver<String>,
}

impl World {
    pub fn new(set: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        set(&mut config);
        let (tell, told) = mpsc::channel();
        Self { sim: Sim::new(config), site: Site(tell), told }
    }

    pub fn turns(&mut self, timeout: Duration) {
        for _ in 0..10 {
            self.sim.server.turn(&mut self.site, Some(timeout)).expect("the poll works");
        }
    }

    pub fn told(&self) -> Vec<String> {
        self.told.try_iter().collect()
    }

    pub fn connects(&mut self) -> Wire {
        let net: &mut Network = self.sim.server.net();
        net.connects()
    }

    /// Sends, and gives what comes back.
    pub fn gets(&mut self, wire: &Wire, bytes: &str) -> String {
        wire.sends_bytes(bytes);
        self.turns(Duration::ZERO);
        String::from_utf8(wire.reads_bytes()).expect("text")
    }
}

#[test]
fn a_peer_that_waits_is_told_to_go_on_and_its_body_is_read() {
    let mut world = World::new(|_| {});
    let wire = world.connects();
    for _ in 0..2 {
        assert_eq!(world.gets(&wire, &expects("/yes", 5)), GO_ON);
        assert_eq!(world.told(), ["head /yes []"]);
        assert_eq!(world.gets(&wire, "hel"), "");
        let answer = world.gets(&wire, "lo");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
        assert_eq!(world.told(), ["request /yes hello"]);
    }
}

#[test]
fn an_upload_is_refused_before_it_comes() {
    let mut world = World::new(|_| {});
    for request in [expects("/no", 5), post("/no", "", 5)] {
        let wire = world.connects();
        let answer = world.gets(&wire, &request);
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("not allowed"), "{answer}");
        assert!(answer.contains("Connection: close\r\n") && wire.is_ended(), "{answer}");
        assert_eq!(world.told(), ["head /no []"]);
        assert_eq!(world.gets(&wire, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "");
        assert!(world.told().is_empty());
    }
}

/// RFC 9110 §10.1.1: no 100 if the body has begun to come, or in HTTP/1.0.
#[test]
fn a_peer_that_goes_on_is_not_told_to() {
    let mut world = World::new(|_| {});
    let old = expects("/yes", 2).replace("HTTP/1.1", "HTTP/1.0");
    for (request, rest) in
        [(expects("/yes", 2) + "h", "i"), (old, "hi"), (post("/yes", "", 2), "hi")]
    {
        let wire = world.connects();
        assert_eq!(world.gets(&wire, &request), "");
        assert_eq!(world.told(), ["head /yes []"]);
        assert!(world.gets(&wire, rest).ends_with("\r\n\r\nhi"));
        assert_eq!(world.told(), ["request /yes hi"]);
    }
}

/// The head of a request that came whole is seen, too, so that a check has one place.
#[test]
fn each_request_is_seen_at_its_head_once() {
    let mut world = World::new(|_| {});
    let wire = world.connects();
    assert!(world.gets(&wire, "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n").contains(" 200 "));
    assert_eq!(world.told(), ["head /a []", "request /a "]);
    assert!(world.gets(&wire, &(post("/b", "", 2) + "hi")).ends_with("hi"));
    assert_eq!(world.told(), ["head /b [104, 105]", "request /b hi"]);
    let two = post("/no", "", 2) + "hi" + &post("/b", "", 0);
    let answer = world.gets(&wire, &two);
    assert_eq!(world.told(), ["head /no [104, 105]", "head /b []", "request /b "]);
    assert!(answer.contains("not allowedHTTP/1.1 200 "), "{answer}");
}

/// What the server refuses by the head is refused before the body comes, and no 100 is sent.
#[test]
fn the_servers_own_refusals_do_not_wait_for_the_body() {
    let mut world = World::new(|limits| limits.body_bytes_max = 100);
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nExpect: 100-continue\r\n";
    for (request, status) in [
        (expects("/yes", 101), 413),
        (post("/yes", upgrade, 5).replace("POST", "GET"), 400),
        (post("/yes", "Expect: 100-continue, x\r\n", 5), 417),
    ] {
        let wire = world.connects();
        let answer = world.gets(&wire, &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(world.told().is_empty());
    }
}

/// The time for a body begins with its head.
#[test]
fn a_body_that_does_not_come_is_408() {
    let mut world = World::new(|limits| limits.handshake_timeout = Duration::from_secs(5));
    let wire = world.connects();
    let second = Some(Duration::from_secs(1));
    let request = expects("/yes", 5);
    let (begin, rest) = request.split_at(20);
    assert_eq!(world.gets(&wire, begin), "");
    for _ in 0..4 {
        world.sim.server.turn(&mut world.site, second).expect("the poll works");
    }
    assert_eq!(world.gets(&wire, rest), GO_ON);
    let begun = world.sim.hub().now();
    let mut answer = String::new();
    while answer.is_empty() {
        world.sim.server.turn(&mut world.site, second).expect("the poll works");
        answer = String::from_utf8(wire.reads_bytes()).expect("text");
    }
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let took = world.sim.hub().now() - begun;
    assert!((5..7).contains(&took.as_secs()), "{took:?}");
}

/// The application is told so, whatever became of the body.
#[test]
fn a_request_that_ends_behind_its_head_is_gone() {
    type End = fn(&Wire);
    let ends: [(End, &str); 4] = [
        (|wire| wire.finishes(), ""),
        (|wire| wire.resets(), ""),
        (|wire| wire.sends_bytes("x"), " 400 "),
        (|_| {}, " 408 "),
    ];
    for (end, status) in ends {
        let mut world = World::new(|limits| limits.handshake_timeout = Duration::from_secs(5));
        let wire = world.connects();
        let chunked =
            post("/yes", "", 2).replace("Content-Length: 2", "Transfer-Encoding: chunked");
        assert_eq!(world.gets(&wire, &chunked), "");
        end(&wire);
        world.turns(Duration::from_secs(2));
        assert_eq!(world.told(), ["head /yes []", "gone"]);
        let reads = if wire.is_reset() { Vec::new() } else { wire.reads_bytes() };
        assert!(String::from_utf8(reads).expect("text").contains(status), "{status}");
    }
}

/// A loop of the application's own gets the same as events, and has the one batch to answer in.
#[test]
fn a_loop_of_ones_own_is_told_of_heads() {
    let mut world = World::new(|_| {});
    let wires = [(); 2].map(|()| world.connects());
    for wire in &wires {
        wire.sends_bytes(expects("/", 2));
    }
    let (mut events, mut heads) = (Events::default(), Vec::new());
    while heads.len() < 2 {
        world.sim.server.poll(&mut events, None).expect("the poll works");
        for event in &events {
            let Event::RequestHead { id, .. } = event else { panic!("{event:?}") };
            heads.push(id);
        }
    }
    world.sim.hub().refuse(heads[0], 403, "").expect("the batch is at hand");
    world.sim.server.poll(&mut events, Some(Duration::ZERO)).expect("the poll works");
    assert!(world.sim.hub().refuse(heads[1], 403, "").is_err(), "its body is being read");
    let back = wires.map(|wire| String::from_utf8(wire.reads_bytes()).expect("text"));
    assert!(back[0].starts_with("HTTP/1.1 403 ") && back[1] == GO_ON, "{back:?}");
}
