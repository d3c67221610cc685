//! Several loops in one process, over sockets.

use std::net::SocketAddr;
use std::panic::panic_any;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::{io, time::Duration};

use pushloop::{ConnId, Handle, Handler, Hub, Loops, Message, Request, RequestId};

use crate::support::{PATIENCE, Peer, handshake, quiet, text};

/// Subscribes each connection to `all`, publishes what it says there, and tells which loop has it.
struct Room {
    nth: usize,
    opened: Sender<(usize, ConnId)>,
}

impl Handler for Room {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        if request.path() == "/dies" {
            panic_any(Bomb);
        }
        hub.accept(id, pushloop::Accept::default()).expect("a handshake");
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        hub.subscribe(id, "all").expect("it is within the limits");
        self.opened.send((self.nth, id)).expect("the test waits");
    }

    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        match message {
            Message::Text("others") => drop(hub.publish_except("all", message, id)),
            message => drop(hub.publish("all", message)),
        }
    }
}

/// What panics once more when the panic that it came with was caught: no callback's panic does that.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("a planted panic: the thread of a loop ends");
        }
    }
}

struct Running {
    handle: Handle,
    address: SocketAddr,
    opened: Receiver<(usize, ConnId)>,
    ended: Receiver<io::Result<()>>,
}

fn start(count: usize, connections_max: usize) -> Running {
    let config = quiet(|config| {
        (config.connections_max, config.connections_reserved) = (connections_max, 0);
    });
    run(Loops::new(config, count).expect("there are descriptors"))
}

fn run(mut loops: Loops) -> Running {
    let address = loops.first().listen("127.0.0.1:0").expect("a port is free");
    loops.set_drain(Duration::from_secs(1));
    let handle = loops.handle();
    let ((opens, opened), (end, ended)) = (mpsc::channel(), mpsc::channel());
    thread::spawn(move || {
        let run = move || loops.run(|_, nth| Room { nth, opened: opens.clone() });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        end.send(ended.unwrap_or_else(|_| Err(io::Error::other("panicked"))))
    });
    Running { handle, address, opened, ended }
}

impl Running {
    fn knocks(&self, path: &str) -> Peer {
        let mut peer = Peer::connect(self.address);
        peer.sends_bytes(handshake(path, ""));
        peer
    }

    /// A peer, and which loop has it under which id.
    fn opens(&self) -> (Peer, usize, ConnId) {
        let mut peer = self.knocks("/");
        peer.expects_upgrade();
        let (nth, id) = self.opened.recv_timeout(PATIENCE).expect("it is opened");
        (peer, nth, id)
    }

    fn ends(self) {
        self.handle.shutdown(PATIENCE).expect("it runs");
        self.ended.recv_timeout(PATIENCE).expect("it ends").expect("all polls work");
    }
}

#[test]
fn every_subscriber_gets_every_publication_once_and_in_one_order() {
    const EACH: usize = 50;
    let running = start(2, 1_000);
    let mut peers: Vec<_> = (0..6).map(|_| running.opens()).collect();
    let handle = running.handle.clone();
    let publisher = thread::spawn(move || {
        for nth in 0..EACH {
            handle.publish("all", format!("handle {nth}")).expect("there is room");
        }
    });
    for nth in 0..EACH {
        for (at, (peer, ..)) in peers.iter_mut().enumerate() {
            peer.sends(text(format!("{at} {nth}")));
        }
    }
    publisher.join().expect("it publishes");
    let count = EACH * (peers.len() + 1);
    let mut read = |at: usize| -> Vec<String> {
        let peer: &mut Peer = &mut peers[at].0;
        (0..count).map(|_| String::from_utf8(peer.reads().payload).expect("text")).collect()
    };
    let order = read(0);
    for at in 1..6 {
        assert_eq!(read(at), order, "the order of {at}");
    }
    for who in ["handle", "0", "1", "2", "3", "4", "5"] {
        let own: Vec<_> = order.iter().filter(|it| it.split(' ').next() == Some(who)).collect();
        let expected: Vec<_> = (0..EACH).map(|nth| format!("{who} {nth}")).collect();
        assert_eq!(own, expected.iter().collect::<Vec<_>>());
    }
    assert_eq!(running.handle.counters().publications, count as u64);
    assert_eq!(running.handle.counters().deliveries, 6 * count as u64);
    running.ends();
}

#[test]
fn loops_with_topics_of_their_own_keep_what_is_published_to_themselves() {
    let loops = Loops::apart(quiet(|_| {}), 2).expect("there are descriptors");
    let running = run(loops);
    let mut peers: Vec<_> = (0..4).map(|_| running.opens()).collect();
    for at in 0..4 {
        let sender = peers[at].1;
        peers[at].0.sends(text("own"));
        for (peer, ..) in peers.iter_mut().filter(|(_, nth, _)| *nth == sender) {
            peer.expects(text("own"));
        }
    }
    // A connection is reached wherever it is, and a publication of a thread is for one loop.
    for (peer, _, id) in &mut peers {
        running.handle.send(*id, "direct").expect("there is room");
        peer.expects(text("direct"));
    }
    running.handle.publish("all", "of the first").expect("there is room");
    for (peer, ..) in peers.iter_mut().filter(|(_, nth, _)| *nth == 0) {
        peer.expects(text("of the first"));
    }
    // Nothing else has come.
    for (peer, _, id) in &mut peers {
        running.handle.send(*id, "last").expect("there is room");
        peer.expects(text("last"));
    }
    running.ends();
}

#[test]
fn connections_are_spread_evenly_and_their_limit_is_the_processes() {
    let running = start(3, 20);
    let peers: Vec<_> = (0..20).map(|_| running.opens()).collect();
    let mut of_loop = [0; 3];
    peers.iter().for_each(|(_, nth, _)| of_loop[*nth] += 1);
    of_loop.sort_unstable();
    assert_eq!(of_loop, [6, 7, 7]);
    Peer::connect(running.address).expects_end();
    running.ends();
}

#[test]
fn a_handle_reaches_each_connection_and_the_sender_is_left_out() {
    let running = start(2, 1_000);
    let mut peers: Vec<_> = (0..4).map(|_| running.opens()).collect();
    let ids: std::collections::BTreeSet<_> = peers.iter().map(|(.., id)| *id).collect();
    assert_eq!(ids.len(), 4, "ids are the process's");
    for (nth, (peer, _, id)) in peers.iter_mut().enumerate() {
        running.handle.send(*id, format!("for {nth}")).expect("there is room");
        peer.expects(text(format!("for {nth}")));
    }
    peers[1].0.sends(text("others"));
    for at in [0, 2, 3] {
        peers[at].0.expects(text("others"));
    }
    for (at, (.., id)) in peers.iter().enumerate() {
        running.handle.publish_except("all", format!("not {at}"), *id).expect("there is room");
    }
    for (at, (peer, ..)) in peers.iter_mut().enumerate() {
        for other in (0..4).filter(|other| *other != at) {
            peer.expects(text(format!("not {other}")));
        }
    }
    running.ends();
}

/// One loop takes its topics along: the process ends, in bounds, and says that it failed.
/// A loop that has no connections left is home to topics still.
#[test]
fn loops_end_together() {
    let config = quiet(|config| config.shutdown_spread = PATIENCE);
    let mut loops = Loops::new(config, 2).expect("there are descriptors");
    let home = loops.first().hub().home("all");
    let running = run(loops);
    let mut peers: Vec<_> = (0..200).map(|_| running.opens()).collect();
    peers.retain(|(_, nth, _)| *nth != home);
    while running.handle.counters().connections_open > peers.len() as u64 {
        thread::yield_now();
    }
    running.handle.shutdown(PATIENCE).expect("it runs");
    // They are closed one after the other, the oldest last: after two, a loop that could end has ended.
    let mut last = peers.remove(0).0;
    for _ in 0..2 {
        let (mut peer, ..) = peers.pop().expect("there are more");
        peer.expects_close(1001);
    }
    last.sends(text("meanwhile"));
    last.expects(text("meanwhile"));
    drop(last);
    drop(peers);
    running.ended.recv_timeout(PATIENCE).expect("it ends").expect("all polls work");
}

#[test]
fn a_thread_that_dies_ends_the_others_and_the_run_fails() {
    // In turns, one of the two has it.
    for first in 0..2 {
        let running = start(2, 1_000);
        let _others: Vec<_> = (0..first).map(|_| running.opens()).collect();
        let _dies = running.knocks("/dies");
        let ended = running.ended.recv_timeout(PATIENCE).expect("it ends in bounds");
        assert!(ended.is_err(), "and says so");
    }
}

#[test]
fn a_socket_that_is_adopted_goes_to_the_loop_with_the_fewest_connections() {
    let running = start(2, 1_000);
    let _peers: Vec<_> = (0..3).map(|_| running.opens()).collect();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mut peer = Peer::connect(listener.local_addr().expect("it listens"));
    let (socket, _) = listener.accept().expect("the peer connects");
    peer.sends_bytes(handshake("/", ""));
    running.handle.adopt(socket, &[]).expect("the mailbox has room");
    peer.expects_upgrade();
    let mut of_loop = [0; 2];
    _peers.iter().for_each(|(_, nth, _)| of_loop[*nth] += 1);
    let (nth, _) = running.opened.recv_timeout(PATIENCE).expect("it is opened");
    assert_eq!(of_loop[nth], 1);
    running.ends();
}
