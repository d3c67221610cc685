//! TLS over the sockets of a network (feature `tls`): its sessions, and what they may take together, of
//! time and of memory.
//!
//! It knows records, handshakes and their transports. It **must not know** what the plaintext says, nor
//! what carries the ciphertext, nor the clock: those are given.

mod certificates;
mod expiry;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod tickets;

use std::{
    collections::VecDeque,
    fmt, io,
    time::{Duration, Instant, SystemTime},
};

use slab::Slab;

pub(super) use self::session::Transport;
use self::session::{KEPT_BYTES_MAX, READ_BYTES_MAX, Session, Stage};
pub use self::{
    certificates::{TlsCertificates, TlsError},
    settings::Tls,
};
use super::Input;
use crate::{config::Config, counters::LayerCounts};

/// Room for what is kept of one session and one read of it, or for what becomes of one write.
const SCRATCH_BYTES: usize = KEPT_BYTES_MAX + READ_BYTES_MAX;

/// A connection of [`Mio`](super::Mio) over TLS. The network has it; this is its place there.
#[derive(Debug)]
pub struct TlsStream(u32);

/// What tells the time.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub(super) now: fn() -> Instant,
    pub(super) wall: fn() -> SystemTime,
}

/// What all sessions may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    handshakes_max: usize,
    handshake_time_per_turn: Duration,
    input_bytes_max: usize,
    output_bytes_max: usize,
}

impl Limits {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            handshakes_max: config.tls_limits.handshakes_max.max(1),
            handshake_time_per_turn: config.tls_limits.handshake_time_per_turn,
            input_bytes_max: config.incomplete_bytes_max,
            output_bytes_max: config.send_queues_bytes_max,
        }
    }
}

/// All sessions of a network.
pub(super) struct Sessions<T> {
    clock: Clock,
    limits: Limits,
    /// What listeners have, each once.
    known: Vec<Tls>,
    slab: Slab<Session<T>>,
    /// Shared by all: what is read and written passes through it.
    scratch: Vec<u8>,
    counts: LayerCounts,
    input_bytes: usize,
    output_bytes: usize,
    turn: u32,
    next_number: u32,
    /// Places and numbers of sessions of which the handshakes began, in this order. Some are done.
    handshakes: VecDeque<(u32, u32)>,
    /// What handshakes have taken of this turn.
    handshake_time: Duration,
    handshake_steps: usize,
    /// A handshake had to wait for the next turn: in this one, and in the last one.
    had_to_wait: bool,
    is_crowded: bool,
}

impl<T: Transport> Sessions<T> {
    pub(super) fn new(clock: Clock, limits: Limits) -> Self {
        Self {
            clock,
            limits,
            known: Vec::new(),
            slab: Slab::new(),
            scratch: vec![0; SCRATCH_BYTES],
            counts: LayerCounts::default(),
            input_bytes: 0,
            output_bytes: 0,
            turn: 0,
            next_number: 0,
            handshakes: VecDeque::new(),
            handshake_time: Duration::ZERO,
            handshake_steps: 0,
            had_to_wait: false,
            is_crowded: false,
        }
    }

    /// A listener has this.
    pub(super) fn listen(&mut self, tls: &Tls) {
        if !self.known.iter().any(|known| known.is(tls)) {
            self.known.push(tls.clone());
        }
    }

    /// A turn begins: handshakes have time again, and what holds too much gives way.
    pub(super) fn begin_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        (self.handshake_time, self.handshake_steps) = (Duration::ZERO, 0);
        self.is_crowded = std::mem::take(&mut self.had_to_wait);
        if self.input_bytes > self.limits.input_bytes_max {
            self.shed(self.limits.input_bytes_max, |(input, _)| input);
        }
        if self.output_bytes > self.limits.output_bytes_max {
            self.shed(self.limits.output_bytes_max, |(_, output)| output);
        }
    }

    /// Whether newcomers are to wait, because there are as many handshakes as may be, and some of them wait for
    /// time of ours. If the oldest made room then, what was begun would be lost again and again.
    pub(super) fn is_full(&self) -> bool {
        self.is_crowded && self.handshakes_open() >= self.limits.handshakes_max
    }

    fn make_room(&mut self) {
        while self.handshakes_open() > self.limits.handshakes_max
            && let Some((key, number)) = self.handshakes.pop_front()
        {
            if self.is_handshaking(key, number) {
                self.counts.tls_handshakes_dropped += 1;
                self.condemn(key);
            }
        }
    }

    /// Takes a connection that was accepted. It may not be let in.
    pub(super) fn accept(&mut self, transport: T, tls: &Tls) -> TlsStream {
        self.next_number = self.next_number.wrapping_add(1);
        let session = Session::new(transport, tls, self.next_number);
        let key = self.slab.insert(session) as u32;
        self.counts.tls_handshakes_open += 1;
        tls.tell_time((self.clock.wall)());
        TlsStream(key)
    }

    /// A connection is let in; gives its transport. If there are too many handshakes, the oldest makes room.
    pub(super) fn register(&mut self, stream: &TlsStream) -> io::Result<&mut T> {
        let session = self.slab.get(stream.0 as usize).ok_or(io::ErrorKind::NotConnected)?;
        self.handshakes.push_back((stream.0, session.number));
        self.make_room();
        // Those that are done are looked at once for each that there may be.
        if self.handshakes.len() > 2 * self.limits.handshakes_max {
            let mut handshakes = std::mem::take(&mut self.handshakes);
            handshakes.retain(|(key, number)| self.is_handshaking(*key, *number));
            self.handshakes = handshakes;
        }
        let session = self.slab.get_mut(stream.0 as usize);
        session.map(|it| &mut it.transport).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    pub(super) fn read(&mut self, stream: &TlsStream, into: &mut [u8]) -> io::Result<Input> {
        let is_handshake = self
            .slab
            .get(stream.0 as usize)
            .is_some_and(|session| matches!(session.stage(), Stage::Silent | Stage::Handshaking));
        if !is_handshake {
            return self.with(stream, |session, scratch| session.read(into, scratch));
        }
        if self.handshake_steps > 0 && self.handshake_time >= self.limits.handshake_time_per_turn {
            self.had_to_wait = true;
            return Ok(Input::Bytes { count: 0, more: true });
        }
        let began = (self.clock.now)();
        let input = self.with(stream, |session, scratch| session.read(into, scratch));
        if !input.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.handshake_steps += 1;
            self.handshake_time += (self.clock.now)().saturating_duration_since(began);
        }
        input
    }

    pub(super) fn write(&mut self, stream: &TlsStream, from: &[u8]) -> io::Result<usize> {
        self.with(stream, |session, scratch| session.write(from, scratch))
    }

    pub(super) fn flush(&mut self, stream: &TlsStream) -> io::Result<()> {
        self.with(stream, |session, _| session.flush())
    }

    pub(super) fn finish(&mut self, stream: &TlsStream) -> io::Result<()> {
        self.with(stream, |session, _| session.finish())
    }

    /// Drops a session, and its transport with it.
    pub(super) fn release(&mut self, stream: TlsStream) {
        let Some(session) = self.slab.try_remove(stream.0 as usize) else { return };
        let (input, output) = session.held();
        self.input_bytes -= input;
        self.output_bytes -= output;
        match session.stage() {
            Stage::Silent => self.counts.tls_handshakes_open -= 1,
            // Its peer left, or did not come to an end in time.
            Stage::Handshaking => {
                self.counts.tls_handshakes_open -= 1;
                self.counts.tls_handshakes_failed += 1;
            }
            Stage::Open | Stage::Refused | Stage::Dead => {}
        }
    }

    pub(super) fn counts(&self) -> LayerCounts {
        let held = self.input_bytes + self.output_bytes;
        let mut counts = LayerCounts { tls_held_bytes: held as u64, ..self.counts };
        for tls in &self.known {
            let (done, failed) = tls.reloads();
            counts.tls_reloads += done;
            counts.tls_reloads_failed += failed;
            let expires = tls.expires();
            if counts.tls_expires_seconds == 0 || expires < counts.tls_expires_seconds {
                counts.tls_expires_seconds = expires;
            }
        }
        counts
    }

    fn handshakes_open(&self) -> usize {
        self.counts.tls_handshakes_open as usize
    }

    fn is_handshaking(&self, key: u32, number: u32) -> bool {
        self.slab.get(key as usize).is_some_and(|session| {
            session.number == number
                && matches!(session.stage(), Stage::Silent | Stage::Handshaking)
        })
    }

    /// Has a session do something, and counts what became of it.
    fn with<R>(
        &mut self,
        stream: &TlsStream,
        act: impl FnOnce(&mut Session<T>, &mut [u8]) -> io::Result<R>,
    ) -> io::Result<R> {
        let session = self.slab.get_mut(stream.0 as usize);
        let session = session.ok_or(io::ErrorKind::NotConnected)?;
        let (stage, held) = (session.stage(), session.held());
        let result = act(session, &mut self.scratch);
        let now_held = session.held();
        if now_held != held {
            if held == (0, 0) {
                session.holds_since = self.turn;
            }
            self.input_bytes = self.input_bytes + now_held.0 - held.0;
            self.output_bytes = self.output_bytes + now_held.1 - held.1;
        }
        let now = session.stage();
        if now != stage {
            let is_resumed = session.is_resumed();
            self.note_stage(stage, now, is_resumed);
        }
        result
    }

    fn note_stage(&mut self, before: Stage, now: Stage, is_resumed: bool) {
        let counts = &mut self.counts;
        let was_handshaking = matches!(before, Stage::Silent | Stage::Handshaking);
        match now {
            Stage::Silent | Stage::Handshaking => return,
            Stage::Open => {
                counts.tls_handshakes += 1;
                counts.tls_handshakes_resumed += u64::from(is_resumed);
            }
            Stage::Refused => counts.tls_plain_refused += 1,
            Stage::Dead if was_handshaking => counts.tls_handshakes_failed += 1,
            Stage::Dead => counts.tls_broken += u64::from(before == Stage::Open),
        }
        counts.tls_handshakes_open -= u64::from(was_handshaking);
    }

    /// Ends a session for the sake of others. Its connection hears of it from the transport.
    fn condemn(&mut self, key: u32) {
        let Some(session) = self.slab.get_mut(key as usize) else { return };
        let (input, output) = session.held();
        if matches!(session.stage(), Stage::Silent | Stage::Handshaking) {
            self.counts.tls_handshakes_open -= 1;
        }
        session.condemn();
        self.input_bytes -= input;
        self.output_bytes -= output;
    }

    /// Ends sessions until four fifths of `most` are held: first those that have held most for longest.
    #[cold]
    fn shed(&mut self, most: usize, part: fn((usize, usize)) -> usize) {
        let (mut held, mut holders) = (0, Vec::new());
        for (key, session) in &self.slab {
            let bytes = part(session.held());
            if bytes > 0 {
                held += bytes;
                let turns = self.turn.wrapping_sub(session.holds_since) as usize;
                holders.push((bytes.saturating_mul(turns.saturating_add(1)), bytes, key as u32));
            }
        }
        holders.sort_unstable_by(|a, b| b.cmp(a));
        for (_, bytes, key) in holders {
            if held <= most / 5 * 4 {
                break;
            }
            held -= bytes;
            self.counts.tls_closed_held += 1;
            self.condemn(key);
        }
    }
}

impl<T> fmt::Debug for Sessions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("len", &self.slab.len()).finish_non_exhaustive()
    }
}
