//! Connections that compress (RFC 7692), and what is said over them.

use pushloop::ConnId;

use super::dice::Dice;
use super::handshake;
use super::net::{Sim, Told, Wire};

/// What a client usually offers.
pub const OFFER: &str = "permessage-deflate; client_max_window_bits";
/// What is answered to that by default, whether our messages refer back or not.
pub const ANSWER: &str = "permessage-deflate";

/// A handshake that offers this.
pub fn offering(offer: &str) -> String {
    handshake("/", &format!("Sec-WebSocket-Extensions: {offer}\r\n"))
}

/// A WebSocket in memory that offers this and is answered that.
#[track_caller]
pub fn opens(sim: &mut Sim, offer: &str, answer: &str) -> (ConnId, Wire) {
    let wire = sim.server.net().connects();
    wire.sends_bytes(offering(offer));
    let mut head = Vec::new();
    for _ in 0..1000 {
        sim.turn();
        head.extend(wire.reads_bytes());
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains(&format!("\r\nSec-WebSocket-Extensions: {answer}\r\n")), "{head}");
        let opened = |told: &Told| matches!(told, Told::Opened(_));
        let at = sim.told.iter().rposition(opened).expect("it was told when it was accepted");
        let Told::Opened(id) = sim.told.remove(at) else { break };
        return (id, wire);
    }
    panic!("the connection does not open");
}

/// Bytes that do not get shorter.
pub fn noise(dice: &mut Dice, len: usize) -> Vec<u8> {
    (0..len).map(|_| dice.below(256) as u8).collect()
}

/// Something to send, of up to so many bytes: words, runs, noise, and what was there before.
pub fn payload(dice: &mut Dice, max: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = ["goal", " ", "the score is ", "1:0", "€", "\n", "half time", "…"];
    let mut payload = Vec::new();
    let len = dice.below(max + 1);
    while payload.len() < len {
        let more = 1 + dice.below(len - payload.len());
        match dice.below(5) {
            0 => payload.extend(noise(dice, more.min(300))),
            1 => payload.extend(vec![b'a' + dice.below(3) as u8; more]),
            2 if !payload.is_empty() => {
                let from = dice.below(payload.len());
                let to = payload.len().min(from + more);
                payload.extend_from_within(from..to);
            }
            _ => {
                (0..10).for_each(|_| payload.extend(WORDS[dice.below(WORDS.len())].as_bytes()));
            }
        }
    }
    payload.truncate(len);
    payload
}
