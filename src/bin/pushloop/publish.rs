//! Publishing over HTTP: to a topic, to several, or a batch of lines.

use std::{collections::BTreeSet, fmt::Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use pushloop::{
    ConnId, ContentError, Cors, Hub, Message, Position, PublishError, Published, Request,
};
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use crate::{
    broker::NodeConn,
    centrifuge::api::Calls,
    gate::TokenOptions,
    topics::{self, Refusal},
};

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

impl Asked {
    /// Where the topic has to be.
    pub fn only_at(&self) -> Option<Position> {
        match self {
            Self::Topics { only_at, .. } => *only_at,
            Self::Batch => None,
        }
    }
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

/// What pages of other origins may do: publish and subscribe, with these header fields, and with cookies
/// if a token may come in one.
pub fn cors(options: &TokenOptions) -> Cors {
    let mut cors = Cors::default();
    cors.credentials = options.cookie.is_some();
    cors.headers
        .extend(["Idempotency-Key", "If-Match", "Last-Event-ID", "Prefer"].map(String::from));
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

/// Whether the publisher does not wait until it is published (RFC 7240 §4.1).
pub fn is_async(request: &Request) -> bool {
    let values = request.header_all("prefer").filter_map(|value| str::from_utf8(value).ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    preferences.any(|it| {
        let name = it.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("respond-async")
    })
}

/// Lines of several topics are sent to none.
fn is_batch(request: &Request) -> bool {
    let of_lines = |value: &str| value.split(';').next().is_some_and(|it| it.trim() == LINES);
    request.path() == "/"
        && request.query_value("topic").is_none()
        && request.header_text("content-type").is_some_and(of_lines)
}

pub fn refusal(wrong: ContentError) -> Refusal {
    (wrong.status(), wrong.message().into())
}

/// What is to be published, in its order, and how it is answered.
pub struct Plan<'a> {
    pub items: Vec<Item<'a>>,
    pub form: Form,
}

impl<'a> Plan<'a> {
    /// One publication, which is answered with this text once it is there.
    pub fn one(item: Item<'a>, answer: &str) -> Self {
        Self { items: vec![item], form: Form::Fixed(answer.to_owned()) }
    }
}

impl Plan<'_> {
    /// The same, without the request.
    pub fn into_owned(self) -> Plan<'static> {
        let items = self.items.into_iter().map(|Item { name, key, content, line, except }| Item {
            name,
            key,
            content: content.into_owned(),
            line,
            except,
        });
        Plan { items: items.collect(), form: self.form }
    }

    /// The same under keys that are this subject's own: what another one publishes under them is not taken for
    /// what was published already.
    pub fn under_keys_of(mut self, hub: &Hub, subject: Option<&str>) -> Self {
        let Some(subject) = subject else { return self };
        let max = hub.config().idempotency_key_bytes_max;
        let keys = self.items.iter_mut().filter_map(|item| item.key.as_mut());
        for key in keys.filter(|key| key.len() <= max) {
            // As long as any other, so that the limit is on what was sent.
            let both = format!("{} {subject}{key}", subject.len());
            *key = STANDARD.encode(digest(&SHA256, both.as_bytes()));
        }
        self
    }
}

/// A connection that does not get what is published, as a rule its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Except {
    Here(ConnId),
    /// One of another node.
    Elsewhere(NodeConn),
}

impl Except {
    /// The connection, if it is one of this node.
    pub fn here(self) -> Option<ConnId> {
        match self {
            Self::Here(id) => Some(id),
            Self::Elsewhere(_) => None,
        }
    }
}

/// A publication to be.
pub struct Item<'a> {
    pub name: String,
    pub key: Option<String>,
    pub content: Content<'a>,
    /// A connection that does not get it.
    pub except: Option<Except>,
    /// Of the batch, counted from 1.
    line: usize,
}

impl<'a> Item<'a> {
    /// One that is no line of a batch.
    pub fn new(name: String, key: Option<String>, content: Content<'a>) -> Self {
        Self { name, key, content, except: None, line: 0 }
    }
}

pub enum Content<'a> {
    /// The request's.
    Body(Message<'a>),
    Text(String),
    Binary(Vec<u8>),
}

impl Item<'static> {
    /// An event of Pusher's.
    pub fn event(name: String, text: String, except: Option<Except>) -> Self {
        Self { name, key: None, content: Content::Text(text), except, line: 0 }
    }
}

impl Content<'_> {
    /// The same, without the request.
    pub fn into_owned(self) -> Content<'static> {
        match self {
            Self::Body(Message::Text(text)) => Content::Text(text.to_owned()),
            Self::Body(Message::Binary(bytes)) => Content::Binary(bytes.to_vec()),
            Self::Text(text) => Content::Text(text),
            Self::Binary(bytes) => Content::Binary(bytes),
        }
    }

    pub fn len(&self) -> usize {
        self.message().as_bytes().len()
    }

    pub fn message(&self) -> Message<'_> {
        match self {
            Self::Body(message) => *message,
            Self::Text(text) => Message::Text(text),
            Self::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

/// The form of an answer.
#[derive(Debug)]
pub enum Form {
    /// What became of one publication.
    One,
    /// What became of each, by topics.
    Several,
    /// This, once all is published.
    Fixed(String),
    /// The same line by line, up to the first that is refused, or is broken.
    Lines { broken: Option<(usize, Refusal)> },
    /// The same as the API of Centrifuge's server SDKs has it.
    Calls(Calls),
}

/// What became of a publication.
pub type Outcome = Result<Published, Refusal>;

/// What an answer tells of: the topic, and the line of the batch.
#[derive(Debug)]
pub struct Label {
    name: String,
    line: usize,
}

/// What an answer calls these.
pub fn labels(items: &[Item<'_>]) -> Vec<Label> {
    items.iter().map(|it| Label { name: it.name.clone(), line: it.line }).collect()
}

/// The answer to a request of so many publications that will be published. Their places are not told: a
/// cut may take them, and another publication may have them.
pub fn taken(count: usize) -> Answer {
    (202, JSON, format!("{{\"taken\":{count}}}\n"))
}

/// Reads a request. The place of a topic is where its next publication will be. The lines of a batch may name
/// any topic: `may` says to which of them its publisher may publish.
pub fn plan<'a>(
    hub: &Hub,
    request: &'a Request,
    asked: Asked,
    place: impl FnOnce(&str) -> Option<Position>,
    may: impl FnMut(&str) -> Result<(), Refusal>,
) -> Result<Plan<'a>, Refusal> {
    let Asked::Topics { names, key, only_at } = asked else {
        return Ok(plan_lines(hub, request.body(), may));
    };
    let message = request.body_message().map_err(refusal)?;
    if let ([name], Some(only_at)) = (&names[..], only_at)
        && place(name) != Some(only_at)
    {
        return Err(moved());
    }
    let form = if names.len() == 1 { Form::One } else { Form::Several };
    let content = || Content::Body(message);
    let item = |name| Item::new(name, key.clone(), content());
    Ok(Plan { items: names.into_iter().map(item).collect(), form })
}

/// Publishes what was planned; if a topic has to be at a place, it is looked at again.
pub fn publish(hub: &mut Hub, plan: &Plan<'_>, only_at: Option<Position>) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(plan.items.len());
    for item in &plan.items {
        outcomes.push(publish_one(hub, item, only_at));
        if plan.form.ends_with(&outcomes) {
            break;
        }
    }
    outcomes
}

/// Publishes one of what was planned, to a topic of this loop.
pub fn publish_one(hub: &mut Hub, item: &Item<'_>, only_at: Option<Position>) -> Outcome {
    let Item { name, key, content, except, .. } = item;
    if only_at.is_some() && hub.position(name) != only_at {
        return Err(moved());
    }
    let except = except.and_then(Except::here);
    let published = publish_for(hub, name, key.as_deref(), except, content.message());
    published.map_err(not_taken)
}

fn moved() -> Refusal {
    (412, "something was published since, or the topic begins anew".into())
}

/// Publishes to all but one, or once under a key.
pub fn publish_for(
    hub: &mut Hub,
    name: &str,
    key: Option<&str>,
    except: Option<ConnId>,
    message: Message<'_>,
) -> Result<Published, PublishError> {
    match (key, except) {
        (Some(key), _) => hub.publish_once(name, key, message),
        (None, Some(except)) => hub.publish_except(name, message, except),
        (None, None) => hub.publish(name, message),
    }
}

/// What a publisher is told that was refused.
pub fn not_taken(refused: PublishError) -> Refusal {
    match refused {
        PublishError::KeyTooLong | PublishError::NameTooLong => (400, refused.to_string().into()),
        refused => (503, refused.to_string().into()),
    }
}

impl Form {
    /// Whether nothing is published after these.
    pub fn ends_with(&self, outcomes: &[Outcome]) -> bool {
        matches!(self, Self::Lines { .. }) && outcomes.last().is_some_and(Result::is_err)
    }

    /// The answer that tells what became of each publication.
    pub fn answer(
        self,
        hub: &Hub,
        labels: &[Label],
        outcomes: Vec<Outcome>,
    ) -> Result<Answer, Refusal> {
        let mut each = labels.iter().zip(outcomes);
        match self {
            Self::One => {
                let Some((Label { name, .. }, outcome)) = each.next() else {
                    return Err((500, "nothing was published".into()));
                };
                Ok((200, JSON, format!("{{{}}}\n", tell(hub, name, outcome?))))
            }
            Self::Several => Ok(tell_several(hub, each)),
            Self::Fixed(body) => {
                let refused = each.find_map(|(_, outcome)| outcome.err());
                refused.map_or(Ok((200, JSON, body)), Err)
            }
            Self::Calls(calls) => Ok((200, JSON, calls.answer(each.map(|(_, outcome)| outcome)))),
            Self::Lines { broken } => {
                let (mut answers, mut ends) = (String::new(), broken);
                for (Label { name, line }, outcome) in each {
                    match outcome {
                        Ok(published) => {
                            let _ = writeln!(answers, "{{{}}}", tell(hub, name, published));
                        }
                        Err(refused) => ends = Some((*line, refused)),
                    }
                }
                let Some((line, (status, why))) = ends else { return Ok((200, LINES, answers)) };
                let error = serde_json::json!({ "line": line, "error": why });
                Ok((status, LINES, format!("{answers}{error}\n")))
            }
        }
    }
}

fn tell_several<'a>(hub: &Hub, each: impl Iterator<Item = (&'a Label, Outcome)>) -> Answer {
    let mut status = 200;
    let answers = each.map(|(Label { name, .. }, outcome)| {
        let topic = serde_json::json!(name);
        match outcome {
            Ok(published) => format!("{{\"topic\":{topic},{}}}", tell(hub, name, published)),
            Err((refused, why)) => {
                status = refused;
                format!("{{\"topic\":{topic},\"error\":{}}}", serde_json::json!(why))
            }
        }
    });
    let answers: Vec<_> = answers.collect();
    (status, JSON, format!("{{\"published\":[{}]}}\n", answers.join(",")))
}

/// What became of a publication. Without a history, nobody can resume from its place.
fn tell(hub: &Hub, name: &str, published: Published) -> String {
    let mut told = format!("\"delivered\":{}", published.subscribers);
    let keeps = hub.topic_options(name).history.is_some();
    if let Some(place) = published.position.filter(|_| keeps) {
        let _ = write!(told, ",\"id\":\"{place}\"");
    }
    told
}

/// Reads a batch, up to the first line that is broken, or may not be.
pub fn plan_lines(
    hub: &Hub,
    body: &[u8],
    mut may: impl FnMut(&str) -> Result<(), Refusal>,
) -> Plan<'static> {
    let mut items = Vec::new();
    let lines = body.split(|byte| *byte == b'\n').enumerate();
    for (nth, line) in lines.filter(|(_, line)| !line.trim_ascii().is_empty()) {
        match plan_line(hub, line, nth + 1, &mut may) {
            Ok(item) => items.push(item),
            Err(why) => return Plan { items, form: Form::Lines { broken: Some((nth + 1, why)) } },
        }
    }
    Plan { items, form: Form::Lines { broken: None } }
}

/// The topics that the lines of a batch name, each once, as far as it would be published.
pub fn topics_of_lines(hub: &Hub, request: &Request) -> Vec<String> {
    let mut names = BTreeSet::new();
    names.extend(plan_lines(hub, request.body(), |_| Ok(())).items.into_iter().map(|it| it.name));
    names.into_iter().collect()
}

fn plan_line(
    hub: &Hub,
    text: &[u8],
    line: usize,
    may: impl FnOnce(&str) -> Result<(), Refusal>,
) -> Result<Item<'static>, Refusal> {
    let Line { topic: name, data, base64, key } =
        serde_json::from_slice(text).map_err(|error| (400, error.to_string().into()))?;
    topics::check(&name, hub.config())?;
    may(&name)?;
    let content = match (data, base64) {
        (Some(data), None) => Content::Text(data),
        (None, Some(base64)) => {
            let bytes = STANDARD.decode(base64);
            Content::Binary(bytes.map_err(|error| (400, format!("base64: {error}").into()))?)
        }
        _ => return Err((400, "a line has either data or base64".into())),
    };
    Ok(Item { name, key, content, except: None, line })
}
