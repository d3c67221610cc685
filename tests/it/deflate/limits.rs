//! `message_bytes_max` is on what a message inflates to, and exact.

use super::{ALONE, OFFER, binary_deflated, noise, opens};
use crate::support::dice::Dice;
use crate::support::net::{Sim, Told, frames};
use crate::support::peer_codec::{deflate, finals, stored};
use crate::support::{Frame, burst, continuation, quiet};

/// A message in frames of so many bytes.
fn fragments(message: &[u8], len: usize) -> Vec<Frame> {
    let mut pieces: Vec<_> = message.chunks(len).map(|piece| continuation(piece).open()).collect();
    pieces[0].first = 0x42;
    pieces.last_mut().expect("no message is empty").first |= 0x80;
    pieces
}

/// A message of stored blocks of up to so many bytes.
fn blocks(payload: &[u8], len: usize) -> Vec<u8> {
    let mut message: Vec<u8> = payload.chunks(len).flat_map(|piece| stored(piece, false)).collect();
    message.push(0);
    message
}

/// Whether it is delivered as it was meant, or closed with 1009 and nothing else.
#[track_caller]
fn is_delivered(limit: usize, frames_sent: &[Frame], meant: &[u8]) -> bool {
    let mut sim = Sim::new(quiet(|config| config.message_bytes_max = limit));
    let (id, wire) = opens(&mut sim, OFFER, ALONE);
    wire.sends_bytes(burst(frames_sent));
    sim.rests();
    let told = sim.takes();
    if told == [Told::Message(id, meant.to_vec())] {
        return true;
    }
    assert!(told == [Told::Closed(id, 1009)], "{} events", told.len());
    let out = frames(&wire.reads_bytes());
    assert!(out.len() == 1 && out[0].payload[..2] == [0x03, 0xF1], "{out:?}");
    false
}

#[test]
fn the_limit_is_exact_however_a_message_is_made() {
    let mut dice = Dice::new(1009);
    for limit in [1, 2, 5, 100, 1023, 1024, 1025, 16_384, 65_536, 100_000] {
        for len in (limit.max(2) - 2)..=limit + 2 {
            let words = b"The score is one to nil. ".repeat(limit / 25 + 2);
            for payload in [&vec![0; len], &words[..len].to_vec(), &noise(&mut dice, len)] {
                let whole = deflate(payload);
                let halves = finals([&payload[..len / 2], &payload[len / 2..]]);
                // Five bytes more for each block: as bad as it may get.
                let as_is = blocks(payload, 41);
                for message in [&whole, &halves, &as_is] {
                    let one = vec![binary_deflated(message)];
                    let some = fragments(message, message.len() / 7 + 1);
                    for frames in [one, some] {
                        let expected = len <= limit;
                        assert_eq!(is_delivered(limit, &frames, payload), expected, "{len}");
                    }
                }
            }
        }
    }
}

/// What is too long on the wire is refused from its header, whatever it would inflate to.
#[test]
fn a_compressed_message_may_be_longer_than_the_limit_but_not_by_much() {
    let limit = 1000;
    // An empty stored block takes five bytes.
    let padded = |bytes: usize| [stored(b"", false).repeat(bytes / 5), deflate(b"x")].concat();
    assert!(is_delivered(limit, &[binary_deflated(padded(9000))], b"x"));
    assert!(is_delivered(limit, &fragments(&padded(9000), 100), b"x"));
    assert!(!is_delivered(limit, &[binary_deflated(padded(10_000))], b"x"));
    assert!(!is_delivered(limit, &fragments(&padded(10_000), 100), b"x"));
}

/// 10 MB of zeros in 10 KB.
#[test]
fn a_bomb_is_1009() {
    let bomb = deflate(&vec![0; 10_000_000]);
    assert!(bomb.len() < 10_300);
    for limit in [65_536, 1_000_000, 9_999_999] {
        assert!(!is_delivered(limit, &[binary_deflated(&bomb)], b""));
        assert!(!is_delivered(limit, &fragments(&bomb, 11), b""));
    }
    assert!(is_delivered(10_000_000, &[binary_deflated(&bomb)], &vec![0; 10_000_000]));
}

/// Every limit of bytes has to bear what a careless setting gives it.
#[test]
fn no_limit_is_no_overflow() {
    let payload = b"The score is one to nil. ".repeat(100);
    for limit in [usize::MAX, usize::MAX - 1, usize::MAX / 8, u32::MAX as usize] {
        assert!(is_delivered(limit, &[binary_deflated(deflate(&payload))], &payload));
    }
    assert!(is_delivered(0, &[binary_deflated(deflate(b""))], b""));
    assert!(!is_delivered(0, &[binary_deflated(deflate(b"x"))], b""));
}
