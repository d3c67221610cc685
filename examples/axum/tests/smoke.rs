//! The program, by a client for requests and one for WebSockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tungstenite::{Message, WebSocket, client};

const PATIENCE: Duration = Duration::from_secs(10);

struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pushloop-axum"))
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is a pipe");
        BufReader::new(output).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().strip_prefix("axum: http://").expect("it is a URL");
        let address = address.trim_end_matches("/news").to_owned();
        Self { child, address }
    }

    fn connects(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        stream
    }

    /// One request over a connection of its own, and the answer.
    fn asks(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = self.connects();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers and ends");
        answer
    }

    fn opens(&self) -> WebSocket<TcpStream> {
        let url = format!("ws://{}/news", self.address);
        client(url, self.connects()).expect("it upgrades").0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(socket: &mut WebSocket<TcpStream>) -> String {
    socket.read().expect("a message comes").into_text().expect("it is text").as_str().to_owned()
}

#[test]
fn one_port_has_requests_and_websockets_and_one_signal_ends_both() {
    let mut program = Program::start();
    assert!(program.asks("POST", "/news", "before").starts_with("HTTP/1.1 202 "));
    assert!(program.asks("GET", "/news", "").ends_with("\r\n\r\nbefore"));
    assert!(program.asks("GET", "/other", "").starts_with("HTTP/1.1 404 "));
    let mut sockets = [(); 3].map(|()| program.opens());
    for socket in &mut sockets {
        assert_eq!(text(socket), "before");
    }
    assert!(program.asks("POST", "/news", "Goal!").starts_with("HTTP/1.1 202 "));
    for socket in &mut sockets {
        assert_eq!(text(socket), "Goal!");
    }
    let mut idle = program.connects();
    idle.write_all(b"GET /news HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    let mut start = [0; 12];
    idle.read_exact(&mut start).expect("it answers");
    assert_eq!(&start, b"HTTP/1.1 200");

    let pid = program.child.id().to_string();
    let sent = Command::new("bash").args(["-c", "kill -s TERM \"$0\"", &pid]).status();
    assert!(sent.expect("bash runs").success());
    for socket in &mut sockets {
        match socket.read().expect("a Close frame comes") {
            Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1001),
            other => panic!("{other:?}"),
        }
        socket.flush().expect("the answer to it goes out");
    }
    assert!(program.child.wait().expect("it ends").success());
}

#[test]
fn an_upgrade_in_pieces_is_an_upgrade_and_one_for_nothing_is_refused() {
    let program = Program::start();
    let head = "GET /other HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (path, status) in [("/other", "404"), ("/news", "101")] {
        let mut stream = program.connects();
        stream.set_nodelay(true).expect("TCP has it");
        let head = head.replace("/other", path);
        for piece in [&head[..3], &head[3..60], &head[60..]] {
            stream.write_all(piece.as_bytes()).expect("it reads");
        }
        let mut start = [0; 12];
        stream.read_exact(&mut start).expect("it answers");
        assert_eq!(start, format!("HTTP/1.1 {status}").as_bytes());
    }
}

/// The guide quotes this program; what it quotes is compiled here.
#[test]
fn the_guide_quotes_what_is_there() {
    let (guide, program) =
        (include_str!("../../../docs/EMBEDDING.md"), include_str!("../src/main.rs"));
    let section = guide.split("### ").find(|section| section.starts_with("Publish from an axum"));
    let quote = section.and_then(|section| section.split("```rs\n").nth(1)?.split("```").next());
    let quote = quote.expect("the section has a quote");
    assert!(program.contains(quote), "{quote}");
}
