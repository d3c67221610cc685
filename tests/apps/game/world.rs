//! The game's server on a network in memory, whose clock moves while the loop sleeps.

use std::time::Duration;

use pushloop::{Counters, Event, Events, Handler, Server};

use super::{
    arena::{Name, Ship},
    server::{Game, config},
    wire::{JOIN, SNAPSHOT, WELCOME},
};
use crate::{
    support::net::{MemNet, Wire},
    support::{Frame, binary, handshake},
};

pub struct World {
    server: Server<MemNet>,
    events: Events,
    pub game: Game,
}

impl World {
    pub fn new() -> Self {
        let mut config = config();
        config.ping_interval = None;
        let mut server = Server::with_net(MemNet::new(), config);
        let game = Game::new(server.hub());
        Self { server, events: Events::default(), game }
    }

    /// One turn, which sleeps until the next tick if there is nothing to do.
    pub fn turn(&mut self) {
        self.server.poll(&mut self.events, None).expect("the poll works");
        let (hub, game) = (self.server.hub(), &mut self.game);
        for event in &self.events {
            match event {
                Event::Request { id, request } => game.on_request(hub, id, request),
                Event::Opened { id } => game.on_open(hub, id),
                Event::Message { id, message } => game.on_message(hub, id, message),
                Event::Closed { id, reason } => game.on_close(hub, id, reason),
                Event::Timer { key } => game.on_timer(hub, key),
                _ => {}
            }
        }
    }

    pub fn ticks(&mut self, ticks: usize) {
        let wanted = self.game.clock.made + ticks as u32;
        while self.game.clock.made < wanted {
            self.turn();
        }
        // What it published is written.
        self.turn();
    }

    pub fn ship(&mut self, id: u16) -> Option<&mut Ship> {
        self.game.arena.ships.iter_mut().find(|ship| ship.id == id)
    }

    pub fn slept(&mut self) -> Duration {
        self.server.net().slept
    }

    pub fn counters(&mut self) -> Counters {
        self.server.hub().counters()
    }

    pub fn opens(&mut self) -> Wire {
        let wire = self.server.net().connects();
        wire.sends_bytes(handshake("/live", ""));
        let mut answer = Vec::new();
        for _ in 0..20 {
            self.turn();
            answer.extend(wire.reads_bytes());
            if answer.starts_with(b"HTTP/1.1 101 ") {
                return wire;
            }
        }
        panic!("it does not open");
    }

    /// Gives the ship and the token.
    pub fn joins(&mut self, wire: &Wire, token: u64, name: &str) -> (u16, u64) {
        wire.sends(binary(join(token, name)));
        for _ in 0..20 {
            self.turn();
            for frame in wire.reads() {
                if let [WELCOME, low, high, token @ ..] = &frame.payload[..] {
                    let token = token.try_into().expect("it has eight bytes");
                    return (u16::from_le_bytes([*low, *high]), u64::from_le_bytes(token));
                }
            }
        }
        panic!("it is not welcome");
    }

    /// The code and the reason of the Close that comes, behind whatever else.
    pub fn close_of(&mut self, wire: &Wire) -> (u16, String) {
        for _ in 0..200 {
            self.turn();
            if let Some(close) = wire.reads().into_iter().find(|frame| frame.first == 0x88) {
                let (code, reason) = close.payload.split_first_chunk().expect("it has a code");
                return (u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into());
            }
        }
        panic!("it is not closed");
    }
}

pub fn join(token: u64, name: &str) -> Vec<u8> {
    let mut bytes = [&[JOIN], &token.to_le_bytes()[..], name.as_bytes()].concat();
    bytes.resize(9 + size_of::<Name>(), 0);
    bytes
}

/// The tick of a snapshot.
pub fn tick_of(frame: &Frame) -> Option<u32> {
    match frame.payload[..] {
        [SNAPSHOT, 0, _, _, a, b, c, d, ..] => Some(u32::from_le_bytes([a, b, c, d])),
        _ => None,
    }
}

/// The whole numbers in a line.
pub fn number(line: &str) -> Vec<u64> {
    line.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}
