//! Time: the application's timers, the connections' deadlines, and the end of the server.

use std::time::{Duration, Instant};

use super::Hub;
use crate::{
    conn::{Outcome, State, TICK_BITS, Ticks},
    event::{Cause, ConnId, Events, Record},
};

const NANOS_PER_SEC: u64 = 1_000_000_000;
/// A turn that comes later than this after it was meant to finds a process that stood still, or was
/// kept busy. For the connections' deadlines it counts as so much and no more: what their peers have
/// sent meanwhile is still to be read.
const LATE: Duration = Duration::from_secs(1);

impl Hub {
    /// Asks for an [`Event::Timer`](crate::Event::Timer) with this key at this moment, or at once
    /// if it has passed. It comes once; the same key may be set for several moments. A clock that
    /// does not drift sets each tick from the one before, not from [`now`](Self::now).
    pub fn set_timer(&mut self, at: Instant, key: u64) {
        self.timers.insert((at, key));
    }

    /// Takes back every timer with this key; true if there was one. Looks at all timers.
    pub fn cancel_timer(&mut self, key: u64) -> bool {
        let before = self.timers.len();
        self.timers.retain(|(_, other)| *other != key);
        self.timers.len() < before
    }

    /// Ends the server gently: no further connection is accepted, every open one gets what is
    /// queued for it and a Close frame with 1001 (going away), and whatever is left after
    /// `deadline` is dropped. [`is_finished`](Self::is_finished) then says so.
    ///
    /// A second call changes the deadline.
    pub fn shutdown(&mut self, deadline: Duration) {
        let first = self.shutdown.is_none();
        // A deadline beyond the clock's end is none.
        let far = self.now + Duration::from_secs(u32::MAX.into());
        self.shutdown = Some(self.now.checked_add(deadline).unwrap_or(far));
        if first {
            for id in self.all() {
                self.close_for(id, Cause::Shutdown);
                self.expect_no_request(id);
            }
        }
    }

    /// Whether [`shutdown`](Self::shutdown) was called.
    pub fn is_shutting_down(&self) -> bool {
        self.shutdown.is_some()
    }

    /// Whether the server was shut down and every connection is gone.
    pub fn is_finished(&self) -> bool {
        self.shutdown.is_some() && self.slots.is_empty()
    }

    /// Lets the deadline of a connection that waits for a request pass: it would not be answered.
    pub(super) fn expect_no_request(&mut self, id: ConnId) {
        let now = self.commons.now;
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        if let State::Handshake { deadline, .. } = &mut slot.connection.state {
            *deadline = now;
            self.arm(id);
        }
    }

    fn all(&self) -> Vec<ConnId> {
        let id = |(index, slot): (usize, &super::Slot)| ConnId {
            index: index as u32,
            generation: slot.generation,
        };
        self.slots.iter().map(id).collect()
    }

    /// It is `now`, and the loop meant to sleep for `planned` at the most.
    pub(crate) fn set_now(&mut self, now: Instant, planned: Option<Duration>) {
        // The clock of a `Net` may stand still, and no time goes back.
        if now > self.now {
            let passed = now - self.now;
            if planned.is_some_and(|planned| passed > planned.saturating_add(LATE)) {
                self.epoch += passed - LATE;
            }
            self.now = now;
            if now >= self.tick_ends {
                self.count_ticks();
            }
        }
    }

    fn count_ticks(&mut self) {
        let passed = self.now - self.epoch;
        let nanos = passed.as_secs() * NANOS_PER_SEC + u64::from(passed.subsec_nanos());
        let ticks = nanos >> TICK_BITS;
        let since = u32::try_from(ticks).unwrap_or(u32::MAX);
        self.commons.now = Ticks(Ticks::FIRST.0.saturating_add(since));
        self.tick_ends = self.epoch + Duration::from_nanos((ticks + 1) << TICK_BITS);
    }

    /// How long the server may sleep before something is due. `clock` is read only if the time of
    /// this turn will not do: the application's timers are exact.
    pub(crate) fn time_left(&mut self, clock: impl Fn() -> Instant) -> Option<Duration> {
        let now = self.commons.now;
        let ticks = |due: Ticks| u64::from(due.0.saturating_sub(now.0));
        let connections =
            self.wheel.next().map(|due| Duration::from_nanos(ticks(due) << TICK_BITS));
        if self.timers.is_empty() && self.shutdown.is_none() {
            return connections;
        }
        let now = clock();
        let left = |at: Instant| at.saturating_duration_since(now);
        let own = self.timers.first().map(|(at, _)| left(*at));
        [connections, own, self.shutdown.map(left)].into_iter().flatten().min()
    }

    /// Does what is due at this turn's time.
    pub(crate) fn handle_timeouts(&mut self, events: &mut Events) {
        while let Some((at, key)) = self.timers.first().copied()
            && at <= self.now
        {
            self.timers.pop_first();
            events.records.push(Record::Timer { key });
        }
        for _ in 0..self.commons.config.expiries_per_turn {
            let Some(index) = self.wheel.pop(self.commons.now) else { break };
            let id = self.id_at(index);
            let Some(slot) = Self::slot_mut(&mut self.slots, id) else { continue };
            let outcome = slot.connection.handle_timeout(id, events, &mut self.commons);
            if outcome == Outcome::Same {
                self.arm(id);
            } else {
                self.act_on(id, outcome);
            }
        }
        if self.shutdown.is_some_and(|deadline| deadline <= self.now) {
            for id in self.all() {
                self.drop_connection(id, events);
            }
        }
    }

    fn drop_connection(&mut self, id: ConnId, events: &mut Events) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        let outcome = slot.connection.handle_lost(id, Cause::Shutdown, events, &mut self.commons);
        self.act_on(id, outcome);
    }
}
