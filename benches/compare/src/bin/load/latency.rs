//! How long answers took.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

const LONGEST_NS: u64 = 1000 * 1_000_000_000;

/// Nanoseconds, to three digits.
#[derive(Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Latencies {
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, 3);
        Self { histogram: histogram.expect("the bounds are in order, and the digits few") }
    }

    #[inline]
    pub fn record(&mut self, ns: u64, messages: u64) {
        self.histogram.saturating_record_n(ns, messages);
    }

    pub fn clear(&mut self) {
        self.histogram.reset();
    }

    /// In microseconds; `None` if nothing was recorded.
    pub fn quantile_us(&self, quantile: f64) -> Option<f64> {
        let some = !self.histogram.is_empty();
        some.then(|| self.histogram.value_at_quantile(quantile) as f64 / 1e3)
    }

    /// What was recorded, shortest first, and how often.
    #[cfg(test)]
    pub fn counts(&self) -> Vec<(u64, u64)> {
        let recorded = self.histogram.iter_recorded();
        recorded.map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
    }
}

/// When the messages of one connection were sent, of those that are under way: a time for each
/// time that something was sent.
#[derive(Clone, Debug, Default)]
pub struct Stamps {
    /// (messages sent so far, when)
    sent: VecDeque<(u64, u64)>,
    answered: u64,
}

impl Stamps {
    #[inline]
    pub fn sent(&mut self, so_far: u64, now: u64) {
        self.sent.push_back((so_far, now));
    }

    #[inline]
    pub fn answered(&mut self, messages: u64, now: u64, latencies: &mut Latencies) {
        let end = self.answered + messages;
        while self.answered < end {
            let Some(&(so_far, when)) = self.sent.front() else { break };
            let these = so_far.min(end) - self.answered;
            latencies.record(now.saturating_sub(when), these);
            self.answered += these;
            if so_far <= end {
                self.sent.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_counts_from_when_it_was_sent() {
        let (mut stamps, mut latencies) = (Stamps::default(), Latencies::new());
        stamps.sent(2, 100);
        stamps.sent(3, 200);
        stamps.answered(1, 1_100, &mut latencies);
        stamps.answered(2, 1_200, &mut latencies);
        assert_eq!(latencies.counts(), [(1_000, 2), (1_100, 1)]);
        assert!(stamps.sent.is_empty());
    }
}
