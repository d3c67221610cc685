//! Small worlds: one whose cost is known to the call, and one that goes through every fault that
//! its first calls can meet.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use pushloop::testing::{Calls, Choice, Faults, Network, Wire};
use pushloop::{Accept, CloseCode, Config, ConnId, Event, Events, Server};

use super::worlds::choice::Every;
use crate::support::{Frame, close, handshake, text};

/// A room: what one says, all get.
struct Room {
    server: Server<Network>,
    events: Events,
    ids: Vec<ConnId>,
    /// Who was told to have left.
    left: usize,
}

impl Room {
    fn new(source: &Rc<RefCell<Every>>) -> Self {
        let mut config = Config::default();
        config.ping_interval = None;
        let net = Network::with_choice(Choice::sharing(Rc::clone(source)));
        let server = Server::with_net(net, config);
        Self { server, events: Events::default(), ids: Vec::new(), left: 0 }
    }

    fn turn(&mut self) {
        self.server.poll(&mut self.events, Some(Duration::from_nanos(1))).expect("the poll works");
        let hub = self.server.hub();
        for event in &self.events {
            match event {
                Event::Request { id, .. } => {
                    hub.accept(id, Accept::default()).expect("it asks for a WebSocket");
                }
                Event::Opened { id } => {
                    self.ids.push(id);
                    hub.subscribe(id, "room").expect("it is open");
                }
                Event::Message { message, .. } => {
                    hub.publish("room", message).expect("there is room");
                }
                Event::Closed { .. } => self.left += 1,
                Event::Writable { .. } | Event::Timer { .. } => {}
                // What the peers get tells of these.
                Event::RequestHead { .. } | Event::Refused { .. } => {}
                other => panic!("{other:?} is new here"),
            }
        }
    }

    /// Turns until there is nothing to do but to wait.
    fn rests(&mut self) {
        for _ in 0..100 {
            self.turn();
            if self.server.net().is_idle() {
                return;
            }
        }
        panic!("no rest");
    }

    /// So many who are in the room, with their handshakes off the record.
    fn enter(&mut self, count: usize) -> Vec<Wire> {
        let enters = |_| {
            let wire = self.server.net().connects();
            wire.sends_bytes(handshake("/", "").into_bytes());
            self.rests();
            wire.reads_bytes();
            wire
        };
        (0..count).map(enters).collect()
    }

    /// What the network was asked while something was done.
    fn costs(&mut self, what: impl FnOnce(&mut Self)) -> Calls {
        self.server.net().calls = Calls::default();
        what(self);
        self.server.net().calls
    }
}

fn says(frame: &Frame) -> Vec<u8> {
    frame.masked([1, 2, 3, 4])
}

fn reads(wire: &Wire) -> Vec<Frame> {
    let bytes: Vec<u8> = wire.reads_bytes();
    let mut rest = &bytes[..];
    let mut frames = Vec::new();
    while let Some(frame) = Frame::read(&mut rest).expect("no frame is cut") {
        frames.push(frame);
    }
    frames
}

#[test]
fn a_day_in_a_room_costs_what_it_must() {
    let mut room = Room::new(&Rc::new(RefCell::new(Every::new(0))));
    let mut wires = Vec::new();
    let enters = room.costs(|room| wires = room.enter(3));
    // For each: a turn to accept and see that there is no other, one to hear, one to answer, and one
    // that waits.
    let expected = Calls { waits: 12, accepts: 6, reads: 3, writes: 3, ..enters };
    assert_eq!(enters, expected);
    let says_10 = room.costs(|room| {
        (0..10).for_each(|_| wires[0].sends_bytes(says(&text("all at once"))));
        room.rests();
    });
    let expected = Calls { waits: 2, accepts: 0, reads: 1, writes: 3, ..says_10 };
    assert_eq!(says_10, expected);
    let leave = room.costs(|room| {
        room.server.hub().close(room.ids[0], CloseCode::NORMAL, "");
        wires[1].sends_bytes(says(&close(1000, "")));
        wires[2].resets();
        room.rests();
    });
    let expected = Calls { waits: 2, accepts: 0, reads: 2, writes: 2, ..leave };
    assert_eq!(leave, expected);
}

/// Two in a room, of whom one says two things and leaves, whatever the network does in its first
/// calls.
fn two_talk(source: &Rc<RefCell<Every>>) {
    let mut room = Room::new(source);
    let wires = room.enter(2);
    room.server.net().faults = Faults {
        short_read: 1,
        short_write: 1,
        read_blocks: 1,
        write_blocks: 1,
        late: 1,
        shuffled: 1,
        ..Faults::default()
    };
    let messages = [text("one"), text("two")];
    messages.iter().for_each(|message| wires[0].sends_bytes(says(message)));
    wires[0].sends_bytes(says(&close(1000, "")));
    for _ in 0..20 {
        room.turn();
    }
    room.server.net().faults = Faults::default();
    room.rests();
    assert_eq!(reads(&wires[0]), [&messages[..], &[close(1000, "")]].concat());
    assert_eq!(reads(&wires[1]), messages);
    assert_eq!(room.left, 1);
    assert!(wires[0].is_ended() && !wires[1].is_ended());
    wires.iter().for_each(Wire::finishes);
    (0..4).for_each(|_| room.turn());
    assert_eq!(room.server.hub().connection_count(), 0);
    assert_eq!((room.left, room.server.hub().topic_count()), (2, 0));
}

fn goes_through_all(choices: usize) -> usize {
    let source = Rc::new(RefCell::new(Every::new(choices)));
    let mut cases = 1;
    two_talk(&source);
    while source.borrow_mut().advances() {
        two_talk(&source);
        cases += 1;
    }
    cases
}

#[test]
fn whatever_the_first_10_choices_are() {
    assert!(goes_through_all(10) > 1_000);
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn whatever_the_first_18_choices_are() {
    assert!(goes_through_all(18) > 200_000);
}
