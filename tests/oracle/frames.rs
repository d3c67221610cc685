//! Frame headers from a client (RFC 6455 §5.2-§5.5, RFC 7692 §6).

/// A fragmented message that has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    Text,
    Binary,
    /// Its first frame had RSV1 set.
    Compressed,
}

/// All that the rules for a header's first two bytes depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receiver {
    pub open: Option<Open>,
    /// permessage-deflate was negotiated.
    pub deflate: bool,
}

/// The states that a receiver can be in: no message is compressed that was not negotiated to be.
pub const RECEIVERS: [Receiver; 7] = [
    Receiver { open: None, deflate: false },
    Receiver { open: Some(Open::Text), deflate: false },
    Receiver { open: Some(Open::Binary), deflate: false },
    Receiver { open: None, deflate: true },
    Receiver { open: Some(Open::Text), deflate: true },
    Receiver { open: Some(Open::Binary), deflate: true },
    Receiver { open: Some(Open::Compressed), deflate: true },
];

/// A rule that the first two bytes of a frame break; for any of them the code is 1002.
pub fn broken_rule(first: u8, second: u8, receiver: Receiver) -> Option<&'static str> {
    let [fin, rsv1, rsv2, rsv3] = [128, 64, 32, 16].map(|bit| first / bit % 2 == 1);
    let opcode = first % 16;
    let masked = second >= 128;
    let length = second % 128;
    let continues = opcode == 0;
    let begins = opcode == 1 || opcode == 2;
    let control = opcode == 8 || opcode == 9 || opcode == 10;
    let open = receiver.open.is_some();
    let rules = [
        (!masked, "§5.1: a client MUST mask all frames"),
        (rsv2 || rsv3, "§5.2: RSV2 and RSV3 MUST be 0"),
        (rsv1 && !receiver.deflate, "§5.2: RSV1 MUST be 0 unless an extension defines it"),
        (rsv1 && !begins, "RFC 7692 §6: RSV1 is for the first frame of a data message"),
        (!continues && !begins && !control, "§5.2: an unknown opcode MUST fail the connection"),
        (control && !fin, "§5.5: control frames MUST NOT be fragmented"),
        (control && length > 125, "§5.5: control frames MUST have at most 125 bytes"),
        (continues && !open, "§5.4: a continuation continues something"),
        (begins && open, "§5.4: fragments of messages MUST NOT be interleaved"),
    ];
    rules.iter().find(|(broken, _)| *broken).map(|(_, rule)| *rule)
}

/// How long a frame's payload is, from the second byte on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// More bytes are needed to tell.
    Unknown,
    /// §5.2: not in the fewest bytes, or with the most significant bit set.
    Broken,
    /// The length, and how many bytes after the second one said so.
    Is(u64, usize),
}

pub fn length(second: u8, after: &[u8]) -> Length {
    let size = match second % 128 {
        126 => 2,
        127 => 8,
        short => return Length::Is(short.into(), 0),
    };
    if after.len() < size {
        return Length::Unknown;
    }
    let value = after[..size].iter().fold(0_u128, |value, byte| value * 256 + u128::from(*byte));
    let least = if size == 2 { 126 } else { 65_536 };
    if value < least || value >= 1 << 63 {
        return Length::Broken;
    }
    Length::Is(value as u64, size)
}

/// What a server sent, as (first byte, payload): every frame whole, unmasked (§5.1), final and
/// minimal in its length. The rest is what is left of a frame that is cut.
pub fn sent(mut bytes: &[u8]) -> (Vec<(u8, Vec<u8>)>, &[u8]) {
    let mut frames = Vec::new();
    while bytes.len() >= 2 {
        assert!(bytes[1] < 128, "§5.1: a server MUST NOT mask");
        let (len, size) = match length(bytes[1], &bytes[2..]) {
            Length::Is(len, size) => (len as usize, size),
            Length::Unknown => break,
            Length::Broken => panic!("§5.2: {:02X?}", &bytes[..10]),
        };
        let Some(payload) = bytes.get(2 + size..2 + size + len) else { break };
        assert!(bytes[0] >= 128, "the server does not fragment");
        frames.push((bytes[0], payload.to_vec()));
        bytes = &bytes[2 + size + len..];
    }
    (frames, bytes)
}
