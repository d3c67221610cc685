//! Publications as pushes, for the library to make once for all that take them.

use std::borrow::Cow;

use pushloop::{CloseCode, Encoder, Message, Publication};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Format,
    replies::{Client, Push, add_push},
    transports::{Transport, Way},
};
use crate::auth::JOINS;

/// The topic of a channel's joins and leaves, for the clients of this protocol. It has each connection, and at once: what
/// others read is who is there, by members.
pub fn joins(channel: &str) -> String {
    format!("{JOINS}{channel}")
}

/// Whether the topic is none that a client names: its publications are pushes of another channel.
pub fn is_of_joins(topic: &str) -> bool {
    topic.starts_with(JOINS)
}

/// Bytes of a client's id.
pub const CLIENT_BYTES: usize = 36;

/// What is published there, as servers that share it publish it: a client is the member that has its own id with its
/// user's behind it. `None` if its info is no JSON.
pub fn join_or_leave(is_join: bool, id: &str, info: Option<&str>) -> Option<String> {
    let info = serde_json::from_str(info.unwrap_or("null")).ok()?;
    let change = if is_join {
        Change::Join { id: id.into(), info }
    } else {
        Change::Leave { id: id.into(), info: Some(info) }
    };
    serde_json::to_string(&change).ok()
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change<'a> {
    Join {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(borrow)]
        info: &'a RawValue,
    },
    Leave {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(borrow)]
        info: Option<&'a RawValue>,
    },
}

/// The client that a member is.
pub fn client_of<'a>(id: &'a str, info: &'a str) -> Client<'a> {
    let (client, user) = id.split_at_checked(CLIENT_BYTES).unwrap_or((id, ""));
    Client { client: client.into(), user, info: Some(info).filter(|info| *info != "null") }
}

const EVENTS: Way = Way { transport: Transport::Events, format: Format::Json };
const LINES: Way = Way { transport: Transport::Body, format: Format::Json };
const LENGTHS: Way = Way { transport: Transport::Body, format: Format::Protobuf };

/// What goes over each kind of connection.
pub const ENCODERS: [(Way, Encoder); 5] = [
    (Way { transport: Transport::WebSocket, format: Format::Json }, Encoder::Text(json)),
    (Way { transport: Transport::WebSocket, format: Format::Protobuf }, Encoder::Binary(protobuf)),
    (
        EVENTS,
        Encoder::Stream {
            publication: |topic, it, out| in_body(EVENTS, topic, it, out),
            close: |code, reason, out| end_body(EVENTS, code, reason, out),
        },
    ),
    (
        LINES,
        Encoder::Stream {
            publication: |topic, it, out| in_body(LINES, topic, it, out),
            close: |code, reason, out| end_body(LINES, code, reason, out),
        },
    ),
    (
        LENGTHS,
        Encoder::Stream {
            publication: |topic, it, out| in_body(LENGTHS, topic, it, out),
            close: |code, reason, out| end_body(LENGTHS, code, reason, out),
        },
    ),
];

fn in_body(way: Way, topic: &str, publication: Publication<'_>, out: &mut Vec<u8>) {
    let Publication { position, message, .. } = publication;
    let mut frame = Vec::new();
    encode(way.format, topic, (position.offset, message), &mut frame);
    way.add_frame(&frame, out);
}

fn end_body(way: Way, code: CloseCode, reason: &str, out: &mut Vec<u8>) {
    let mut frame = Vec::new();
    let push = Push::Disconnect { code: code.get().into(), reason };
    add_push(way.format, &mut frame, "", &push);
    way.add_frame(&frame, out);
}

fn json(topic: &str, publication: Publication<'_>, out: &mut String) {
    let mut bytes = std::mem::take(out).into_bytes();
    let Publication { position, message, .. } = publication;
    encode(Format::Json, topic, (position.offset, message), &mut bytes);
    // It was made of text.
    *out = String::from_utf8(bytes).unwrap_or_default();
}

fn protobuf(topic: &str, publication: Publication<'_>, out: &mut Vec<u8>) {
    let Publication { position, message, .. } = publication;
    encode(Format::Protobuf, topic, (position.offset, message), out);
}

fn encode(format: Format, topic: &str, (offset, data): (u64, Message<'_>), out: &mut Vec<u8>) {
    let Some(channel) = topic.strip_prefix(JOINS) else {
        let publication = super::replies::Publication { offset, data };
        return add_push(format, out, topic, &Push::Publication(publication));
    };
    let change = data.as_text().and_then(|text| serde_json::from_str(text).ok());
    let push = match &change {
        Some(Change::Join { id, info }) => Push::Join(client_of(id, info.get())),
        Some(Change::Leave { id, info }) => {
            Push::Leave(client_of(id, info.map_or("null", RawValue::get)))
        }
        None => return,
    };
    add_push(format, out, channel, &push);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_joins_and_leaves_comes_as_such_to_the_channel() {
        let text = |format, topic: &str, told: &str| {
            let mut out = Vec::new();
            encode(format, topic, (1, Message::Text(told)), &mut out);
            out.escape_ascii().to_string()
        };
        let client = "c".repeat(CLIENT_BYTES);
        let user = client.clone() + "é\"";
        let topic = joins("a");
        assert!(is_of_joins(&topic) && !is_of_joins("a") && !is_of_joins("$joins"));
        for (told, json, protobuf) in [
            (
                join_or_leave(true, &user, Some("{\"n\": 1}")).unwrap(),
                r#"{"push":{"channel":"a","join":{"info":{"user":"é\"","client":"c","conn_info":{"n": 1}}}}}"#,
                "\x3e\"\x3c\x12\x01a*\x37\n\x35\n\x03é\"\x12\x24c\x1a\x08{\"n\": 1}",
            ),
            (
                join_or_leave(false, &client, None).unwrap(),
                r#"{"push":{"channel":"a","leave":{"info":{"client":"c"}}}}"#,
                "\x2f\"\x2d\x12\x01a2\x28\n\x26\x12\x24c",
            ),
            // A script of the broker's may know no more.
            (
                format!("{{\"leave\":{{\"id\":\"{client}\"}}}}"),
                r#"{"push":{"channel":"a","leave":{"info":{"client":"c"}}}}"#,
                "\x2f\"\x2d\x12\x01a2\x28\n\x26\x12\x24c",
            ),
        ] {
            let json = json.replace("\"c\"", &format!("\"{client}\""));
            assert_eq!(
                text(Format::Json, &topic, &told),
                json.as_bytes().escape_ascii().to_string()
            );
            let protobuf = protobuf.replace("\x24c", &format!("\x24{client}"));
            let protobuf = protobuf.as_bytes().escape_ascii().to_string();
            assert_eq!(text(Format::Protobuf, &topic, &told), protobuf);
        }
        // Elsewhere it is what it is.
        assert!(text(Format::Json, "a", "{}").contains("pub"));
        for wrong in ["", "[]", "{}", "{\"join\":1}", "{\"join\":{\"id\":\"a\"}}"] {
            assert_eq!(text(Format::Json, &topic, wrong), "");
        }
    }
}
