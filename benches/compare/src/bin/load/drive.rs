//! The loop of `echo` and `fan`: whatever comes is judged, and what may be sent then is sent.
//!
//! It asks for readiness again and again and does not sleep, so that no answer waits for this
//! process to wake up. When a connection may send is up to the [`Rules`], what is right up to the
//! [`Answers`]. A run warms up, is measured, and is drained: no more is sent, and every message that
//! is still under way has to come.

use std::{
    io::{self, ErrorKind},
    os::fd::AsRawFd,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use serde_json::Value;

use crate::{
    Faults,
    answers::{Answers, Periodic},
    crowd::{self, Crowd},
    inflated::{self, Inflated},
    link::Link,
    messages::{self, Requests},
    open,
    options::{Mode, Options},
    process::Mark,
    rules::Rules,
};

/// Some servers subscribe a little after they have answered.
const SUBSCRIBED_AFTER: Duration = Duration::from_millis(200);
/// How long nothing may come while messages are still to come, or if a connection is lost already;
/// how long all of that may take; and how long it is watched after it that nothing comes twice.
const SILENCE: Duration = Duration::from_secs(4);
const SILENCE_LOST: Duration = Duration::from_millis(500);
const DRAIN: Duration = Duration::from_secs(60);
const AFTER: Duration = Duration::from_millis(50);
const RECEIVE_BYTES: usize = 256 * 1024;
/// Beside a frame, for what came with the answer to the handshake.
const HEAD_ROOM_MIN: usize = 8 * 1024;
/// With `--sleep`: how long at the most, so that the run ends when it should.
const NAP: Duration = Duration::from_millis(5);

struct Drive<'o> {
    options: &'o Options,
    poll: Poll,
    clock: Instant,
    links: Vec<Link>,
    answers: Box<dyn Answers>,
    rules: Rules,
    /// Room for the beginning of a frame, and behind it for what is read.
    buffer: Vec<u8>,
    head_room: usize,
    events: Events,
    ready: Vec<(usize, bool)>,
    messages: u64,
    faults: Faults,
}

/// Opens the connections, and loads them.
pub fn run(options: &Options) -> io::Result<Value> {
    let opened = open::open_all(options)?;
    if options.mode == Mode::Fan {
        thread::sleep(SUBSCRIBED_AFTER);
    }
    let (traffic, answers) = traffic(options, open::agreed_on_all(&opened)?);
    let poll = Poll::new()?;
    let mut links = Vec::with_capacity(opened.len());
    for (opened, (requests, phase)) in opened.into_iter().zip(traffic) {
        let both = Interest::READABLE | Interest::WRITABLE;
        let source = opened.stream.as_raw_fd();
        poll.registry().register(&mut SourceFd(&source), Token(links.len()), both)?;
        links.push(Link::new(opened.stream, requests, phase, opened.rest));
    }
    let head_room = 2 * options.payload + HEAD_ROOM_MIN;
    let mut drive = Drive {
        options,
        poll,
        clock: Instant::now(),
        links,
        answers,
        rules: Rules::new(options),
        buffer: vec![0; head_room + RECEIVE_BYTES],
        head_room,
        events: Events::with_capacity(1024),
        ready: Vec::new(),
        messages: 0,
        faults: Faults::default(),
    };
    drive.run()
}

/// What each connection sends and which message of that is its first, and what has to come.
type Traffic = (Vec<(Rc<Requests>, usize)>, Box<dyn Answers>);

fn traffic(options: &Options, agreed: Option<open::Deflate>) -> Traffic {
    let Options { connections, payload, raw, .. } = *options;
    if options.all_publish {
        let messages = crowd::period(payload, connections, options.in_flight as usize);
        let requests = |at| (Rc::new(crowd::requests(at, payload, messages)), 0);
        let answers = Crowd::new(connections, payload, messages, raw);
        return ((0..connections).map(requests).collect(), Box::new(answers));
    }
    let messages = messages::period(payload, options.in_flight as usize);
    let requests = Rc::new(if options.deflate {
        inflated::requests(payload, messages, agreed)
    } else {
        Requests::binary(payload, messages)
    });
    let phase = |at| if options.mode == Mode::Fan { 0 } else { requests.phase(at) };
    let phases: Vec<_> = (0..connections).map(phase).collect();
    let answers: Box<dyn Answers> = if options.deflate {
        Box::new(Inflated::new(payload, messages, agreed, &phases))
    } else {
        Box::new(Periodic::new(raw, payload, &requests, &phases))
    };
    (phases.into_iter().map(|phase| (Rc::clone(&requests), phase)).collect(), answers)
}

impl Drive<'_> {
    fn run(&mut self) -> io::Result<Value> {
        let now = self.now();
        self.rules.begin(&mut self.links, now);
        self.turns_for(self.options.warmup)?;
        self.rules.forget();
        let before = Mark::now(self.options.pid, self.messages)?;
        self.turns_for(self.options.seconds)?;
        let after = Mark::now(self.options.pid, self.messages)?;
        self.rules.stopped = true;
        self.drain()?;
        self.complain_about_missing();
        let mut found = after.since(before, "message", self.faults.0);
        found["connections"] = self.links.len().into();
        self.rules.report(&mut found);
        if let Some(compressed) = self.answers.compressed() {
            found["compressed_share"] = (compressed as f64 / self.messages.max(1) as f64).into();
        }
        Ok(found)
    }

    fn drain(&mut self) -> io::Result<()> {
        let silence = if self.faults.0 == 0 { SILENCE } else { SILENCE_LOST };
        let end = Instant::now() + DRAIN;
        let (mut messages, mut came) = (self.messages, Instant::now());
        while !self.is_drained() && Instant::now() < end.min(came + silence) {
            self.turn()?;
            if self.messages > messages {
                (messages, came) = (self.messages, Instant::now());
            }
        }
        let end = Instant::now() + AFTER;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    fn is_drained(&self) -> bool {
        let due = self.rules.due_on_each(&self.links);
        let got_all = |link: &Link| link.received >= due.unwrap_or(link.asked);
        self.links.iter().all(|link| link.lost.is_some() || got_all(link))
    }

    /// Nanoseconds since the loop began.
    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn turns_for(&mut self, time: Duration) -> io::Result<()> {
        let end = self.now() + time.as_nanos() as u64;
        loop {
            let now = self.now();
            if now >= end || self.links.iter().all(|link| link.lost.is_some()) {
                return Ok(());
            }
            self.rules.tick(&mut self.links, now);
            self.turn()?;
        }
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
            self.links[at].flush();
            if let Some(why) = self.links[at].lost.clone() {
                self.faults.add(1, &format!("connection {at}: {why}"));
                let source = self.links[at].stream.as_raw_fd();
                self.poll.registry().deregister(&mut SourceFd(&source))?;
                self.rules.lost(at, &mut self.links);
            }
        }
        self.ready.clear();
        Ok(())
    }

    /// Reads until the kernel has no more. A short read tells, but not of plaintext.
    fn read(&mut self, at: usize, closed: bool) {
        loop {
            let link = &mut self.links[at];
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
            let now = self.clock.elapsed().as_nanos() as u64;
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
                self.rules.came(at, came, &mut self.links, now);
            }
            if n < RECEIVE_BYTES && !closed && self.options.tls.is_none() {
                return;
            }
        }
    }

    fn complain_about_missing(&mut self) {
        let due = self.rules.due_on_each(&self.links);
        for at in 0..self.links.len() {
            let link = &self.links[at];
            let (due, received) = (due.unwrap_or(link.asked), link.received);
            if link.lost.is_none() && received != due {
                let what = format!("connection {at}: {due} messages were due, {received} came");
                self.faults.add(due.abs_diff(received), &what);
            }
        }
    }
}
