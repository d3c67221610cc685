//! What clients ask for.

use std::borrow::Cow;

use pushloop::Message;

use super::{
    Format,
    fields::{Malformed, Source},
    json::Object,
    protobuf::{Fields, take_message},
};

/// A command. With the id 0, nobody waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    pub id: u32,
    pub method: Method<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    Connect(Connect<'a>),
    Subscribe(Subscribe<'a>),
    Unsubscribe(Cow<'a, str>),
    Publish {
        channel: Cow<'a, str>,
        data: Option<Message<'a>>,
        /// It changes a map of keys and values, which is not there.
        is_map: bool,
    },
    Presence(Cow<'a, str>),
    PresenceStats(Cow<'a, str>),
    History(History<'a>),
    Ping,
    Send,
    Rpc,
    Refresh(Cow<'a, str>),
    SubRefresh {
        channel: Cow<'a, str>,
        token: Cow<'a, str>,
    },
    /// None of these.
    Unknown,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect<'a> {
    pub token: Cow<'a, str>,
    /// Subscriptions of the server's that the client has had, or would have, and from where on.
    pub subs: Vec<(Cow<'a, str>, Since<'a>)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe<'a> {
    pub channel: Cow<'a, str>,
    pub token: Cow<'a, str>,
    pub since: Since<'a>,
    pub joins_and_leaves: bool,
    /// What cannot be recovered is to be an error.
    pub rejects_unrecovered: bool,
    /// A filter that the server is to apply.
    pub has_filter: bool,
    /// Another kind of subscription than to publications: none of these is there.
    pub kind: i32,
}

/// Where a client was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Since<'a> {
    pub recover: bool,
    pub epoch: Cow<'a, str>,
    pub offset: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History<'a> {
    pub channel: Cow<'a, str>,
    /// At most so many publications; all, if it is negative.
    pub limit: i32,
    /// The offset and the epoch.
    pub since: Option<(u64, Cow<'a, str>)>,
    pub is_reverse: bool,
}

/// The flag of a subscription by which what cannot be recovered is to be an error.
const REJECT_UNRECOVERED: u64 = 2;

/// Reads the next command of a frame, and takes it away from the front. `None` at the end of the frame.
pub fn next<'a>(format: Format, frame: &mut &'a [u8]) -> Option<Result<Command<'a>, Malformed>> {
    match format {
        Format::Json => {
            // A frame has been found to be UTF-8, and a line's end is no part of another character.
            let line = loop {
                if frame.is_empty() {
                    return None;
                }
                let end = frame.iter().position(|byte| *byte == b'\n').unwrap_or(frame.len());
                let (line, rest) = frame.split_at(end);
                *frame = rest.get(1..).unwrap_or_default();
                if !line.trim_ascii().is_empty() {
                    break line;
                }
            };
            let text = str::from_utf8(line).map_err(|_| Malformed);
            Some(text.and_then(Object::read).and_then(|object| command(&object)))
        }
        Format::Protobuf => {
            if frame.is_empty() {
                return None;
            }
            let message = take_message(frame).and_then(Fields::read);
            Some(message.and_then(|fields| command(&fields)))
        }
    }
}

fn command<'a>(source: &impl Source<'a>) -> Result<Command<'a>, Malformed> {
    Ok(Command { id: source.number_32(("id", 1))?, method: method(source)? })
}

/// Of several, the first counts.
fn method<'a>(source: &impl Source<'a>) -> Result<Method<'a>, Malformed> {
    if let Some(it) = source.message(("connect", 4))? {
        let subs = it.entries(("subs", 3))?;
        let subs = subs.into_iter().map(|(name, it)| Ok((name, since(&it)?)));
        return Ok(Method::Connect(Connect {
            token: it.text(("token", 1))?,
            subs: subs.collect::<Result<_, _>>()?,
        }));
    }
    if let Some(it) = source.message(("subscribe", 5))? {
        return subscribe(&it).map(Method::Subscribe);
    }
    if let Some(it) = source.message(("unsubscribe", 6))? {
        return channel(&it).map(Method::Unsubscribe);
    }
    if let Some(it) = source.message(("publish", 7))? {
        let (data, is_map) = (it.data(("data", 2))?, it.signed(("type", 3))? != 0);
        return Ok(Method::Publish { channel: channel(&it)?, data, is_map });
    }
    if let Some(it) = source.message(("presence", 8))? {
        return channel(&it).map(Method::Presence);
    }
    if let Some(it) = source.message(("presence_stats", 9))? {
        return channel(&it).map(Method::PresenceStats);
    }
    if let Some(it) = source.message(("history", 10))? {
        return history(&it).map(Method::History);
    }
    if source.message(("ping", 11))?.is_some() {
        return Ok(Method::Ping);
    }
    if source.message(("send", 12))?.is_some() {
        return Ok(Method::Send);
    }
    if source.message(("rpc", 13))?.is_some() {
        return Ok(Method::Rpc);
    }
    if let Some(it) = source.message(("refresh", 14))? {
        return it.text(("token", 1)).map(Method::Refresh);
    }
    if let Some(it) = source.message(("sub_refresh", 15))? {
        return Ok(Method::SubRefresh { channel: channel(&it)?, token: it.text(("token", 2))? });
    }
    Ok(Method::Unknown)
}

fn channel<'a>(it: &impl Source<'a>) -> Result<Cow<'a, str>, Malformed> {
    it.text(("channel", 1))
}

fn subscribe<'a, S: Source<'a>>(it: &S) -> Result<Subscribe<'a>, Malformed> {
    Ok(Subscribe {
        channel: channel(it)?,
        token: it.text(("token", 2))?,
        since: since(it)?,
        joins_and_leaves: it.flag(("join_leave", 11))?,
        rejects_unrecovered: it.number(("flag", 14))? & REJECT_UNRECOVERED != 0,
        has_filter: it.message(("tf", 13))?.is_some(),
        kind: it.signed(("type", 15))?,
    })
}

fn since<'a>(it: &impl Source<'a>) -> Result<Since<'a>, Malformed> {
    let (recover, epoch) = (it.flag(("recover", 3))?, it.text(("epoch", 6))?);
    Ok(Since { recover, epoch, offset: it.number(("offset", 7))? })
}

pub fn history<'a, S: Source<'a>>(it: &S) -> Result<History<'a>, Malformed> {
    let since = it.message(("since", 8))?;
    let since = since.map(|it| Ok((it.number(("offset", 1))?, it.text(("epoch", 2))?)));
    Ok(History {
        channel: channel(it)?,
        limit: it.signed(("limit", 7))?,
        since: since.transpose()?,
        is_reverse: it.flag(("reverse", 9))?,
    })
}

#[cfg(test)]
mod tests;
