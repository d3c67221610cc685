//! Topics that keep a history: when it is given up, and for how long a topic lives on without subscribers.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

use super::{log::Keep, subscriptions::Leaving, topics::Topics};
use crate::{
    config::TopicOptions,
    conn::{Commons, Ticks},
    event::ConnId,
};

/// Topics looked at in one turn because something of them is due.
const LOOKS: usize = 64;

/// A topic as lists hold it: it may be over meanwhile, and its place another's.
type Known = (u32, u64);

/// What is to be given up when.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Topics with a history, by when its first piece is too old, or later. Where one is here more than
    /// once, its [`listed`](super::topics::Topic::listed) is the one that counts.
    due: BinaryHeap<Reverse<(Ticks, Known)>>,
    /// Topics that are remembered and have no readers, by when they had the last one, or were published
    /// to.
    idle: BTreeSet<(Ticks, Known)>,
}

impl Memory {
    /// When something is to be given up next, or is to be looked at.
    fn next(&self, memory: std::time::Duration) -> Option<Ticks> {
        let due = self.due.peek().map(|Reverse((due, _))| *due);
        let idle = self.idle.first().map(|(since, _)| since.after(memory));
        due.into_iter().chain(idle).min()
    }
}

impl Topics {
    /// How far back a topic's history reaches; `None` if it has none.
    pub(super) fn keep(&self, topic: u32, commons: &Commons) -> Option<Keep> {
        let history = self.topics[topic].options.history?;
        Some(Keep::new(history, commons.now))
    }

    /// When [`forget_due`](Self::forget_due) is to be called.
    pub(super) fn next_due(&self, commons: &Commons) -> Option<Ticks> {
        self.memory.next(commons.config.topic_memory)
    }

    /// Lists a topic of which a piece became history.
    pub(super) fn note_historic(&mut self, topic: u32) {
        let entry = &mut self.topics[topic];
        let Some(history) = entry.options.history else { return };
        let Some(due) = entry.log.history_due(history) else { return };
        if entry.listed.is_some_and(|listed| listed <= due) {
            return;
        }
        entry.listed = Some(due);
        let known = (topic, entry.epoch);
        if self.memory.due.len() > 2 * self.topics.len() + 64 {
            let topics = &self.topics;
            let counts = |due: Ticks, (topic, epoch): Known| {
                topics.get(topic).is_some_and(|it| it.epoch == epoch && it.listed == Some(due))
            };
            self.memory.due.retain(|Reverse((due, known))| counts(*due, *known));
        }
        self.memory.due.push(Reverse((due, known)));
    }

    /// The first of the topics that are listed by what is due of them, if that is before `until`. If more
    /// is due than the list knows, the topic is listed anew. So many `looks` are taken at the list: topics
    /// that are over by now may be there by the thousand.
    fn pop_due(&mut self, until: Ticks, looks: &mut usize) -> Option<u32> {
        while let Some(Reverse((due, known))) = self.memory.due.peek().copied()
            && due <= until
            && *looks > 0
        {
            *looks -= 1;
            self.steps += 1;
            self.memory.due.pop();
            let (topic, epoch) = known;
            let entry = self.topics.get_mut(topic);
            let Some(entry) = entry.filter(|it| it.epoch == epoch && it.listed == Some(due)) else {
                continue;
            };
            entry.listed = None;
            let history = entry.options.history;
            match history.and_then(|history| entry.log.history_due(history)) {
                Some(now_due) if now_due > due => self.note_historic(topic),
                Some(_) => return Some(topic),
                None => {}
            }
        }
        None
    }

    /// Gives up history until the process has no more of it than its limit: what is too old first, first.
    pub(super) fn bound_history(&mut self, commons: &mut Commons) {
        let mut looks = usize::MAX;
        while commons.history_bytes > commons.config.history_bytes_max
            && let Some(topic) = self.pop_due(Ticks(u32::MAX), &mut looks)
        {
            let log = &mut self.topics[topic].log;
            if log.drop_historic_caches(commons) == 0 {
                let given_up = log.give_up_history(commons);
                commons.tally.history_given_up.add(given_up);
                self.bound_lagging(topic, commons);
            }
            self.note_historic(topic);
        }
    }

    /// Gives up what has become too old, and forgets topics that nobody has used for long.
    pub(super) fn forget_due(&mut self, commons: &mut Commons) {
        let mut looks = LOOKS;
        while let Some(topic) = self.pop_due(commons.now, &mut looks) {
            let keep = self.keep(topic, commons);
            self.topics[topic].log.trim_history(keep, commons);
            self.bound_lagging(topic, commons);
            self.note_historic(topic);
        }
        for _ in 0..LOOKS {
            let Some((since, known)) = self.memory.idle.first().copied() else { break };
            if since.after(commons.config.topic_memory) > commons.now {
                break;
            }
            self.forget(known, commons);
        }
    }

    /// The topic has no readers, and a history: it is remembered for a while from now on.
    pub(super) fn remember(&mut self, topic: u32, commons: &mut Commons) {
        let entry = &mut self.topics[topic];
        if entry.idle_since == Some(commons.now) {
            return;
        }
        let known = (topic, entry.epoch);
        if let Some(since) = entry.idle_since.replace(commons.now) {
            self.memory.idle.remove(&(since, known));
        }
        self.memory.idle.insert((commons.now, known));
        if self.memory.idle.len() > commons.config.topics_remembered_max
            && let Some((_, known)) = self.memory.idle.first().copied()
        {
            commons.tally.topics_forgotten.add(1);
            self.forget(known, commons);
        }
    }

    /// The topic has a reader again, or is over.
    pub(super) fn handle_used(&mut self, topic: u32) {
        let entry = &mut self.topics[topic];
        if let Some(since) = entry.idle_since.take() {
            self.memory.idle.remove(&(since, (topic, entry.epoch)));
        }
    }

    /// Removes a topic that would have begun with a publication that was refused: no other has neither
    /// readers nor a time from which on it is remembered.
    pub(super) fn remove_unbegun(&mut self, topic: u32, commons: &mut Commons) {
        if self.topics[topic].is_unread() && self.topics[topic].idle_since.is_none() {
            self.remove_topic(topic, commons);
        }
    }

    /// Forgets a topic that has no readers.
    fn forget(&mut self, (topic, _): Known, commons: &mut Commons) {
        self.steps += 1;
        self.handle_used(topic);
        self.remove_topic(topic, commons);
    }

    /// What the topic has kept from `cursor` on comes to the connection before its subscription, which was
    /// made just now.
    pub(super) fn add_kept(&mut self, id: ConnId, topic: u32, cursor: u64) {
        let joined = Some(self.note_published());
        let entry = &mut self.topics[topic];
        let until = entry.log.head();
        entry.leaving += 1;
        entry.log.add_reader(cursor);
        // It is for everyone, also where its sender left out one that subscribed.
        let kept = Leaving { topic, cursor, until, excepted: 0, is_fresh: false, joined };
        self.list_mut(id.index).many().leaving.push(kept);
    }

    /// The topic has other options than `before`.
    pub(super) fn handle_options(
        &mut self,
        topic: u32,
        before: TopicOptions,
        commons: &mut Commons,
    ) {
        let keep = self.keep(topic, commons);
        let log = &mut self.topics[topic].log;
        if before.history.is_none() && keep.is_some() {
            log.begin_history();
        }
        log.trim_history(keep, commons);
        log.trim_read(commons);
        self.bound_lagging(topic, commons);
        self.note_historic(topic);
    }

    /// Gives up what a topic has kept before the offset. Gives how many publications that were.
    pub(super) fn expire_history(&mut self, topic: u32, until: u64, commons: &mut Commons) -> u64 {
        let entry = &mut self.topics[topic];
        let Some(history) = entry.options.history else { return 0 };
        let given_up = until.saturating_sub(entry.log.first_kept(Some(history)));
        entry.log.expire_history(until, commons);
        self.bound_lagging(topic, commons);
        given_up
    }
}

#[cfg(test)]
mod tests;
