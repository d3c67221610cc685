//! Subscribing: over a WebSocket or as an event stream, from now on or with what was kept.

use std::time::Duration;

use pushloop::{
    Accept, CloseCode, ConnId, Hub, Position, Request, RequestId, Response, SubscribeError,
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

/// Topics of an event stream, whose ids have a place for each.
const STREAM_TOPICS_MAX: usize = 16;

/// What a request asks for: `?after=`, `?last=`, or `Last-Event-ID`, which is newer than either because a
/// browser adds it when it comes back.
pub fn start(request: &Request, topics: usize) -> Result<Start, Refusal> {
    if !request.is_websocket() && topics > STREAM_TOPICS_MAX {
        return Err((400, "an event stream has at most 16 topics, a WebSocket 128".into()));
    }
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
enum Greeting {
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
    let greeting =
        if envelopes && hub.use_envelopes(id) { Greeting::Envelope } else { Greeting::Nothing };
    if let Err(full) = subscribe_all(hub, id, names, start, greeting) {
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
    if subscribe_all(hub, id, names, start, Greeting::Event).is_err() {
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
    greeting: Greeting,
) -> Result<(), SubscribeError> {
    if greeting == Greeting::Event && names.len() > 1 {
        hub.use_joint_ids(id);
    }
    let begins: Vec<_> =
        names.iter().enumerate().map(|(nth, name)| Begin::of(hub, name, start, nth)).collect();
    // What is told comes in front of what was kept, and a topic that is new has its place only now.
    for (name, _) in names.iter().zip(&begins).filter(|(_, begin)| begin.is_live()) {
        hub.subscribe(id, name)?;
    }
    tell(hub, id, greeting, names, &begins);
    for (name, begin) in names.iter().zip(&begins) {
        let joined = match begin.what {
            What::Live => continue,
            What::Last(count) => hub.subscribe_last(id, name, count),
            What::After(place) => hub.subscribe_after(id, name, place),
        }?;
        debug_assert_eq!(joined.kept, Ok(begin.kept), "nothing has changed since");
    }
    Ok(())
}

/// What one subscription begins with.
struct Begin {
    what: What,
    /// So many publications that were kept.
    kept: u64,
    /// Whether it could be resumed, if that was asked for.
    resumed: Option<Result<(), String>>,
}

#[derive(Clone, Copy)]
enum What {
    Live,
    Last(u64),
    After(Position),
}

impl Begin {
    /// What the `nth` topic of a request begins with.
    fn of(hub: &Hub, name: &str, start: &Start, nth: usize) -> Self {
        let live = |resumed| Self { what: What::Live, kept: 0, resumed };
        match start {
            Start::Live => live(None),
            Start::Unknown => live(Some(Err("the id is none that was given here".to_owned()))),
            Start::Last(count) => match hub.history_len(name).min(*count) {
                0 => live(None),
                kept => Self { what: What::Last(*count), kept, resumed: None },
            },
            Start::After(places) => match places[nth] {
                None => live(None),
                Some(place) => match hub.published_since(name, place) {
                    Ok(kept) => Self { what: What::After(place), kept, resumed: Some(Ok(())) },
                    Err(why) => live(Some(Err(why.to_string()))),
                },
            },
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.what, What::Live)
    }
}

/// Tells a subscriber from where on each of its topics comes without a gap: one that has read no further comes
/// back to there.
fn tell(hub: &mut Hub, id: ConnId, greeting: Greeting, names: &[String], begins: &[Begin]) {
    let place = |(name, begin): (&String, &Begin)| {
        let here = hub.position(name)?;
        Some(Position { offset: here.offset - begin.kept, ..here }.to_string())
    };
    let places: Option<Vec<_>> = names.iter().zip(begins).map(place).collect();
    // They are subscribed to, or have kept something.
    let Some(places) = places.filter(|_| greeting != Greeting::Nothing) else { return };
    for ((name, begin), place) in names.iter().zip(begins).zip(&places) {
        let mut object = serde_json::json!({
            "topic": name,
            "id": place,
            "recovered": begin.resumed.as_ref().map(Result::is_ok),
        });
        if let Some(Err(why)) = &begin.resumed {
            object["why"] = why.as_str().into();
        }
        // A connection that is gone, or at its limit with its first message, is told nothing.
        let _ = match greeting {
            Greeting::Nothing => Ok(()),
            Greeting::Envelope => hub.send(id, object.to_string()),
            Greeting::Event => {
                let ids = places.join(",");
                hub.write(id, format!("event: subscribed\nid: {ids}\ndata: {object}\n\n"))
            }
        };
    }
}
