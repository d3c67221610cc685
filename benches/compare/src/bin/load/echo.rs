//! `echo`: each message comes back to its sender.

use std::io;

use crate::{
    answers::{Came, Periodic},
    drive::{self, Net, Rules},
    latency::Stamps,
    messages::{self, Requests},
    open::Opened,
    options::Options,
    pace::Pace,
    report::Report,
};

pub fn run(options: &Options, opened: Vec<Opened>) -> io::Result<Report> {
    let (payload, connections) = (options.payload(), opened.len());
    let messages = messages::period(payload, options.in_flight);
    let requests = Requests::binary(payload, messages);
    let rules = Echo::new(options, connections);
    let phases: Vec<_> = (0..connections).map(|at| requests.phase(at)).collect();
    let each = phases.iter().copied();
    let answers = if options.raw {
        Periodic::same(&requests, each)
    } else {
        Periodic::unmasked(payload, messages, each)
    };
    drive::run(options, opened, requests, &phases, answers, rules)
}

/// Whose message came back may send the next one; or all send on a schedule.
pub struct Echo {
    in_flight: u64,
    pace: Option<Pace>,
    stamps: Vec<Stamps>,
    stopped: bool,
}

impl Echo {
    pub fn new(options: &Options, connections: usize) -> Self {
        Self {
            in_flight: options.in_flight as u64,
            pace: options.rate.map(|rate| Pace::new(rate, connections)),
            stamps: vec![Stamps::default(); connections],
            stopped: false,
        }
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
        match &mut self.pace {
            Some(pace) => pace.answered(at, came.own, now, &mut net.latencies),
            None => {
                self.stamps[at].answered(came.own, now, &mut net.latencies);
                if !self.stopped {
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

    fn due(&self, at: usize, net: &Net) -> u64 {
        net.links[at].asked
    }
}
