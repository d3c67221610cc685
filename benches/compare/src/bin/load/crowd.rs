//! `fan` with many publishers: everybody gets the messages of all, mixed in some order.
//!
//! Messages have one length and begin with who published them, so that each is looked up in a table
//! of what comes next from there, and compared. Each publisher's messages have to come in order to
//! each connection; between publishers there is none.

use crate::{
    answers::{Answers, Came, Fault, shown},
    frame::{self, Control},
    messages::{Requests, SplitMix},
};

/// The publisher, and the number of the message.
pub const PAYLOAD_MIN: usize = 8;
/// One key for all, so that the publisher can be read from what `raw` sends back.
const MASK: [u8; 4] = [0x5A, 0xC3, 0x96, 0x3C];
/// The table stays in the processor's cache, if it can.
const TABLE_BYTES: usize = 256 * 1024;
/// What comes next is one byte for each connection and publisher.
const MESSAGES_MAX: usize = 256;

/// How many messages a publisher's period has, a power of two.
pub fn period(payload: usize, publishers: usize, in_flight: usize) -> usize {
    let wanted = TABLE_BYTES / (payload + 16) / publishers;
    wanted.max(2 * in_flight).clamp(4, MESSAGES_MAX).next_power_of_two()
}

fn payload(publisher: u32, number: u32, len: usize) -> Vec<u8> {
    let mut random = SplitMix(u64::from(publisher) << 32 | u64::from(number));
    let mut payload = [publisher.to_le_bytes(), number.to_le_bytes()].concat();
    while payload.len() < len {
        payload.extend_from_slice(&random.next().to_le_bytes());
    }
    payload.truncate(len);
    payload
}

fn frames(publisher: usize, len: usize, messages: usize, mask: Option<[u8; 4]>) -> Vec<Vec<u8>> {
    let frame = |number| {
        let mut frame = Vec::new();
        let payload = payload(publisher as u32, number as u32, len);
        frame::encode(&mut frame, frame::BINARY, &payload, mask);
        frame
    };
    (0..messages).map(frame).collect()
}

/// What one publisher sends.
pub fn requests(publisher: usize, payload: usize, messages: usize) -> Requests {
    Requests::new(&frames(publisher, payload, messages, Some(MASK)))
}

#[derive(Debug)]
pub struct Crowd {
    /// By publisher, then by message of the period.
    frames: Box<[u8]>,
    frame_len: usize,
    messages: usize,
    publishers: usize,
    /// By connection, then by publisher: which message of the period comes next.
    next: Box<[u8]>,
    received: Box<[u64]>,
    /// Where a frame has its publisher, and how it is masked there.
    publisher_at: usize,
    publisher_mask: u32,
}

impl Crowd {
    /// `connections` get what as many publish; masked as it was sent, if the server is `raw`.
    pub fn new(connections: usize, payload: usize, messages: usize, raw: bool) -> Self {
        assert!(payload >= PAYLOAD_MIN && messages <= MESSAGES_MAX);
        let mask = raw.then_some(MASK);
        let table: Vec<_> =
            (0..connections).flat_map(|at| frames(at, payload, messages, mask)).collect();
        let frame_len = table[0].len();
        Self {
            frames: table.concat().into(),
            frame_len,
            messages,
            publishers: connections,
            next: vec![0; connections * connections].into(),
            received: vec![0; connections].into(),
            publisher_at: frame_len - payload,
            publisher_mask: mask.map_or(0, u32::from_le_bytes),
        }
    }

    #[inline]
    fn publisher_of(&self, frame: &[u8]) -> Option<usize> {
        let id = frame.get(self.publisher_at..)?.first_chunk()?;
        let id = (u32::from_le_bytes(*id) ^ self.publisher_mask) as usize;
        (id < self.publishers).then_some(id)
    }

    fn expected(&self, publisher: usize, message: usize) -> &[u8] {
        let begin = (publisher * self.messages + message) * self.frame_len;
        &self.frames[begin..begin + self.frame_len]
    }

    /// Goes over whole frames for as long as they are right: how many, and how many are our own.
    #[inline]
    fn right_frames(&mut self, at: usize, bytes: &[u8]) -> (usize, u64) {
        let (mut right, mut own) = (0, 0);
        let row = at * self.publishers;
        for came in bytes.chunks_exact(self.frame_len) {
            let Some(publisher) = self.publisher_of(came) else { break };
            let message = usize::from(self.next[row + publisher]);
            if came != self.expected(publisher, message) {
                break;
            }
            self.next[row + publisher] = ((message + 1) & (self.messages - 1)) as u8;
            right += 1;
            own += u64::from(publisher == at);
        }
        (right, own)
    }

    fn fault(&self, at: usize, bytes: &[u8]) -> Fault {
        let came = &bytes[..bytes.len().min(self.frame_len)];
        let message = self.received[at];
        let Some(publisher) = self.publisher_of(came) else {
            let expected = "a message of a known publisher".into();
            return Fault::Wrong { message, expected, came: shown(came) };
        };
        let next = usize::from(self.next[at * self.publishers + publisher]);
        let known = (0..self.messages).find(|number| self.expected(publisher, *number) == came);
        let which = known.map_or(String::new(), |known| format!(", which is its {known}"));
        Fault::Wrong {
            message,
            expected: format!(
                "message {next} (in the period of {}) of publisher {publisher}, {}",
                self.messages,
                shown(self.expected(publisher, next))
            ),
            came: format!("{}{which}", shown(came)),
        }
    }
}

impl Answers for Crowd {
    fn judge(&mut self, at: usize, bytes: &[u8], pongs: &mut Vec<u8>) -> Result<Came, Fault> {
        let mut came = Came::default();
        loop {
            let (right, own) = self.right_frames(at, &bytes[came.consumed..]);
            came.consumed += right * self.frame_len;
            came.messages += right as u64;
            came.own += own;
            self.received[at] += right as u64;
            let rest = &bytes[came.consumed..];
            match frame::control(rest, pongs) {
                Control::Passed(len) => came.consumed += len,
                Control::Closed(why) => return Err(Fault::Closed(why)),
                Control::Partial => return Ok(came),
                Control::None if rest.len() < self.frame_len => return Ok(came),
                Control::None => return Err(self.fault(at, rest)),
            }
        }
    }
}
