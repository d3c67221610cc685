//! Close codes and payloads (RFC 6455 §5.5.1, §7.4), and what a peer can do wrong.

use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::str;

/// A close code that an endpoint may send: 1000-1003, 1007-1009, 1011-1014 and 3000-4999.
///
/// The others are reserved (§7.4.1: 1004; 1005, 1006 and 1015, which never appear on the wire),
/// for clients only (1010), or not assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection has been fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the server goes down, or the page is left.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// 1003: a kind of data that cannot be accepted.
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    /// 1007: data that is not what its type says, such as text that is not UTF-8.
    pub const INVALID_DATA: CloseCode = CloseCode(1007);
    /// 1008: a policy forbids it.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// 1009: the message is too big.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// 1011: the server met a condition that it did not expect.
    pub const INTERNAL_ERROR: CloseCode = CloseCode(1011);
    /// 1013: overloaded; try again later.
    pub const TRY_AGAIN_LATER: CloseCode = CloseCode(1013);

    /// The code, or `None` if a server must not send it.
    pub const fn new(code: u16) -> Option<CloseCode> {
        match code {
            1000..=1003 | 1007..=1009 | 1011..=1014 | 3000..=4999 => Some(CloseCode(code)),
            _ => None,
        }
    }

    /// The code as a number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a peer did against RFC 6455 or against a limit; the connection is to be failed (§7.1.7)
/// with [`close_code`](ProtocolError::close_code).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame from a client is not masked (§5.1).
    MaskMissing,
    /// A reserved bit is set that no negotiated extension defines here (§5.2).
    RsvSet,
    /// The opcode, 3-7 or 11-15, is reserved (§5.2).
    OpCodeReserved(u8),
    /// The payload length is not encoded in the fewest bytes (§5.2).
    LengthNotMinimal,
    /// The most significant bit of a 64-bit length is set (§5.2).
    LengthMsb,
    /// A control frame is fragmented (§5.5).
    ControlFragmented,
    /// A control frame carries more than 125 bytes (§5.5).
    ControlTooLong,
    /// A continuation frame where no message is open (§5.4).
    ContinuationUnexpected,
    /// A new data frame inside a fragmented message (§5.4).
    ContinuationExpected,
    /// A Close payload of one byte: no room for a code (§5.5.1).
    ClosePayloadOneByte,
    /// A close code that must not be on the wire (§7.4).
    CloseCodeInvalid(u16),
    /// Text, or a close reason, that is not UTF-8 (§8.1).
    InvalidUtf8,
    /// A compressed message that cannot be inflated (RFC 7692 §7.2.2).
    InvalidDeflate,
    /// The message is longer than `message_bytes_max` (§10.4), inflated if it is compressed.
    MessageTooBig,
    /// The message has more frames, or a compressed one more DEFLATE streams, than
    /// `message_frames_max` (§10.4).
    TooManyFrames,
}

impl ProtocolError {
    /// The code to close the connection with (§7.4.1).
    pub const fn close_code(self) -> CloseCode {
        match self {
            ProtocolError::MaskMissing
            | ProtocolError::RsvSet
            | ProtocolError::OpCodeReserved(_)
            | ProtocolError::LengthNotMinimal
            | ProtocolError::LengthMsb
            | ProtocolError::ControlFragmented
            | ProtocolError::ControlTooLong
            | ProtocolError::ContinuationUnexpected
            | ProtocolError::ContinuationExpected
            | ProtocolError::ClosePayloadOneByte
            | ProtocolError::CloseCodeInvalid(_) => CloseCode::PROTOCOL_ERROR,
            ProtocolError::InvalidUtf8 | ProtocolError::InvalidDeflate => CloseCode::INVALID_DATA,
            ProtocolError::MessageTooBig => CloseCode::TOO_BIG,
            ProtocolError::TooManyFrames => CloseCode::POLICY,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProtocolError::MaskMissing => "client frame is not masked (RFC 6455 §5.1)",
            ProtocolError::RsvSet => "reserved bit is set (RFC 6455 §5.2)",
            ProtocolError::OpCodeReserved(opcode) => {
                return write!(f, "opcode {opcode} is reserved (RFC 6455 §5.2)");
            }
            ProtocolError::LengthNotMinimal => "payload length is not minimal (RFC 6455 §5.2)",
            ProtocolError::LengthMsb => "payload length has its top bit set (RFC 6455 §5.2)",
            ProtocolError::ControlFragmented => "control frame is fragmented (RFC 6455 §5.5)",
            ProtocolError::ControlTooLong => {
                "control frame carries more than 125 bytes (RFC 6455 §5.5)"
            }
            ProtocolError::ContinuationUnexpected => {
                "continuation frame outside of a message (RFC 6455 §5.4)"
            }
            ProtocolError::ContinuationExpected => {
                "new data frame inside a fragmented message (RFC 6455 §5.4)"
            }
            ProtocolError::ClosePayloadOneByte => "close payload of one byte (RFC 6455 §5.5.1)",
            ProtocolError::CloseCodeInvalid(code) => {
                return write!(f, "close code {code} must not be sent (RFC 6455 §7.4)");
            }
            ProtocolError::InvalidUtf8 => "text is not valid UTF-8 (RFC 6455 §8.1)",
            ProtocolError::InvalidDeflate => "message cannot be inflated (RFC 7692 §7.2.2)",
            ProtocolError::MessageTooBig => "message is longer than message_bytes_max",
            ProtocolError::TooManyFrames => "message has more frames than message_frames_max",
        })
    }
}

impl Error for ProtocolError {}

/// Reads the payload of a Close frame from a peer: its code and reason, or `None` if it is empty
/// (§7.1.5: the code is then 1005, which never appears on the wire).
///
/// # Errors
///
/// [`ClosePayloadOneByte`](ProtocolError::ClosePayloadOneByte),
/// [`CloseCodeInvalid`](ProtocolError::CloseCodeInvalid) for a code other than 1000-1003, 1007-1014
/// and 3000-4999, [`InvalidUtf8`](ProtocolError::InvalidUtf8) for the reason.
pub fn decode_close(payload: &[u8]) -> Result<Option<(u16, &str)>, ProtocolError> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        // §5.5.1: if there is a body, its first two bytes MUST be the code.
        [_] => return Err(ProtocolError::ClosePayloadOneByte),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    // §7.4.1 and the IANA registry, which has added 1012-1014; 1010 is for clients to send.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(ProtocolError::CloseCodeInvalid(code));
    }
    let reason = str::from_utf8(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
    Ok(Some((code, reason)))
}

/// The payload of a Close frame: two bytes of code, then the reason. It dereferences to its bytes,
/// 2 to 125 of them.
#[derive(Clone, Copy)]
pub struct ClosePayload {
    bytes: [u8; 125],
    len: u8,
}

impl Deref for ClosePayload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for ClosePayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Builds the payload of a Close frame. A reason of more than 123 bytes is cut at the last
/// character boundary that fits (§5.5: a control frame has at most 125 bytes of payload). The code may
/// be a peer's, which is echoed.
pub fn close_payload(code: u16, reason: &str) -> ClosePayload {
    let mut reason_len = reason.len().min(123);
    while !reason.is_char_boundary(reason_len) {
        reason_len -= 1;
    }
    let reason = &reason.as_bytes()[..reason_len];
    let mut payload = ClosePayload { bytes: [0; 125], len: 2 + reason.len() as u8 };
    payload.bytes[..2].copy_from_slice(&code.to_be_bytes());
    payload.bytes[2..2 + reason.len()].copy_from_slice(reason);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    /// §7.4.1, §7.4.2 and the IANA registry, one row for each range.
    fn on_the_wire(code: u16) -> bool {
        let library = (3000..4000).contains(&code);
        let application = (4000..5000).contains(&code);
        let registered = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
        library || application || registered.contains(&code)
    }

    #[test]
    fn every_code_with_every_kind_of_reason() {
        let long = "\u{e9}".repeat(61) + "!";
        assert_eq!(long.len(), 123);
        for code in 0..=u16::MAX {
            let [high, low] = code.to_be_bytes();
            let payload = |reason: &[u8]| [&[high, low], reason].concat();
            for reason in ["", "Goodbye \u{1f44b}", &long] {
                let payload = payload(reason.as_bytes());
                let expected = if on_the_wire(code) {
                    Ok(Some((code, reason)))
                } else {
                    Err(ProtocolError::CloseCodeInvalid(code))
                };
                assert_eq!(decode_close(&payload), expected);
            }
            let expected = if on_the_wire(code) {
                ProtocolError::InvalidUtf8
            } else {
                ProtocolError::CloseCodeInvalid(code)
            };
            assert_eq!(decode_close(&payload(b"ok \xC3")), Err(expected));
            assert_eq!(decode_close(&payload(b"\xED\xA0\x80")), Err(expected));
        }
    }

    #[test]
    fn an_empty_payload_has_no_code_and_one_byte_is_an_error() {
        assert_eq!(decode_close(&[]), Ok(None));
        for byte in 0..=255 {
            assert_eq!(decode_close(&[byte]), Err(ProtocolError::ClosePayloadOneByte));
        }
    }

    #[test]
    fn every_code_that_may_be_sent() {
        for code in 0..=u16::MAX {
            // §7.4.1: 1010 is for clients.
            let sendable = on_the_wire(code) && code != 1010;
            assert_eq!(CloseCode::new(code).map(CloseCode::get), sendable.then_some(code));
        }
        for code in [
            CloseCode::NORMAL,
            CloseCode::GOING_AWAY,
            CloseCode::PROTOCOL_ERROR,
            CloseCode::UNSUPPORTED,
            CloseCode::INVALID_DATA,
            CloseCode::POLICY,
            CloseCode::TOO_BIG,
            CloseCode::INTERNAL_ERROR,
            CloseCode::TRY_AGAIN_LATER,
        ] {
            assert_eq!(CloseCode::new(code.get()), Some(code));
        }
        assert_eq!(format!("{:>6}", CloseCode::POLICY), "  1008");
    }

    #[test]
    fn what_is_built_is_what_is_read_and_fits_a_control_frame() {
        for character in ["x", "\u{e9}", "\u{20ac}", "\u{1f44b}"] {
            for count in 0..140 {
                let reason = character.repeat(count);
                let payload = close_payload(1008, &reason);
                assert!(payload.len() <= 125);
                let (code, kept) = decode_close(&payload).unwrap().unwrap();
                assert_eq!(code, 1008);
                assert!(reason.starts_with(kept));
                // Not a character less than fits.
                assert!(kept == reason || kept.len() + character.len() > 123, "{reason}");
            }
        }
        assert_eq!(&*close_payload(1001, ""), &[0x03, 0xE9]);
    }

    #[test]
    fn each_error_closes_with_its_code_and_names_its_clause_or_limit() {
        use ProtocolError::*;
        for (error, code, names) in [
            (MaskMissing, 1002, "§5.1"),
            (RsvSet, 1002, "§5.2"),
            (OpCodeReserved(11), 1002, "opcode 11 "),
            (LengthNotMinimal, 1002, "§5.2"),
            (LengthMsb, 1002, "§5.2"),
            (ControlFragmented, 1002, "§5.5"),
            (ControlTooLong, 1002, "125"),
            (ContinuationUnexpected, 1002, "§5.4"),
            (ContinuationExpected, 1002, "§5.4"),
            (ClosePayloadOneByte, 1002, "§5.5.1"),
            (CloseCodeInvalid(1005), 1002, "close code 1005 "),
            (InvalidUtf8, 1007, "§8.1"),
            (InvalidDeflate, 1007, "RFC 7692 §7.2.2"),
            (MessageTooBig, 1009, "message_bytes_max"),
            (TooManyFrames, 1008, "message_frames_max"),
        ] {
            assert_eq!(error.close_code().get(), code, "{error}");
            assert!(error.to_string().contains(names), "{error}");
            // It goes into the reason of a Close frame as a whole.
            assert!(error.to_string().len() <= 123, "{error}");
        }
    }
}
