//! Server-sent events: an event stream's bytes (HTML §9.2, "Server-sent events").

use std::fmt::Display;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{OpCode, json};

/// A comment: bytes for the network, and nothing for the page.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// Appends an event for a message: its lines as they are, if it is text. What the lines of an event cannot
/// say is in base64, and the event's name says so: bytes are `base64`, and text with a carriage return,
/// which would become a line feed, or a NUL, which Firefox leaves out, is `base64-text`.
pub fn encode_event(out: &mut Vec<u8>, id: impl Display, opcode: OpCode, payload: &[u8]) {
    out.extend_from_slice(format!("id: {id}\n").as_bytes());
    encode_event_data(out, opcode, payload);
    out.push(b'\n');
}

/// Appends the fields of an event that say what the message is.
pub fn encode_event_data(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    let is_text = opcode == OpCode::Text;
    if is_text && ![b'\r', 0].iter().any(|byte| payload.contains(byte)) {
        for line in payload.split(|byte| *byte == b'\n') {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    } else {
        let name = if is_text { "base64-text" } else { "base64" };
        let data = STANDARD.encode(payload);
        out.extend_from_slice(format!("event: {name}\ndata: {data}\n").as_bytes());
    }
}

/// Appends a message's envelope: a JSON object with its topic, its id, and what was published; text as a
/// string, and bytes in base64.
pub fn encode_envelope(
    out: &mut Vec<u8>,
    topic: &str,
    id: impl Display,
    opcode: OpCode,
    payload: &[u8],
) {
    out.extend_from_slice(b"{\"topic\":");
    json::encode_string(out, topic);
    out.extend_from_slice(format!(",\"id\":\"{id}\",").as_bytes());
    match str::from_utf8(payload) {
        Ok(text) if opcode == OpCode::Text => {
            out.extend_from_slice(b"\"data\":");
            json::encode_string(out, text);
        }
        _ => {
            let data = STANDARD.encode(payload);
            out.extend_from_slice(format!("\"base64\":\"{data}\"").as_bytes());
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(opcode: OpCode, payload: &[u8]) -> String {
        let mut out = Vec::new();
        encode_event(&mut out, "7-1", opcode, payload);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_line_of_a_text_is_a_line_of_the_event() {
        for (text, lines) in [
            ("Goal!", "data: Goal!\n"),
            ("", "data: \n"),
            ("a\nb", "data: a\ndata: b\n"),
            ("\n", "data: \ndata: \n"),
            (" a: b\n\n", "data:  a: b\ndata: \ndata: \n"),
            ("κόσμε 🦀", "data: κόσμε 🦀\n"),
        ] {
            assert_eq!(event(OpCode::Text, text.as_bytes()), format!("id: 7-1\n{lines}\n"));
        }
    }

    #[test]
    fn what_lines_cannot_say_is_in_base64() {
        let cases = [
            (OpCode::Text, &b"a\r\nb"[..], "event: base64-text\ndata: YQ0KYg==\n"),
            (OpCode::Text, b"a\0", "event: base64-text\ndata: YQA=\n"),
            (OpCode::Text, b"\r", "event: base64-text\ndata: DQ==\n"),
            (OpCode::Binary, b"Goal!", "event: base64\ndata: R29hbCE=\n"),
            (OpCode::Binary, b"", "event: base64\ndata: \n"),
        ];
        for (opcode, payload, lines) in cases {
            assert_eq!(event(opcode, payload), format!("id: 7-1\n{lines}\n"));
        }
    }

    #[test]
    fn an_envelope_says_topic_place_and_what_was_published() {
        for (opcode, payload, expected) in [
            (OpCode::Text, &b"say \"hi\"\n"[..], r#""data":"say \"hi\"\n""#),
            (OpCode::Text, b"", r#""data":"""#),
            (OpCode::Binary, b"\0\xff", r#""base64":"AP8=""#),
        ] {
            let mut out = Vec::new();
            encode_envelope(&mut out, "a\"b", "7-1", opcode, payload);
            let expected = format!(r#"{{"topic":"a\"b","id":"7-1",{expected}}}"#);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
