//! With whatever window a client asks for, no message refers further back than it can hold.

use std::thread;

use crate::support::deflating::{noise, opens};
use crate::support::dice::Dice;
use crate::support::net::Sim;
use crate::support::puff::Puff;
use crate::support::{Frame, quiet};

/// Bytes that come again at a distance around the window's size, and within it.
fn echoing(dice: &mut Dice, bits: u32, len: usize) -> Vec<u8> {
    let window = 1_usize << bits;
    let first = [1 + dice.below(window), window + 600][dice.below(2)];
    let mut bytes = noise(dice, len.min(first));
    while bytes.len() < len {
        let distance = match dice.below(4) {
            0 => 1 + dice.below(window),
            // From where a compressor looks last to where an inflater cannot.
            _ => (window + 300 - dice.below(600)).clamp(1, bytes.len()),
        };
        let from = bytes.len() - distance.min(bytes.len());
        for at in from..from + 3 + dice.below(300) {
            bytes.push(bytes[at]);
        }
        if dice.below(3) == 0 {
            bytes.push(dice.below(256) as u8);
        }
    }
    bytes.truncate(len);
    bytes
}

/// So many messages for one window, some of up to 1 MiB; gives the greatest distance.
fn farthest(bits: u32, takeover: bool, messages: usize) -> usize {
    let mut sim = Sim::new(quiet(|config| {
        config.deflate_context_takeover = takeover;
        config.send_queue_bytes_max = 4 << 20;
        config.deflate_bytes_min = 0;
    }));
    let offer = format!("permessage-deflate; server_max_window_bits={bits}");
    let (id, wire) = opens(&mut sim, &offer, &offer);
    let (mut dice, mut puff) = (Dice::new(u64::from(bits)), Puff::default());
    let (mut sent, mut deflated) = (Vec::new(), 0);
    for number in 0..messages {
        // Mostly short, by the power of two, and up to as long as some windows.
        let powers = bits as usize + 4;
        let power = dice.below(powers).min(dice.below(powers));
        let len = (1 << power) + dice.below(1 << power);
        let len = match number % 1000 {
            999 => 1 << 20,
            7 | 17 | 27 | 37 | 47 => 3 << bits,
            _ => len,
        };
        // With takeover, the next message may begin like the last one.
        let message = match dice.below(3) {
            0 => sent,
            _ => echoing(&mut dice, bits, len),
        };
        sim.hub().send(id, &message).expect("there is room");
        sim.rests();
        let output = wire.reads_bytes();
        let frame = Frame::read(&mut &output[..]).unwrap().expect("the message is sent");
        if frame.first == 0xC2 {
            let inflated = puff.inflates(&frame.payload);
            assert!(inflated == message, "{bits} bits, message {number}");
            deflated += 1;
            if !takeover {
                puff.forgets();
            }
        } else {
            assert!(frame.first == 0x82 && frame.payload == message);
        }
        sent = message;
    }
    assert!(deflated > messages / 100, "{deflated} of {messages}");
    puff.farthest
}

fn every_window(messages: usize) {
    let threads = [true, false].map(|takeover| {
        thread::spawn(move || {
            for bits in 9..=15 {
                let farthest = farthest(bits, takeover, messages);
                println!("{bits} bits, takeover {takeover}: {farthest}");
                assert!(farthest <= 1 << bits, "{bits} bits: {farthest}");
                // It is made use of.
                assert!(farthest > (1 << bits) / 3, "{bits} bits: {farthest}");
            }
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn no_message_refers_beyond_its_window() {
    every_window(20);
}

#[test]
#[ignore = "exhaustive: run in release mode"]
fn no_message_of_ten_thousand_refers_beyond_its_window() {
    every_window(10_000);
}
