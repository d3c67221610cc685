//! Bots fly to the nearest spark, each as fast as it likes.

use std::f32::consts::TAU;

use tungstenite::Message;

use crate::{
    arena::{Name, apart, place},
    crowd::Bot,
    wire::{JOIN, SHIP_BYTES, SNAPSHOT, STEER, WELCOME},
};

pub fn bot(number: usize) -> Bot {
    let mut ship = None;
    Box::new(move |bytes| match *bytes {
        [] => Some(join(&format!("bot {}", number + 1))),
        [WELCOME, low, high, ..] => {
            ship = Some([low, high]);
            None
        }
        // Not all in the same tick.
        [SNAPSHOT, _, _, _, tick, ..] if (usize::from(tick) + number).is_multiple_of(6) => {
            let direction = way_to_a_spark(ship?, bytes)?;
            Some(Message::binary(vec![STEER, 0, direction, 140 + (number * 29 % 80) as u8]))
        }
        _ => None,
    })
}

fn join(name: &str) -> Message {
    let mut bytes = [&[JOIN], &[0; 8][..], name.as_bytes()].concat();
    bytes.resize(9 + size_of::<Name>(), 0);
    Message::binary(bytes)
}

fn way_to_a_spark(ship: [u8; 2], snapshot: &[u8]) -> Option<u8> {
    let number = |at: &[u8]| u16::from_le_bytes([at[0], at[1]]);
    let ships = SHIP_BYTES * usize::from(number(&snapshot[2..]));
    let (ships, sparks) = snapshot[8..].split_at(ships);
    let own = ships.chunks_exact(SHIP_BYTES).find(|own| own[..2] == ship)?;
    let at = [2, 4].map(|part| f32::from(number(&own[part..])) / 16.0);
    let sparks = sparks.chunks_exact(2).map(|spark| place([spark[0], spark[1]]));
    let to = sparks.min_by(|a, b| apart(at, *a).total_cmp(&apart(at, *b)))?;
    Some(((to[1] - at[1]).atan2(to[0] - at[0]) / TAU * 256.0) as i32 as u8)
}
