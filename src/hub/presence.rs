//! Who is there: the members of topics, kept by the application beside its handler.

mod member;
mod shared;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use member::Watch;
pub use member::{Member, MemberChange, PresenceError};
pub use shared::{PresenceChange, PresenceNews};

use super::{ConnMap, Hub, PublishError, TimerId};
use crate::{config::PresenceConfig, event::ConnId};
use shared::Sharing;

/// A leave that could not be published is tried again after this.
const RETRY: Duration = Duration::from_millis(100);
/// A longer delay counts as this one: a moment has to be in the range of the clock.
const DELAY_MAX: Duration = Duration::from_secs(1 << 32);

/// Who is in a topic: its members, each with an id and an info that the application gives. An application
/// owns one beside its handler, as it owns a [`ConnMap`], and tells it who joins.
///
/// A member joins with its first connection, and leaves when its last one has been gone for
/// [`leave_delay`](PresenceConfig::leave_delay). Each join and each leave is published, as JSON, to a
/// companion topic whose name the application derives from the topic's:
///
/// ```text
/// {"join":{"id":"ada","info":{"colour":"red"}}}
/// {"leave":{"id":"ada"}}
/// ```
///
/// Nothing changes without its publication: where the hub refuses it, a join is an error, and a leave is
/// tried again. So a subscriber of the companion topic has a picture that is exact, if it has the members
/// and the companion's [`position`](Hub::position) of one turn, and every publication after that.
///
/// A topic to which nobody joins has no presence, and costs nothing.
///
/// # Costs
///
/// A join or a leave costs a few look-ups in trees and a publication, whatever the number of members.
/// Only [`members`](Self::members) walks a list, and the caller pays: it is for those that ask, not for
/// each that joins. However many leave at once, a turn carries out
/// [`leaves_per_turn`](PresenceConfig::leaves_per_turn).
///
/// # Examples
///
/// ```
/// use pushloop::{ConnId, Handler, Hub, Message, Presence, PresenceConfig, Reason};
///
/// const PRESENCE_TIMER: u64 = 7;
///
/// struct Room(Presence);
///
/// impl Room {
///     fn new() -> Self {
///         Self(Presence::new(PRESENCE_TIMER, |topic| format!("{topic}/who"), PresenceConfig::default()))
///     }
/// }
///
/// impl Handler for Room {
///     fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
///         let name = format!("guest {}", id.to_bits());
///         let joined = hub.subscribe(id, "room").is_ok() && self.0.join(hub, id, "room", &name, "").is_ok();
///         assert!(joined);
///     }
///
///     fn on_message(&mut self, hub: &mut Hub, id: ConnId, _: Message<'_>) {
///         let _ = hub.send(id, format!("{} are here", self.0.count("room")));
///     }
///
///     fn on_close(&mut self, hub: &mut Hub, id: ConnId, _: Reason<'_>) {
///         self.0.handle_close(hub, id);
///     }
///
///     fn on_timer(&mut self, hub: &mut Hub, key: u64) {
///         self.0.handle_timer(hub, key);
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Presence {
    config: PresenceConfig,
    companion: fn(&str) -> String,
    timer_key: u64,
    /// When the hub's timer comes: at the first of the leaves.
    timer: Option<(Instant, TimerId)>,
    /// Trees, because a table that doubles would hold up the loop, and so that the order is the same in
    /// every run.
    topics: BTreeMap<Arc<str>, Topic>,
    members: usize,
    /// What each connection is a member of.
    memberships: ConnMap<Vec<Membership>>,
    /// Members without a connection, by when they leave.
    leaves: BTreeMap<Due, Membership>,
    leaves_set: u64,
    /// What the application has called with each change.
    watch: Option<Watch>,
    /// If something else decides who is there.
    sharing: Option<Box<Sharing>>,
}

/// Invariant: it has a member.
#[derive(Debug, Default)]
struct Topic {
    members: BTreeMap<Arc<str>, Entry>,
    /// Connections of all members.
    connections: usize,
}

#[derive(Debug)]
struct Entry {
    info: Box<str>,
    stay: Stay,
    /// It is among the changes that are to be told: see `Sharing`.
    is_queued: bool,
}

#[derive(Debug)]
enum Stay {
    Here {
        connections: usize,
    },
    Away {
        until: Due,
    },
    /// It has left, and what decides is to know that. Only where presence is shared.
    Leaving,
}

/// When a member leaves, and which of all leaves it is.
type Due = (Instant, u64);

#[derive(Clone, Debug)]
struct Membership {
    topic: Arc<str>,
    id: Arc<str>,
}

impl Presence {
    /// Nobody is anywhere. Timers of the hub are set with this key, one at a time. `companion` gives the
    /// name of the topic to which the joins and leaves of another one are published.
    pub fn new(timer_key: u64, companion: fn(&str) -> String, config: PresenceConfig) -> Self {
        Self {
            config,
            companion,
            timer_key,
            timer: None,
            topics: BTreeMap::new(),
            members: 0,
            memberships: ConnMap::new(),
            leaves: BTreeMap::new(),
            leaves_set: 0,
            watch: None,
            sharing: None,
        }
    }

    /// Has `changed` called with the topic and each join or leave from now on, right after that is published:
    /// for an application that tells others than subscribers of it. A second call replaces the first one's.
    /// Of a topic that is [shared](Self::shared), it is called with each that is told here while its members are known.
    ///
    /// It is called in the loop's turn, within the method that made the change: what takes long holds up all
    /// connections.
    pub fn watch(&mut self, changed: impl FnMut(&str, MemberChange<'_>) + Send + 'static) {
        self.watch = Some(Watch(Box::new(changed)));
    }

    /// The limits.
    pub fn config(&self) -> &PresenceConfig {
        &self.config
    }

    /// The connection is one of this member's. If the member is new to the topic, its join is published.
    /// Otherwise it keeps the info with which it came, until it leaves. The connection should subscribe to
    /// the topic; this does not do it.
    ///
    /// `info` is JSON, or empty, which is `null`. It is published as it is: check it if it is a
    /// stranger's.
    ///
    /// # Errors
    ///
    /// See [`PresenceError`]. Nothing has changed then.
    pub fn join(
        &mut self,
        hub: &mut Hub,
        conn: ConnId,
        topic: &str,
        id: &str,
        info: &str,
    ) -> Result<(), PresenceError> {
        if !hub.slot(conn).is_some_and(|slot| slot.connection.takes_publications()) {
            return Err(PresenceError::Gone);
        }
        let mut joined = self.memberships.get(conn).into_iter().flatten();
        if let Some(known) = joined.find(|it| *it.topic == *topic) {
            return if *known.id == *id { Ok(()) } else { Err(PresenceError::OtherMember) };
        }
        self.check(hub, topic, id, info)?;
        let membership = match self.membership(topic, id) {
            Some(known) => known,
            None => self.add(hub, topic, Member { id, info: member::or_null(info) })?,
        };
        self.enter(&membership, info);
        match self.memberships.get_mut(conn) {
            Some(list) => list.push(membership),
            None => _ = self.memberships.insert(conn, vec![membership]),
        }
        self.set_timer(hub);
        Ok(())
    }

    /// Whether this would be within the limits, for those who want to know before they accept a
    /// connection.
    ///
    /// # Errors
    ///
    /// See [`PresenceError`].
    pub fn check(&self, hub: &Hub, topic: &str, id: &str, info: &str) -> Result<(), PresenceError> {
        let limits = &self.config;
        if id.len() > limits.id_bytes_max {
            return Err(PresenceError::IdTooLong);
        }
        if info.len() > limits.info_bytes_max {
            return Err(PresenceError::InfoTooLong);
        }
        if (self.companion)(topic).len() > hub.config().topic_name_bytes_max {
            return Err(PresenceError::NameTooLong);
        }
        let known = self.topics.get(topic);
        if known.is_some_and(|topic| topic.members.contains_key(id)) {
            return Ok(());
        }
        if !self.has_member(topic, id) && self.count(topic) >= limits.members_max {
            return Err(PresenceError::TopicFull);
        }
        if self.members >= limits.members_total_max {
            return Err(PresenceError::TooManyMembers);
        }
        if known.is_none() && self.topics.len() >= limits.topics_max {
            return Err(PresenceError::TooManyTopics);
        }
        Ok(())
    }

    /// The connection is no longer the topic's. If it was its member's last, the member leaves after the
    /// delay. False if it had not joined.
    pub fn leave(&mut self, hub: &mut Hub, conn: ConnId, topic: &str) -> bool {
        self.leave_after(hub, conn, topic, self.config.leave_delay)
    }

    /// The same without the delay: the member leaves in the next turn, unless it is back by then.
    pub fn leave_at_once(&mut self, hub: &mut Hub, conn: ConnId, topic: &str) -> bool {
        self.leave_after(hub, conn, topic, Duration::ZERO)
    }

    fn leave_after(&mut self, hub: &mut Hub, conn: ConnId, topic: &str, delay: Duration) -> bool {
        let Some(list) = self.memberships.get_mut(conn) else { return false };
        let Some(at) = list.iter().position(|it| *it.topic == *topic) else { return false };
        let membership = list.remove(at);
        if list.is_empty() {
            self.memberships.remove(conn);
        }
        self.depart(hub, membership, delay);
        self.set_timer(hub);
        true
    }

    /// The connection is over, and leaves all that it had joined, what it joined last first. To be called from
    /// [`Handler::on_close`](crate::Handler::on_close), for every connection.
    pub fn handle_close(&mut self, hub: &mut Hub, conn: ConnId) {
        for membership in self.memberships.remove(conn).into_iter().flatten().rev() {
            self.depart(hub, membership, self.config.leave_delay);
        }
        self.set_timer(hub);
    }

    /// Carries out the leaves that are due. To be called from
    /// [`Handler::on_timer`](crate::Handler::on_timer); false if the key is another timer's.
    pub fn handle_timer(&mut self, hub: &mut Hub, key: u64) -> bool {
        if key != self.timer_key {
            return false;
        }
        self.timer.take_if(|(at, _)| *at <= hub.now());
        if let Some(sharing) = &mut self.sharing {
            sharing.announces = false;
        }
        for _ in 0..self.config.leaves_per_turn.max(1) {
            let Some(next) = self.leaves.first_entry() else { break };
            if next.key().0 > hub.now() {
                break;
            }
            let membership = next.remove();
            self.carry_out(hub, membership);
        }
        self.set_timer(hub);
        true
    }

    /// How many members the topic has, with those that are about to leave. It is a look-up.
    pub fn count(&self, topic: &str) -> usize {
        match self.list(topic) {
            Some(list) => list.len(),
            None => self.topics.get(topic).map_or(0, |topic| topic.members.len()),
        }
    }

    /// Whether the topic has this member. It is a look-up.
    pub fn has_member(&self, topic: &str, id: &str) -> bool {
        match self.list(topic) {
            Some(list) => list.contains_key(id),
            None => self.membership(topic, id).is_some(),
        }
    }

    /// How many connections the topic's members have together, at this node. It is a look-up.
    pub fn connection_count(&self, topic: &str) -> usize {
        self.topics.get(topic).map_or(0, |topic| topic.connections)
    }

    /// The topic's members, in the order of their ids. For a picture that stays exact, note the companion
    /// topic's [`position`](Hub::position) in the same turn.
    pub fn members(&self, topic: &str) -> impl Iterator<Item = Member<'_>> {
        let listed = self.list(topic);
        let here = self.topics.get(topic).filter(|_| listed.is_none()).map(|topic| &topic.members);
        let listed = listed.into_iter().flatten().map(|(id, info)| Member { id, info });
        let here = here.into_iter().flatten();
        listed.chain(here.map(|(id, entry)| Member { id, info: &entry.info }))
    }

    /// The names of a member that is there.
    fn membership(&self, topic: &str, id: &str) -> Option<Membership> {
        let (topic, entry) = self.topics.get_key_value(topic)?;
        let (id, _) = entry.members.get_key_value(id)?;
        Some(Membership { topic: Arc::clone(topic), id: Arc::clone(id) })
    }

    /// The entry of a member.
    fn entry(&mut self, membership: &Membership) -> Option<&mut Entry> {
        self.topics.get_mut(&membership.topic)?.members.get_mut(&membership.id)
    }

    /// Publishes the join of a new member, which has no connection yet.
    fn add(
        &mut self,
        hub: &mut Hub,
        topic: &str,
        member: Member<'_>,
    ) -> Result<Membership, PublishError> {
        if self.sharing.is_none() {
            hub.publish(&(self.companion)(topic), member.join())?;
        }
        let known = self.topics.get_key_value(topic).map(|(name, _)| Arc::clone(name));
        let topic = known.unwrap_or_else(|| topic.into());
        let id: Arc<str> = member.id.into();
        let stay = Stay::Here { connections: 0 };
        let entry = Entry { info: member.info.into(), stay, is_queued: false };
        let members = &mut self.topics.entry(Arc::clone(&topic)).or_default().members;
        members.insert(Arc::clone(&id), entry);
        self.members += 1;
        if self.sharing.is_none() {
            self.tell(&topic, MemberChange::Join(member));
        }
        let membership = Membership { topic, id };
        self.queue(membership.clone());
        Ok(membership)
    }

    /// A member that is known has one more connection.
    fn enter(&mut self, membership: &Membership, info: &str) {
        let Some(topic) = self.topics.get_mut(&membership.topic) else { return };
        let Some(entry) = topic.members.get_mut(&membership.id) else { return };
        topic.connections += 1;
        match &mut entry.stay {
            Stay::Here { connections } => *connections += 1,
            Stay::Away { until } => {
                self.leaves.remove(until);
                entry.stay = Stay::Here { connections: 1 };
            }
            // It has left, or will not have: what decides takes an info only with a join.
            Stay::Leaving => {
                entry.info = member::or_null(info).into();
                entry.stay = Stay::Here { connections: 1 };
                self.queue(membership.clone());
            }
        }
    }

    /// A member has one connection less.
    fn depart(&mut self, hub: &Hub, membership: Membership, delay: Duration) {
        let Some(topic) = self.topics.get_mut(&membership.topic) else { return };
        let Some(entry) = topic.members.get_mut(&membership.id) else { return };
        let Stay::Here { connections } = &mut entry.stay else { return };
        topic.connections -= 1;
        *connections -= 1;
        if *connections == 0 {
            let at = hub.now() + delay.min(DELAY_MAX);
            self.leave_at(at, membership);
        }
    }

    fn leave_at(&mut self, at: Instant, membership: Membership) {
        let until = (at, self.leaves_set + 1);
        let Some(entry) = self.entry(&membership) else { return };
        entry.stay = Stay::Away { until };
        self.leaves_set += 1;
        self.leaves.insert(until, membership);
    }

    /// A member leaves, if that can be published, or is known to what decides.
    fn carry_out(&mut self, hub: &mut Hub, membership: Membership) {
        if self.sharing.is_some() {
            if let Some(entry) = self.entry(&membership) {
                entry.stay = Stay::Leaving;
            }
            self.queue(membership);
            return;
        }
        let companion = (self.companion)(&membership.topic);
        if hub.publish(&companion, member::leave(&membership.id)).is_err() {
            return self.leave_at(hub.now() + RETRY, membership);
        }
        self.remove(&membership);
        self.tell(&membership.topic, MemberChange::Leave { id: &membership.id });
    }

    fn remove(&mut self, membership: &Membership) {
        let Some(topic) = self.topics.get_mut(&membership.topic) else { return };
        topic.members.remove(&membership.id);
        self.members -= 1;
        if topic.members.is_empty() {
            self.topics.remove(&membership.topic);
        }
    }

    fn tell(&mut self, topic: &str, change: MemberChange<'_>) {
        if let Some(Watch(changed)) = &mut self.watch {
            changed(topic, change);
        }
    }

    /// Sets the timer to the first leave, or to now if there are changes to be told.
    fn set_timer(&mut self, hub: &mut Hub) {
        let first = self.leaves.keys().next().map(|(at, _)| *at);
        let announces = self.sharing.as_ref().is_some_and(|sharing| sharing.announces);
        let next = if announces { Some(hub.now()) } else { first };
        if self.timer.map(|(at, _)| at) == next {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            hub.cancel_timer(timer);
        }
        self.timer = next.map(|at| (at, hub.set_timer(at, self.timer_key)));
    }
}
