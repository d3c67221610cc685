//! `echo`: each message comes back to its sender.

use std::{io, rc::Rc};

use crate::{
    answers::{Came, Periodic},
    drive::{self, Due, Net, Rules},
    inflated::{self, Inflated},
    latency::Stamps,
    messages::{self, Requests},
    open::{self, Opened},
    options::Options,
    pace::Pace,
    report::Report,
};

pub fn run(options: &Options, opened: Vec<Opened>) -> io::Result<Report> {
    let (payload, connections) = (options.payload(), opened.len());
    let messages = messages::period(payload, options.in_flight);
    let agreed = open::agreed_on_all(&opened)?;
    let requests = Rc::new(if options.deflate {
        inflated::requests(payload, messages, agreed)
    } else {
        Requests::binary(payload, messages)
    });
    let rules = Echo::new(options, connections);
    let phases = (0..connections).map(|at| requests.phase(at));
    let links = drive::links(opened, |at| (Rc::clone(&requests), requests.phase(at)));
    if options.deflate {
        let answers = Inflated::new(payload, messages, agreed, phases);
        drive::run(options, links, answers, rules)
    } else {
        let answers = Periodic::new(options.raw, payload, &requests, phases);
        drive::run(options, links, answers, rules)
    }
}

/// Whose own message came back may send the next one; or all send on a schedule.
pub struct Echo {
    in_flight: u64,
    pace: Option<Pace>,
    stamps: Vec<Stamps>,
    /// Messages that a connection sent and that came back to it.
    own: Vec<u64>,
    to_everyone: bool,
    stopped: bool,
}

impl Echo {
    pub fn new(options: &Options, connections: usize) -> Self {
        Self {
            in_flight: options.in_flight as u64,
            pace: options.rate.map(|rate| Pace::new(rate, connections)),
            stamps: vec![Stamps::default(); connections],
            own: vec![0; connections],
            to_everyone: false,
            stopped: false,
        }
    }

    /// Each message comes to all connections.
    pub fn to_everyone(options: &Options, connections: usize) -> Self {
        Self { to_everyone: true, ..Self::new(options, connections) }
    }

    #[inline]
    fn send(&mut self, at: usize, messages: u64, net: &mut Net, now: u64) {
        self.stamps[at].sent(net.links[at].asked + messages, now);
        net.send(at, messages);
    }
}

impl Rules for Echo {
    fn begin(&mut self, net: &mut Net, now: u64) {
        match &mut self.pace {
            Some(pace) => pace.begin(now),
            None => (0..net.links.len()).for_each(|at| self.send(at, self.in_flight, net, now)),
        }
    }

    #[inline]
    fn came(&mut self, at: usize, came: Came, net: &mut Net, now: u64, then: u64) {
        match &self.pace {
            Some(pace) => {
                pace.answered(at, self.own[at], came.own, now, &mut net.latencies);
                self.own[at] += came.own;
            }
            None => {
                self.stamps[at].answered(came.own, now, &mut net.latencies);
                if !self.stopped && came.own > 0 {
                    self.send(at, came.own, net, then);
                }
            }
        }
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

    fn lost(&mut self, _: usize, _: &mut Net, _: u64) {}

    fn due(&self, net: &Net) -> Due {
        if self.to_everyone {
            Due::Each(net.links.iter().map(|link| link.asked).sum())
        } else {
            Due::Own
        }
    }
}
