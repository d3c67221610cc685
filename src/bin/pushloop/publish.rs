//! Publishing over HTTP: to a topic, to several, or a batch of lines.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use pushloop::{ContentError, Cors, Hub, Message, Position, PublishError, Published, Request};
use serde::Deserialize;

use crate::topics::{self, Refusal};

/// What a request wants published, as far as its head tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Its body, to these topics.
    Topics {
        names: Vec<String>,
        key: Option<String>,
        /// Only if nothing was published to the topic since.
        only_at: Option<Position>,
    },
    /// What its lines say.
    Batch,
}

/// An answer: a status, a content type, and a body.
pub type Answer = (u16, &'static str, String);

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

/// A line of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    topic: String,
    data: Option<String>,
    base64: Option<String>,
    key: Option<String>,
}

/// What pages of other origins may do: publish and subscribe, with these header fields.
pub fn cors() -> Cors {
    let mut cors = Cors::default();
    cors.headers.extend(["Idempotency-Key", "If-Match", "Last-Event-ID"].map(String::from));
    cors
}

/// What a request asks for, or why it may not.
pub fn asked(hub: &Hub, request: &Request, one_topic: bool) -> Result<Asked, Refusal> {
    if let Some(why) = hub.origin_refusal(request) {
        return Err((403, why.into()));
    }
    // A proxy that guards paths would not see its topics.
    if !one_topic && is_batch(request) {
        return Ok(Asked::Batch);
    }
    let names = topics::of(request, hub.config(), one_topic)?;
    names.iter().try_for_each(|name| check(name))?;
    let key = header(request, "idempotency-key")?;
    let key_max = hub.config().idempotency_key_bytes_max;
    if key.as_ref().is_some_and(|key| key.len() > key_max) {
        let why =
            format!("an Idempotency-Key has at most idempotency_key_bytes_max = {key_max} bytes");
        return Err((400, why.into()));
    }
    let only_at = header(request, "if-match")?.map(|id| id.trim_matches('"').parse());
    let only_at = only_at.transpose().map_err(|_| {
        (400, "If-Match is an id as a publication or an event had it, EPOCH-OFFSET".into())
    })?;
    if only_at.is_some() && names.len() > 1 {
        return Err((400, "If-Match is for one topic".into()));
    }
    request.body_kind().map_err(refusal)?;
    Ok(Asked::Topics { names, key, only_at })
}

fn header(request: &Request, name: &str) -> Result<Option<String>, Refusal> {
    let value = request.header(name).map(|value| str::from_utf8(value).map(str::to_owned));
    value.transpose().map_err(|_| (400, format!("{name} is not UTF-8").into()))
}

/// Lines of several topics are sent to none.
fn is_batch(request: &Request) -> bool {
    let of_lines = |value: &str| value.split(';').next().is_some_and(|it| it.trim() == LINES);
    request.path() == "/"
        && request.query_value("topic").is_none()
        && request.header_text("content-type").is_some_and(of_lines)
}

fn check(name: &str) -> Result<(), Refusal> {
    if name.starts_with('$') {
        return Err((403, "topics that begin with $ are the server's own".into()));
    }
    Ok(())
}

pub fn refusal(wrong: ContentError) -> Refusal {
    (wrong.status(), wrong.message().into())
}

/// Publishes what a request asks for.
pub fn publish(hub: &mut Hub, request: &Request, asked: &Asked) -> Result<Answer, Refusal> {
    let Asked::Topics { names, key, only_at } = asked else {
        return Ok(publish_lines(hub, request.body()));
    };
    let message = request.body_message().map_err(refusal)?;
    let key = key.as_deref();
    if let ([name], Some(only_at)) = (&names[..], only_at)
        && hub.position(name) != Some(*only_at)
    {
        return Err((412, "something was published since, or the topic begins anew".into()));
    }
    if let [name] = &names[..] {
        let published = publish_to(hub, name, key, message)?;
        return Ok((200, JSON, format!("{{{}}}\n", told(hub, name, published))));
    }
    let (mut status, mut answers) = (200, Vec::new());
    for name in names {
        let topic = serde_json::json!(name);
        answers.push(match publish_to(hub, name, key, message) {
            Ok(published) => format!("{{\"topic\":{topic},{}}}", told(hub, name, published)),
            Err((refused, why)) => {
                status = refused;
                format!("{{\"topic\":{topic},\"error\":{}}}", serde_json::json!(why))
            }
        });
    }
    Ok((status, JSON, format!("{{\"published\":[{}]}}\n", answers.join(","))))
}

fn publish_to(
    hub: &mut Hub,
    name: &str,
    key: Option<&str>,
    message: Message<'_>,
) -> Result<Published, Refusal> {
    let published = match key {
        Some(key) => hub.publish_once(name, key, message),
        None => hub.publish(name, message),
    };
    published.map_err(|refused| match refused {
        PublishError::KeyTooLong | PublishError::NameTooLong => (400, refused.to_string().into()),
        refused => (503, refused.to_string().into()),
    })
}

/// What became of a publication. Without a history, nobody can resume from its place.
fn told(hub: &Hub, name: &str, published: Published) -> String {
    let mut told = format!("\"delivered\":{}", published.subscribers);
    let keeps = hub.topic_options(name).history.is_some();
    if let Some(place) = published.position.filter(|_| keeps) {
        let _ = write!(told, ",\"id\":\"{place}\"");
    }
    told
}

/// Publishes line by line, up to the first that is broken or refused: what was published is said of each.
fn publish_lines(hub: &mut Hub, body: &[u8]) -> Answer {
    let mut answers = String::new();
    let lines = body.split(|byte| *byte == b'\n').enumerate();
    for (nth, line) in lines.filter(|(_, line)| !line.trim_ascii().is_empty()) {
        match publish_line(hub, line) {
            Ok(answer) => answers += &answer,
            Err((status, why)) => {
                let error = serde_json::json!({ "line": nth + 1, "error": why });
                return (status, LINES, format!("{answers}{error}\n"));
            }
        }
    }
    (200, LINES, answers)
}

fn publish_line(hub: &mut Hub, line: &[u8]) -> Result<String, Refusal> {
    let line: Line =
        serde_json::from_slice(line).map_err(|error| (400, error.to_string().into()))?;
    topics::check(&line.topic, hub.config())?;
    check(&line.topic)?;
    let bytes = line.base64.map(|base64| STANDARD.decode(base64)).transpose();
    let bytes = bytes.map_err(|error| (400, format!("base64: {error}").into()))?;
    let message = match (&line.data, &bytes) {
        (Some(data), None) => Message::Text(data),
        (None, Some(bytes)) => Message::Binary(bytes),
        _ => return Err((400, "a line has either data or base64".into())),
    };
    let published = publish_to(hub, &line.topic, line.key.as_deref(), message)?;
    Ok(format!("{{{}}}\n", told(hub, &line.topic, published)))
}
