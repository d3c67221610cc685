//! When ticks are due, and what those of the last minute were like (`GET /ticks`).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use pushloop::{Counters, Hub, Request, RequestId, Response};

/// So many late ticks are made up for, one in a turn of the loop; those before them are skipped.
/// Ticks are numbered as they are made: who looks on sees a world that stood still, and no gap.
pub const LATE_TICKS_MAX: u32 = 3;
/// The keys of its timers.
const TICK: u64 = 0;
const WRITTEN: u64 = 1;

/// The next tick is due by when the last one was due, not by when it was made: lateness does not
/// add up.
pub struct Clock {
    tick: Duration,
    kept: usize,
    began: Instant,
    pub due: Instant,
    pub made: u32,
    pub skipped: u32,
    made_at: Instant,
    /// How late each tick was, and how long after that what it published had been written to all.
    late: VecDeque<Duration>,
    took: VecDeque<Duration>,
}

impl Clock {
    pub fn new(now: Instant, ticks_per_second: u32) -> Self {
        Self {
            tick: Duration::from_secs(1) / ticks_per_second,
            kept: 60 * ticks_per_second as usize,
            began: now,
            due: now,
            made: 0,
            skipped: 0,
            made_at: now,
            late: VecDeque::new(),
            took: VecDeque::new(),
        }
    }

    /// The timers of the loop are its from now on; the first tick is due at once.
    pub fn start(hub: &mut Hub, ticks_per_second: u32) -> Self {
        hub.set_timer(hub.now(), TICK);
        Self::new(hub.now(), ticks_per_second)
    }

    /// Whether the timer that went off is that of a tick, which is to be made now. Sets the next.
    pub fn ticks(&mut self, hub: &mut Hub, timer: u64) -> bool {
        if timer == TICK {
            self.advance(hub.now());
            hub.set_timer(self.due, TICK);
            // What is due already comes after the next writes: all that the tick publishes, or to as many
            // as a turn writes to.
            hub.set_timer(hub.now(), WRITTEN);
        } else {
            keep(&mut self.took, hub.now() - self.made_at, self.kept);
        }
        timer == TICK
    }

    pub fn ticks_due(&self, now: Instant) -> u32 {
        let late = now.checked_duration_since(self.due);
        late.map_or(0, |late| 1 + (late.as_nanos() / self.tick.as_nanos()) as u32)
    }

    pub fn advance(&mut self, now: Instant) {
        keep(&mut self.late, now.saturating_duration_since(self.due), self.kept);
        (self.made, self.made_at) = (self.made + 1, now);
        self.due += self.tick;
        let skip = self.ticks_due(now).saturating_sub(LATE_TICKS_MAX);
        self.due += self.tick * skip;
        self.skipped += skip;
    }

    /// Answers `GET /ticks`. False if something else is asked for.
    pub fn answer(&self, hub: &mut Hub, id: RequestId, request: &Request) -> bool {
        let asked = request.path() == "/ticks" && !request.is_websocket();
        if asked {
            // The peer may be gone by now, which needs no answer.
            let _ = hub.respond(id, Response::text(200, self.report(hub)));
        }
        asked
    }

    fn report(&self, hub: &Hub) -> String {
        let now = hub.now();
        let due = (now - self.began).as_nanos() / self.tick.as_nanos() + 1;
        let (made, skipped, left) = (self.made, self.skipped, self.ticks_due(now));
        let mut lines =
            format!("ticks due: {due} = {made} made + {skipped} skipped + {left} late\n");
        for (what, times) in [("begun after", &self.late), ("written after", &self.took)] {
            let [p50, p99, max] = [50, 99, 100].map(|percent| millis(times.iter(), percent));
            lines += &format!("ticks {what}: p50 {p50:.3} ms, p99 {p99:.3} ms, max {max:.3} ms\n");
        }
        // Of the first of these seconds and of the last: the difference is what adds up.
        let second = self.kept / 60;
        let first = millis(self.late.iter().take(second), 50);
        let drift = millis(self.late.iter().rev().take(second), 50) - first;
        lines += &format!("drift over {} ticks: {drift:.3} ms\n", self.late.len());
        let Counters { deliveries, messages_conflated, .. } = hub.counters();
        lines + &format!("messages: {deliveries}, {messages_conflated} gave way to newer ones\n")
    }
}

fn keep(times: &mut VecDeque<Duration>, time: Duration, kept: usize) {
    if times.len() == kept {
        times.pop_front();
    }
    times.push_back(time);
}

/// The time that so many of a hundred do not exceed, in milliseconds.
fn millis<'a>(times: impl Iterator<Item = &'a Duration>, percent: usize) -> f64 {
    let mut times: Vec<_> = times.collect();
    times.sort();
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
