//! Subscribing: over a WebSocket or as an event stream, from now on or with what was kept.

use std::time::Duration;

use pushloop::{
    Accept, CloseCode, ConnId, Hub, Joined, Position, Request, RequestId, Response, SubscribeError,
};

use crate::topics::Refusal;

/// What a subscription begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// What is published from now on.
    Live,
    /// The latest publications, so many of each topic.
    Last(u64),
    /// What was missed since these places, one for each topic of the URL in its order.
    After(Vec<Option<Position>>),
    /// What came in place of an id, which a browser will send again and again.
    Unknown,
}

/// What a request asks for: `?after=`, `?last=`, or `Last-Event-ID`, which is newer than either because a
/// browser adds it when it comes back.
pub fn start(request: &Request, topics: usize) -> Result<Start, Refusal> {
    if let Some(id) = request.header("last-event-id") {
        let id = str::from_utf8(id).ok();
        return Ok(id.and_then(|id| places(id, topics)).map_or(Start::Unknown, Start::After));
    }
    match (request.query_value("after"), request.query_value("last")) {
        (None, None) => Ok(Start::Live),
        (Some(_), Some(_)) => Err((400, "after and last exclude each other".into())),
        (Some(after), None) => places(&after, topics).map(Start::After).ok_or_else(|| {
            let why = "after is an id as it was given, EPOCH-OFFSET; for several topics one for each, in \
                       their order, with a comma between them";
            (400, why.into())
        }),
        (None, Some(last)) => {
            let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
            let last = last.parse().ok().filter(|_| is_number);
            last.map(Start::Last).ok_or_else(|| (400, "last is a number of publications".into()))
        }
    }
}

/// The places that a text names, one for each topic; an empty one is none.
fn places(text: &str, topics: usize) -> Option<Vec<Option<Position>>> {
    let parts = text.split(',');
    let place = |part: &str| match part {
        "" => Some(None),
        part => part.parse().ok().map(Some),
    };
    // A list of a million is not looked through.
    let places: Option<Vec<_>> = parts.take(topics + 1).map(place).collect();
    places.filter(|places| places.len() == topics)
}

/// How a subscriber is told what its subscriptions begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Not at all.
    Nothing,
    /// In a message, as an envelope without data.
    Envelope,
    /// In an event.
    Event,
}

/// Makes the connection a WebSocket that subscribes to these topics. False if it is gone, or refused.
pub fn connect(
    hub: &mut Hub,
    id: RequestId,
    subprotocol: Option<&str>,
    names: &[String],
    start: &Start,
    envelopes: bool,
) -> bool {
    if hub.accept(id, Accept { subprotocol, headers: &[] }).is_err() {
        // Answered with 426 already, or gone.
        return false;
    }
    let id = id.conn();
    let told = if envelopes && hub.use_envelopes(id) { Told::Envelope } else { Told::Nothing };
    if let Err(full) = subscribe_all(hub, id, names, start, told) {
        hub.close(id, CloseCode::TRY_AGAIN_LATER, &full.to_string());
        return false;
    }
    true
}

/// Answers with an event stream of these topics. A browser that has lost it comes back after `retry`, or up
/// to twice as long, lest all come at once. False if the connection is gone, or the stream is finished.
pub fn stream(
    hub: &mut Hub,
    id: RequestId,
    request: &Request,
    names: &[String],
    start: &Start,
    retry: Duration,
) -> bool {
    // The golden ratio spreads what is counted up.
    let spread = id.conn().to_bits().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
    let retry = retry + retry / (1 << 16) * spread as u32;
    let head = Response::new(200).body(format!("retry: {}\n\n", retry.as_millis()));
    if hub.event_stream(id, head).is_err() || request.method() == "HEAD" {
        return false;
    }
    let id = id.conn();
    if subscribe_all(hub, id, names, start, Told::Event).is_err() {
        // It comes back.
        hub.finish(id);
        return false;
    }
    true
}

fn subscribe_all(
    hub: &mut Hub,
    id: ConnId,
    names: &[String],
    start: &Start,
    told: Told,
) -> Result<(), SubscribeError> {
    // The names are within the limits of a connection, but all together may be at theirs.
    names.iter().enumerate().try_for_each(|(nth, name)| match start {
        Start::Live => begin(hub, id, name, told, Begin::Live),
        Start::Last(count) => begin(hub, id, name, told, Begin::Last(*count)),
        Start::After(places) => {
            begin(hub, id, name, told, places[nth].map_or(Begin::Live, Begin::After))
        }
        Start::Unknown => begin(hub, id, name, told, Begin::Unknown),
    })
}

/// What one subscription begins with.
#[derive(Clone, Copy, Debug)]
enum Begin {
    Live,
    Last(u64),
    After(Position),
    Unknown,
}

/// Subscribes to one topic. What a subscriber is told comes in front of what was kept, and has the place from
/// which the stream goes on without a gap: whoever has read no further comes back to there.
fn begin(
    hub: &mut Hub,
    id: ConnId,
    name: &str,
    told: Told,
    begin: Begin,
) -> Result<(), SubscribeError> {
    let known = hub.position(name);
    let (kept, resumed) = match begin {
        Begin::Live => (0, None),
        Begin::Last(count) => (hub.history_len(name).min(count), None),
        Begin::After(place) => match hub.published_since(name, place) {
            Ok(missed) => (missed, Some(Ok(()))),
            Err(why) => (0, Some(Err(why.to_string()))),
        },
        Begin::Unknown => (0, Some(Err("the id is none that was given here".to_owned()))),
    };
    if let Some(here) = known {
        let from = Position { offset: here.offset - kept, ..here };
        tell(hub, id, told, name, from, resumed.as_ref());
    }
    let joined = match begin {
        Begin::Live | Begin::Unknown => hub.subscribe(id, name).map(|()| None),
        Begin::Last(count) => hub.subscribe_last(id, name, count).map(Some),
        Begin::After(place) => hub.subscribe_after(id, name, place).map(Some),
    }?;
    debug_assert!(joined.is_none_or(|joined: Joined| joined.kept.unwrap_or(0) == kept));
    if known.is_none()
        && let Some(here) = hub.position(name)
    {
        tell(hub, id, told, name, here, resumed.as_ref());
    }
    Ok(())
}

fn tell(
    hub: &mut Hub,
    id: ConnId,
    told: Told,
    topic: &str,
    from: Position,
    resumed: Option<&Result<(), String>>,
) {
    if told == Told::Nothing {
        return;
    }
    let mut object = serde_json::json!({
        "topic": topic,
        "id": from.to_string(),
        "recovered": resumed.map(Result::is_ok),
    });
    if let Some(Err(why)) = resumed {
        object["why"] = why.as_str().into();
    }
    // A connection that is gone, or at its limit with its first message, is told nothing.
    let _ = match told {
        Told::Nothing => Ok(()),
        Told::Envelope => hub.send(id, object.to_string()),
        Told::Event => hub.write(id, format!("event: subscribed\nid: {from}\ndata: {object}\n\n")),
    };
}
