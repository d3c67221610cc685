//! What a stream with bytes of its own needs of the loop, one need at a time.

use std::time::Duration;

use pushloop::testing::{Choice, Network, Wire};
use pushloop::{Accept, CloseCode, Config, ConnId, Event, Events, Server};

use super::worlds::choice::Every;
use super::worlds::codec::Client;
use super::worlds::layered::Layered;
use super::worlds::marks::Marks;
use crate::support::{Frame, close, handshake, ping, text};

/// A server with one connection, open, over a layer.
struct Lone {
    server: Server<Layered>,
    events: Events,
    wire: Wire,
    client: Client,
    id: Option<ConnId>,
    heard: usize,
    writable: usize,
    ended: Option<u16>,
}

impl Lone {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let choice = Choice::new(Every::new(0));
        let marks = Marks::new();
        let mut config = Config::default();
        change(&mut config);
        let net = Network::with_choice(choice.clone());
        let net = Layered::new(net, Some(64 * 1024), choice.clone(), marks.clone());
        let mut server = Server::with_net(net, config);
        let wire = server.net().connects();
        let mut client = Client::new(&choice, &marks);
        client.says(handshake("/", "").as_bytes());
        let events = Events::default();
        let mut lone =
            Self { server, events, wire, client, id: None, heard: 0, writable: 0, ended: None };
        lone.sends();
        lone.turns(4);
        assert!(lone.reads().is_empty(), "only the layer's answer");
        lone.sends();
        lone.turns(10);
        assert!(lone.reads().starts_with(b"HTTP/1.1 101 "));
        lone
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.server.poll(&mut self.events, Some(Duration::from_nanos(1))).expect("it works");
            let hub = self.server.hub();
            for event in &self.events {
                match event {
                    Event::Request { id, .. } => {
                        hub.accept(id, Accept::default()).expect("it asks for a WebSocket");
                        self.id = Some(id.conn());
                    }
                    Event::Opened { .. } => {}
                    Event::Message { .. } => self.heard += 1,
                    Event::Writable { .. } => self.writable += 1,
                    Event::Closed { reason, .. } => self.ended = Some(reason.code()),
                    // What the peers get tells of these.
                    Event::RequestHead { .. } | Event::Refused { .. } => {}
                    other => panic!("{other:?} is new here"),
                }
            }
        }
    }

    fn lives_for(&mut self, seconds: u32) {
        for _ in 0..2 * seconds {
            self.server.net().passes(Duration::from_millis(500));
            self.turns(1);
        }
        self.turns(2);
    }

    /// Hands all that the peer has said to the network.
    fn sends(&mut self) {
        let records = self.client.transmits(true);
        self.wire.sends_bytes(records);
    }

    fn says(&mut self, frame: &Frame) {
        self.client.says(&frame.masked([1, 2, 3, 4]));
    }

    fn reads(&mut self) -> Vec<u8> {
        let bytes: Vec<u8> = self.wire.reads_bytes();
        self.client.hears(bytes)
    }
}

#[test]
fn what_a_stream_says_of_its_own_leaves_when_there_is_room() {
    let mut lone = Lone::new(|_| {});
    lone.wire.holds(0);
    lone.client.asks();
    lone.sends();
    lone.turns(4);
    assert!(lone.reads().is_empty() && !lone.client.is_at_rest());
    lone.wire.holds(usize::MAX);
    lone.turns(4);
    assert!(lone.reads().is_empty() && lone.client.is_at_rest(), "nothing was queued");
}

#[test]
fn what_was_written_and_is_held_leaves_when_there_is_room() {
    let mut lone = Lone::new(|_| {});
    let id = lone.id.expect("it is open");
    lone.wire.holds(10);
    lone.server.hub().send(id, "a message of some bytes").expect("there is room");
    lone.turns(4);
    assert_eq!((lone.server.hub().queued_bytes(id), lone.writable), (0, 0));
    // Behind what is held, the next waits.
    lone.server.hub().send(id, "another").expect("there is room");
    lone.turns(4);
    assert!(lone.server.hub().queued_bytes(id) > 0);
    lone.wire.holds(usize::MAX);
    lone.turns(4);
    let expected = [text("a message of some bytes"), text("another")].map(|it| it.unmasked());
    assert_eq!(lone.reads(), expected.concat());
    assert_eq!(lone.writable, 1);
}

#[test]
fn fin_waits_for_what_is_held_and_for_the_goodbye() {
    let mut lone = Lone::new(|_| {});
    lone.wire.holds(0);
    lone.says(&close(1000, ""));
    lone.sends();
    lone.turns(4);
    assert_eq!(lone.ended, Some(1000));
    // Up to the echoed Close, up to the middle of the goodbye, and all of it.
    for (room, is_over) in [(3 + 4, false), (1, false), (100, true)] {
        lone.wire.holds(room);
        lone.turns(4);
        assert_eq!(lone.wire.is_finished(), is_over, "with room for {room}");
        lone.reads();
        assert_eq!(lone.client.is_over, is_over, "with room for {room}");
    }
    lone.wire.finishes();
    lone.turns(4);
    assert!(lone.wire.is_dropped());
}

#[test]
fn an_end_that_came_before_fin_was_out_ends_the_connection_then() {
    let mut lone = Lone::new(|_| {});
    lone.wire.holds(0);
    lone.wire.finishes();
    lone.turns(4);
    assert_eq!((lone.ended, lone.wire.is_dropped()), (Some(1006), false));
    lone.wire.holds(usize::MAX);
    lone.turns(4);
    lone.reads();
    assert!(lone.client.is_over && lone.wire.is_dropped());
}

#[test]
fn a_record_in_parts_is_heard_once_it_is_whole_and_shows_life_before() {
    let mut lone = Lone::new(|config| {
        config.ping_interval = Some(Duration::from_secs(20));
        config.pong_timeout = Duration::from_secs(10);
    });
    lone.says(&text("a sentence that takes its time"));
    // Each byte comes behind a Ping that nobody answers.
    for byte in lone.client.transmits(true) {
        assert_eq!((lone.heard, lone.ended), (0, None));
        lone.lives_for(24);
        assert!(lone.reads().ends_with(&ping("").unmasked()));
        lone.wire.sends_bytes([byte]);
        lone.turns(2);
    }
    assert_eq!(lone.heard, 1);
    lone.lives_for(24);
    assert_eq!(lone.ended, None);
    lone.lives_for(12);
    assert_eq!(lone.ended, Some(1006), "and nothing shows life any more");
}

#[test]
fn plaintext_beyond_the_room_of_a_read_needs_no_readiness() {
    let mut lone = Lone::new(|config| config.read_bytes_per_turn = 50);
    (0..10).for_each(|_| lone.says(&text("one of ten messages, in a few records")));
    lone.sends();
    lone.turns(40);
    assert_eq!(lone.heard, 10);
}

#[test]
fn a_closing_connection_has_its_time_again_from_what_leaves() {
    let mut lone = Lone::new(|config| config.close_timeout = Duration::from_secs(5));
    let id = lone.id.expect("it is open");
    lone.wire.holds(0);
    lone.server.hub().send(id, &*"x".repeat(1000)).expect("there is room");
    lone.server.hub().close(id, CloseCode::NORMAL, "");
    lone.turns(4);
    // It reads a little every four seconds, and is not dropped for it.
    let mut read = Vec::new();
    for _ in 0..12 {
        lone.server.net().passes(Duration::from_secs(4));
        lone.wire.holds(100);
        lone.turns(4);
        read.extend(lone.reads());
    }
    assert!(read.ends_with(&close(1000, "").unmasked()), "{} bytes came", read.len());
    lone.says(&close(1000, ""));
    lone.sends();
    lone.turns(4);
    assert!(lone.reads().is_empty() && lone.client.is_over && lone.wire.is_finished());
}
