//! Frames as a peer in a test writes and reads them (RFC 6455 §5.2): byte by byte, from the figure in the
//! RFC, sharing nothing with the server's codec.

use std::{
    fmt,
    io::{self, Read},
};

/// A frame without its mask. Any first byte can be set, so that every rule can be broken.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// FIN, RSV1, RSV2, RSV3 and the opcode.
    pub first: u8,
    /// The payload, without its mask.
    pub payload: Vec<u8>,
}

/// A frame with any first byte.
pub fn frame(first: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame { first, payload: payload.as_ref().to_vec() }
}

/// A text message of one frame; with [`Frame::open`], the first frame of one.
pub fn text(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x81, payload)
}

/// A binary message of one frame; with [`Frame::open`], the first frame of one.
pub fn binary(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x82, payload)
}

/// The last frame of a fragmented message; with [`Frame::open`], one in its middle.
pub fn continuation(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x80, payload)
}

/// A Ping.
pub fn ping(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x89, payload)
}

/// A Pong.
pub fn pong(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x8A, payload)
}

/// A Close with any code and any bytes as its reason.
pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Frame {
    let mut payload = vec![(code >> 8) as u8, (code & 0xFF) as u8];
    payload.extend(reason.as_ref());
    frame(0x88, payload)
}

/// A Close without a code.
pub fn close_empty() -> Frame {
    frame(0x88, "")
}

/// Frames one behind the other, masked with a key each that depends on its place.
pub fn burst<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> Vec<u8> {
    let key = |at: usize| [at as u8, 0x5A ^ at as u8, 0xC3, (at >> 8) as u8];
    frames.into_iter().enumerate().flat_map(|(at, frame)| frame.masked(key(at))).collect()
}

/// The frames of `bytes`, none of them cut.
///
/// # Panics
///
/// If one is cut, or one that no server may send.
#[track_caller]
pub fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = Frame::read(&mut bytes).expect("no frame is cut") {
        frames.push(frame);
    }
    frames
}

impl Frame {
    /// The same without FIN: more of the message follows.
    pub fn open(mut self) -> Frame {
        self.first &= 0x7F;
        self
    }

    /// As a client sends it (§5.3).
    pub fn masked(&self, key: [u8; 4]) -> Vec<u8> {
        let mut bytes = self.header(0x80);
        bytes.extend(key);
        bytes.extend((0..self.payload.len()).map(|i| self.payload[i] ^ key[i % 4]));
        bytes
    }

    /// As a server sends it, and as a client must not (§5.1).
    pub fn unmasked(&self) -> Vec<u8> {
        let mut bytes = self.header(0);
        bytes.extend(&self.payload);
        bytes
    }

    fn header(&self, mask_bit: u8) -> Vec<u8> {
        let len = self.payload.len() as u64;
        let (second, more) = match len {
            0..=125 => (len as u8, 0),
            126..=0xFFFF => (126, 2),
            _ => (127, 8),
        };
        let mut header = vec![self.first, mask_bit + second];
        header.extend((0..more).rev().map(|byte| (len >> (8 * byte)) as u8));
        header
    }

    /// The next frame from a server; `None` if the stream ends before its first byte.
    ///
    /// # Errors
    ///
    /// Those of the stream; `UnexpectedEof` if it ends within the frame.
    ///
    /// # Panics
    ///
    /// If the frame is masked, or its length is not in the shortest form.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
        let mut first = [0];
        if from.read(&mut first)? == 0 {
            return Ok(None);
        }
        let mut byte = || {
            let mut byte = [0];
            from.read_exact(&mut byte).map(|()| u64::from(byte[0]))
        };
        let second = byte()?;
        assert!(second < 128, "§5.1: a server MUST NOT mask any frames");
        let (more, least) = match second {
            126 => (2, 126),
            127 => (8, 0x1_0000),
            _ => (0, 0),
        };
        let mut len = if more == 0 { second } else { 0 };
        for _ in 0..more {
            len = len << 8 | byte()?;
        }
        assert!(len >= least, "§5.2: the minimal number of bytes MUST be used");
        let mut payload = Vec::new();
        if from.take(len).read_to_end(&mut payload)? as u64 != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(Frame { first: first[0], payload }))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.first & 15 {
            0 => "continuation",
            1 => "text",
            2 => "binary",
            8 => "close",
            9 => "ping",
            10 => "pong",
            _ => "reserved",
        };
        let (len, shown) = (self.payload.len(), self.payload.len().min(40));
        let payload = self.payload[..shown].escape_ascii();
        write!(f, "{name} {:#04X}, {len} bytes: {payload}", self.first)
    }
}
