//! Publishers and subscribers of a server that may be cut off at any time.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use serde_json::Value;
use tungstenite::WebSocket;

use crate::support::http::dial;
use crate::support::process::{Stream, connect};

/// A connection over which requests are sent one after the other.
pub struct Publisher(BufReader<TcpStream>);

impl Publisher {
    pub fn new(address: &str) -> io::Result<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(address)?)))
    }

    /// The status and the body of the answer to a POST.
    pub fn posts(&mut self, path: &str, fields: &str, body: &str) -> io::Result<(u16, String)> {
        let len = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n");
        self.0.get_mut().write_all(format!("{head}{fields}\r\n{body}").as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.0.read_until(b'\n', &mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let head = String::from_utf8(head).expect("a head is text");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length =
            length.and_then(|length| length.parse().ok()).unwrap_or_else(|| panic!("{head}"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        let status = head[9..12].parse().expect("a status");
        Ok((status, String::from_utf8(body).expect("text")))
    }
}

pub fn post_with(address: &str, path: &str, fields: &str, body: &str) -> (u16, String) {
    let mut publisher = Publisher::new(address).expect("the server listens");
    publisher.posts(path, fields, body).expect("it is answered")
}

pub fn post(address: &str, path: &str, body: &str) -> (u16, String) {
    post_with(address, path, "", body)
}

/// A subscriber, and what it was told when it subscribed.
pub struct Sub {
    source: Source,
    pub recovered: Value,
    /// Where it resumed, or began.
    pub id: String,
}

enum Source {
    Socket(Box<WebSocket<Stream>>),
    Events(BufReader<TcpStream>),
}

/// A WebSocket with envelopes, which resumes after an id.
pub fn websocket(address: &str, path: &str, after: Option<&str>) -> Sub {
    let sign = if path.contains('?') { '&' } else { '?' };
    let after = after.map(|id| format!("&after={id}")).unwrap_or_default();
    let socket = connect(address, &format!("{path}{sign}envelope=json{after}"));
    let mut sub =
        Sub { source: Source::Socket(Box::new(socket)), recovered: Value::Null, id: String::new() };
    sub.is_told();
    sub
}

/// An event stream, which resumes after an id.
pub fn stream(address: &str, path: &str, after: Option<&str>) -> Sub {
    let mut stream = dial(address);
    let last = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n");
    stream.write_all(format!("{head}{last}\r\n").as_bytes()).expect("the server reads");
    let source = Source::Events(BufReader::new(stream));
    let mut sub = Sub { source, recovered: Value::Null, id: String::new() };
    sub.is_told();
    sub
}

impl Sub {
    fn is_told(&mut self) {
        let told = match &mut self.source {
            Source::Socket(socket) => {
                let told = socket.read().expect("it is told").into_text().expect("text");
                serde_json::from_str(&told).expect("JSON")
            }
            Source::Events(events) => loop {
                let (event, _, data) = read_event(events).expect("it is told");
                if event == "subscribed" {
                    break serde_json::from_str::<Value>(&data).expect("JSON");
                }
            },
        };
        self.recovered = told["recovered"].clone();
        self.id = told["id"].as_str().expect("a place").to_owned();
    }

    /// The id and the data of the next publication; bytes are in base64.
    pub fn reads(&mut self) -> io::Result<(String, String)> {
        loop {
            match &mut self.source {
                Source::Socket(socket) => {
                    let message = socket.read().map_err(io::Error::other)?;
                    if !message.is_text() {
                        continue;
                    }
                    let text = message.into_text().expect("text");
                    let envelope: Value = serde_json::from_str(&text).expect("JSON");
                    let text = |name: &str| envelope[name].as_str().map(str::to_owned);
                    let data = text("data").or_else(|| text("base64")).expect("data");
                    return Ok((text("id").expect("an id"), data));
                }
                Source::Events(events) => {
                    let (event, id, data) = read_event(events)?;
                    if event != "subscribed" && !id.is_empty() {
                        return Ok((id, data));
                    }
                }
            }
        }
    }

    /// What comes up to the publication with this data, and that.
    pub fn reads_to(&mut self, end: &str) -> Vec<(String, String)> {
        let mut got = Vec::new();
        while got.last().is_none_or(|(_, data)| data != end) {
            got.push(self.reads().expect("it comes"));
        }
        got
    }
}

/// The next event: its name, its id, and its data.
fn read_event(from: &mut impl BufRead) -> io::Result<(String, String, String)> {
    let (mut event, mut id, mut data) = (String::new(), String::new(), String::new());
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(": ") {
            Some(("event", value)) => event = value.to_owned(),
            Some(("id", value)) => id = value.to_owned(),
            Some(("data", value)) => data = value.to_owned(),
            _ if line == "\n" && !(event.is_empty() && id.is_empty()) => {
                return Ok((event, id, data));
            }
            _ => {}
        }
    }
}
