//! When a connection may send.

use std::collections::VecDeque;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::{
    answers::Came,
    link::Link,
    options::{Mode, Options},
};

const LONGEST_NS: u64 = 1000 * 1_000_000_000;

#[derive(Debug)]
pub struct Rules {
    in_flight: u64,
    /// Each message comes to all connections, and not only to its sender.
    to_all: bool,
    sends: Sends,
    /// No further message is to be sent.
    pub stopped: bool,
}

#[derive(Debug)]
enum Sends {
    /// Each connection: a further message for each of its own that came back.
    Each,
    /// The first one: a further message for each that has come to all.
    First(Everyone),
    Paced(Box<Pace>),
}

impl Rules {
    pub fn new(options: &Options) -> Self {
        let to_all = options.mode == Mode::Fan;
        let sends = match options.rate {
            Some(rate) => Sends::Paced(Box::new(Pace::new(rate, options.connections))),
            None if to_all && !options.all_publish => {
                Sends::First(Everyone::new(options.connections))
            }
            None => Sends::Each,
        };
        Self { in_flight: options.in_flight, to_all, sends, stopped: false }
    }

    pub fn begin(&mut self, links: &mut [Link], now: u64) {
        match &mut self.sends {
            Sends::Each => links.iter_mut().for_each(|link| link.send(self.in_flight)),
            Sends::First(_) => links[0].send(self.in_flight),
            Sends::Paced(pace) => pace.begin = now,
        }
    }

    /// Messages came at `now` on connection `at`, which has counted them.
    #[inline]
    pub fn came(&mut self, at: usize, came: Came, links: &mut [Link], now: u64) {
        let end = links[at].received;
        let begin = end - came.messages;
        match &mut self.sends {
            Sends::Each if came.own > 0 && !self.stopped => links[at].send(came.own),
            Sends::Each => {}
            Sends::First(everyone) => {
                let messages = everyone.moved(begin, end);
                self.all_got(messages, links);
            }
            Sends::Paced(pace) => pace.answered(at, begin..end, now),
        }
    }

    /// A connection is gone: no other is waited for because of it.
    pub fn lost(&mut self, at: usize, links: &mut [Link]) {
        if let Sends::First(everyone) = &mut self.sends {
            let messages = everyone.left(links[at].received);
            self.all_got(messages, links);
        }
    }

    fn all_got(&self, messages: u64, links: &mut [Link]) {
        if messages > 0 && !self.stopped {
            links[0].send(messages);
        }
    }

    /// Called in each turn while messages may be sent.
    #[inline]
    pub fn tick(&mut self, links: &mut [Link], now: u64) {
        if let Sends::Paced(pace) = &mut self.sends {
            pace.send_due(links, now);
        }
    }

    /// What was found so far was of the warm-up.
    pub fn forget(&mut self) {
        if let Sends::Paced(pace) = &mut self.sends {
            pace.latencies.reset();
        }
    }

    /// How many messages are due on each connection; if not given, as many as it sent itself.
    pub fn due_on_each(&self, links: &[Link]) -> Option<u64> {
        self.to_all.then(|| links.iter().map(|link| link.asked).sum())
    }

    /// What was found beside the rate, in microseconds.
    pub fn report(&self, found: &mut Value) {
        let Sends::Paced(pace) = &self.sends else { return };
        for (name, quantile) in
            [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999), ("max_us", 1.0)]
        {
            found[name] = json!(pace.latencies.value_at_quantile(quantile) as f64 / 1e3);
        }
    }
}

/// How far each connection has come, as a count of connections for each number of messages: the
/// cost of a step does not depend on how many messages it takes.
#[derive(Debug)]
struct Everyone {
    least: u64,
    /// How many connections have got `least` messages, `least + 1`, …
    at: VecDeque<u32>,
}

impl Everyone {
    fn new(connections: usize) -> Self {
        Self { least: 0, at: [connections as u32].into() }
    }

    /// One that had got `from` messages has got `to`; by how many `least` has grown.
    #[inline]
    fn moved(&mut self, from: u64, to: u64) -> u64 {
        let to = (to - self.least) as usize;
        if self.at.len() <= to {
            self.at.resize(to + 1, 0);
        }
        self.at[to] += 1;
        self.left(from)
    }

    /// One that had got `from` messages is not counted any more.
    #[inline]
    fn left(&mut self, from: u64) -> u64 {
        self.at[(from - self.least) as usize] -= 1;
        let before = self.least;
        while self.at.len() > 1 && self.at[0] == 0 {
            self.at.pop_front();
            self.least += 1;
        }
        self.least - before
    }
}

/// A schedule: message `i` of all is due at `begin + i / rate`, on connection `i mod senders`.
///
/// A message's latency counts from when it was due, not from when it was sent: a server that stalls
/// delays those behind, too, and that is not to be hidden ("coordinated omission").
#[derive(Debug)]
struct Pace {
    ns_per_message: f64,
    senders: u64,
    begin: u64,
    sent: u64,
    /// Nanoseconds, to three digits.
    latencies: Histogram<u64>,
}

impl Pace {
    fn new(rate: f64, senders: usize) -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST_NS, 3);
        let latencies = latencies.expect("the bounds are in order, and the digits few");
        Self { ns_per_message: 1e9 / rate, senders: senders as u64, begin: 0, sent: 0, latencies }
    }

    #[inline]
    fn due(&self, message: u64) -> u64 {
        self.begin + (message as f64 * self.ns_per_message) as u64
    }

    /// Sends all that is due; what one connection has missed goes in one piece.
    #[inline]
    fn send_due(&mut self, links: &mut [Link], now: u64) {
        if self.due(self.sent) > now {
            return;
        }
        let end = ((now - self.begin) as f64 / self.ns_per_message) as u64 + 1;
        let new = end - self.sent;
        for turn in 0..new.min(self.senders) {
            let at = (self.sent + turn) % self.senders;
            links[at as usize].send((new - turn).div_ceil(self.senders));
        }
        self.sent = end;
    }

    /// When a sender's message number `message` was due.
    #[inline]
    fn due_of(&self, sender: usize, message: u64) -> u64 {
        self.due(message * self.senders + sender as u64)
    }

    #[inline]
    fn answered(&mut self, sender: usize, messages: std::ops::Range<u64>, now: u64) {
        for message in messages {
            let latency = now.saturating_sub(self.due_of(sender, message));
            self.latencies.saturating_record(latency);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_counts() {
        let mut everyone = Everyone::new(3);
        assert_eq!(everyone.moved(0, 4), 0);
        assert_eq!(everyone.moved(0, 2), 0);
        assert_eq!(everyone.moved(0, 1), 1);
        assert_eq!(everyone.moved(1, 4), 1);
        assert_eq!((everyone.least, everyone.left(2)), (2, 2));
        assert_eq!((everyone.moved(4, 5), everyone.moved(4, 6)), (0, 1));
        assert_eq!((everyone.left(5), everyone.left(6)), (1, 0));
        assert_eq!(everyone.least, 6);
    }

    #[test]
    fn senders_take_turns_on_the_schedule_and_latencies_count_from_it() {
        let mut pace = Pace::new(1e6, 4);
        pace.begin = 5_000;
        let dues = [(0, 0), (1, 0), (3, 0), (0, 1), (2, 10)].map(|(at, n)| pace.due_of(at, n));
        assert_eq!(dues, [5_000, 6_000, 8_000, 9_000, 47_000]);
        pace.answered(0, 0..2, 9_100);
        assert_eq!((pace.latencies.min(), pace.latencies.max()), (100, 4_100 / 4 * 4 + 3));
    }
}
