//! Publications as pushes, for the library to make once for all that take them.

use pushloop::{CloseCode, Encoder, Message, Publication};

use super::{
    Format,
    fields::Source,
    json::Object,
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

/// What is published there.
pub fn join_or_leave(is_join: bool, client: &Client<'_>) -> String {
    let mut told = serde_json::json!({ "client": client.client, "user": client.user });
    if let Some(info) = client.info {
        told["info"] = info.into();
    }
    serde_json::json!({ if is_join { "join" } else { "leave" }: told }).to_string()
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
    let told = data.as_text().and_then(|text| Object::read(text).ok());
    let Some((name, told)) = told.as_ref().and_then(Object::only) else { return };
    let Ok(told) = Object::read(told) else { return };
    let [client, user, info] = ["client", "user", "info"].map(|name| told.text((name, 0)));
    let (client, user) = (client.unwrap_or_default(), user.unwrap_or_default());
    let info = info.unwrap_or_default();
    let info = (!info.is_empty()).then_some(&*info);
    let client = Client { client, user: &user, info };
    let push = if name == "join" { Push::Join(client) } else { Push::Leave(client) };
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
        let client = Client { client: "c".into(), user: "é\"", info: Some("{\"n\": 1}") };
        let anonymous = Client { client: "c".into(), user: "", info: None };
        let topic = joins("a");
        assert!(is_of_joins(&topic) && !is_of_joins("a") && !is_of_joins("$joins"));
        for (told, json, protobuf) in [
            (
                join_or_leave(true, &client),
                r#"{"push":{"channel":"a","join":{"info":{"user":"é\"","client":"c","conn_info":{"n": 1}}}}}"#,
                "\x1b\"\x19\x12\x01a*\x14\n\x12\n\x03é\"\x12\x01c\x1a\x08{\"n\": 1}",
            ),
            (
                join_or_leave(false, &anonymous),
                r#"{"push":{"channel":"a","leave":{"info":{"client":"c"}}}}"#,
                "\x0c\"\n\x12\x01a2\x05\n\x03\x12\x01c",
            ),
        ] {
            assert_eq!(
                text(Format::Json, &topic, &told),
                json.as_bytes().escape_ascii().to_string()
            );
            let protobuf = protobuf.as_bytes().escape_ascii().to_string();
            assert_eq!(text(Format::Protobuf, &topic, &told), protobuf);
        }
        // Elsewhere it is what it is.
        assert!(text(Format::Json, "a", "{}").contains("pub"));
        for wrong in ["", "[]", "{}", "{\"join\":1}"] {
            assert_eq!(text(Format::Json, &topic, wrong), "");
        }
    }
}
