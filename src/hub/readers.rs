//! The readers of one connection: first the topics that it has left while behind, then its
//! subscriptions. Policies are applied here, when a connection that lagged reads on.

use super::{subscriptions::Subscription, topics::Topics};
use crate::{config::OnLag, conn::Commons, event::ConnId};

impl Topics {
    /// The topic of one of the connection's readers, its cursor, and the offset up to which it reads.
    #[inline]
    pub(super) fn reader(&self, connection: u32, nth: usize) -> (u32, u64, u64) {
        let list = self.list(connection);
        let leaving = list.leaving();
        match leaving.get(nth) {
            Some(it) => (it.topic, it.cursor, it.until),
            None => {
                let it = list.as_slice()[nth - leaving.len()];
                let entry = &self.topics[it.topic];
                (it.topic, entry.subscribers[it.position as usize].cursor, entry.log.head())
            }
        }
    }

    /// For a part that was kept: what the hub's clock showed when it was asked for.
    #[inline]
    pub(super) fn joined(&self, connection: u32, nth: usize) -> Option<u64> {
        self.list(connection).leaving().get(nth)?.joined
    }

    /// A reader has taken what is before `cursor`, or passes over it. Gives how many of these
    /// publications were due.
    pub(super) fn set_cursor(&mut self, id: ConnId, nth: usize, cursor: u64) -> u64 {
        let list = &mut self.lists[id.index as usize];
        let Some(nth) = nth.checked_sub(list.leaving().len()) else {
            let it = &mut list.many().leaving[nth];
            let log = &mut self.topics[it.topic].log;
            log.move_reader(it.cursor, cursor);
            let passed =
                log.count_passed(id, it.cursor..cursor, it.until, it.excepted, &mut self.steps);
            it.excepted -= passed;
            return cursor - std::mem::replace(&mut it.cursor, cursor) - passed;
        };
        let it = list.as_slice()[nth];
        let entry = &mut self.topics[it.topic];
        let excepted = entry.left_out(id, it.position);
        let subscriber = &mut entry.subscribers[it.position as usize];
        if it.position >= entry.parked {
            entry.log.move_reader(subscriber.cursor, cursor);
        }
        let (log, passes) = (&entry.log, subscriber.cursor..cursor);
        let passed = log.count_passed(id, passes, log.head(), excepted, &mut self.steps);
        subscriber.excepted = u16::try_from(excepted - passed).unwrap_or(u16::MAX);
        cursor - std::mem::replace(&mut subscriber.cursor, cursor) - passed
    }

    /// How many publications the subscriber is due and has not taken, given up by the topic or not.
    pub(super) fn lag(&self, id: ConnId, subscription: Subscription) -> u64 {
        let Subscription { topic, position } = subscription;
        let entry = &self.topics[topic];
        let cursor = entry.subscribers[position as usize].cursor;
        entry.log.head() - cursor - entry.left_out(id, position)
    }

    /// How many publications the subscriber has not taken, those that are not for it among them.
    pub(super) fn behind(&self, Subscription { topic, position }: Subscription) -> u64 {
        let entry = &self.topics[topic];
        entry.log.head() - entry.subscribers[position as usize].cursor
    }

    /// The topic's next publication is not for this subscriber. True if the batch has to say so, because
    /// the subscriber has not taken all that is before.
    pub(super) fn except_next(&mut self, topic: u32, position: u32) -> bool {
        let entry = &mut self.topics[topic];
        let subscriber = &mut entry.subscribers[position as usize];
        let is_behind = subscriber.cursor < entry.log.head() || position >= entry.parked;
        if is_behind {
            subscriber.excepted = subscriber.excepted.saturating_add(1);
        } else {
            subscriber.cursor += 1;
        }
        is_behind
    }

    /// Lets a connection that lagged, and is not blocked now, read on. If a reader's place in the log is
    /// gone, its topic's policy says where it goes on. False if a policy is to close the connection,
    /// which is open.
    pub(super) fn apply_policies(
        &mut self,
        id: ConnId,
        is_open: bool,
        commons: &mut Commons,
    ) -> bool {
        let leaving = self.list(id.index).leaving().len();
        for nth in 0..self.list(id.index).readers() {
            self.steps += 1;
            let (topic, cursor, until) = self.reader(id.index, nth);
            let entry = &self.topics[topic];
            let (start, on_lag) = (entry.log.start(), entry.options.on_lag);
            let is_gone = cursor < start.min(until);
            if nth < leaving {
                let is_exact = self.list(id.index).leaving()[nth].joined.is_some();
                match if is_exact { OnLag::Close } else { on_lag } {
                    OnLag::Close if is_gone && is_open => return false,
                    OnLag::Close if is_gone => self.lose_topic(id, topic, commons),
                    OnLag::Latest | OnLag::Skip if is_gone => {
                        let skipped = self.set_cursor(id, nth, start.min(until));
                        commons.tally.messages_skipped.add(skipped);
                    }
                    OnLag::Close | OnLag::Latest | OnLag::Skip => {}
                }
                continue;
            }
            let position = self.list(id.index).as_slice()[nth - leaving].position;
            if position < entry.parked || cursor == until {
                continue;
            }
            match on_lag {
                OnLag::Close if is_gone => return false,
                OnLag::Latest if start < until => {
                    let conflated = self.set_cursor(id, nth, until - 1);
                    commons.tally.messages_conflated.add(conflated);
                }
                OnLag::Latest | OnLag::Skip if is_gone => {
                    // The middle of what is kept: at its old end, a slow reader would read the stalest
                    // publications, and skip again. For `Latest`, nothing is kept if another policy held
                    // before.
                    let skipped = self.set_cursor(id, nth, start + (until - start) / 2);
                    commons.tally.messages_skipped.add(skipped);
                }
                OnLag::Close | OnLag::Latest | OnLag::Skip => {}
            }
        }
        true
    }

    /// A connection that is no longer open gets nothing more of a topic that it has left: the peer would
    /// take what is behind the gap for what was published next.
    fn lose_topic(&mut self, id: ConnId, topic: u32, commons: &mut Commons) {
        for nth in 0..self.list(id.index).leaving().len() {
            self.steps += 1;
            let (of, _, until) = self.reader(id.index, nth);
            if of == topic {
                let lost = self.set_cursor(id, nth, until);
                commons.tally.messages_lost.add(lost);
            }
        }
    }

    /// The connection has taken all that there is for it: it lags no more.
    pub(super) fn catch_up(&mut self, id: ConnId, commons: &mut Commons) {
        let connection = id.index;
        self.forget_leaving(id, false, commons);
        for nth in 0..self.list(connection).as_slice().len() {
            self.steps += 1;
            let it = self.list(connection).as_slice()[nth];
            if self.is_parked(it.topic, it.position) {
                let entry = &mut self.topics[it.topic];
                let cursor = entry.subscribers[it.position as usize].cursor;
                debug_assert_eq!(cursor, entry.log.head(), "it has taken all");
                entry.log.remove_reader(cursor, commons);
                self.unpark(it.topic, it.position);
            }
        }
    }
}
