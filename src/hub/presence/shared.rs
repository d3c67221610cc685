//! Presence that several nodes share: something else decides who is in a topic. It is told who is here, and tells who
//! is anywhere.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use super::{Entry, Member, MemberChange, Membership, Presence, Stay};
use crate::config::PresenceConfig;

/// Whether a member is here, for what decides: see [`Presence::shared`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresenceChange {
    /// The topic.
    pub topic: Arc<str>,
    /// The member.
    pub id: Arc<str>,
    /// With what info it came, as JSON, if it is here; `None` if it has left.
    pub info: Option<Box<str>>,
}

/// What is known of a topic's members on all nodes: see [`Presence::handle_news`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresenceNews {
    /// These are all members, each with its id and its info.
    All(Vec<(Box<str>, Box<str>)>),
    /// One came, with this id and this info.
    Join(Box<str>, Box<str>),
    /// The one with this id left.
    Leave(Box<str>),
    /// It is not known any more who is there.
    Unknown,
}

/// What a [`Presence`] has that is shared.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// Members of which it is to be told whether they are here. Each is in it once (`Entry::is_queued`).
    changes: VecDeque<Membership>,
    /// How many were taken out of these.
    polled: u64,
    /// There are some, and were none: the timer comes.
    pub announces: bool,
    /// The one that was told again last.
    repeated: Option<Membership>,
    lists: BTreeMap<Box<str>, List>,
}

pub(super) type List = BTreeMap<Box<str>, Box<str>>;

impl Presence {
    /// As [`new`](Self::new), for topics that several nodes share: no join or leave is published here.
    ///
    /// - When one of its members comes or goes, there is a [change](Self::poll_change) for what decides. The hub's
    ///   timer with `timer_key` comes then, so that it is enough to look for changes after
    ///   [`handle_timer`](Self::handle_timer).
    /// - A member that has left is kept, and counts, until that is [settled](Self::settle_change).
    /// - What decides publishes the joins and leaves, and the application tells them
    ///   [here](Self::handle_news). While it does for a topic, [`members`](Self::members) and
    ///   [`count`](Self::count) are of all nodes, and else of this one.
    pub fn shared(timer_key: u64, companion: fn(&str) -> String, config: PresenceConfig) -> Self {
        let sharing = Some(Box::default());
        Self { sharing, ..Self::new(timer_key, companion, config) }
    }

    /// The next member of which it is to be told whether it is here. To be asked for until there is none.
    pub fn poll_change(&mut self) -> Option<PresenceChange> {
        let sharing = self.sharing.as_mut()?;
        while let Some(Membership { topic, id }) = sharing.changes.pop_front() {
            sharing.polled += 1;
            let members = self.topics.get_mut(&topic).map(|topic| &mut topic.members);
            let Some(entry) = members.and_then(|members| members.get_mut(&id)) else { continue };
            entry.is_queued = false;
            let info = match entry.stay {
                Stay::Here { .. } | Stay::Away { .. } => Some(entry.info.clone()),
                Stay::Leaving => None,
            };
            return Some(PresenceChange { topic, id, info });
        }
        None
    }

    /// How many changes were [polled](Self::poll_change) so far, and how many there were: once as many are polled as
    /// there were at a moment, all that was to be told then is polled.
    pub fn change_counts(&self) -> (u64, u64) {
        let count =
            |sharing: &Sharing| (sharing.polled, sharing.polled + sharing.changes.len() as u64);
        self.sharing.as_deref().map_or((0, 0), count)
    }

    /// What decides knows that the member has left. It does not count any more, unless it has come back.
    pub fn settle_change(&mut self, topic: &str, id: &str) {
        let Some(membership) = self.membership(topic, id) else { return };
        let is_over = |entry: &mut Entry| matches!(entry.stay, Stay::Leaving) && !entry.is_queued;
        if self.entry(&membership).is_some_and(is_over) {
            self.remove(&membership);
        }
    }

    /// It is to be told again whether the member is here, after all others.
    pub fn repeat_change(&mut self, topic: &str, id: &str) {
        if let Some(membership) = self.membership(topic, id) {
            self.queue(membership);
        }
    }

    /// It is to be told again of so many members whether they are here: each time of the next ones. True once it was
    /// of the last; it begins anew then.
    pub fn repeat_changes(&mut self, most: usize) -> bool {
        let repeated = self.sharing.as_ref().and_then(|sharing| sharing.repeated.clone());
        let from = match &repeated {
            Some(last) => Bound::Included(&*last.topic),
            None => Bound::Unbounded,
        };
        let topics = self.topics.range::<str, _>((from, Bound::Unbounded));
        let members = topics.flat_map(|(topic, it)| {
            let first = match &repeated {
                Some(last) if last.topic == *topic => Bound::Excluded(&*last.id),
                Some(_) | None => Bound::Unbounded,
            };
            let members = it.members.range::<str, _>((first, Bound::Unbounded));
            members.map(|(id, _)| Membership { topic: Arc::clone(topic), id: Arc::clone(id) })
        });
        let next: Vec<_> = members.take(most).collect();
        let is_over = next.len() < most;
        if let Some(sharing) = &mut self.sharing {
            sharing.repeated = next.last().filter(|_| !is_over).cloned();
        }
        next.into_iter().for_each(|membership| self.queue(membership));
        is_over
    }

    /// Has [`repeat_changes`](Self::repeat_changes) begin with the first member.
    pub fn repeat_from_start(&mut self) {
        if let Some(sharing) = &mut self.sharing {
            sharing.repeated = None;
        }
    }

    /// What decides has told of a topic's members. All of them come first; what is told of a topic without that
    /// changes nothing. To be called in the turn in which the same is published to the companion topic, if a list
    /// is to belong to a [`position`](crate::Hub::position).
    pub fn handle_news(&mut self, topic: &str, news: PresenceNews) {
        let Some(lists) = self.sharing.as_mut().map(|sharing| &mut sharing.lists) else { return };
        match news {
            PresenceNews::All(members) => {
                lists.insert(topic.into(), members.into_iter().collect());
            }
            PresenceNews::Join(id, info) => {
                let Some(list) = lists.get_mut(topic) else { return };
                list.insert(id.clone(), info.clone());
                self.tell(topic, MemberChange::Join(Member { id: &id, info: &info }));
            }
            PresenceNews::Leave(id) => {
                let Some(list) = lists.get_mut(topic) else { return };
                list.remove(&id);
                self.tell(topic, MemberChange::Leave { id: &id });
            }
            PresenceNews::Unknown => {
                lists.remove(topic);
            }
        }
    }

    /// The topic's members on all nodes, if they are known.
    pub(super) fn list(&self, topic: &str) -> Option<&List> {
        self.sharing.as_ref()?.lists.get(topic)
    }

    /// If presence is shared, it is to be told whether the member is here.
    pub(super) fn queue(&mut self, membership: Membership) {
        let Some(sharing) = &mut self.sharing else { return };
        let members = self.topics.get_mut(&membership.topic).map(|topic| &mut topic.members);
        let entry = members.and_then(|members| members.get_mut(&membership.id));
        if let Some(entry) = entry.filter(|entry| !entry.is_queued) {
            entry.is_queued = true;
            sharing.announces |= sharing.changes.is_empty();
            sharing.changes.push_back(membership);
        }
    }
}
