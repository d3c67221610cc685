//! An event stream, as its client reads it (HTML §9.2.6): line by line, sharing nothing with what encodes
//! it.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::http::{dial, read_head};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `message`, where the event says nothing of it.
    pub name: String,
    pub id: Option<String>,
    /// Its lines, with line feeds between them.
    pub data: String,
}

impl Event {
    /// The next event: comments and waiting times are passed over, and one that is cut is none.
    pub fn read(stream: &mut impl BufRead) -> io::Result<Self> {
        let (mut event, mut data) = (Self { name: "message".into(), ..Self::default() }, None);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let line = line.strip_suffix('\n').ok_or(ErrorKind::UnexpectedEof)?;
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() => {
                    if let Some(data) = data {
                        return Ok(Self { data, ..event });
                    }
                    event.name = "message".into();
                }
                "event" => event.name = value.into(),
                "id" => event.id = Some(value.into()),
                "data" => match &mut data {
                    None => data = Some(value.to_owned()),
                    Some(data) => *data += &format!("\n{value}"),
                },
                // Comments, and how long a browser waits.
                "" | "retry" => {}
                field => panic!("{field:?} is no field of an event"),
            }
        }
    }
}

/// An event stream of a server.
pub struct EventStream {
    pub head: String,
    stream: BufReader<TcpStream>,
}

impl EventStream {
    /// Asks for one, with further fields, each with its line end.
    #[track_caller]
    pub fn open(address: &str, target: &str, fields: &[u8]) -> Self {
        let mut stream = dial(address);
        let line = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream");
        let head = [line.as_bytes(), b"\r\n", fields, b"\r\n"].concat();
        stream.write_all(&head).expect("the server reads");
        Self::read(stream)
    }

    /// Takes the answer to a request for one.
    #[track_caller]
    pub fn read(stream: TcpStream) -> Self {
        let mut stream = BufReader::new(stream);
        let head = read_head(&mut stream).expect("the server answers");
        let head = String::from_utf8(head).expect("the head is ASCII");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"), "{head}");
        Self { head, stream }
    }

    #[track_caller]
    pub fn next(&mut self) -> Event {
        Event::read(&mut self.stream).expect("an event comes")
    }

    /// The next event says what the subscription begins with, and has an id of its own, the same.
    #[track_caller]
    pub fn begins(&mut self) -> Value {
        let event = self.next();
        assert_eq!(event.name, "subscribed");
        let told: Value = serde_json::from_str(&event.data).expect("it is JSON");
        assert_eq!(told["id"].as_str(), event.id.as_deref());
        told
    }

    /// The next event is a publication. Its id, and its text.
    #[track_caller]
    pub fn publication(&mut self) -> (String, String) {
        let Event { name, id, data } = self.next();
        assert_eq!(name, "message");
        (id.expect("it has an id"), data)
    }
}
