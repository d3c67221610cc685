//! What clients read of a channel beside its publications, and what they publish.

use std::collections::HashSet;

use pushloop::{ConnId, Hub, Message, Position, PositionError, Publication};

use super::{Identity, Out, Service, Session};
use crate::{
    auth::Action,
    broker::Lists,
    centrifuge::{
        codes::{Failure, Refused},
        commands::History,
        pushes::{client_of, joins},
        replies::{Answer, Client, Kept, Stats, position},
    },
    presence::{companion, has_members},
    service::pacing::length,
};

/// Publications of one answer; but one comes in any case.
const HISTORY_PUBLICATIONS_MAX: usize = 300;
/// Bytes of what is in one answer: publications, or clients.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What one of them has beside its texts, in bytes.
const PUBLICATION_BYTES: usize = 48;
const CLIENT_BYTES: usize = 128;

impl Service {
    pub(super) fn publish_to_channel(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        id: u32,
        name: &str,
        data: Option<Message<'_>>,
    ) -> Result<(), Refused> {
        self.check_channel(hub, name)?;
        let data = data.ok_or(Failure::BAD_REQUEST)?;
        let allowed = self.gate.allow(&session.who, Action::Publish, name);
        allowed.map_err(|_| Failure::PERMISSION_DENIED)?;
        let paced = self.pacing.take_from(session.network, &session.who, data, hub.now());
        paced.map_err(|_| Failure::TOO_MANY_REQUESTS)?;
        self.operator.note(hub, name, length(data));
        // What the client has asked for before comes before.
        out.flush(hub);
        if let Some(brokering) = &mut self.broker {
            let published = brokering.take_command(hub, (out.id(), id), name, data);
            return published.map_err(|(status, _)| Failure::of_publication(status).into());
        }
        let is_taken = match &mut self.ahead {
            Some(ahead) => ahead.take_message(hub, name, data),
            None => hub.publish(name, data).is_ok(),
        };
        self.note_file();
        if !is_taken {
            return Err(Failure::TOO_MANY_REQUESTS.into());
        }
        out.answer(id, &Ok(Answer::Publish));
        Ok(())
    }

    /// Whether a client may know who is in a channel: the same as may hear who comes and goes.
    pub(super) fn may_know(
        &mut self,
        hub: &Hub,
        session: &Session,
        name: &str,
    ) -> Result<(), Refused> {
        self.check_channel(hub, name)?;
        if !has_members(&self.patterns, name) {
            return Err(Failure::NOT_AVAILABLE.into());
        }
        let allowed = self.gate.allow(&session.who, Action::Subscribe, &companion(name));
        allowed.map_err(|_| Failure::PERMISSION_DENIED.into())
    }

    pub(super) fn tell_clients(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        id: u32,
        name: &str,
    ) -> Result<(), Refused> {
        self.hear_clients(hub, session, out.id(), name)?;
        let asking = Some((out.id(), &session.identity));
        out.answer(id, &Ok(Answer::Presence(self.clients_of(hub, name, asking)?)));
        out.flush_many(hub);
        Ok(())
    }

    /// Who is in a channel; and if a client asks, which one that is.
    pub(super) fn clients_of<'a>(
        &'a self,
        hub: &Hub,
        name: &str,
        asking: Option<(ConnId, &'a Identity)>,
    ) -> Result<Vec<Client<'a>>, Failure> {
        let (mut clients, mut bytes, max) = (Vec::new(), 0, answer_bytes_max(hub));
        let list = joins(name);
        for client in self.all_clients_of(name, &list, asking) {
            let (id, info) = (&*client.client, client.info.unwrap_or_default());
            let texts = [id, id, client.user, info];
            bytes += CLIENT_BYTES + texts.map(escaped_len).iter().sum::<usize>();
            if bytes > max {
                return Err(Failure::LIMIT_EXCEEDED);
            }
            clients.push(client);
        }
        Ok(clients)
    }

    /// Those of all servers, if they share them in this list, and else those here.
    fn all_clients_of<'a>(
        &'a self,
        name: &str,
        list: &str,
        asking: Option<(ConnId, &'a Identity)>,
    ) -> impl Iterator<Item = Client<'a>> {
        let shared = self.presence.as_ref().filter(|_| self.broker.is_some());
        let room = self.centrifuge.rooms.get(name).filter(|_| self.broker.is_none());
        let here = room.into_iter().flat_map(|room| &room.clients);
        let here = here.filter_map(move |id| match asking {
            Some((own, identity)) if own == *id => Some(identity),
            Some(_) | None => Some(&self.centrifuge.sessions.get(*id)?.identity),
        });
        let shared = shared.into_iter().flat_map(|it| it.members(list));
        here.map(Identity::as_client).chain(shared.map(|it| client_of(it.id, it.info)))
    }

    pub(super) fn tell_count(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        id: u32,
        name: &str,
    ) -> Result<(), Refused> {
        self.hear_clients(hub, session, out.id(), name)?;
        out.answer(id, &Ok(Answer::PresenceStats(self.count_of(hub, name))));
        Ok(())
    }

    /// How many are in a channel.
    pub(super) fn count_of(&mut self, hub: &Hub, name: &str) -> Stats {
        if self.broker.is_some() {
            return self.count_shared(hub, name);
        }
        let room = self.centrifuge.rooms.get(name);
        let (clients, users) = room.map_or((0, 0), |room| (room.clients.len(), room.users()));
        Stats { clients, users }
    }

    fn count_shared(&mut self, hub: &Hub, name: &str) -> Stats {
        let list = joins(name);
        let place = hub.position(&list);
        if let Some(stats) = place.and_then(|place| self.centrifuge.counted.get(name, place)) {
            return stats;
        }
        let users: HashSet<_> = self.all_clients_of(name, &list, None).map(|it| it.user).collect();
        let clients = self.presence.as_ref().map_or(0, |it| it.count(&list));
        let stats = Stats { clients, users: users.len() };
        if let Some(place) = place {
            self.centrifuge.counted.keep(name, place, stats);
        }
        stats
    }

    pub(super) fn tell_history(
        &mut self,
        hub: &mut Hub,
        session: &mut Session,
        out: &mut Out,
        id: u32,
        asked: &History<'_>,
    ) -> Result<(), Refused> {
        let name = &*asked.channel;
        self.check_channel(hub, name)?;
        let allowed = self.gate.allow(&session.who, Action::Subscribe, name);
        allowed.map_err(|_| Failure::PERMISSION_DENIED)?;
        if hub.topic_options(name).history.is_some() {
            let since = asked.since.as_ref();
            let since = since.and_then(|(offset, epoch)| position(epoch, *offset));
            let (names, after): (Vec<_>, Vec<_>) = self.asks_back(name, since).into_iter().unzip();
            self.hear_channels(hub, out.id(), (&names, &after), Lists::Count)?;
        }
        out.answer(id, &Ok(Answer::History(kept(hub, asked)?)));
        out.flush_many(hub);
        Ok(())
    }
}

/// What may be in one answer: there is room for another one of that length behind it.
fn answer_bytes_max(hub: &Hub) -> usize {
    ANSWER_BYTES_MAX.min(hub.config().send_queue_bytes_max / 4)
}

/// The bytes of a text in JSON, at most: what is JSON already stays as it is.
fn escaped_len(text: &str) -> usize {
    let more = |byte: u8| match byte {
        b'"' | b'\\' => 1,
        ..0x20 => 5,
        _ => 0,
    };
    text.len() + text.bytes().map(more).sum::<usize>()
}

/// What a channel has kept, as far as it is asked for and fits.
pub(super) fn kept<'a>(hub: &'a Hub, asked: &History<'_>) -> Result<Kept<'a>, Failure> {
    let name = &*asked.channel;
    if hub.topic_options(name).history.is_none() {
        return Err(Failure::NOT_AVAILABLE);
    }
    if name.is_empty() {
        return Err(Failure::BAD_REQUEST);
    }
    // To ask begins no history: so many are remembered, and those of others are not pushed out by questions.
    let head = hub.position(name);
    let since = match &asked.since {
        None => None,
        Some((offset, epoch)) => {
            let is_ours = |it: &Position| head.is_some_and(|head| head.epoch == it.epoch);
            let since = position(epoch, *offset).filter(is_ours);
            Some(since.ok_or(Failure::UNRECOVERABLE_POSITION)?)
        }
    };
    let limit = usize::try_from(asked.limit).unwrap_or(usize::MAX).min(HISTORY_PUBLICATIONS_MAX);
    let publications = match asked.is_reverse {
        false => within(hub, limit, after(hub, name, since)),
        true => within(hub, limit, before(hub, name, since, limit).into_iter().rev()),
    };
    Ok(Kept { publications, position: head })
}

/// What came after a place, the oldest first. What is not kept is passed over.
fn after<'a: 'n, 'n>(
    hub: &'a Hub,
    name: &'n str,
    since: Option<Position>,
) -> Box<dyn Iterator<Item = Publication<'a>> + 'n> {
    match since.map(|since| hub.history_after(name, since)) {
        Some(Ok(all)) => Box::new(all),
        Some(Err(PositionError::NotKept)) | None => Box::new(hub.history_last(name, u64::MAX)),
        // It is in the future.
        Some(Err(_)) => Box::new(std::iter::empty()),
    }
}

/// The last publications before a place, the oldest first.
fn before<'a>(
    hub: &'a Hub,
    name: &str,
    since: Option<Position>,
    limit: usize,
) -> Vec<Publication<'a>> {
    let next = hub.position(name).map_or(0, |head| head.offset + 1);
    let end = since.map_or(next, |since| since.offset.min(next));
    let behind = next - end;
    let latest = hub.history_last(name, behind.saturating_add(limit as u64));
    latest.take_while(|it| it.position.offset < end).collect()
}

fn within<'a>(
    hub: &Hub,
    limit: usize,
    publications: impl Iterator<Item = Publication<'a>>,
) -> Vec<crate::centrifuge::replies::Publication<'a>> {
    let (mut bytes, max) = (0, answer_bytes_max(hub));
    let mut fits = |it: &Publication<'_>| {
        let is_first = bytes == 0;
        bytes += PUBLICATION_BYTES
            + match it.message {
                Message::Text(text) => escaped_len(text),
                // In Base64.
                Message::Binary(binary) => binary.len().div_ceil(3) * 4,
            };
        is_first || bytes <= max
    };
    publications.take(limit).take_while(|it| fits(it)).map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::escaped_len;

    #[test]
    fn a_text_is_no_longer_in_json_than_it_is_taken_for() {
        for text in ["", "plain", "\"\\", "\u{1}\n\u{1f}", "é\u{7f}\u{2028}"] {
            let quoted = serde_json::Value::from(text).to_string();
            assert!(quoted.len() <= escaped_len(text) + 2, "{quoted}");
        }
    }
}
