//! HTTP over any stream, for what is no transcript.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

use super::{PATIENCE, handshake};

/// A TCP connection with reads that end.
#[track_caller]
pub fn dial(address: impl ToSocketAddrs) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
    stream
}

/// The head of the next answer, up to the empty line, which is its last.
pub fn read_head(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(head)
}

/// Has a stream become a WebSocket at a path.
#[track_caller]
pub fn upgrade(stream: &mut (impl Read + Write), path: &str) {
    stream.write_all(handshake(path, "").as_bytes()).expect("the server reads");
    let head = read_head(stream).expect("the server answers");
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
}

/// What is behind the head of an answer.
#[track_caller]
pub fn after_head(bytes: &[u8]) -> &[u8] {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("the head ends");
    &bytes[head + 4..]
}

/// The whole answer to a request that is the last on its connection.
#[track_caller]
pub fn answer_to(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers and closes");
    answer
}

/// The same for a request of these parts.
#[track_caller]
pub fn ask(stream: impl Read + Write, request_line: &str, fields: &str, body: &str) -> String {
    let len = body.len();
    let request = format!(
        "{request_line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len}\r\n\
         {fields}\r\n{body}"
    );
    answer_to(stream, &request)
}
