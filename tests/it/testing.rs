//! The simulated world that embedders have, by itself: its clock, its faults, its clients.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use pushloop::testing::{Fault, Faults, Handshake, Network, Take, World, each_seed};
use pushloop::{
    Config, ConnId, Events, Handler, Hub, Message, OnLag, Position, Reason, Request, RequestId,
    Response, Server,
};

use crate::support::text;

const SECOND: Duration = Duration::from_secs(1);

/// All get what one says; "panic" is taken at its word, and "later" is answered in a second.
#[derive(Default)]
struct Room {
    closed: Vec<u16>,
}

impl Handler for Room {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        if request.is_websocket() {
            hub.accept(id, Default::default()).expect("it is a handshake");
        } else {
            let peer = request.peer().map_or("nobody".into(), |peer| peer.to_string());
            hub.respond(id, Response::text(200, peer)).expect("it waits");
        }
    }

    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        hub.subscribe(id, "room").expect("there is room");
    }

    fn on_message(&mut self, hub: &mut Hub, _: ConnId, message: Message<'_>) {
        match message.as_text() {
            Some("panic") => panic!("as asked"),
            _ => hub.publish("room", message).expect("there is room"),
        };
    }

    fn on_close(&mut self, _: &mut Hub, _: ConnId, reason: Reason<'_>) {
        self.closed.push(reason.code());
    }
}

fn world(seed: u64, change: impl FnOnce(&mut Config)) -> World<Room> {
    let mut config = Config::default();
    change(&mut config);
    World::new(seed, config, |_| Room::default())
}

#[test]
fn time_stands_still_until_a_test_lets_it_pass() {
    let mut world = world(1, |config| config.ping_interval = Some(10 * SECOND));
    let client = world.connect("/");
    let began = world.hub().now();
    client.send("x");
    world.run_until_quiet();
    assert_eq!((client.messages().len(), world.hub().now()), (1, began));
    world.advance(65 * SECOND);
    assert_eq!(world.hub().now() - began, 65 * SECOND);
    assert_eq!((world.hub().counters().pings_sent, client.closed()), (6, None));
    client.stops_reading();
    world.advance(65 * SECOND);
    assert_eq!(world.app.closed, [1006], "it answers no Ping");
}

#[test]
fn a_wait_that_nothing_would_end_is_an_error() {
    let mut config = Config::default();
    config.ping_interval = None;
    let mut server = Server::with_net(Network::new(), config);
    let polled = server.poll(&mut Events::default(), None);
    assert_eq!(polled.expect_err("it would wait for ever").kind(), ErrorKind::Deadlock);
}

#[test]
fn a_handle_of_the_tests_own_thread_wakes_the_world() {
    let mut world = world(1, |_| {});
    let (client, handle) = (world.connect("/"), world.handle());
    handle.publish("room", "from elsewhere").expect("the mailbox has room");
    assert_eq!(client.messages(), [""; 0]);
    world.run_until_quiet();
    assert_eq!(client.messages(), ["from elsewhere"]);
}

#[test]
fn a_client_that_does_not_read_is_held_by_the_kernel_and_then_by_the_server() {
    let mut world = world(1, |config| config.topic.on_lag = OnLag::Skip);
    let (quick, slow) = (world.connect("/"), world.connect("/"));
    slow.stops_reading();
    for _ in 0..100 {
        quick.send([b'x'; 1000]);
    }
    world.run_until_quiet();
    assert_eq!((quick.messages().len(), slow.messages().len()), (100, 0));
    assert!(slow.wire().was_full() && slow.wire().waiting() == 64 * 1024);
    slow.reads_at(1500);
    world.turn(Duration::ZERO);
    assert_eq!(slow.messages().len(), 1);
    world.run_until_quiet();
    assert_eq!(slow.messages().len(), 99);
}

#[test]
fn a_read_ends_at_a_pause_and_a_write_where_the_plan_says() {
    let mut world = world(1, |_| {});
    let client = world.connect("/");
    let (wire, frame) = (client.wire(), text("hello").masked([1, 2, 3, 4]));
    for cut in 1..frame.len() {
        let reads = world.network().calls.reads;
        wire.sends_bytes(&frame[..cut]);
        wire.pauses();
        wire.sends_bytes(&frame[cut..]);
        wire.takes_next([Take::Bytes(1), Take::Nothing, Take::Bytes(2)]);
        world.run_until_quiet();
        assert_eq!(world.network().calls.reads - reads, 2, "cut at {cut}");
        assert_eq!((client.messages().len(), wire.plan_left()), (1, 0));
    }
}

#[test]
fn a_request_is_answered_and_comes_from_where_it_says() {
    let mut world = world(1, |_| {});
    assert_eq!(world.get("/").text(), "nobody");
    let answer = world.request("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("6")));
    let knock = world.knock(Handshake::to("/").address(([10, 0, 0, 7], 80).into()));
    world.run_until_quiet();
    assert_eq!(knock.answer().map(|it| it.status), Some(101));
    let refused = world.try_connect(Handshake::to("/").header("Host", "elsewhere:x"));
    assert_eq!(refused.map_err(|answer| answer.status).err(), Some(400));
}

#[test]
fn an_application_that_panics_fails_its_test_unless_that_is_expected() {
    let mut world = world(1, |_| {});
    let client = world.connect("/");
    world.expect_panics(1);
    client.send("panic");
    world.run_until_quiet();
    assert_eq!(client.closed().map(|(code, _)| code), Some(1011));
    let client = world.connect("/");
    client.send("panic");
    let runs = std::panic::AssertUnwindSafe(|| world.run_until_quiet());
    assert!(std::panic::catch_unwind(runs).is_err());
}

/// What becomes of a few that talk in a network with faults, and what it met.
fn life(seed: u64) -> (Vec<usize>, Option<Position>, Vec<u64>) {
    let mut world = world(seed, |_| {});
    let choice = world.choice();
    world.network().faults = Faults { meddles: 30, ..Faults::drawn_without_loss(&choice) };
    let clients = [(); 3].map(|()| world.connect("/"));
    let done = Rc::new(RefCell::new(0));
    for round in 0..20 {
        clients[choice.below(3)].send(format!("message {round}"));
        let (handle, done) = (world.handle(), Rc::clone(&done));
        world.network().meanwhile(move || {
            handle.publish("room", "meanwhile").expect("the mailbox has room");
            *done.borrow_mut() += 1;
        });
        world.turn(Duration::ZERO);
    }
    world.run_until_quiet();
    assert_eq!(*done.borrow(), 20);
    let got = clients.iter().map(|client| client.messages().len()).collect();
    (
        got,
        world.hub().position("room"),
        Fault::ALL.iter().map(|fault| world.network().met(*fault)).collect(),
    )
}

#[test]
fn faults_come_and_cost_nothing_and_come_again_with_the_same_seed() {
    let mut met = vec![0; Fault::ALL.len()];
    each_seed(50, |seed| {
        let (got, position, its) = life(seed);
        assert_eq!(got, [40; 3], "seed {seed}");
        assert_eq!((got, position, its.clone()), life(seed), "seed {seed}");
        met.iter_mut().zip(its).for_each(|(sum, its)| *sum += its);
    });
    for fault in [Fault::ShortRead, Fault::WriteBlocked, Fault::LateEdge, Fault::CommandInTurn] {
        assert!(met[fault as usize] > 50, "{fault:?}: {met:?}");
    }
    assert_eq!(met[Fault::ClockJump as usize], 0);
}
