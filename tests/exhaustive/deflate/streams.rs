//! Messages that come compressed (RFC 7692 §6, §7.2.2): every way to compress them, cut anywhere.

use crate::support::deflating::{ANSWER, OFFER, opens, payload};
use crate::support::dice::Dice;
use crate::support::net::{Sim, Told, Wire};
use crate::support::peer_codec::patchwork;
use crate::support::puff::Puff;
use crate::support::{Frame, burst, frame, ping, pong, quiet};

/// Frames of a message that is cut at random, with control frames and nothing in between; the
/// Pongs that are due are given, too.
fn cut(dice: &mut Dice, first: u8, message: &[u8]) -> (Vec<Frame>, Vec<Frame>) {
    let (mut frames, mut pongs, mut rest) = (Vec::new(), Vec::new(), message);
    let mut next = first;
    while dice.below(3) != 0 && frames.len() < 50 {
        let (now, later) = rest.split_at(dice.below(rest.len() + 1));
        frames.push(frame(next, now).open());
        (next, rest) = (0x80, later);
        if dice.below(2) == 0 {
            let number = vec![b'p'; dice.below(126)];
            frames.push(ping(&number));
            pongs.push(pong(&number));
        } else if dice.below(3) == 0 {
            frames.push(pong("unasked"));
        }
    }
    frames.push(frame(next, rest));
    (frames, pongs)
}

/// Sends bytes in several pieces, with a turn after each.
fn trickles(sim: &mut Sim, dice: &mut Dice, wire: &Wire, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let now = if dice.below(2) == 0 { rest.len() } else { 1 + dice.below(rest.len()) };
        wire.sends_bytes(&rest[..now]);
        rest = &rest[now..];
        sim.rests();
    }
}

/// Whatever a compressor may do, in whatever pieces it comes.
fn streams(seed: u64, count: usize, takeover: bool) {
    let mut dice = Dice::new(seed);
    let mut sim = Sim::new(quiet(|config| config.deflate_context_takeover = takeover));
    let alone = "permessage-deflate; client_no_context_takeover";
    let offer = if takeover { ANSWER } else { alone };
    let (id, wire) = opens(&mut sim, offer, offer);
    let (mut puff, mut before) = (Puff::default(), Vec::new());
    let mut blocks = [0; 4];
    for number in 0..count {
        let sent = payload(&mut dice, if number % 20 == 0 { 60_000 } else { 1500 });
        let is_plain = dice.below(6) == 0;
        let message = if is_plain {
            sent.clone()
        } else {
            let pieces = 1 + dice.below(5);
            let message = patchwork(&mut dice, &before, &sent, pieces);
            // An oracle that the inflater shares nothing with agrees with what was meant.
            assert!(puff.inflates(&message) == sent, "seed {seed}, message {number}");
            if takeover {
                before.extend(&sent);
                before.drain(..before.len().saturating_sub(1 << 15));
            } else {
                puff.forgets();
            }
            let now = puff.blocks;
            let kinds = [now.stored, now.fixed, now.dynamic, now.last];
            blocks.iter_mut().zip(kinds).for_each(|(all, now)| *all += now);
            message
        };
        let (frames, pongs) = cut(&mut dice, if is_plain { 0x82 } else { 0xC2 }, &message);
        trickles(&mut sim, &mut dice, &wire, &burst(&frames));
        assert_eq!(sim.takes(), [Told::Message(id, sent)], "seed {seed}, message {number}");
        assert_eq!(wire.reads(), pongs, "seed {seed}, message {number}");
    }
    assert!(blocks.iter().all(|&kind| kind > count as u32 / 40), "{blocks:?}");
}

#[test]
fn whatever_a_compressor_may_do_in_whatever_pieces() {
    streams(1, 600, true);
    streams(2, 600, false);
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn a_hundred_thousand_messages_however_compressed_and_cut() {
    for seed in 0..50 {
        println!("seed {seed}");
        streams(seed, 2000, seed % 2 == 0);
    }
}

/// Text is checked as text after it is inflated, wherever a character is cut.
#[test]
fn text_is_checked_after_it_is_inflated() {
    let mut dice = Dice::new(3);
    let mut sim = Sim::new(quiet(|config| config.deflate_context_takeover = true));
    for round in 0..2000 {
        let (id, wire) = opens(&mut sim, OFFER, ANSWER);
        let mut said: String =
            (0..dice.below(60)).map(|_| ['a', 'é', '€', '𝄞', '\0'][dice.below(5)]).collect();
        said += "€";
        let mut bytes = said.clone().into_bytes();
        let is_text = round % 2 == 0;
        if !is_text {
            let at = dice.below(bytes.len());
            match dice.below(3) {
                0 => bytes[at] = 0xFF,
                1 => bytes.insert(at, 0x80),
                _ => bytes.truncate(bytes.len() - 1),
            }
        }
        assert_eq!(str::from_utf8(&bytes).is_ok(), is_text);
        let pieces = 1 + dice.below(4);
        let message = patchwork(&mut dice, b"", &bytes, pieces);
        let (frames, _) = cut(&mut dice, 0xC1, &message);
        trickles(&mut sim, &mut dice, &wire, &burst(&frames));
        let expected = if is_text { Told::Message(id, bytes) } else { Told::Closed(id, 1007) };
        assert_eq!(sim.takes(), [expected], "round {round}");
        wire.resets();
        sim.rests();
        sim.takes();
    }
}
