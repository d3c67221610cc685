use super::*;
use crate::wire::{ProtocolError, parse_extensions};

fn answer(offer: &str, client_bits: u8) -> Option<String> {
    let offers = parse_extensions([offer.as_bytes()].into_iter()).expect(offer);
    negotiate(&offers, client_bits).map(|agreement| agreement.to_string())
}

/// RFC 7692 §7.1.3 and what it follows from; the rest of each answer is the name. Nothing is asked of a
/// client that it did not offer.
#[test]
fn offers_and_their_answers() {
    const OURS: &str = "; server_no_context_takeover";
    const THEIRS: &str = "; client_no_context_takeover";
    for (offer, expected) in [
        ("", Some("")),
        ("; client_max_window_bits", Some("; client_max_window_bits=12")),
        ("; client_max_window_bits=15", Some("; client_max_window_bits=12")),
        ("; client_max_window_bits=9", Some("; client_max_window_bits=9")),
        ("; client_max_window_bits=8", Some("")),
        ("; client_no_context_takeover; client_max_window_bits", Some(THEIRS)),
        ("; server_max_window_bits=10", Some("; server_max_window_bits=10")),
        ("; server_max_window_bits=15", Some("; server_max_window_bits=15")),
        (OURS, Some(OURS)),
        (THEIRS, Some(THEIRS)),
        ("; server_max_window_bits=8", None),
        ("; server_max_window_bits", None),
        ("; server_max_window_bits=7", None),
        ("; server_max_window_bits=16", None),
        ("; server_max_window_bits=09", None),
        ("; server_max_window_bits=+9", None),
        ("; client_max_window_bits=16", None),
        ("; client_max_window_bits=010", None),
        ("; server_no_context_takeover=1", None),
        ("; client_max_window_bits; client_max_window_bits", None),
        ("; server_no_context_takeover; server_no_context_takeover", None),
        ("; server_max_window_bits=9; server_max_window_bits=9", None),
        ("; unknown", None),
    ] {
        let offer = format!("{NAME}{offer}");
        assert_eq!(answer(&offer, 12), expected.map(|rest| format!("{NAME}{rest}")), "{offer}");
    }
    let offer = format!("{NAME}; client_max_window_bits");
    assert_eq!(answer(&offer, 15).as_deref(), Some(NAME), "every client has that window");
    assert_eq!(answer(&offer, 9), Some(format!("{NAME}; client_max_window_bits=9")));
}

#[test]
fn the_first_offer_that_can_be_accepted_wins() {
    let list = format!("x, {NAME}; what, {NAME}; server_max_window_bits=9, {NAME}");
    assert_eq!(answer(&list, 12), Some(format!("{NAME}; server_max_window_bits=9")));
    assert_eq!(answer("x, y", 12), None);
}

fn inflate(message: &[u8], history: &[u8], bytes_max: usize) -> Result<Vec<u8>, ProtocolError> {
    let mut out = Vec::new();
    Inflater::default().inflate(&mut message.to_vec(), history, bytes_max, 8, &mut out)?;
    Ok(out)
}

/// §7.2.3.1 to §7.2.3.6: the examples, byte for byte.
#[test]
fn the_examples_of_the_rfc() {
    let hello = &b"Hello"[..];
    let mut out = Vec::new();
    assert!(!Deflater::default().compress(hello, b"", 15, &mut out), "not shorter: 7 bytes");
    let one_block = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    let with_context = [0xF2, 0x00, 0x11, 0x00, 0x00];
    let no_compression = [0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00];
    let bfinal = [0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00];
    let two_blocks = [0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00];
    assert_eq!(inflate(&one_block, b"", 5).as_deref(), Ok(hello));
    assert_eq!(inflate(&with_context, hello, 5).as_deref(), Ok(hello));
    assert_eq!(inflate(&no_compression, b"", 5).as_deref(), Ok(hello));
    assert_eq!(inflate(&bfinal, b"", 5).as_deref(), Ok(hello));
    assert_eq!(inflate(&two_blocks, b"", 5).as_deref(), Ok(hello));
    assert_eq!(inflate(&[0x00], b"", 5).as_deref(), Ok(&b""[..]));
}

#[test]
fn what_went_before_makes_a_message_shorter() {
    let said = &b"The score is one to nil."[..];
    let (mut alone, mut after) = (Vec::new(), vec![b'<']);
    assert!(!Deflater::default().compress(said, b"", 15, &mut alone) || alone.len() > 20);
    assert!(Deflater::default().compress(said, said, 15, &mut after));
    assert!(after.len() < 10, "{after:x?}");
    assert_eq!(inflate(&after[1..], said, said.len()).as_deref(), Ok(said));
}

#[test]
fn what_no_compressor_gives_is_refused() {
    let whole = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    for len in 0..whole.len() {
        assert_eq!(inflate(&whole[..len], b"", 100), Err(ProtocolError::InvalidDeflate), "{len}");
    }
    // A stored block that is longer than the message; a back-reference before its beginning; the
    // reserved kind of block; a stream that ends, and no block after it.
    let long = [0x00, 0x06, 0x00, 0xF9, 0xFF, 0x48];
    let before = [0xF2, 0x00, 0x11, 0x00, 0x00];
    let ended = [0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    for bytes in [&long[..], &before, &[0x06], &[0xFF; 9], &ended] {
        assert_eq!(inflate(bytes, b"", 100), Err(ProtocolError::InvalidDeflate), "{bytes:x?}");
    }
}

#[test]
fn the_limit_is_on_the_inflated_bytes_and_exact() {
    let mut deflater = Deflater::default();
    for len in [16, 1000, STEPS, 65_536] {
        let payload = vec![b'a'; len];
        let mut message = Vec::new();
        assert!(deflater.compress(&payload, b"", 15, &mut message));
        for limit in len..len + 3 {
            assert_eq!(inflate(&message, b"", limit).map(|it| it.len()), Ok(len));
        }
        for limit in [0, 1, len - 2, len - 1] {
            assert_eq!(inflate(&message, b"", limit), Err(ProtocolError::MessageTooBig));
        }
    }
}

/// Around the steps in which memory grows.
const STEPS: usize = 16 * 1024;

#[test]
fn a_message_may_have_only_so_many_streams() {
    // Final fixed blocks with nothing in them.
    for (blocks, allowed) in [(8, true), (9, false)] {
        let mut message = [0x03, 0x00].repeat(blocks);
        message.push(0x00);
        let expected = if allowed { Ok(Vec::new()) } else { Err(ProtocolError::TooManyFrames) };
        assert_eq!(inflate(&message, b"", 10), expected);
    }
}

/// §7.1.2.1: one compressor serves all connections, each with the window that it agreed on.
#[test]
fn each_window_has_a_compressor_of_its_own() {
    let mut dice = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (dice >> 24) as u8
    })
    .take(6000)
    .collect();
    // It is compressed by who may refer back for 6,000 bytes, and by nobody else.
    let message = [&noise[..], &noise].concat();
    let mut deflater = Deflater::default();
    for window_bits in [15, 9, 14, 10, 13, 12, 11, 15, 9] {
        let before = [b'b'; 20_000];
        let mut out = before.to_vec();
        let compressed = deflater.compress(&message, &[], window_bits, &mut out);
        assert_eq!(compressed, window_bits >= 13, "{window_bits}");
        let deflated = out.strip_prefix(&before).unwrap();
        if compressed {
            assert_eq!(inflate(deflated, &[], message.len()).as_deref(), Ok(&message[..]));
        } else {
            assert!(deflated.is_empty());
        }
    }
}

/// Wherever a message ends, that is found out.
#[test]
fn every_message_of_two_bytes_inflates_or_fails() {
    let inflates = (0..=u16::MAX).filter(|two| inflate(&two.to_be_bytes(), &[], 1000).is_ok());
    assert_ne!(inflates.count(), 0);
}
