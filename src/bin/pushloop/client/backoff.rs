//! How long to wait before the next attempt.

use std::{
    hash::{BuildHasher, RandomState},
    thread,
    time::Duration,
};

use super::say;

/// The longest wait is twice as long.
const STEP_MAX: Duration = Duration::from_secs(15);

/// Waits that get longer from attempt to attempt, each somewhere between its step and twice that: the
/// clients that one server has lost do not come back all at once.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    step: Duration,
}

impl Backoff {
    pub fn new(first: Duration) -> Self {
        Self { first, step: first }
    }

    /// What was reached works: the next loss is a first one.
    pub fn reset(&mut self) {
        self.step = self.first;
    }

    /// Says why there is something to wait for, and waits.
    pub fn wait(&mut self, why: &str) {
        let random = RandomState::new().hash_one(0);
        let wait = self.next(random as f64 / u64::MAX as f64);
        say(&format!("{why}; the next attempt is in {wait:.0?}"));
        thread::sleep(wait);
    }

    /// The next wait, of which `random`, 0 to 1, chooses a part.
    fn next(&mut self, random: f64) -> Duration {
        let step = self.step.min(STEP_MAX);
        self.step = step * 2;
        step + step.mul_f64(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(500));
        for _ in 0..2 {
            for seconds in [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0] {
                assert_eq!(backoff.next(0.0), Duration::from_secs_f64(seconds));
            }
            assert_eq!(backoff.next(1.0), Duration::from_secs(30));
            backoff.reset();
            assert_eq!(backoff.next(1.0), Duration::from_secs(1));
            backoff.reset();
        }
    }
}
