//! A client that blocks: a test reads as the transcript of what it sends and what it expects.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::http::read_head;
use super::{Frame, PATIENCE, burst};

/// A handshake for `path`, with further header lines that end in CRLF each.
pub fn handshake(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// A plain request for `path`.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// One end of a TCP connection. What it writes leaves at once (TCP_NODELAY), and no read or write
/// waits for longer than [`PATIENCE`].
pub struct Peer {
    /// `None` once it is dropped by [`resets`](Peer::resets).
    stream: Option<BufReader<TcpStream>>,
    address: SocketAddr,
    /// What [`sends`](Peer::sends) masks with.
    pub mask: [u8; 4],
}

/// An HTTP response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// The status line and the header lines.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The value of the only field with this name.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = values.next();
        assert!(values.next().is_none(), "two {name} in {}", self.head);
        value.map(|(_, value)| value)
    }
}

impl Peer {
    pub fn connect(address: SocketAddr) -> Peer {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).expect("TCP has the option");
        stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        let address = stream.local_addr().expect("the socket is bound");
        Peer { stream: Some(BufReader::new(stream)), address, mask: [0x37, 0xFA, 0x21, 0x3D] }
    }

    /// Its own address: the server knows it by this.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For what is no reading or writing.
    pub fn socket(&mut self) -> &TcpStream {
        self.stream().get_ref()
    }

    fn stream(&mut self) -> &mut BufReader<TcpStream> {
        self.stream.as_mut().expect("the test has not reset it")
    }

    // What it does.

    /// Sends one frame in one segment, if it fits.
    #[track_caller]
    pub fn sends(&mut self, frame: Frame) {
        self.sends_bytes(frame.masked(self.mask));
    }

    /// Sends frames in one write.
    #[track_caller]
    pub fn sends_burst(&mut self, frames: &[Frame]) {
        self.sends_bytes(burst(frames));
    }

    /// Sends any bytes in one write.
    #[track_caller]
    pub fn sends_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream().get_mut().write_all(bytes.as_ref()).expect("the server takes the bytes");
    }

    /// Sends bytes for as long as the server takes them: it may be about to hang up.
    pub fn pushes_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream().get_mut().write_all(bytes.as_ref());
    }

    /// Sends FIN; it can still read.
    #[track_caller]
    pub fn finishes(&mut self) {
        self.stream().get_ref().shutdown(Shutdown::Write).expect("the connection lives");
    }

    /// Sends RST. It is what the kernel does with a socket that is closed before all is read, so
    /// there must be something to read, or be on its way.
    #[track_caller]
    pub fn resets(&mut self) {
        let waiting = self.stream().get_ref().peek(&mut [0]).expect("the server sends something");
        assert_eq!(waiting, 1, "an end of the stream is nothing to read");
        self.stream = None;
    }

    // What it gets.

    /// The next frame.
    #[track_caller]
    pub fn reads(&mut self) -> Frame {
        let frame = Frame::read(self.stream()).expect("the server sends a whole frame");
        frame.expect("the server sends another frame")
    }

    /// All frames up to the end of the stream.
    #[track_caller]
    pub fn reads_to_eof(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = Frame::read(self.stream()).expect("the server ends with FIN") {
            frames.push(frame);
        }
        frames
    }

    #[track_caller]
    pub fn expects(&mut self, expected: Frame) {
        let frame = self.reads();
        assert!(frame == expected, "expected {expected:?}, and got {frame:?}");
    }

    /// The next frame is a Close with this code. Gives its reason.
    #[track_caller]
    pub fn expects_close(&mut self, code: u16) -> String {
        let frame = self.reads();
        assert_eq!(frame.first, 0x88, "expected a Close {code}, and got {frame:?}");
        let [high, low, reason @ ..] = &frame.payload[..] else { panic!("no code: {frame:?}") };
        assert_eq!(u16::from(*high) << 8 | u16::from(*low), code, "{frame:?}");
        String::from_utf8(reason.to_vec()).expect("§5.5.1: the reason is UTF-8")
    }

    /// The server sends nothing more, and ends with FIN.
    #[track_caller]
    pub fn expects_eof(&mut self) {
        let mut rest = [0; 64];
        let n = self.stream().read(&mut rest).expect("the server ends with FIN");
        assert_eq!(n, 0, "expected the end, and got {}", rest[..n].escape_ascii());
    }

    /// The connection is gone, by FIN or by RST.
    #[track_caller]
    pub fn expects_end(&mut self) {
        match self.stream().read(&mut [0; 64]) {
            Ok(n) => assert_eq!(n, 0, "expected the end"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    /// The next bytes, so many of them.
    #[track_caller]
    pub fn reads_bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream().read_exact(&mut bytes).expect("the server sends them");
        bytes
    }

    /// Whether the server sends nothing for so long.
    #[track_caller]
    pub fn hears_nothing_for(&mut self, pause: Duration) -> bool {
        let stream = self.stream().get_ref();
        stream.set_read_timeout(Some(pause)).expect("the pause is not zero");
        let heard = stream.peek(&mut [0]);
        stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        match heard {
            Ok(_) => false,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                true
            }
            Err(error) => panic!("{error}"),
        }
    }

    // HTTP.

    /// The answer to a request, with its body.
    #[track_caller]
    pub fn expects_answer(&mut self, status: u16) -> Answer {
        let mut answer = self.expects_head(status);
        let len = answer.header("Content-Length").map_or(0, |len| len.parse().expect("a number"));
        let mut body = vec![0; len];
        self.stream().read_exact(&mut body).expect("the server sends the body");
        answer.body = String::from_utf8(body).expect("the tests' bodies are text");
        answer
    }

    /// The answer to a request after which the connection is over: it says so, another request
    /// behind it is not answered, and the end comes.
    #[track_caller]
    pub fn expects_refusal(&mut self, status: u16) -> Answer {
        let answer = self.expects_answer(status);
        let connection = answer.header("Connection").unwrap_or_default();
        assert!(connection.split(", ").any(|option| option == "close"), "{}", answer.head);
        self.pushes_bytes(get("/after-the-end"));
        self.expects_eof();
        answer
    }

    /// The answer to a request whose answer has no body, whatever it says of its length.
    #[track_caller]
    pub fn expects_head(&mut self, status: u16) -> Answer {
        let answer = self.reads_head();
        assert_eq!(answer.status, status, "{}", answer.head);
        answer
    }

    /// The status of the next answer, whatever it is; the answer is read with its body.
    #[track_caller]
    pub fn expects_status(&mut self) -> u16 {
        let answer = self.reads_head();
        let len = answer.header("Content-Length").map_or(0, |len| len.parse().expect("a number"));
        self.stream().read_exact(&mut vec![0; len]).expect("the server sends the body");
        answer.status
    }

    /// The head of the next answer, whatever it is.
    #[track_caller]
    pub fn reads_head(&mut self) -> Answer {
        let head = read_head(self.stream()).expect("the server sends a head");
        let head = String::from_utf8(head).expect("the head is ASCII");
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3)?.parse().ok());
        Answer { status: status.expect("a status line"), head, body: String::new() }
    }

    /// The server accepts a [`handshake`].
    #[track_caller]
    pub fn expects_upgrade(&mut self) -> Answer {
        let answer = self.expects_head(101);
        // The example of RFC 6455 §1.3.
        let accept = answer.header("Sec-WebSocket-Accept");
        assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        answer
    }
}
