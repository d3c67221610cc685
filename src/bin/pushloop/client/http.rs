//! One connection on which a request is sent when the one before is answered.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::{dial, url::Url};

/// How long the server may take to answer, and to take what is sent.
const SILENCE: Duration = Duration::from_secs(60);
/// What an answer may have: a head is collected whole, and so is a body.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 64 * 1024;
const BODY_BYTES_MAX: usize = 1024 * 1024;

pub struct Connection {
    stream: TcpStream,
    /// What was read and is not yet taken.
    input: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// Nothing more is answered on this connection.
    pub is_last: bool,
}

impl Connection {
    pub fn open(url: &Url) -> io::Result<Self> {
        Ok(Self { stream: dial(url, SILENCE)?, input: Vec::new() })
    }

    /// Whether the server waits for a request: it has neither ended the connection nor said something
    /// unasked, as a 408 before it does.
    pub fn is_idle(&self) -> bool {
        let look = || {
            self.stream.set_nonblocking(true)?;
            let looked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false)?;
            looked
        };
        self.input.is_empty() && look().is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a request and waits for its answer. If what comes is no answer, the error is `InvalidData`.
    pub fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        let sent = self.stream.write_all(request);
        // A server that refuses a long body does not read it all, and has answered nevertheless.
        match (sent, self.read_answer()) {
            (Err(error), Err(_)) => Err(error),
            (Err(_), Ok(answer)) => Ok(Answer { is_last: true, ..answer }),
            (Ok(()), answer) => answer,
        }
    }

    fn read_answer(&mut self) -> io::Result<Answer> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(answer) = take_answer(&mut self.input)? {
                return Ok(answer);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    let ended = "the connection ended before the answer";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, ended));
                }
                Ok(len) => self.input.extend_from_slice(&chunk[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let silent = format!("no answer came in {} s", SILENCE.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, silent));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Takes the answer that the input begins with, once all of it is there.
fn take_answer(input: &mut Vec<u8>) -> io::Result<Option<Answer>> {
    loop {
        let Some((head_len, head)) = parse_head(input)? else { return Ok(None) };
        let whole = head_len + head.body_len;
        let Some(body) = input.get(head_len..whole) else { return Ok(None) };
        let answer = Answer { status: head.status, body: body.to_vec(), is_last: head.is_last };
        input.drain(..whole);
        // RFC 9110 §15.2: those say that one is to come.
        if answer.status >= 200 {
            return Ok(Some(answer));
        }
    }
}

struct Head {
    status: u16,
    body_len: usize,
    is_last: bool,
}

/// The head that the input begins with, and its length.
fn parse_head(input: &[u8]) -> io::Result<Option<(usize, Head)>> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let head_len = match response.parse(input) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if input.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(no_answer("its head does not end")),
        Err(error) => return Err(no_answer(&error.to_string())),
    };
    let value = |name: &str| {
        let mut fields = response.headers.iter();
        let field = fields.find(|field| field.name.eq_ignore_ascii_case(name))?;
        str::from_utf8(field.value).ok()
    };
    let status = response.code.unwrap_or_default();
    // RFC 9110 §8.6: these have none.
    let is_bodiless = status < 200 || status == 204;
    let body_len = match value("content-length").and_then(|length| length.trim().parse().ok()) {
        _ if is_bodiless => 0,
        Some(length) if length <= BODY_BYTES_MAX => length,
        Some(_) => return Err(no_answer("its body is too long")),
        None => return Err(no_answer("it does not say how long it is")),
    };
    let closes = value("connection").is_some_and(|value| {
        value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"))
    });
    let is_last = closes || response.version != Some(1);
    Ok(Some((head_len, Head { status, body_len, is_last })))
}

fn no_answer(why: &str) -> io::Error {
    let why = format!("what came is no answer to a publication: {why}");
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: &str) -> io::Result<Option<Answer>> {
        take_answer(&mut bytes.as_bytes().to_vec())
    }

    #[test]
    fn an_answer_is_taken_once_it_is_whole() {
        let bytes = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nconTENT-length: 2\r\n\r\nok";
        for len in 0..bytes.len() {
            assert_eq!(taken(&bytes[..len]).expect("so far it is one"), None, "{len}");
        }
        let mut input = format!("{bytes}HTTP").into_bytes();
        let answer = take_answer(&mut input).expect("it is one");
        assert_eq!(answer, Some(Answer { status: 200, body: b"ok".into(), is_last: false }));
        assert_eq!(input, b"HTTP");
    }

    #[test]
    fn an_answer_tells_whether_it_is_the_last() {
        for (bytes, is_last) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", false),
            ("HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n", false),
            ("HTTP/1.1 204 No Content\r\nConnection: x, Close\r\n\r\n", true),
            ("HTTP/1.0 204 No Content\r\n\r\n", true),
        ] {
            let answer = taken(bytes).expect("it is one").expect("it is whole");
            assert_eq!(answer.is_last, is_last, "{bytes}");
        }
    }

    #[test]
    fn what_is_no_answer_is_told_from_one_that_is_to_come() {
        for (bytes, why) in [
            ("SSH-2.0-x\r\n", "invalid HTTP version"),
            ("HTTP/1.1 200 OK\r\n\r\n", "how long"),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "how long"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "how long"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n", "too long"),
            (&format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(HEAD_BYTES_MAX)), "does not end"),
        ] {
            let error = taken(bytes).expect_err("it is none");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
