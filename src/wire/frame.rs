//! Frame headers (RFC 6455 §5.2): from a client's bytes, and to a client.

use super::close::ProtocolError;

/// The longest frame header: two bytes, a 64-bit length and the mask.
pub const HEADER_LEN_MAX: usize = 14;

/// What a frame is (§5.2, §11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpCode {
    /// The next fragment of the open message.
    Continuation = 0,
    /// The first frame of a text message.
    Text = 1,
    /// The first frame of a binary message.
    Binary = 2,
    /// Closes the connection (§5.5.1).
    Close = 8,
    /// Asks for a Pong (§5.5.2).
    Ping = 9,
    /// Answers a Ping, or comes unasked (§5.5.3).
    Pong = 10,
}

impl OpCode {
    /// Whether it is a control frame: never fragmented, at most 125 bytes (§5.5).
    #[inline]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    #[inline]
    const fn from_bits(bits: u8) -> Option<OpCode> {
        match bits {
            0 => Some(OpCode::Continuation),
            1 => Some(OpCode::Text),
            2 => Some(OpCode::Binary),
            8 => Some(OpCode::Close),
            9 => Some(OpCode::Ping),
            10 => Some(OpCode::Pong),
            _ => None,
        }
    }
}

/// The header of a frame from a client, which is always masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether this is the last frame of its message.
    pub fin: bool,
    /// Whether the message is compressed (RFC 7692 §6); only on its first frame.
    pub rsv1: bool,
    /// What the frame is.
    pub opcode: OpCode,
    /// The key that its payload is masked with (§5.3).
    pub mask: [u8; 4],
    /// The length of its payload in bytes: below 2^63, and not yet compared with any limit.
    pub payload_len: u64,
}

/// What the state of the receiver allows the next frame to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// A fragmented message is open: data frames must continue it (§5.4).
    pub message_open: bool,
    /// Compression was negotiated: RSV1 may be set on the first frame of a message (RFC 7692 §6).
    pub rsv1: bool,
}

impl Header {
    /// Reads the header at the start of `input`; `Ok(None)` if it is not all there yet.
    ///
    /// After `Ok(Some((header, n)))`, the header took the first `n` bytes, `n <= HEADER_LEN_MAX`,
    /// and `payload_len` bytes of payload follow. Nothing is allocated, however long the payload.
    ///
    /// # Errors
    ///
    /// A rule that the first two bytes break is reported as soon as these are there; one about the
    /// length, as soon as the length is.
    #[inline]
    pub fn decode(input: &[u8], expect: Expect) -> Result<Option<(Header, usize)>, ProtocolError> {
        let [first, second, rest @ ..] = input else { return Ok(None) };
        let opcode = check(*first, *second, expect)?;
        let (payload_len, mask_at) = match second & 0x7F {
            126 => {
                let Some(bytes) = rest.first_chunk() else { return Ok(None) };
                let len = u64::from(u16::from_be_bytes(*bytes));
                // §5.2: the minimal number of bytes MUST be used to encode the length.
                if len < 126 {
                    return Err(ProtocolError::LengthNotMinimal);
                }
                (len, 4)
            }
            127 => {
                let Some(bytes) = rest.first_chunk() else { return Ok(None) };
                let len = u64::from_be_bytes(*bytes);
                // §5.2: the most significant bit MUST be 0.
                if len >> 63 != 0 {
                    return Err(ProtocolError::LengthMsb);
                }
                if len <= 0xFFFF {
                    return Err(ProtocolError::LengthNotMinimal);
                }
                (len, 10)
            }
            short => (u64::from(short), 2),
        };
        let Some(mask) = input[mask_at..].first_chunk() else { return Ok(None) };
        let (fin, rsv1) = (first & 0x80 != 0, first & 0x40 != 0);
        Ok(Some((Header { fin, rsv1, opcode, mask: *mask, payload_len }, mask_at + 4)))
    }
}

/// Every rule that the first two bytes of a frame decide.
#[inline]
fn check(first: u8, second: u8, expect: Expect) -> Result<OpCode, ProtocolError> {
    // §5.1: a server MUST close the connection upon receiving a frame that is not masked.
    if second & 0x80 == 0 {
        return Err(ProtocolError::MaskMissing);
    }
    // §5.2: a reserved opcode MUST fail the connection.
    let Some(opcode) = OpCode::from_bits(first & 0x0F) else {
        return Err(ProtocolError::OpCodeReserved(first & 0x0F));
    };
    if first & 0x70 != 0 {
        // §5.2: a reserved bit MUST be 0 unless a negotiated extension defines it. RFC 7692 §6
        // defines RSV1, on the first frame of a data message only. (Where a message is open, a
        // frame that would start another is refused below.)
        let starts = matches!(opcode, OpCode::Text | OpCode::Binary);
        if first & 0x30 != 0 || !expect.rsv1 || !starts {
            return Err(ProtocolError::RsvSet);
        }
    }
    if opcode.is_control() {
        // §5.5: control frames MUST NOT be fragmented, and have at most 125 bytes of payload.
        if first & 0x80 == 0 {
            return Err(ProtocolError::ControlFragmented);
        }
        if second & 0x7F > 125 {
            return Err(ProtocolError::ControlTooLong);
        }
    } else if (opcode == OpCode::Continuation) != expect.message_open {
        // §5.4: a continuation needs an open message, and an open message needs continuations.
        return Err(if expect.message_open {
            ProtocolError::ContinuationExpected
        } else {
            ProtocolError::ContinuationUnexpected
        });
    }
    Ok(opcode)
}

/// Appends the header of a frame to a client: not masked (§5.1), its length minimal (§5.2).
///
/// A control frame has to be final and at most 125 bytes long (§5.5).
#[inline(always)]
pub fn encode_header(out: &mut Vec<u8>, opcode: OpCode, fin: bool, rsv1: bool, payload_len: usize) {
    debug_assert!(!opcode.is_control() || (fin && !rsv1 && payload_len <= 125));
    let first = u8::from(fin) << 7 | u8::from(rsv1) << 6 | opcode as u8;
    if payload_len <= 125 {
        out.extend_from_slice(&[first, payload_len as u8]);
    } else {
        encode_long_header(out, first, payload_len);
    }
}

#[inline(never)]
fn encode_long_header(out: &mut Vec<u8>, first: u8, payload_len: usize) {
    if let Ok(len) = u16::try_from(payload_len) {
        let [high, low] = len.to_be_bytes();
        out.extend_from_slice(&[first, 126, high, low]);
    } else {
        let mut header = [first, 127, 0, 0, 0, 0, 0, 0, 0, 0];
        header[2..].copy_from_slice(&(payload_len as u64).to_be_bytes());
        out.extend_from_slice(&header);
    }
}

/// Appends a whole frame to a client: final, without RSV1.
#[inline]
pub fn encode_frame(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    encode_message(out, opcode, false, payload);
}

/// Appends a whole frame to a client: final, and with RSV1 if its payload is compressed (RFC 7692
/// §6.1).
#[inline(always)]
pub fn encode_message(out: &mut Vec<u8>, opcode: OpCode, deflated: bool, payload: &[u8]) {
    encode_header(out, opcode, true, deflated, payload.len());
    out.extend_from_slice(payload);
}

/// How many bytes a frame to a client takes: its header and `payload_len` bytes.
#[inline]
pub const fn encoded_len(payload_len: usize) -> usize {
    // Most are short, and a comparison that is always the same way costs less than a table.
    if payload_len <= 125 {
        return payload_len + 2;
    }
    let header_len = if payload_len <= 0xFFFF { 4 } else { 10 };
    payload_len.saturating_add(header_len)
}

/// The length in bytes, header included, of the frame to a client that starts at `bytes[0]`.
///
/// It is for frames that [`encode_header`] wrote: `bytes` must hold the header, and need not hold
/// the payload. If it does not hold the header, the result is the length of `bytes`.
#[inline]
pub fn frame_len(bytes: &[u8]) -> usize {
    let len = match bytes {
        [_, 126, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
        [_, 127, len @ ..] => match len.first_chunk() {
            Some(len) => usize::try_from(u64::from_be_bytes(*len)).unwrap_or(usize::MAX),
            None => return bytes.len(),
        },
        [_, len @ 0..=125, ..] => usize::from(*len),
        _ => return bytes.len(),
    };
    encoded_len(len)
}

/// What a whole frame to a client is, and what it carries; `None` if it is none.
pub fn open_frame(frame: &[u8]) -> Option<(OpCode, &[u8])> {
    let header_len = match frame.get(1)? {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    Some((OpCode::from_bits(frame[0] & 0x0F)?, frame.get(header_len..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0xDE, 0xAD, 0xBE, 0xEF];

    const STATES: [Expect; 4] = [
        Expect { message_open: false, rsv1: false },
        Expect { message_open: false, rsv1: true },
        Expect { message_open: true, rsv1: false },
        Expect { message_open: true, rsv1: true },
    ];

    /// Every rule of §5 that the two bytes break in a state, written from the figure of §5.2: the
    /// bits by their names, no code shared with the decoder.
    fn broken_rules(bytes: [u8; 2], state: Expect) -> Vec<ProtocolError> {
        let bits = format!("{:08b}{:08b}", bytes[0], bytes[1]);
        let bit = |i: usize| &bits[i..=i] == "1";
        let (fin, rsv1, rsv2, rsv3, mask) = (bit(0), bit(1), bit(2), bit(3), bit(8));
        let opcode = u8::from_str_radix(&bits[4..8], 2).unwrap();
        let length = u8::from_str_radix(&bits[9..], 2).unwrap();
        let control = [0x8, 0x9, 0xA].contains(&opcode);
        let data = [0x1, 0x2].contains(&opcode);
        let first_of_message = data && !state.message_open;
        let mut broken = Vec::new();
        let mut rule = |breaks: bool, error| {
            if breaks {
                broken.push(error);
            }
        };
        rule(!mask, ProtocolError::MaskMissing);
        rule(rsv2 || rsv3, ProtocolError::RsvSet);
        rule(rsv1 && !(state.rsv1 && first_of_message), ProtocolError::RsvSet);
        rule(!control && !data && opcode != 0, ProtocolError::OpCodeReserved(opcode));
        rule(control && !fin, ProtocolError::ControlFragmented);
        rule(control && length > 125, ProtocolError::ControlTooLong);
        rule(opcode == 0 && !state.message_open, ProtocolError::ContinuationUnexpected);
        rule(data && state.message_open, ProtocolError::ContinuationExpected);
        broken
    }

    /// X-HDR: all 65,536 first two bytes in every state, alone and with the rest of the header.
    #[test]
    fn every_two_bytes_in_every_state() {
        for state in STATES {
            for bytes in 0..=u16::MAX {
                let bytes = bytes.to_be_bytes();
                let broken = broken_rules(bytes, state);
                let (rest, payload_len): (&[u8], u64) = match bytes[1] & 127 {
                    126 => (&[0x01, 0x02], 0x0102),
                    127 => (&[0, 0, 0, 0, 0, 1, 2, 3], 0x010203),
                    length => (&[], u64::from(length)),
                };
                let whole = [&bytes, rest, &MASK, b"payload"].concat();
                if broken.is_empty() {
                    let (header, len) = Header::decode(&whole, state).unwrap().unwrap();
                    assert_eq!(len, 2 + rest.len() + 4);
                    assert!(len <= HEADER_LEN_MAX);
                    assert_eq!(header.fin, bytes[0] >= 128);
                    assert_eq!(header.rsv1, bytes[0] & 0x40 != 0);
                    assert_eq!(header.opcode as u8, bytes[0] & 15);
                    assert_eq!((header.mask, header.payload_len), (MASK, payload_len));
                    for short in 0..len {
                        assert_eq!(Header::decode(&whole[..short], state), Ok(None));
                    }
                } else {
                    // Decided by the two bytes, and whatever follows does not matter.
                    for input in [&whole[..2], &whole] {
                        let error = Header::decode(input, state).unwrap_err();
                        assert!(broken.contains(&error), "{bytes:02X?} {state:?}: {error}");
                        assert_eq!(error.close_code().get(), 1002);
                    }
                    assert_eq!(Header::decode(&whole[..1], state), Ok(None));
                }
            }
        }
        assert_eq!(Header::decode(&[], Expect::default()), Ok(None));
    }

    fn decode_length(length: &[u8]) -> Result<Option<u64>, ProtocolError> {
        let marker = if length.len() == 2 { 126 } else { 127 };
        let header = [&[0x82, 0x80 | marker], length, &MASK].concat();
        // An error of the length is reported before the mask has come.
        let early = Header::decode(&header[..header.len() - 4], Expect::default());
        for short in 0..2 + length.len() {
            assert_eq!(Header::decode(&header[..short], Expect::default()), Ok(None));
        }
        let decoded = Header::decode(&header, Expect::default());
        match decoded {
            Ok(_) => assert_eq!(early, Ok(None)),
            Err(error) => assert_eq!(early, Err(error)),
        }
        decoded.map(|decoded| decoded.map(|(header, _)| header.payload_len))
    }

    /// X-LEN: every 16-bit length, the same in 64 bits, and the edges of every power of two.
    #[test]
    fn every_length_is_minimal_and_below_two_to_the_63() {
        for len in 0..=u16::MAX {
            let expected =
                if len < 126 { Err(ProtocolError::LengthNotMinimal) } else { Ok(Some(len.into())) };
            assert_eq!(decode_length(&len.to_be_bytes()), expected);
            let wide = decode_length(&u64::from(len).to_be_bytes());
            assert_eq!(wide, Err(ProtocolError::LengthNotMinimal));
        }
        let edges = (16..64).flat_map(|k| [(1_u64 << k) - 1, 1 << k, (1 << k) + 1]);
        for len in edges.chain([u64::MAX]) {
            let expected = if len > i64::MAX as u64 {
                Err(ProtocolError::LengthMsb)
            } else if len < 65_536 {
                Err(ProtocolError::LengthNotMinimal)
            } else {
                Ok(Some(len))
            };
            assert_eq!(decode_length(&len.to_be_bytes()), expected, "{len}");
        }
    }

    const OPCODES: [OpCode; 6] = [
        OpCode::Continuation,
        OpCode::Text,
        OpCode::Binary,
        OpCode::Close,
        OpCode::Ping,
        OpCode::Pong,
    ];

    /// The examples of §5.7 that a server can send.
    #[test]
    fn rfc_examples_of_5_7() {
        let mut out = Vec::new();
        encode_frame(&mut out, OpCode::Text, b"Hello");
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F]);
        out.clear();
        encode_header(&mut out, OpCode::Text, false, false, 3);
        encode_header(&mut out, OpCode::Continuation, true, false, 2);
        assert_eq!(out, [0x01, 0x03, 0x80, 0x02]);
        out.clear();
        encode_header(&mut out, OpCode::Binary, true, false, 256);
        encode_header(&mut out, OpCode::Binary, true, false, 65_536);
        encode_header(&mut out, OpCode::Text, true, true, 7);
        let expected = "82 7E 01 00 82 7F 00 00 00 00 00 01 00 00 C1 07";
        assert_eq!(format!("{out:02X?}").replace(',', ""), format!("[{expected}]"));
    }

    /// A client that masks what we encode gives us back what we meant.
    #[test]
    fn what_is_encoded_is_what_is_decoded_once_masked() {
        let edges = [0, 1, 124, 125, 126, 127, 128, 255, 256, 65_534, 65_535, 65_536, 65_537];
        for opcode in OPCODES {
            for len in edges.into_iter().filter(|len| !opcode.is_control() || *len <= 125) {
                let payload = vec![b'p'; len];
                let mut out = b"before".to_vec();
                encode_frame(&mut out, opcode, &payload);
                let frame = &out[6..];
                assert_eq!(frame.len(), encoded_len(len));
                assert_eq!(frame_len(frame), frame.len());
                let header_len = frame.len() - len;
                assert_eq!(frame_len(&frame[..header_len]), frame.len(), "payload not needed");
                assert!(frame.ends_with(&payload));

                let mut masked = frame[..header_len].to_vec();
                masked[1] |= 0x80;
                masked.extend_from_slice(&MASK);
                let expect = Expect { message_open: opcode == OpCode::Continuation, rsv1: false };
                let expected =
                    Header { fin: true, rsv1: false, opcode, mask: MASK, payload_len: len as u64 };
                assert_eq!(Header::decode(&masked, expect), Ok(Some((expected, header_len + 4))));
            }
        }
    }

    #[test]
    fn frame_len_walks_a_log_of_frames_and_survives_a_piece_of_one() {
        let mut log = Vec::new();
        let lens = [0, 125, 126, 65_535, 65_536, 3];
        for len in lens {
            encode_frame(&mut log, OpCode::Binary, &vec![0xFF; len]);
        }
        let (mut at, mut walked) = (0, Vec::new());
        while at < log.len() {
            let frame = frame_len(&log[at..]);
            walked.push(frame);
            at += frame;
        }
        assert_eq!(walked, lens.map(encoded_len));
        for piece in [&[][..], &[0x82], &[0x82, 126, 1], &[0x82, 127, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(frame_len(piece), piece.len());
        }
        assert_eq!(encoded_len(usize::MAX), usize::MAX);
    }

    #[test]
    fn control_opcodes_are_those_of_section_5_5() {
        assert_eq!(OPCODES.map(OpCode::is_control), [false, false, false, true, true, true]);
        assert_eq!(OPCODES.map(|opcode| opcode as u8), [0, 1, 2, 8, 9, 10]);
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn a_frame_in_each_form_of_the_length_is_opened() {
        for opcode in [OpCode::Text, OpCode::Binary] {
            for len in [0, 1, 125, 126, 65_535, 65_536] {
                let payload = vec![b'p'; len];
                let mut frame = Vec::new();
                encode_frame(&mut frame, opcode, &payload);
                assert_eq!(open_frame(&frame), Some((opcode, &payload[..])));
            }
        }
        for none in [&[][..], &[0x82], &[0x82, 126, 1], &[0x82, 127, 0, 0], &[0x83, 0]] {
            assert_eq!(open_frame(none), None);
        }
    }
}
