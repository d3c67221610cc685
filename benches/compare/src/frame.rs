//! Frames of RFC 6455 §5.2, as far as a load client needs them.

/// First bytes: FIN and the opcode.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
/// RSV1 of the first byte: the message is compressed (RFC 7692 §6).
pub const COMPRESSED: u8 = 0x40;

/// A frame; with a mask it is a client's.
pub fn encode(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let len = payload.len() as u64;
    let (short, long) = match len {
        0..=125 => (len as u8, Vec::new()),
        126..=0xFFFF => (126, len.to_be_bytes()[6..].to_vec()),
        _ => (127, len.to_be_bytes().to_vec()),
    };
    let mut frame = vec![first, short | if mask.is_some() { 0x80 } else { 0 }];
    frame.extend(long);
    frame.extend(mask.iter().flatten());
    let key = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A server's frame, in the bytes that it was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    pub first: u8,
    pub payload: &'b [u8],
    /// Of the header and the payload.
    pub len: usize,
}

/// The frame that the bytes begin with; `None` if more bytes are needed.
#[inline]
pub fn decode(bytes: &[u8]) -> Option<Frame<'_>> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (header, payload) = match second & 0x7F {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    };
    let header: usize = header + if second & 0x80 == 0 { 0 } else { 4 };
    let len = header.checked_add(payload)?;
    Some(Frame { first, payload: bytes.get(header..len)?, len })
}

/// What a server may put between messages.
#[derive(Debug, PartialEq, Eq)]
pub enum Control {
    /// A Ping (answered) or a Pong, and how long it was.
    Passed(usize),
    /// More bytes are needed.
    Partial,
    /// The server closes, and says why.
    Closed(String),
    /// No control frame at all.
    None,
}

/// Looks for a control frame where a message should begin, and appends the answer to a Ping.
pub fn control(bytes: &[u8], answers: &mut Vec<u8>) -> Control {
    let Some(first @ (CLOSE | PING | PONG)) = bytes.first().copied() else { return Control::None };
    if bytes.get(1).is_some_and(|second| *second > 125) {
        // §5.1 and §5.5: a server's frame has no mask, and a control frame is short.
        return Control::None;
    }
    let Some(frame) = decode(bytes) else { return Control::Partial };
    match first {
        PING => answers.extend(encode(PONG, frame.payload, Some([0x37, 0xFA, 0x21, 0x3D]))),
        PONG => {}
        _ => return Control::Closed(close_reason(frame.payload)),
    }
    Control::Passed(frame.len)
}

fn close_reason(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            format!("{code} {}", String::from_utf8_lossy(reason)).trim_end().into()
        }
        _ => "no code".into(),
    }
}

/// A client's Close frame, code 1000.
pub fn close() -> Vec<u8> {
    encode(CLOSE, &1000_u16.to_be_bytes(), Some([1, 2, 3, 4]))
}

/// Whether the bytes begin with a Close frame.
pub fn is_close(bytes: &[u8]) -> bool {
    bytes.first() == Some(&CLOSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 6455 §5.7.
        let (plain, masked) = (encode(TEXT, b"Hello", None), [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(plain, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        let masked = encode(TEXT, b"Hello", Some(masked));
        assert_eq!(masked, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        let mut pong = Vec::new();
        assert_eq!(control(&encode(PING, b"Hello", None), &mut pong), Control::Passed(7));
        assert_eq!(pong, [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn each_form_of_the_length_is_read_as_it_was_written() {
        for len in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, 70_000] {
            let payload: Vec<_> = (0..len).map(|at| at as u8).collect();
            let mut out = encode(BINARY, &payload, None);
            let whole = out.len();
            out.push(7);
            let frame = decode(&out).unwrap();
            assert_eq!((frame.first, frame.payload, frame.len), (BINARY, &payload[..], whole));
            for cut in [0, 1, 3, 9, whole - 1] {
                assert_eq!(decode(&out[..cut.min(whole - 1)]), None, "{len} {cut}");
            }
        }
    }

    #[test]
    fn control_frames_are_told_from_the_rest() {
        let mut pong = Vec::new();
        for (bytes, found) in [
            (&[BINARY, 0][..], Control::None),
            (&[PING, 0x80, 0, 0, 0, 0], Control::None),
            (&[PING, 126, 0, 126], Control::None),
            (&[PING], Control::Partial),
            (&[PING, 2, 0], Control::Partial),
            (&[PONG, 0], Control::Passed(2)),
            (&[CLOSE, 4, 0x03, 0xE8, b'h', b'i'], Control::Closed("1000 hi".into())),
            (&[CLOSE, 0], Control::Closed("no code".into())),
        ] {
            assert_eq!(control(bytes, &mut pong), found);
        }
        assert!(pong.is_empty());
    }
}
