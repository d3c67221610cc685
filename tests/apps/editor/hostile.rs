//! What a peer with a page would not send.

use tungstenite::Message;

use super::update::TEXT;
use super::{STATE_VECTOR, UPDATE, framed};

/// Messages that nobody with a page would send, and what the server says to each.
pub fn hostile() -> Vec<(Message, &'static str)> {
    let update = |bytes: &[u8]| framed(UPDATE, bytes);
    let named = |kind: u8, content: &[u8]| {
        let start = [1, 1, 9, 0, kind, 1, 4];
        update(&[&start[..], TEXT.as_bytes(), content, &[0]].concat())
    };
    let item = [&[4, 1, 4][..], TEXT.as_bytes(), b"\x02ab"].concat();
    let twice = [&[2, 1, 9, 0], &item[..], &[1, 9, 0], &item, &[0]].concat();
    let backwards = [&[1, 2, 9, 0], &item[..], &[0xC4, 9, 1, 9, 0, 1, b'c', 0]].concat();
    let malformed = "an update is cut off or malformed";
    let places = "a text is {name";
    vec![
        (Message::binary(Vec::new()), "a message begins with 0, 1 or 2"),
        (Message::binary(vec![3, 0, 0]), "a message begins with 0, 1 or 2"),
        // Announced: millions of clients, of items, of bytes.
        (update(&[0xff, 0xff, 0xff, 0x1f]), malformed),
        (update(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 9, 0]), malformed),
        (framed(STATE_VECTOR, &[0xff, 0xff, 0xff, 0x1f]), malformed),
        (named(4, &[0xff, 0xff, 0xff, 0xff, 0x0f]), malformed),
        (update(&[]), malformed),
        (update(&[0, 0, 0]), "an update is too long"),
        (framed(STATE_VECTOR, &[0, 0]), "a state vector is too long"),
        (
            framed(STATE_VECTOR, &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0]),
            "a client's",
        ),
        // Not text: JSON, bytes, an embedded object, a format, a map, anything, a document.
        (named(2, &[1, 1, b'0']), "an update inserts what is no text"),
        (named(3, &[1, 0]), "an update inserts what is no text"),
        (named(5, b"\x02{}"), "an update inserts what is no text"),
        (named(6, b"\x01a\x011"), "an update inserts what is no text"),
        (named(7, &[1]), "an update inserts what is no text"),
        (named(8, &[1, 126]), "an update inserts what is no text"),
        (named(9, b"\x01a\x7f"), "an update inserts what is no text"),
        (named(4 | 0x20, b"\x01a\x01a"), "an update inserts what is no text"),
        (
            update(&[1, 1, 9, 0, 4, 1, 5, b'o', b't', b'h', b'e', b'r', 1, b'a', 0]),
            "is not of the text",
        ),
        (named(4, &[1, 0xff]), "a text is not UTF-8"),
        (named(4, b"\x02a\r"), "a text has control characters"),
        // Lengths.
        (named(4, &[0]), "a length is 0 or too large"),
        (named(1, &[0xff, 0xff, 0xff, 0xff, 0x0f]), "a length is 0 or too large"),
        (update(&[0, 1, 9, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 2]), "a length is 0 or too large"),
        // What is beside itself, and two in a circle.
        (update(&[1, 1, 9, 0, 0x84, 9, 0, 1, b'a', 0]), "an insertion is beside itself"),
        (
            update(&[2, 1, 9, 0, 0x84, 8, 0, 1, b'a', 1, 8, 0, 0x84, 9, 0, 1, b'b', 0]),
            "in a circle",
        ),
        (update(&twice), "a client is there twice"),
        // Deleted, and nothing is known of it: yrs has that of what is no text only.
        (update(&[1, 1, 9, 0, 0, 1, 0]), "an update inserts what is no text"),
        // Between what stands in another order: there is nothing behind the end.
        (update(&backwards), "an insertion is between what is in another order"),
        // Texts.
        (Message::text(""), places),
        (Message::text("[".repeat(500)), places),
        (Message::text(r#"{"name":"","from":null,"to":null}"#), places),
        (Message::text(r#"{"name":" a","from":null,"to":null}"#), places),
        (Message::text(r#"{"name":"a\u0007","from":null,"to":null}"#), places),
        (Message::text(format!(r#"{{"name":"{}"}}"#, "n".repeat(25))), places),
        (Message::text(r#"{"name":"a","from":[1,2,3],"to":null}"#), places),
        (Message::text(r#"{"name":"a","from":{"a":1},"to":null}"#), places),
        (Message::text("{\"name\":\"a\u{202E}\"}"), places),
        (Message::text("{\"name\":\"\u{3164}\"}"), places),
        (Message::text(r#"{"name":"a","from":[1e999,0],"to":null}"#), places),
        (Message::text(r#"{"name":"a","from":[-1,0.5],"to":null}"#), places),
        // An update as text.
        (Message::text("\u{1}\u{0}\u{0}"), places),
    ]
}
