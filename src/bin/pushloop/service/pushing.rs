//! Clients of Pusher: what they subscribe to, what they send, and of which user they are.

mod api;
mod channels;
mod clients;
mod webhooks;

use std::time::Duration;

use pushloop::{Accept, CloseCode, ConnId, Hub, Message, Request, RequestId};

use self::{
    channels::{NotJoined, Wish},
    clients::Client,
    webhooks::WebhookEvent,
};
pub(super) use self::{clients::Pushing, webhooks::Webhooks};
use super::{
    Service,
    pacing::{Account, SUBSCRIPTIONS_PER_SECOND},
    parking::Verdict,
};
use crate::{
    auth::{Action, Principal},
    few::Few,
    publish::{Answer, Except, Item, Plan},
    pusher::{self, DATA_BYTES_MAX, EVENT_BYTES_MAX, Said},
    topics::Refusal,
};

/// Events that a client may send in a second.
const CLIENT_EVENTS_PER_SECOND: u32 = 10;
/// Bytes of the id of a member, or of a user.
const MEMBER_ID_BYTES_MAX: usize = 128;
/// The versions of the protocol that differ in nothing here.
const VERSIONS: [&str; 3] = ["5", "6", "7"];

/// The codes of Pusher with which a client does not come back.
const UNKNOWN_APP: u16 = 4001;
const BAD_VERSION: u16 = 4006;
const UNSUPPORTED_VERSION: u16 = 4007;
const NO_VERSION: u16 = 4008;
const UNAUTHORIZED: u16 = 4009;
/// The code with which it comes back after a while, and subscribes anew.
const COME_BACK: u16 = 4100;
/// The codes with which it stays connected.
const BAD_MESSAGE: u16 = 4200;
const TOO_FAST: u16 = 4301;

impl Service {
    /// Whether a request is for an application's clients or its backend.
    pub(super) fn is_for_apps(&self, request: &Request) -> bool {
        let path = request.path();
        self.pushing.is_some() && (path.starts_with("/app/") || path.starts_with("/apps/"))
    }

    /// Answers such a request.
    pub(super) fn serve_app(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        if request.path().starts_with("/apps/") {
            return self.serve_api(hub, id, request);
        }
        if !request.is_websocket() {
            let why = "a client of Pusher connects here, by WebSocket";
            return self.tell(hub, id, 426, why);
        }
        let admitted = self.admit_client(hub, id, request);
        match admitted {
            Ok(()) => self.open_client(hub, id, request),
            Err(away) => self.turn_away(hub, id, &away),
        }
    }

    fn open_client(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let Some(pushing) = &mut self.pushing else { return };
        // A page of another origin, say, was refused before.
        if hub.accept(id, Accept::default()).is_err() {
            return;
        }
        let conn = id.conn();
        let key = request.path().strip_prefix("/app/").unwrap_or_default();
        let app = pushing.apps.iter().position(|app| *app.key == *key);
        let app = app.ok_or((UNKNOWN_APP, "there is no application with this key"));
        let version = request.query_value("protocol");
        let app = app.and_then(|app| check_version(version.as_deref()).map(|()| app));
        self.sessions.begin(hub, conn, request);
        let app = match app {
            Ok(app) => app,
            Err((code, why)) => return close(hub, conn, code, why),
        };
        let accounts = Account::of(request, &Principal::Client { signed: None });
        hub.use_encoding(conn, pushing.encoding);
        tell(hub, conn, &pusher::established(&pushing.socket(conn)));
        let client = Client { app, channels: Few::default(), user: None, accounts };
        pushing.clients.insert(conn, client);
        if let Some(telling) = &mut self.hooks.telling {
            telling.begin(hub, (conn, request), &[], &Principal::Client { signed: None });
        }
    }

    /// Whether the connection is one of an application's clients.
    pub(super) fn is_client_of_app(&self, id: ConnId) -> bool {
        self.pushing.as_ref().is_some_and(|it| it.clients.get(id).is_some())
    }

    /// Whether the connection is one of an application's clients, which has sent this.
    pub(super) fn takes_said(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) -> bool {
        let is_client = self.is_client_of_app(id);
        if is_client {
            match message.as_text().and_then(|text| Some((text, pusher::read(text)?))) {
                Some((text, said)) => self.take_in_turn(hub, id, text, said),
                None => {
                    let why = "invalid message format";
                    tell(hub, id, &pusher::error(Some(BAD_MESSAGE), None, why));
                }
            }
        }
        is_client
    }

    /// Does what a client says, at once or in its turn.
    fn take_in_turn(&mut self, hub: &mut Hub, id: ConnId, text: &str, said: Said) {
        if matches!(said, Said::Subscribe { .. }) && self.subscribes_too_fast(hub, id) {
            let why = format!("subscriptions_per_second = {SUBSCRIPTIONS_PER_SECOND}");
            return self.refuse_said(hub, id, &said, &why);
        }
        let is_alive = matches!(said, Said::Ping | Said::Pong);
        let number = match !is_alive && self.has_to_wait(id, false) {
            true => self.want_ahead(hub, id, &said, text.len()),
            false => match self.take_said(hub, id, &said, text.len()) {
                None => return,
                number => number,
            },
        };
        if let Err(why) = self.park(hub, id, text.as_bytes(), false, number) {
            self.refuse_said(hub, id, &said, &why);
        }
    }

    /// Notes that a client subscribes. Each of these may be events for the backend.
    fn subscribes_too_fast(&mut self, hub: &Hub, id: ConnId) -> bool {
        let pace = self.pushing.as_mut().map(|it| &mut it.subscriptions);
        pace.is_some_and(|it| it.take(&id, 1, hub.now()).is_err())
    }

    /// Does what a client has said before, now that it has its turn, with what the broker has said of it if it was asked. If
    /// it has to wait again, gives the number under which the broker tells.
    pub(super) fn take_parked_said(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        text: &[u8],
        verdict: Option<Verdict>,
    ) -> Option<u64> {
        let said = str::from_utf8(text).ok().and_then(pusher::read)?;
        match verdict {
            Some(Err(why)) => {
                self.refuse_said(hub, id, &said, &why);
                None
            }
            Some(Ok(())) | None => self.take_said(hub, id, &said, text.len()),
        }
    }

    /// Does what a client says. If it has to wait for the broker, gives the number under which that tells.
    fn take_said(&mut self, hub: &mut Hub, id: ConnId, said: &Said, bytes: usize) -> Option<u64> {
        let answer = match said {
            Said::Ping => Some(pusher::frame("pusher:pong", None, "{}")),
            Said::Pong => None,
            Said::Subscribe { channel, auth, channel_data } => {
                let data = channel_data.as_deref();
                match self.join_channel(hub, id, &Wish { channel, auth, data, bytes }) {
                    Ok(()) => None,
                    Err(NotJoined::Yet(number)) => return Some(number),
                    Err(NotJoined::NotNow(why)) => {
                        self.refuse_said(hub, id, said, &why);
                        None
                    }
                    Err(NotJoined::Refused(kind, status, why)) => {
                        Some(pusher::subscription_error(channel, kind, status, &why))
                    }
                }
            }
            Said::Unsubscribe(channel) => (!self.leave_channel(hub, id, channel)).then(|| {
                let why = format!("No current subscription to channel {channel}");
                pusher::error(None, None, &why)
            }),
            Said::SignIn { auth, user_data } => {
                self.sign_in(hub, id, auth, user_data);
                None
            }
            Said::Event { event, channel, data } => {
                let sent = self.send_event(hub, id, event, channel, data);
                sent.err().map(|(code, why)| pusher::error(code, Some(channel), &why))
            }
            Said::Other(event) => {
                let event: String = event.chars().take(EVENT_BYTES_MAX).collect();
                Some(pusher::error(Some(BAD_MESSAGE), None, &format!("unknown event {event}")))
            }
        };
        if let Some(answer) = answer {
            tell(hub, id, &answer);
        }
        None
    }

    /// Asks the broker already for a channel that has its turn later, so that those of one client wait together.
    fn want_ahead(&mut self, hub: &mut Hub, id: ConnId, said: &Said, bytes: usize) -> Option<u64> {
        let Said::Subscribe { channel, auth, channel_data } = said else { return None };
        if !self.may_ask_ahead(hub, id) {
            return None;
        }
        let data = channel_data.as_deref();
        match self.may_join(hub, id, &Wish { channel, auth, data, bytes }) {
            Err(NotJoined::Yet(number)) => Some(number),
            Ok(_) | Err(NotJoined::NotNow(_) | NotJoined::Refused(..)) => None,
        }
    }

    fn sign_in(&mut self, hub: &mut Hub, id: ConnId, auth: &str, user_data: &str) {
        let Some(pushing) = &mut self.pushing else { return };
        let Some((app, client)) = pushing.client(id) else { return };
        let user = pusher::sign_in_id(user_data).filter(|user| {
            user.len() <= MEMBER_ID_BYTES_MAX && app.knows(auth, &pushing.socket(id), user_data)
        });
        let key = client.app;
        // A connection is one user's.
        let user = user.filter(|user| client.user.as_ref().is_none_or(|it| **it == **user));
        let Some(user) = user else {
            return close(
                hub,
                id,
                UNAUTHORIZED,
                "the signature is not the one of this socket and user",
            );
        };
        let user: Box<str> = user.into();
        pushing.users.entry((key, user.clone())).or_default().insert(id);
        if let Some(client) = pushing.clients.get_mut(id) {
            client.user = Some(user);
        }
        let data = serde_json::json!({ "user_data": user_data });
        tell(hub, id, &pusher::frame("pusher:signin_success", None, data));
    }

    /// Publishes what a client sends to the others of a channel.
    fn send_event(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        event: &str,
        channel: &str,
        data: &str,
    ) -> Result<(), (Option<u16>, String)> {
        let Some(pushing) = &mut self.pushing else { return Ok(()) };
        let Some((app, client)) = pushing.client(id) else { return Ok(()) };
        let joined = client.channels.get(channel).filter(|it| it.kind.takes_client_events());
        let Some(joined) = joined.cloned() else {
            let why =
                "events of clients are for private and presence channels to which they subscribe";
            return Err((None, why.to_owned()));
        };
        if event.len() > EVENT_BYTES_MAX {
            return Err((None, format!("event_name_bytes_max = {EVENT_BYTES_MAX}")));
        }
        if data.len() > DATA_BYTES_MAX {
            return Err((None, format!("event_data_bytes_max = {DATA_BYTES_MAX}")));
        }
        let (topic, nth, accounts) = (app.topic(channel), client.app, client.accounts.clone());
        let socket = pushing.socket(id);
        if pushing.pace.take(&id, 1, hub.now()).is_err() {
            let why = format!("client_events_per_second = {CLIENT_EVENTS_PER_SECOND}");
            return Err((Some(TOO_FAST), why));
        }
        let who = Principal::Client { signed: Some((&*topic).into()) };
        if let Err(denied) = self.gate.may(&who, Action::Publish, &topic) {
            return Err((None, self.gate.turn_away(denied).why.into_owned()));
        }
        let text = pusher::keep_sent(event, data, joined.member.as_deref());
        if let Err(away) = self.pacing.take(&accounts, Message::Text(&text), hub.now()) {
            return Err((Some(TOO_FAST), away.why.into_owned()));
        }
        let plan = Plan::one(Item::event(topic, text, Some(Except::Here(id))), "");
        self.publish_events(hub, plan, None).map_err(|(_, why)| (None, why.into_owned()))?;
        let (socket, member) = (&*socket, joined.member.as_deref());
        let event = WebhookEvent::ClientEvent { event, data, socket, member };
        self.tell_backend(nth, channel, &event);
        Ok(())
    }

    /// Publishes, or has it written and then published.
    fn publish_events(
        &mut self,
        hub: &mut Hub,
        plan: Plan<'_>,
        asker: Option<RequestId>,
    ) -> Result<Option<Answer>, Refusal> {
        Self::note_plan(&mut self.operator, hub, &plan);
        self.take_plan(hub, plan, None, asker)
    }

    /// Tells a client that what it said is not done: too much waits for the broker, or the broker does not answer. If it was
    /// to have a channel or to leave one, it is closed, since it asks for that once in a connection.
    fn refuse_said(&mut self, hub: &mut Hub, id: ConnId, said: &Said, why: &str) {
        let channel = match said {
            Said::Subscribe { .. } | Said::Unsubscribe(_) => {
                self.forget_commands(hub, id);
                return close(hub, id, COME_BACK, why);
            }
            Said::Event { channel, .. } => Some(&**channel),
            Said::Ping | Said::Pong | Said::SignIn { .. } | Said::Other(_) => None,
        };
        tell(hub, id, &pusher::error(None, channel, why));
    }

    /// A connection is over.
    pub(super) fn leave_app(&mut self, hub: &mut Hub, id: ConnId) {
        let Some(client) = self.pushing.as_mut().and_then(|it| it.leave(id)) else { return };
        for channel in client.channels.keys() {
            self.vacate(hub, id, client.app, channel);
            if let (Some(telling), Some(pushing)) = (&mut self.hooks.telling, &self.pushing) {
                telling.vacate(hub, &pushing.apps[client.app].topic(channel));
            }
        }
    }
}

/// Whether this version of the protocol is spoken here; or a code, and why not.
fn check_version(version: Option<&str>) -> Result<(), (u16, &'static str)> {
    match version {
        None | Some("") => Err((NO_VERSION, "no version of the protocol is named")),
        Some(version) if VERSIONS.contains(&version) => Ok(()),
        Some(version) if version.bytes().all(|it| it.is_ascii_digit()) => {
            Err((UNSUPPORTED_VERSION, "of the protocol, the versions 5 to 7 are spoken"))
        }
        Some(_) => Err((BAD_VERSION, "the version of the protocol is a number")),
    }
}

/// A client that is gone, or closed for what waits for it, is told nothing.
fn tell(hub: &mut Hub, id: ConnId, frame: &str) {
    let _ = hub.send(id, frame);
}

/// Tells a client why it is closed, with a code that says whether it comes back.
fn close(hub: &mut Hub, id: ConnId, code: u16, why: &str) {
    tell(hub, id, &pusher::error(Some(code), None, why));
    hub.close(id, CloseCode::new(code).unwrap_or(CloseCode::POLICY), why);
}

/// The time of day, by which requests are signed.
fn today(hub: &Hub) -> Duration {
    crate::gate::since_1970(hub).unwrap_or_default()
}
