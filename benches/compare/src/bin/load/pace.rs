//! A schedule: message `i` of all is due at `begin + i / rate`, on connection `i mod senders`.
//!
//! A message's latency counts from when it was due, not from when it was sent: a server that stalls
//! delays those behind, too, and that is not to be hidden ("coordinated omission").

use crate::{drive::Net, latency::Latencies};

#[derive(Debug)]
pub struct Pace {
    ns_per_message: f64,
    senders: usize,
    begin: u64,
    sent: u64,
}

impl Pace {
    pub fn new(rate: f64, senders: usize) -> Self {
        Self { ns_per_message: 1e9 / rate, senders, begin: 0, sent: 0 }
    }

    pub fn begin(&mut self, now: u64) {
        self.begin = now;
    }

    #[inline]
    fn due(&self, message: u64) -> u64 {
        self.begin + (message as f64 * self.ns_per_message) as u64
    }

    /// Sends all that is due; what one connection has missed goes in one piece.
    #[inline]
    pub fn send_due(&mut self, net: &mut Net, now: u64) {
        if self.due(self.sent) > now {
            return;
        }
        let end = ((now - self.begin) as f64 / self.ns_per_message) as u64 + 1;
        let (new, senders) = (end - self.sent, self.senders as u64);
        for turn in 0..new.min(senders) {
            let at = (self.sent + turn) % senders;
            net.send(at as usize, (new - turn).div_ceil(senders));
        }
        self.sent = end;
    }

    /// When a sender's message number `message` was due.
    #[inline]
    pub fn due_of(&self, sender: usize, message: u64) -> u64 {
        self.due(message * self.senders as u64 + sender as u64)
    }

    /// Messages of a sender came back, from number `first` on.
    #[inline]
    pub fn answered(
        &self,
        sender: usize,
        first: u64,
        messages: u64,
        now: u64,
        latencies: &mut Latencies,
    ) {
        for message in first..first + messages {
            latencies.record(now.saturating_sub(self.due_of(sender, message)), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_take_turns_on_the_schedule() {
        let mut pace = Pace::new(1e6, 4);
        pace.begin(5_000);
        let dues = [(0, 0), (1, 0), (3, 0), (0, 1), (2, 10)].map(|(at, n)| pace.due_of(at, n));
        assert_eq!(dues, [5_000, 6_000, 8_000, 9_000, 47_000]);
    }
}
