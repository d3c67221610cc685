//! `idle`: what an open connection costs the server in memory while nothing happens.
//!
//! One connection is opened and ended before anything is counted, so that what a server sets up once
//! is not shared out. With `--payload` each connection has a message echoed, one after the other, and
//! what is kept of that counts. Pings are answered meanwhile. A server that is far below its limits
//! may have tables with room to grow: more connections give a truer number.

use std::{
    io,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    answers::{Came, Periodic},
    drive::{self, Due, Net, Rules},
    messages::{self, Requests},
    open,
    options::Options,
    process,
    report::Report,
};

/// A server frees a connection a little after it ended.
const FREED_AFTER: Duration = Duration::from_millis(300);

pub fn run(options: &Options, pid: u32) -> io::Result<Report> {
    let requests =
        Rc::new(Requests::binary(options.payload(), messages::period(options.payload(), 1)));
    let hold = |options: &Options| -> io::Result<(Report, Duration)> {
        let begin = Instant::now();
        let opened = (0..options.connections).map(|at| open::open(options, at));
        let opened = opened.collect::<io::Result<Vec<_>>>()?;
        let took = begin.elapsed();
        let phases = opened.iter().map(|_| 0);
        let answers = Periodic::new(options.raw, options.payload(), &requests, phases);
        let rules = Idle { each_sends: options.payload.is_some() };
        let links = drive::links(opened, |_| (Rc::clone(&requests), 0));
        Ok((drive::run(options, links, answers, rules)?, took))
    };
    let moment = Duration::from_millis(100);
    hold(&Options { connections: 1, seconds: moment, warmup: moment, ..options.clone() })?;
    thread::sleep(FREED_AFTER);
    let before = process::memory(pid)?;
    let (held, took) = hold(options)?;
    let after = held.get("server_anonymous_bytes").unwrap_or_default();
    let connections = options.connections as f64;
    let mut report = Report::new(held.errors);
    report.set("connections", connections);
    report.set_if("payload", options.payload.map(|payload| payload as f64));
    report.set("connections_per_second", connections / took.as_secs_f64());
    report.set("server_anonymous_bytes", after);
    report.set("server_bytes_per_connection", (after - before.anonymous as f64) / connections);
    Ok(report)
}

/// Nobody sends, or everybody once.
struct Idle {
    each_sends: bool,
}

impl Rules for Idle {
    fn begin(&mut self, net: &mut Net, _: u64) {
        if self.each_sends {
            net.send(0, 1);
        }
    }

    fn came(&mut self, at: usize, _: Came, net: &mut Net, _: u64, _: u64) {
        if self.each_sends && at + 1 < net.links.len() {
            net.send(at + 1, 1);
        }
    }

    fn tick(&mut self, _: &mut Net, _: u64) {}

    /// The last ones of a long row may still be to come: they have to.
    fn stop(&mut self) {}

    fn lost(&mut self, _: usize, _: &mut Net, _: u64) {}

    fn due(&self, _: &Net) -> Due {
        Due::Each(self.each_sends.into())
    }
}
