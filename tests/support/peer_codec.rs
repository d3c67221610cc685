//! What a client does with its messages, by `flate2` with one stream for the whole connection.

use flate2::{Compress, Compression, FlushCompress};

use super::dice::Dice;

/// RFC 7692 §7.2.1: what a flush ends with, and a sender leaves out.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// Everything that one stream has for some input.
fn compresses(stream: &mut Compress, payload: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 64);
    let start = stream.total_in();
    loop {
        let read = (stream.total_in() - start) as usize;
        let status = stream.compress_vec(&payload[read..], &mut out, flush);
        status.expect("a compressor takes everything");
        if out.len() < out.capacity() {
            return out;
        }
        out.reserve(out.len());
    }
}

/// The sending end of one direction of a connection.
pub struct Deflates {
    stream: Compress,
    takeover: bool,
}

impl Deflates {
    pub fn new(window_bits: u8, takeover: bool) -> Self {
        let level = Compression::default();
        Self { stream: Compress::new_with_window_bits(level, false, window_bits), takeover }
    }

    /// §7.2.1: a message compressed.
    pub fn message(&mut self, payload: &[u8]) -> Vec<u8> {
        if !self.takeover {
            self.stream.reset();
        }
        let mut out = compresses(&mut self.stream, payload, FlushCompress::Sync);
        if out.is_empty() {
            // Nothing new since the last flush, which is a message, too: §7.2.3.6.
            return vec![0];
        }
        assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
        out
    }
}

/// A message that stands alone.
pub fn deflate(payload: &[u8]) -> Vec<u8> {
    Deflates::new(15, false).message(payload)
}

/// A stored block (RFC 1951 §3.2.4).
pub fn stored(payload: &[u8], last: bool) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("a stored block is short");
    let mut block = vec![u8::from(last)];
    block.extend(len.to_le_bytes());
    block.extend((!len).to_le_bytes());
    block.extend(payload);
    block
}

/// A message whose every piece ends on its own with BFINAL set (§7.2.3.4).
pub fn finals<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut message: Vec<u8> = Vec::new();
    for piece in pieces {
        let mut stream = Compress::new(Compression::default(), false);
        message.extend(compresses(&mut stream, piece, FlushCompress::Finish));
    }
    message.push(0);
    message
}

/// A message of so many pieces, each of which is compressed as the dice say: every level, flushed
/// or finished, referring back or not, or stored. `before` is what it may refer to.
pub fn patchwork(dice: &mut Dice, before: &[u8], payload: &[u8], pieces: usize) -> Vec<u8> {
    let mut message: Vec<u8> = Vec::new();
    let mut ends: Vec<usize> = (1..pieces).map(|_| dice.below(payload.len() + 1)).collect();
    ends.push(payload.len());
    ends.sort_unstable();
    let (mut start, mut flushed) = (0, false);
    for end in ends {
        let piece = &payload[start..end];
        let so_far = [before, &payload[..start]].concat();
        let so_far = &so_far[so_far.len().saturating_sub(1 << 15)..];
        start = end;
        flushed = false;
        if dice.below(6) == 0 && piece.len() < 1 << 16 {
            message.extend(stored(piece, dice.below(2) == 0));
            continue;
        }
        let bits = 9 + dice.below(7) as u8;
        let level = Compression::new(dice.below(10) as u32);
        let mut stream = Compress::new_with_window_bits(level, false, bits);
        if dice.below(2) == 0 && !so_far.is_empty() {
            stream.set_dictionary(so_far).expect("a new stream takes a dictionary");
        }
        let flush = [FlushCompress::Sync, FlushCompress::Full, FlushCompress::Finish];
        let flush = flush[dice.below(3)];
        flushed = !matches!(flush, FlushCompress::Finish);
        message.extend(compresses(&mut stream, piece, flush));
    }
    // §7.2.1: what does not end with an empty stored block gets one.
    if flushed && dice.below(4) != 0 {
        message.truncate(message.len() - TAIL.len());
    } else {
        message.push(0);
    }
    message
}
