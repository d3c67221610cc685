//! The first command of a connection, and the tokens that follow.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc, time::Duration};

use pushloop::{ConnId, Hub};

use super::{
    Centrifuge, Identity, Out, PING_SECONDS, Service, Session, Stage, subscribing::Begin,
    waiting::place,
};
use crate::{
    auth::{Action, Cause, Claims, Principal},
    broker::Lists,
    centrifuge::{
        codes::{Disconnect, Failure, Refused, UNSUBSCRIBED_EXPIRED},
        commands::{Connect, Since},
        replies::{Answer, Connected},
    },
    gate::since_1970,
};

impl Service {
    pub(super) fn connect(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        id: u32,
        asked: &Connect<'_>,
    ) -> Result<(), Refused> {
        if self.gate.is_guarded() && !asked.token.is_empty() {
            let claims = self.claims(hub, session, &asked.token)?;
            if claims.channel.is_some() {
                return Err(Disconnect::INVALID_TOKEN.into());
            }
            session.who = Principal::Token(claims);
        }
        let is_known = !matches!(session.who, Principal::Anyone);
        if !is_known && !self.gate.lets_anyone_in() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        let names = self.servers_channels(hub, session, &asked.subs)?;
        let can_be = |name: &&String| self.check_channel(hub, name).is_ok();
        let heard: Vec<_> = names.iter().filter(can_be).cloned().collect();
        let place = |name: &String| since_of(name, &asked.subs).and_then(place);
        let after: Vec<_> = heard.iter().map(place).collect();
        self.hear_channels(hub, out.id(), (&heard, &after), Lists::Count)?;
        let identity = Identity::of(&session.who)?;
        if self.pacing.admit(&session.who).is_err() {
            return Err(Disconnect::CONNECTION_LIMIT.into());
        }
        session.identity = identity;
        self.take_in(hub, session, out.id());
        let begins = self.begin_servers(hub, session, out.id(), names, &asked.subs)?;
        let told =
            begins.iter().map(|(name, begin)| (name.as_str(), begin.subscribed(hub, name, None)));
        let (client, key) = (session.identity.client(), self.centrifuge.posted.key(out.id()));
        let connected = Connected {
            client: &client,
            left: session.expires.map(|end| left(hub, end)),
            subs: told.collect(),
            ping: PING_SECONDS,
            session: key,
            node: if key.is_empty() { "" } else { &self.centrifuge.node },
        };
        out.answer(id, &Ok(Answer::Connect(connected)));
        out.flush(hub);
        for (name, begin) in &begins {
            self.go_on_with(hub, session, out, name, begin, true);
        }
        Ok(())
    }

    /// The connection is a client's that may be here.
    fn take_in(&mut self, hub: &mut Hub, session: &mut Session, id: ConnId) {
        session.stage = Stage::Connected;
        session.expires = session.who.claims().map(|claims| claims.expires);
        self.pacing.seat(id, &session.who);
        if !session.identity.user().is_empty() {
            let users = &mut self.centrifuge.users;
            users.entry(session.identity.user().into()).or_default().insert(id);
        }
        // Those that come at once are not pinged at once.
        let spread = id.to_bits().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
        let half = Duration::from_secs(PING_SECONDS.into()) / 2;
        let first = half + half / (1 << 16) * spread as u32;
        self.centrifuge.dues.look_at(hub, id, hub.now() + first);
    }

    /// The channels that the token names, and those that the client asks for and may have.
    fn servers_channels(
        &self,
        hub: &Hub,
        session: &Session,
        asked: &[(Cow<'_, str>, Since<'_>)],
    ) -> Result<Vec<String>, Refused> {
        let named = session.who.claims().into_iter().flat_map(|claims| &claims.channels);
        let mut names: BTreeSet<_> = named.cloned().collect();
        let gate = &self.gate;
        let may = |name: &str| gate.may(&session.who, Action::Subscribe, name).is_ok();
        names.extend(asked.iter().map(|(name, _)| &**name).filter(|it| may(it)).map(String::from));
        if names.len() > hub.config().topics_per_connection_max {
            return Err(Disconnect::CHANNEL_LIMIT.into());
        }
        Ok(names.into_iter().collect())
    }

    /// Begins the subscriptions that are the server's.
    fn begin_servers(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        id: ConnId,
        names: Vec<String>,
        asked: &[(Cow<'_, str>, Since<'_>)],
    ) -> Result<Vec<(String, Begin)>, Refused> {
        let mut begins = Vec::with_capacity(names.len());
        for name in names {
            let since = since_of(&name, asked);
            let nowhere = Since::default();
            let begin = self.begin_channel(hub, session, id, &name, since.unwrap_or(&nowhere));
            match begin {
                Ok(begin) => begins.push((name, begin)),
                // The token asks for what cannot be. The others are as good without it.
                Err(Refused::Failure(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(begins)
    }

    /// Takes a new token in place of one that ends.
    pub(super) fn refresh(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        id: u32,
        token: &str,
    ) -> Result<(), Refused> {
        if token.is_empty() {
            return Err(Disconnect::BAD_REQUEST.into());
        }
        if self.gate.is_guarded() {
            let claims = self.claims(hub, session, token)?;
            let is_same = claims.subject.as_deref().unwrap_or_default() == session.identity.user();
            if claims.channel.is_some() || !is_same {
                return Err(Disconnect::INVALID_TOKEN.into());
            }
            session.expires = Some(claims.expires);
            let before = std::mem::replace(&mut session.who, Principal::Token(claims));
            self.end_uncovered(hub, session, out, &before);
        }
        let left = session.expires.map(|end| left(hub, end));
        out.answer(id, &Ok(Answer::Refresh { client: &session.identity.client(), left }));
        Ok(())
    }

    /// Ends the subscriptions that the connection had by the token before, and would not have by the one of now. The
    /// client asks for them anew, and is told why not.
    fn end_uncovered(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        before: &Principal,
    ) {
        let covers = |who: &Principal, name: &str| {
            let is_named = who.claims().is_some_and(|it| it.channels.iter().any(|it| it == name));
            is_named || self.gate.may(who, Action::Subscribe, name).is_ok()
        };
        // One with a token of its own lasts as long as that, and one of a backend's until that ends it.
        let others = session.subs.iter().filter(|(_, sub)| sub.expires.is_none());
        let is_lost = |name: &str| covers(before, name) && !covers(&session.who, name);
        let lost = others.map(|(name, _)| name).filter(|name| is_lost(name));
        for name in lost.cloned().collect::<Vec<_>>() {
            self.unsubscribe_by_server(hub, session, out, &name, UNSUBSCRIBED_EXPIRED);
        }
    }

    /// What a token says that came in a command.
    pub(super) fn claims(
        &mut self,
        hub: &Hub,
        session: &Session,
        token: &str,
    ) -> Result<Arc<Claims>, Refused> {
        self.gate.claims(hub, token, session.network).map_err(|cause| match cause {
            None => Failure::INTERNAL.into(),
            Some(Cause::Expired) => Failure::TOKEN_EXPIRED.into(),
            Some(Cause::TooMany) => Failure::TOO_MANY_REQUESTS.into(),
            Some(
                Cause::Malformed
                | Cause::Unsigned
                | Cause::UnknownKey
                | Cause::Claims
                | Cause::Revoked,
            ) => Disconnect::INVALID_TOKEN.into(),
        })
    }
}

impl Centrifuge {
    pub(super) fn forget_user(&mut self, user: &str, id: ConnId) {
        let Some(own) = self.users.get_mut(user) else { return };
        own.remove(&id);
        if own.is_empty() {
            self.users.remove(user);
        }
    }
}

/// Where a client was in a channel.
fn since_of<'a, 'b>(name: &str, asked: &'a [(Cow<'_, str>, Since<'b>)]) -> Option<&'a Since<'b>> {
    asked.iter().find(|(other, _)| *other == name).map(|(_, since)| since)
}

/// In how many seconds that is.
pub(super) fn left(hub: &Hub, end: Duration) -> u32 {
    let left = end.saturating_sub(since_1970(hub).unwrap_or_default());
    left.as_secs().try_into().unwrap_or(u32::MAX)
}
