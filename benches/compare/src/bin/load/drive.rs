//! The loop of `echo` and `fan`: whatever comes is judged, and what may be sent then is sent.
//!
//! It asks for readiness again and again and does not sleep, so that no answer waits for this
//! process to wake up. Who may send what and when is up to the [`Rules`], what is right up to the
//! [`Answers`]. A run warms up, is measured, and is drained: no more is sent, and every message that
//! is still under way has to come.

use std::{
    io::{self, ErrorKind},
    rc::Rc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{
    answers::{Answers, Came},
    latency::Latencies,
    link::Link,
    messages::Requests,
    open::Opened,
    options::Options,
    process,
    report::{Progress, Report},
};

/// How long nothing may come while messages are still to come, or if a connection is lost already;
/// how long all of that may take; and how long it is watched after it that nothing comes twice.
const SILENCE_NS: u64 = 4_000_000_000;
const SILENCE_LOST_NS: u64 = 500_000_000;
const DRAIN_NS: u64 = 60_000_000_000;
const AFTER_NS: u64 = 50_000_000;
const RECEIVE_BYTES: usize = 256 * 1024;
/// Beside a frame, for what came with the answer to the handshake.
const HEAD_ROOM_MIN: usize = 8 * 1024;
/// More than this of one frame is compared before it is sent again: the clock is read twice.
const LONG_READ_BYTES: usize = 8 * 1024;
const FAULTS_SHOWN: u64 = 10;
/// With `--sleep`: how long at the most, so that the run ends when it should.
const NAP: Duration = Duration::from_millis(5);

/// All connections, and what they have in common.
#[derive(Debug)]
pub struct Net {
    pub links: Vec<Link>,
    pub latencies: Latencies,
}

impl Net {
    /// Lets connection `at` send so many further messages, and sends them.
    #[inline]
    pub fn send(&mut self, at: usize, messages: u64) {
        self.links[at].allow(messages);
        self.links[at].flush();
    }
}

/// Who may send. Times are in nanoseconds since the loop began.
pub trait Rules {
    fn begin(&mut self, net: &mut Net, now: u64);

    /// Messages came at `now`; what is sent because of them is sent at `then`.
    fn came(&mut self, at: usize, came: Came, net: &mut Net, now: u64, then: u64);

    /// Called in each turn while messages may be sent.
    fn tick(&mut self, net: &mut Net, now: u64);

    /// No further message is to be sent.
    fn stop(&mut self);

    /// A connection is gone.
    fn lost(&mut self, at: usize, net: &mut Net, now: u64);

    /// How many messages a connection has to have got when all have come.
    fn due(&self, net: &Net) -> Due;
}

/// How many messages are due on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// As many as it sent itself.
    Own,
    /// So many on each.
    Each(u64),
}

impl Due {
    fn on(self, link: &Link) -> u64 {
        match self {
            Due::Own => link.asked,
            Due::Each(messages) => messages,
        }
    }
}

struct Drive<'o, A, R> {
    options: &'o Options,
    poll: Poll,
    clock: Instant,
    net: Net,
    answers: A,
    rules: R,
    /// Room for the beginning of a frame, and behind it for what is read.
    buffer: Vec<u8>,
    head_room: usize,
    events: Events,
    ready: Vec<(usize, bool)>,
    messages: u64,
    faults: u64,
}

/// What is measured is the difference between two of these.
#[derive(Clone, Copy)]
struct Mark {
    now: u64,
    messages: u64,
    cpu: Duration,
}

/// Connections that are open, with what each of them sends and which message of that is its first.
pub fn links(
    opened: Vec<Opened>,
    mut requests: impl FnMut(usize) -> (Rc<Requests>, usize),
) -> Vec<Link> {
    let link = |(at, opened): (usize, Opened)| {
        let (requests, phase) = requests(at);
        let mut link = Link::new(TcpStream::from_std(opened.stream), requests, phase);
        link.kept = opened.rest;
        link
    };
    opened.into_iter().enumerate().map(link).collect()
}

/// Runs `rules` over connections that are open.
pub fn run(
    options: &Options,
    mut links: Vec<Link>,
    answers: impl Answers,
    rules: impl Rules,
) -> io::Result<Report> {
    let poll = Poll::new()?;
    for (at, link) in links.iter_mut().enumerate() {
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(link.stream(), Token(at), both)?;
    }
    let head_room = 2 * options.payload() + HEAD_ROOM_MIN;
    let mut drive = Drive {
        options,
        poll,
        clock: Instant::now(),
        net: Net { links, latencies: Latencies::new() },
        answers,
        rules,
        buffer: vec![0; head_room + RECEIVE_BYTES],
        head_room,
        events: Events::with_capacity(1024),
        ready: Vec::new(),
        messages: 0,
        faults: 0,
    };
    drive.run()
}

impl<A: Answers, R: Rules> Drive<'_, A, R> {
    fn run(&mut self) -> io::Result<Report> {
        let mut progress = Progress::new(self.options.quiet);
        let now = self.now();
        let warm = now + self.options.warmup.as_nanos() as u64;
        let end = warm + self.options.seconds.as_nanos() as u64;
        self.rules.begin(&mut self.net, now);
        self.turns_until(warm, &mut progress, "warming up")?;
        self.net.latencies.clear();
        let before = self.mark()?;
        self.turns_until(end, &mut progress, "")?;
        let after = self.mark()?;
        self.rules.stop();
        let unsent = self.net.links.iter_mut().map(Link::stop).sum();
        self.drain()?;
        self.complain_about_missing();
        self.report(before, after, unsent)
    }

    fn drain(&mut self) -> io::Result<()> {
        let silence = if self.faults == 0 { SILENCE_NS } else { SILENCE_LOST_NS };
        let end = self.now() + DRAIN_NS;
        let (mut messages, mut came) = (self.messages, self.now());
        while !self.is_drained() && self.now() < end.min(came + silence) {
            self.turn()?;
            if self.messages > messages {
                (messages, came) = (self.messages, self.now());
            }
        }
        let end = self.now() + AFTER_NS;
        while self.now() < end {
            self.turn()?;
        }
        Ok(())
    }

    fn is_drained(&self) -> bool {
        let due = self.rules.due(&self.net);
        self.net.links.iter().all(|link| link.lost.is_some() || link.received >= due.on(link))
    }

    fn now(&self) -> u64 {
        ns_since(self.clock)
    }

    fn turns_until(&mut self, end: u64, progress: &mut Progress, what: &str) -> io::Result<()> {
        loop {
            let now = self.now();
            progress.tick(now, self.messages, what);
            if now >= end || self.net.links.iter().all(|link| link.lost.is_some()) {
                return Ok(());
            }
            self.rules.tick(&mut self.net, now);
            self.turn()?;
        }
    }

    fn mark(&self) -> io::Result<Mark> {
        let cpu = self.options.pid.map_or(Ok(Duration::ZERO), process::cpu)?;
        Ok(Mark { now: self.now(), messages: self.messages, cpu })
    }

    /// Everything that is ready, once.
    fn turn(&mut self) -> io::Result<()> {
        let on_schedule = self.options.rate.is_some();
        let nap = if self.options.sleep && !on_schedule { NAP } else { Duration::ZERO };
        match self.poll.poll(&mut self.events, Some(nap)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            polled => polled?,
        }
        let events = self.events.iter();
        self.ready.extend(events.map(|event| (event.token().0, event.is_read_closed())));
        for place in 0..self.ready.len() {
            let (at, closed) = self.ready[place];
            self.read(at, closed);
            self.net.links[at].flush();
            if self.net.links[at].lost.is_some() {
                self.forget(at)?;
            }
        }
        self.ready.clear();
        Ok(())
    }

    /// Reads until the kernel has no more; a short read tells.
    fn read(&mut self, at: usize, closed: bool) {
        loop {
            let link = &mut self.net.links[at];
            if link.lost.is_some() {
                return;
            }
            let kept = link.kept.len();
            let begin = self.head_room - kept;
            if kept > 0 {
                self.buffer[begin..self.head_room].copy_from_slice(&link.kept);
            }
            let n = link.read(&mut self.buffer[self.head_room..]);
            if n == 0 {
                return;
            }
            let now = ns_since(self.clock);
            let bytes = &self.buffer[begin..self.head_room + n];
            let came = match self.answers.judge(at, bytes, &mut link.pongs) {
                Ok(came) => came,
                Err(fault) => return link.lose(&fault.to_string()),
            };
            link.kept.clear();
            link.kept.extend_from_slice(&bytes[came.consumed..]);
            if link.kept.len() > self.head_room {
                return link.lose("a frame longer than any that was asked for");
            }
            link.received += came.messages;
            self.messages += came.messages;
            if came.messages > 0 {
                let then = if n < LONG_READ_BYTES { now } else { self.now() };
                self.rules.came(at, came, &mut self.net, now, then);
            }
            if n < RECEIVE_BYTES && !closed {
                return;
            }
        }
    }

    /// A lost connection is an error, and no other is waited for because of it.
    fn forget(&mut self, at: usize) -> io::Result<()> {
        let why = self.net.links[at].lost.clone().unwrap_or_default();
        self.complain(1, &format!("connection {at}: {why}"));
        self.poll.registry().deregister(self.net.links[at].stream())?;
        let now = self.now();
        self.rules.lost(at, &mut self.net, now);
        Ok(())
    }

    fn complain_about_missing(&mut self) {
        let due = self.rules.due(&self.net);
        for at in 0..self.net.links.len() {
            let link = &self.net.links[at];
            let (due, received) = (due.on(link), link.received);
            if link.lost.is_none() && received != due {
                let what = format!("connection {at}: {due} messages were due, {received} came");
                self.complain(due.abs_diff(received), &what);
            }
        }
    }

    fn complain(&mut self, errors: u64, what: &str) {
        if self.faults < FAULTS_SHOWN {
            eprintln!("load: {what}");
        }
        self.faults += errors;
    }

    fn report(&self, before: Mark, after: Mark, unsent: u64) -> io::Result<Report> {
        let mut report = Report::new(self.faults);
        let seconds = (after.now - before.now) as f64 / 1e9;
        let messages = (after.messages - before.messages) as f64;
        report.set("connections", self.net.links.len() as f64);
        report.set("payload", self.options.payload() as f64);
        report.set("messages", messages);
        report.set("seconds", seconds);
        report.set("rate", messages / seconds);
        report.set("messages_total", self.messages as f64);
        report.set_if("unsent", self.options.rate.map(|_| unsent as f64));
        for (name, quantile) in
            [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999), ("max_us", 1.0)]
        {
            report.set_if(name, self.net.latencies.quantile_us(quantile));
        }
        let compressed = self.answers.compressed();
        let share = compressed.map(|compressed| compressed as f64 / self.messages.max(1) as f64);
        report.set_if("compressed_share", share);
        if let Some(pid) = self.options.pid {
            let cpu_us = after.cpu.saturating_sub(before.cpu).as_nanos() as f64 / 1e3;
            report.set("server_cpu_us_per_message", cpu_us / messages.max(1.0));
            report.set("server_cpu_share", cpu_us / 1e6 / seconds);
            let memory = process::memory(pid)?;
            report.set("server_resident_bytes", memory.resident as f64);
            report.set("server_anonymous_bytes", memory.anonymous as f64);
        }
        Ok(report)
    }
}

fn ns_since(begin: Instant) -> u64 {
    begin.elapsed().as_nanos() as u64
}
