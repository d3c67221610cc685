//! What is on the wire: binary messages of records of fixed size, numbers little-endian.
//!
//! | to the server | bytes |
//! |---|---|
//! | join | 1, token u64 (0 for none), name \[u8; 16]: UTF-8 that shows, filled up with 0 |
//! | steer | 2, order u8, direction u8 (256 to the turn: 0 right, 64 down), power u8 |
//! | ping | 3, any 4 bytes |
//!
//! | to a client | bytes |
//! |---|---|
//! | welcome | 1, id u16, token u64 |
//! | names | 2, then for each ship: id u16, name \[u8; 16] |
//! | pong | 3, the 4 bytes of the ping |
//! | snapshot | 4, 0, ships u16, tick u32, the ships, the sparks (up to the end) |
//! | a ship in it | id u16, x u16, y u16 (sixteenths), velocity \[i8; 2] (eighths, in a tick), sparks u16, order u8, flags u8: 1 in peace, 2 away |
//! | a spark in it | x u8, y u8 (tens) |

use std::f32::consts::TAU;

use super::{
    arena::{Arena, Name, Ship},
    name::is_name,
};

pub const JOIN: u8 = 1;
pub const STEER: u8 = 2;
pub const PING: u8 = 3;
pub const WELCOME: u8 = 1;
pub const NAMES: u8 = 2;
pub const SNAPSHOT: u8 = 4;
pub const SHIP_BYTES: usize = 12;

/// What stands in a message that joins.
pub fn token_and_name(bytes: &[u8]) -> Result<(u64, Name), &'static str> {
    let (token, name) = bytes.split_at_checked(8).unwrap_or_default();
    let name = Name::try_from(name).map_err(|_| "no message has this kind and length")?;
    let text = str::from_utf8(&name).map_err(|_| "this is no name")?.trim_end_matches('\0');
    let token = token.iter().rfold(0, |token, byte| token << 8 | u64::from(*byte));
    if is_name(text, name.len()) { Ok((token, name)) } else { Err("this is no name") }
}

pub fn helm(direction: u8, power: u8) -> [f32; 2] {
    let (sin, cos) = (f32::from(direction) / 256.0 * TAU).sin_cos();
    [cos, sin].map(|part| part * f32::from(power) / 255.0)
}

pub fn welcome(ship: &Ship) -> Vec<u8> {
    [&[WELCOME], &ship.id.to_le_bytes()[..], &ship.token.to_le_bytes()].concat()
}

pub fn names(ships: &[Ship]) -> Vec<u8> {
    let records = ships.iter().flat_map(|ship| [&ship.id.to_le_bytes()[..], &ship.name].concat());
    [NAMES].into_iter().chain(records).collect()
}

pub fn snapshot(arena: &Arena) -> Vec<u8> {
    let ships = (arena.ships.len() as u16).to_le_bytes();
    let mut out = [&[SNAPSHOT, 0], &ships[..], &arena.tick.to_le_bytes()].concat();
    for ship in &arena.ships {
        out.extend(ship.id.to_le_bytes());
        out.extend(ship.at.map(|part| ((part * 16.0) as u16).to_le_bytes()).as_flattened());
        out.extend(ship.velocity.map(|part| (part * 8.0).round() as i8 as u8));
        out.extend(ship.sparks.to_le_bytes());
        out.extend([ship.order, u8::from(ship.peace > 0) | u8::from(ship.away > 0) << 1]);
    }
    out.extend(arena.sparks.as_flattened());
    out
}
