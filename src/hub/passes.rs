//! The passes along the topics' subscribers, and the line of topics that keep something for readers
//! alone.

use super::{log::Trim, topics::Topics};
use crate::{config::OnLag, conn::Commons, event::ConnId};

/// What [`Topics::next_unserved`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This connection has something to take.
    Connection(u32),
    /// The pass goes on in the next turn.
    Later,
    /// The pass is over.
    Over,
}

impl Topics {
    /// A topic has published something that its subscribers are to get.
    pub(super) fn handle_published(&mut self, topic: u32) {
        let entry = &mut self.topics[topic];
        if !entry.is_open {
            entry.is_open = true;
            self.open.push(topic);
        }
        // What nobody subscribes to needs no pass.
        if !entry.is_listed && !entry.subscribers.is_empty() {
            entry.is_listed = true;
            self.passes.push_back(topic);
        }
    }

    /// Makes what was published since the last flush ready to be taken.
    #[inline]
    pub(super) fn seal(&mut self, commons: &mut Commons) {
        if !self.open.is_empty() {
            self.seal_open(commons);
        }
    }

    fn seal_open(&mut self, commons: &mut Commons) {
        while let Some(topic) = self.open.pop() {
            if let Some(entry) = self.topics.get_mut(topic)
                && std::mem::take(&mut entry.is_open)
            {
                self.steps += entry.log.seal(commons) as u64;
                if entry.is_mirrored() {
                    self.hand_over(topic, commons);
                }
                let Some(entry) = self.topics.get_mut(topic) else { continue };
                if !entry.is_listed {
                    // No subscriber is due any of it.
                    entry.reached = entry.log.head();
                    self.settle(topic, commons);
                }
            }
        }
    }

    /// The next connection that a topic's pass comes to, within so many `steps`. Subscribers that got all
    /// in an earlier phase count as served.
    pub(super) fn next_unserved(&mut self, topic: u32, steps: &mut usize) -> Next {
        let Some(entry) = self.topics.get_mut(topic).filter(|it| it.is_listed) else {
            return Next::Over;
        };
        let until = match entry.pass {
            Some(until) => until,
            None => {
                let head = entry.log.head();
                (entry.pass, entry.served) = (Some(head), 0);
                head
            }
        };
        while entry.served < entry.parked {
            let Some(left) = steps.checked_sub(1) else { return Next::Later };
            *steps = left;
            self.steps += 1;
            let subscriber = &entry.subscribers[entry.served as usize];
            if subscriber.cursor < until {
                return Next::Connection(subscriber.connection);
            }
            entry.served += 1;
        }
        Next::Over
    }

    /// Parks the first unserved subscriber of a topic, because its connection is blocked.
    pub(super) fn park_unserved(&mut self, topic: u32) {
        let served = self.topics[topic].served;
        self.park(topic, served);
    }

    /// A topic's pass is over: what all subscribers that keep up have taken is given back, or kept for
    /// readers alone within the limit. True if another pass is due.
    pub(super) fn end_pass(&mut self, topic: u32, commons: &mut Commons) -> bool {
        let Some(entry) = self.topics.get_mut(topic).filter(|it| it.is_listed) else {
            return false;
        };
        let Some(floor) = entry.pass.take() else { return false };
        debug_assert!(
            entry.subscribers[..entry.parked as usize].iter().all(|it| it.cursor >= floor),
            "nobody that keeps up needs what is before the floor",
        );
        let is_due = floor < entry.log.head();
        (entry.is_listed, entry.reached) = (is_due, floor);
        self.settle(topic, commons);
        is_due
    }

    /// Gives back what the last pass left behind, or keeps it for readers alone within the limit; unless a
    /// connection that keeps up has left the topic, and is yet to be given what is before that.
    pub(super) fn settle(&mut self, topic: u32, commons: &mut Commons) {
        let keep = self.keep(topic, commons);
        let entry = &mut self.topics[topic];
        if entry.fresh > 0 {
            return;
        }
        entry.log.raise_floor(entry.reached.min(entry.brought()), keep, commons);
        self.bound_lagging(topic, commons);
        if keep.is_some() {
            self.note_historic(topic);
            self.bound_history(commons);
        }
    }

    /// Something is kept for readers alone from here on: no more than the topic's and the process's limits
    /// allow.
    pub(super) fn bound_lagging(&mut self, topic: u32, commons: &mut Commons) {
        let entry = &mut self.topics[topic];
        let max = commons.config.topic_lag_bytes_max;
        match entry.options.on_lag {
            OnLag::Latest => {
                entry.log.trim_lagging(0, u64::MAX, Trim::KeepLast, commons);
                entry.log.keep_newest(commons);
            }
            OnLag::Close | OnLag::Skip => {
                let trim = entry.trim();
                entry.log.trim_lagging(max, u64::MAX, trim, commons);
            }
        }
        if entry.log.lagging_bytes() > 0 && !entry.in_line {
            entry.in_line = true;
            let epoch = entry.epoch;
            self.add_to_line(topic, epoch);
        }
        self.trim_line(commons.config.send_queues_bytes_max, commons);
    }

    /// A connection takes nothing now: what it has left and not read is kept for a reader that lags.
    pub(super) fn handle_blocked(&mut self, id: ConnId, commons: &mut Commons) {
        for nth in 0..self.list(id.index).leaving().len() {
            self.steps += 1;
            let it = &mut self.list_mut(id.index).many().leaving[nth];
            let (topic, was_fresh) = (it.topic, std::mem::take(&mut it.is_fresh));
            if was_fresh {
                self.topics[topic].fresh -= 1;
                self.settle(topic, commons);
            }
        }
    }

    // The line of what is kept for readers alone.

    fn add_to_line(&mut self, topic: u32, epoch: u64) {
        if self.line.len() > 2 * self.topics.len() + 64 {
            let topics = &self.topics;
            let is_alive =
                |topic: u32, epoch| topics.get(topic).is_some_and(|entry| entry.epoch == epoch);
            self.line.retain(|(topic, epoch)| is_alive(*topic, *epoch));
        }
        self.line.push_back((topic, epoch));
    }

    /// Whether so many bytes more may wait in the process. What topics keep for readers alone gives way.
    #[inline]
    pub(super) fn make_room(&mut self, bytes: usize, commons: &mut Commons) -> bool {
        let Some(room) = commons.config.send_queues_bytes_max.checked_sub(bytes) else {
            return false;
        };
        if commons.queued_bytes > room {
            self.trim_line(room, commons);
        }
        commons.queued_bytes <= room
    }

    /// Gives up what topics keep for readers alone, a batch of each topic in turn, until `keep_bytes` or
    /// less wait in the process, or nothing more can be given up.
    pub(super) fn trim_line(&mut self, keep_bytes: usize, commons: &mut Commons) {
        while commons.queued_bytes > keep_bytes
            && let Some((topic, epoch)) = self.line.pop_front()
        {
            self.steps += 1;
            let entry = self.topics.get_mut(topic).filter(|it| it.epoch == epoch);
            let Some(entry) = entry else { continue };
            let until = entry.log.start() + 1;
            let trim = entry.trim();
            entry.log.trim_lagging(0, until, trim, commons);
            if entry.log.start() < until {
                // The last batch stays; its newest publication is enough.
                entry.log.keep_newest(commons);
            }
            entry.in_line = entry.log.lagging_bytes() > 0 && entry.log.start() >= until;
            if entry.in_line {
                self.line.push_back((topic, epoch));
            }
        }
    }
}

#[cfg(test)]
mod tests;
