//! `fan`: what is published comes to every connection, the publisher's included.
//!
//! With one publisher it is connection 0, and a publication is under way until the last of all has
//! got it. With all, each may have so many of its own under way, until they have come back to itself;
//! then latencies are those of the own messages.

use std::{collections::VecDeque, io, rc::Rc, thread, time::Duration};

use crate::{
    answers::{Came, Periodic},
    crowd::{self, Crowd},
    drive::{self, Due, Net, Rules},
    echo::Echo,
    inflated::{self, Inflated},
    latency::Latencies,
    messages::{self, Requests},
    open::{self, Opened},
    options::Options,
    pace::Pace,
    report::Report,
};

/// Some servers subscribe a little after they have answered.
const SUBSCRIBED_AFTER: Duration = Duration::from_millis(200);

pub fn run(options: &Options, opened: Vec<Opened>) -> io::Result<Report> {
    thread::sleep(SUBSCRIBED_AFTER);
    let (payload, connections) = (options.payload(), opened.len());
    if options.all_publish {
        let messages = crowd::period(payload, connections, options.in_flight);
        let answers = Crowd::new(connections, payload, messages, options.raw);
        let links = drive::links(opened, |at| (Rc::new(crowd::requests(at, payload, messages)), 0));
        return drive::run(options, links, answers, Echo::to_everyone(options, connections));
    }
    let messages = messages::period(payload, options.in_flight);
    let agreed = open::agreed_on_all(&opened)?;
    let requests = Rc::new(if options.deflate {
        inflated::requests(payload, messages, agreed)
    } else {
        Requests::binary(payload, messages)
    });
    let rules = Fan::new(options, connections);
    let phases = (0..connections).map(|_| 0);
    let links = drive::links(opened, |_| (Rc::clone(&requests), 0));
    if options.deflate {
        let answers = Inflated::new(payload, messages, agreed, phases);
        drive::run(options, links, answers, rules)
    } else {
        let answers = Periodic::new(options.raw, payload, &requests, phases);
        drive::run(options, links, answers, rules)
    }
}

/// One publisher.
pub struct Fan {
    in_flight: u64,
    pace: Option<Pace>,
    everyone: Everyone,
    stamps: SharedStamps,
    stopped: bool,
}

impl Fan {
    fn new(options: &Options, connections: usize) -> Self {
        Self {
            in_flight: options.in_flight as u64,
            pace: options.rate.map(|rate| Pace::new(rate, 1)),
            everyone: Everyone::new(connections),
            stamps: SharedStamps::new(connections),
            stopped: false,
        }
    }

    fn publish(&mut self, messages: u64, net: &mut Net, now: u64) {
        self.stamps.sent(net.links[0].asked + messages, now);
        net.send(0, messages);
    }

    /// All have got so many further ones.
    fn all_got(&mut self, messages: u64, net: &mut Net, now: u64) {
        if messages > 0 && self.pace.is_none() {
            self.stamps.forget(self.everyone.least);
            if !self.stopped {
                self.publish(messages, net, now);
            }
        }
    }
}

impl Rules for Fan {
    fn begin(&mut self, net: &mut Net, now: u64) {
        match &mut self.pace {
            Some(pace) => pace.begin(now),
            None => self.publish(self.in_flight, net, now),
        }
    }

    #[inline]
    fn came(&mut self, at: usize, came: Came, net: &mut Net, now: u64, then: u64) {
        let end = net.links[at].received;
        let begin = end - came.messages;
        match &self.pace {
            Some(pace) => pace.answered(0, begin, came.messages, now, &mut net.latencies),
            None => self.stamps.answered(at, begin, end, now, &mut net.latencies),
        }
        let messages = self.everyone.moved(begin, end);
        self.all_got(messages, net, then);
    }

    #[inline]
    fn tick(&mut self, net: &mut Net, now: u64) {
        if let Some(pace) = &mut self.pace {
            pace.send_due(net, now);
        }
    }

    fn stop(&mut self) {
        self.stopped = true;
    }

    fn lost(&mut self, at: usize, net: &mut Net, now: u64) {
        let messages = self.everyone.left(net.links[at].received);
        self.all_got(messages, net, now);
    }

    fn due(&self, net: &Net) -> Due {
        Due::Each(net.links[0].asked)
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

/// When the one publisher sent what: one list for all, and how far in it each connection is.
#[derive(Debug)]
struct SharedStamps {
    /// (messages sent so far, when)
    sent: VecDeque<(u64, u64)>,
    /// How many were before the first of these.
    forgotten: usize,
    place: Vec<usize>,
}

impl SharedStamps {
    fn new(connections: usize) -> Self {
        Self { sent: VecDeque::new(), forgotten: 0, place: vec![0; connections] }
    }

    fn sent(&mut self, so_far: u64, now: u64) {
        self.sent.push_back((so_far, now));
    }

    /// Connection `at` got the messages from `begin` to `end`.
    #[inline]
    fn answered(&mut self, at: usize, begin: u64, end: u64, now: u64, latencies: &mut Latencies) {
        let (mut place, mut done) = (self.place[at], begin);
        while done < end {
            let Some(&(so_far, when)) = self.sent.get(place - self.forgotten) else { break };
            latencies.record(now.saturating_sub(when), so_far.min(end) - done);
            done = so_far.min(end);
            if so_far <= end {
                place += 1;
            }
        }
        self.place[at] = place;
    }

    /// Everyone has got so many messages.
    fn forget(&mut self, messages: u64) {
        while self.sent.front().is_some_and(|(so_far, _)| *so_far <= messages) {
            self.sent.pop_front();
            self.forgotten += 1;
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
    fn each_connection_goes_along_the_times_for_itself() {
        let (mut stamps, mut latencies) = (SharedStamps::new(2), Latencies::new());
        stamps.sent(4, 100);
        stamps.sent(6, 200);
        stamps.answered(0, 0, 5, 300, &mut latencies);
        assert_eq!(latencies.counts(), [(100, 1), (200, 4)]);
        latencies.clear();
        stamps.answered(1, 0, 4, 400, &mut latencies);
        stamps.forget(4);
        assert_eq!(stamps.sent, [(6, 200)]);
        stamps.answered(1, 4, 6, 500, &mut latencies);
        stamps.answered(0, 5, 6, 600, &mut latencies);
        assert_eq!(latencies.counts(), [(300, 6), (400, 1)]);
        stamps.forget(6);
        assert!(stamps.sent.is_empty());
    }
}
