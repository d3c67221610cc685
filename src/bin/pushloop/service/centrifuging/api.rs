//! What backends ask for with the server's API.

use std::borrow::Cow;

use pushloop::{CloseCode, ConnId, Hub, Position, Request, RequestId, Response};

use super::{Out, Service, subscribing::BY_BACKEND};
use crate::{
    auth::{Action, Principal},
    broker::Lists,
    centrifuge::{
        api::{
            Asked, Call, CallResult, Calls, Data, Node, Published, Slot, Whom, is_like, object,
            read,
        },
        codes::{Disconnect, Failure, Refused},
        commands::{History, Since},
        pushes::joins,
        replies::{Push, Subscribed, position},
    },
    gate::TurnedAway,
    presence::has_members,
    publish::{self, Content, Form, Item, Plan},
    service::{asking::Door, hearing::Heard},
    topics::Refusal,
};

const PATH: &str = "/api";
const JSON: &str = "application/json";
/// Bytes of one answer, but for the last of a batch that comes into it.
const ANSWER_BYTES_MAX: usize = 1 << 20;

fn content(data: &Data) -> Content<'static> {
    match data {
        Data::Text(text) => Content::Text(text.clone()),
        Data::Binary(bytes) => Content::Binary(bytes.clone()),
    }
}

/// What a request asks for.
pub(super) fn asked(request: &Request) -> Result<Asked<'_>, Refusal> {
    let method = request.path().strip_prefix(PATH).and_then(|rest| rest.strip_prefix('/'));
    let method = method.filter(|method| !method.is_empty());
    let asked = str::from_utf8(request.body()).ok().and_then(|body| read(method, body).ok());
    let asked = asked.ok_or((400, "the body is no call in JSON".into()))?;
    asked.ok_or((404, "the API has no such method".into()))
}

/// Whether all calls ask how many there are of something.
fn are_figures(calls: &[Result<Call<'_>, Failure>]) -> bool {
    calls.iter().all(|call| call.as_ref().is_ok_and(Call::is_figure))
}

/// Whether anything is kept of a channel.
fn keeps(hub: &Hub, name: &str) -> bool {
    hub.topic_options(name).history.is_some()
}

impl Service {
    /// Whether a request is one of a backend's.
    pub(super) fn is_centrifuge_api(&self, request: &Request) -> bool {
        let rest = request.path().strip_prefix(PATH);
        let is_there = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        is_there && self.centrifuge.is_on() && self.gate.has_api_key()
    }

    /// Why the request is refused, as far as its head tells.
    pub(super) fn api_refusal(&self, request: &Request) -> Option<TurnedAway> {
        let is_it = |key: &str| self.gate.is_api_key(key);
        let scheme = |value: &'_ str| {
            let (scheme, key) = value.split_once(' ').unwrap_or_default();
            scheme.eq_ignore_ascii_case("apikey") && is_it(key)
        };
        let may = request.header_text("x-api-key").is_some_and(is_it)
            || request.header_text("authorization").is_some_and(scheme)
            || request.query_value("api_key").is_some_and(|key| is_it(&key));
        (!may).then(|| TurnedAway {
            status: 401,
            why: "the API takes the key of --centrifuge-key-file, as X-API-Key".into(),
            field: Some(("WWW-Authenticate", "apikey".into())),
            is_last: true,
        })
    }

    pub(in crate::service) fn call_centrifuge_api(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        request: &Request,
        is_confirmed: bool,
    ) {
        if request.method() != "POST" {
            let response = Response::text(405, "the API takes POST");
            return self.answer(hub, id, response, &[("Allow", "POST")]);
        }
        if let Some(away) = self.api_refusal(request) {
            return self.turn_away(hub, id, &away);
        }
        match asked(request) {
            Ok(asked) => self.call_once_there(hub, (id, request), asked, is_confirmed),
            Err((status, why)) => self.tell(hub, id, status, &why),
        }
    }

    /// Carries out calls, once the topics are heard that they ask about. Those that are not there then have errors for
    /// answers.
    fn call_once_there(
        &mut self,
        hub: &mut Hub,
        (id, request): (RequestId, &Request),
        asked: Asked<'_>,
        is_confirmed: bool,
    ) {
        let calls = asked.calls.iter().flatten();
        let about = calls.clone().filter(|_| !is_confirmed);
        let about = about.flat_map(|call| self.is_about(hub, call));
        let (names, after): (Vec<_>, Vec<_>) = about.unzip();
        match self.hear(hub, &names, &after, Lists::Members) {
            Heard::Once(number) => self.wait_for_broker(hub, number, (id, request), Door::Api),
            Heard::Yes | Heard::No(_) => {
                if calls.into_iter().any(Call::is_about_connections) {
                    if !self.has_its_turn((id, request), is_confirmed) {
                        return;
                    }
                    if let Err(away) = self.do_elsewhere(request) {
                        return self.turn_away(hub, id, &away);
                    }
                }
                self.call_all(hub, id, asked, is_confirmed);
            }
        }
    }

    /// What has to be heard for a call: channels, and places there.
    pub(super) fn is_about(&self, hub: &Hub, call: &Call<'_>) -> Vec<(String, Option<Position>)> {
        let place = |since: &Option<(u64, Cow<'_, str>)>| {
            since.as_ref().and_then(|(offset, epoch)| position(epoch, *offset))
        };
        let is_good = |name: &str| self.check_channel(hub, name).is_ok();
        match call {
            Call::History(asked) if is_good(&asked.channel) && keeps(hub, &asked.channel) => {
                self.asks_back(&asked.channel, place(&asked.since)).into()
            }
            Call::Subscribe { whom, channel, since }
                if is_good(channel) && !self.connections_of(whom).is_empty() =>
            {
                vec![(channel.clone().into_owned(), place(since))]
            }
            Call::Presence(name) | Call::PresenceStats(name)
                if is_good(name) && has_members(&self.patterns, name) =>
            {
                vec![(joins(name), None)]
            }
            Call::Publish { .. }
            | Call::Subscribe { .. }
            | Call::Unsubscribe { .. }
            | Call::Disconnect { .. }
            | Call::Refresh { .. }
            | Call::Presence(_)
            | Call::PresenceStats(_)
            | Call::History(_)
            | Call::HistoryRemove(_)
            | Call::Channels(_)
            | Call::Info => Vec::new(),
        }
    }

    fn call_all(
        &mut self,
        hub: &mut Hub,
        id: RequestId,
        Asked { is_batch, calls }: Asked<'_>,
        is_confirmed: bool,
    ) {
        let (mut slots, mut items, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        let are_figures = are_figures(&calls);
        for call in calls {
            slots.push(match call {
                Err(failure) => Slot::failed(failure),
                Ok(Call::Publish { publication, channels, is_broadcast }) => {
                    let count = channels.len();
                    match self.plan_call(hub, publication, channels) {
                        Err(failure) => Slot::failed(failure),
                        Ok(plan) => {
                            if self.ahead.is_some() || self.broker.is_some() {
                                items.extend(plan.items);
                            } else {
                                // What follows in a batch comes after.
                                outcomes.extend(publish::publish(hub, &plan, None));
                            }
                            Slot::Publish { count, is_broadcast }
                        }
                    }
                }
                // It is not known here, and other loops are not asked about a part of a batch.
                Ok(call) if call.is_figure() && !are_figures && self.has_others() => {
                    Slot::failed(Failure::NOT_AVAILABLE)
                }
                Ok(call) => {
                    let order = self.order_of_call(&call);
                    match (self.call_next(hub, call, is_confirmed, &mut bytes), order) {
                        (Slot::Done(method, Ok(_)), Some(order)) => {
                            items.push(order);
                            Slot::Everywhere(method)
                        }
                        (slot, _) => slot,
                    }
                }
            });
        }
        let calls = Calls { is_batch, slots };
        let is_away = !self.has_broker(hub);
        if is_away || items.is_empty() {
            outcomes
                .extend(items.iter().map(|_| Err((503, "the broker cannot be reached".into()))));
            let body = calls.answer(outcomes.into_iter());
            if are_figures && self.has_others() {
                return self.sum_up(hub, id, &body);
            }
            return self.tell_published(hub, id, Ok(Some((200, JSON, body))));
        }
        let plan = Plan { items, form: Form::Calls(calls) };
        let taken = self.take_plan(hub, plan, None, Some(id));
        self.tell_published(hub, id, taken);
    }

    /// What a backend publishes, if it may to all of these channels.
    fn plan_call(
        &mut self,
        hub: &Hub,
        publication: Published,
        channels: Vec<String>,
    ) -> Result<Plan<'static>, Failure> {
        if channels.iter().any(|name| self.check_channel(hub, name).is_err()) {
            return Err(Failure::BAD_REQUEST);
        }
        let who = Principal::PublishKey;
        if channels.iter().any(|name| self.gate.may(&who, Action::Publish, name).is_err()) {
            return Err(Failure::PERMISSION_DENIED);
        }
        let Published { data, key } = publication;
        let item = |name| Item::new(name, key.clone(), content(&data));
        let plan = Plan { items: channels.into_iter().map(item).collect(), form: Form::Several };
        Self::note_plan(&mut self.operator, hub, &plan);
        Ok(plan)
    }

    /// What a call is answered with, if the answers before it have left room.
    pub(super) fn call_next(
        &mut self,
        hub: &mut Hub,
        call: Call<'_>,
        is_confirmed: bool,
        bytes: &mut usize,
    ) -> Slot {
        let slot = match *bytes > ANSWER_BYTES_MAX {
            true => Slot::failed(Failure::LIMIT_EXCEEDED),
            false => self.call_one(hub, call, is_confirmed),
        };
        *bytes += slot.len();
        slot
    }

    pub(super) fn call_one(&mut self, hub: &mut Hub, call: Call<'_>, is_confirmed: bool) -> Slot {
        let nothing = || object(&CallResult::Nothing);
        if call.channel().is_some_and(|name| self.check_channel(hub, name).is_err()) {
            return Slot::Done("error", Err(Failure::BAD_REQUEST));
        }
        match call {
            Call::Publish { .. } => Slot::Done("publish", Err(Failure::INTERNAL)),
            Call::Subscribe { whom, channel, since } => {
                let done = self.subscribe_users(hub, &whom, &channel, since.as_ref());
                Slot::Done("subscribe", done.map(|()| nothing()))
            }
            Call::Unsubscribe { whom, channel } => {
                self.unsubscribe_users(hub, &whom, &channel);
                Slot::Done("unsubscribe", Ok(nothing()))
            }
            Call::Disconnect { whom, but, code, reason } => {
                let done = self.disconnect_users(hub, &whom, &but, (code, &*reason));
                Slot::Done("disconnect", done.map(|()| nothing()))
            }
            Call::Refresh { whom, is_expired, expires } => {
                self.refresh_users(hub, &whom, is_expired, expires);
                Slot::Done("refresh", Ok(nothing()))
            }
            Call::Presence(name) => {
                let told =
                    self.has_clients(hub, &name).and_then(|()| self.clients_of(hub, &name, None));
                Slot::Done("presence", told.map(|clients| object(&CallResult::Presence(clients))))
            }
            Call::PresenceStats(name) => {
                let told = self.has_clients(hub, &name).map(|()| self.count_of(hub, &name));
                Slot::Done("presence_stats", told.map(|it| object(&CallResult::PresenceStats(it))))
            }
            Call::History(asked) => {
                let told = match self.is_history_there(hub, &asked, is_confirmed) {
                    true => super::reading::kept(hub, &asked),
                    false => Err(Failure::INTERNAL),
                };
                Slot::Done("history", told.map(|kept| object(&CallResult::History(kept))))
            }
            // What the broker keeps, other nodes have as well.
            Call::HistoryRemove(_) if self.broker.is_some() => {
                Slot::Done("history_remove", Err(Failure::NOT_AVAILABLE))
            }
            Call::HistoryRemove(name) => {
                let keeps = keeps(hub, &name);
                hub.clear_history(&name);
                let done = if keeps { Ok(nothing()) } else { Err(Failure::NOT_AVAILABLE) };
                Slot::Done("history_remove", done)
            }
            Call::Channels(pattern) => {
                let told = self.channels_like(&pattern);
                Slot::Done("channels", told.map(|all| object(&CallResult::Channels(all))))
            }
            Call::Info => Slot::Done("info", Ok(object(&CallResult::Info(self.node(hub))))),
        }
    }

    /// Whether what a channel has kept is here, up to what was acknowledged to publishers here and to the place that is
    /// asked about: unless the broker was asked for these, that is not known by the channel's being heard.
    fn is_history_there(&self, hub: &Hub, asked: &History<'_>, is_confirmed: bool) -> bool {
        let name = &*asked.channel;
        if !keeps(hub, name) {
            return true;
        }
        if is_confirmed {
            return self.is_heard(hub, name);
        }
        let since = asked.since.as_ref().and_then(|(offset, epoch)| position(epoch, *offset));
        let (names, after): (Vec<_>, Vec<_>) = self.asks_back(name, since).into_iter().unzip();
        self.has_heard(hub, &names, &after, Lists::Count)
    }

    /// Whether it is known who is in a channel.
    fn has_clients(&self, hub: &Hub, name: &str) -> Result<(), Failure> {
        if !has_members(&self.patterns, name) {
            return Err(Failure::NOT_AVAILABLE);
        }
        match self.has_heard(hub, &[joins(name)], &[], Lists::Members) {
            true => Ok(()),
            false => Err(Failure::INTERNAL),
        }
    }

    fn connections_of(&self, whom: &Whom<'_>) -> Vec<ConnId> {
        let own = self.centrifuge.users.get(&*whom.user).into_iter().flatten();
        let is_meant = |id: &ConnId| {
            let session = self.centrifuge.sessions.get(*id);
            whom.client.is_empty()
                || session.is_some_and(|session| session.identity.client() == whom.client)
        };
        own.copied().filter(is_meant).collect()
    }

    fn subscribe_users(
        &mut self,
        hub: &mut Hub,
        whom: &Whom<'_>,
        channel: &str,
        since: Option<&(u64, Cow<'_, str>)>,
    ) -> Result<(), Failure> {
        let since = match since {
            None => Since::default(),
            Some((offset, epoch)) => Since { recover: true, epoch: epoch.clone(), offset: *offset },
        };
        for id in self.connections_of(whom) {
            let Some(mut session) = self.centrifuge.take_out(hub, id) else { continue };
            let mut out = Out::new(id, session.way);
            let begun = match session.subs.contains(channel) {
                true => Ok(None),
                false => self.begin_channel(hub, &mut session, id, channel, &since).map(Some),
            };
            if let Ok(Some(begin)) = &begun {
                let Subscribed { position, .. } = begin.subscribed(hub, channel, None);
                out.push(channel, &Push::Subscribe { position });
                self.go_on_with(hub, &mut session, &mut out, channel, begin, true);
            }
            self.return_session(hub, session, out, Ok(()));
            match begun {
                Ok(_) => {}
                Err(Refused::Failure(failure)) => return Err(failure),
                Err(Refused::Disconnect(_) | Refused::Once(_)) => return Err(Failure::BAD_REQUEST),
            }
        }
        Ok(())
    }

    pub(in crate::service) fn unsubscribe_users(
        &mut self,
        hub: &mut Hub,
        whom: &Whom<'_>,
        channel: &str,
    ) {
        for id in self.connections_of(whom) {
            let Some(mut session) = self.centrifuge.take_out(hub, id) else { continue };
            let mut out = Out::new(id, session.way);
            let is_meant = |name: &str| channel.is_empty() || name == channel;
            let names: Vec<_> = session.subs.keys().filter(|it| is_meant(it)).cloned().collect();
            for name in names {
                self.unsubscribe_by_server(hub, &mut session, &mut out, &name, BY_BACKEND);
            }
            self.unsubscribe_waiting(hub, &mut out, is_meant);
            self.return_session(hub, session, out, Ok(()));
            self.take_turns(hub, id);
        }
    }

    pub(in crate::service) fn disconnect_users(
        &mut self,
        hub: &mut Hub,
        whom: &Whom<'_>,
        but: &[String],
        (code, reason): (Option<u64>, &str),
    ) -> Result<(), Failure> {
        let (code, reason) = match code {
            None => {
                let usual = Disconnect::FORCE_NO_RECONNECT;
                (usual.close_code(), usual.reason)
            }
            Some(code) => {
                let code = u16::try_from(code).ok().filter(|code| (3000..5000).contains(code));
                (code.and_then(CloseCode::new).ok_or(Failure::BAD_REQUEST)?, reason)
            }
        };
        for id in self.connections_of(whom) {
            let session = self.centrifuge.sessions.get(id);
            let stays = session.is_some_and(|session| but.contains(&session.identity.client()));
            if !stays {
                self.disconnect(hub, id, code, reason);
            }
        }
        Ok(())
    }

    pub(in crate::service) fn refresh_users(
        &mut self,
        hub: &mut Hub,
        whom: &Whom<'_>,
        is_expired: bool,
        expires: u64,
    ) {
        for id in self.connections_of(whom) {
            if is_expired {
                let Disconnect { reason, .. } = Disconnect::EXPIRED;
                self.disconnect(hub, id, Disconnect::EXPIRED.close_code(), reason);
            } else if let Some(session) = self.centrifuge.sessions.get_mut(id) {
                let end = std::time::Duration::from_secs(expires);
                session.expires = (expires > 0).then_some(end);
            }
        }
    }

    fn channels_like(&self, pattern: &str) -> Result<Vec<(&str, usize)>, Failure> {
        let pattern = if pattern.is_empty() { "*" } else { pattern };
        let all = self.centrifuge.rooms.iter().filter(|(name, _)| is_like(name, pattern));
        let (mut channels, mut bytes) = (Vec::new(), 0);
        for (name, clients) in all {
            bytes += name.len();
            if bytes > ANSWER_BYTES_MAX {
                return Err(Failure::LIMIT_EXCEEDED);
            }
            channels.push((name, clients));
        }
        Ok(channels)
    }

    fn node(&self, hub: &Hub) -> Node {
        Node {
            clients: self.centrifuge.sessions.len(),
            users: self.centrifuge.users.len(),
            channels: self.centrifuge.rooms.len(),
            subscriptions: self.centrifuge.rooms.iter().map(|(_, clients)| clients).sum(),
            uptime: hub.now().saturating_duration_since(self.started).as_secs(),
        }
    }
}
