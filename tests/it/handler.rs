//! [`Server::run`] calls a [`Handler`] for all that happens. The other tests own their loops.

use std::io::Write;
use std::mem;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use crate::support::{Frame, PATIENCE, Peer, binary, close, get, handshake, text};
use pushloop::{
    CloseCode, ConnId, Counters, Handler, Hub, Message, Reason, Request, RequestId, Server, mio,
};

/// Tells of each call; of requests it does not override the default.
struct Told {
    listener: Sender<String>,
    /// Who gets a message that is longer than the kernel takes, and how much of it waits.
    filling: Option<(ConnId, usize)>,
}

impl Told {
    fn tell(&self, what: String) {
        self.listener.send(what).expect("the test listens");
    }
}

impl Handler for Told {
    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        self.tell(format!("open {}", hub.is_open(id)));
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        self.tell(format!("message {message:?}"));
        if message == Message::Text("more") {
            hub.send(id, vec![0; 16 << 20]).expect("there is room");
            self.filling = Some((id, usize::MAX));
            hub.set_timer(hub.now() + Duration::from_millis(20), 7);
        } else {
            hub.close(id, CloseCode::NORMAL, "enough");
        }
    }

    fn on_writable(&mut self, _: &mut Hub, _: ConnId) {
        self.tell("writable".into());
    }

    fn on_close(&mut self, hub: &mut Hub, _: ConnId, reason: Reason<'_>) {
        self.tell(format!("close {}", reason.code()));
        hub.shutdown(Duration::MAX);
    }

    fn on_timer(&mut self, hub: &mut Hub, key: u64) {
        let Some((id, waited)) = &mut self.filling else { return };
        let waits = hub.queued_bytes(*id);
        if waits < mem::replace(waited, waits) {
            hub.set_timer(hub.now() + Duration::from_millis(20), key);
        } else {
            self.tell(format!("timer {key}"));
        }
    }
}

#[test]
fn a_handler_is_called_for_all_that_happens_until_the_shutdown() {
    let config = crate::support::config(|limits| limits.send_queue_bytes_max = 32 << 20);
    let mut server = Server::bind_with("127.0.0.1:0", config).expect("a port is free");
    let address = server.local_addr().expect("it listens on TCP");
    let handle = server.handle();
    let (tell, told) = mpsc::channel();
    let loop_thread = thread::spawn(move || {
        let mut told = Told { listener: tell, filling: None };
        server.run(&mut told)
    });
    let expects = |what: &str| assert_eq!(told.recv_timeout(PATIENCE).as_deref(), Ok(what));

    let mut peer = Peer::connect(address);
    peer.sends_bytes(get("/"));
    peer.expects_answer(426);
    peer.sends_bytes(handshake("/", ""));
    peer.expects_upgrade();
    expects("open true");
    peer.sends(text("more"));
    expects("message Text(\"more\")");
    // The kernel takes no more of it.
    expects("timer 7");
    peer.expects(binary(vec![0; 16 << 20]));
    expects("writable");
    peer.sends(binary([1, 2]));
    expects("message Binary([1, 2])");
    peer.expects(close(1000, "enough"));
    peer.sends(close(1000, ""));
    expects("close 1000");
    peer.expects_eof();
    drop(peer);
    // The handler is dropped with its thread: it was called for nothing else.
    assert_eq!(told.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
    loop_thread.join().expect("the loop ends").expect("the poll works");
    let counters = handle.counters();
    assert_eq!((counters.handler_panics, counters.handshakes_refused), (0, 1));
}

/// Is in a callback until it is let go.
struct Busy(Receiver<()>);

impl Handler for Busy {
    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {
        self.0.recv().expect("the test lets it go");
    }
}

/// So that another thread can tell which of them goes on for how long.
#[test]
fn a_loop_that_waits_and_one_that_is_busy_differ_in_its_counters() {
    let mut server = Server::bind("127.0.0.1:0").expect("a port is free");
    let mut peer = Peer::connect(server.local_addr().expect("it listens on TCP"));
    let handle = server.handle();
    let (release, released) = mpsc::channel();
    let loop_thread = thread::spawn(move || server.run(&mut Busy(released)));
    let counters = || {
        (0..PATIENCE.as_millis()).map(|_| {
            thread::sleep(Duration::from_millis(1));
            handle.counters()
        })
    };
    peer.sends_bytes(handshake("/", ""));
    peer.expects_upgrade();
    let mut waits = counters();
    assert!(waits.any(|now| now.waits == now.turns + 1), "it does not wait");
    peer.sends(text("x"));
    let mut works = counters().filter(|now| now.messages_received == 1);
    assert!(works.any(|now| now.waits == now.turns), "it is not busy");
    release.send(()).expect("the loop is in the callback");
    let mut waits = counters();
    assert!(waits.any(|now| now.waits == now.turns + 1), "it does not wait again");
    handle.shutdown(Duration::ZERO).expect("the server runs");
    loop_thread.join().expect("the loop ends").expect("the poll works");
}

/// Refuses whoever comes.
struct Closed;

impl Handler for Closed {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let why = format!("no {}", request.path());
        hub.refuse(id, 404, &why).expect("it waits");
    }

    fn on_message(&mut self, _: &mut Hub, _: ConnId, message: Message<'_>) {
        panic!("{message:?} came over a connection that was refused");
    }
}

#[test]
fn a_handler_may_answer_requests_itself() {
    let mut server = Server::bind("127.0.0.1:0").expect("a port is free");
    let address = server.local_addr().expect("it listens on TCP");
    let handle = server.handle();
    let loop_thread = thread::spawn(move || server.run(&mut Closed));
    let mut peer = Peer::connect(address);
    peer.sends_bytes(handshake("/chat", ""));
    assert_eq!(peer.expects_refusal(404).body, "no /chat");
    handle.shutdown(Duration::ZERO).expect("the server runs");
    loop_thread.join().expect("the loop ends").expect("the poll works");
    assert_eq!(handle.counters().handler_panics, 0);
}

/// Closes at the first message.
struct Once(Sender<Vec<u8>>);

impl Handler for Once {
    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        self.0.send(message.as_bytes().into()).expect("the test listens");
        hub.close(id, CloseCode::NORMAL, "enough");
    }

    fn on_close(&mut self, hub: &mut Hub, _: ConnId, _: Reason<'_>) {
        hub.shutdown(Duration::MAX);
    }
}

/// What the handler of a server was told, and the counters at its end. The peer sends these frames in one
/// segment, and so in one batch, and is then closed as `closes` expects.
fn told_of_a_batch<H: Handler + Send + 'static>(
    handler: fn(Sender<Vec<u8>>) -> H,
    batch: &[Frame],
    closes: impl FnOnce(&mut Peer),
) -> (Vec<Vec<u8>>, Counters) {
    let mut server = Server::bind("127.0.0.1:0").expect("a port is free");
    let address = server.local_addr().expect("it listens on TCP");
    let handle = server.handle();
    let (tell, told) = mpsc::channel();
    let loop_thread = thread::spawn(move || server.run(&mut handler(tell)));
    let mut peer = Peer::connect(address);
    peer.sends_bytes(handshake("/", ""));
    peer.expects_upgrade();
    peer.sends_bytes(crate::support::burst(batch));
    closes(&mut peer);
    peer.expects_eof();
    drop(peer);
    loop_thread.join().expect("the loop ends").expect("the poll works");
    (told.iter().collect(), handle.counters())
}

#[test]
fn nothing_of_the_same_batch_follows_a_close() {
    let batch = [text("first"), text("second")];
    let (told, counters) = told_of_a_batch(Once, &batch, |peer| {
        peer.expects(close(1000, "enough"));
        peer.sends(close(1000, ""));
    });
    assert_eq!(told, [b"first"]);
    assert_eq!((counters.messages_after_close, counters.handler_panics), (1, 0));
}

/// The peer's Close, in the same batch, is no reason to deliver what the application did not wait for.
#[test]
fn nothing_follows_a_close_also_where_the_peers_is_in_the_same_batch() {
    let batch = [text("first"), text("second"), close(4000, "bye")];
    let (told, counters) = told_of_a_batch(Once, &batch, |peer| peer.expects(close(4000, "bye")));
    assert_eq!(told, [b"first"]);
    assert_eq!(counters.messages_after_close, 1);
}

/// Drops at the first message.
struct Drops(Sender<Vec<u8>>);

impl Handler for Drops {
    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        self.0.send(message.as_bytes().into()).expect("the test listens");
        hub.abort(id);
    }

    fn on_close(&mut self, hub: &mut Hub, _: ConnId, reason: Reason<'_>) {
        assert_eq!(reason, Reason::Aborted);
        hub.shutdown(Duration::MAX);
    }
}

#[test]
fn nothing_of_the_same_batch_follows_a_drop() {
    let batch = [text("first"), text("second")];
    let (told, counters) = told_of_a_batch(Drops, &batch, |_| {});
    assert_eq!(told, [b"first"]);
    assert_eq!((counters.messages_after_close, counters.handler_panics), (1, 0));
}

/// Ends the server at the first message.
struct Ends(Sender<Vec<u8>>);

impl Handler for Ends {
    fn on_message(&mut self, hub: &mut Hub, _: ConnId, message: Message<'_>) {
        self.0.send(message.as_bytes().into()).expect("the test listens");
        hub.shutdown(Duration::MAX);
    }
}

/// It has finished by itself, and a shutdown takes nothing from it.
#[test]
fn who_has_said_close_is_heard_to_the_end_in_a_shutdown() {
    let batch = [text("first"), text("second"), close(4000, "bye")];
    let (told, _) = told_of_a_batch(Ends, &batch, |peer| peer.expects(close(4000, "bye")));
    assert_eq!(told, [b"first".to_vec(), b"second".to_vec()]);
}

/// Is told of refusals.
struct Refusals(Sender<(SocketAddr, u16, String)>);

impl Handler for Refusals {
    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}

    fn on_refused(&mut self, hub: &mut Hub, peer: Option<SocketAddr>, status: u16, why: &str) {
        let peer = peer.expect("a peer over TCP has an address");
        self.0.send((peer, status, why.to_owned())).expect("the test listens");
        hub.shutdown(Duration::MAX);
    }
}

#[test]
fn a_handler_hears_of_a_request_that_the_server_refuses() {
    let mut server = Server::bind("127.0.0.1:0").expect("a port is free");
    let address = server.local_addr().expect("it listens on TCP");
    let (tell, told) = mpsc::channel();
    let loop_thread = thread::spawn(move || server.run(&mut Refusals(tell)));
    let mut peer = Peer::connect(address);
    peer.sends_bytes(get("/").replace("localhost", "evil.example"));
    peer.expects_refusal(421);
    let (from, status, why) = told.recv_timeout(PATIENCE).expect("it is told");
    assert_eq!((from, status), (peer.address(), 421));
    assert!(why.contains("does not answer to that Host"), "{why}");
    loop_thread.join().expect("the loop ends").expect("the poll works");
}

/// What a source and a timer of the application's tell.
#[derive(Default)]
struct Sources(Vec<String>);

impl Handler for Sources {
    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}

    fn on_source(&mut self, hub: &mut Hub, key: u32, readable: bool, writable: bool) {
        self.0.push(format!("source {key} {readable} {writable}"));
        hub.set_timer(hub.now(), 7);
    }

    fn on_timer(&mut self, _: &mut Hub, key: u64) {
        self.0.push(format!("timer {key}"));
    }
}

#[test]
fn a_handler_can_be_stepped_and_hears_of_sources() {
    let mut server = Server::bind("127.0.0.1:0").expect("a port is free");
    let (mut far, near) = UnixStream::pair().expect("a pair of sockets");
    near.set_nonblocking(true).expect("it can be");
    let mut near = mio::net::UnixStream::from_std(near);
    server.register(&mut near, 3, mio::Interest::READABLE).expect("it can be watched");
    let mut told = Sources::default();
    server.turn(&mut told, Some(Duration::ZERO)).expect("the poll works");
    assert!(told.0.is_empty());
    far.write_all(b"x").expect("the pair is open");
    for turns in 1..=2 {
        server.turn(&mut told, Some(PATIENCE)).expect("the poll works");
        assert_eq!(told.0.len(), turns);
    }
    assert_eq!(told.0, ["source 3 true false", "timer 7"]);
}
