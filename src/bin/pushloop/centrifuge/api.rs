//! What a backend asks for with the server's API, and the JSON of its answers.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    codes::Failure,
    commands::{History, history},
    fields::{Malformed, Sink, Source},
    json::{Object, Writer},
    replies::{Client, Kept, Stats, epoch, fill_kept, fill_presence, fill_stats},
};

/// What became of a publication; or the status and the sentence with which it was refused.
type Outcome = Result<pushloop::Published, (u16, Cow<'static, str>)>;

/// Calls of one batch.
const BATCH_MAX: usize = 1000;
/// Channels of one broadcast.
const BROADCAST_MAX: usize = 1000;

/// One call.
#[derive(Debug)]
pub enum Call<'a> {
    Publish {
        publication: Published,
        channels: Vec<String>,
        is_broadcast: bool,
    },
    Subscribe {
        whom: Whom<'a>,
        channel: Cow<'a, str>,
        since: Option<(u64, Cow<'a, str>)>,
    },
    /// Of all channels, if it is empty.
    Unsubscribe {
        whom: Whom<'a>,
        channel: Cow<'a, str>,
    },
    Disconnect {
        whom: Whom<'a>,
        but: Vec<String>,
        code: Option<u64>,
        reason: Cow<'a, str>,
    },
    Refresh {
        whom: Whom<'a>,
        is_expired: bool,
        expires: u64,
    },
    Presence(Cow<'a, str>),
    PresenceStats(Cow<'a, str>),
    History(History<'a>),
    HistoryRemove(Cow<'a, str>),
    /// Of a pattern.
    Channels(Cow<'a, str>),
    Info,
}

impl Call<'_> {
    /// Whether it is for connections, wherever these are.
    pub fn is_about_connections(&self) -> bool {
        match self {
            Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Disconnect { .. }
            | Self::Refresh { .. } => true,
            Self::Publish { .. }
            | Self::Presence(_)
            | Self::PresenceStats(_)
            | Self::History(_)
            | Self::HistoryRemove(_)
            | Self::Channels(_)
            | Self::Info => false,
        }
    }

    /// The one channel that it names, beside those that are published to.
    pub fn channel(&self) -> Option<&str> {
        match self {
            // Of all channels.
            Self::Unsubscribe { channel, .. } if channel.is_empty() => None,
            Self::Subscribe { channel, .. } | Self::Unsubscribe { channel, .. } => Some(channel),
            Self::Presence(name) | Self::PresenceStats(name) | Self::HistoryRemove(name) => {
                Some(name)
            }
            Self::History(asked) => Some(&asked.channel),
            Self::Publish { .. }
            | Self::Disconnect { .. }
            | Self::Refresh { .. }
            | Self::Channels(_)
            | Self::Info => None,
        }
    }

    /// Whether it asks how many there are of something.
    pub fn is_figure(&self) -> bool {
        matches!(self, Self::Channels(_) | Self::Info)
    }
}

/// What is published.
#[derive(Debug)]
pub struct Published {
    pub data: Data,
    pub key: Option<String>,
}

#[derive(Debug)]
pub enum Data {
    Text(String),
    Binary(Vec<u8>),
}

/// The connections of a user, or one of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Whom<'a> {
    pub user: Cow<'a, str>,
    pub client: Cow<'a, str>,
}

/// What a body asks for: one call, or a batch of them.
pub struct Asked<'a> {
    pub is_batch: bool,
    pub calls: Vec<Result<Call<'a>, Failure>>,
}

impl<'a> Asked<'a> {
    fn one(call: Result<Call<'a>, Failure>) -> Self {
        Self { is_batch: false, calls: vec![call] }
    }
}

/// Reads a call: the method is in the path, or in the body. `None` if there is no such method.
pub fn read<'a>(method: Option<&str>, body: &'a str) -> Result<Option<Asked<'a>>, Malformed> {
    let body = if body.trim().is_empty() { "{}" } else { body };
    let object = Object::read(body)?;
    let (method, params) = match method {
        Some(method) => (Cow::Borrowed(method), object),
        None => {
            let params = object.message(("params", 0))?;
            (object.text(("method", 0))?, params.ok_or(Malformed)?)
        }
    };
    if method == "batch" {
        let commands: Vec<Object<'a>> = params.list("commands")?;
        if commands.len() > BATCH_MAX {
            return Ok(Some(Asked::one(Err(Failure::LIMIT_EXCEEDED))));
        }
        let calls = commands.iter().map(|command| {
            let (name, params) = command.only().ok_or(Malformed)?;
            let called = call(name, &Object::read(params)?);
            Ok(called.unwrap_or(Err(Failure::METHOD_NOT_FOUND)))
        });
        return Ok(Some(Asked { is_batch: true, calls: calls.collect::<Result<_, _>>()? }));
    }
    Ok(call(&method, &params).map(Asked::one))
}

fn call<'a>(method: &str, params: &Object<'a>) -> Option<Result<Call<'a>, Failure>> {
    let called = match method {
        "publish" => publish(params, false),
        "broadcast" => publish(params, true),
        "subscribe" => subscribe(params).map_err(bad),
        "unsubscribe" => unsubscribe(params).map_err(bad),
        "disconnect" => disconnect(params).map_err(bad),
        "refresh" => refresh(params).map_err(bad),
        "presence" => channel(params).map(Call::Presence),
        "presence_stats" => channel(params).map(Call::PresenceStats),
        "history" => channel(params).and_then(|_| history(params).map_err(bad)).map(Call::History),
        "history_remove" => channel(params).map(Call::HistoryRemove),
        "channels" => params.text(("pattern", 1)).map(Call::Channels).map_err(bad),
        "info" => Ok(Call::Info),
        _ => return None,
    };
    Some(called)
}

fn bad(_: Malformed) -> Failure {
    Failure::BAD_REQUEST
}

fn channel<'a>(params: &Object<'a>) -> Result<Cow<'a, str>, Failure> {
    let channel = params.text(("channel", 1)).map_err(bad)?;
    if channel.is_empty() { Err(Failure::BAD_REQUEST) } else { Ok(channel) }
}

fn publish<'a>(params: &Object<'a>, is_broadcast: bool) -> Result<Call<'a>, Failure> {
    let channels = match is_broadcast {
        false => vec![channel(params)?.into_owned()],
        true => params.list("channels").map_err(bad)?,
    };
    if channels.len() > BROADCAST_MAX {
        return Err(Failure::LIMIT_EXCEEDED);
    }
    let is_empty = |name: &String| name.is_empty();
    if channels.is_empty() || channels.iter().any(is_empty) {
        return Err(Failure::BAD_REQUEST);
    }
    // They would change what subscribers get, and are not there.
    let skips = params.flag(("skip_history", 4)).map_err(bad)?;
    let tags = params.raw("tags").filter(|tags| *tags != "{}");
    let version = params.number(("version", 8)).map_err(bad)?;
    if skips || tags.is_some() || version != 0 {
        return Err(Failure::NOT_AVAILABLE);
    }
    let base64 = params.text(("b64data", 3)).map_err(bad)?;
    let data = match params.raw("data") {
        _ if !base64.is_empty() => {
            let bytes = STANDARD.decode(&*base64).map_err(|_| Failure::BAD_REQUEST)?;
            String::from_utf8(bytes).map_or_else(|it| Data::Binary(it.into_bytes()), Data::Text)
        }
        Some(data) => Data::Text(data.to_owned()),
        None => return Err(Failure::BAD_REQUEST),
    };
    let key = params.text(("idempotency_key", 6)).map_err(bad)?.into_owned();
    let publication = Published { data, key: Some(key).filter(|key| !key.is_empty()) };
    Ok(Call::Publish { publication, channels, is_broadcast })
}

fn whom<'a>(params: &Object<'a>) -> Result<Whom<'a>, Malformed> {
    Ok(Whom { user: params.text(("user", 1))?, client: params.text(("client", 2))? })
}

fn subscribe<'a>(params: &Object<'a>) -> Result<Call<'a>, Malformed> {
    let channel = params.text(("channel", 1))?;
    let since = params.message(("recover_since", 8))?;
    let since = since.map(|it| Ok((it.number(("offset", 1))?, it.text(("epoch", 2))?)));
    if channel.is_empty() {
        return Err(Malformed);
    }
    Ok(Call::Subscribe { whom: whom(params)?, channel, since: since.transpose()? })
}

fn unsubscribe<'a>(params: &Object<'a>) -> Result<Call<'a>, Malformed> {
    Ok(Call::Unsubscribe { whom: whom(params)?, channel: params.text(("channel", 1))? })
}

fn disconnect<'a>(params: &Object<'a>) -> Result<Call<'a>, Malformed> {
    let (code, reason) = match params.message(("disconnect", 2))? {
        None => (None, Cow::Borrowed("")),
        Some(it) => (Some(it.number(("code", 1))?), it.text(("reason", 2))?),
    };
    Ok(Call::Disconnect { whom: whom(params)?, but: params.list("whitelist")?, code, reason })
}

fn refresh<'a>(params: &Object<'a>) -> Result<Call<'a>, Malformed> {
    let (is_expired, expires) = (params.flag(("expired", 3))?, params.number(("expire_at", 4))?);
    Ok(Call::Refresh { whom: whom(params)?, is_expired, expires })
}

/// What one call is answered with.
pub enum CallResult<'a> {
    Nothing,
    Presence(Vec<Client<'a>>),
    PresenceStats(Stats),
    History(Kept<'a>),
    Channels(Vec<(&'a str, usize)>),
    Info(Node),
}

/// This server.
pub struct Node {
    pub clients: usize,
    pub users: usize,
    pub channels: usize,
    pub subscriptions: usize,
    /// In seconds.
    pub uptime: u64,
}

/// A JSON object.
pub fn object(told: &CallResult<'_>) -> String {
    let mut text = String::new();
    Writer::object(&mut text, |sink| match told {
        CallResult::Nothing => {}
        CallResult::Presence(clients) => fill_presence(sink, clients),
        CallResult::PresenceStats(it) => fill_stats(sink, *it),
        CallResult::History(kept) => fill_kept(sink, kept),
        CallResult::Channels(all) => {
            let all = all.iter().map(|(name, clients)| (*name, *clients as u64));
            sink.entries(("channels", 1), all, |sink, clients| {
                sink.number(("num_clients", 1), clients);
            });
        }
        CallResult::Info(it) => sink.list(("nodes", 1), [it], |sink, it| {
            sink.text(("uid", 1), "pushloop");
            sink.text(("name", 2), "pushloop");
            sink.text(("version", 3), env!("CARGO_PKG_VERSION"));
            sink.number(("num_clients", 4), it.clients as u64);
            sink.number(("num_users", 5), it.users as u64);
            sink.number(("num_channels", 6), it.channels as u64);
            sink.number(("uptime", 7), it.uptime);
            sink.number(("num_subs", 10), it.subscriptions as u64);
        }),
    });
    text
}

/// What becomes of the calls of one request.
#[derive(Debug)]
pub struct Calls {
    pub is_batch: bool,
    pub slots: Vec<Slot>,
}

/// What becomes of one call.
#[derive(Debug)]
pub enum Slot {
    /// Its method, and the object that it is answered with.
    Done(&'static str, Result<String, Failure>),
    /// It waits for what becomes of so many publications.
    Publish { count: usize, is_broadcast: bool },
    /// It is done here, and waits until the broker has it for all others.
    Everywhere(&'static str),
}

impl Slot {
    pub fn failed(failure: Failure) -> Self {
        Self::Done("error", Err(failure))
    }

    /// Bytes that are held of the answer.
    pub fn len(&self) -> usize {
        match self {
            Self::Done(_, Ok(object)) => object.len(),
            Self::Done(_, Err(_)) | Self::Publish { .. } | Self::Everywhere(_) => 0,
        }
    }
}

impl Calls {
    /// The body of the answer, with what became of the publications in their order.
    pub fn answer(self, mut outcomes: impl Iterator<Item = Outcome>) -> String {
        let is_batch = self.is_batch;
        let answers = self.slots.into_iter().map(|slot| {
            let (method, told) = match slot {
                Slot::Done(method, told) => (method, told),
                Slot::Everywhere(method) => {
                    (method, place(outcomes.next()).map(|_| object(&CallResult::Nothing)))
                }
                Slot::Publish { is_broadcast: false, .. } => ("publish", place(outcomes.next())),
                Slot::Publish { count, is_broadcast: true } => {
                    let all: Vec<_> = outcomes.by_ref().take(count).collect();
                    let all = all.into_iter().map(|it| answer("result", place(Some(it))));
                    let all: Vec<_> = all.collect();
                    ("broadcast", Ok(format!("{{\"responses\":[{}]}}", all.join(","))))
                }
            };
            answer(if is_batch { method } else { "result" }, told)
        });
        let answers: Vec<_> = answers.collect();
        match is_batch {
            false => answers.concat(),
            true => format!("{{\"replies\":[{}]}}", answers.join(",")),
        }
    }
}

fn answer(name: &str, told: Result<String, Failure>) -> String {
    match told {
        Ok(object) => format!("{{\"{name}\":{object}}}"),
        Err(Failure { code, message, .. }) => {
            format!("{{\"error\":{{\"code\":{code},\"message\":\"{message}\"}}}}")
        }
    }
}

/// Where a publication is.
fn place(outcome: Option<Outcome>) -> Result<String, Failure> {
    match outcome {
        Some(Ok(published)) => {
            let mut text = String::new();
            Writer::object(&mut text, |sink| {
                if let Some(position) = published.position {
                    sink.number(("offset", 1), position.offset);
                    sink.text(("epoch", 2), &epoch(position));
                }
            });
            Ok(text)
        }
        Some(Err((status, _))) => Err(Failure::of_publication(status)),
        None => Err(Failure::INTERNAL),
    }
}

/// Whether a name is of a pattern, in which a * is any text, also none. It is gone along once for each *.
pub fn is_like(name: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return name == pattern };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in between.split('*') {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests;
