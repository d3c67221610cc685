//! Connections over which clients are told, and cannot ask: the first commands are in the request, and others are posted.

use std::borrow::Cow;

use pushloop::{ConnId, Hub, Request, RequestId, Response};

use super::{Service, identity::random_uuid};
use crate::{
    centrifuge::{
        Format,
        commands::{self, Command, Method},
        transports::{Post, Transport, Way},
    },
    gate::TurnedAway,
};

const EVENTS: &str = "/connection/sse";
const BODY: &str = "/connection/http_stream";
const POSTS: &str = "/emulation";

/// What a request for one of these asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Events,
    Body,
    Post,
}

impl Door {
    pub fn of(request: &Request) -> Option<Self> {
        match request.path() {
            _ if request.is_websocket() => None,
            EVENTS => Some(Self::Events),
            BODY => Some(Self::Body),
            POSTS => Some(Self::Post),
            _ => None,
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Events => "GET",
            Self::Body | Self::Post => "POST",
        }
    }

    /// In which encoding its commands come.
    fn format(self, request: &Request) -> Result<Format, TurnedAway> {
        if self == Self::Events {
            return Ok(Format::Json);
        }
        let kind = request.header_text("content-type").unwrap_or_default();
        let kind = kind.split_once(';').map_or(kind, |(kind, _)| kind).trim();
        let formats = [Format::Json, Format::Protobuf];
        let format = formats.into_iter().find(|it| kind.eq_ignore_ascii_case(content_type(*it)));
        format.ok_or_else(|| {
            (415, "commands are application/json or application/octet-stream".into()).into()
        })
    }
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::Json => "application/json",
        Format::Protobuf => "application/octet-stream",
    }
}

fn bad(why: &'static str) -> TurnedAway {
    (400, why.into()).into()
}

pub(in crate::service) fn no_session() -> TurnedAway {
    (404, "the session is over, or it is no session of this server".into()).into()
}

impl Service {
    /// Whether the request may be, as far as its head tells. A page of another origin may not, whether it could read
    /// the answer or not: others are told that it comes.
    pub(super) fn check_door(
        &mut self,
        hub: &Hub,
        request: &Request,
        door: Door,
    ) -> Result<(), TurnedAway> {
        if request.method() != door.method() {
            let why = format!("this address takes {}", door.method());
            let field = Some(("Allow", door.method().into()));
            return Err(TurnedAway { status: 405, why: why.into(), field, is_last: false });
        }
        if let Some(why) = hub.origin_refusal(request) {
            return Err((403, why.into()).into());
        }
        door.format(request)?;
        self.gate.principal(hub, request).map(|_| ())
    }

    pub(super) fn serve_door(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
        door: Door,
    ) -> Result<(), TurnedAway> {
        self.check_door(hub, request, door)?;
        let format = door.format(request)?;
        let (transport, frame) = match door {
            Door::Events => {
                let frame = request.query_value("cf_connect").unwrap_or_default();
                (Transport::Events, Cow::Owned(frame.into_owned().into_bytes()))
            }
            Door::Body => (Transport::Body, Cow::Borrowed(request.body())),
            Door::Post => return self.take_post(hub, id, request),
        };
        self.open_stream(hub, id, request, Way { transport, format }, &frame)
    }

    fn open_stream(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
        way: Way,
        frame: &[u8],
    ) -> Result<(), TurnedAway> {
        let first = commands::next(way.format, &mut &*frame);
        if !matches!(first, Some(Ok(Command { method: Method::Connect(_), .. }))) {
            return Err(bad("the request has no command to connect with"));
        }
        let who = self.admit_connection(hub, id, request)?;
        let Some(key) = random_uuid() else {
            return Err((503, "there is no randomness".into()).into());
        };
        let response = match way.transport {
            // It is said by the library.
            Transport::WebSocket | Transport::Events => Response::new(200),
            Transport::Body => Response::new(200).header("Content-Type", content_type(way.format)),
        };
        let response = response.header("X-Content-Type-Options", "nosniff");
        if hub.event_stream(id, response).is_ok() {
            let id = id.conn();
            self.begin_session(hub, id, request, way, who, &key);
            self.take_frame(hub, id, frame);
        }
        Ok(())
    }

    /// Carries out commands that were posted for a connection, which gets the answers.
    fn take_post(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
    ) -> Result<(), TurnedAway> {
        if self.carry_out_post(hub, request)? {
            self.answer(hub, id, Response::new(204), &[]);
        } else if self.has_others() {
            self.post_elsewhere(hub, id);
        } else {
            return Err(no_session());
        }
        Ok(())
    }

    /// The same, if the connection is one of this loop.
    pub(in crate::service) fn carry_out_post(
        &mut self,
        hub: &mut Hub,
        request: &Request,
    ) -> Result<bool, TurnedAway> {
        let format = Door::Post.format(request)?;
        let post = Post::read(format, request.body());
        let post = post.map_err(|_| bad("the body has no session and data"))?;
        let Some(conn) = self.session_of(hub, &post.session) else { return Ok(false) };
        let takes = self.centrifuge.sessions.get(conn).map(|session| session.way.format);
        if takes != Some(format) {
            return Err(bad("the session has begun in another encoding"));
        }
        self.sessions.receive(conn);
        self.take_frame(hub, conn, &post.frame);
        Ok(true)
    }

    /// The connection that has this key, if it is not ending.
    fn session_of(&self, hub: &mut Hub, key: &str) -> Option<ConnId> {
        let conn = self.centrifuge.posted.connection(key)?;
        // Nothing is written, and it is said whether something could be.
        hub.write(conn, "").is_ok().then_some(conn)
    }
}
