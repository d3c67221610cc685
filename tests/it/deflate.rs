//! Compressed messages (RFC 7692), against peers with codecs of their own: `deflate/puff.rs`
//! inflates bit by bit from RFC 1951, `deflate/peer_codec.rs` compresses with one stream for the
//! whole connection.

mod flood;
mod limits;
mod messages;
mod negotiation;
mod puff;
mod takeover;
mod topics;
mod window;

use crate::support::dice::Dice;
use crate::support::net::{Sim, Told, Wire};
use crate::support::peer_codec::deflate;
use crate::support::{Frame, frame, handshake};
use pushloop::ConnId;

/// What a client usually offers.
const OFFER: &str = "permessage-deflate; client_max_window_bits";
/// What is answered to that by default, whether our messages refer back or not.
const ANSWER: &str = "permessage-deflate";

/// A handshake that offers this.
fn offering(offer: &str) -> String {
    handshake("/", &format!("Sec-WebSocket-Extensions: {offer}\r\n"))
}

/// A WebSocket in memory that offers this and is answered that.
#[track_caller]
fn opens(sim: &mut Sim, offer: &str, answer: &str) -> (ConnId, Wire) {
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

/// A compressed text message of one frame; with [`Frame::open`], the first frame of one.
fn text_deflated(payload: impl AsRef<[u8]>) -> Frame {
    frame(0xC1, payload)
}

/// A compressed binary message of one frame; with [`Frame::open`], the first frame of one.
fn binary_deflated(payload: impl AsRef<[u8]>) -> Frame {
    frame(0xC2, payload)
}

/// Bytes that do not get shorter.
fn noise(dice: &mut Dice, len: usize) -> Vec<u8> {
    (0..len).map(|_| dice.below(256) as u8).collect()
}

/// Something to send, of up to so many bytes: words, runs, noise, and what was there before.
fn payload(dice: &mut Dice, max: usize) -> Vec<u8> {
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
