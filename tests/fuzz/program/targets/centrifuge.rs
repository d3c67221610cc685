//! Commands of Centrifugo's clients and calls of its API, in all encodings: what the fuzzer makes is read, and what a
//! publication of it is made into is read by other readers.

use crate::centrifuge::{
    Format, api, commands,
    replies::{Publication, Push, add_push},
    transports::Post,
};
use pushloop::Message;
use serde_json::Value;

pub fn run(data: &[u8]) {
    for format in [Format::Json, Format::Protobuf] {
        let _ = Post::read(format, data);
        let (mut frame, mut left) = (data, data.len() + 1);
        while let Some(command) = commands::next(format, &mut frame) {
            // Behind what is none, nothing is read.
            if command.is_err() {
                break;
            }
            assert!(frame.len() < left, "a command takes nothing of the frame");
            left = frame.len();
        }
    }
    let mut messages = vec![Message::Binary(data)];
    if let Ok(text) = str::from_utf8(data) {
        let _ = api::read(None, text);
        let _ = api::read(Some("batch"), text);
        let _ = api::read(Some("publish"), text);
        assert!(api::is_like(text, "*") && api::is_like(text, text) || text.contains('*'));
        messages.push(Message::Text(text));
    }
    for data in messages {
        is_told(data);
    }
}

/// A publication is one line of JSON, with what was published, and its bytes are in Protobuf.
fn is_told(data: Message<'_>) {
    let push = Push::Publication(Publication { offset: 1, data });
    let (mut line, mut message) = (Vec::new(), Vec::new());
    add_push(Format::Json, &mut line, "a", &push);
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    let raw = match data {
        Message::Text(text) => text.as_bytes(),
        Message::Binary(bytes) => bytes,
    };
    add_push(Format::Protobuf, &mut message, "a", &push);
    assert!(raw.is_empty() || message.windows(raw.len()).any(|it| it == raw));
    // What nests too deep for this reader, or has half a pair of surrogates, is not its to judge.
    if let Ok(told) = serde_json::from_slice::<Value>(&line)
        && let Message::Text(text) = data
    {
        let published = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        assert_eq!(told["push"]["pub"]["data"], published);
    }
}
