//! What is sent: a period of messages that all differ, as one stream of bytes made beforehand.
//!
//! Connection `c` begins in the period at a place of its own, so that bytes which belong to
//! another connection are wrong here as long as there are at least as many messages as connections.

use pushloop_compare::frame;

/// Messages of a period are at least so many, and twice what is in flight on a connection, so that
/// two that changed places, or a gap, cannot go unseen.
const MESSAGES_MIN: usize = 4;
/// What is sent and what is expected stay in the processor's cache, if they can.
const PERIOD_BYTES: usize = 64 * 1024;
const PERIOD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many messages a period has, a power of two.
pub fn period(payload: usize, in_flight: usize) -> usize {
    let frame = payload + 16;
    let wanted = (2 * in_flight).max(PERIOD_BYTES / frame);
    let most = PERIOD_BYTES_MAX / frame;
    wanted.min(most).max(MESSAGES_MIN).next_power_of_two()
}

/// Small and good enough to fill payloads with (Steele, Lea and Flood: "Fast splittable
/// pseudorandom number generators").
#[derive(Clone, Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// Message `number`: the number, then bytes that look random.
pub fn binary(number: u64, len: usize) -> Vec<u8> {
    let mut random = SplitMix(number);
    let mut payload = number.to_le_bytes().to_vec();
    while payload.len() < len {
        payload.extend_from_slice(&random.next().to_le_bytes());
    }
    payload.truncate(len);
    payload
}

/// Message `number` as what a live page is sent: text like JSON, which shrinks to about a half.
pub fn text(number: u64, len: usize) -> Vec<u8> {
    const NAMES: [&str; 8] =
        ["ada", "grace", "alan", "edsger", "barbara", "donald", "tony", "niklaus"];
    let mut random = SplitMix(number);
    let mut text = format!("{{\"id\":{number},\"topic\":\"scores\",\"events\":[");
    let mut below = |most: u64| random.next() % most;
    let mut comma = "";
    while text.len() < len {
        let name = NAMES[below(8) as usize];
        let (score, price, at) = (below(100), below(100_000), below(86_400_000));
        text += &format!(
            "{comma}{{\"user\":\"{name}\",\"score\":{score},\"price\":{price},\"at\":{at}}}"
        );
        comma = ",";
    }
    text.truncate(len);
    if len >= 2 {
        text.replace_range(len - 2.., "]}");
    }
    text.into_bytes()
}

/// A key for each message, which is no part of what is random in it.
pub fn mask(number: u64) -> [u8; 4] {
    (SplitMix(!number).next() as u32 | 0x0101_0101).to_le_bytes()
}

/// The frames of a period, twice in a row: what begins in the first is a slice, however far it
/// goes beyond.
#[derive(Debug)]
pub struct Requests {
    twice: Box<[u8]>,
    /// Where each message begins, and where the last one ends.
    starts: Box<[usize]>,
}

impl Requests {
    /// Of whole frames; a power of two of them.
    pub fn new(frames: &[Vec<u8>]) -> Self {
        assert!(frames.len().is_power_of_two());
        let mut starts = vec![0];
        for frame in frames {
            starts.push(starts[starts.len() - 1] + frame.len());
        }
        Self { twice: [frames, frames].concat().concat().into(), starts: starts.into() }
    }

    /// A client's frames of binary messages.
    pub fn binary(payload: usize, messages: usize) -> Self {
        let frame =
            |number| frame::encode(frame::BINARY, &binary(number, payload), Some(mask(number)));
        Self::new(&(0..messages as u64).map(frame).collect::<Vec<_>>())
    }

    pub fn messages(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn period_bytes(&self) -> usize {
        self.twice.len() / 2
    }

    pub fn period(&self) -> &[u8] {
        &self.twice[..self.period_bytes()]
    }

    /// Where connection `at` begins, in messages.
    pub fn phase(&self, at: usize) -> usize {
        // An odd step meets every message before it meets one again.
        at.wrapping_mul(0x9E37_79B1) & (self.messages() - 1)
    }

    /// How many bytes the stream of the period has before message `message`, however many periods
    /// it has gone through.
    #[inline]
    pub fn bytes_before(&self, message: u64) -> u64 {
        let mask = self.messages() as u64 - 1;
        let periods = message >> self.messages().trailing_zeros();
        periods * self.period_bytes() as u64 + self.starts[(message & mask) as usize] as u64
    }

    /// How many bytes the frame has from a place inside it on; 0 where one begins.
    pub fn to_frame_end(&self, position: usize) -> usize {
        let next = self.starts.partition_point(|start| *start < position);
        self.starts[next] - position
    }

    /// At most `len` bytes from a place in the period.
    #[inline]
    pub fn slice(&self, from: usize, len: usize) -> &[u8] {
        &self.twice[from..from + len.min(self.period_bytes())]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_period_is_a_power_of_two_that_holds_what_is_in_flight_twice() {
        let periods = [(20, 1), (1024, 64), (65_536, 1), (65_536, 16), (1 << 20, 1000)];
        assert_eq!(periods.map(|(payload, n)| period(payload, n)), [2048, 128, 4, 32, 16]);
        for payload in [0, 20, 126, 1024, 16_384, 65_536, 1 << 20] {
            assert!(period(payload, 1).is_power_of_two());
        }
    }

    #[test]
    fn messages_differ_and_have_their_length_and_connections_begin_with_different_ones() {
        let requests = Requests::binary(20, 64);
        let phases: HashSet<_> = (0..64).map(|at| requests.phase(at)).collect();
        assert_eq!(phases.len(), 64);
        for len in [0, 1, 4, 20, 512] {
            assert_eq!(binary(3, len).len(), len);
            assert_eq!(text(3, len).len(), len);
        }
        let all: HashSet<_> = (0..2048).map(|number| binary(number, 20)).collect();
        assert_eq!(all.len(), 2048);
        assert!(std::str::from_utf8(&text(7, 512)).unwrap().ends_with("]}"));
    }

    #[test]
    fn a_slice_goes_on_where_the_period_begins_again() {
        let requests = Requests::binary(20, 4);
        assert_eq!(requests.period_bytes(), 4 * 26);
        let endless = requests.period().repeat(4);
        for from in 0..requests.period_bytes() {
            assert_eq!(requests.slice(from, 104), &endless[from..from + 104]);
        }
        assert_eq!(requests.slice(3, 1000).len(), 104);
        for (position, rest) in [(0, 0), (1, 25), (25, 1), (26, 0), (27, 25), (103, 1)] {
            assert_eq!(requests.to_frame_end(position), rest);
        }
        assert!((0..12).all(|message| requests.bytes_before(message) == message * 26));
    }
}
