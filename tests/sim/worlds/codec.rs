//! A layer in the manner of TLS, without its cryptography: a handshake of two messages, records with
//! a length, bodies that only the right key makes sense of, and only in order, records that are to be
//! answered, and one behind which nothing follows. A peer's end of it is here; the server's is a
//! stream of the network (`layered.rs`).

use std::io::{self, ErrorKind};
use std::mem;

use pushloop::testing::Choice;

use super::marks::{Mark, Marks};

/// A record's kind, and its length in two bytes.
const HEADER_BYTES: usize = 3;
/// The longest body.
const BODY_BYTES_MAX: usize = 500;
/// Padding of the server's half of the handshake.
const WELCOME_BYTES: usize = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Hello,
    Welcome,
    Data,
    /// To be answered with the same body.
    Ask,
    Answer,
    /// Nothing follows.
    Goodbye,
}

const KINDS: [Kind; 6] =
    [Kind::Hello, Kind::Welcome, Kind::Data, Kind::Ask, Kind::Answer, Kind::Goodbye];

/// One direction: a key, and where in its stream the next byte is.
#[derive(Default)]
struct Half {
    key: u8,
    place: u8,
}

impl Half {
    fn new(key: u8) -> Self {
        Self { key, place: 0 }
    }

    fn crypt(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte ^= self.key.wrapping_add(self.place);
            self.place = self.place.wrapping_add(37);
        }
    }

    fn seal(&mut self, kind: Kind, body: &[u8], out: &mut Vec<u8>) {
        let len = u16::try_from(body.len()).expect("a body is short");
        out.push(kind as u8);
        out.extend(len.to_be_bytes());
        let start = out.len();
        out.extend(body);
        self.crypt(&mut out[start..]);
    }

    fn seal_data(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        plain.chunks(BODY_BYTES_MAX).for_each(|body| self.seal(Kind::Data, body, out));
    }

    /// The first record, if it is there as a whole.
    fn open(&mut self, input: &mut Vec<u8>) -> Option<(Kind, Vec<u8>)> {
        let (&[kind, high, low], rest) = input.split_first_chunk::<HEADER_BYTES>()?;
        let mut body = rest.get(..usize::from(u16::from_be_bytes([high, low])))?.to_vec();
        input.drain(..HEADER_BYTES + body.len());
        self.crypt(&mut body);
        Some((KINDS[usize::from(kind)], body))
    }
}

/// Both directions, as the client's and the server's key make them.
fn halves(client: u8, server: u8) -> (Half, Half) {
    (Half::new(client.wrapping_add(server)), Half::new(client ^ server))
}

/// The server's end: bytes in and out, and what it holds.
pub struct Codec {
    reads: Half,
    writes: Half,
    pub is_greeted: bool,
    /// A part of a record.
    input: Vec<u8>,
    /// Plaintext that was not asked for yet.
    pub plain: Vec<u8>,
    /// The peer says nothing more.
    pub is_over: bool,
    /// Ciphertext that is to leave.
    pub held: Vec<u8>,
    pub said_goodbye: bool,
}

impl Codec {
    pub fn new() -> Self {
        Self {
            reads: Half::default(),
            writes: Half::default(),
            is_greeted: false,
            input: Vec::new(),
            plain: Vec::new(),
            is_over: false,
            held: Vec::new(),
            said_goodbye: false,
        }
    }

    /// Takes ciphertext.
    pub fn takes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.input.extend(bytes);
        while let Some((kind, body)) = self.reads.open(&mut self.input) {
            match (kind, self.is_greeted) {
                (Kind::Hello, false) => {
                    let key = body[0].wrapping_mul(5);
                    Half::default().seal(Kind::Welcome, &[key; WELCOME_BYTES], &mut self.held);
                    (self.reads, self.writes) = halves(body[0], key);
                    self.is_greeted = true;
                }
                (Kind::Data, true) => self.plain.extend(body),
                (Kind::Ask, true) if self.said_goodbye => {}
                (Kind::Ask, true) => self.writes.seal(Kind::Answer, &body, &mut self.held),
                (Kind::Goodbye, true) => self.is_over = true,
                _ => return Err(ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    /// Gives as much plaintext as there is and fits.
    pub fn gives(&mut self, into: &mut [u8]) -> usize {
        let count = self.plain.len().min(into.len());
        into.iter_mut().zip(self.plain.drain(..count)).for_each(|(to, byte)| *to = byte);
        count
    }

    pub fn seals(&mut self, plain: &[u8]) {
        self.writes.seal_data(plain, &mut self.held);
    }

    pub fn says_goodbye(&mut self) {
        if !mem::replace(&mut self.said_goodbye, true) {
            self.writes.seal(Kind::Goodbye, b"", &mut self.held);
        }
    }
}

/// A peer's end.
pub struct Client {
    choice: Choice,
    marks: Marks,
    key: u8,
    reads: Half,
    writes: Half,
    is_greeted: bool,
    input: Vec<u8>,
    /// What it wants to say, before it has a key for it.
    early: Vec<u8>,
    /// Records that it has not handed to the network.
    out: Vec<u8>,
    asked: u8,
    answered: u8,
    /// The server says nothing more.
    pub is_over: bool,
}

impl Client {
    pub fn new(choice: &Choice, marks: &Marks) -> Self {
        let key = choice.below(256) as u8;
        let mut out = Vec::new();
        Half::default().seal(Kind::Hello, &[key; 20], &mut out);
        Self {
            choice: choice.clone(),
            marks: marks.clone(),
            key,
            reads: Half::default(),
            writes: Half::default(),
            is_greeted: false,
            input: Vec::new(),
            early: Vec::new(),
            out,
            asked: 0,
            answered: 0,
            is_over: false,
        }
    }

    /// Everything that it asked was answered, and no record is cut.
    pub fn is_at_rest(&self) -> bool {
        self.is_greeted && self.asked == self.answered && self.input.is_empty()
    }

    pub fn says(&mut self, plain: &[u8]) {
        if !self.is_greeted {
            return self.early.extend(plain);
        }
        let (first, rest) = plain.split_at(self.choice.below(plain.len() + 1));
        self.writes.seal_data(first, &mut self.out);
        if self.choice.chance(10) {
            self.asks();
        }
        self.writes.seal_data(rest, &mut self.out);
    }

    /// Has the server say something that its loop knows nothing of.
    pub fn asks(&mut self) {
        if self.is_greeted && self.asked < u8::MAX {
            self.marks.hit(Mark::LayerAsked);
            self.asked += 1;
            self.writes.seal(Kind::Ask, &[self.asked], &mut self.out);
        }
    }

    /// What is to go to the network now: all of it, or a part that may end within a record.
    pub fn transmits(&mut self, all: bool) -> Vec<u8> {
        let whole = self.out.len();
        let count = if all || whole < 2 { whole } else { self.choice.part(whole) };
        self.out.drain(..count).collect()
    }

    /// Whether something that was said is still to be transmitted.
    pub fn holds_output(&self) -> bool {
        !self.out.is_empty() || !self.early.is_empty()
    }

    /// The last of it, before FIN. Not everybody says goodbye.
    pub fn leaves(&mut self) -> Vec<u8> {
        if self.is_greeted && self.choice.chance(60) {
            self.writes.seal(Kind::Goodbye, b"", &mut self.out);
        }
        mem::take(&mut self.out)
    }

    /// The plaintext of what came.
    pub fn hears(&mut self, bytes: impl IntoIterator<Item = u8>) -> Vec<u8> {
        self.input.extend(bytes);
        let mut plain = Vec::new();
        while let Some((kind, body)) = self.reads.open(&mut self.input) {
            assert!(!self.is_over, "{kind:?} behind a goodbye");
            match (kind, self.is_greeted) {
                (Kind::Welcome, false) => {
                    assert_eq!(body, [body[0]; WELCOME_BYTES]);
                    (self.writes, self.reads) = halves(self.key, body[0]);
                    self.is_greeted = true;
                    let early = mem::take(&mut self.early);
                    self.says(&early);
                }
                (Kind::Data, true) => plain.extend(body),
                (Kind::Answer, true) => {
                    self.answered += 1;
                    assert_eq!(body, [self.answered]);
                }
                (Kind::Goodbye, true) => self.is_over = true,
                _ => panic!("no server says {kind:?} then"),
            }
        }
        plain
    }
}
