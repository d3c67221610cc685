//! A response, from values to bytes.

use super::{HttpError, is_token};
use crate::wire::upgrade::Refusal;
use std::error::Error;
use std::fmt;

/// A response with a body that is known as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// It is the last on its connection.
    is_last: bool,
    /// Why the first of the fields that cannot be sent cannot be.
    invalid: Option<InvalidHeader>,
}

impl Response {
    /// A response without a body. A status that answers nothing, below 200 or above 599, becomes
    /// 500: behind one of 1xx, the client takes the next answer for this one (RFC 9110 §15.2).
    pub fn new(status: u16) -> Response {
        let status = if (200..=599).contains(&status) { status } else { 500 };
        Response { status, headers: Vec::new(), body: Vec::new(), is_last: false, invalid: None }
    }

    /// A response with a body of plain text in UTF-8.
    pub fn text(status: u16, text: impl Into<String>) -> Response {
        let mut response = Response::new(status).body(text.into());
        response.push("Content-Type", "text/plain; charset=utf-8");
        response
    }

    /// Adds a header field.
    ///
    /// A field is invalid if the name is not a token, or the value has control characters (the tab
    /// excepted) or whitespace at an end, or if the field is not for the caller to set:
    /// `Content-Length`, `Transfer-Encoding` and `Connection` follow from how the response is sent.
    /// [`check`](Self::check) tells, and a response with such a field is not sent:
    /// [`respond`](crate::Hub::respond) gives the error.
    pub fn header(mut self, name: &str, value: &str) -> Response {
        match check_header(name, value) {
            Ok(()) => self.push(name, value),
            Err(error) => self.invalid = self.invalid.or(Some(error)),
        }
        self
    }

    /// Whether the response can be sent.
    ///
    /// # Errors
    ///
    /// Why the first invalid [`header`](Self::header) is invalid.
    pub fn check(&self) -> Result<(), InvalidHeader> {
        self.invalid.map_or(Ok(()), Err)
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Response {
        self.body = body.into();
        self
    }

    /// Ends the connection with this response, which then says `Connection: close` (RFC 9112 §9.6): for
    /// a server that is about to end, or that is full.
    pub fn close(mut self) -> Response {
        self.is_last = true;
        self
    }

    /// Whether it is the last on its connection.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Bytes of the header fields and the body.
    pub(crate) fn bytes(&self) -> usize {
        let fields = self.headers.iter().map(|(name, value)| name.len() + value.len());
        fields.sum::<usize>() + self.body.len()
    }

    /// Whether its status allows a body (RFC 9110 §6.4.1, §15.3.6).
    pub(crate) fn may_have_body(&self) -> bool {
        !matches!(self.status, 204 | 205 | 304)
    }

    pub(crate) fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body, if it is a sentence.
    pub(crate) fn sentence(&self) -> &str {
        str::from_utf8(&self.body).unwrap_or_default().trim_end()
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether it has a field of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    /// Appends the response to `out`, with this `Date` unless it has one or the time is not known, and with
    /// `more` fields. `head_only` leaves out the body, as the answer to HEAD does; `close` announces that
    /// the connection closes after it.
    pub(crate) fn encode(
        &self,
        out: &mut Vec<u8>,
        date: &str,
        more: &[(&str, &str)],
        head_only: bool,
        close: bool,
    ) {
        // §15.3.6: with 205, a body MUST NOT be sent.
        let body = if self.status == 205 { &[][..] } else { &self.body };
        // RFC 9110 §8.6: a Content-Length MUST NOT be sent with 204; with 304 it would be the length of
        // another response's body.
        let has_body = !matches!(self.status, 204 | 304);
        let framing = has_body.then(|| ("Content-Length: ", body.len().to_string()));
        self.encode_head(out, date, more, framing, close);
        if has_body && !head_only {
            out.extend_from_slice(body);
        }
    }

    /// Appends the head of the response, whose body comes in chunks or ends with the connection.
    pub(crate) fn encode_stream(
        &self,
        out: &mut Vec<u8>,
        date: &str,
        more: &[(&str, &str)],
        is_chunked: bool,
    ) {
        let framing = is_chunked.then(|| ("Transfer-Encoding: ", "chunked".to_owned()));
        self.encode_head(out, date, more, framing, true);
    }

    fn encode_head(
        &self,
        out: &mut Vec<u8>,
        date: &str,
        more: &[(&str, &str)],
        framing: Option<(&str, String)>,
        close: bool,
    ) {
        let mut line = |parts: &[&str]| {
            for part in parts {
                out.extend_from_slice(part.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        };
        line(&["HTTP/1.1 ", &self.status.to_string(), " ", reason(self.status)]);
        if !date.is_empty() && !self.has("date") {
            line(&["Date: ", date]);
        }
        for (name, value) in &self.headers {
            line(&[name, ": ", value]);
        }
        for (name, value) in more {
            line(&[name, ": ", value]);
        }
        if let Some((name, value)) = framing {
            line(&[name, &value]);
        }
        // RFC 9110 §7.8: whoever sends Upgrade (a 426 does) MUST name it in Connection.
        line(&[
            "Connection: ",
            if close { "close" } else { "keep-alive" },
            if self.has("upgrade") { ", Upgrade" } else { "" },
        ]);
        line(&[]);
    }

    /// Adds a field that is known to be valid.
    fn push(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    fn refusal(status: u16, sentence: &str, headers: &[(&str, &str)]) -> Response {
        let mut response = Response::text(status, format!("{sentence}\n"));
        for (name, value) in headers {
            response.push(name, value);
        }
        response
    }
}

/// The answer to a head that is refused; it has to be sent with `close`.
impl From<HttpError> for Response {
    fn from(error: HttpError) -> Response {
        Response::refusal(error.status(), &error.to_string(), error.extra_headers())
    }
}

/// The answer to a handshake that is refused; it has to be sent with `close`.
impl From<Refusal> for Response {
    fn from(error: Refusal) -> Response {
        Response::refusal(error.status(), &error.to_string(), error.extra_headers())
    }
}

/// A header field that cannot be sent; see [`Response::header`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidHeader {
    /// The name is not a token (RFC 9110 §5.1).
    Name,
    /// The value has a control character, or whitespace at an end (RFC 9110 §5.5).
    Value,
    /// The field is set by this crate alone.
    Reserved,
}

impl fmt::Display for InvalidHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidHeader::Name => "the header name is not a token",
            InvalidHeader::Value => {
                "the header value has a control character, or whitespace at an end"
            }
            InvalidHeader::Reserved => "the header is set by the server itself",
        })
    }
}

impl Error for InvalidHeader {}

/// Checks a header field that an application wants to send.
pub(crate) fn check_header(name: &str, value: &str) -> Result<(), InvalidHeader> {
    if !is_token(name.as_bytes()) {
        return Err(InvalidHeader::Name);
    }
    let reserved = ["content-length", "transfer-encoding", "connection"];
    if reserved.iter().any(|it| name.eq_ignore_ascii_case(it)) {
        return Err(InvalidHeader::Reserved);
    }
    // RFC 9110 §5.5: a CR, LF or NUL in a value would start another field, or another response.
    let control = value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t');
    if control || value.trim_matches([' ', '\t']).len() != value.len() {
        return Err(InvalidHeader::Value);
    }
    Ok(())
}

/// The reason phrase of a status (RFC 9110 §15, RFC 6585); empty where none is registered.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        511 => "Network Authentication Required",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(response: &Response, head_only: bool, close: bool) -> String {
        let mut out = b"before ".to_vec();
        response.encode(&mut out, "", &[], head_only, close);
        String::from_utf8(out).unwrap().strip_prefix("before ").unwrap().to_owned()
    }

    #[test]
    fn bytes_on_the_wire() {
        let response = Response::text(200, "hi\n").header("X-Note", "a, b");
        assert_eq!(
            encode(&response, false, false),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nX-Note: a, b\r\n\
             Content-Length: 3\r\nConnection: keep-alive\r\n\r\nhi\n"
        );
        assert_eq!(
            encode(&Response::new(404), false, true),
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn the_date_is_the_applications_if_it_sets_one() {
        for (response, date) in [
            (Response::new(204), "Date: now\r\n"),
            (Response::new(204).header("date", "then"), "date: then\r\n"),
        ] {
            let mut out = Vec::new();
            response.encode(&mut out, "now", &[], false, false);
            let expected =
                format!("HTTP/1.1 204 No Content\r\n{date}Connection: keep-alive\r\n\r\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    /// RFC 9110 §9.3.2: the same fields as for GET, and no body.
    #[test]
    fn head_gets_the_length_and_no_body() {
        let response = Response::text(200, "hello");
        let (head, get) = (encode(&response, true, false), encode(&response, false, false));
        assert_eq!(format!("{head}hello"), get);
        assert!(head.contains("Content-Length: 5\r\n"));
    }

    #[test]
    fn statuses_without_a_body_have_no_length_either() {
        for status in 200..=599 {
            let encoded = encode(&Response::new(status).body("body"), false, false);
            let bodiless = [204, 205, 304].contains(&status);
            let length = (!bodiless).then_some("Content-Length: 4\r\n");
            let length = if status == 205 { Some("Content-Length: 0\r\n") } else { length };
            assert_eq!(encoded.contains("Content-Length"), length.is_some(), "{status}");
            assert!(encoded.contains(length.unwrap_or_default()), "{status}");
            assert_eq!(encoded.ends_with("\r\n\r\nbody"), !bodiless, "{status}");
            assert!(encoded.starts_with(&format!("HTTP/1.1 {status} ")));
        }
        for status in [0, 99, 100, 101, 199, 600, 1000, u16::MAX] {
            assert_eq!(Response::new(status).status(), 500);
        }
    }

    #[test]
    fn every_byte_in_a_name_and_a_value() {
        let check = |name: &str, value: &str| Response::new(200).header(name, value).check().err();
        for byte in 0..128_u8 {
            let character = char::from(byte);
            let token = character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character);
            let invalid = check(&format!("A{character}"), "b");
            assert_eq!(invalid, (!token).then_some(InvalidHeader::Name), "{byte:#04X}");
            let printable = (32..127).contains(&byte);
            let invalid = check("A", &format!("b{character}b"));
            let valid = printable || byte == b'\t';
            assert_eq!(invalid, (!valid).then_some(InvalidHeader::Value), "{byte:#04X}");
            for value in [format!("{character}b"), format!("b{character}")] {
                let valid = printable && byte != b' ';
                let invalid = check("A", &value);
                assert_eq!(invalid, (!valid).then_some(InvalidHeader::Value), "{byte:#04X}");
            }
        }
        assert_eq!(check("", "b"), Some(InvalidHeader::Name));
        assert_eq!(check("A\u{e9}", "b"), Some(InvalidHeader::Name));
        assert_eq!((check("A", ""), check("A", "\u{e9}")), (None, None));
        for name in ["Content-Length", "TRANSFER-ENCODING", "connection"] {
            assert_eq!(check(name, "5"), Some(InvalidHeader::Reserved));
        }
    }

    /// The fields behind an invalid one do not make the response a valid one again.
    #[test]
    fn the_first_invalid_field_is_told_of() {
        let response = Response::new(200).header("A", "\n").header("", "b").header("B", "b");
        assert_eq!(response.check(), Err(InvalidHeader::Value));
    }

    /// Each refusal closes, says what was wrong, and has the fields that its status asks for.
    #[test]
    fn refusals_become_responses() {
        let upgrade = encode(&Refusal::VersionUnsupported.into(), false, true);
        assert!(upgrade.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
        assert!(upgrade.contains("\r\nUpgrade: websocket\r\n"));
        assert!(upgrade.contains("\r\nSec-WebSocket-Version: 13\r\n"));
        assert!(upgrade.contains("\r\nConnection: close, Upgrade\r\n"));
        assert!(upgrade.ends_with("\r\n\r\nSec-WebSocket-Version must be 13.\n"));
        let trace = encode(&HttpError::MethodUnsupported.into(), false, true);
        assert!(trace.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
        assert!(trace.contains("\r\nAllow: GET, HEAD, POST, OPTIONS\r\n"));
        assert!(trace.contains("\r\nConnection: close\r\n"));
        let text = "\r\n\r\nThe methods CONNECT and TRACE are not supported.\n";
        assert!(trace.ends_with(text));
    }

    /// RFC 9110 §15 and RFC 6585: 305 is not to be used, 306, 418 and the rest have no meaning.
    #[test]
    fn every_status_with_a_meaning_has_a_phrase_of_its_own() {
        let named = (200..=206)
            .chain(300..=304)
            .chain(307..=308)
            .chain(400..=417)
            .chain([421, 422, 426, 428, 429, 431])
            .chain(500..=505)
            .chain([511]);
        let mut phrases: Vec<_> = named.clone().map(reason).collect();
        assert!(!phrases.contains(&""));
        phrases.sort_unstable();
        assert!(phrases.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!((0..=999).filter(|status| !reason(*status).is_empty()).count(), named.count());
    }
}
