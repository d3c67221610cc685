//! Compressed messages (RFC 7692), sent and received.
//!
//! What is sent is compressed beforehand, each message for itself. What comes back is the server's
//! own compression of the same text, and has to inflate to it. That costs microseconds, and servers
//! are faster: where messages do not refer back to earlier ones, the same bytes always inflate to the
//! same text, so that bytes which were inflated once, and were right, are only compared from then on.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use pushloop_compare::frame::{self, COMPRESSED, Frame, TEXT};

use crate::{
    answers::{Answers, Came, Fault, shown},
    messages::{self, Requests},
    open::Deflate,
};

/// What a compressed message ends with, and what is left out of it (§7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// A client's frames: compressed, if it was agreed on.
pub fn requests(payload: usize, messages: usize, agreed: Option<Deflate>) -> Requests {
    let frame = |number| {
        let (text, mask) = (messages::text(number, payload), Some(messages::mask(number)));
        let Some(deflate) = agreed else { return frame::encode(TEXT, &text, mask) };
        let compressed = compress(&text, deflate.client_window_bits);
        frame::encode(TEXT | COMPRESSED, &compressed, mask)
    };
    Requests::new(&(0..messages as u64).map(frame).collect::<Vec<_>>())
}

fn compress(text: &[u8], window_bits: u8) -> Vec<u8> {
    let mut compress = Compress::new_with_window_bits(Compression::default(), false, window_bits);
    let mut out = Vec::with_capacity(text.len() + 64);
    let status = compress.compress_vec(text, &mut out, FlushCompress::Sync);
    assert!(status.is_ok() && compress.total_in() == text.len() as u64 && out.ends_with(&TAIL));
    out.truncate(out.len() - TAIL.len());
    out
}

#[derive(Debug)]
pub struct Inflated {
    texts: Vec<Vec<u8>>,
    /// Of each message, bytes that inflate to it; none while messages may refer back.
    known: Vec<Option<Box<[u8]>>>,
    streams: Vec<Stream>,
    inflater: Inflater,
    compressed: u64,
}

#[derive(Debug)]
struct Stream {
    /// In the period.
    message: usize,
    received: u64,
    /// Where the server's messages may refer back.
    inflater: Option<Inflater>,
}

impl Inflated {
    pub fn new(payload: usize, messages: usize, agreed: Option<Deflate>, phases: &[usize]) -> Self {
        let takeover = agreed.is_some_and(|deflate| deflate.server_takeover);
        let stream = |phase: &usize| Stream {
            message: *phase,
            received: 0,
            inflater: takeover.then(|| Inflater::new(payload)),
        };
        Self {
            texts: (0..messages as u64).map(|number| messages::text(number, payload)).collect(),
            known: vec![None; messages],
            streams: phases.iter().map(stream).collect(),
            inflater: Inflater::new(payload),
            compressed: 0,
        }
    }

    #[inline]
    fn is_right(&mut self, at: usize, frame: &Frame<'_>) -> bool {
        let stream = &mut self.streams[at];
        let text = &self.texts[stream.message];
        if frame.first != TEXT | COMPRESSED {
            return frame.first == TEXT && frame.payload == &text[..];
        }
        self.compressed += 1;
        if let Some(inflater) = &mut stream.inflater {
            return inflater.inflate(frame.payload) == Some(text);
        }
        let known = &mut self.known[stream.message];
        if known.as_deref() != Some(frame.payload) {
            self.inflater.decompress.reset(false);
            let right = self.inflater.inflate(frame.payload) == Some(text);
            *known = right.then(|| frame.payload.into());
        }
        known.is_some()
    }
}

impl Answers for Inflated {
    fn right(&mut self, at: usize, bytes: &[u8]) -> Came {
        let mut came = Came::default();
        while let Some(frame) = frame::decode(&bytes[came.consumed..]) {
            if !self.is_right(at, &frame) {
                break;
            }
            let stream = &mut self.streams[at];
            stream.message = (stream.message + 1) & (self.texts.len() - 1);
            stream.received += 1;
            came.add(Came { consumed: frame.len, messages: 1, own: 1 });
        }
        came
    }

    fn wrong(&mut self, at: usize, bytes: &[u8]) -> Option<Fault> {
        let frame = frame::decode(bytes)?;
        let stream = &self.streams[at];
        self.inflater.decompress.reset(false);
        let inflated = self.inflater.inflate(frame.payload).map(Vec::as_slice);
        let came =
            inflated.map_or(shown(frame.payload), |text| String::from_utf8_lossy(text).into());
        let text = String::from_utf8_lossy(&self.texts[stream.message]);
        Some(Fault::Wrong {
            message: stream.received,
            expected: format!("text frame {text}"),
            came: format!("frame {:02x} {came}", frame.first),
        })
    }

    fn compressed(&self) -> Option<u64> {
        Some(self.compressed)
    }
}

#[derive(Debug)]
struct Inflater {
    decompress: Decompress,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Inflater {
    fn new(payload: usize) -> Self {
        let output = Vec::with_capacity(payload + 64);
        Self { decompress: Decompress::new(false), input: Vec::new(), output }
    }

    /// The text of a message, or `None` if there is no such or it is longer than what was asked for.
    fn inflate(&mut self, payload: &[u8]) -> Option<&Vec<u8>> {
        self.input.clear();
        self.input.extend_from_slice(payload);
        self.input.extend_from_slice(&TAIL);
        self.output.clear();
        let before = self.decompress.total_in();
        let sync = FlushDecompress::Sync;
        let status = self.decompress.decompress_vec(&self.input, &mut self.output, sync).ok()?;
        let taken = (self.decompress.total_in() - before) as usize;
        match status {
            Status::Ok => (taken == self.input.len()).then_some(&self.output),
            // A final block (§7.2.3.4): nothing is behind it but the tail.
            Status::StreamEnd => {
                self.decompress.reset(false);
                (self.input.len() - taken <= TAIL.len() + 1).then_some(&self.output)
            }
            Status::BufError => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::{judge, only_the_right_stream_passes, wrong_at};

    const MESSAGES: usize = 4;
    const PAYLOAD: usize = 300;

    fn fresh(server_takeover: bool) -> Inflated {
        let agreed = Deflate { server_takeover, client_window_bits: 15 };
        Inflated::new(PAYLOAD, MESSAGES, Some(agreed), &[0])
    }

    /// What a server sends: with takeover by one compressor, else by one for each message.
    fn frames(takeover: bool, messages: usize) -> Vec<Vec<u8>> {
        let mut one = Compress::new(Compression::fast(), false);
        let compressed = |number: usize| {
            let text = messages::text((number % MESSAGES) as u64, PAYLOAD);
            if !takeover {
                return compress(&text, 15);
            }
            let mut out = Vec::with_capacity(PAYLOAD + 64);
            one.compress_vec(&text, &mut out, FlushCompress::Sync).unwrap();
            out.truncate(out.len() - TAIL.len());
            out
        };
        (0..messages).map(compressed).map(|payload| framed(&payload)).collect()
    }

    fn framed(payload: &[u8]) -> Vec<u8> {
        frame::encode(TEXT | COMPRESSED, payload, None)
    }

    #[test]
    fn what_inflates_to_the_right_text_passes() {
        only_the_right_stream_passes(|| fresh(false), 0, &frames(false, 7));
        let stream = frames(true, 7).concat();
        for piece in [1, 50, 10_000] {
            assert_eq!(judge(&mut fresh(true), 0, &stream, piece).unwrap().0.messages, 7);
        }
        assert_eq!(wrong_at(fresh(false), 0, &stream, 10_000), Some(1), "it refers back");
    }

    #[test]
    fn with_takeover_a_fault_is_caught_too() {
        let frames = frames(true, 3);
        let wrong = |order: &[usize]| {
            let stream: Vec<_> = order.iter().map(|at| frames[*at].clone()).collect();
            wrong_at(fresh(true), 0, &stream.concat(), 10_000)
        };
        assert_eq!(wrong(&[0, 1, 2]), None);
        assert_eq!(wrong(&[0, 2]), Some(1), "missing");
        assert_eq!(wrong(&[0, 0, 1]), Some(1), "doubled");
        assert_eq!(wrong(&[1, 0]), Some(0), "swapped");
    }

    #[test]
    fn bytes_that_were_right_before_are_right_only_as_they_were() {
        let (mut good, mut pongs) = (fresh(false), Vec::new());
        let stream = frames(false, MESSAGES);
        good.judge(0, &stream.concat(), &mut pongs).unwrap();
        assert!(good.known.iter().all(Option::is_some));
        // The same text, compressed in another way, is right as well.
        let text = messages::text(0, PAYLOAD);
        good.judge(0, &framed(&stored(&text)), &mut pongs).unwrap();
        let mut others = stream[1].clone();
        *others.last_mut().unwrap() ^= 0x55;
        assert!(good.judge(0, &others, &mut pongs).is_err());
        let (mut wrong, longer) = (text.clone(), [&text[..], b" "].concat());
        wrong[100] ^= 1;
        for (frame, at) in [
            (frame::encode(TEXT, &text, None), None),
            (frame::encode(TEXT, &wrong, None), Some(0)),
            (frame::encode(0x82, &text, None), Some(0)),
            (framed(&compress(&wrong, 15)), Some(0)),
            (framed(&compress(&longer, 15)), Some(0)),
        ] {
            assert_eq!(wrong_at(fresh(false), 0, &frame, 10_000), at);
        }
    }

    /// One stored block, not the last, and the byte that the tail completes (RFC 7692 §7.2.3.3).
    fn stored(text: &[u8]) -> Vec<u8> {
        let len = text.len() as u16;
        [&[0], &len.to_le_bytes()[..], &(!len).to_le_bytes(), text, &[0]].concat()
    }

    #[test]
    fn a_final_block_ends_a_message() {
        let text = messages::text(0, PAYLOAD);
        let mut compress = Compress::new(Compression::default(), false);
        let mut out = Vec::with_capacity(PAYLOAD + 64);
        compress.compress_vec(&text, &mut out, FlushCompress::Finish).unwrap();
        out.push(0);
        let stream = [framed(&out), frames(false, 2).remove(1)].concat();
        assert_eq!(wrong_at(fresh(false), 0, &stream, 10_000), None);
    }

    #[test]
    fn what_is_sent_is_what_is_expected() {
        for client_window_bits in [9, 15] {
            let agreed = Some(Deflate { server_takeover: false, client_window_bits });
            let requests = requests(PAYLOAD, MESSAGES, agreed);
            for number in 0..MESSAGES {
                let bytes = requests.slice(requests.bytes_before(number as u64) as usize, 1000);
                let frame = frame::decode(bytes).unwrap();
                assert_eq!((frame.first, bytes[1] & 0x80), (TEXT | COMPRESSED, 0x80));
                let key = bytes[..frame.len - frame.payload.len()].last_chunk::<4>().unwrap();
                let payload =
                    frame.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
                let text = messages::text(number as u64, PAYLOAD);
                let mut inflater = Inflater::new(PAYLOAD);
                assert_eq!(inflater.inflate(&payload.collect::<Vec<_>>()), Some(&text));
            }
        }
    }
}
