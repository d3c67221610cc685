//! Time: the application's timers, the connections' deadlines, and the end of the server.

use std::{
    collections::BTreeMap,
    mem,
    time::{Duration, Instant, SystemTime},
};

use super::Hub;
use crate::{
    conn::{Outcome, State, TICK_BITS, Ticks},
    event::{Cause, ConnId, Events, Record},
    wire::{CloseCode, write_date},
};

const NANOS_PER_SEC: u64 = 1_000_000_000;
/// A turn that comes later than this after it was meant to finds a process that stood still, or was
/// kept busy. For the connections' deadlines it counts as so much and no more: what their peers have
/// sent meanwhile is still to be read.
const LATE: Duration = Duration::from_secs(1);

/// Few connections are not kept waiting for each other: a spread shutdown closes a hundred in a
/// second, or more.
const FAREWELL_GAP_MAX: Duration = Duration::from_millis(10);
/// How long a connection may take, in a shutdown, for the request that it came for.
const ARRIVAL: Duration = Duration::from_secs(1);

/// Names a timer that was set with [`Hub::set_timer`], to cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    at: Instant,
    /// Which of all timers it is: no two are equal.
    serial: u64,
}

/// A connection that is to be closed at a moment.
#[derive(Debug)]
struct Closing {
    id: ConnId,
    code: CloseCode,
    reason: Box<str>,
}

/// The moments that the application set.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// The keys of its timers.
    timers: BTreeMap<TimerId, u64>,
    closings: BTreeMap<TimerId, Closing>,
    /// Which of the closings is a connection's.
    closing_of: BTreeMap<ConnId, TimerId>,
    set: u64,
}

impl Schedule {
    fn next_id(&mut self, at: Instant) -> TimerId {
        self.set += 1;
        TimerId { at, serial: self.set }
    }

    /// Whether nothing is set.
    #[inline]
    fn is_empty(&self) -> bool {
        self.timers.is_empty() && self.closings.is_empty()
    }

    /// When the next thing is due.
    fn next(&self) -> Option<Instant> {
        let next = [self.timers.keys().next(), self.closings.keys().next()];
        next.into_iter().flatten().map(|timer| timer.at).min()
    }

    /// The next timer that is due at `now`.
    fn pop_timer(&mut self, now: Instant) -> Option<u64> {
        let next = self.timers.first_entry().filter(|next| next.key().at <= now)?;
        Some(next.remove())
    }

    /// The next connection that is to be closed at `now`.
    fn pop_closing(&mut self, now: Instant) -> Option<Closing> {
        let next = self.closings.first_entry().filter(|next| next.key().at <= now)?;
        let closing = next.remove();
        self.closing_of.remove(&closing.id);
        Some(closing)
    }

    fn close_at(&mut self, at: Instant, closing: Closing) {
        self.forget(closing.id);
        let timer = self.next_id(at);
        self.closing_of.insert(closing.id, timer);
        self.closings.insert(timer, closing);
    }

    /// Takes back the moment at which the connection is to be closed; true if there was one.
    #[inline]
    pub(super) fn forget(&mut self, id: ConnId) -> bool {
        !self.closings.is_empty()
            && self
                .closing_of
                .remove(&id)
                .is_some_and(|timer| self.closings.remove(&timer).is_some())
    }
}

/// The end of a server, once it has begun.
#[derive(Debug)]
pub(super) struct Shutdown {
    deadline: Instant,
    begun: Instant,
    spread: Duration,
    /// The connections that are still to be closed, and how many there were.
    open: Vec<ConnId>,
    of: usize,
}

impl Shutdown {
    /// When the next one is to be closed: they are spread evenly, and the first is closed at once.
    fn next_close(&self) -> Option<Instant> {
        let closed = (self.of - self.open.len()) as u128;
        let nanos = (self.spread.as_nanos() * closed).checked_div(self.of as u128)?;
        (!self.open.is_empty()).then(|| self.begun + Duration::from_nanos(nanos as u64))
    }
}

impl Hub {
    /// Asks for an [`Event::Timer`](crate::Event::Timer) with this key at this moment, or at once
    /// if it has passed. It comes once, and the key is the application's to choose: several timers may
    /// have the same. Timers come in the order of their moments, those of one moment in the order in which
    /// they were set. A clock that does not drift sets each tick from the one before, not from
    /// [`now`](Self::now).
    pub fn set_timer(&mut self, at: Instant, key: u64) -> TimerId {
        let id = self.schedule.next_id(at);
        self.schedule.timers.insert(id, key);
        id
    }

    /// Takes a timer back, in O(log n); false if it came already, or was taken back before.
    pub fn cancel_timer(&mut self, id: TimerId) -> bool {
        self.schedule.timers.remove(&id).is_some()
    }

    /// Closes the connection at this moment, as [`close`](Self::close) does, unless it is gone by then:
    /// for what its token expires at, say. It replaces the moment that was set before for this
    /// connection. It costs nothing in the turns before, and is freed with the connection. For a
    /// connection that is gone, nothing happens.
    pub fn close_at(&mut self, id: ConnId, at: Instant, code: CloseCode, reason: &str) {
        if !self.is_live(id) {
            return;
        }
        self.schedule.close_at(at, Closing { id, code, reason: reason.into() });
    }

    /// Takes back what [`close_at`](Self::close_at) set for the connection; false if nothing was set.
    pub fn cancel_close_at(&mut self, id: ConnId) -> bool {
        self.schedule.forget(id)
    }

    /// Ends the server gently: no further connection is accepted, every open one gets what is
    /// queued for it and a Close frame with 1001 (going away), each at its time within
    /// [`shutdown_spread`](crate::Config::shutdown_spread), every plain response is the last of its
    /// connection, and whatever is left after `deadline` is dropped.
    /// [`is_finished`](Self::is_finished) then says so.
    ///
    /// A second call changes the deadline. Of several loops, all end; a second call changes this one's deadline.
    pub fn shutdown(&mut self, deadline: Duration) {
        if self.shutdown.is_none() {
            self.end_others(deadline);
        }
        self.end_at(deadline);
    }

    /// Begins to end this loop, of several or of one.
    pub(super) fn end_at(&mut self, deadline: Duration) {
        // A deadline beyond the clock's end is none.
        let far = self.now + Duration::from_secs(u32::MAX.into());
        let deadline = self.now.checked_add(deadline).unwrap_or(far);
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.deadline = deadline;
            return;
        }
        let all = self.all();
        all.iter().for_each(|id| self.expire_idle_request(*id));
        let open: Vec<_> =
            all.into_iter().filter(|id| self.is_open(*id) || self.is_event_stream(*id)).collect();
        let spread = self.config().shutdown_spread.min(FAREWELL_GAP_MAX * open.len() as u32);
        let (begun, of) = (self.now, open.len());
        self.shutdown = Some(Shutdown { deadline, begun, spread, open, of });
        self.close_due();
    }

    fn close_due(&mut self) {
        while let Some(shutdown) = &mut self.shutdown
            && shutdown.next_close().is_some_and(|at| at <= self.now)
            && let Some(id) = shutdown.open.pop()
        {
            self.close_for(id, Cause::Shutdown);
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

    /// Ends the time of a connection that waits for a next request, which would not be answered. One of which
    /// a request has begun, or the first has not, gets a moment for it: its client knows of no end yet.
    pub(super) fn expire_idle_request(&mut self, id: ConnId) {
        let now = self.commons.now;
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        if let State::Handshake { http, deadline } = &mut slot.connection.state {
            let left = if http.is_between() { Duration::ZERO } else { ARRIVAL };
            *deadline = (*deadline).min(now.after(left));
            self.arm(id);
        }
    }

    fn all(&self) -> Vec<ConnId> {
        let id = |(index, slot): (usize, &super::Slot)| ConnId {
            index: index as u32,
            generation: slot.connection.generation,
        };
        self.slots.iter().map(id).collect()
    }

    /// The loop is about to wait.
    pub(crate) fn handle_wait(&self) {
        let tally = &self.commons.tally;
        tally.waits.add(1);
        tally.topics.set(self.topics.len() as u64);
        tally.queued_bytes.set(self.commons.queued_bytes as u64);
        tally.history_bytes.set(self.commons.history_bytes as u64);
        tally.incomplete_bytes.set(self.commons.incomplete_bytes as u64);
        tally.window_bytes.set(self.commons.window_bytes as u64);
    }

    /// The loop has waited, and it is `now`; it meant to sleep for `planned` at the most.
    /// The wall clock is read once a tick.
    pub(crate) fn handle_turn(
        &mut self,
        now: Instant,
        planned: Option<Duration>,
        wall_clock: impl Fn() -> Option<SystemTime>,
    ) {
        self.commons.tally.turns.add(1);
        // The clock of a `Net` may stand still, and no time goes back.
        if now > self.now {
            let before = mem::replace(&mut self.now, now);
            if now >= self.tick_ends {
                self.count_ticks(now - before, planned);
                self.commons.wall_clock = wall_clock();
                if let Some(time) = self.commons.wall_clock {
                    write_date(&mut self.commons.date, time);
                }
            }
        }
    }

    /// A tick is over, after a turn that took so long and had `planned` to sleep.
    fn count_ticks(&mut self, passed: Duration, planned: Option<Duration>) {
        if planned.is_some_and(|planned| passed > planned.saturating_add(LATE)) {
            self.epoch += passed - LATE;
        }
        let passed = self.now - self.epoch;
        let nanos = passed.as_secs() * NANOS_PER_SEC + u64::from(passed.subsec_nanos());
        let ticks = nanos >> TICK_BITS;
        let since = u32::try_from(ticks).unwrap_or(u32::MAX);
        // Where no further tick can be counted, deadlines come no more, and all else goes on.
        self.commons.now = Ticks(Ticks::FIRST.0.saturating_add(since).min(u32::MAX - 1));
        self.tick_ends = self.epoch + Duration::from_nanos((ticks + 1) << TICK_BITS);
    }

    /// How long the server may sleep before something is due. `clock` is read only if the time of
    /// this turn will not do: the application's timers are exact.
    pub(crate) fn time_left(&mut self, clock: impl Fn() -> Instant) -> Option<Duration> {
        let now = self.commons.now;
        let ticks = |due: Ticks| u64::from(due.0.saturating_sub(now.0));
        let history = self.topics.next_due(&self.commons);
        let due = [self.wheel.next(), history].into_iter().flatten().min();
        let connections = due.map(|due| Duration::from_nanos(ticks(due) << TICK_BITS));
        if self.schedule.is_empty() && self.shutdown.is_none() {
            return connections;
        }
        let now = clock();
        let left = |at: Instant| at.saturating_duration_since(now);
        let own = self.schedule.next().map(left);
        let end = self.shutdown.as_ref();
        let farewell = end.and_then(Shutdown::next_close).map(left);
        let end = end.map(|shutdown| left(shutdown.deadline));
        [connections, own, farewell, end].into_iter().flatten().min()
    }

    /// Does what is due at this turn's time.
    pub(crate) fn handle_timeouts(&mut self, events: &mut Events) {
        while let Some(key) = self.schedule.pop_timer(self.now) {
            events.records.push(Record::Timer { key });
        }
        if self.topics.next_due(&self.commons).is_some_and(|due| due <= self.commons.now) {
            self.topics.forget_due(&mut self.commons);
        }
        self.keys.forget_due(self.commons.config.idempotency_memory, self.commons.now);
        let mut expiries = self.commons.config.expiries_per_turn;
        while expiries > 0
            && let Some(Closing { id, code, reason }) = self.schedule.pop_closing(self.now)
        {
            expiries -= 1;
            self.close(id, code, &reason);
        }
        for _ in 0..expiries {
            let Some(index) = self.wheel.pop(self.commons.now) else { break };
            let id = self.id_at(index);
            let Some(slot) = Self::slot_mut(&mut self.slots, id) else { continue };
            if self.shutdown.is_some() {
                slot.connection.put_off_timeout(&self.commons);
            }
            let outcome = slot.connection.handle_timeout(id, events, &mut self.commons);
            if outcome == Outcome::Same {
                self.arm(id);
            } else {
                self.act_on(id, outcome);
            }
        }
        if self.shutdown.is_some() {
            self.go_on_ending(events);
        }
    }

    /// Closes the connections that are due since the shutdown began, and drops all at its deadline.
    fn go_on_ending(&mut self, events: &mut Events) {
        self.close_due();
        if self.shutdown.as_ref().is_some_and(|shutdown| shutdown.deadline <= self.now) {
            for id in self.all() {
                self.drop_connection(id, events);
            }
        }
    }

    fn drop_connection(&mut self, id: ConnId, events: &mut Events) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        let outcome = slot.connection.handle_lost(
            id,
            Cause::Shutdown,
            &mut events.records,
            &mut self.commons,
        );
        self.act_on(id, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_nanos(1 << TICK_BITS);
    const MOMENT: Duration = Duration::from_nanos(1);

    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    fn hub() -> (Hub, Instant) {
        let start = Instant::now();
        (super::super::tests_hub(start), start)
    }

    #[test]
    fn a_tick_is_counted_in_the_moment_when_it_is_over() {
        let (mut hub, start) = hub();
        for ticks in 1..1000 {
            for (at, counted) in [(TICK * ticks - MOMENT, ticks - 1), (TICK * ticks, ticks)] {
                hub.handle_turn(start + at, None, || None);
                assert_eq!(hub.commons.now, Ticks(Ticks::FIRST.0 + counted));
                assert_eq!(hub.tick_ends, start + TICK * (counted + 1));
            }
        }
    }

    #[test]
    fn the_time_of_day_is_read_once_a_tick_and_may_go_back() {
        let (mut hub, start) = hub();
        assert_eq!(hub.wall_clock(), None);
        let day = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        for (at, read, known) in [(TICK, 9, 9), (TICK + MOMENT, 8, 9), (TICK * 2, 5, 5)] {
            hub.handle_turn(start + at, None, || day(read));
            assert_eq!(hub.wall_clock(), day(known));
        }
        hub.handle_turn(start + TICK * 3, None, || None);
        assert_eq!(hub.wall_clock(), None);
    }

    #[test]
    fn where_no_moment_is_set_no_clock_is_read() {
        let (mut hub, start) = hub();
        assert_eq!(hub.time_left(|| panic!("nothing is timed that finely")), None);
        hub.schedule.timers.insert(TimerId { at: start + MOMENT, serial: 1 }, 1);
        assert_eq!(hub.time_left(|| start), Some(MOMENT));
    }

    #[test]
    fn a_turn_is_late_beyond_a_second_after_it_was_meant_to_be() {
        let planned = TICK * 100;
        for (late, counted) in [(LATE, 100 + 14), (LATE + MOMENT, 14)] {
            let (mut hub, start) = hub();
            hub.handle_turn(start + planned + late, Some(planned), || None);
            assert_eq!(hub.commons.now, Ticks(Ticks::FIRST.0 + counted));
        }
    }
}
