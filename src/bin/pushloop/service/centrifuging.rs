//! Connections of Centrifuge's clients: of which user they are, what they subscribe to, and what becomes of their commands.

mod api;
mod connecting;
mod dues;
mod identity;
mod lent;
mod out;
mod posted;
mod reading;
mod repeating;
mod rooms;
mod streaming;
mod subscribing;
#[cfg(test)]
mod tests;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use pushloop::{
    Accept, CloseCode, ConnId, ConnMap, EncodingId, EncodingsFull, Hub, Request, RequestId,
};

pub(super) use self::streaming::no_session;
use self::{
    dues::{Dues, TIMER},
    identity::{Identity, random_uuid},
    lent::Lent,
    out::Out,
    posted::Posted,
    rooms::{Counted, Rooms},
    streaming::Door,
};
use super::Service;
use crate::{
    auth::Principal,
    centrifuge::{
        Format,
        codes::{Disconnect, Failure, Refused},
        commands::{self, Command, Method},
        pushes::ENCODERS,
        replies::Answer,
        transports::{Transport, Way},
    },
    few::Few,
    gate::TurnedAway,
    requests::network,
};

/// Where clients connect.
const PATH: &str = "/connection/websocket";
/// What else is theirs: other ways to connect.
const OTHERS: &str = "/connection/";
const NO_TRANSPORT: &str = "of Centrifuge's transports, there are /connection/websocket, /connection/sse and \
     /connection/http_stream";

/// Seconds between two pings; how long the answer to one may take, and how long the first command.
const PING_SECONDS: u32 = 25;
const PONG_TIMEOUT: Duration = Duration::from_secs(8);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection or a subscription outlives its token: in this time, its client may bring another one.
const EXPIRY_GRACE: Duration = Duration::from_secs(25);
/// Connections that are looked at in one turn.
const LOOKS_PER_TURN: usize = 512;

/// All of them.
#[derive(Default)]
pub(super) struct Centrifuge {
    /// The encodings of publications; none if there is no such protocol here.
    encodings: Vec<(Way, EncodingId)>,
    sessions: ConnMap<Box<Session>>,
    posted: Posted,
    /// This server among others, as posts name it.
    node: String,
    dues: Dues,
    rooms: Rooms,
    counted: Counted,
    at_hand: AtHand,
    lent: Lent,
    /// Those that tokens name, with their connections.
    users: BTreeMap<Box<str>, BTreeSet<ConnId>>,
}

/// One of them.
struct Session {
    way: Way,
    stage: Stage,
    identity: Identity,
    /// Its address, by which publications are limited.
    network: Option<IpAddr>,
    /// Who it is: as its request says, and then as its first command does.
    who: Principal,
    subs: Few<Arc<str>, Sub>,
    /// When its token ends, since 1970.
    expires: Option<Duration>,
    awaits_pong: bool,
}

/// The command at hand. There is one at a time, whichever client's it is.
#[derive(Clone, Copy, Default)]
struct AtHand {
    /// The broker was asked for what it is about: a place that is not here is none.
    is_confirmed: bool,
    /// How long it is: there has to be room for that if it waits.
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has not said of which user it is.
    Begun,
    Connected,
    /// Its first command was refused, and it may ask for nothing more.
    Refused,
}

/// A subscription.
struct Sub {
    is_servers: bool,
    /// Its channel has members, and the client is one.
    is_member: bool,
    /// It is told who comes and goes.
    hears_joins: bool,
    /// When its token ends, if it has one of its own.
    expires: Option<Duration>,
}

impl Session {
    fn new(way: Way, network: Option<IpAddr>, who: Principal) -> Self {
        Self {
            way,
            stage: Stage::Begun,
            identity: Identity::default(),
            network,
            who,
            subs: Few::default(),
            expires: None,
            awaits_pong: false,
        }
    }
}

impl Centrifuge {
    /// Gives the hub the encodings.
    pub fn begin(&mut self, hub: &mut Hub) -> Result<(), EncodingsFull> {
        // Without randomness, it is one of many.
        self.node = random_uuid().unwrap_or_default();
        for (way, encoder) in ENCODERS {
            let encoding = hub.add_encoding(encoder)?;
            hub.set_close_codes(
                encoding,
                Disconnect::SHUTDOWN.close_code(),
                Disconnect::SLOW.close_code(),
            );
            self.encodings.push((way, encoding));
        }
        Ok(())
    }

    fn is_on(&self) -> bool {
        !self.encodings.is_empty()
    }

    fn encoding(&self, way: Way) -> Option<EncodingId> {
        self.encodings.iter().find(|(other, _)| *other == way).map(|(_, encoding)| *encoding)
    }
}

impl Service {
    /// Whether the request is for this protocol, or for the server's API.
    pub(super) fn is_for_centrifuge(&self, request: &Request) -> bool {
        let is_theirs = request.path().starts_with(OTHERS) || Door::of(request).is_some();
        self.centrifuge.is_on() && is_theirs || self.is_centrifuge_api(request)
    }

    /// Why such a request is refused, as far as its head tells.
    pub(super) fn centrifuge_refusal(
        &mut self,
        hub: &Hub,
        request: &Request,
    ) -> Option<TurnedAway> {
        match Door::of(request) {
            Some(door) => self.check_door(hub, request, door).err(),
            None if self.is_centrifuge_api(request) => self.api_refusal(request),
            None => None,
        }
    }

    /// Whether the request is for this protocol. Then it is answered.
    pub(super) fn handle_centrifuge(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
    ) -> bool {
        if !self.is_for_centrifuge(request) {
            return false;
        }
        let outcome = match Door::of(request) {
            Some(door) => self.serve_door(hub, id, request, door),
            None if self.is_centrifuge_api(request) => {
                self.call_centrifuge_api(hub, id, request, false);
                Ok(())
            }
            None if request.path() == PATH && request.is_websocket() => {
                self.open_centrifuge(hub, id, request)
            }
            None => Err((404, NO_TRANSPORT.into()).into()),
        };
        if let Err(away) = outcome {
            self.turn_away(hub, id, &away);
        }
        true
    }

    fn open_centrifuge(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
    ) -> Result<(), TurnedAway> {
        let who = self.admit_connection(hub, id, request)?;
        let (format, subprotocol) = asked_format(request);
        if hub.accept(id, Accept { subprotocol, headers: &[] }).is_ok() {
            let way = Way { transport: Transport::WebSocket, format };
            self.begin_session(hub, id.conn(), request, way, who, "");
        }
        Ok(())
    }

    /// Who asks for a connection, if that may be.
    fn admit_connection(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
    ) -> Result<Principal, TurnedAway> {
        self.admit_client(hub, id, request)?;
        let who = self.gate.principal(hub, request)?;
        if matches!(&who, Principal::Token(claims) if claims.channel.is_some()) {
            return Err((401, "the token is for a subscription: it has a channel".into()).into());
        }
        Ok(who)
    }

    fn begin_session(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        request: &Request,
        way: Way,
        who: Principal,
        key: &str,
    ) {
        if let Some(encoding) = self.centrifuge.encoding(way) {
            hub.use_encoding(id, encoding);
        }
        self.sessions.begin(hub, id, request);
        if !key.is_empty() {
            self.centrifuge.posted.insert(id, key);
        }
        let session = Session::new(way, network(request), who);
        self.centrifuge.sessions.insert(id, Box::new(session));
        self.centrifuge.dues.look_at(hub, id, hub.now() + CONNECT_TIMEOUT);
    }

    /// Takes what a client of this protocol has sent. False if it is none.
    pub(super) fn take_frame(&mut self, hub: &mut Hub, id: ConnId, mut frame: &[u8]) -> bool {
        // It is returned: meanwhile, all else is at hand.
        let Some(mut session) = self.centrifuge.take_out(hub, id) else { return false };
        let mut out = Out::new(id, session.way);
        let mut outcome = Ok(());
        while outcome.is_ok() && out.is_taken() {
            let all = frame;
            let Some(command) = commands::next(session.way.format, &mut frame) else { break };
            let bytes = &all[..all.len() - frame.len()];
            outcome = match command {
                Ok(command) => self.take_command(hub, &mut session, &mut out, command, bytes),
                Err(_) => Err(Disconnect::BAD_REQUEST),
            };
        }
        self.return_session(hub, session, out, outcome);
        true
    }

    /// Sends what a session has to say, and gives it back; or disconnects its client.
    fn return_session(
        &mut self,
        hub: &mut Hub,
        session: Box<Session>,
        mut out: Out,
        outcome: Result<(), Disconnect>,
    ) {
        let id = out.id();
        out.flush(hub);
        self.centrifuge.put_in(id, session);
        if let Err(disconnect) = outcome {
            self.disconnect(hub, id, disconnect.close_code(), disconnect.reason);
        }
    }

    fn disconnect(&mut self, hub: &mut Hub, id: ConnId, code: CloseCode, reason: &str) {
        self.leave_channels(hub, id);
        self.forget_commands(hub, id);
        hub.close(id, code, reason);
    }

    /// Carries out one command; or gives the number under which the broker tells when that is to be done.
    fn carry_out(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        command: Command<'_>,
    ) -> Result<Option<u64>, Disconnect> {
        let Command { id, method } = command;
        let is_connect = matches!(method, Method::Connect(_));
        if is_connect != (session.stage == Stage::Begun) || session.stage == Stage::Refused {
            return Err(Disconnect::BAD_REQUEST);
        }
        if id == 0 && method != Method::Send {
            // Whatever else it says: so do the servers that the clients know.
            return self.take_pong(hub, session, out.id()).map(|()| None);
        }
        let outcome = match out.has_room(hub) {
            true => self.answer_command(hub, session, out, id, method),
            false => Err(Failure::TOO_MANY_REQUESTS.into()),
        };
        match outcome {
            Ok(()) => Ok(None),
            Err(Refused::Once(number)) => Ok(Some(number)),
            Err(Refused::Disconnect(disconnect)) => Err(disconnect),
            Err(Refused::Failure(failure)) => {
                refuse(session, out, (id, is_connect), failure);
                Ok(None)
            }
        }
    }

    fn answer_command(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        id: u32,
        method: Method<'_>,
    ) -> Result<(), Refused> {
        match method {
            Method::Connect(it) => self.connect(hub, session, out, id, &it),
            Method::Subscribe(it) => self.subscribe_to_channel(hub, session, out, id, &it),
            Method::Unsubscribe(channel) => self.unsubscribe(hub, session, out, id, &channel),
            Method::Publish { channel, data, is_map: false } => {
                self.publish_to_channel(hub, session, out, id, &channel, data)
            }
            Method::Presence(channel) => self.tell_clients(hub, session, out, id, &channel),
            Method::PresenceStats(channel) => self.tell_count(hub, session, out, id, &channel),
            Method::History(it) => self.tell_history(hub, session, out, id, &it),
            Method::Ping => {
                out.answer(id, &Ok(Answer::Ping));
                Ok(())
            }
            Method::Refresh(token) => self.refresh(hub, session, out, id, &token),
            Method::SubRefresh { channel, token } => {
                self.refresh_subscription(hub, session, out, id, &channel, &token)
            }
            // It would not be known that nobody has it, since it has no answer.
            Method::Send => Err(Disconnect::NOT_AVAILABLE.into()),
            Method::Publish { is_map: true, .. } | Method::Rpc => {
                Err(Failure::NOT_AVAILABLE.into())
            }
            Method::Unknown => Err(Failure::METHOD_NOT_FOUND.into()),
        }
    }

    fn take_pong(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        id: ConnId,
    ) -> Result<(), Disconnect> {
        if !std::mem::take(&mut session.awaits_pong) {
            return Err(Disconnect::BAD_REQUEST);
        }
        let next = hub.now() + Duration::from_secs(PING_SECONDS.into());
        self.centrifuge.dues.look_at(hub, id, next);
        Ok(())
    }

    /// A connection is over.
    pub(super) fn end_centrifuge(&mut self, hub: &mut Hub, id: ConnId) {
        self.leave_channels(hub, id);
        if let Some(session) = self.centrifuge.sessions.remove(id) {
            self.centrifuge.forget_user(session.identity.user(), id);
        } else if let Some(identity) = self.centrifuge.take_lost(id) {
            self.end_lost(hub, id, &identity);
        } else {
            return;
        }
        self.centrifuge.dues.remove(id);
        self.centrifuge.posted.remove(id);
    }

    /// Whether the timer is this protocol's. Looks at the connections that are due.
    pub(super) fn handle_centrifuge_timer(&mut self, hub: &mut Hub, key: u64) -> bool {
        if key != TIMER {
            return false;
        }
        self.centrifuge.dues.end_timer();
        for _ in 0..LOOKS_PER_TURN {
            let Some(id) = self.centrifuge.dues.pop_due(hub) else { break };
            let Some(mut session) = self.centrifuge.take_out(hub, id) else { continue };
            let mut out = Out::new(id, session.way);
            let outcome = self.look_at_session(hub, &mut session, &mut out);
            self.return_session(hub, session, out, outcome);
        }
        self.centrifuge.dues.set_timer(hub);
        true
    }

    /// Pings a connection, if it has answered the last one and may stay.
    fn look_at_session(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
    ) -> Result<(), Disconnect> {
        if session.stage != Stage::Connected {
            return Err(Disconnect::STALE);
        }
        if session.awaits_pong {
            return Err(Disconnect::NO_PONG);
        }
        self.expire(hub, session, out)?;
        out.ping();
        session.awaits_pong = true;
        self.centrifuge.dues.look_at(hub, out.id(), hub.now() + PONG_TIMEOUT);
        Ok(())
    }
}

/// Answers a command that was not carried out.
fn refuse(session: &mut Session, out: &mut Out, (id, is_connect): (u32, bool), failure: Failure) {
    if is_connect {
        session.stage = Stage::Refused;
    }
    out.answer(id, &Err(failure));
}

/// The encoding that a client asks for, and which of its subprotocols that is.
fn asked_format(request: &Request) -> (Format, Option<&'static str>) {
    let offers = |format: Format| request.subprotocols().any(|it| it == format.subprotocol());
    if let Some(format) = [Format::Protobuf, Format::Json].into_iter().find(|it| offers(*it)) {
        return (format, Some(format.subprotocol()));
    }
    let mut asked = ["format", "cf_protocol"].into_iter().map(|name| request.query_value(name));
    let is_protobuf = asked.any(|it| it.as_deref() == Some("protobuf"));
    (if is_protobuf { Format::Protobuf } else { Format::Json }, None)
}
