//! DEFLATE (RFC 1951), bit by bit, and a message of permessage-deflate (RFC 7692 §7.2.2).

/// Why a message cannot be inflated: the code to fail the connection with.
pub type Code = u16;

const INVALID: Code = 1007;
const TOO_BIG: Code = 1009;
const TOO_MANY: Code = 1008;

/// §7.2.2: what the sender left out, and a last block to end it. The message may hold several
/// streams (§7.2.3.4), of which no more than `streams_max` end in it, and refers back to `history`, too. Gives the
/// message and the greatest distance that it refers back.
pub fn message(
    bytes: &[u8],
    history: &[u8],
    bytes_max: usize,
    streams_max: u32,
) -> Result<(Vec<u8>, usize), Code> {
    let whole = [bytes, &[0, 0, 0xFF, 0xFF], &[1, 0, 0, 0xFF, 0xFF]].concat();
    let mut bits = Bits { bytes: &whole, at: 0 };
    let end = history.len().saturating_add(bytes_max);
    let mut out = Out { bytes: history.to_vec(), end, farthest: 0 };
    for _ in 0..=streams_max {
        while !block(&mut bits, &mut out)? {}
        bits.at = bits.at.next_multiple_of(8);
        if bits.at == whole.len() * 8 {
            return Ok((out.bytes.split_off(history.len()), out.farthest));
        }
    }
    Err(TOO_MANY)
}

/// What was inflated, with what went before it.
struct Out {
    bytes: Vec<u8>,
    /// How long it may get.
    end: usize,
    farthest: usize,
}

impl Out {
    fn push(&mut self, byte: u8) -> Result<(), Code> {
        if self.bytes.len() == self.end {
            return Err(TOO_BIG);
        }
        self.bytes.push(byte);
        Ok(())
    }

    fn copy(&mut self, distance: usize, length: usize) -> Result<(), Code> {
        let from = self.bytes.len().checked_sub(distance).ok_or(INVALID)?;
        self.farthest = self.farthest.max(distance);
        (from..from + length).try_for_each(|i| self.push(self.bytes[i]))
    }
}

/// §3.1.1: a number's bits come from the least significant one on, in bytes alike.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Result<usize, Code> {
        let mut value = 0;
        for i in 0..count {
            let byte = self.bytes.get(self.at / 8).ok_or(INVALID)?;
            value |= usize::from(byte >> (self.at % 8) & 1) << i;
            self.at += 1;
        }
        Ok(value)
    }
}

/// §3.2.3: one block; true if it was the last.
fn block(bits: &mut Bits<'_>, out: &mut Out) -> Result<bool, Code> {
    let last = bits.take(1)? == 1;
    match bits.take(2)? {
        0 => {
            bits.at = bits.at.next_multiple_of(8);
            let (len, complement) = (bits.take(16)?, bits.take(16)?);
            if len != complement ^ 0xFFFF {
                return Err(INVALID);
            }
            for _ in 0..len {
                out.push(bits.take(8)? as u8)?;
            }
        }
        1 => {
            // §3.2.6.
            let lengths = [[8; 144].as_slice(), &[9; 112], &[7; 24], &[8; 8]].concat();
            symbols(bits, &Huffman::new(&lengths), &Huffman::new(&[5; 30]), out)?;
        }
        2 => {
            let (literals, distances) = tables(bits)?;
            symbols(bits, &literals, &distances, out)?;
        }
        _ => return Err(INVALID),
    }
    Ok(last)
}

/// §3.2.2: codes of one length are consecutive, in the order of their symbols.
struct Huffman {
    /// Of each length: its symbols in order.
    symbols: [Vec<usize>; 16],
}

impl Huffman {
    fn new(lengths: &[u8]) -> Self {
        let of = |len: usize| (0..lengths.len()).filter(move |i| usize::from(lengths[*i]) == len);
        Self { symbols: std::array::from_fn(|len| of(len).collect()) }
    }

    /// What is left of the room for codes; negative if there are too many.
    fn room(&self) -> i64 {
        (1..16)
            .fold(1 << 15, |room, len| room - (self.symbols[len].len() as i64) * (1 << (15 - len)))
    }

    fn next(&self, bits: &mut Bits<'_>) -> Result<usize, Code> {
        let (mut code, mut first) = (0, 0);
        for symbols in &self.symbols[1..] {
            code = code * 2 + bits.take(1)?;
            first *= 2;
            if let Some(symbol) = symbols.get(code - first) {
                return Ok(*symbol);
            }
            first += symbols.len();
        }
        Err(INVALID)
    }
}

/// §3.2.7. As in zlib, a set of codes is complete, or is one code of one bit, or for distances
/// none; and there is a code for the block's end.
fn tables(bits: &mut Bits<'_>) -> Result<(Huffman, Huffman), Code> {
    let (literals, distances) = (bits.take(5)? + 257, bits.take(5)? + 1);
    let count = bits.take(4)? + 4;
    let mut lengths = [0; 19];
    let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    for place in &order[..count] {
        lengths[*place] = bits.take(3)? as u8;
    }
    let code = Huffman::new(&lengths);
    if literals > 286 || distances > 30 || code.room() != 0 {
        return Err(INVALID);
    }
    let mut lengths: Vec<u8> = Vec::new();
    while lengths.len() < literals + distances {
        let (value, times) = match code.next(bits)? {
            16 => (*lengths.last().ok_or(INVALID)?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (length as u8, 1),
        };
        lengths.extend(vec![value; times]);
    }
    if lengths.len() > literals + distances || lengths[256] == 0 {
        return Err(INVALID);
    }
    let sets = [&lengths[..literals], &lengths[literals..]].map(Huffman::new);
    for set in &sets {
        let of_one_bit_at_most = set.symbols[2..].iter().all(Vec::is_empty);
        if set.room() < 0 || (set.room() > 0 && !of_one_bit_at_most) {
            return Err(INVALID);
        }
    }
    let [literals, distances] = sets;
    Ok((literals, distances))
}

/// §3.2.5.
fn symbols(
    bits: &mut Bits<'_>,
    literals: &Huffman,
    distances: &Huffman,
    out: &mut Out,
) -> Result<(), Code> {
    loop {
        let length = match literals.next(bits)? {
            256 => return Ok(()),
            literal @ 0..256 => {
                out.push(literal as u8)?;
                continue;
            }
            symbol @ 257..265 => symbol - 254,
            symbol @ 265..285 => {
                let (steps, extra) = ((symbol - 265) % 4, (symbol - 261) / 4);
                3 + ((4 + steps) << extra) + bits.take(extra)?
            }
            285 => 258,
            _ => return Err(INVALID),
        };
        let distance = match distances.next(bits)? {
            symbol @ 0..4 => symbol + 1,
            symbol @ 4..30 => {
                let extra = (symbol - 2) / 2;
                1 + ((2 + symbol % 2) << extra) + bits.take(extra)?
            }
            _ => return Err(INVALID),
        };
        out.copy(distance, length)?;
    }
}
