//! Bots: WebSocket clients like any other, in a process of their own. They fly to the nearest spark,
//! or ship that is richer.

use std::{
    error::Error,
    f32::consts::TAU,
    io::{ErrorKind, Read, Write},
    net,
};

use pushloop::mio::{Events, Interest, Poll, Token, net::TcpStream};
use tungstenite::{Message, WebSocket};

use crate::{
    arena::{Name, place},
    wire::{JOIN, SHIP_BYTES, SNAPSHOT, STEER, WELCOME},
};

/// Ticks from one of a bot's decisions to the next.
const THINKS_EVERY: u32 = 6;
const NAMES: [&str; 8] = ["wren", "rook", "jay", "swift", "kite", "finch", "owl", "crane"];

struct Bot {
    number: usize,
    socket: WebSocket<TcpStream>,
    ship: u16,
    /// Of the last snapshot.
    tick: u32,
    snapshots: u64,
    missed: u64,
}

/// Plays for so many ticks from when all have joined, and tells what the server says of them.
pub fn run(address: &str, count: usize, ticks: u64) -> Result<(), Box<dyn Error>> {
    let mut poll = Poll::new()?;
    let mut bots = Vec::new();
    for number in 0..count {
        let stream = net::TcpStream::connect(address)?;
        let same_stream = stream.try_clone()?;
        let url = format!("ws://{address}/live");
        let (mut socket, _) = tungstenite::client(url, TcpStream::from_std(stream))?;
        let name = match number / NAMES.len() {
            0 => format!("bot {}", NAMES[number]),
            round => format!("bot {} {}", NAMES[number % NAMES.len()], round + 1),
        };
        socket.send(join(&name))?;
        same_stream.set_nonblocking(true)?;
        poll.registry().register(socket.get_mut(), Token(number), Interest::READABLE)?;
        bots.push(Bot { number, socket, ship: 0, tick: 0, snapshots: 0, missed: 0 });
    }
    let mut events = Events::with_capacity(1024);
    while bots.last().is_some_and(|bot| bot.snapshots + bot.missed < ticks) {
        poll.poll(&mut events, None)?;
        for event in &events {
            let bot = &mut bots[event.token().0];
            loop {
                match bot.socket.read() {
                    Ok(Message::Binary(bytes)) => bot.hear(&bytes),
                    Ok(_) => {}
                    Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    let mut server = net::TcpStream::connect(address)?;
    write!(server, "GET /ticks HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    let (_, report) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    report.lines().for_each(|line| println!("figure game, {count} bots, {line}"));
    let snapshots: u64 = bots.iter().map(|bot| bot.snapshots).sum();
    let missed: u64 = bots.iter().map(|bot| bot.missed).sum();
    println!("figure game, {count} bots, snapshots: {snapshots} received, {missed} missed");
    Ok(())
}

impl Bot {
    fn hear(&mut self, bytes: &[u8]) {
        match *bytes {
            [WELCOME, low, high, ..] => self.ship = u16::from_le_bytes([low, high]),
            [SNAPSHOT, _, _, _, a, b, c, d, ..] => {
                let tick = u32::from_le_bytes([a, b, c, d]);
                // The first is none that follows another.
                self.missed += u64::from(if self.tick > 0 { tick - self.tick - 1 } else { 0 });
                (self.tick, self.snapshots) = (tick, self.snapshots + 1);
                if (tick + self.number as u32).is_multiple_of(THINKS_EVERY) {
                    self.think(bytes);
                }
            }
            _ => {}
        }
    }

    fn think(&mut self, snapshot: &[u8]) {
        let number = |from: &[u8]| u16::from_le_bytes([from[0], from[1]]);
        let ships = usize::from(number(&snapshot[2..])) * SHIP_BYTES;
        let Some((ships, sparks)) = snapshot[8..].split_at_checked(ships) else { return };
        let ships = ships.chunks_exact(SHIP_BYTES);
        let at = |ship: &[u8]| [2, 4].map(|part| f32::from(number(&ship[part..])) / 16.0);
        let wealth = |ship: &[u8]| number(&ship[8..]);
        let in_peace = |ship: &[u8]| ship[11] & 1 > 0;

        let Some(own) = ships.clone().find(|ship| number(ship) == self.ship) else { return };
        let prey =
            ships.filter(|ship| !in_peace(own) && !in_peace(ship) && wealth(ship) > wealth(own));
        let sparks = sparks.chunks_exact(2).map(|spark| place([spark[0], spark[1]]));
        let [x, y] = at(own);
        let ways = sparks.chain(prey.map(at)).map(|to| (to[0] - x, to[1] - y));
        let Some((x, y)) = ways.min_by(|a, b| a.0.hypot(a.1).total_cmp(&b.0.hypot(b.1))) else {
            return;
        };
        let direction = (y.atan2(x) / TAU * 256.0) as i32 as u8;
        // None is as fast as a player can be.
        let power = 140 + (self.number * 29 % 80) as u8;
        // A kernel that is full of older orders needs no newer one.
        let _ = self.socket.send(Message::binary(vec![STEER, 0, direction, power]));
    }
}

fn join(name: &str) -> Message {
    let mut bytes = [&[JOIN], &[0; 8][..], name.as_bytes()].concat();
    bytes.resize(9 + size_of::<Name>(), 0);
    Message::binary(bytes)
}
