//! A body in chunks (RFC 9112 §7.1), line by line.

use super::handshake::{BODY_BYTES_MAX, is_token};

/// What chunk sizes, extensions, trailers and line ends may have beyond what is free, in bytes.
const FRAMING_BYTES_MAX: usize = 16 * 1024;
const FREE_BYTES: usize = 16;

/// Why there is no end: more is to come, or it gets this status.
type NoEnd = Option<u16>;

/// Where the body ends that begins with `bytes`.
pub fn end_of(bytes: &[u8]) -> Result<usize, NoEnd> {
    let (mut at, mut framing, mut body) = (0, 0_usize, 0_u128);
    loop {
        let (size, next) = line(bytes, at, &mut framing, size)?;
        at = next;
        if size == 0 {
            break;
        }
        framing = framing.saturating_sub(FREE_BYTES + 2 * size.min(1 << 40) as usize);
        body += size;
        if body > BODY_BYTES_MAX {
            return Err(Some(413));
        }
        let end = at + size as usize;
        if end >= bytes.len() {
            return Err(None);
        }
        (_, at) = line(bytes, end, &mut framing, |text, _| text.is_empty().then_some(()))?;
    }
    loop {
        let (is_last, next) = line(bytes, at, &mut framing, trailer)?;
        at = next;
        if is_last {
            return Ok(at);
        }
    }
}

/// Reads a line from `at`, whose text has a meaning, whole or as far as it has come, or is refused.
fn line<T>(
    bytes: &[u8],
    at: usize,
    framing: &mut usize,
    meaning: impl Fn(&[u8], bool) -> Option<T>,
) -> Result<(T, usize), NoEnd> {
    let rest = &bytes[at..];
    let len = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
    let end = &rest[len..rest.len().min(len + 2)];
    // A byte that is refused is refused before a later one is counted.
    let fine = (0..=len).take_while(|upto| meaning(&rest[..*upto], false).is_some()).count() > len;
    let whole = meaning(&rest[..len], true);
    let counted = len + end.len();
    let left = (FRAMING_BYTES_MAX + FREE_BYTES).saturating_sub(*framing);
    *framing += counted;
    match end {
        _ if !fine && left > len => Err(Some(400)),
        _ if counted > left => Err(Some(400)),
        [] => Err(None),
        [b'\r'] if whole.is_some() => Err(None),
        b"\r\n" => whole.map(|meaning| (meaning, at + counted)).ok_or(Some(400)),
        _ => Err(Some(400)),
    }
}

/// The size of a chunk: 1*16HEXDIG, and an extension behind a semicolon.
fn size(text: &[u8], is_whole: bool) -> Option<u128> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let rest = &text[digits..];
    let name = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    let fine = match name.map(|at| &rest[at..]) {
        None => rest.is_empty() || !is_whole,
        Some([b';', extension @ ..]) => extension.iter().all(is_text),
        Some(_) => false,
    };
    let any = digits > 0 || (text.is_empty() && !is_whole);
    let number = String::from_utf8_lossy(&text[..digits]);
    (fine && any && digits <= 16).then(|| u128::from_str_radix(&number, 16).unwrap_or_default())
}

/// Whether the line is the empty one, behind all trailers.
fn trailer(text: &[u8], is_whole: bool) -> Option<bool> {
    let name = text.iter().position(|byte| *byte == b':');
    let fine = match name {
        Some(at) => is_token(&text[..at]) && text[at..].iter().all(is_text),
        None => text.is_empty() || (!is_whole && is_token(text)),
    };
    fine.then_some(text.is_empty())
}

fn is_text(byte: &u8) -> bool {
    *byte >= 128 || *byte == b'\t' || (32..127).contains(byte)
}
