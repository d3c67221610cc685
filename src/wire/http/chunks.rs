//! The chunked transfer coding (RFC 9112 §7.1), decoded as its bytes come.

use super::{HttpError, is_tchar};

/// What a body may have of chunk sizes, extensions, trailers and line ends, in bytes, beyond 16 for each
/// chunk and twice its data: else a megabyte could be sent for each byte of a body.
const CHUNK_FRAMING_BYTES_MAX: usize = 16 * 1024;
/// What a chunk may have of it without being counted.
const CHUNK_FREE_BYTES: usize = 16;
/// Digits of a chunk size, leading zeros included.
const SIZE_DIGITS_MAX: u32 = 16;

/// Takes a chunked body apart. Trailers are read and discarded; so are extensions, which are hop by hop.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkDecoder {
    part: Part,
    /// What is left of the chunk's data; of a size, what its digits say so far.
    size: usize,
    /// Framing so far, less what is free.
    framing: usize,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// A chunk size, of which so many digits have come.
    Size(u32),
    /// The start of a size.
    #[default]
    SizeStart,
    /// Spaces and tabs behind a size: an extension follows.
    Space,
    Extension,
    /// The LF behind a size or an extension.
    SizeEnd,
    Data,
    /// The CR behind the data, and the LF.
    DataEnd,
    DataEndLf,
    /// The start of a trailer line, or the CR of the line that ends the body.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    /// The LF that ends the body.
    End,
}

impl ChunkDecoder {
    /// Decodes from the front of `input`, and appends what is data to `body`. Gives how many bytes it has
    /// taken, and whether the body is whole.
    ///
    /// # Errors
    ///
    /// [`HttpError::ChunkMalformed`], [`HttpError::ChunkFramingTooLarge`], and
    /// [`HttpError::BodyTooLarge`] as soon as a chunk's size says so.
    pub fn decode(
        &mut self,
        input: &[u8],
        body: &mut Vec<u8>,
        body_bytes_max: usize,
    ) -> Result<(usize, bool), HttpError> {
        let mut rest = input;
        while let Some((byte, behind)) = rest.split_first() {
            if self.part == Part::Data {
                let (data, behind) = rest.split_at(self.size.min(rest.len()));
                body.extend_from_slice(data);
                self.size -= data.len();
                rest = behind;
                if self.size == 0 {
                    self.part = Part::DataEnd;
                }
                continue;
            }
            rest = behind;
            self.framing += 1;
            if self.framing > CHUNK_FRAMING_BYTES_MAX + CHUNK_FREE_BYTES {
                return Err(HttpError::ChunkFramingTooLarge);
            }
            if (self.part, *byte) == (Part::End, b'\n') {
                return Ok((input.len() - rest.len(), true));
            }
            self.part = self.next_part(*byte)?;
            if self.part == Part::Data && self.size > body_bytes_max.saturating_sub(body.len()) {
                return Err(HttpError::BodyTooLarge);
            }
        }
        Ok((input.len(), false))
    }

    /// What follows a byte of framing.
    fn next_part(&mut self, byte: u8) -> Result<Part, HttpError> {
        Ok(match (self.part, byte) {
            (Part::SizeStart, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.size = 0;
                self.digit(byte, 0)?
            }
            (Part::Size(digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digit(byte, digits)?
            }
            (Part::Size(_) | Part::Extension, b'\r') => Part::SizeEnd,
            (Part::Size(_) | Part::Space, b' ' | b'\t') => Part::Space,
            (Part::Size(_) | Part::Space, b';') => Part::Extension,
            (Part::Extension, b'\t' | b' '..=b'~' | 0x80..) => Part::Extension,
            (Part::SizeEnd, b'\n') if self.size == 0 => Part::TrailerStart,
            (Part::SizeEnd, b'\n') => {
                let free = CHUNK_FREE_BYTES.saturating_add(self.size.saturating_mul(2));
                self.framing = self.framing.saturating_sub(free);
                Part::Data
            }
            (Part::DataEnd, b'\r') => Part::DataEndLf,
            (Part::DataEndLf, b'\n') => Part::SizeStart,
            (Part::TrailerStart, b'\r') => Part::End,
            (Part::TrailerStart | Part::TrailerName, byte) if is_tchar(byte) => Part::TrailerName,
            (Part::TrailerName, b':') => Part::TrailerValue,
            (Part::TrailerValue, b'\r') => Part::TrailerEnd,
            (Part::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => Part::TrailerValue,
            (Part::TrailerEnd, b'\n') => Part::TrailerStart,
            _ => return Err(HttpError::ChunkMalformed),
        })
    }

    fn digit(&mut self, byte: u8, digits: u32) -> Result<Part, HttpError> {
        if digits == SIZE_DIGITS_MAX {
            return Err(HttpError::ChunkMalformed);
        }
        let value = char::from(byte).to_digit(16).map_or(0, |value| value as usize);
        // Sixteen digits fill a usize and do not overflow it.
        self.size = self.size << 4 | value;
        Ok(Part::Size(digits + 1))
    }
}

#[cfg(test)]
mod tests;
