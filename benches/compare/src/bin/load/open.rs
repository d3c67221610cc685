//! Opening connections: addresses, and the handshake of RFC 6455 §4.1.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use socket2::Socket;

use crate::{options::Options, stream::Stream};

const HEAD_BYTES_MAX: usize = 16 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Addresses to connect from.
const SOURCES: usize = 16;
/// The example of RFC 6455 §1.3.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// What browsers offer.
/// A browser's, and that messages stand alone: what was inflated once is only compared from then on, or
/// this program would be what is measured.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
     client_max_window_bits\r\n";

/// How messages are compressed, as the server agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    /// Messages may refer back to earlier ones.
    pub server_takeover: bool,
    pub client_window_bits: u8,
}

/// A connection that is upgraded.
#[derive(Debug)]
pub struct Opened {
    pub stream: Stream,
    pub deflate: Option<Deflate>,
    /// What came behind the head.
    pub rest: Vec<u8>,
}

pub fn request(options: &Options) -> Vec<u8> {
    let offer = if options.deflate { OFFER } else { "" };
    pushloop_compare::request(&options.path, options.address, 13, offer).into_bytes()
}

/// A socket for connection number `at`, bound to the source whose turn it is.
pub fn socket(at: usize) -> io::Result<Socket> {
    pushloop_compare::socket([127, 0, 0, 1 + (at % SOURCES) as u8])
}

/// Connects and shakes hands, waiting for each step.
pub fn open(options: &Options, at: usize) -> io::Result<Opened> {
    let socket = socket(at)?;
    socket.connect_timeout(&options.address.into(), ANSWER_TIMEOUT)?;
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    socket.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let mut stream = Stream::new(socket, options)?;
    stream.write_all(&request(options))?;
    let mut came = Vec::new();
    let mut piece = [0; 2048];
    loop {
        let n = stream.read(&mut piece)?;
        came.extend_from_slice(&piece[..n]);
        if let Some((head_len, deflate)) = answer(&came, options)? {
            stream.socket().set_nonblocking(true)?;
            let rest = came.split_off(head_len);
            return Ok(Opened { stream, deflate, rest });
        }
        if n == 0 {
            return Err(refused("the server ended the connection before it answered"));
        }
    }
}

pub fn open_all(options: &Options) -> io::Result<Vec<Opened>> {
    (0..options.connections).map(|at| open(options, at)).collect()
}

/// What was agreed on: the same on all connections, or what is sent could not be one for all.
pub fn agreed_on_all(opened: &[Opened]) -> io::Result<Option<Deflate>> {
    let agreed = opened.first().and_then(|opened| opened.deflate);
    if opened.iter().any(|opened| opened.deflate != agreed) {
        return Err(refused("the server agreed to different compression on different connections"));
    }
    Ok(agreed)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

/// The answer to a handshake: how long its head is, and what was agreed on. `None` if more is
/// needed.
pub fn answer(came: &[u8], options: &Options) -> io::Result<Option<(usize, Option<Deflate>)>> {
    let Some(end) = came.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        let endless = came.len() > HEAD_BYTES_MAX;
        return if endless { Err(refused("the answer's head does not end")) } else { Ok(None) };
    };
    let head = String::from_utf8_lossy(&came[..end]);
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let fields: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    let field = |name: &str| {
        let found = fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    };
    if !status.starts_with("HTTP/1.1 101 ") {
        return Err(refused(&format!("answered with {status}")));
    }
    if options.raw {
        return Ok(Some((end + 4, None)));
    }
    // RFC 6455 §4.1.
    if !field("Upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err(refused("Upgrade is not websocket"));
    }
    if field("Sec-WebSocket-Accept") != Some(ACCEPT) {
        return Err(refused("Sec-WebSocket-Accept is wrong"));
    }
    let deflate = match field("Sec-WebSocket-Extensions") {
        None => None,
        Some(_) if !options.deflate => return Err(refused("an extension that was not offered")),
        Some(value) => Some(agreed(value)?),
    };
    Ok(Some((end + 4, deflate)))
}

/// RFC 7692 §7.1.
fn agreed(value: &str) -> io::Result<Deflate> {
    let mut parameters = value.split(';').map(str::trim);
    if parameters.next() != Some("permessage-deflate") {
        return Err(refused(&format!("an extension that was not offered: {value}")));
    }
    let mut deflate = Deflate { server_takeover: true, client_window_bits: 15 };
    for parameter in parameters {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name.trim() {
            "server_no_context_takeover" => deflate.server_takeover = false,
            "client_max_window_bits" => {
                let bits = value.trim().trim_matches('"').parse().ok();
                // Raw deflate with a window of 256 bytes is beyond zlib.
                let bits = bits.filter(|bits| (9..=15).contains(bits));
                deflate.client_window_bits =
                    bits.ok_or_else(|| refused(&format!("cannot do {parameter}")))?;
            }
            // What is sent never refers back, and a smaller window of theirs is inflated alike.
            "client_no_context_takeover" | "server_max_window_bits" => {}
            _ => return Err(refused(&format!("an unknown parameter: {parameter}"))),
        }
    }
    Ok(deflate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_taken_only_if_it_is_right_and_what_was_agreed_on_is_read() {
        let answer = |came: &str, more: &str| {
            let words = format!("echo ws://127.0.0.1:9001/echo {more}");
            let words = words.split_whitespace().map(Into::into);
            answer(came.as_bytes(), &crate::options::parse(words).unwrap().unwrap())
        };
        let head = |status: &str, accept: &str, more: &str| {
            format!(
                "HTTP/1.1 {status} X\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
            )
        };
        let good = head("101", ACCEPT, "");
        let came = good.clone() + "\u{1}\u{0}";
        assert_eq!(answer(&came, "").unwrap(), Some((good.len(), None)));
        for cut in 0..good.len() {
            assert_eq!(answer(&came[..cut], "").unwrap(), None);
        }
        assert!(answer(&"x".repeat(HEAD_BYTES_MAX + 1), "").is_err());
        assert!(answer(&head("200", ACCEPT, ""), "").is_err());
        assert!(answer(&good.replace("upgrade: ", "x: "), "").is_err());
        let wrong = head("101", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "");
        assert!(answer(&wrong, "").is_err());
        assert!(answer(&wrong, "--raw").unwrap().is_some());
        let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let unasked = head("101", ACCEPT, deflate);
        assert!(answer(&unasked, "").is_err());
        let agreed = answer(&unasked, "--deflate").unwrap().unwrap().1;
        assert_eq!(agreed, Some(Deflate { server_takeover: true, client_window_bits: 15 }));
        let value = "permessage-deflate; server_no_context_takeover; client_max_window_bits=10";
        let deflate = Deflate { server_takeover: false, client_window_bits: 10 };
        assert_eq!(super::agreed(value).unwrap(), deflate);
        for bad in ["x", "permessage-deflate; y", "permessage-deflate; client_max_window_bits=8"] {
            assert!(super::agreed(bad).is_err(), "{bad}");
        }
    }
}
