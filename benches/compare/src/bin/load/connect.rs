//! `connect`: connections that are made, upgraded and closed, again and again.
//!
//! Each goes through the handshake and the closing handshake (RFC 6455 §7.1): the client's Close, the
//! server's, and the server's end of the connection. So many at a time are under way. `raw` knows no
//! Close: there the client just ends.

use std::{
    io::{self, ErrorKind, Read, Write},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use socket2::SockAddr;

use crate::{
    frame,
    latency::Latencies,
    open,
    options::Options,
    process,
    report::{Progress, Report},
};

/// How long one connection may take, from the first packet to the last.
const PATIENCE_NS: u64 = 20_000_000_000;
const ERRORS_SHOWN: u64 = 10;
/// Linux's number for it; the standard library has no name that is stable.
const EINPROGRESS: i32 = 115;

enum Step {
    /// The request is to be sent, as soon as the connection stands.
    Connecting,
    /// The answer is awaited.
    Asked,
    /// The Close is sent, and the server's is awaited, or only its end.
    Closing { closed: bool },
}

struct Attempt {
    stream: TcpStream,
    step: Step,
    begun: u64,
    /// The handshake is complete.
    answered: bool,
    came: Vec<u8>,
}

struct Connect<'o> {
    options: &'o Options,
    poll: Poll,
    clock: Instant,
    request: Vec<u8>,
    close: Vec<u8>,
    /// `None` once no more are begun.
    attempts: Vec<Option<Attempt>>,
    begun: usize,
    done: u64,
    errors: u64,
    latencies: Latencies,
}

pub fn run(options: &Options) -> io::Result<Report> {
    let mut connect = Connect {
        options,
        poll: Poll::new()?,
        clock: Instant::now(),
        request: open::request(options),
        close: frame::close(),
        attempts: Vec::new(),
        begun: 0,
        done: 0,
        errors: 0,
        latencies: Latencies::new(),
    };
    connect.run()
}

impl Connect<'_> {
    fn run(&mut self) -> io::Result<Report> {
        for at in 0..self.options.connections {
            let attempt = self.begin(at)?;
            self.attempts.push(Some(attempt));
        }
        let mut progress = Progress::new(self.options.quiet);
        let warm = self.options.warmup;
        self.turns_until(warm, &mut progress, true)?;
        self.latencies.clear();
        let (cpu, done, then) = (self.cpu()?, self.done, self.clock.elapsed());
        self.turns_until(then + self.options.seconds, &mut progress, true)?;
        let cpu = self.cpu()?.saturating_sub(cpu);
        let done = (self.done - done) as f64;
        let seconds = (self.clock.elapsed() - then).as_secs_f64();
        let patience = Duration::from_nanos(PATIENCE_NS);
        self.turns_until(self.clock.elapsed() + patience, &mut progress, false)?;
        let mut report = Report::new(self.errors);
        report.set("connections", done);
        report.set("seconds", seconds);
        report.set("connections_per_second", done / seconds);
        report.set_if("p50_us", self.latencies.quantile_us(0.5));
        report.set_if("p99_us", self.latencies.quantile_us(0.99));
        report.set_if("p999_us", self.latencies.quantile_us(0.999));
        report.set_if("max_us", self.latencies.quantile_us(1.0));
        if self.options.pid.is_some() {
            let cpu_us = cpu.as_nanos() as f64 / 1e3;
            report.set("server_cpu_us_per_connection", cpu_us / done.max(1.0));
            report.set("server_cpu_share", cpu_us / 1e6 / seconds);
        }
        Ok(report)
    }

    fn cpu(&self) -> io::Result<Duration> {
        self.options.pid.map_or(Ok(Duration::ZERO), process::cpu)
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Until a time, or until no attempt is left. An attempt that ends is followed by another one,
    /// if there is to be.
    fn turns_until(
        &mut self,
        end: Duration,
        progress: &mut Progress,
        again: bool,
    ) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while self.clock.elapsed() < end && self.attempts.iter().any(Option::is_some) {
            progress.tick(self.now(), self.done, "connections");
            let nap = if self.options.sleep { Duration::from_millis(5) } else { Duration::ZERO };
            match self.poll.poll(&mut events, Some(nap)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                self.go_on(event.token().0, again)?;
            }
            if events.is_empty() {
                self.give_up_the_slow(again)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, at: usize) -> io::Result<Attempt> {
        let begun = self.now();
        let target = self.options.target.address;
        let socket = open::socket(target, self.options.sources, self.begun)?;
        self.begun += 1;
        socket.set_nonblocking(true)?;
        match socket.connect(&SockAddr::from(target)) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error),
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(at), both)?;
        Ok(Attempt { stream, step: Step::Connecting, begun, answered: false, came: Vec::new() })
    }

    fn go_on(&mut self, at: usize, again: bool) -> io::Result<()> {
        let now = self.now();
        let Some(Some(attempt)) = self.attempts.get_mut(at) else { return Ok(()) };
        let before = attempt.answered;
        let stepped = attempt.go_on(self.options, &self.request, &self.close);
        if attempt.answered && !before {
            self.latencies.record(now - attempt.begun, 1);
        }
        match stepped {
            Ok(false) => return Ok(()),
            Ok(true) => self.done += 1,
            Err(error) => self.complain(&error.to_string()),
        }
        self.attempts[at] = None;
        if again {
            self.attempts[at] = Some(self.begin(at)?);
        }
        Ok(())
    }

    fn complain(&mut self, what: &str) {
        if self.errors < ERRORS_SHOWN {
            eprintln!("load: a connection: {what}");
        }
        self.errors += 1;
    }

    fn give_up_the_slow(&mut self, again: bool) -> io::Result<()> {
        let now = self.now();
        for at in 0..self.attempts.len() {
            let slow = |attempt: &Attempt| now - attempt.begun > PATIENCE_NS;
            if self.attempts[at].as_ref().is_some_and(slow) {
                self.complain("takes too long");
                self.attempts[at] = None;
                if again {
                    self.attempts[at] = Some(self.begin(at)?);
                }
            }
        }
        Ok(())
    }
}

impl Attempt {
    /// As many steps as can be made. True if it is complete.
    fn go_on(&mut self, options: &Options, request: &[u8], close: &[u8]) -> io::Result<bool> {
        if let Step::Connecting = self.step {
            match self.stream.write(request) {
                Ok(n) if n == request.len() => self.step = Step::Asked,
                Ok(_) => return Err(io::Error::other("the kernel took half a request")),
                Err(error) if waits(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let mut piece = [0; 2048];
        loop {
            let n = match self.stream.read(&mut piece) {
                Ok(n) => n,
                Err(error) if waits(&error) => return Ok(false),
                Err(error) => return Err(error),
            };
            self.came.extend_from_slice(&piece[..n]);
            match &mut self.step {
                Step::Closing { closed: true } if n == 0 => return Ok(true),
                _ if n == 0 => return Err(io::Error::other("the server ended the connection")),
                Step::Closing { closed } => {
                    *closed |= frame::is_close(&self.came);
                    if !*closed {
                        return Err(io::Error::other("not a Close frame"));
                    }
                }
                Step::Connecting | Step::Asked => {
                    let Some((head_len, _)) = open::answer(&self.came, options)? else { continue };
                    self.answered = true;
                    if options.raw {
                        return Ok(true);
                    }
                    self.came.drain(..head_len);
                    self.stream.write_all(close)?;
                    let closed = frame::is_close(&self.came);
                    self.step = Step::Closing { closed };
                }
            }
        }
    }
}

/// Not yet, as opposed to not at all.
fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}
