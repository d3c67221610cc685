//! How much each of many may do in a second.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

/// What was not used within this time is not kept, if nothing else is said.
const BURST: Duration = Duration::from_secs(1);
/// Of how many it is remembered what they did a moment ago. Beyond, the one that was listed first is
/// forgotten.
const KNOWN_MAX: usize = 65_536;

/// See the module.
#[derive(Debug)]
pub struct Pace<K> {
    per_second: u32,
    /// What was not used within this time is not kept.
    burst: Duration,
    /// When all that was done would have been, at this pace: of those that are ahead of the time, and some
    /// that no longer are.
    done: HashMap<K, Instant>,
    listed: VecDeque<K>,
}

impl<K: Clone + Eq + Hash> Pace<K> {
    /// So much each may do; 0 counts as 1.
    pub fn new(per_second: u32) -> Self {
        let (per_second, burst) = (per_second.max(1), BURST);
        Self { per_second, burst, done: HashMap::new(), listed: VecDeque::new() }
    }

    /// The same, and so much at once by one that has done nothing for long enough.
    pub fn with_burst(per_second: u32, at_once: u32) -> Self {
        let pace = Self::new(per_second);
        Self { burst: pace.time_of(at_once.max(1)), ..pace }
    }

    /// How long it takes to do so much.
    fn time_of(&self, amount: u32) -> Duration {
        Duration::from_secs(1) * amount / self.per_second
    }

    /// Notes that somebody does so much, or tells after how long it may.
    pub fn take(&mut self, who: &K, amount: u32, now: Instant) -> Result<(), Duration> {
        self.forget(now);
        let (burst, takes) = (self.burst, self.time_of(amount));
        let known = self.done.get_mut(who);
        let done = known.as_deref().copied().unwrap_or(now).max(now);
        // What takes longer than that may be done when nothing is left, and is waited for afterwards.
        let ahead = done + takes.min(burst) - now;
        if ahead > burst {
            return Err(ahead - burst);
        }
        let done = done + takes;
        match known {
            Some(known) => *known = done,
            None => {
                self.done.insert(who.clone(), done);
                self.listed.push_back(who.clone());
            }
        }
        Ok(())
    }

    /// How long somebody has to wait before it may do anything.
    pub fn waits(&self, who: &K, now: Instant) -> Option<Duration> {
        let ahead = self.done.get(who)?.checked_duration_since(now)? + self.time_of(1);
        ahead.checked_sub(self.burst).filter(|wait| !wait.is_zero())
    }

    /// Forgets those that are behind the time: two for each that comes.
    fn forget(&mut self, now: Instant) {
        for _ in 0..2 {
            let Some(first) = self.listed.front() else { return };
            let is_ahead = self.done.get(first).is_some_and(|done| *done > now);
            if is_ahead && self.listed.len() <= KNOWN_MAX {
                return;
            }
            if let Some(first) = self.listed.pop_front() {
                self.done.remove(&first);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn each_may_do_so_much_in_a_second() {
        let (mut pace, start) = (Pace::new(4), start());
        for _ in 0..4 {
            assert_eq!(pace.waits(&"ada", start), None);
            assert_eq!(pace.take(&"ada", 1, start), Ok(()));
        }
        let wait = pace.take(&"ada", 1, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(250));
        assert_eq!(pace.waits(&"ada", start), Some(wait));
        assert_eq!(pace.waits(&"ada", start + wait), None);
        assert_eq!(pace.waits(&"ada", start + Duration::from_secs(9)), None);
        assert_eq!(
            pace.take(&"ada", 1, start + wait - Duration::from_nanos(1)),
            Err(Duration::from_nanos(1))
        );
        assert_eq!(pace.take(&"ben", 1, start), Ok(()));
        assert_eq!(pace.take(&"ada", 1, start + wait), Ok(()));
        let wait = pace.take(&"ada", 1, start + wait).unwrap_err();
        assert_eq!(wait, Duration::from_millis(250));
        let later = start + Duration::from_secs(60);
        let taken = (0..9).filter(|_| pace.take(&"ada", 1, later).is_ok()).count();
        assert_eq!(taken, 4, "what was not used is not kept");
    }

    #[test]
    fn more_may_be_done_at_once_than_in_a_second() {
        let (mut pace, start) = (Pace::with_burst(50, 128), start());
        for (seconds, at_once) in [(0, 128), (1, 50), (60, 128)] {
            let now = start + Duration::from_secs(seconds);
            let taken = (0..200).filter(|_| pace.take(&(), 1, now).is_ok()).count();
            assert_eq!(taken, at_once, "after {seconds} s");
        }
    }

    #[test]
    fn what_is_large_is_waited_for_afterwards() {
        let (mut pace, start) = (Pace::new(1000), start());
        assert_eq!(pace.take(&(), 60_000, start), Ok(()));
        let wait = pace.take(&(), 1, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(59_001));
        assert_eq!(pace.take(&(), 1, start + wait), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let (mut pace, start) = (Pace::new(1), start());
        for who in 0..2 * KNOWN_MAX {
            assert_eq!(pace.take(&who, 1, start), Ok(()));
            assert!(pace.listed.len() <= KNOWN_MAX + 1);
        }
        assert_eq!(pace.done.len(), pace.listed.len());
        for second in 2..2 + KNOWN_MAX {
            assert_eq!(pace.take(&0, 1, start + Duration::from_secs(second as u64)), Ok(()));
        }
        assert_eq!((pace.done.len(), pace.listed.len()), (1, 1));
    }
}
