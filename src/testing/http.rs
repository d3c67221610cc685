//! Requests as a peer in a test sends them, and answers as it reads them (RFC 9112), sharing nothing with
//! the server's parser.

use std::{fmt::Write, net::SocketAddr};

use base64::{Engine, prelude::BASE64_STANDARD};
use sha1_smol::Sha1;

/// What an opening handshake asks for (RFC 6455 §4.1), or any request with `GET`. Text is one for
/// this path.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    path: String,
    headers: Vec<(String, String)>,
    pub(super) peer: Option<SocketAddr>,
}

impl Handshake {
    /// One for this path, with its query.
    pub fn to(path: &str) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// With a further field, or with another `Host`.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// From this address, which [`Request::peer`](crate::Request::peer) gives.
    pub fn address(mut self, peer: SocketAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// As a request for a WebSocket with this key.
    pub(super) fn upgrade(&self, key: &str) -> String {
        let upgrade = format!(
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {key}\r\n"
        );
        self.head(&upgrade)
    }

    /// As a plain request.
    pub(super) fn head(&self, further: &str) -> String {
        let mut head = format!("GET {} HTTP/1.1\r\n", self.path);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += "Host: localhost\r\n";
        }
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").expect("it is a string");
        }
        head + further + "\r\n"
    }
}

impl From<&str> for Handshake {
    fn from(path: &str) -> Self {
        Self::to(path)
    }
}

impl From<String> for Handshake {
    fn from(path: String) -> Self {
        Self { path, ..Self::default() }
    }
}

/// What the answer to this key must have as `Sec-WebSocket-Accept` (RFC 6455 §4.2.2).
pub(super) fn accept_of(key: &str) -> String {
    let digest = Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest();
    BASE64_STANDARD.encode(digest.bytes())
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    /// The fields' names and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of the first field with this name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        fields.find(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text; what is no UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into()
    }

    /// The answer at the front of `bytes`, and its length; `None` if there is more to come. `has_body`
    /// says whether the request was one that an answer with a body follows (not HEAD).
    ///
    /// It panics at what no server may send.
    #[track_caller]
    pub(super) fn read(bytes: &[u8], has_body: bool) -> Option<(Self, usize)> {
        let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
        let head = str::from_utf8(&bytes[..end]).expect("the head of an answer is ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3));
        let status = status.and_then(|it| it.parse().ok()).expect("a status line");
        let field = |line: &str| {
            let (name, value) = line.split_once(':').expect("a field has a colon");
            (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
        };
        let headers = lines.map(field).collect();
        let mut answer = Self { status, headers, body: Vec::new() };
        let body = end + 4;
        if (100..200).contains(&status) && status != 101 {
            // RFC 9110 §15.2: the answer is yet to come.
            let (answer, len) = Self::read(&bytes[body..], has_body)?;
            return Some((answer, body + len));
        }
        // RFC 9112 §6.3: some answers end with their head whatever their fields say.
        let is_bare = !has_body || matches!(status, 101 | 204 | 304);
        let length = if is_bare { Some("0") } else { answer.header("Content-Length") };
        let length = length.expect("an answer says how long it is").parse::<usize>();
        let end = body + length.expect("a length is a number");
        answer.body = bytes.get(body..end)?.to_vec();
        Some((answer, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_it_is_whole_and_behind_what_goes_before_it() {
        let bytes =
            b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 200 Yes\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1";
        let whole = bytes.len() - b"HTTP/1.1".len();
        assert!((0..whole).all(|len| Answer::read(&bytes[..len], true).is_none()));
        let (answer, len) = Answer::read(bytes, true).expect("it is whole");
        assert_eq!((answer.status, answer.text().as_str(), len), (200, "hi", whole));
        let (answer, len) = Answer::read(bytes, false).expect("it has no body");
        assert_eq!((answer.body.len(), len), (0, whole - 2));
    }
}
