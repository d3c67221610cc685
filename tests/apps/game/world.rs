//! The game's server on a network in memory, and what its clients send and read.

use std::time::Duration;

use super::{
    arena::{Name, Ship},
    server::{Game, config},
    wire::{JOIN, SNAPSHOT, WELCOME},
};
use crate::support::net::Wire;
use crate::support::{Frame, binary};
use crate::world::{World, close_in};

pub fn world() -> World<Game> {
    World::beating(config(), Game::new)
}

impl World<Game> {
    pub fn ticks(&mut self, ticks: usize) {
        let wanted = self.app.clock.made + ticks as u32;
        while self.app.clock.made < wanted {
            self.turn();
        }
        // What it published is written.
        self.turn();
    }

    pub fn ship(&mut self, id: u16) -> Option<&mut Ship> {
        self.app.arena.ships.iter_mut().find(|ship| ship.id == id)
    }

    pub fn slept(&mut self) -> Duration {
        self.server.net().slept()
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
            if let Some(close) = close_in(&wire.reads()) {
                return close;
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
