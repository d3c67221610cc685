//! A handler that panics, in each of its callbacks: it costs the connection that it panicked over,
//! and nobody else anything.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::alone::is_alone;
use crate::support::campaign::scale;
use crate::support::http::after_head;
use crate::support::net::{Sim, Wire, frames};
use crate::support::{Peer, binary, burst, close, get, handshake, ping, pong, quiet, text};
use pushloop::{
    Accept, CloseCode, ConnId, ConnMap, Handler, Hub, Message, Reason, Request, RequestId, Server,
};

/// How often each callback panics.
fn rounds() -> usize {
    scale(200, 10_000)
}

/// A connection's path, and the callbacks that came for it.
type Calls = HashMap<ConnId, (String, Vec<&'static str>)>;

/// Panics over a connection where its path says so.
#[derive(Default)]
struct Falls {
    paths: ConnMap<String>,
    calls: Arc<Mutex<Calls>>,
}

impl Falls {
    fn is_called(&mut self, id: ConnId, callback: &'static str) {
        let path = self.paths.get(id).expect("its request came").clone();
        let falls = path == callback;
        self.calls.lock().unwrap().entry(id).or_insert((path, Vec::new())).1.push(callback);
        assert!(!falls, "on purpose");
    }
}

impl Handler for Falls {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        self.paths.insert(id.conn(), request.path().into());
        if request.path() == "/accepted" {
            hub.accept(id, Accept::default()).unwrap();
            panic!("on purpose");
        }
        self.is_called(id.conn(), if request.is_websocket() { "/request" } else { "/plain" });
        hub.accept(id, Accept::default()).unwrap();
    }

    fn on_request_gone(&mut self, _: &mut Hub, id: RequestId) {
        self.is_called(id.conn(), "/gone");
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        // One that was closed in `on_request` takes no subscription.
        let subscribed = hub.subscribe(id, "all");
        assert_eq!(subscribed.is_ok(), self.paths.get(id).unwrap() != "/accepted");
        let own = hub.subscribe(id, &format!("{id:?}"));
        assert_eq!(own.is_ok(), subscribed.is_ok());
        self.is_called(id, "/open");
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        match message {
            Message::Text("what is there?") => {
                let found = format!("{} {}", hub.connection_count(), hub.topic_count());
                hub.send(id, &found).unwrap();
            }
            _ => {
                hub.set_timer(hub.now(), id.to_bits());
                self.is_called(id, "/message");
            }
        }
    }

    fn on_close(&mut self, _: &mut Hub, id: ConnId, reason: Reason<'_>) {
        let fell = ["/accepted", "/open", "/message"].contains(&&**self.paths.get(id).unwrap());
        let ours = Reason::Local { code: CloseCode::INTERNAL_ERROR };
        assert_eq!(reason == ours, fell, "{reason:?}");
        self.is_called(id, "/close");
    }

    fn on_timer(&mut self, _: &mut Hub, key: u64) {
        let timed = self.paths.get(ConnId::from_bits(key)).is_some_and(|path| path == "/timer");
        assert!(!timed, "on purpose");
    }
}

const PATHS: [&str; 7] =
    ["/plain", "/request", "/accepted", "/open", "/message", "/close", "/timer"];

/// What the handler hears of a connection on each of these paths.
fn calls(path: &str) -> &'static [&'static str] {
    match path {
        "/plain" => &["/plain", "/gone"],
        "/request" => &["/request", "/gone"],
        "/accepted" => &["/open", "/close"],
        "/open" => &["/request", "/open", "/close"],
        // Of the two that came at once, the first.
        "/message" | "/timer" => &["/request", "/open", "/message", "/close"],
        "/close" => &["/request", "/open", "/close"],
        _ => &["/request", "/open"],
    }
}

fn connects(server: &Running, path: &str) -> Peer {
    let mut peer = Peer::connect(server.address);
    peer.sends_bytes(if path == "/plain" { get(path) } else { handshake(path, "") });
    peer
}

/// What such a connection goes through.
fn falls(server: &Running, path: &str) {
    let mut peer = connects(server, path);
    if ["/plain", "/request"].contains(&path) {
        assert_eq!(peer.expects_refusal(500).body, "the server failed");
        return;
    }
    peer.expects_upgrade();
    match path {
        "/message" => peer.sends_burst(&[text("1"), text("2")]),
        "/close" => peer.sends(close(1000, "")),
        "/timer" => {
            peer.sends(text("1"));
            peer.sends(ping("still there?"));
            peer.expects(pong("still there?"));
            peer.sends(close(1000, ""));
        }
        _ => {}
    }
    if ["/close", "/timer"].contains(&path) {
        peer.expects(close(1000, ""));
    } else {
        assert_eq!(peer.expects_close(1011), "the server failed");
        peer.sends(close(1011, ""));
    }
    peer.expects_eof();
}

struct Running {
    address: std::net::SocketAddr,
    handle: pushloop::Handle,
    thread: thread::JoinHandle<std::io::Result<()>>,
}

impl Running {
    fn start(mut handler: impl Handler + Send + 'static) -> Self {
        let mut server = Server::bind_with("127.0.0.1:0", quiet(|_| {})).expect("a port is free");
        let address = server.local_addr().expect("it listens on TCP");
        let handle = server.handle();
        let thread = thread::spawn(move || server.run(&mut handler));
        Self { address, handle, thread }
    }

    fn ends(self) {
        self.handle.shutdown(Duration::ZERO).expect("the server runs");
        self.thread.join().expect("the loop ends").expect("the poll works");
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("Linux has it").count()
}

#[test]
fn a_panic_in_any_callback_costs_its_own_connection_and_nothing_else() {
    // Of the tests beside it, each has descriptors.
    let test = "a_panic_in_any_callback_costs_its_own_connection_and_nothing_else";
    if !is_alone(&format!("panics::{test}")) {
        return;
    }
    let handler = Falls::default();
    let heard = Arc::clone(&handler.calls);
    let server = Running::start(handler);
    let mut others: Vec<_> = (0..4).map(|_| connects(&server, "/stays")).collect();
    for other in &mut others {
        other.expects_upgrade();
        other.sends(text("what is there?"));
        other.reads();
    }
    let before = descriptors();
    let mut published = 0;
    for round in 0..rounds() {
        for path in PATHS {
            falls(&server, path);
            server.handle.publish("all", round.to_string().as_str()).expect("there is room");
            published += 1;
        }
        for other in &mut others {
            PATHS.iter().for_each(|_| other.expects(text(round.to_string())));
        }
    }
    // Each of the others has two topics, of which one is everybody's. Who has just ended may be a
    // turn from being forgotten.
    let all_gone = |other: &mut Peer| {
        other.sends(text("what is there?"));
        other.reads() == text("4 5")
    };
    assert!((0..1000).any(|_| all_gone(&mut others[0])), "a connection or a topic is left");
    assert_eq!(descriptors(), before);
    let counters = server.handle.counters();
    assert_eq!(counters.handler_panics, (rounds() * PATHS.len()) as u64);
    assert_eq!((counters.connections_open, counters.publications), (4, published));
    assert_eq!(counters.messages_after_close, rounds() as u64);
    for (id, (path, calls_of)) in heard.lock().unwrap().iter() {
        assert_eq!(calls_of, calls(path), "{id:?} {path}");
    }
    assert_eq!(heard.lock().unwrap().len(), rounds() * PATHS.len() + 4);
    server.ends();
    println!(
        "figure panics in a handler's callbacks: {} in 5 callbacks, 0 of {} messages to others lost",
        counters.handler_panics,
        published * 4
    );
}

/// Panics when it may write again, while the others hear each tick.
struct Drains {
    stuck: Vec<Wire>,
    got: Vec<Vec<u8>>,
    falls: ConnMap<()>,
    ticks: usize,
}

const LONG: usize = 1000;
const ROOM: usize = 300;

impl Handler for Drains {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        hub.accept(id, Accept::default()).unwrap();
        match request.path() {
            "/falls" => drop(self.falls.insert(id.conn(), ())),
            _ => hub.subscribe(id.conn(), "ticks").unwrap(),
        }
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        if self.falls.get(id).is_some() {
            hub.send(id, [0; LONG]).unwrap();
        }
        if self.ticks == 0 {
            self.ticks = 1;
            hub.set_timer(hub.now() + Duration::from_millis(1), 0);
        }
    }

    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}

    fn on_writable(&mut self, _: &mut Hub, id: ConnId) {
        assert!(self.falls.get(id).is_none(), "on purpose");
    }

    fn on_timer(&mut self, hub: &mut Hub, key: u64) {
        hub.publish("ticks", self.ticks.to_string()).unwrap();
        self.ticks += 1;
        for (wire, got) in self.stuck.iter().zip(&mut self.got) {
            got.extend(wire.reads_bytes());
        }
        if hub.counters().handler_panics < self.stuck.len() as u64 {
            hub.set_timer(hub.now() + Duration::from_millis(1), key);
        } else {
            hub.shutdown(Duration::from_secs(1));
        }
    }
}

#[test]
fn a_panic_when_it_is_writable_again_comes_after_all_that_was_sent() {
    let mut sim = Sim::new(quiet(|_| {}));
    let opens = |path: &str, sim: &mut Sim| {
        let wire = sim.server.net().connects();
        wire.sends_bytes(handshake(path, ""));
        wire
    };
    let others: Vec<_> = (0..4).map(|_| opens("/stays", &mut sim)).collect();
    let stuck: Vec<_> = (0..rounds()).map(|_| opens("/falls", &mut sim)).collect();
    stuck.iter().for_each(|wire| wire.holds(ROOM));
    let got = vec![Vec::new(); stuck.len()];
    let mut handler = Drains { stuck, got, falls: ConnMap::new(), ticks: 0 };
    sim.server.run(&mut handler).expect("the poll works");
    for (wire, got) in handler.stuck.iter().zip(&mut handler.got) {
        got.extend(wire.reads_bytes());
        assert_eq!(frames(after_head(got)), [binary([0; LONG]), close(1011, "the server failed")]);
        assert!(wire.is_dropped());
    }
    for other in others {
        let got = other.reads_bytes();
        let ticks = (1..handler.ticks).map(|tick| text(tick.to_string()));
        let mut expected: Vec<_> = ticks.collect();
        expected.push(close(1001, "the server is shutting down"));
        assert_eq!(frames(after_head(&got)), expected);
    }
    assert_eq!(sim.hub().counters().handler_panics, rounds() as u64);
    assert_eq!((sim.hub().connection_count(), sim.hub().topic_count()), (0, 0));
    println!("figure panics in on_writable: {}, 0 messages lost", rounds());
}

/// Panics at each message.
struct Fails;

impl Handler for Fails {
    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {
        panic!("on purpose");
    }

    fn on_close(&mut self, hub: &mut Hub, _: ConnId, reason: Reason<'_>) {
        assert_eq!(reason.code(), 1000);
        hub.shutdown(Duration::ZERO);
    }
}

/// Its peer has said all it has to say, and so hears of it instead of the answer to its Close.
#[test]
fn a_panic_over_a_message_before_a_close_is_told_instead_of_the_echo() {
    let mut sim = Sim::new(quiet(|_| {}));
    let wire = sim.server.net().connects();
    wire.sends_bytes(handshake("/", ""));
    let last = burst(&[text("1"), text("2"), close(1000, "")]);
    wire.sends_bytes(last);
    sim.server.run(&mut Fails).expect("the poll works");
    let got = wire.reads_bytes();
    assert_eq!(frames(after_head(&got)), [close(1011, "the server failed")]);
    let counters = sim.hub().counters();
    assert_eq!((counters.handler_panics, counters.messages_after_close), (1, 1));
}

/// Sends every message back; panics over each end, and then over a timer.
#[derive(Default)]
struct Unlucky {
    ends: Vec<u16>,
}

impl Handler for Unlucky {
    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        hub.send(id, message).unwrap();
    }

    fn on_close(&mut self, _: &mut Hub, _: ConnId, reason: Reason<'_>) {
        self.ends.push(reason.code());
        panic!("on purpose");
    }

    fn on_timer(&mut self, hub: &mut Hub, key: u64) {
        if key == 0 {
            hub.set_timer(hub.now(), 1);
            panic!("on purpose");
        }
        hub.shutdown(Duration::from_secs(1));
    }
}

/// Whose event came just before is not to blame.
#[test]
fn a_panic_over_an_end_or_a_timer_costs_nobody_a_connection() {
    let mut sim = Sim::new(quiet(|_| {}));
    let [early, leaves, late] = [0; 3].map(|_| sim.opens().1);
    // All in one batch, the timer last.
    early.sends(text("x"));
    leaves.sends(close(1000, ""));
    late.sends(text("x"));
    let now = sim.hub().now();
    sim.hub().set_timer(now, 0);
    let mut handler = Unlucky::default();
    sim.server.run(&mut handler).expect("the poll works");
    assert_eq!(leaves.reads(), [close(1000, "")]);
    for stays in [early, late] {
        assert_eq!(stays.reads(), [text("x"), close(1001, "the server is shutting down")]);
    }
    assert_eq!(handler.ends, [1000, 1001, 1001]);
    assert_eq!(sim.hub().counters().handler_panics, 4);
}
