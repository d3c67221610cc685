//! `message_bytes_max` is on what a message inflates to, and exact; `deflate_windows_bytes_max` is on what
//! is kept of the messages of all.

use std::time::Duration;

use pushloop::{CloseCode, ConnId};

use super::{ANSWER, OFFER, binary_deflated, noise, opens};
use crate::support::dice::Dice;
use crate::support::net::{Sim, Told, Wire, frames};
use crate::support::peer_codec::{Deflates, deflate, finals, stored};
use crate::support::{Frame, binary, burst, close, continuation, ping, pong, quiet};

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
    let (id, wire) = opens(&mut sim, OFFER, ANSWER);
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

/// A client that offers to keep to a window, with a server that gives it 4 KiB.
fn narrow(sim: &mut Sim) -> (ConnId, Wire) {
    opens(sim, OFFER, "permessage-deflate; client_max_window_bits=12")
}

/// As counted once all is at rest.
fn window_bytes(sim: &mut Sim) -> u64 {
    sim.rests();
    sim.hub().counters().window_bytes
}

#[test]
fn what_a_client_sent_is_kept_from_its_first_compressed_message_to_its_end() {
    for (bits, most) in [(12, 4096), (15, 32_768)] {
        let mut sim = Sim::new(quiet(|config| config.deflate_client_window_bits = bits));
        for end in 0..7 {
            let (id, wire) =
                if bits == 12 { narrow(&mut sim) } else { opens(&mut sim, OFFER, ANSWER) };
            wire.sends(binary([1; 100]));
            sim.hub().send(id, vec![b'x'; 1000]).unwrap();
            assert_eq!(window_bytes(&mut sim), 0);
            for (len, kept) in [(100, 100), (most - 100, most), (60_000, most), (1, most)] {
                wire.sends(binary_deflated(deflate(&vec![b'x'; len as usize])));
                assert_eq!(window_bytes(&mut sim), kept);
            }
            match end {
                0 => wire.sends(close(1000, "")),
                1 => wire.finishes(),
                2 => wire.resets(),
                3 => wire.sends(binary_deflated([0x06])),
                // We close, and the peer does not answer: it is given back nevertheless.
                4 => sim.hub().close(id, CloseCode::NORMAL, ""),
                5 => sim.hub().abort(id),
                _ => {
                    let now = sim.hub().now();
                    sim.hub().close_at(id, now, CloseCode::NORMAL, "");
                }
            }
            assert_eq!(window_bytes(&mut sim), 0, "end {end}");
        }
    }
}

/// A client that said that it keeps to a window is not believed blindly, and costs no more than it said.
#[test]
fn what_refers_back_beyond_the_window_is_1007() {
    let said = noise(&mut Dice::new(9), 1000);
    for (offer, reads) in [("=10", true), ("=9", false)] {
        let offer = format!("{OFFER}{offer}");
        let mut sim = Sim::new(quiet(|_| {}));
        let (id, wire) = opens(&mut sim, &offer, &offer);
        let mut sender = Deflates::new(15, true);
        wire.sends(binary_deflated(sender.message(&said)));
        wire.sends(binary_deflated(sender.message(&said[..100])));
        sim.rests();
        let second =
            if reads { Told::Message(id, said[..100].into()) } else { Told::Closed(id, 1007) };
        assert_eq!(sim.takes(), [Told::Message(id, said.clone()), second]);
    }
}

/// At the limit all is kept; one byte more, and those that kept most for longest are closed, until four
/// fifths are left. A connection of which nothing is kept stays.
#[test]
fn what_is_kept_of_all_clients_is_bounded_in_the_process() {
    let mut sim = Sim::new(quiet(|config| config.deflate_windows_bytes_max = 5000));
    let (_, idle) = opens(&mut sim, OFFER, ANSWER);
    let (last, wire) = opens(&mut sim, OFFER, ANSWER);
    let peers: Vec<_> = (0..5).map(|_| opens(&mut sim, OFFER, ANSWER)).collect();
    for (_, wire) in &peers {
        wire.sends(binary_deflated(deflate(&[b'x'; 1000])));
        sim.turn();
        sim.turn_within(Some(Duration::from_secs(1)));
    }
    assert_eq!(window_bytes(&mut sim), 5000);
    assert_eq!(sim.hub().counters().closed_windows, 0);
    // The first has the oldest window, and has just said something.
    peers[0].1.sends(binary("still here"));
    sim.rests();
    sim.takes();
    wire.sends(binary_deflated(deflate(b"x")));
    assert_eq!(window_bytes(&mut sim), 3001);
    let expected: [&[Frame]; 2] =
        [&[], &[close(1013, "the server is at deflate_windows_bytes_max")]];
    for (at, (_, wire)) in peers.iter().enumerate() {
        assert_eq!(wire.reads(), expected[usize::from(at == 1 || at == 2)], "{at}");
    }
    let [Told::Message(from, _), closed @ ..] = &sim.takes()[..] else { panic!("it is told") };
    assert_eq!(*from, last);
    assert_eq!(closed, [Told::Closed(peers[1].0, 1013), Told::Closed(peers[2].0, 1013)]);
    assert_eq!(sim.hub().counters().closed_windows, 2);
    idle.sends(ping("p"));
    sim.rests();
    assert_eq!(idle.reads(), [pong("p")]);
}

/// Above four fifths of the limit, no further client is to need a window.
#[test]
fn where_windows_are_scarce_compression_is_agreed_on_with_those_that_need_none() {
    let alone = format!("{ANSWER}; client_no_context_takeover");
    for (bytes, is_scarce) in [(4000, false), (4001, true)] {
        let mut sim = Sim::new(quiet(|config| config.deflate_windows_bytes_max = 5000));
        let (_, wire) = opens(&mut sim, OFFER, ANSWER);
        wire.sends(binary_deflated(deflate(&vec![b'x'; bytes])));
        assert_eq!(window_bytes(&mut sim), bytes as u64);
        let further = sim.server.net().connects();
        further.sends_bytes(super::offering(OFFER));
        sim.rests();
        let head = String::from_utf8(further.reads_bytes()).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(head.contains("Sec-WebSocket-Extensions"), !is_scarce, "{head}");
        sim.takes();
        opens(&mut sim, &alone, &alone);
    }
}

#[test]
fn a_window_that_is_much_larger_gives_way_before_one_that_is_a_little_older() {
    let mut sim = Sim::new(quiet(|config| config.deflate_windows_bytes_max = 5000));
    let [(_, older), (larger, wire)] = [(); 2].map(|()| opens(&mut sim, OFFER, ANSWER));
    older.sends(binary_deflated(deflate(&[b'x'; 1000])));
    sim.turn();
    sim.turn_within(Some(Duration::from_millis(150)));
    wire.sends(binary_deflated(deflate(&[b'x'; 4001])));
    assert_eq!(window_bytes(&mut sim), 1000);
    assert!(sim.takes().contains(&Told::Closed(larger, 1013)));
}
