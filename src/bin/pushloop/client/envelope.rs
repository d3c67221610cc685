//! What the server sends if it is asked for envelopes: one JSON object in each message.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;

#[derive(Debug, PartialEq, Eq)]
pub struct Envelope {
    pub topic: String,
    /// The place in the topic; none if it keeps no places.
    pub id: Option<String>,
    pub content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    Text(String),
    Bytes(Vec<u8>),
    /// The subscription has begun.
    Greeting(Recovered),
}

/// What became of the request for earlier publications.
#[derive(Debug, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing earlier was asked for.
    NotAsked,
    /// All of it follows.
    All,
    /// Some is missing, and this is why.
    Not(String),
}

impl Envelope {
    /// Reads a message; `None` for what is no envelope.
    pub fn parse(message: &str) -> Option<Self> {
        let object: Value = serde_json::from_str(message).ok()?;
        let text = |name: &str| object[name].as_str().map(str::to_owned);
        let content = match (text("data"), text("base64")) {
            (Some(data), _) => Content::Text(data),
            (None, Some(base64)) => Content::Bytes(BASE64.decode(base64).ok()?),
            (None, None) => Content::Greeting(match object.get("recovered")? {
                Value::Null => Recovered::NotAsked,
                Value::Bool(true) => Recovered::All,
                Value::Bool(false) => Recovered::Not(text("why").unwrap_or_default()),
                _ => return None,
            }),
        };
        Some(Self { topic: text("topic")?, id: text("id"), content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_text_or_bytes_or_a_greeting() {
        let why = |why: &str| Content::Greeting(Recovered::Not(why.to_owned()));
        for (message, id, content) in [
            (
                r#"{"topic":"t","id":"e-1","data":"a\nb"}"#,
                Some("e-1"),
                Content::Text("a\nb".into()),
            ),
            (r#"{"topic":"t","id":null,"data":""}"#, None, Content::Text(String::new())),
            (
                r#"{"topic":"t","id":"e-2","base64":"AAEC"}"#,
                Some("e-2"),
                Content::Bytes(vec![0, 1, 2]),
            ),
            (
                r#"{"topic":"t","id":"e-3","recovered":null}"#,
                Some("e-3"),
                Content::Greeting(Recovered::NotAsked),
            ),
            (
                r#"{"recovered":true,"id":"e-4","topic":"t"}"#,
                Some("e-4"),
                Content::Greeting(Recovered::All),
            ),
            (r#"{"topic":"t","id":null,"recovered":false,"why":"gone"}"#, None, why("gone")),
            (r#"{"topic":"t","id":null,"recovered":false}"#, None, why("")),
        ] {
            let (topic, id) = ("t".to_owned(), id.map(str::to_owned));
            assert_eq!(
                Envelope::parse(message),
                Some(Envelope { topic, id, content }),
                "{message}"
            );
        }
    }

    #[test]
    fn what_is_no_envelope_is_none() {
        for message in [
            "",
            "Goal!",
            "7",
            "[]",
            "{}",
            r#"{"topic":"t"}"#,
            r#"{"data":"x"}"#,
            r#"{"topic":7,"data":"x"}"#,
            r#"{"topic":"t","recovered":"yes"}"#,
            r#"{"topic":"t","base64":"A"}"#,
            r#"{"topic":"t","data":"x"}{}"#,
        ] {
            assert_eq!(Envelope::parse(message), None, "{message}");
        }
    }
}
