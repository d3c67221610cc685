//! Commands that wait for the broker, and the answers to publications that it was handed.

use std::collections::BTreeSet;

use pushloop::{ConnId, Hub, Position};

use super::{AtHand, Out, Service, Session, Stage, refuse, subscribing::BY_BACKEND};
use crate::{
    auth::JOINS,
    broker::Lists,
    centrifuge::{
        codes::{Disconnect, Failure, Refused, UNSUBSCRIBED_INSUFFICIENT},
        commands::{self, Command, Method, Since, Subscribe},
        pushes::joins,
        replies::{self, Answer, Push},
    },
    presence::has_members,
    service::{hearing::Heard, pacing::Asker, parking::Verdict},
    topics::Refusal,
};

impl Service {
    /// Carries out a command, at once or in its turn.
    pub(super) fn take_command(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        command: Command<'_>,
        bytes: &[u8],
    ) -> Result<(), Disconnect> {
        let (id, is_connect) = (command.id, matches!(command.method, Method::Connect(_)));
        let is_publication = matches!(command.method, Method::Publish { .. });
        self.centrifuge.at_hand = AtHand { is_confirmed: false, bytes: bytes.len() };
        // What answers a ping overtakes all else.
        let number = match id != 0 && self.has_to_wait(out.id(), is_publication) {
            true => self.ask_ahead(hub, session, out.id(), &command.method),
            false => match self.carry_out(hub, session, out, command)? {
                None => return Ok(()),
                number => number,
            },
        };
        if self.park(hub, out.id(), bytes, is_publication, number).is_err() {
            refuse(session, out, (id, is_connect), Failure::TOO_MANY_REQUESTS);
        }
        Ok(())
    }

    /// Asks the broker already for a subscription that has its turn later, so that those of one client wait together.
    fn ask_ahead(
        &mut self,
        hub: &mut Hub,
        session: &Session,
        id: ConnId,
        method: &Method<'_>,
    ) -> Option<u64> {
        let Method::Subscribe(Subscribe { channel, token, since, joins_and_leaves, .. }) = method
        else {
            return None;
        };
        let may_be = self.may_ask_ahead(hub, id)
            && self.check_channel(hub, channel).is_ok()
            && self.may_subscribe(hub, session, channel, token).is_ok();
        let hears_joins = *joins_and_leaves && has_members(&self.patterns, channel);
        match may_be.then(|| self.hear_channel(hub, id, (channel, hears_joins), since))? {
            Err(Refused::Once(number)) => Some(number),
            Ok(()) | Err(Refused::Failure(_) | Refused::Disconnect(_)) => None,
        }
    }

    /// Carries out a command that now has its turn, with what the broker has said of it if it was asked. If it has to wait
    /// again, gives the number under which the broker tells.
    pub(in crate::service) fn take_parked_command(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        bytes: &[u8],
        said: Option<Verdict>,
    ) -> Option<u64> {
        // What was sent behind a first command that was refused is not asked for any more.
        let is_refused = |session: &Session| session.stage == Stage::Refused;
        if self.centrifuge.sessions.get(id).is_none_or(|session| is_refused(session)) {
            return None;
        }
        let mut session = self.centrifuge.take_out(hub, id)?;
        let mut out = Out::new(id, session.way);
        let read = commands::next(session.way.format, &mut &*bytes);
        let outcome = match (read, said) {
            (Some(Ok(command)), Some(Err(_))) => {
                let is_connect = matches!(command.method, Method::Connect(_));
                refuse(&mut session, &mut out, (command.id, is_connect), Failure::INTERNAL);
                Ok(None)
            }
            (Some(Ok(command)), said) => {
                let is_confirmed = said.is_some();
                self.centrifuge.at_hand = AtHand { is_confirmed, bytes: bytes.len() };
                self.carry_out(hub, &mut session, &mut out, command)
            }
            (Some(Err(_)) | None, _) => Err(Disconnect::BAD_REQUEST),
        };
        self.centrifuge.at_hand = AtHand::default();
        let number = outcome.unwrap_or_default();
        self.return_session(hub, session, out, outcome.map(|_| ()));
        number
    }

    /// Whether a subscription may begin, after this place if there is one, together with that to who comes and goes. If not
    /// now, then once the broker has said so.
    pub(super) fn hear_channel(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        (name, hears_joins): (&str, bool),
        since: &Since<'_>,
    ) -> Result<(), Refused> {
        // Otherwise it need not be heard. Who comes and goes is a topic more.
        if !Self::has_topics_left(hub, id, 1 + usize::from(hears_joins)) {
            return Err(Failure::LIMIT_EXCEEDED.into());
        }
        let joins = hears_joins.then(|| joins(name));
        let names: Vec<_> = std::iter::once(name.to_owned()).chain(joins).collect();
        self.hear_channels(hub, id, (&names, &[place(since)]), Lists::Count)
    }

    /// Whether a client may know who is in a channel, and that is known: on all servers, and the client itself if it is there.
    /// If not now, then once the broker has said so.
    pub(super) fn hear_clients(
        &mut self,
        hub: &mut Hub,
        session: &Session,
        id: ConnId,
        name: &str,
    ) -> Result<(), Refused> {
        self.may_know(hub, session, name)?;
        let list = joins(name);
        self.hear_channels(hub, id, (std::slice::from_ref(&list), &[]), Lists::Members)?;
        if !session.subs.get(name).is_some_and(|sub| sub.is_member) {
            return Ok(());
        }
        match self.await_member(&list, &session.identity.shared()) {
            Some(number) => Err(Refused::Once(number)),
            None => Ok(()),
        }
    }

    /// The same of several.
    pub(super) fn hear_channels(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        (names, after): (&[String], &[Option<Position>]),
        lists: Lists,
    ) -> Result<(), Refused> {
        let AtHand { is_confirmed, bytes } = self.centrifuge.at_hand;
        let after = if is_confirmed { &[] } else { after };
        if !self.has_heard(hub, names, after, lists) {
            let missing = names.iter().filter(|name| !self.is_heard(hub, name));
            // At the least a place is not here.
            let count = missing.collect::<BTreeSet<_>>().len().max(1);
            let asked = self.pacing.ask(&Asker::Connection(id), count, hub.now());
            asked.map_err(|_| Failure::TOO_MANY_REQUESTS)?;
        }
        match self.hear_for(hub, (id, bytes), names, after, lists) {
            Ok(Heard::Yes) => Ok(()),
            Ok(Heard::Once(number)) => Err(Refused::Once(number)),
            Ok(Heard::No(_)) => Err(Failure::INTERNAL.into()),
            Err(_) => Err(Failure::TOO_MANY_REQUESTS.into()),
        }
    }

    /// Tells a client that a subscription cannot go on, with which it subscribes again. False if the connection has none
    /// of that name, or it is the server's, which clients do not ask for again; or if it is behind: what it is due would
    /// keep the topic from ending for as long as it takes it.
    pub(in crate::service) fn has_lost_state(
        &mut self,
        hub: &mut Hub,
        id: ConnId,
        name: &str,
    ) -> bool {
        // It is told who comes and goes as part of a subscription.
        let channel = name.strip_prefix(JOINS).unwrap_or(name);
        let sub = self.centrifuge.sessions.get(id).and_then(|session| session.subs.get(channel));
        let is_behind = hub.lag(id, name).is_some_and(|lag| lag > 0);
        if is_behind || sub.is_none_or(|sub| sub.is_servers) {
            return false;
        }
        let Some(mut session) = self.centrifuge.take_out(hub, id) else { return false };
        let mut out = Out::new(id, session.way);
        let why = UNSUBSCRIBED_INSUFFICIENT;
        self.unsubscribe_by_server(hub, &mut session, &mut out, channel, why);
        self.return_session(hub, session, out, Ok(()));
        true
    }

    /// Ends subscriptions of a connection that have not begun. The client is told as of those that have, and then its
    /// commands have their answers: one with which it does not ask again.
    pub(super) fn unsubscribe_waiting(
        &mut self,
        hub: &mut Hub,
        out: &mut Out,
        is_meant: impl Fn(&str) -> bool,
    ) {
        let (format, mut ended) = (out.format(), Vec::new());
        self.remove_commands(hub, out.id(), |mut bytes| {
            let Some(Ok(Command { id, method: Method::Subscribe(Subscribe { channel, .. }) })) =
                commands::next(format, &mut bytes)
            else {
                return false;
            };
            let ends = is_meant(&channel);
            ended.extend(ends.then(|| (id, channel.into_owned())));
            ends
        });
        let (code, reason) = BY_BACKEND;
        for (id, channel) in ended {
            out.push(&channel, &Push::Unsubscribe { code, reason });
            out.answer(id, &Err(Failure::PERMISSION_DENIED));
        }
    }

    /// A publication of a command has its answer.
    pub(in crate::service) fn answer_publication(
        &mut self,
        hub: &mut Hub,
        conn: ConnId,
        id: u32,
        outcome: Result<(), Refusal>,
    ) {
        if let Some(brokering) = &mut self.broker {
            brokering.parking.published(conn);
        }
        if let Some(session) = self.centrifuge.sessions.get(conn) {
            let mut out = Out::new(conn, session.way);
            let answer = outcome.map(|()| Answer::Publish);
            out.answer(id, &answer.map_err(|(status, _)| Failure::of_publication(status)));
            out.flush(hub);
        }
        self.take_turns(hub, conn);
    }
}

/// Where a client was, if it asks to go on from there.
pub(super) fn place(since: &Since<'_>) -> Option<Position> {
    let since = Some(since).filter(|it| it.recover)?;
    replies::position(&since.epoch, since.offset)
}
