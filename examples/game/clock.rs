//! When ticks are due, and what those of the last minute were like (`GET /ticks`).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub const TICK: Duration = Duration::from_nanos(1_000_000_000 / 30);
/// So many late ticks are made up for, one in a turn of the loop; those before them are skipped.
/// Ticks are numbered as they are made: players see a game that stood still, and no gap.
pub const LATE_TICKS_MAX: u32 = 3;
const KEPT: usize = 1800;

/// The next tick is due by when the last one was due, not by when it was made: lateness does not
/// add up.
pub struct Clock {
    began: Instant,
    pub due: Instant,
    pub made: u32,
    pub skipped: u32,
    made_at: Instant,
    /// How late each tick was, and how long after that its snapshot had been written to all.
    late: VecDeque<Duration>,
    took: VecDeque<Duration>,
}

impl Clock {
    pub fn new(now: Instant) -> Self {
        let (late, took) = (VecDeque::new(), VecDeque::new());
        Self { began: now, due: now, made: 0, skipped: 0, made_at: now, late, took }
    }

    pub fn ticks_due(&self, now: Instant) -> u32 {
        let late = now.checked_duration_since(self.due);
        late.map_or(0, |late| 1 + (late.as_nanos() / TICK.as_nanos()) as u32)
    }

    /// A tick is made now.
    pub fn advance(&mut self, now: Instant) {
        keep(&mut self.late, now.saturating_duration_since(self.due));
        (self.made, self.made_at) = (self.made + 1, now);
        self.due += TICK;
        let skip = self.ticks_due(now).saturating_sub(LATE_TICKS_MAX);
        self.due += TICK * skip;
        self.skipped += skip;
    }

    /// What the tick published has been written.
    pub fn written(&mut self, now: Instant) {
        keep(&mut self.took, now - self.made_at);
    }

    pub fn report(&self, now: Instant) -> String {
        let due = (now - self.began).as_nanos() / TICK.as_nanos() + 1;
        let (made, skipped, left) = (self.made, self.skipped, self.ticks_due(now));
        let mut lines =
            format!("ticks due: {due} = {made} made + {skipped} skipped + {left} late\n");
        for (what, times) in [("begun after", &self.late), ("written after", &self.took)] {
            let [p50, p99, max] = [50, 99, 100].map(|percent| millis(times.iter(), percent));
            lines += &format!("ticks {what}: p50 {p50:.3} ms, p99 {p99:.3} ms, max {max:.3} ms\n");
        }
        // Of the first of these seconds and of the last: the difference is what adds up.
        let first = millis(self.late.iter().take(30), 50);
        let drift = millis(self.late.iter().rev().take(30), 50) - first;
        lines + &format!("drift over {} ticks: {drift:.3} ms\n", self.late.len())
    }
}

fn keep(times: &mut VecDeque<Duration>, time: Duration) {
    if times.len() == KEPT {
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
