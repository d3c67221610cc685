//! Whether topics are heard from the broker: until they are, what is to be done with them waits.

use pushloop::{ConnId, Hub, Position};

use super::{Service, brokering::Brokering};
use crate::{broker::Lists, presence::companion};

/// Whether topics are heard from the broker.
pub(super) enum Heard {
    Yes,
    /// They will be, or not: that is told under this number.
    Once(u64),
    No(String),
}

impl Service {
    /// Whether what begins with these topics, after these places, may begin.
    pub(super) fn hear(
        &mut self,
        hub: &mut Hub,
        names: &[String],
        after: &[Option<Position>],
        lists: Lists,
    ) -> Heard {
        let Some(Brokering { broker, .. }) = &mut self.broker else { return Heard::Yes };
        if broker.has(hub, names, after, lists) {
            return Heard::Yes;
        }
        broker.want(hub, names, after, lists).map_or_else(Heard::No, Heard::Once)
    }

    /// The same for a command of a connection, of so many bytes. Unless there is room for it to wait, the broker is asked for
    /// nothing.
    pub(super) fn hear_for(
        &mut self,
        hub: &mut Hub,
        (id, bytes): (ConnId, usize),
        names: &[String],
        after: &[Option<Position>],
        lists: Lists,
    ) -> Result<Heard, String> {
        if let Some(Brokering { broker, parking, .. }) = &self.broker
            && !broker.has(hub, names, after, lists)
        {
            parking.check(id, bytes)?;
        }
        Ok(self.hear(hub, names, after, lists))
    }

    /// Whether the connection may have so many topics more than those that it has.
    pub(super) fn has_topics_left(hub: &Hub, id: ConnId, more: usize) -> bool {
        hub.topics_of(id).count() + more <= hub.config().topics_per_connection_max
    }

    /// The same, counting the topics for which its waiting commands have asked the broker: no more are asked for ahead.
    pub(super) fn may_ask_ahead(&self, hub: &Hub, id: ConnId) -> bool {
        let asked = self.broker.as_ref().map_or(0, |it| it.parking.asked(id));
        hub.topics_of(id).count() + asked < hub.config().topics_per_connection_max
    }

    /// What has to be heard for a question about what a topic has kept: the place that it names, and what publishers here
    /// were told of.
    pub(super) fn asks_back(
        &self,
        name: &str,
        since: Option<Position>,
    ) -> [(String, Option<Position>); 2] {
        let acknowledged = self.broker.as_ref().and_then(|it| it.broker.acknowledged(name));
        [(name.to_owned(), since), (name.to_owned(), acknowledged)]
    }

    /// Whether a topic is heard, or need not be.
    pub(super) fn is_heard(&self, hub: &Hub, name: &str) -> bool {
        self.has_heard(hub, &[name.to_owned()], &[], Lists::Count)
    }

    /// How many members a topic has, at all nodes if that is heard.
    pub(super) fn member_count(&self, topic: &str) -> usize {
        let shared = self.broker.as_ref().and_then(|it| it.broker.member_count(&companion(topic)));
        shared.unwrap_or_else(|| self.presence.as_ref().map_or(0, |it| it.count(topic)))
    }

    /// Whether these places of topics are here, or need not be.
    pub(super) fn has_heard(
        &self,
        hub: &Hub,
        names: &[String],
        after: &[Option<Position>],
        lists: Lists,
    ) -> bool {
        self.broker.as_ref().is_none_or(|it| it.broker.has(hub, names, after, lists))
    }
}
