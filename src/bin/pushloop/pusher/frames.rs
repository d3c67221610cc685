//! What clients say, and what they are told.

use std::fmt::{Display, Write};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::event::string;

/// Seconds after which a client that has heard nothing asks whether the server is there, as Pusher has it. The
/// server's own Pings of RFC 6455 keep the connection open besides.
const ACTIVITY_TIMEOUT: u32 = 120;
/// Arrays and objects in each other, in what a client says.
const NESTING_MAX: usize = 64;

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Ping,
    Pong,
    Subscribe {
        channel: String,
        auth: String,
        channel_data: Option<String>,
    },
    Unsubscribe(String),
    SignIn {
        auth: String,
        user_data: String,
    },
    /// An event for the others of a channel, with its data as it is written.
    Event {
        event: String,
        channel: String,
        data: String,
    },
    /// Nothing that is known here.
    Other(String),
}

#[derive(Deserialize)]
struct Frame<'a> {
    event: String,
    channel: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Subscribe {
    channel: String,
    auth: Option<String>,
    channel_data: Option<String>,
}

#[derive(Deserialize)]
struct Channel {
    channel: String,
}

#[derive(Deserialize)]
struct SignIn {
    auth: String,
    user_data: String,
}

/// What is said of a member.
#[derive(Debug, PartialEq, Eq)]
pub struct ChannelData {
    pub id: String,
    /// JSON, or nothing.
    pub info: String,
}

/// Reads what a client says. `None` if it is not of the protocol.
pub fn read(text: &str) -> Option<Said> {
    let Frame { event, channel, data } =
        serde_json::from_str(text).ok().filter(|_| !nests_deeper(text, NESTING_MAX))?;
    let data = data.map_or("null", RawValue::get);
    Some(match &*event {
        "pusher:ping" => Said::Ping,
        "pusher:pong" => Said::Pong,
        "pusher:subscribe" => {
            let Subscribe { channel, auth, channel_data } = inside(data)?;
            Said::Subscribe { channel, auth: auth.unwrap_or_default(), channel_data }
        }
        "pusher:unsubscribe" => Said::Unsubscribe(inside::<Channel>(data)?.channel),
        "pusher:signin" => {
            let SignIn { auth, user_data } = inside(data)?;
            Said::SignIn { auth, user_data }
        }
        name if name.starts_with("client-") => {
            let channel = channel?;
            Said::Event { event, channel, data: data.to_owned() }
        }
        _ => Said::Other(event),
    })
}

/// Data is an object, or the text of one.
fn inside<T: DeserializeOwned>(data: &str) -> Option<T> {
    match serde_json::from_str::<String>(data) {
        Ok(text) => serde_json::from_str(&text).ok(),
        Err(_) => serde_json::from_str(data).ok(),
    }
}

/// Whether arrays and objects of a text of JSON are in each other more than so many times.
fn nests_deeper(text: &str, max: usize) -> bool {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    text.bytes().any(|byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > max
    })
}

impl ChannelData {
    /// Reads it. An id is text, or a number of which the text is taken.
    pub fn read(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Data<'a> {
            #[serde(borrow)]
            user_id: &'a RawValue,
            user_info: Option<&'a RawValue>,
        }
        let Data { user_id, user_info } =
            serde_json::from_str(text).ok().filter(|_| !nests_deeper(text, NESTING_MAX))?;
        let info = user_info.map(RawValue::get).unwrap_or_default().to_owned();
        Some(Self { id: id(user_id)?, info })
    }
}

/// The user that this data names.
pub fn sign_in_id(user_data: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    let Data { id: raw } = serde_json::from_str(user_data).ok()?;
    id(raw)
}

fn id(raw: &RawValue) -> Option<String> {
    let text = raw.get();
    let id = match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok()?,
        b'0'..=b'9' | b'-' => text.to_owned(),
        _ => return None,
    };
    Some(id).filter(|id| !id.is_empty() && !id.contains(char::is_control))
}

/// An event of the protocol. Its data is text of JSON in text of JSON.
pub fn frame(event: &str, channel: Option<&str>, data: impl Display) -> String {
    let channel =
        channel.map(|channel| format!(",\"channel\":{}", string(channel))).unwrap_or_default();
    format!("{{\"event\":\"{event}\"{channel},\"data\":{}}}", string(&data.to_string()))
}

pub fn established(socket: &str) -> String {
    let data = format!("{{\"socket_id\":\"{socket}\",\"activity_timeout\":{ACTIVITY_TIMEOUT}}}");
    frame("pusher:connection_established", None, data)
}

pub fn subscribed(channel: &str, data: impl Display) -> String {
    frame("pusher_internal:subscription_succeeded", Some(channel), data)
}

/// What went wrong, with Pusher's code where it has one, and of which channel.
pub fn error(code: Option<u16>, channel: Option<&str>, message: &str) -> String {
    let code = code.map_or("null".to_owned(), |code| code.to_string());
    let channel =
        channel.map(|channel| format!(",\"channel\":{}", string(channel))).unwrap_or_default();
    let data = format!("{{\"code\":{code},\"message\":{}}}", string(message));
    format!("{{\"event\":\"pusher:error\"{channel},\"data\":{data}}}")
}

pub fn subscription_error(channel: &str, kind: &str, status: u16, why: &str) -> String {
    let data = format!("{{\"type\":\"{kind}\",\"error\":{},\"status\":{status}}}", string(why));
    frame("pusher:subscription_error", Some(channel), data)
}

/// Who is in a channel: ids, and of each its info.
pub fn members<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let (mut ids, mut hash, mut count) = (String::new(), String::new(), 0);
    for (id, info) in members {
        let comma = if count == 0 { "" } else { "," };
        let id = string(id);
        let _ = write!(ids, "{comma}{id}");
        let _ = write!(hash, "{comma}{id}:{info}");
        count += 1;
    }
    format!("{{\"presence\":{{\"count\":{count},\"ids\":[{ids}],\"hash\":{{{hash}}}}}}}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn subscribe(channel: &str, auth: &str, data: Option<&str>) -> Said {
        let channel_data = data.map(str::to_owned);
        Said::Subscribe { channel: channel.to_owned(), auth: auth.to_owned(), channel_data }
    }

    #[test]
    fn what_clients_say_is_read() {
        for (text, said) in [
            (r#"{"event":"pusher:ping","data":{}}"#, Said::Ping),
            (r#"{"event":"pusher:pong"}"#, Said::Pong),
            (
                r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"a"}}"#,
                subscribe("a", "", None),
            ),
            (r#"{"event":"pusher:subscribe","data":{"channel":"a"}}"#, subscribe("a", "", None)),
            (
                r#"{"event":"pusher:subscribe","data":"{\"channel\":\"a\",\"auth\":\"k:s\"}"}"#,
                subscribe("a", "k:s", None),
            ),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":"a","auth":"k:s","channel_data":"{}"}}"#,
                subscribe("a", "k:s", Some("{}")),
            ),
            (
                r#"{"event":"pusher:unsubscribe","data":{"channel":"a"}}"#,
                Said::Unsubscribe("a".to_owned()),
            ),
            (
                r#"{"event":"pusher:signin","data":{"auth":"k:s","user_data":"{}"}}"#,
                Said::SignIn { auth: "k:s".to_owned(), user_data: "{}".to_owned() },
            ),
            (r#"{"event":"x"}"#, Said::Other("x".to_owned())),
        ] {
            assert_eq!(read(text), Some(said), "{text}");
        }
        let event = r#"{"event":"client-x","channel":"private-a","data":{"b": 1}}"#;
        let [event_name, channel, data] =
            ["client-x", "private-a", r#"{"b": 1}"#].map(str::to_owned);
        assert_eq!(read(event), Some(Said::Event { event: event_name, channel, data }));
    }

    #[test]
    fn what_is_not_of_the_protocol_is_not_read() {
        let deep = |depth: usize| {
            let data = "[".repeat(depth - 1) + &"]".repeat(depth - 1);
            format!("{{\"event\":\"client-x\",\"channel\":\"a\",\"data\":{data}}}")
        };
        assert!(read(&deep(64)).is_some());
        for text in [
            "",
            "x",
            "{}",
            "[]",
            "null",
            r#"{"event":1}"#,
            r#"{"event":"pusher:ping""#,
            r#"{"event":"pusher:ping","event":"pusher:pong"}"#,
            r#"{"event":"pusher:subscribe"}"#,
            r#"{"event":"pusher:subscribe","data":{}}"#,
            r#"{"event":"pusher:subscribe","data":{"channel":1}}"#,
            r#"{"event":"pusher:subscribe","data":{"channel":"a","channel":"b"}}"#,
            r#"{"event":"pusher:subscribe","data":"x"}"#,
            r#"{"event":"client-x"}"#,
            r#"{"event":"\ud800"}"#,
            &deep(65),
            &deep(1000),
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(!nests_deeper(r#"{"a":"[[[\"[["}"#, 1) && nests_deeper("[[", 1));
    }

    #[test]
    fn a_member_has_an_id_and_perhaps_an_info() {
        let member = |text: &str| ChannelData::read(text).map(|it| (it.id, it.info));
        let pair = |id: &str, info: &str| Some((id.to_owned(), info.to_owned()));
        assert_eq!(member(r#"{"user_id":"ada","user_info":{"n":1}}"#), pair("ada", r#"{"n":1}"#));
        assert_eq!(member(r#"{"user_id":10}"#), pair("10", ""));
        for wrong in
            ["", "{}", r#"{"user_id":null}"#, r#"{"user_id":""}"#, r#"{"user_id":"a\n"}"#, "[]"]
        {
            assert_eq!(member(wrong), None, "{wrong}");
        }
        assert_eq!(sign_in_id(r#"{"id":"7","watchlist":["8"]}"#), Some("7".to_owned()));
        assert_eq!(sign_in_id(r#"{"user_id":"7"}"#), None);
    }

    #[test]
    fn what_is_told_is_json_in_json() {
        let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let data =
            |frame: &Value| serde_json::from_str::<Value>(frame["data"].as_str().unwrap()).unwrap();
        let frame = read(established("7.8"));
        assert_eq!(data(&frame), json!({ "socket_id": "7.8", "activity_timeout": 120 }));
        let list = members([("a\"", "{}"), ("b", "null")].into_iter());
        let frame = read(subscribed("presence-a", list));
        let presence = json!({ "count": 2, "ids": ["a\"", "b"], "hash": { "a\"": {}, "b": null } });
        assert_eq!(data(&frame), json!({ "presence": presence }));
        let frame = read(error(Some(4301), None, "too \"fast\""));
        assert_eq!(frame["data"], json!({ "code": 4301, "message": "too \"fast\"" }));
    }
}
