//! Subscriptions: what one begins with, who is told of it, and how it ends.

use std::{sync::Arc, time::Duration};

use pushloop::{ConnId, Hub, Message, Position, SubscribeError};

use super::{EXPIRY_GRACE, Identity, Out, Service, Session, Sub, connecting::left};
use crate::{
    auth::{Action, Principal},
    centrifuge::{
        codes::{
            Disconnect, Failure, Refused, UNSUBSCRIBED_BY_SERVER, UNSUBSCRIBED_EXPIRED,
            UNSUBSCRIBED_INSUFFICIENT,
        },
        commands::{Since, Subscribe},
        pushes::{is_of_joins, join_or_leave, joins},
        replies::{self, Answer, Push, Subscribed},
    },
    gate::since_1970,
    presence::{companion, has_members},
    topics,
};

/// Bytes of a publication that may be in the answer to the subscription that goes on before it.
const FIRST_BYTES_MAX: usize = 16 * 1024;

/// What a subscription begins with.
pub(super) struct Begin {
    /// Whether the client asked to go on from where it was.
    was_recovering: bool,
    what: What,
}

enum What {
    /// What is published from now on: it is subscribed to already.
    Live,
    /// What came after this place, all of which is kept.
    After(Position),
}

impl Begin {
    /// What the client is told of it. The first of what was kept is in the answer, so that the client knows
    /// at once that something was; the others are the same bytes for all that come back.
    pub fn subscribed<'a>(&self, hub: &'a Hub, name: &str, left: Option<u32>) -> Subscribed<'a> {
        let keeps = hub.topic_options(name).history.is_some();
        let (position, recovered) = match self.what {
            What::Live => (hub.position(name), false),
            What::After(place) => (Some(place), true),
        };
        Subscribed {
            left,
            position: position.filter(|_| keeps),
            was_recovering: self.was_recovering,
            recovered,
            publications: self
                .first(hub, name)
                .into_iter()
                .map(replies::Publication::from)
                .collect(),
        }
    }

    fn first<'a>(&self, hub: &'a Hub, name: &str) -> Option<pushloop::Publication<'a>> {
        let What::After(place) = self.what else { return None };
        let first = hub.history_after(name, place).ok()?.next()?;
        Some(first).filter(|it| super::super::pacing::length(it.message) <= FIRST_BYTES_MAX)
    }
}

impl Service {
    pub(super) fn subscribe_to_channel(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        id: u32,
        asked: &Subscribe<'_>,
    ) -> Result<(), Refused> {
        let name = &*asked.channel;
        self.check_channel(hub, name)?;
        if asked.kind != 0 || asked.has_filter {
            return Err(Failure::NOT_AVAILABLE.into());
        }
        if has_members(&self.patterns, name) {
            // Others are told that it comes, which costs them as much as a publication does.
            let paced =
                self.pacing.take_from(session.network, &session.who, Message::Text(""), hub.now());
            paced.map_err(|_| Failure::TOO_MANY_REQUESTS)?;
        }
        match session.subs.get(name) {
            Some(Sub { is_servers: true, .. }) => return Err(Failure::ALREADY_SUBSCRIBED.into()),
            // It has lost what it was told. What it gets until it is told again, it leaves out.
            Some(_) => self.end_subscription(hub, session, out.id(), name),
            None => {}
        }
        let expires = self.may_subscribe(hub, session, name, &asked.token)?;
        let hears_joins = asked.joins_and_leaves && has_members(&self.patterns, name) && {
            self.gate.may(&session.who, Action::Subscribe, &companion(name)).is_ok()
        };
        self.hear_channel(hub, out.id(), (name, hears_joins), &asked.since)?;
        if asked.since.recover
            && asked.rejects_unrecovered
            && recovery(hub, name, &asked.since).is_none()
        {
            return Err(Failure::UNRECOVERABLE_POSITION.into());
        }
        if hears_joins {
            hub.subscribe(out.id(), &joins(name)).map_err(full)?;
        }
        let begun = self.begin_channel(hub, session, out.id(), name, &asked.since);
        if begun.is_err() && hears_joins {
            hub.unsubscribe(out.id(), &joins(name));
        }
        let begin = begun?;
        let left = expires.map(|end| left(hub, end));
        out.answer(id, &Ok(Answer::Subscribe(begin.subscribed(hub, name, left))));
        if let Some(sub) = session.subs.get_mut(name) {
            sub.expires = expires;
            sub.hears_joins = hears_joins;
        }
        self.go_on_with(hub, session, out, name, &begin, false);
        Ok(())
    }

    /// Whether a channel of this name may be asked for.
    pub(super) fn check_channel(&self, hub: &Hub, name: &str) -> Result<(), Refused> {
        if name.is_empty() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        // These come as something else than publications of theirs.
        if is_of_joins(name) || topics::check(name, hub.config()).is_err() {
            return Err(Failure::BAD_REQUEST.into());
        }
        Ok(())
    }

    /// When the subscription's own token ends, if it has one; or why it may not be.
    pub(super) fn may_subscribe(
        &mut self,
        hub: &Hub,
        session: &Session,
        name: &str,
        token: &str,
    ) -> Result<Option<Duration>, Refused> {
        if token.is_empty() || !self.gate.is_guarded() {
            let allowed = self.gate.allow(&session.who, Action::Subscribe, name);
            return allowed.map(|()| None).map_err(|_| Failure::PERMISSION_DENIED.into());
        }
        let claims = match self.claims(hub, session, token) {
            Ok(claims) => claims,
            Err(Refused::Disconnect(_)) => return Err(Failure::PERMISSION_DENIED.into()),
            Err(other) => return Err(other),
        };
        let is_theirs = claims.subject.as_deref().unwrap_or_default() == session.identity.user();
        if !is_theirs || claims.channel.as_deref() != Some(name) {
            return Err(Disconnect::INVALID_TOKEN.into());
        }
        let expires = claims.expires;
        let allowed = self.gate.allow(&Principal::Token(claims), Action::Subscribe, name);
        allowed.map(|()| Some(expires)).map_err(|_| Failure::PERMISSION_DENIED.into())
    }

    /// Begins a subscription that may be, and is not there yet. What was kept waits for `go_on_with`.
    pub(super) fn begin_channel(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        id: ConnId,
        name: &str,
        since: &Since<'_>,
    ) -> Result<Begin, Refused> {
        self.check_channel(hub, name)?;
        let is_member = has_members(&self.patterns, name);
        if !self.is_heard(hub, name) {
            return Err(Failure::INTERNAL.into());
        }
        if !Self::has_topics_left(hub, id, 1) {
            return Err(Failure::LIMIT_EXCEEDED.into());
        }
        if is_member && let Some(presence) = &self.presence {
            let (member, info) = session.identity.member();
            presence.check(hub, name, &member, info).map_err(|_| Failure::LIMIT_EXCEEDED)?;
            if self.broker.is_some() {
                let client = session.identity.shared();
                let checked = presence.check(hub, &joins(name), &client, info);
                checked.map_err(|_| Failure::LIMIT_EXCEEDED)?;
            }
        }
        let place = Some(since).filter(|it| it.recover).and_then(|it| recovery(hub, name, it));
        let what = match place {
            Some(place) => What::After(place),
            None => {
                hub.subscribe(id, name).map_err(full)?;
                What::Live
            }
        };
        let key = self.centrifuge.rooms.enter(name, id, session.identity.user());
        let sub = Sub { is_servers: false, is_member, hears_joins: false, expires: None };
        session.subs.insert(key, sub);
        Ok(Begin { was_recovering: since.recover, what })
    }

    /// The client has been told, or will be before anything else: what was kept follows, and others are told.
    pub(super) fn go_on_with(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        name: &str,
        begin: &Begin,
        is_servers: bool,
    ) {
        if let What::After(place) = begin.what {
            let from = begin.first(hub, name).map_or(place, |first| first.position);
            out.flush(hub);
            if hub.subscribe_after(out.id(), name, from).is_err() {
                return self.unsubscribe_by_server(
                    hub,
                    session,
                    out,
                    name,
                    UNSUBSCRIBED_INSUFFICIENT,
                );
            }
        }
        if let Some(sub) = session.subs.get_mut(name) {
            sub.is_servers = is_servers;
        }
        self.join(hub, session, out, name);
        out.flush_many(hub);
    }

    fn join(&mut self, hub: &mut Hub, session: &Session, out: &mut Out, name: &str) {
        let is_member = session.subs.get(name).is_some_and(|sub| sub.is_member);
        let Some(presence) = self.presence.as_mut().filter(|_| is_member) else { return };
        let (member, info) = session.identity.member();
        // What is to be said before it is: others of this connection hear of it.
        out.flush(hub);
        // It has been found that it can be. Where it cannot any more, others are not told.
        let _ = presence.join(hub, out.id(), name, &member, info);
        match &self.broker {
            Some(_) => {
                let client = session.identity.shared();
                let _ = presence.join(hub, out.id(), &joins(name), &client, info);
            }
            None => tell_joins(hub, Some(out), name, true, &session.identity),
        }
    }

    pub(super) fn unsubscribe(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        id: u32,
        name: &str,
    ) -> Result<(), Refused> {
        if name.is_empty() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        self.end_subscription(hub, session, out.id(), name);
        out.answer(id, &Ok(Answer::Unsubscribe));
        Ok(())
    }

    /// Ends a subscription that its client did not end.
    pub(super) fn unsubscribe_by_server(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        name: &str,
        (code, reason): (u32, &str),
    ) {
        self.end_subscription(hub, session, out.id(), name);
        out.push(name, &Push::Unsubscribe { code, reason });
    }

    /// Ends a subscription, if there is one.
    fn end_subscription(&mut self, hub: &mut Hub, session: &mut Session, id: ConnId, name: &str) {
        let Some(sub) = session.subs.remove(name) else { return };
        hub.unsubscribe(id, name);
        if sub.hears_joins {
            hub.unsubscribe(id, &joins(name));
        }
        self.leave_room(hub, &session.identity, id, name, &sub);
    }

    fn leave_room(
        &mut self,
        hub: &mut Hub,
        identity: &Identity,
        id: ConnId,
        name: &str,
        sub: &Sub,
    ) {
        self.centrifuge.rooms.leave(name, id, identity.user());
        if sub.is_member {
            if let Some(presence) = &mut self.presence {
                presence.leave(hub, id, name);
                presence.leave_at_once(hub, id, &joins(name));
            }
            // Where servers share who is there, the broker tells of it.
            if self.broker.is_none() {
                tell_joins(hub, None, name, false, identity);
            }
        }
    }

    /// The connection is over, or about to be.
    pub(super) fn leave_channels(&mut self, hub: &mut Hub, id: ConnId) {
        let Some(session) = self.centrifuge.sessions.get_mut(id) else { return };
        let (identity, subs) = (session.identity.clone(), std::mem::take(&mut session.subs));
        for (name, sub) in subs {
            self.leave_room(hub, &identity, id, &name, &sub);
        }
    }

    /// Ends what is beyond the end of its token.
    pub(super) fn expire(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
    ) -> Result<(), Disconnect> {
        let now = since_1970(hub).unwrap_or_default();
        let is_over =
            |end: Option<Duration>| end.is_some_and(|end| end.saturating_add(EXPIRY_GRACE) <= now);
        if is_over(session.expires) {
            return Err(Disconnect::EXPIRED);
        }
        let over = session.subs.iter().filter(|(_, sub)| is_over(sub.expires));
        let over: Vec<_> = over.map(|(name, _)| Arc::clone(name)).collect();
        for name in over {
            self.unsubscribe_by_server(hub, session, out, &name, UNSUBSCRIBED_EXPIRED);
        }
        Ok(())
    }

    pub(super) fn refresh_subscription(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        id: u32,
        name: &str,
        token: &str,
    ) -> Result<(), Refused> {
        if name.is_empty() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        let Some(sub) = session.subs.get(name) else {
            return Err(Failure::PERMISSION_DENIED.into());
        };
        if sub.expires.is_none() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        if token.is_empty() {
            return Err(Failure::BAD_REQUEST.into());
        }
        let expires = self.may_subscribe(hub, session, name, token)?;
        if let Some(sub) = session.subs.get_mut(name) {
            sub.expires = expires;
        }
        let left = expires.map(|end| left(hub, end));
        out.answer(id, &Ok(Answer::SubRefresh { left }));
        Ok(())
    }
}

/// Why a subscription cannot be.
fn full(why: SubscribeError) -> Failure {
    match why {
        SubscribeError::TooManyTopics | SubscribeError::NameTooLong => Failure::LIMIT_EXCEEDED,
        _ => Failure::INTERNAL,
    }
}

/// Where a client was, if all that came after is kept.
fn recovery(hub: &Hub, name: &str, since: &Since<'_>) -> Option<Position> {
    hub.topic_options(name).history?;
    let place = replies::position(&since.epoch, since.offset)?;
    hub.published_since(name, place).ok().map(|_| place)
}

/// Tells the clients of a channel that hear of it that one has come or gone. Before its own coming, a client has
/// to know that it is there.
pub(super) fn tell_joins(
    hub: &mut Hub,
    own: Option<&mut Out>,
    name: &str,
    is_join: bool,
    who: &Identity,
) {
    let topic = joins(name);
    if hub.subscriber_count(&topic) == 0 {
        return;
    }
    if let Some(out) = own {
        out.flush(hub);
    }
    // Where there is no room for it, they are not told: what is published is not kept from anyone for it.
    if let Some(told) = join_or_leave(is_join, &who.shared(), who.info()) {
        let _ = hub.publish(&topic, told);
    }
}

/// Why a backend has a subscription end.
pub(super) const BY_BACKEND: (u32, &str) = UNSUBSCRIBED_BY_SERVER;
