//! Who subscribes to a topic: what a URL says of a member, and the list of them.

use std::fmt::{Display, Write};

use pushloop::{ConnId, Hub, Presence, PresenceConfig, PresenceError, Request};

use crate::{
    auth::{JOINS, OCCUPIED, Principal},
    options::Options,
    patterns::Patterns,
    timers::Timer,
    topics::Refusal,
};

/// Bytes of a list of members.
const LIST_BYTES_MAX: usize = 1 << 20;

/// Topics with members, and members of all topics together, where each channel of Pusher's that has subscribers counts as
/// one with a member.
const OCCUPIED_MAX: usize = 200_000;

/// Where nobody keeps who subscribes.
pub const UNKNOWN: &str = "who subscribes is not known here (--presence)";

/// A member, as the token or the URL of a subscription has it. Without tokens, anybody may claim to be one.
pub struct Claim {
    id: String,
    info: String,
}

/// Its timer.
const TIMER: u64 = Timer::Presence as u64;

/// Whom a server knows that has topics with `--presence`, or channels of Pusher.
pub fn of(options: &Options) -> Option<Presence> {
    let mut config = PresenceConfig::default();
    config.leave_delay = options.presence_delay;
    let has_channels = !options.tokens.apps.is_empty();
    let is_known = has_channels || options.patterns.any(|it| it.presence);
    let is_shared = options.broker.url.is_some();
    if is_shared && !options.hooks.webhooks.is_empty() {
        (config.topics_max, config.members_total_max) = (OCCUPIED_MAX, OCCUPIED_MAX);
    }
    let new = if is_shared { Presence::shared } else { Presence::new };
    is_known.then(|| new(TIMER, companion, config))
}

const PRESENCE: &str = "$presence/";

/// Where the joins and leaves of a topic are published. Of what servers share there are two kinds beside topics with
/// members: the clients of Centrifugo in a channel, and whether a channel of Pusher's has subscribers. These are companion
/// topics without another topic, and the name of one is that of both.
pub fn companion(topic: &str) -> String {
    if stands_alone(topic) { topic.to_owned() } else { format!("{PRESENCE}{topic}") }
}

/// The topic of which these are the joins and leaves, if they are some.
pub fn topic_of(companion: &str) -> Option<&str> {
    if stands_alone(companion) {
        return Some(companion);
    }
    // The server's own topics have no members.
    companion.strip_prefix(PRESENCE).filter(|topic| !topic.starts_with('$'))
}

fn stands_alone(topic: &str) -> bool {
    [JOINS, OCCUPIED].iter().any(|prefix| topic.starts_with(prefix))
}

/// What the joins and leaves begin with that servers share.
pub const SHARED: [&str; 3] = [PRESENCE, JOINS, OCCUPIED];

/// Where it is shared whether a topic is a channel with subscribers.
pub fn occupancy(topic: &str) -> String {
    format!("{OCCUPIED}{topic}")
}

/// The topic of which that is, if it is one.
pub fn occupied_of(companion: &str) -> Option<&str> {
    companion.strip_prefix(OCCUPIED)
}

/// Whether a leave tells of the info with which its member came: clients of Centrifugo are told so.
pub fn leaves_with_info(topic: &str) -> bool {
    topic.starts_with(JOINS)
}

/// Whether the topic has members: it is to be known who subscribes, and it is none of the server's own.
pub fn has_members(patterns: &Patterns, name: &str) -> bool {
    !name.starts_with('$') && patterns.of(name).presence
}

/// The member that a subscription names, if it names one: it may join each of these topics, as far as can be
/// said before.
pub fn claim(
    presence: &Presence,
    patterns: &Patterns,
    hub: &Hub,
    request: &Request,
    names: &[String],
    who: (&Principal, bool),
) -> Result<Option<Claim>, Refusal> {
    let Some(Claim { id, info }) = claimed(request, who)? else { return Ok(None) };
    if id.is_empty() {
        return Err((400, "a member's id is not empty".into()));
    }
    for name in names.iter().filter(|name| has_members(patterns, name)) {
        presence.check(hub, name, &id, &info).map_err(|why| refusal(presence, why))?;
    }
    if !info.is_empty() && !is_json(&info) {
        return Err((400, "info is JSON, and not nested deeper than 124 times".into()));
    }
    Ok(Some(Claim { id, info }))
}

/// What a token says of its member, and without tokens the URL.
fn claimed(
    request: &Request,
    (who, is_guarded): (&Principal, bool),
) -> Result<Option<Claim>, Refusal> {
    let (member, info) = (request.query_value("member"), request.query_value("info"));
    let Some(claims) = who.claims() else {
        if is_guarded && member.is_some() {
            return Err((401, "a member is whom a token names (sub)".into()));
        }
        let info = info.unwrap_or_default().into_owned();
        return Ok(member.map(|id| Claim { id: id.into_owned(), info }));
    };
    if member.is_some_and(|member| Some(&*member) != claims.subject.as_deref()) {
        return Err((403, "the token is not for this member (sub)".into()));
    }
    if info.is_some() {
        return Err((400, "what is told of a member is in its token (info)".into()));
    }
    let info = claims.info.clone().unwrap_or_default();
    Ok(claims.subject.clone().map(|id| Claim { id, info }))
}

/// Whether it is JSON. Parsers bound how deep they go, this one at 127, and a list of members has it inside
/// of three others.
fn is_json(info: &str) -> bool {
    let parses = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
    parses(info) && parses(&format!("[[[{info}]]]"))
}

fn refusal(presence: &Presence, why: PresenceError) -> Refusal {
    let limits = presence.config();
    match why {
        PresenceError::IdTooLong => (400, format!("{why} = {}", limits.id_bytes_max).into()),
        PresenceError::InfoTooLong => (400, format!("{why} = {}", limits.info_bytes_max).into()),
        PresenceError::NameTooLong => (414, why.to_string().into()),
        // There is no room for it now.
        why => (503, why.to_string().into()),
    }
}

/// Whether the topic's joins and leaves may be published: their topic's name is longer.
pub fn check_name(hub: &Hub, name: &str) -> Result<(), Refusal> {
    let fits = companion(name).len() <= hub.config().topic_name_bytes_max;
    if fits { Ok(()) } else { Err((414, PresenceError::NameTooLong.to_string().into())) }
}

/// A connection that subscribes to these topics joins them.
pub fn join(
    presence: &mut Presence,
    patterns: &Patterns,
    hub: &mut Hub,
    conn: ConnId,
    names: &[String],
    claim: &Claim,
) -> Result<(), PresenceError> {
    let mut names = names.iter().filter(|name| has_members(patterns, name));
    names.try_for_each(|name| presence.join(hub, conn, name, &claim.id, &claim.info))
}

/// Whether a request asks who subscribes.
pub fn is_asked_for(request: &Request) -> bool {
    matches!(request.method(), "GET" | "HEAD") && request.query_value("presence").is_some()
}

/// Whether it asks only how many do.
pub fn asks_for_count(request: &Request) -> bool {
    request.query_value("presence").as_deref() == Some("count")
}

/// The answer to it: how many subscribe, who they are, and the place in the companion topic after which this
/// changes.
pub fn list(
    presence: &Presence,
    patterns: &Patterns,
    hub: &Hub,
    request: &Request,
    names: &[String],
    count: impl Fn(&str) -> usize,
) -> Result<String, Refusal> {
    let [name] = names else { return Err((400, "presence is of one topic".into())) };
    if name.starts_with('$') {
        return Err((400, "topics that begin with $ have no members".into()));
    }
    if !has_members(patterns, name) {
        return Err((404, UNKNOWN.into()));
    }
    let strangers = hub.subscriber_count(name).saturating_sub(presence.connection_count(name));
    let mut list = format!("{{\"count\":{}", count(name) + strangers);
    match request.query_value("presence").as_deref() {
        _ if asks_for_count(request) => {}
        Some("") => add_members(&mut list, presence.members(name))?,
        _ => return Err((400, "it is ?presence, or ?presence=count".into())),
    }
    match hub.position(&companion(name)) {
        Some(place) => _ = writeln!(list, ",\"id\":\"{place}\"}}"),
        None => list += ",\"id\":null}\n",
    }
    Ok(list)
}

fn add_members(
    list: &mut String,
    members: impl Iterator<Item = impl Display>,
) -> Result<(), Refusal> {
    *list += ",\"members\":[";
    for (nth, member) in members.enumerate() {
        let _ = write!(list, "{}{member}", if nth == 0 { "" } else { "," });
        if list.len() > LIST_BYTES_MAX {
            let why = format!(
                "the list exceeds presence_list_bytes_max = {LIST_BYTES_MAX}: ask for ?presence=count"
            );
            return Err((400, why.into()));
        }
    }
    list.push(']');
    Ok(())
}

#[cfg(test)]
mod tests;
