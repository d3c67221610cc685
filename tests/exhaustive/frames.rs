//! Families of input, each counted to its last case, against the oracle: headers, Close frames and
//! control frames between fragments, all through a whole server.

use crate::oracle::close::may_be_sent;
use crate::oracle::drive::Drive;
use crate::oracle::frames::{Open, RECEIVERS, Receiver, broken_rule, sent};
use crate::oracle::stream::{End, Heard, Limits, hear};
use crate::support::dice::{Dice, in_parallel};
use crate::support::{Frame, binary, burst, close, continuation, frame, ping, pong, text};
use pushloop::CloseCode;

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

const fn limits(deflate: bool) -> Limits {
    let window = if deflate { 1 << 15 } else { 0 };
    Limits { message_bytes: 65_536, message_frames: 1024, deflate, window }
}

fn opens(drive: &mut Drive, deflate: bool) {
    if deflate { drive.opens_deflate() } else { drive.opens("") }
}

/// What brings a receiver into its state.
fn prelude(receiver: Receiver) -> Vec<u8> {
    match receiver.open {
        None => Vec::new(),
        Some(Open::Text) => text("é").open().masked(MASK),
        Some(Open::Binary) => binary([0xFF]).open().masked(MASK),
        // The whole of §7.2.3.1's example, in a first frame that is not the last.
        Some(Open::Compressed) => {
            frame(0x41, [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]).masked(MASK)
        }
    }
}

/// What follows two bytes of a header, to the end of the frame.
fn rest_of_frame(first: u8, second: u8) -> Vec<u8> {
    let (mut rest, len) = match second & 127 {
        126 => (vec![1, 2], 0x0102),
        127 => (vec![0, 0, 0, 0, 0, 1, 0, 0], 0x1_0000),
        len => (Vec::new(), usize::from(len)),
    };
    let payload: Vec<u8> = match first & 15 {
        8 => [3, 0xE8].into_iter().chain([b'a'; 0x1_0000]).take(len).collect(),
        _ => vec![b'a'; len],
    };
    rest.extend(MASK);
    rest.extend((0..len).map(|i| payload[i] ^ MASK[i % 4]));
    rest
}

/// X-HDR: all first two bytes in every state of a receiver. What the two bytes decide is decided
/// when they are there, and the rest of the frame is taken as the oracle takes it; so is all of it
/// at once.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_header_in_every_state() {
    let with_deflate = cfg!(feature = "deflate");
    let receivers: Vec<_> =
        RECEIVERS.into_iter().filter(|it| with_deflate || !it.deflate).collect();
    let cases = in_parallel(receivers.len() as u64 * 65_536, |cases| {
        let mut drive = Drive::new(|_| ());
        let mut count = 0;
        for case in cases {
            let receiver = receivers[case as usize >> 16];
            let [first, second] = (case as u16).to_be_bytes();
            opens(&mut drive, receiver.deflate);
            let mut bytes = prelude(receiver);
            drive.hears(&bytes);
            assert!(drive.told.is_none() && drive.messages.is_empty());
            drive.hears(&[first]);
            assert!(drive.told.is_none());
            drive.hears(&[second]);
            let broken = broken_rule(first, second, receiver);
            assert_eq!(
                drive.told.is_some(),
                broken.is_some(),
                "{first:02X} {second:02X} in {receiver:?}: {broken:?}"
            );
            let rest = rest_of_frame(first, second);
            drive.hears(&rest);
            drive.rests();
            bytes.extend([first, second]);
            bytes.extend(rest);
            let (heard, end) = hear(&bytes, limits(receiver.deflate));
            drive.expects(&heard, &end);
            // Whole in one read, it is read by other code.
            opens(&mut drive, receiver.deflate);
            drive.hears(&bytes);
            drive.rests();
            drive.expects(&heard, &end);
            count += 1;
        }
        count
    });
    assert_eq!(cases, if with_deflate { 458_752 } else { 196_608 });
    println!("figure headers of two bytes in every state of a receiver: {cases}");
}

/// X-CLOSE: all codes, with no reason, a valid one, one that is not UTF-8, and the longest.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_close_code_with_every_kind_of_reason() {
    let longest = "\u{e9}".repeat(61) + "!";
    assert_eq!(longest.len(), 123);
    let reasons =
        [&b""[..], "Goodbye \u{1f44b}".as_bytes(), b"ok \xED\xA0\x80", longest.as_bytes()];
    let cases = in_parallel(65_536, |codes| {
        let mut drive = Drive::new(|_| ());
        let mut count = 0;
        for code in codes {
            for reason in reasons {
                let bytes = close(code as u16, reason).masked(MASK);
                let (heard, end) = hear(&bytes, limits(false));
                assert_ne!(end, End::Open);
                // Whole, and with its last byte alone.
                for cut in [bytes.len(), bytes.len() - 1] {
                    drive.opens("");
                    drive.hears(&bytes[..cut]);
                    drive.hears(&bytes[cut..]);
                    drive.rests();
                    drive.expects(&heard, &end);
                }
                count += 1;
            }
        }
        count
    });
    assert_eq!(cases, 262_144);
    println!("figure Close payloads received: {cases}");
}

/// X-CLOSE, the other way: what may be sent is sent as it was given, a reason that is too long cut
/// between two characters; the rest cannot be said. The peer's answer is not answered.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn every_close_code_that_may_be_sent() {
    let fits = "\u{e9}".repeat(61) + "!";
    let reasons = ["", "Goodbye", &fits, &("!".to_owned() + &"\u{20ac}".repeat(41))];
    let cases = in_parallel(65_536, |codes| {
        let mut drive = Drive::new(|_| ());
        let mut count = 0;
        for code in codes {
            for reason in reasons {
                count += 1;
                let number = code as u16;
                assert_eq!(CloseCode::new(number).is_some(), may_be_sent(number), "{number}");
                let Some(code) = CloseCode::new(number) else { continue };
                drive.opens("");
                let id = drive.id();
                drive.server.hub().close(id, code, reason);
                drive.rests();
                // 1 + 40 * 3 bytes are what fits of the last one.
                let kept = if reason.len() > 123 { &reason[..121] } else { reason };
                let payload = [&number.to_be_bytes(), kept.as_bytes()].concat();
                let expected = (vec![(0x88, payload)], &[][..]);
                assert_eq!(sent(&drive.output), expected);
                drive.hears(&close(1000, "").masked(MASK));
                drive.rests();
                assert_eq!(sent(&drive.output), expected, "no second Close");
                assert!(drive.told.is_some());
            }
        }
        count
    });
    assert_eq!(cases, 262_144);
    println!("figure close codes and reasons to be sent: {cases}");
}

/// A message, as frames with control frames between them, and what is to be heard of it.
fn interleaved(dice: &mut Dice, deflate: bool) -> (Vec<Frame>, Vec<Heard>) {
    const TEXT: &str = "Hellö \u{20ac}\u{1f44b}, κόσμε! ";
    let is_text = dice.one_in(2);
    let payload: Vec<u8> = if is_text {
        TEXT.chars().cycle().skip(dice.below(15)).take(dice.below(40)).collect::<String>().into()
    } else {
        (0..dice.below(100)).map(|_| dice.number() as u8).collect()
    };
    let compressed = deflate && dice.one_in(2);
    let mut wire = payload.clone();
    if compressed {
        // §7.2.3.3: blocks without compression, here of any size.
        wire.clear();
        for block in payload.chunks(1 + dice.below(20)) {
            wire.extend([0, block.len() as u8, 0, !(block.len() as u8), 0xFF]);
            wire.extend(block);
        }
        wire.push(0);
    }
    let (mut frames, mut heard) = (Vec::new(), Vec::new());
    let mut first = if is_text { 1 } else { 2 } + if compressed { 0x40 } else { 0 };
    let mut rest = &wire[..];
    loop {
        while dice.one_in(2) {
            let content: Vec<u8> = (0..dice.below(126)).map(|i| i as u8).collect();
            if dice.one_in(3) {
                frames.push(pong(content));
            } else {
                frames.push(ping(&content));
                heard.push(Heard::Ping(content));
            }
        }
        let last = dice.one_in(4);
        let len = if last { rest.len() } else { dice.below(rest.len() + 1) };
        frames.push(frame(first + if last { 0x80 } else { 0 }, &rest[..len]));
        (rest, first) = (&rest[len..], 0);
        if last {
            break;
        }
    }
    heard.push(if is_text { Heard::Text(payload) } else { Heard::Binary(payload) });
    (frames, heard)
}

/// Control frames anywhere in fragmented messages, arriving in any chunks.
#[test]
#[ignore = "exhaustive: run in release mode"]
fn control_frames_disturb_no_message() {
    let cases = in_parallel(100_000, |cases| {
        let mut drive = Drive::new(|_| ());
        let mut count = 0;
        for case in cases {
            let mut dice = Dice::new(case + 1);
            let deflate = cfg!(feature = "deflate") && dice.one_in(2);
            opens(&mut drive, deflate);
            let (mut frames, mut expected) = (Vec::new(), Vec::new());
            for _ in 0..1 + dice.below(3) {
                let (more, heard) = interleaved(&mut dice, deflate);
                frames.extend(more);
                expected.extend(heard);
            }
            let bytes = burst(&frames);
            assert_eq!(hear(&bytes, limits(deflate)), (expected.clone(), End::Open));
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (chunk, more) = rest.split_at(1 + dice.below(rest.len().min(40)));
                drive.hears(chunk);
                rest = more;
            }
            drive.rests();
            drive.expects(&expected, &End::Open);
            count += 1;
        }
        count
    });
    assert_eq!(cases, 100_000);
    println!("figure control frames between fragments: {cases}");
}

/// The oracle itself, where the RFC gives the answer.
#[test]
fn the_oracle_knows_the_examples_of_the_rfc() {
    let whole =
        hear(&[0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58], limits(false));
    assert_eq!(whole, (vec![Heard::Text(b"Hello".into())], End::Open));
    let ping =
        hear(&[0x89, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58], limits(false));
    assert_eq!(ping, (vec![Heard::Ping(b"Hello".into())], End::Open));
    let two = burst(&[text("Hel").open(), continuation("lo")]);
    assert_eq!(hear(&two, limits(false)), (vec![Heard::Text(b"Hello".into())], End::Open));
    let hello = Ok((b"Hello".to_vec(), 0));
    for deflated in [
        &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00][..],
        &[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00],
        &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00],
        &[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00],
    ] {
        assert_eq!(crate::oracle::inflate::message(deflated, b"", 5, 8), hello);
        assert_eq!(crate::oracle::inflate::message(deflated, b"", 4, 8), Err(1009));
    }
    let again = crate::oracle::inflate::message(&[0xF2, 0x00, 0x11, 0x00, 0x00], b"Hello", 5, 1);
    assert_eq!(again, Ok((b"Hello".to_vec(), 5)));
    assert_eq!(
        crate::oracle::accept::accept("dGhlIHNhbXBsZSBub25jZQ=="),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
}
