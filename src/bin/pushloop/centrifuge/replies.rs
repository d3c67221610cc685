//! What clients are told: answers to commands, and pushes.

use std::borrow::Cow;

use pushloop::{Message, Position};

use super::{Format, codes::Failure, fields::Sink, json, protobuf};

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    Connect(Connected<'a>),
    Subscribe(Subscribed<'a>),
    Unsubscribe,
    Publish,
    Presence(Vec<Client<'a>>),
    PresenceStats(Stats),
    History(Kept<'a>),
    Ping,
    /// In how many seconds the connection's token ends.
    Refresh {
        client: &'a str,
        left: Option<u32>,
    },
    /// The same of a subscription's.
    SubRefresh {
        left: Option<u32>,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connected<'a> {
    pub client: &'a str,
    /// In how many seconds the token ends.
    pub left: Option<u32>,
    /// The subscriptions that are the server's.
    pub subs: Vec<(&'a str, Subscribed<'a>)>,
    /// Seconds between two pings.
    pub ping: u32,
    /// By what posts of commands name the connection, and this server. Both are empty where commands come over
    /// the connection.
    pub session: &'a str,
    pub node: &'a str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribed<'a> {
    /// In how many seconds the subscription's token ends.
    pub left: Option<u32>,
    /// Where it begins, if one that comes back can go on from where it was.
    pub position: Option<Position>,
    pub was_recovering: bool,
    pub recovered: bool,
    /// The first of what was kept. The others follow as pushes.
    pub publications: Vec<Publication<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication<'a> {
    pub offset: u64,
    pub data: Message<'a>,
}

impl<'a> From<pushloop::Publication<'a>> for Publication<'a> {
    fn from(it: pushloop::Publication<'a>) -> Self {
        Self { offset: it.position.offset, data: it.message }
    }
}

/// A connection as others are told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client<'a> {
    pub client: Cow<'a, str>,
    /// Empty for one that came without a token.
    pub user: &'a str,
    /// JSON.
    pub info: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    pub clients: usize,
    pub users: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept<'a> {
    pub publications: Vec<Publication<'a>>,
    /// None of a channel that has not begun.
    pub position: Option<Position>,
}

/// What comes without being asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push<'a> {
    Publication(Publication<'a>),
    Join(Client<'a>),
    Leave(Client<'a>),
    Unsubscribe {
        code: u32,
        reason: &'a str,
    },
    /// The server has subscribed the client.
    Subscribe {
        position: Option<Position>,
    },
    /// The connection ends, which has no close code.
    Disconnect {
        code: u32,
        reason: &'a str,
    },
}

/// Appends the answer to a command, with what separates it from the one before.
pub fn add_answer(
    format: Format,
    out: &mut Vec<u8>,
    id: u32,
    answer: &Result<Answer<'_>, Failure>,
) {
    match format {
        Format::Json => add_line(out, |sink| fill_answer(sink, id, answer)),
        Format::Protobuf => {
            protobuf::Writer::message(out, |sink| fill_answer(sink, id, answer));
        }
    }
}

/// Appends a push.
pub fn add_push(format: Format, out: &mut Vec<u8>, channel: &str, push: &Push<'_>) {
    match format {
        Format::Json => add_line(out, |sink| fill_push(sink, channel, push)),
        Format::Protobuf => {
            protobuf::Writer::message(out, |sink| fill_push(sink, channel, push));
        }
    }
}

/// Appends what a client is to answer, so that either sees that the other is there.
pub fn add_ping(format: Format, out: &mut Vec<u8>) {
    match format {
        Format::Json => add_line(out, |_| {}),
        Format::Protobuf => protobuf::Writer::message(out, |_| {}),
    }
}

fn add_line(out: &mut Vec<u8>, fill: impl FnOnce(&mut json::Writer<'_>)) {
    if !out.is_empty() {
        out.push(b'\n');
    }
    let mut text = String::new();
    json::Writer::object(&mut text, fill);
    out.extend_from_slice(text.as_bytes());
}

fn fill_answer<S: Sink>(sink: &mut S, id: u32, answer: &Result<Answer<'_>, Failure>) {
    sink.number(("id", 1), id.into());
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => {
            return sink.message(("error", 2), |it| {
                it.number(("code", 1), failure.code.into());
                it.text(("message", 2), failure.message);
                it.flag(("temporary", 3), failure.is_temporary);
            });
        }
    };
    match answer {
        Answer::Connect(it) => sink.message(("connect", 5), |sink| fill_connected(sink, it)),
        Answer::Subscribe(it) => sink.message(("subscribe", 6), |sink| fill_subscribed(sink, it)),
        Answer::Unsubscribe => sink.message(("unsubscribe", 7), |_| {}),
        Answer::Publish => sink.message(("publish", 8), |_| {}),
        Answer::Presence(clients) => {
            sink.message(("presence", 9), |sink| fill_presence(sink, clients));
        }
        Answer::PresenceStats(it) => {
            sink.message(("presence_stats", 10), |sink| fill_stats(sink, *it));
        }
        Answer::History(kept) => sink.message(("history", 11), |sink| fill_kept(sink, kept)),
        Answer::Ping => sink.message(("ping", 12), |_| {}),
        Answer::Refresh { client, left } => sink.message(("refresh", 14), |sink| {
            sink.text(("client", 1), client);
            fill_left(sink, (("expires", 3), ("ttl", 4)), *left);
        }),
        Answer::SubRefresh { left } => sink.message(("sub_refresh", 15), |sink| {
            fill_left(sink, (("expires", 1), ("ttl", 2)), *left);
        }),
    }
}

type Pair = ((&'static str, u32), (&'static str, u32));

fn fill_left<S: Sink>(sink: &mut S, (expires, ttl): Pair, left: Option<u32>) {
    sink.flag(expires, left.is_some());
    sink.number(ttl, left.unwrap_or_default().into());
}

fn fill_connected<S: Sink>(sink: &mut S, it: &Connected<'_>) {
    sink.text(("client", 1), it.client);
    sink.text(("version", 2), env!("CARGO_PKG_VERSION"));
    fill_left(sink, (("expires", 3), ("ttl", 4)), it.left);
    if !it.subs.is_empty() {
        let subs = it.subs.iter().map(|(name, it)| (*name, it));
        sink.entries(("subs", 6), subs, fill_subscribed);
    }
    sink.number(("ping", 7), it.ping.into());
    sink.flag(("pong", 8), it.ping > 0);
    sink.text(("session", 9), it.session);
    sink.text(("node", 10), it.node);
}

fn fill_subscribed<S: Sink>(sink: &mut S, it: &Subscribed<'_>) {
    fill_left(sink, (("expires", 1), ("ttl", 2)), it.left);
    sink.flag(("recoverable", 3), it.position.is_some());
    if let Some(position) = it.position {
        sink.text(("epoch", 6), &epoch(position));
    }
    sink.list(("publications", 7), &it.publications, fill_publication);
    sink.flag(("recovered", 8), it.recovered);
    sink.number(("offset", 9), it.position.map_or(0, |it| it.offset));
    sink.flag(("positioned", 10), it.position.is_some());
    sink.flag(("was_recovering", 12), it.was_recovering);
}

fn fill_publication<S: Sink>(sink: &mut S, it: &Publication<'_>) {
    sink.data(("data", 4), it.data);
    sink.number(("offset", 6), it.offset);
}

fn fill_client<S: Sink>(sink: &mut S, it: &Client<'_>) {
    sink.text(("user", 1), it.user);
    sink.text(("client", 2), &it.client);
    if let Some(info) = it.info {
        sink.data(("conn_info", 3), Message::Text(info));
    }
}

/// Who is in a channel, by client.
pub fn fill_presence<S: Sink>(sink: &mut S, clients: &[Client<'_>]) {
    let clients = clients.iter().map(|it| (&*it.client, it));
    sink.entries(("presence", 1), clients, fill_client);
}

/// How many are in a channel.
pub fn fill_stats<S: Sink>(sink: &mut S, it: Stats) {
    sink.number(("num_clients", 1), it.clients as u64);
    sink.number(("num_users", 2), it.users as u64);
}

/// What a channel has kept.
pub fn fill_kept<S: Sink>(sink: &mut S, it: &Kept<'_>) {
    sink.list(("publications", 1), &it.publications, fill_publication);
    if let Some(position) = it.position {
        sink.text(("epoch", 2), &epoch(position));
        sink.number(("offset", 3), position.offset);
    }
}

fn fill_push<S: Sink>(sink: &mut S, channel: &str, push: &Push<'_>) {
    sink.message(("push", 4), |sink| {
        sink.text(("channel", 2), channel);
        match push {
            Push::Publication(it) => sink.message(("pub", 4), |sink| fill_publication(sink, it)),
            Push::Join(it) => sink.message(("join", 5), |sink| {
                sink.message(("info", 1), |sink| fill_client(sink, it));
            }),
            Push::Leave(it) => sink.message(("leave", 6), |sink| {
                sink.message(("info", 1), |sink| fill_client(sink, it));
            }),
            Push::Unsubscribe { code, reason } => sink.message(("unsubscribe", 7), |sink| {
                sink.number(("code", 2), (*code).into());
                sink.text(("reason", 3), reason);
            }),
            Push::Subscribe { position } => sink.message(("subscribe", 9), |sink| {
                sink.flag(("recoverable", 1), position.is_some());
                if let Some(position) = position {
                    sink.text(("epoch", 4), &epoch(*position));
                    sink.number(("offset", 5), position.offset);
                }
                sink.flag(("positioned", 6), position.is_some());
            }),
            Push::Disconnect { code, reason } => sink.message(("disconnect", 11), |sink| {
                sink.number(("code", 1), (*code).into());
                sink.text(("reason", 2), reason);
            }),
        }
    });
}

/// A topic's life, as clients have it.
pub fn epoch(position: Position) -> String {
    format!("{:016x}", position.epoch)
}

/// The place that a client names; `None` if it cannot be one of ours.
pub fn position(epoch: &str, offset: u64) -> Option<Position> {
    // What is written otherwise is none of ours.
    format!("{epoch}-{offset}").parse().ok()
}

#[cfg(test)]
mod tests;
