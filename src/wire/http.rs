//! Requests and responses of HTTP/1.1 (RFC 9110, RFC 9112), as far as a WebSocket server on the same
//! port needs them: bodies by `Content-Length` or in chunks, no other transfer coding.

mod chunks;
mod content;
mod date;
mod head;
mod query;
mod response;

pub use chunks::ChunkDecoder;
pub use content::{BodyKind, ContentError};
pub use date::write_date;
pub use head::HeadScanner;
pub use query::percent_decode;
pub(crate) use response::check_header;
pub use response::{InvalidHeader, Response};

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::str;

/// A request: its head as the peer sent it, and its body once that has arrived.
///
/// Whatever it holds has been checked against RFC 9112. No method panics.
#[derive(Clone)]
pub struct Request {
    head: Vec<u8>,
    method: Range<usize>,
    target: Range<usize>,
    path: Range<usize>,
    query: Option<Range<usize>>,
    host: Range<usize>,
    fields: Vec<Field>,
    version_minor: u8,
    /// `None` for a body in chunks.
    content_length: Option<usize>,
    expects_continue: bool,
    body: Vec<u8>,
    peer: Option<SocketAddr>,
    client: Option<IpAddr>,
}

/// Where a field line's name and value are in the head.
#[derive(Clone)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

impl Request {
    /// The method, as sent; methods are case-sensitive (RFC 9110 §9.1).
    pub fn method(&self) -> &str {
        self.text(&self.method)
    }

    /// The request target, as sent (RFC 9112 §3.2): printable ASCII without a fragment.
    pub fn target(&self) -> &str {
        self.text(&self.target)
    }

    /// The target's path, percent-encoded as sent: it starts with `/`, or is `*` (OPTIONS only).
    pub fn path(&self) -> &str {
        match self.text(&self.path) {
            // RFC 9112 §3.2.1: an absolute-form without a path means the root.
            "" => "/",
            path => path,
        }
    }

    /// What follows the first `?` of the target, as sent; `None` if there is no `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.as_ref().map(|range| self.text(range))
    }

    /// All field lines in the order in which they came. Values have no whitespace around them and
    /// no control characters but the tab in them; they need not be UTF-8.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| (self.text(&field.name), self.bytes(&field.value)))
    }

    /// The value of the first field line with this name, in any case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.header_all(name).next()
    }

    /// The values of all field lines with this name, in any case, in order.
    pub fn header_all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        // As bytes: text would be looked through for UTF-8 at every question.
        self.fields
            .iter()
            .filter(move |field| self.bytes(&field.name).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| self.bytes(&field.value))
    }

    /// Whether the comma-separated lists in the field lines with this name have `token` as a
    /// member, in any case (RFC 9110 §5.6.1).
    pub fn list_contains(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The members of the comma-separated lists in the field lines with this name.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.header_all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(trim_ows)
            // RFC 9110 §5.6.1.2: a recipient MUST parse and ignore empty members.
            .filter(|member| !member.is_empty())
    }

    /// The host and optional port that the request is for: the authority of an absolute-form
    /// target, else the `Host` field (RFC 9112 §3.2.2); empty for HTTP/1.0 without either. In the field,
    /// an IPv6 address may be without its brackets, as many clients send it.
    pub fn host(&self) -> &str {
        self.text(&self.host)
    }

    /// Whether it asks for a WebSocket. A request that does so in a broken way (RFC 6455 §4.2.1)
    /// never reaches the application.
    pub fn is_websocket(&self) -> bool {
        self.header("sec-websocket-key").is_some()
    }

    /// The subprotocols that a WebSocket client offers, the one that it prefers first (RFC 6455
    /// §4.1(10)). Upper and lower case differ.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        super::upgrade::subprotocols(self)
    }

    /// Bytes of the head, as it came.
    pub(crate) fn head_len(&self) -> usize {
        self.head.len()
    }

    /// The body: empty until it has arrived.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The address of the other end of the connection, where it has one: of a proxy, if there is one.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The address of the client that made the request: what a proxy says that [`Config::proxies`] lists, and else
    /// that of the [`peer`](Self::peer).
    ///
    /// [`Config::proxies`]: crate::Config::proxies
    pub fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// The minor version: 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub fn version_minor(&self) -> u8 {
        self.version_minor
    }

    /// Whether the peer waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// The length of the body in bytes, as declared; 0 if there is no body, and `None` if it comes in chunks
    /// (RFC 9112 §7.1): how long it is shows when it has arrived.
    pub fn content_length(&self) -> Option<usize> {
        self.content_length
    }

    /// Whether the peer lets the connection stay open after the response: HTTP/1.1 without
    /// `Connection: close` (RFC 9112 §9.3). HTTP/1.0 never does.
    pub fn keep_alive(&self) -> bool {
        self.version_minor == 1 && !self.list_contains("connection", "close")
    }

    /// The request with its body, once that has arrived.
    pub(crate) fn with_body(self, body: Vec<u8>) -> Request {
        Request { body, ..self }
    }

    /// Attaches the address of the other end, and that of the client.
    pub(crate) fn set_addresses(&mut self, peer: Option<SocketAddr>, client: Option<IpAddr>) {
        (self.peer, self.client) = (peer, client);
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.head.get(range.clone()).unwrap_or_default()
    }

    fn text(&self, range: &Range<usize>) -> &str {
        str::from_utf8(self.bytes(range)).unwrap_or_default()
    }
}

/// Shows method and path only: the query and field values may be secrets. Both are printable ASCII,
/// and what is long is cut: it may end up in a log.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |text| match str::get(text, ..SHOWN_BYTES_MAX) {
            Some(start) if start.len() < text.len() => (start, "…"),
            Some(_) | None => (text, ""),
        };
        let ((method, more), (path, rest)) = (cut(self.method()), cut(self.path()));
        write!(f, "Request({method}{more} {path}{rest})")
    }
}

/// Bytes of a method or a path that are shown.
const SHOWN_BYTES_MAX: usize = 256;

/// Why a request head is refused. The answer to it closes the connection: where the next request
/// would start is not known (RFC 9112 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpError {
    /// 400: the request line or a field line breaks the grammar (RFC 9112 §2.2, §3, §5).
    Malformed,
    /// 400: the request target is none of the forms that its method allows (RFC 9112 §3.2).
    TargetInvalid,
    /// 400: there is no `Host`, or more than one, or it is no `host[:port]` (RFC 9112 §3.2).
    HostInvalid,
    /// 400: `Content-Length` is not one number on one line (RFC 9112 §6.3).
    ContentLengthInvalid,
    /// 400: there is a `Transfer-Encoding` beside a `Content-Length`, or in HTTP/1.0 (RFC 9112 §6.1).
    TransferEncodingAmbiguous,
    /// 400: a chunk or a trailer breaks the grammar (RFC 9112 §7.1).
    ChunkMalformed,
    /// 400: chunk sizes, extensions and trailers come to more than `chunk_framing_bytes_max`, which is 16
    /// KiB beyond 16 bytes for each chunk and twice its data.
    ChunkFramingTooLarge,
    /// 400: the connection has to begin with a header of the PROXY protocol, and does not.
    ProxyHeaderInvalid,
    /// 403: the connection has to come from a proxy of [`Config::proxies`](crate::Config::proxies).
    ProxyUnknown,
    /// 405: CONNECT or TRACE.
    MethodUnsupported,
    /// 413: the body is longer than `body_bytes_max`.
    BodyTooLarge,
    /// 417: a request of HTTP/1.1 expects something else than `100-continue` (RFC 9110 §10.1.1).
    ExpectUnsupported,
    /// 431: the head is longer than `head_bytes_max`.
    HeadTooLarge,
    /// 431: there are more than `headers_max` field lines.
    TooManyHeaders,
    /// 501: the `Transfer-Encoding` is something else than `chunked` (RFC 9112 §6.1).
    TransferEncodingUnsupported,
    /// 505: a version other than HTTP/1.0 and HTTP/1.1.
    VersionUnsupported,
}

impl HttpError {
    /// The status code of the answer.
    pub const fn status(self) -> u16 {
        match self {
            HttpError::Malformed
            | HttpError::TargetInvalid
            | HttpError::HostInvalid
            | HttpError::ContentLengthInvalid
            | HttpError::TransferEncodingAmbiguous
            | HttpError::ChunkMalformed
            | HttpError::ChunkFramingTooLarge
            | HttpError::ProxyHeaderInvalid => 400,
            HttpError::ProxyUnknown => 403,
            HttpError::MethodUnsupported => 405,
            HttpError::BodyTooLarge => 413,
            HttpError::ExpectUnsupported => 417,
            HttpError::HeadTooLarge | HttpError::TooManyHeaders => 431,
            HttpError::TransferEncodingUnsupported => 501,
            HttpError::VersionUnsupported => 505,
        }
    }

    /// Header fields that the answer has to have, as names and values.
    pub const fn extra_headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // RFC 9110 §15.5.6: a 405 MUST say which methods are allowed.
            HttpError::MethodUnsupported => &[("Allow", "GET, HEAD, POST, OPTIONS")],
            HttpError::Malformed
            | HttpError::TargetInvalid
            | HttpError::HostInvalid
            | HttpError::ContentLengthInvalid
            | HttpError::TransferEncodingAmbiguous
            | HttpError::ChunkMalformed
            | HttpError::ChunkFramingTooLarge
            | HttpError::ProxyHeaderInvalid
            | HttpError::ProxyUnknown
            | HttpError::BodyTooLarge
            | HttpError::ExpectUnsupported
            | HttpError::HeadTooLarge
            | HttpError::TooManyHeaders
            | HttpError::TransferEncodingUnsupported
            | HttpError::VersionUnsupported => &[],
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HttpError::Malformed => "The request head is not well-formed HTTP/1.1.",
            HttpError::TargetInvalid => "The request target is not valid.",
            HttpError::HostInvalid => "Exactly one valid Host header is required.",
            HttpError::ContentLengthInvalid => "Content-Length must be one decimal number.",
            HttpError::TransferEncodingAmbiguous => {
                "Transfer-Encoding goes with HTTP/1.1 only, and without Content-Length."
            }
            HttpError::ChunkMalformed => "The chunked body is not well-formed.",
            HttpError::ChunkFramingTooLarge => {
                "The chunks have more sizes, extensions and trailers than \
                 chunk_framing_bytes_max = 16384 bytes."
            }
            HttpError::ProxyHeaderInvalid => {
                "A connection to this port has to begin with a valid PROXY protocol header."
            }
            HttpError::ProxyUnknown => {
                "This port takes connections of the proxies that the server trusts, and no others."
            }
            HttpError::MethodUnsupported => "The methods CONNECT and TRACE are not supported.",
            HttpError::BodyTooLarge => "The request body is longer than body_bytes_max.",
            HttpError::ExpectUnsupported => {
                "The Expect header may say 100-continue, and nothing else."
            }
            HttpError::HeadTooLarge => {
                "The request head is longer than head_bytes_max (pushloop --head-bytes-max BYTES): \
                 fewer cookies, or fewer topics in the URL, fit."
            }
            HttpError::TooManyHeaders => {
                "The request has more header lines than headers_max (pushloop --head-bytes-max)."
            }
            HttpError::TransferEncodingUnsupported => {
                "Transfer-Encoding may say chunked, and nothing else."
            }
            HttpError::VersionUnsupported => "Only HTTP/1.1 and HTTP/1.0 are supported.",
        })
    }
}

impl Error for HttpError {}

/// Whether a byte may be part of a token (RFC 9110 §5.6.2).
pub(super) const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+')
        || matches!(byte, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Whether bytes are a token (RFC 9110 §5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_tchar(*byte))
}

/// Removes optional whitespace, spaces and tabs, on both sides (RFC 9110 §5.6.3).
fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Scans and parses what is a head and nothing beside.
#[cfg(test)]
pub(super) fn parse_head(
    head: &[u8],
    headers_max: usize,
    body_bytes_max: usize,
) -> Result<Request, HttpError> {
    match HeadScanner::default().scan(head, usize::MAX)? {
        Some(found) if found.len() == head.len() => found.parse(headers_max, body_bytes_max),
        _ => Err(HttpError::Malformed),
    }
}

#[cfg(test)]
mod tests;
