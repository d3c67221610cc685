//! An inflater of our own, written from RFC 1951 bit by bit, which shares nothing with the crate's.
//! It keeps its window from message to message, and notes how far back the messages refer.

/// RFC 1951 §3.2.5: lengths 3 to 258, and the extra bits of each code.
const LENGTH_EXTRA: [u32; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
/// §3.2.7: the order of the code lengths' code lengths.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// RFC 7692 §7.1.2: no window is larger.
const WINDOW: usize = 1 << 15;

/// What one message was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    pub stored: u32,
    pub fixed: u32,
    pub dynamic: u32,
    /// Those with BFINAL set.
    pub last: u32,
}

/// The receiving end of one direction of a connection.
#[derive(Default)]
pub struct Puff {
    window: Vec<u8>,
    /// The greatest distance of a match so far.
    pub farthest: usize,
    /// Of the message before this moment.
    pub blocks: Blocks,
}

impl Puff {
    /// Forgets what went before, as the receiver of messages without context takeover does.
    pub fn forgets(&mut self) {
        self.window.clear();
    }

    /// RFC 7692 §7.2.2: the payload of a compressed message. Panics if it is not a whole one.
    #[track_caller]
    pub fn inflates(&mut self, message: &[u8]) -> Vec<u8> {
        self.try_inflate(message).unwrap_or_else(|problem| panic!("{problem}: {message:x?}"))
    }

    fn try_inflate(&mut self, message: &[u8]) -> Result<Vec<u8>, &'static str> {
        let input = [message, &[0x00, 0x00, 0xFF, 0xFF]].concat();
        let mut bits = Bits { input: &input, at: 0 };
        let start = self.window.len();
        self.blocks = Blocks::default();
        while bits.at < 8 * input.len() {
            let last = bits.take(1)? == 1;
            match bits.take(2)? {
                0 => self.stored(&mut bits)?,
                1 => self.fixed(&mut bits)?,
                2 => self.dynamic(&mut bits)?,
                _ => return Err("a block of the reserved kind"),
            }
            if last {
                self.blocks.last += 1;
                bits.align();
            }
        }
        let payload = self.window[start..].to_vec();
        self.window.drain(..self.window.len().saturating_sub(WINDOW));
        Ok(payload)
    }

    fn stored(&mut self, bits: &mut Bits<'_>) -> Result<(), &'static str> {
        self.blocks.stored += 1;
        bits.align();
        let (len, complement) = (bits.take(16)?, bits.take(16)?);
        if len != complement ^ 0xFFFF {
            return Err("the length of a stored block and its complement differ");
        }
        let from = bits.at / 8;
        let bytes = bits.input.get(from..from + len as usize).ok_or("a stored block is cut")?;
        self.window.extend(bytes);
        bits.at += 8 * len as usize;
        Ok(())
    }

    fn fixed(&mut self, bits: &mut Bits<'_>) -> Result<(), &'static str> {
        self.blocks.fixed += 1;
        let mut lengths = vec![8; 288];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        self.compressed(bits, &Code::new(&lengths), &Code::new(&[5; 30]))
    }

    /// RFC 1951 §3.2.7.
    fn dynamic(&mut self, bits: &mut Bits<'_>) -> Result<(), &'static str> {
        self.blocks.dynamic += 1;
        let literals = bits.take(5)? as usize + 257;
        let distances = bits.take(5)? as usize + 1;
        let mut lengths = [0; 19];
        for &at in &ORDER[..bits.take(4)? as usize + 4] {
            lengths[at] = bits.take(3)? as u8;
        }
        let code = Code::new(&lengths);
        let mut lengths = Vec::new();
        while lengths.len() < literals + distances {
            let (value, times) = match code.read(bits)? {
                16 => (*lengths.last().ok_or("nothing to repeat")?, 3 + bits.take(2)?),
                17 => (0, 3 + bits.take(3)?),
                18 => (0, 11 + bits.take(7)?),
                length => (length as u8, 1),
            };
            lengths.extend((0..times).map(|_| value));
        }
        if lengths.len() > literals + distances {
            return Err("too many code lengths");
        }
        let (literals, distances) = lengths.split_at(literals);
        self.compressed(bits, &Code::new(literals), &Code::new(distances))
    }

    fn compressed(
        &mut self,
        bits: &mut Bits<'_>,
        literals: &Code,
        distances: &Code,
    ) -> Result<(), &'static str> {
        loop {
            let symbol = literals.read(bits)?;
            match symbol {
                0..=255 => self.window.push(symbol as u8),
                256 => return Ok(()),
                257..=285 => {
                    let at = symbol - 257;
                    let before: usize = LENGTH_EXTRA[..at].iter().map(|extra| 1 << extra).sum();
                    let base = if at == 28 { 258 } else { 3 + before };
                    let length = base + bits.take(LENGTH_EXTRA[at])? as usize;
                    let code = distances.read(bits)?;
                    let extra = (code / 2).saturating_sub(1) as u32;
                    let base = if code < 2 { code + 1 } else { ((2 + code % 2) << extra) + 1 };
                    let distance = base + bits.take(extra)? as usize;
                    self.copies(length, distance)?;
                }
                _ => return Err("no such length"),
            }
        }
    }

    fn copies(&mut self, length: usize, distance: usize) -> Result<(), &'static str> {
        let from = self.window.len().checked_sub(distance).ok_or("before the beginning")?;
        if distance > WINDOW {
            return Err("beyond every window");
        }
        self.farthest = self.farthest.max(distance);
        (from..from + length).for_each(|at| self.window.push(self.window[at]));
        Ok(())
    }
}

struct Bits<'a> {
    input: &'a [u8],
    /// In bits.
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Result<u32, &'static str> {
        let mut value = 0;
        for place in 0..count {
            let byte = self.input.get(self.at / 8).ok_or("the message is cut")?;
            value |= u32::from(byte >> (self.at % 8) & 1) << place;
            self.at += 1;
        }
        Ok(value)
    }

    fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }
}

/// A Huffman code (RFC 1951 §3.2.2).
struct Code {
    /// How many codes there are of each length.
    counts: [usize; 16],
    /// The symbols in the order of their codes.
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut counts = [0; 16];
        let mut symbols = Vec::new();
        for length in 1..16 {
            let of_length = (0..lengths.len()).filter(|&at| lengths[at] == length);
            symbols.extend(of_length);
            counts[usize::from(length)] = symbols.len();
        }
        for length in (1..16).rev() {
            counts[length] -= counts[length - 1];
        }
        Self { counts, symbols }
    }

    fn read(&self, bits: &mut Bits<'_>) -> Result<usize, &'static str> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= bits.take(1)? as usize;
            if code < first + count {
                return Ok(self.symbols[index + code - first]);
            }
            (first, index) = (2 * (first + count), index + count);
            code *= 2;
        }
        Err("no such code")
    }
}
