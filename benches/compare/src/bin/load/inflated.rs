//! Compressed messages (RFC 7692), sent and received.
//!
//! What is sent is compressed beforehand, each message for itself. What comes back is the server's
//! own compression of the same text, and has to inflate to it. That costs microseconds, and servers
//! are faster: where messages do not refer back to earlier ones, the same bytes always inflate to the
//! same text, so that bytes which were inflated once, and were right, are only compared from then on.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::{
    answers::{Answers, Came, Fault, shown},
    frame::{self, COMPRESSED, Control, Frame, TEXT},
    messages::{self, Requests},
    open::Deflate,
};

/// What a compressed message ends with, and what is left out of it (§7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// A client's frames: compressed, if it was agreed on.
pub fn requests(payload: usize, messages: usize, agreed: Option<Deflate>) -> Requests {
    let frames: Vec<_> = (0..messages as u32)
        .map(|number| {
            let (text, mut frame) = (messages::text(number, payload), Vec::new());
            let mask = Some(messages::mask(number));
            match agreed {
                Some(deflate) => {
                    let compressed = compress(&text, deflate.client_window_bits);
                    frame::encode(&mut frame, TEXT | COMPRESSED, &compressed, mask);
                }
                None => frame::encode(&mut frame, TEXT, &text, mask),
            }
            frame
        })
        .collect();
    Requests::new(&frames)
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
    pub fn new(
        payload: usize,
        messages: usize,
        agreed: Option<Deflate>,
        phases: impl Iterator<Item = usize>,
    ) -> Self {
        let takeover = agreed.is_some_and(|deflate| deflate.server_takeover);
        let stream = |phase| Stream {
            message: phase,
            received: 0,
            inflater: takeover.then(|| Inflater::new(payload)),
        };
        Self {
            texts: (0..messages as u32).map(|number| messages::text(number, payload)).collect(),
            known: vec![None; messages],
            streams: phases.map(stream).collect(),
            inflater: Inflater::new(payload),
            compressed: 0,
        }
    }

    #[inline]
    fn is_right(&mut self, at: usize, frame: &Frame<'_>) -> bool {
        let stream = &mut self.streams[at];
        let text = &self.texts[stream.message];
        match frame.first {
            TEXT => frame.payload == &text[..],
            first if first == TEXT | COMPRESSED => {
                self.compressed += 1;
                if let Some(inflater) = &mut stream.inflater {
                    return inflater.inflate(frame.payload) == Some(text);
                }
                let known = &mut self.known[stream.message];
                if known.as_deref() == Some(frame.payload) {
                    return true;
                }
                self.inflater.forget();
                let right = self.inflater.inflate(frame.payload) == Some(text);
                if right {
                    *known = Some(frame.payload.into());
                }
                right
            }
            _ => false,
        }
    }

    fn fault(&mut self, at: usize, frame: &Frame<'_>) -> Fault {
        let stream = &mut self.streams[at];
        let text = &self.texts[stream.message];
        let came = if frame.first & COMPRESSED == 0 {
            String::from_utf8_lossy(frame.payload).into_owned()
        } else if stream.inflater.is_some() {
            format!("compressed, {}", shown(frame.payload))
        } else {
            self.inflater.forget();
            match self.inflater.inflate(frame.payload) {
                Some(inflated) => String::from_utf8_lossy(inflated).into_owned(),
                None => format!("what does not inflate, {}", shown(frame.payload)),
            }
        };
        Fault::Wrong {
            message: stream.received,
            expected: format!("text frame {}", String::from_utf8_lossy(text)),
            came: format!("frame {:02x} {came}", frame.first),
        }
    }
}

impl Answers for Inflated {
    fn judge(&mut self, at: usize, bytes: &[u8], pongs: &mut Vec<u8>) -> Result<Came, Fault> {
        let mut came = Came::default();
        loop {
            let rest = &bytes[came.consumed..];
            match frame::control(rest, pongs) {
                Control::Passed(len) => {
                    came.consumed += len;
                    continue;
                }
                Control::Closed(why) => return Err(Fault::Closed(why)),
                Control::Partial => return Ok(came),
                Control::None => {}
            }
            let Some(frame) = frame::decode(rest) else { return Ok(came) };
            if !self.is_right(at, &frame) {
                return Err(self.fault(at, &frame));
            }
            let stream = &mut self.streams[at];
            stream.message = (stream.message + 1) & (self.texts.len() - 1);
            stream.received += 1;
            came.consumed += frame.len;
            came.messages += 1;
            came.own += 1;
        }
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

    /// Begins as if nothing had been inflated before.
    fn forget(&mut self) {
        self.decompress.reset(false);
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
