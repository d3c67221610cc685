//! Pusher's protocol in the server to run: what a client may say, and what may be published. The first line is an
//! event's name or a channel's, and the rest its data.
//!
//! What is read is JSON to another reader too; an event comes out as it went in; each publication is a frame of the
//! channel that its topic is, and no publication is one of the protocol's own events.

use crate::pusher::{self, App, AppFile, ChannelData, EVENT_BYTES_MAX, Kind, Said};
use pushloop::Message;
use serde_json::Value;

pub fn run(data: &[u8]) {
    is_told(&pusher::encode_last("a", Message::Binary(data)), "a");
    let Ok(text) = str::from_utf8(data) else { return };
    is_told(&pusher::encode_last("a", Message::Text(text)), "a");
    if let Some(said) = pusher::read(text) {
        let read: Value = serde_json::from_str(text).expect("it is JSON");
        assert!(read["event"].is_string());
        if let Said::Event { event, data, .. } = said {
            let kept = pusher::keep_sent(&event, &data, None);
            let told = is_told(&pusher::encode_last("a", Message::Text(&kept)), "a");
            let is_short = event.len() <= EVENT_BYTES_MAX;
            assert_eq!(told["event"], if is_short { event.as_str() } else { "message" });
        }
    }
    if let Some(member) = ChannelData::read(text) {
        assert!(!member.id.is_empty());
        assert!(member.info.is_empty() || serde_json::from_str::<Value>(&member.info).is_ok());
    }
    let _ = (pusher::sign_in_id(text), AppFile::parse(text));
    let (name, data) = text.split_once('\n').unwrap_or(("goal", text));
    if let Some(kind) = Kind::of(name) {
        let file = AppFile::parse("2:key:file").expect("it is one");
        for nth in [0, 1] {
            let app = App::new(nth, &file, &[7; 16]).expect("it is long enough");
            let topic = app.topic(name);
            assert_eq!(
                topic.starts_with("private-"),
                !matches!(kind, Kind::Public | Kind::Presence)
            );
            assert_eq!(topic.starts_with("presence-"), kind == Kind::Presence);
            assert!(!app.allows(data, "1.2", name, None));
        }
    }
    if !name.is_empty() && name.len() <= EVENT_BYTES_MAX && !pusher::is_own_name(name) {
        let kept = pusher::keep(name, data, None);
        let told = is_told(&pusher::encode_last("a", Message::Text(&kept)), "a");
        assert_eq!((told["event"].as_str(), told["data"].as_str()), (Some(name), Some(data)));
    }
}

/// What a client is told of a channel.
fn is_told(frame: &str, channel: &str) -> Value {
    let told: Value = serde_json::from_str(frame).expect("it is JSON");
    assert_eq!(told["channel"], channel);
    assert!(!pusher::is_own_name(told["event"].as_str().expect("it has a name")));
    told
}
