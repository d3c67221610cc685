//! Opening connections: addresses, and the handshake of RFC 6455 §4.1.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1_smol::Sha1;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::options::{Options, Sources};

const HEAD_BYTES_MAX: usize = 16 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The nonce is not random: nobody caches these connections.
const KEY: &str = "cHVzaGxvb3AgbG9hZHMgIQ==";
/// What browsers offer.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

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
    pub stream: TcpStream,
    pub deflate: Option<Deflate>,
    /// What came behind the head.
    pub rest: Vec<u8>,
}

pub fn request(options: &Options) -> Vec<u8> {
    let (path, host) = (&options.target.path, &options.target.host);
    let offer = if options.deflate { OFFER } else { "" };
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{offer}\r\n"
    )
    .into_bytes()
}

/// A socket that is bound, for connection number `at`, to the source whose turn it is.
pub fn socket(target: SocketAddr, sources: Option<Sources>, at: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(Sources(first, last)) = sources {
        let span = last.to_bits() - first.to_bits() + 1;
        let source = first.to_bits() + (at % span as usize) as u32;
        // Else a port that another connection has would not be given for another target.
        socket.set_reuse_address(true)?;
        let source = SocketAddr::new(IpAddr::V4(source.into()), 0);
        socket.bind(&SockAddr::from(source))?;
    }
    Ok(socket)
}

/// Connects and shakes hands, waiting for each step.
pub fn open(options: &Options, at: usize) -> io::Result<Opened> {
    let address = options.target.address;
    let socket = socket(address, options.sources, at)?;
    socket.connect_timeout(&SockAddr::from(address), ANSWER_TIMEOUT)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(&request(options))?;
    let mut came = Vec::new();
    let mut piece = [0; 2048];
    loop {
        let n = stream.read(&mut piece)?;
        came.extend_from_slice(&piece[..n]);
        if let Some((head_len, deflate)) = answer(&came, options)? {
            stream.set_nonblocking(true)?;
            let rest = came.split_off(head_len);
            return Ok(Opened { stream, deflate, rest });
        }
        if n == 0 {
            return Err(refused("the server ended the connection before it answered"));
        }
    }
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
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let head_len = match response.parse(came).map_err(|error| refused(&error.to_string()))? {
        httparse::Status::Complete(head_len) => head_len,
        httparse::Status::Partial if came.len() > HEAD_BYTES_MAX => {
            return Err(refused("the answer's head does not end"));
        }
        httparse::Status::Partial => return Ok(None),
    };
    let field = |name: &str| {
        let mut found =
            response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        found.next().map(|field| String::from_utf8_lossy(field.value).into_owned())
    };
    if response.code != Some(101) {
        return Err(refused(&format!("answered with {}", response.code.unwrap_or_default())));
    }
    if options.raw {
        return Ok(Some((head_len, None)));
    }
    // RFC 6455 §4.1.
    if !field("Upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err(refused("Upgrade is not websocket"));
    }
    if field("Sec-WebSocket-Accept") != Some(accept(KEY)) {
        return Err(refused("Sec-WebSocket-Accept is wrong"));
    }
    let deflate = match field("Sec-WebSocket-Extensions") {
        None => None,
        Some(_) if !options.deflate => return Err(refused("an extension that was not offered")),
        Some(value) => Some(agreed(&value)?),
    };
    Ok(Some((head_len, deflate)))
}

fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.digest().bytes())
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

    fn options(line: &str) -> Options {
        let words = format!("echo ws://127.0.0.1:9001/echo {line}");
        let words = words.split_whitespace().map(Into::into);
        crate::options::parse(words).unwrap().unwrap()
    }

    #[test]
    fn the_accept_value_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_handshake_is_taken_only_if_it_is_right() {
        let head = |status: &str, accept: &str, more: &str| {
            format!(
                "HTTP/1.1 {status} X\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
            )
        };
        let good = head("101", &accept(KEY), "");
        let plain = options("");
        let came = [good.as_bytes(), b"\x82\x00"].concat();
        assert_eq!(answer(&came, &plain).unwrap(), Some((good.len(), None)));
        for cut in 0..good.len() {
            assert_eq!(answer(&came[..cut], &plain).unwrap(), None);
        }
        assert!(answer(head("200", &accept(KEY), "").as_bytes(), &plain).is_err());
        let wrong = head("101", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "");
        assert!(answer(wrong.as_bytes(), &plain).is_err());
        assert!(answer(wrong.as_bytes(), &options("--raw")).unwrap().is_some());
        let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let unasked = head("101", &accept(KEY), deflate);
        assert!(answer(unasked.as_bytes(), &plain).is_err());
        let agreed = answer(unasked.as_bytes(), &options("--deflate")).unwrap().unwrap().1;
        assert_eq!(agreed, Some(Deflate { server_takeover: true, client_window_bits: 15 }));
    }

    #[test]
    fn what_was_agreed_on_is_read() {
        let value = "permessage-deflate; server_no_context_takeover; client_max_window_bits=10";
        let deflate = Deflate { server_takeover: false, client_window_bits: 10 };
        assert_eq!(agreed(value).unwrap(), deflate);
        for bad in ["x", "permessage-deflate; y", "permessage-deflate; client_max_window_bits=8"] {
            assert!(agreed(bad).is_err(), "{bad}");
        }
    }
}
