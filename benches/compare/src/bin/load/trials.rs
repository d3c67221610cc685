//! What every kind of [`Answers`] has to catch, for their tests.

use crate::answers::{Answers, Came, Fault};

/// Judges a stream that comes in pieces of at most `piece` bytes, as the loop does.
pub fn judge(
    answers: &mut impl Answers,
    at: usize,
    stream: &[u8],
    piece: usize,
) -> Result<(Came, Vec<u8>), Fault> {
    let (mut all, mut pongs, mut kept) = (Came::default(), Vec::new(), Vec::new());
    for piece in stream.chunks(piece) {
        kept.extend_from_slice(piece);
        let came = answers.judge(at, &kept, &mut pongs)?;
        kept.drain(..came.consumed);
        all.consumed += came.consumed;
        all.messages += came.messages;
        all.own += came.own;
    }
    Ok((all, pongs))
}

/// Which message a stream is wrong at.
pub fn wrong_at(mut answers: impl Answers, at: usize, stream: &[u8], piece: usize) -> Option<u64> {
    match judge(&mut answers, at, stream, piece) {
        Ok(_) => None,
        Err(Fault::Wrong { message, expected, came }) => {
            assert_ne!(expected, came, "a complaint tells what differs");
            Some(message)
        }
        Err(Fault::Closed(why)) => panic!("nobody closed: {why}"),
    }
}

/// `frames` are what has to come on connection `at`: they may, and nothing else, however it is cut.
pub fn only_the_right_stream_passes<A: Answers>(
    fresh: impl Fn() -> A,
    at: usize,
    frames: &[Vec<u8>],
) {
    let whole = frames.concat();
    for piece in [1, 2, 7, 26, 100, whole.len()] {
        let (came, pongs) = judge(&mut fresh(), at, &whole, piece).expect("it is right");
        assert_eq!((came.consumed, came.messages), (whole.len(), frames.len() as u64));
        assert!(pongs.is_empty());
        for number in 0..frames.len() - 1 {
            let (before, from) = frames.split_at(number);
            let (this, next, rest) = (&from[0], &from[1], &from[2..]);
            let stream = |middle: &[&[u8]]| {
                [&before.concat(), &middle.concat(), &rest.concat()[..]].concat()
            };
            let wrong = |middle: &[&[u8]]| wrong_at(fresh(), at, &stream(middle), piece);
            assert_eq!(wrong(&[next, this]), Some(number as u64), "swapped");
            assert_eq!(wrong(&[next]), Some(number as u64), "missing");
            assert_eq!(wrong(&[this, this, next]), Some(number as u64 + 1), "doubled");
            assert_eq!(wrong(&[this, next]), None);
        }
    }
}

/// No byte may differ, of no message.
pub fn no_wrong_byte_passes<A: Answers>(fresh: impl Fn() -> A, at: usize, frames: &[Vec<u8>]) {
    let whole = frames.concat();
    let mut begin = 0;
    for (number, frame) in frames.iter().enumerate() {
        for byte in begin..begin + frame.len() {
            for flipped in [0x01, 0x80, 0xFF] {
                let mut stream = whole.clone();
                stream[byte] ^= flipped;
                // A wrong length may be seen only when as much has come.
                stream.resize(stream.len() + 70_000, 0);
                let wrong = wrong_at(fresh(), at, &stream, stream.len());
                assert_eq!(wrong, Some(number as u64), "byte {byte}");
            }
        }
        begin += frame.len();
    }
}
