//! Topics that keep a history: when it is given up, and for how long a topic lives on without subscribers.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

use super::{log::Keep, subscriptions::Leaving, topics::Topics};
use crate::{
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
    /// Topics with a history, by when its first piece is too old, or later. Each is here once.
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
        let Some(history) = entry.options.history.filter(|_| !entry.is_due) else { return };
        let Some(due) = entry.log.history_due(history) else { return };
        entry.is_due = true;
        let known = (topic, entry.epoch);
        if self.memory.due.len() > 2 * self.topics.len() + 64 {
            let topics = &self.topics;
            let is_alive =
                |known: &Known| topics.get(known.0).is_some_and(|it| it.epoch == known.1);
            self.memory.due.retain(|Reverse((_, known))| is_alive(known));
        }
        self.memory.due.push(Reverse((due, known)));
    }

    /// The first of the topics that are listed by what is due of them, if that is before `until`. If more
    /// is due than the list knows, the topic is listed anew.
    fn pop_due(&mut self, until: Ticks) -> Option<u32> {
        while let Some(Reverse((due, known))) = self.memory.due.peek().copied()
            && due <= until
        {
            self.steps += 1;
            self.memory.due.pop();
            let (topic, epoch) = known;
            let Some(entry) = self.topics.get_mut(topic).filter(|it| it.epoch == epoch) else {
                continue;
            };
            entry.is_due = false;
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
        while commons.history_bytes > commons.config.history_bytes_max
            && let Some(topic) = self.pop_due(Ticks(u32::MAX))
        {
            let given_up = self.topics[topic].log.give_up_history(commons);
            commons.tally.history_given_up.add(given_up);
            self.note_historic(topic);
        }
    }

    /// Gives up what has become too old, and forgets topics that nobody has used for long.
    pub(super) fn forget_due(&mut self, commons: &mut Commons) {
        for _ in 0..LOOKS {
            let Some(topic) = self.pop_due(commons.now) else { break };
            let keep = self.keep(topic, commons);
            self.topics[topic].log.trim_history(keep, commons);
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
        let excepted = entry.log.count_except(id, cursor..until, &mut self.steps);
        entry.leaving += 1;
        entry.log.add_reader(cursor);
        let kept = Leaving { topic, cursor, until, excepted, is_fresh: false, joined };
        self.lists[id.index as usize].many().leaving.push(kept);
    }

    /// Gives up all that a topic has kept. True if that was something.
    pub(super) fn clear_history(&mut self, topic: u32, commons: &mut Commons) -> bool {
        let log = &mut self.topics[topic].log;
        let had_some = log.has_history();
        log.trim_history(None, commons);
        log.trim_read(commons);
        had_some
    }
}
