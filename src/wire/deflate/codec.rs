//! Compressing and inflating one message (RFC 7692 §7.2).
//!
//! No compressor belongs to a connection: what it may refer back to is passed as `history`, the end
//! of what was sent or received before, and an empty one means that the message stands alone. The
//! end of a message is a block's end, so that its history is all that the next one depends on.

use crate::wire::ProtocolError;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The largest window (RFC 7692 §7.1.2), as a power of two.
pub const WINDOW_BITS_MAX: u8 = 15;
/// How far back a message can refer, in bytes.
const WINDOW_BYTES_MAX: usize = 1 << WINDOW_BITS_MAX;

/// The smallest window that the compressor holds to.
pub const WINDOW_BITS_MIN: u8 = 9;
/// How many windows there are.
const WINDOWS: usize = (WINDOW_BITS_MAX - WINDOW_BITS_MIN + 1) as usize;

/// §7.2.1: the end of an empty stored block, which a sender leaves out.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// The tail, and a last block that is empty: if it is read as that, the message was whole.
const END: [u8; 9] = [0x00, 0x00, 0xFF, 0xFF, 0x01, 0x00, 0x00, 0xFF, 0xFF];

/// Inflates in steps of this many bytes at first.
const STEP_BYTES: usize = 16 * 1024;

/// Compresses messages, for windows of every size.
#[derive(Debug, Default)]
pub struct Deflater {
    /// By window, made when first needed: some 260 KiB for the largest.
    by_window: [Option<Compress>; WINDOWS],
}

impl Deflater {
    /// Appends the message to `out`, compressed (§7.2.1), if that makes it shorter. False if not:
    /// then `out` is as it was, and the message is to be sent as it is.
    pub fn compress(
        &mut self,
        payload: &[u8],
        history: &[u8],
        window_bits: u8,
        out: &mut Vec<u8>,
    ) -> bool {
        let window_bits = window_bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        let deflate = self.by_window[usize::from(window_bits - WINDOW_BITS_MIN)]
            .get_or_insert_with(|| {
                Compress::new_with_window_bits(Compression::default(), false, window_bits)
            });
        deflate.reset();
        if !history.is_empty() && deflate.set_dictionary(history).is_err() {
            return false;
        }
        let start = out.len();
        // What does not fit is not shorter.
        out.reserve_exact(payload.len() + TAIL.len());
        let fits = deflate.compress_vec(payload, out, FlushCompress::Sync).is_ok()
            && deflate.total_in() == payload.len() as u64
            && out.len() - start < payload.len() + TAIL.len()
            && out.ends_with(&TAIL);
        out.truncate(if fits { out.len() - TAIL.len() } else { start });
        if !fits {
            discard_rest(deflate);
        }
        fits
    }
}

/// Takes what did not fit out of the compressor. `reset` (zlib-rs 0.6) forgets how much of it is
/// left, and not where it begins: its buffer would get smaller each time, and then it panics.
fn discard_rest(deflate: &mut Compress) {
    let mut discarded = [0; 512];
    loop {
        let before = deflate.total_out();
        // An error is that there is nothing to do.
        let _ = deflate.compress(&[], &mut discarded, FlushCompress::None);
        if deflate.total_out() == before {
            break;
        }
    }
}

/// Inflates messages. It keeps nothing from one to the next.
#[derive(Debug)]
pub struct Inflater {
    inflate: Decompress,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { inflate: Decompress::new(false) }
    }
}

impl Inflater {
    /// Inflates a whole message (§7.2.2) into `out`, which is empty: at most `bytes_max` bytes,
    /// from at most `streams_max` DEFLATE streams that end in it (§7.2.3.4).
    /// `message` is needed for scratch. Gives how many streams were begun.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::MessageTooBig`] as soon as there is one byte more, and
    /// [`ProtocolError::InvalidDeflate`] if it is not what a compressor gives.
    pub fn inflate(
        &mut self,
        message: &mut Vec<u8>,
        history: &[u8],
        bytes_max: usize,
        streams_max: u32,
        out: &mut Vec<u8>,
    ) -> Result<u32, ProtocolError> {
        message.extend_from_slice(&END);
        let mut input = &message[..];
        self.begin(history)?;
        let mut streams = 0;
        let first_guess = message.len().saturating_mul(4).max(1024);
        // One byte of room beyond the limit tells whether it is passed.
        let room_max = bytes_max.saturating_add(1);
        loop {
            if out.len() == out.capacity() {
                let step = if out.is_empty() { first_guess } else { out.len().max(STEP_BYTES) };
                out.reserve_exact(step.min(room_max - out.len()));
            }
            let (read, written) = (self.inflate.total_in(), out.len());
            let before = self.inflate.total_out();
            let status = self.inflate.decompress_vec(input, out, FlushDecompress::None);
            // Where it also goes wrong further on, it was too big before that.
            if written as u64 + (self.inflate.total_out() - before) > bytes_max as u64 {
                return Err(ProtocolError::MessageTooBig);
            }
            let status = status.map_err(|_| ProtocolError::InvalidDeflate)?;
            input = &input[(self.inflate.total_in() - read) as usize..];
            if status == Status::StreamEnd {
                if input.is_empty() {
                    // It is the block that was added.
                    return Ok(streams + 1);
                }
                streams += 1;
                if streams > streams_max {
                    return Err(ProtocolError::TooManyFrames);
                }
                self.begin_after(history, out)?;
            } else if out.len() == written && input.is_empty() {
                return Err(ProtocolError::InvalidDeflate);
            }
        }
    }

    fn begin(&mut self, history: &[u8]) -> Result<(), ProtocolError> {
        self.inflate.reset(false);
        self.remember(history)
    }

    /// Begins the next stream of the same message, which may refer back to all before it.
    fn begin_after(&mut self, history: &[u8], out: &[u8]) -> Result<(), ProtocolError> {
        let out = &out[out.len().saturating_sub(WINDOW_BYTES_MAX)..];
        let kept = history.len().min(WINDOW_BYTES_MAX - out.len());
        self.begin(&history[history.len() - kept..])?;
        self.remember(out)
    }

    /// Lets the stream, which has not begun, refer back to this, too.
    fn remember(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        if !bytes.is_empty() {
            self.inflate.set_dictionary(bytes).map_err(|_| ProtocolError::InvalidDeflate)?;
        }
        Ok(())
    }
}
