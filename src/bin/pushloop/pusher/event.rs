//! An event of Pusher as a topic has it, and a publication as Pusher's clients have it.
//!
//! A publication is an event if it is text of an object with an `event`, its `data`, perhaps the `user_id` of who
//! has sent it, and nothing else. Data that is a string is what it says; other data is the text of it. So what is
//! published here comes out as it was, also from a history and a file, and others read an object. Whatever else
//! is published is the event `message`.

use base64::{Engine, engine::general_purpose::STANDARD};
use pushloop::{Message, Publication};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{EVENT_BYTES_MAX, channel};

/// What is no event is this one.
const MESSAGE: &str = "message";
/// Events of clients: their data stays what it is.
const CLIENT: &str = "client-";

/// An event, as a topic has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept<'a> {
    event: String,
    #[serde(borrow)]
    data: &'a RawValue,
    user_id: Option<String>,
}

/// What a companion topic says.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Change<'a> {
    Join {
        id: String,
        #[serde(borrow)]
        info: &'a RawValue,
    },
    Leave {
        id: String,
    },
}

/// Whether an event's name is the protocol's own.
pub fn is_own_name(name: &str) -> bool {
    name.starts_with("pusher:") || name.starts_with("pusher_internal:")
}

/// The text of an event with this text as its data.
pub fn keep(event: &str, data: &str, user_id: Option<&str>) -> String {
    let is_read = |text: &String| read(text).is_some_and(|it| it.text() == data);
    // As what it is, if it is read as what it was.
    let object = Some(written(event, data, user_id)).filter(|_| !event.starts_with(CLIENT));
    object.filter(is_read).unwrap_or_else(|| written(event, &string(data), user_id))
}

/// The same of an event of a client, with any JSON as its data.
pub fn keep_sent(event: &str, data: &str, user_id: Option<&str>) -> String {
    written(event, data, user_id)
}

fn written(event: &str, data: &str, user_id: Option<&str>) -> String {
    let user = user_id.map(|id| format!(",\"user_id\":{}", string(id))).unwrap_or_default();
    format!("{{\"event\":{},\"data\":{data}{user}}}", string(event))
}

fn read(text: &str) -> Option<Kept<'_>> {
    let kept: Kept<'_> = serde_json::from_str(text).ok()?;
    let is_event =
        !kept.event.is_empty() && kept.event.len() <= EVENT_BYTES_MAX && !is_own_name(&kept.event);
    is_event.then_some(kept)
}

impl Kept<'_> {
    /// The data's text.
    fn text(&self) -> String {
        let raw = self.data.get();
        serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned())
    }
}

/// Appends the frame of a publication.
pub fn encode(topic: &str, publication: Publication<'_>, out: &mut String) {
    let (channel, is_companion) = channel::of_topic(topic);
    let frame = match publication.message {
        Message::Text(text) if is_companion => encode_change(&channel, text),
        message => encode_last(&channel, message),
    };
    out.push_str(&frame);
}

/// The frame of what was published to a channel.
pub fn encode_last(channel: &str, message: Message<'_>) -> String {
    let text = match message {
        Message::Binary(bytes) => string(&STANDARD.encode(bytes)),
        Message::Text(text) => match read(text) {
            Some(kept) => {
                let raw = kept.data.get();
                let stays = kept.event.starts_with(CLIENT) && !raw.starts_with('"');
                let data = if stays { raw.to_owned() } else { string(&kept.text()) };
                return frame(&kept.event, channel, &data, kept.user_id.as_deref());
            }
            None if serde_json::from_str::<IgnoredAny>(text).is_ok() => text.to_owned(),
            None => string(text),
        },
    };
    frame(MESSAGE, channel, &string(&text), None)
}

fn encode_change(channel: &str, text: &str) -> String {
    let (event, data) = match serde_json::from_str(text) {
        Ok(Change::Join { id, info }) => {
            let info = info.get();
            let info =
                if info == "null" { String::new() } else { format!(",\"user_info\":{info}") };
            ("member_added", format!("{{\"user_id\":{}{info}}}", string(&id)))
        }
        Ok(Change::Leave { id }) => ("member_removed", format!("{{\"user_id\":{}}}", string(&id))),
        // Nobody else publishes there.
        Err(_) => return encode_last(channel, Message::Text(text)),
    };
    frame(&format!("pusher_internal:{event}"), channel, &string(&data), None)
}

fn frame(event: &str, channel: &str, data: &str, user_id: Option<&str>) -> String {
    let user = user_id.map(|id| format!(",\"user_id\":{}", string(id))).unwrap_or_default();
    let (event, channel) = (string(event), string(channel));
    format!("{{\"event\":{event},\"channel\":{channel},\"data\":{data}{user}}}")
}

/// The text as a string of JSON.
pub(super) fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(text: &str) -> Value {
        serde_json::from_str(&encode_last("a", Message::Text(text))).expect("it is JSON")
    }

    #[test]
    fn an_event_comes_out_as_it_was_and_others_read_an_object() {
        for (data, kept) in [
            (r#"{"home": 1}"#, r#"{"event":"goal","data":{"home": 1}}"#),
            ("[1,2]", r#"{"event":"goal","data":[1,2]}"#),
            ("Goal!", r#"{"event":"goal","data":"Goal!"}"#),
            ("\"Goal!\"", r#"{"event":"goal","data":"\"Goal!\""}"#),
            (" {} ", r#"{"event":"goal","data":" {} "}"#),
            ("", r#"{"event":"goal","data":""}"#),
            ("1,\"x\":2", r#"{"event":"goal","data":"1,\"x\":2"}"#),
            ("1e999", r#"{"event":"goal","data":1e999}"#),
            ("κόσμε\n\u{2028}", "{\"event\":\"goal\",\"data\":\"κόσμε\\n\u{2028}\"}"),
        ] {
            assert_eq!(keep("goal", data, None), kept);
            assert_eq!(shown(kept), json!({ "event": "goal", "channel": "a", "data": data }));
        }
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        assert_eq!(shown(&keep("goal", &deep, None))["data"], deep);
    }

    #[test]
    fn what_a_client_sends_stays_what_it_is() {
        for (data, text) in [(r#"{"x":1}"#, json!({ "x": 1 })), ("\"x\"", json!("x"))] {
            let kept = keep_sent("client-moves", data, Some("ada"));
            let frame =
                json!({ "event": "client-moves", "channel": "a", "data": text, "user_id": "ada" });
            assert_eq!(shown(&kept), frame);
        }
        // A backend's is a text, whatever its name.
        assert_eq!(shown(&keep("client-x", r#"{"x":1}"#, None))["data"], r#"{"x":1}"#);
    }

    #[test]
    fn whatever_else_is_published_is_a_message() {
        for (text, data) in [
            ("Goal!", "\"Goal!\""),
            ("", "\"\""),
            (r#"{"a": [1]}"#, r#"{"a": [1]}"#),
            ("7", "7"),
            (r#"{"event":"x"}"#, r#"{"event":"x"}"#),
            (r#"{"event":"x","data":1,"more":2}"#, r#"{"event":"x","data":1,"more":2}"#),
            (r#"{"event":"","data":1}"#, r#"{"event":"","data":1}"#),
            (r#"{"event":"pusher:error","data":1}"#, r#"{"event":"pusher:error","data":1}"#),
            (
                r#"{"event":"pusher_internal:member_added","data":1}"#,
                r#"{"event":"pusher_internal:member_added","data":1}"#,
            ),
            (r#"{"event":"x","event":"y","data":1}"#, r#"{"event":"x","event":"y","data":1}"#),
        ] {
            assert_eq!(shown(text), json!({ "event": "message", "channel": "a", "data": data }));
        }
        let name = |len: usize| format!("{{\"event\":\"{}\",\"data\":1}}", "x".repeat(len));
        assert_eq!(shown(&name(200))["data"], "1");
        assert_eq!(shown(&name(201))["event"], "message");
        let binary = encode_last("a", Message::Binary(&[0, 1, 2]));
        assert_eq!(binary, r#"{"event":"message","channel":"a","data":"\"AAEC\""}"#);
    }

    #[test]
    fn those_who_join_and_leave_are_told_of_as_members() {
        for (text, event, data) in [
            (
                r#"{"join":{"id":"1","info":{"n":"A"}}}"#,
                "member_added",
                r#"{"user_id":"1","user_info":{"n":"A"}}"#,
            ),
            (r#"{"join":{"id":"1","info":null}}"#, "member_added", r#"{"user_id":"1"}"#),
            (r#"{"leave":{"id":"1"}}"#, "member_removed", r#"{"user_id":"1"}"#),
        ] {
            let frame: Value = serde_json::from_str(&encode_change("presence-a", text)).unwrap();
            let event = format!("pusher_internal:{event}");
            assert_eq!(frame, json!({ "event": event, "channel": "presence-a", "data": data }));
        }
    }
}
