//! Finding the end of a request head, and parsing it, once and strictly.

use super::super::authority::Authority;
use super::{Field, HttpError, Request};
use std::ops::Range;

/// Looks for the end of a request head in a buffer that grows; each byte is looked at once,
/// however the bytes arrive.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    /// How many bytes have been looked at.
    scanned: usize,
    last: Last,
}

/// A whole head as [`HeadScanner`] found it: each CR and each LF in it is half of a CRLF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a>(&'a [u8]);

/// What the byte before the next one means for the end of the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    /// Nothing yet, or CRLFs before the request line.
    #[default]
    Before,
    /// The CR of such a CRLF.
    BeforeCr,
    /// A byte inside a line.
    Text,
    /// The CR at the end of a line.
    TextCr,
    /// The end of a line.
    Line,
    /// The CR of the blank line.
    LineCr,
}

impl HeadScanner {
    /// Goes on where the last call stopped. `buffered` holds everything since the request began,
    /// so it only ever grows from call to call. Returns the head once it is whole: empty lines
    /// before the request line and the blank line after the fields included.
    ///
    /// # Errors
    ///
    /// [`HttpError::Malformed`] at the first CR or LF that is not half of a CRLF;
    /// [`HttpError::HeadTooLarge`] once `head_bytes_max` bytes are there without an end.
    pub fn scan<'a>(
        &mut self,
        buffered: &'a [u8],
        head_bytes_max: usize,
    ) -> Result<Option<Head<'a>>, HttpError> {
        let end = buffered.len().min(head_bytes_max);
        let mut rest = buffered.get(self.scanned..end).unwrap_or_default();
        loop {
            if self.last == Last::Text {
                // Most of a head is text, of which only the end matters.
                let text = text_len(rest);
                (self.scanned, rest) = (self.scanned + text, &rest[text..]);
            }
            let Some((byte, behind)) = rest.split_first() else { break };
            rest = behind;
            self.last = match (self.last, *byte) {
                // RFC 9112 §2.2: empty lines before the request line are ignored.
                (Last::Before, b'\r') => Last::BeforeCr,
                (Last::BeforeCr, b'\n') => Last::Before,
                (Last::Text, b'\r') => Last::TextCr,
                (Last::TextCr, b'\n') => Last::Line,
                (Last::Line, b'\r') => Last::LineCr,
                (Last::LineCr, b'\n') => return Ok(Some(Head(&buffered[..=self.scanned]))),
                // RFC 9112 §2.2: a bare CR is invalid; a bare LF may be taken for a line's end,
                // and is not, because two readers who differ on that can be played against
                // each other.
                (Last::BeforeCr | Last::TextCr | Last::LineCr, _) | (_, b'\n') => {
                    return Err(HttpError::Malformed);
                }
                (Last::Before | Last::Text | Last::Line, _) => Last::Text,
            };
            self.scanned += 1;
        }
        if self.scanned >= head_bytes_max { Err(HttpError::HeadTooLarge) } else { Ok(None) }
    }
}

/// How many bytes come before the first CR or LF.
fn text_len(bytes: &[u8]) -> usize {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    // A processor looks at sixteen bytes at once, if no answer is wanted before the last of them.
    let is_text = |piece: &&[u8; 16]| !piece.iter().fold(false, |any, byte| any | is_end(byte));
    let (pieces, _) = bytes.as_chunks::<16>();
    let text = 16 * pieces.iter().take_while(is_text).count();
    text + bytes[text..].iter().position(is_end).unwrap_or(bytes.len() - text)
}

impl Head<'_> {
    /// Its length in bytes.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Parses it. `headers_max` bounds its field lines, and `body_bytes_max` the body that it
    /// declares.
    ///
    /// # Errors
    ///
    /// Every [`HttpError`]; each says which rule, and its status. A head that breaks several gets
    /// the error of one of them.
    pub fn parse(self, headers_max: usize, body_bytes_max: usize) -> Result<Request, HttpError> {
        parse_lines(self.0, headers_max, body_bytes_max)
    }
}

fn parse_lines(
    head: &[u8],
    headers_max: usize,
    body_bytes_max: usize,
) -> Result<Request, HttpError> {
    // A field line has four bytes at least, so the head's length bounds the allocation too.
    let mut lines = vec![httparse::EMPTY_HEADER; headers_max.min(head.len() / 4)];
    let mut parsed = httparse::Request::new(&mut lines);
    // httparse takes a bare LF for the end of a line: there is none here.
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Ok(_) => return Err(HttpError::Malformed),
        Err(httparse::Error::TooManyHeaders) => return Err(HttpError::TooManyHeaders),
        Err(httparse::Error::Version) => return Err(refuse_version(head)),
        Err(_) => return Err(HttpError::Malformed),
    }
    let (Some(method), Some(target), Some(version_minor)) =
        (parsed.method, parsed.path, parsed.version)
    else {
        return Err(HttpError::Malformed);
    };
    let parts = Target::parse(method, target)?;
    let base = span(head, target.as_bytes()).start;
    let shift = |range: Range<usize>| base + range.start..base + range.end;
    let mut request = Request {
        method: span(head, method.as_bytes()),
        target: span(head, target.as_bytes()),
        path: shift(parts.path),
        query: parts.query.map(shift),
        host: 0..0,
        fields: parsed
            .headers
            .iter()
            .map(|line| Field {
                name: span(head, line.name.as_bytes()),
                value: span(head, line.value),
            })
            .collect(),
        version_minor,
        content_length: Some(0),
        expects_continue: false,
        body: Vec::new(),
        peer: None,
        client: None,
        head: head.to_vec(),
    };
    request.host = host(&request, parts.authority.map(shift))?;
    request.content_length = content_length(&request, body_bytes_max)?;
    request.expects_continue = expects_continue(&request)?;
    Ok(request)
}

/// Whether the peer waits for 100 before it sends the body. RFC 9110 §10.1.1: 417 for an expectation that
/// is not met; the client may repeat its request without. In HTTP/1.0 there are none, and the field MUST
/// be ignored.
fn expects_continue(request: &Request) -> Result<bool, HttpError> {
    let mut values = request.header_all("expect");
    match (request.version_minor, values.next(), values.next()) {
        (0, ..) | (_, None, _) => Ok(false),
        (_, Some(value), None) if value.eq_ignore_ascii_case(b"100-continue") => {
            Ok(request.content_length != Some(0))
        }
        _ => Err(HttpError::ExpectUnsupported),
    }
}

/// Where `part`, which is a slice of `head`, lies in it.
fn span(head: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
    start..start + part.len()
}

/// The error for a request line whose version httparse does not know.
fn refuse_version(head: &[u8]) -> HttpError {
    let Some(line) = head.trim_ascii_start().split(|byte| *byte == b'\r').next() else {
        return HttpError::Malformed;
    };
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return HttpError::Malformed;
    };
    // RFC 9112 §2.3: HTTP-version is case-sensitive and has two single digits.
    if !matches!(version, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']) {
        return HttpError::Malformed;
    }
    match (str::from_utf8(method), str::from_utf8(target)) {
        (Ok(method), Ok(target)) => {
            Target::parse(method, target).err().unwrap_or(HttpError::VersionUnsupported)
        }
        _ => HttpError::Malformed,
    }
}

/// The parts of a request target, as ranges into it (RFC 9112 §3.2).
struct Target {
    authority: Option<Range<usize>>,
    path: Range<usize>,
    query: Option<Range<usize>>,
}

impl Target {
    fn parse(method: &str, target: &str) -> Result<Target, HttpError> {
        // CONNECT makes a tunnel and TRACE echoes secrets; neither is for this server.
        if matches!(method, "CONNECT" | "TRACE") {
            return Err(HttpError::MethodUnsupported);
        }
        // RFC 3986 is stricter, but browsers send these bare: [ ] { } | \ ^ `. A fragment is
        // never sent (RFC 9110 §7.1).
        if !target.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"<>".contains(&byte)) {
            return Err(HttpError::TargetInvalid);
        }
        if target == "*" && method == "OPTIONS" {
            return Ok(Target { authority: None, path: 0..1, query: None });
        }
        let (authority, path_at) = if target.starts_with('/') {
            (None, 0)
        } else {
            let (scheme, rest) = target.split_once("://").ok_or(HttpError::TargetInvalid)?;
            if !["http", "https", "ws", "wss"].iter().any(|it| scheme.eq_ignore_ascii_case(it)) {
                return Err(HttpError::TargetInvalid);
            }
            let start = scheme.len() + 3;
            let end = start + rest.find(['/', '?']).unwrap_or(rest.len());
            if Authority::parse(&target[start..end]).is_none() {
                return Err(HttpError::TargetInvalid);
            }
            (Some(start..end), end)
        };
        let query_at = target[path_at..].find('?').map(|at| path_at + at);
        Ok(Target {
            authority,
            path: path_at..query_at.unwrap_or(target.len()),
            query: query_at.map(|at| at + 1..target.len()),
        })
    }
}

/// Where the host of the request is in its head.
fn host(request: &Request, authority: Option<Range<usize>>) -> Result<Range<usize>, HttpError> {
    let mut hosts = request
        .fields
        .iter()
        .filter(|field| request.bytes(&field.name).eq_ignore_ascii_case(b"host"))
        .map(|field| field.value.clone());
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host,
        // RFC 9112 §3.2: a request of HTTP/1.1 MUST have a Host; HTTP/1.0 did not know it.
        (None, None) if request.version_minor == 0 => return Ok(authority.unwrap_or(0..0)),
        _ => return Err(HttpError::HostInvalid),
    };
    if Authority::parse_host(request.text(&host)).is_none() {
        return Err(HttpError::HostInvalid);
    }
    // RFC 9112 §3.2.2: the authority of an absolute-form replaces the Host.
    Ok(authority.unwrap_or(host))
}

/// How long the body is: `None` where it comes in chunks.
fn content_length(request: &Request, body_bytes_max: usize) -> Result<Option<usize>, HttpError> {
    if is_chunked(request)? {
        return Ok(None);
    }
    let mut values = request.header_all("content-length");
    let digits = match (values.next(), values.next()) {
        (None, _) => return Ok(Some(0)),
        (Some(digits), None) => digits,
        (Some(_), Some(_)) => return Err(HttpError::ContentLengthInvalid),
    };
    // RFC 9112 §6.3: no sign, no list, not even a list of equal numbers.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HttpError::ContentLengthInvalid);
    }
    let length = digits.iter().fold(0_usize, |length, digit| {
        length.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
    });
    // The sum saturates, and a body of usize::MAX bytes cannot be.
    if length > body_bytes_max || length == usize::MAX {
        return Err(HttpError::BodyTooLarge);
    }
    Ok(Some(length))
}

/// Whether the body comes in chunks. RFC 9112 §6.1: a request with a coding that is not understood gets a
/// 501, and one that has a Content-Length too is how requests are smuggled. Two lines, lists and empty
/// members are understood by some and not by others, so they are not understood here.
fn is_chunked(request: &Request) -> Result<bool, HttpError> {
    let mut codings = request.header_all("transfer-encoding");
    let Some(coding) = codings.next() else { return Ok(false) };
    if request.version_minor == 0 || request.header("content-length").is_some() {
        return Err(HttpError::TransferEncodingAmbiguous);
    }
    if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
        return Err(HttpError::TransferEncodingUnsupported);
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
