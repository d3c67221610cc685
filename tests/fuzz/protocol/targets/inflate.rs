//! Compressed messages. The first byte of the input says how many streams a message may have, the
//! next two how many bytes, the fourth how much of the rest went before. What is compressed is
//! inflated by others, and refers back no further than it may.

use std::cell::RefCell;

use crate::oracle::inflate;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use pushloop::internals::{Deflater, Inflater};

thread_local! {
    /// As in a server: one of each, for all messages of all connections.
    static CODEC: RefCell<(Deflater, Inflater)> = RefCell::default();
}

pub fn run(data: &[u8]) {
    let [streams, low, high, before, rest @ ..] = data else { return };
    let (history, message) = rest.split_at(rest.len().min((*before).into()));
    let bytes_max = usize::from(*low) | usize::from(*high) << 8;
    CODEC.with_borrow_mut(|(deflater, inflater)| {
        inflates(inflater, message, history, bytes_max, u32::from(streams % 8));
        deflates(deflater, inflater, message, history, 9 + streams % 7);
    });
}

fn ours(
    inflater: &mut Inflater,
    message: &[u8],
    history: &[u8],
    bytes_max: usize,
    streams_max: u32,
) -> Result<Vec<u8>, u16> {
    let (mut message, mut out) = (message.to_vec(), Vec::new());
    match inflater.inflate(&mut message, history, bytes_max, streams_max, &mut out) {
        Ok(_) => Ok(out),
        Err(error) => Err(error.close_code().get()),
    }
}

fn inflates(
    inflater: &mut Inflater,
    message: &[u8],
    history: &[u8],
    bytes_max: usize,
    streams_max: u32,
) {
    let ours = ours(inflater, message, history, bytes_max, streams_max);
    let expected = inflate::message(message, history, bytes_max, streams_max);
    assert_eq!(ours, expected.map(|(bytes, _)| bytes));
    let Ok(bytes) = ours else { return };
    // The limit is exact.
    for limit in [bytes.len(), bytes.len().saturating_sub(1)] {
        let again = self::ours(inflater, message, history, limit, streams_max);
        let expected = if limit < bytes.len() { Err(1009) } else { Ok(bytes.clone()) };
        assert_eq!(again, expected);
    }
    if history.is_empty() && streams_max == 0 {
        assert_eq!(theirs(message), bytes);
    }
}

/// A third opinion, on messages of one stream.
fn theirs(message: &[u8]) -> Vec<u8> {
    let whole = [message, &[0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF]].concat();
    let mut out = vec![0; 1 << 17];
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let mut state = DecompressorOxide::new();
    let (status, read, written) = decompress(&mut state, &whole, &mut out, 0, flags);
    assert_eq!((status, read), (TINFLStatus::Done, whole.len()));
    out.truncate(written);
    out
}

fn deflates(
    deflater: &mut Deflater,
    inflater: &mut Inflater,
    payload: &[u8],
    history: &[u8],
    window_bits: u8,
) {
    let mut out = b"before".to_vec();
    if !deflater.compress(payload, history, window_bits, &mut out) {
        assert_eq!(out, b"before");
        return;
    }
    let deflated = &out[6..];
    assert!(deflated.len() < payload.len());
    let (bytes, farthest) =
        inflate::message(deflated, history, payload.len(), 1).expect("it can be inflated");
    assert!(farthest <= 1 << window_bits, "{farthest} back in a window of {window_bits} bits");
    assert_eq!(bytes, payload);
    assert_eq!(ours(inflater, deflated, history, payload.len(), 1).as_deref(), Ok(payload));
}
