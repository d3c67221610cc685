//! A network in memory that keeps the contract of [`Net`] to the letter and is no kinder than that:
//! edge-triggered, with a readiness that comes late, alone, out of order, for nothing, or for those
//! that are gone.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pushloop::{ConnId, Input, Net, Ready, Wake};

use super::choice::Choice;
use super::faults::Faults;
use super::marks::{Mark, Marks};

/// What was asked of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub waits: usize,
    pub accepts: usize,
    pub reads: usize,
    pub writes: usize,
    pub bytes_read: u64,
    pub bytes_written: u64,
}

/// The server's end of a connection, and its peer's kernel.
pub struct Link {
    pub id: Option<ConnId>,
    pub input: VecDeque<u8>,
    pub input_ended: bool,
    pub output: VecDeque<u8>,
    pub output_ended: bool,
    /// By FIN, and not only by being dropped.
    pub finished: bool,
    /// How much of the output the kernel holds.
    pub room: usize,
    pub reset: bool,
    /// The server has dropped it.
    pub dropped: bool,
    /// What the peer had not read is lost, because the server dropped it with input unread.
    pub cut: bool,
    read_edge: bool,
    write_edge: bool,
    /// A write took less than it was given.
    blocked: bool,
    /// It did so once, for whatever reason.
    pub refused: bool,
}

#[derive(Clone)]
pub struct Wire(Rc<RefCell<Link>>);

impl Wire {
    fn new() -> Self {
        Self(Rc::new(RefCell::new(Link {
            id: None,
            input: VecDeque::new(),
            input_ended: false,
            output: VecDeque::new(),
            output_ended: false,
            finished: false,
            room: usize::MAX,
            reset: false,
            dropped: false,
            cut: false,
            read_edge: false,
            write_edge: false,
            blocked: false,
            refused: false,
        })))
    }

    pub fn link(&self) -> RefMut<'_, Link> {
        self.0.borrow_mut()
    }

    pub fn sends(&self, bytes: impl IntoIterator<Item = u8>) {
        let mut link = self.link();
        link.input.extend(bytes);
        link.read_edge = true;
    }

    pub fn finishes(&self) {
        let mut link = self.link();
        (link.input_ended, link.read_edge) = (true, true);
    }

    pub fn resets(&self) {
        let mut link = self.link();
        (link.reset, link.read_edge, link.write_edge) = (true, true, true);
        link.input.clear();
        link.output.clear();
    }
}

impl Link {
    fn is_writable(&self) -> bool {
        self.write_edge || (self.blocked && self.output.len() < self.room)
    }
}

pub struct Stream(Wire, Marks);

impl Drop for Stream {
    fn drop(&mut self) {
        let mut link = self.0.link();
        (link.dropped, link.output_ended) = (true, true);
        if !link.input.is_empty() {
            // close(2) resets then, and the peer may lose what it has not read (RFC 1122 §4.2.2.13).
            self.1.hit(Mark::DroppedUnread);
            link.cut = true;
            link.output.clear();
        }
    }
}

/// Who has something to tell.
#[derive(Clone, Copy)]
enum Teller {
    Mailbox,
    Listener,
    Wire(usize),
}

pub struct SimNet {
    now: Instant,
    /// When it last stood still, or leapt, until.
    pub leapt: Instant,
    choice: Choice,
    marks: Marks,
    pub faults: Faults,
    pub calls: Calls,
    pub backlog: VecDeque<Wire>,
    wires: Vec<Wire>,
    gone: Vec<ConnId>,
    listens: bool,
    listener_edge: bool,
    woken: Arc<AtomicBool>,
    /// What other threads do while the loop is in one of its calls.
    pub others: VecDeque<Box<dyn FnOnce()>>,
    /// The longest sleep; the loop may be woken for no reason at any time.
    pub nap_max: Duration,
    /// The last wait slept, for there was nothing to tell and nothing to do.
    pub slept: bool,
    /// It would have done so for ever.
    pub is_stuck: bool,
}

const EXHAUSTED: ErrorKind = ErrorKind::QuotaExceeded;

impl SimNet {
    // The clock starts somewhere; it is read once.
    #[allow(clippy::disallowed_methods)]
    pub fn new(choice: Choice, marks: Marks) -> Self {
        let now = Instant::now();
        Self {
            now,
            leapt: now,
            choice,
            marks,
            faults: Faults::default(),
            calls: Calls::default(),
            backlog: VecDeque::new(),
            wires: Vec::new(),
            gone: Vec::new(),
            listens: true,
            listener_edge: false,
            woken: Arc::default(),
            others: VecDeque::new(),
            nap_max: Duration::from_millis(5),
            slept: false,
            is_stuck: false,
        }
    }

    pub fn connects(&mut self) -> Wire {
        let wire = Wire::new();
        if self.listens {
            self.backlog.push_back(wire.clone());
            self.listener_edge = true;
        } else {
            wire.link().reset = true;
        }
        wire
    }

    pub fn passes(&mut self, time: Duration) {
        self.now += time;
        self.leapt = self.now;
    }

    fn happens(&self, percent: usize, mark: Mark) -> bool {
        let happens = self.choice.chance(percent);
        if happens {
            self.marks.hit(mark);
        }
        happens
    }

    /// A call of the loop: other threads are not kept waiting by it.
    fn is_called(&mut self) {
        while !self.others.is_empty() && self.happens(self.faults.meddles, Mark::CommandInTurn) {
            if let Some(other) = self.others.pop_front() {
                other();
            }
        }
    }

    fn tellers(&self) -> Vec<Teller> {
        let mut tellers = Vec::new();
        if self.woken.load(Ordering::SeqCst) {
            tellers.push(Teller::Mailbox);
        }
        if self.listener_edge {
            tellers.push(Teller::Listener);
        }
        let has_edge = |wire: &Wire| {
            let link = wire.link();
            link.id.is_some() && (link.read_edge || link.is_writable())
        };
        let wires = self.wires.iter().enumerate().filter(|(_, wire)| has_edge(wire));
        tellers.extend(wires.map(|(at, _)| Teller::Wire(at)));
        tellers
    }

    fn tell(&mut self, teller: Teller, ready: &mut Vec<Ready>) {
        match teller {
            Teller::Mailbox => {
                self.woken.store(false, Ordering::SeqCst);
                ready.push(Ready::Mailbox);
            }
            Teller::Listener => {
                self.listener_edge = false;
                ready.push(Ready::Listener(0));
            }
            Teller::Wire(at) => {
                let mut link = self.wires[at].link();
                let readable = mem::take(&mut link.read_edge);
                let writable = link.is_writable();
                if writable {
                    (link.write_edge, link.blocked) = (false, false);
                }
                let read_closed = readable && (link.input_ended || link.reset);
                if let Some(id) = link.id {
                    ready.push(Ready::Connection { id, readable, writable, read_closed });
                }
            }
        }
    }

    /// Readiness that nobody asked for.
    fn strays(&mut self, ready: &mut Vec<Ready>) {
        if !self.gone.is_empty() && self.happens(self.faults.stale, Mark::StaleEdge) {
            let id = self.gone[self.gone.len() - 1 - self.choice.below(self.gone.len().min(8))];
            let has_its_slot = |it: ConnId| it.to_bits() as u32 == id.to_bits() as u32;
            if self.wires.iter().any(|wire| wire.link().id.is_some_and(has_its_slot)) {
                self.marks.hit(Mark::StaleOfReused);
            }
            ready.push(Ready::Connection { id, readable: true, writable: true, read_closed: true });
        }
        let ids: Vec<_> = self.wires.iter().filter_map(|wire| wire.link().id).collect();
        if !ids.is_empty() && self.happens(self.faults.spurious, Mark::SpuriousEdge) {
            let id = self.choice.of(&ids);
            let (readable, writable) = (self.choice.chance(50), self.choice.chance(50));
            ready.push(Ready::Connection { id, readable, writable, read_closed: false });
            ready.push(self.choice.of(&[Ready::Mailbox, Ready::Listener(0)]));
        }
    }

    fn sleeps(&mut self, timeout: Option<Duration>) {
        if !self.tellers().is_empty() || timeout == Some(Duration::ZERO) {
            return;
        }
        self.slept = true;
        self.is_stuck = timeout.is_none();
        self.now += timeout.unwrap_or_default().min(self.nap_max);
    }

    fn forgets_the_dropped(&mut self) {
        for wire in self.wires.extract_if(.., |wire| wire.link().dropped) {
            self.gone.extend(wire.link().id);
        }
    }
}

struct Flag(Arc<AtomicBool>);

impl Wake for Flag {
    fn wake(&self) -> io::Result<()> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}

fn blocked<T>() -> io::Result<T> {
    Err(ErrorKind::WouldBlock.into())
}

impl Net for SimNet {
    type Stream = Stream;

    fn now(&self) -> Instant {
        self.now
    }

    fn wait(&mut self, timeout: Option<Duration>, tell: impl FnMut(Ready)) -> io::Result<()> {
        self.calls.waits += 1;
        self.is_called();
        (self.slept, self.is_stuck) = (false, false);
        self.forgets_the_dropped();
        if self.happens(self.faults.jump, Mark::ClockJump) {
            let leap = self.choice.of(&[100, 1000, 6000, 30_000, 3_600_000]);
            self.passes(Duration::from_millis(leap));
        }
        if self.happens(self.faults.signal, Mark::Signal) {
            return Ok(());
        }
        let mut tellers = self.tellers();
        if tellers.len() > 1 && self.happens(self.faults.shuffled, Mark::ShuffledEdges) {
            self.choice.shuffles(&mut tellers);
        }
        if tellers.len() > 1 && self.happens(self.faults.single, Mark::SingleEdge) {
            tellers.truncate(1);
        }
        let mut ready = Vec::new();
        for teller in tellers {
            if !self.happens(self.faults.late, Mark::LateEdge) {
                self.tell(teller, &mut ready);
            }
        }
        self.strays(&mut ready);
        if ready.is_empty() {
            self.sleeps(timeout);
        }
        ready.into_iter().for_each(tell);
        Ok(())
    }

    fn accept(&mut self, _: u32) -> io::Result<(Stream, Option<SocketAddr>)> {
        self.calls.accepts += 1;
        self.is_called();
        if self.backlog.is_empty() {
            return blocked();
        }
        if self.happens(self.faults.interrupts, Mark::AcceptInterrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.happens(self.faults.accept_fails, Mark::AcceptBlocked) {
            self.listener_edge = true;
            return blocked();
        }
        if self.happens(self.faults.exhausted, Mark::OutOfDescriptors) {
            return Err(EXHAUSTED.into());
        }
        let Some(wire) = self.backlog.pop_front() else { return blocked() };
        if self.happens(self.faults.accept_fails, Mark::AcceptAborted) {
            wire.resets();
            return Err(ErrorKind::ConnectionAborted.into());
        }
        self.wires.push(wire.clone());
        Ok((Stream(wire, self.marks.clone()), None))
    }

    fn is_out_of_resources(&self, error: &io::Error) -> bool {
        error.kind() == EXHAUSTED
    }

    fn refuse(&mut self, _: u32) -> io::Result<()> {
        if self.happens(self.faults.no_reserve, Mark::NoReserve) {
            return Err(EXHAUSTED.into());
        }
        let Some(wire) = self.backlog.pop_front() else { return blocked() };
        drop(Stream(wire, self.marks.clone()));
        Ok(())
    }

    fn register(&mut self, stream: &mut Stream, id: ConnId) -> io::Result<()> {
        if self.happens(self.faults.unregistrable, Mark::Unregistrable) {
            return Err(ErrorKind::StorageFull.into());
        }
        if self.gone.iter().any(|gone| gone.to_bits() as u32 == id.to_bits() as u32) {
            self.marks.hit(Mark::SlotReused);
        }
        let mut link = stream.0.link();
        link.id = Some(id);
        link.read_edge |= !link.input.is_empty() || link.input_ended;
        link.write_edge = true;
        Ok(())
    }

    fn read(&mut self, stream: &mut Stream, into: &mut [u8]) -> io::Result<Input> {
        self.calls.reads += 1;
        self.is_called();
        if self.happens(self.faults.interrupts, Mark::ReadInterrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let mut link = stream.0.link();
        if link.reset {
            self.marks.hit(Mark::ResetRead);
            return Err(ErrorKind::ConnectionReset.into());
        }
        if link.input.is_empty() {
            return if link.input_ended { Ok(Input::End) } else { blocked() };
        }
        if self.happens(self.faults.read_blocks, Mark::ReadBlocked) {
            link.read_edge = true;
            return blocked();
        }
        let mut n = into.len().min(link.input.len());
        if n > 1 && self.happens(self.faults.short_read, Mark::ShortRead) {
            n = self.choice.part(n);
        }
        into.iter_mut().zip(link.input.drain(..n)).for_each(|(to, byte)| *to = byte);
        // What is left arrives as soon as this is read.
        link.read_edge |= n < into.len() && !link.input.is_empty();
        self.calls.bytes_read += n as u64;
        Ok(Input::Bytes { count: n, more: n == into.len() })
    }

    fn write(&mut self, stream: &mut Stream, from: &[u8]) -> io::Result<usize> {
        self.calls.writes += 1;
        self.is_called();
        assert!(!from.is_empty(), "an empty write");
        if self.happens(self.faults.interrupts, Mark::WriteInterrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let mut link = stream.0.link();
        assert!(!link.output_ended, "a write behind FIN");
        if link.reset {
            self.marks.hit(Mark::ResetWrite);
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut n = from.len().min(link.room.saturating_sub(link.output.len()));
        if n < from.len() {
            self.marks.hit(Mark::FullPipe);
        } else if self.happens(self.faults.write_blocks, Mark::WriteBlocked) {
            n = 0;
        }
        if n > 1 && self.happens(self.faults.short_write, Mark::ShortWrite) {
            n = self.choice.part(n);
        }
        link.blocked |= n < from.len();
        link.refused |= n < from.len();
        link.output.extend(&from[..n]);
        self.calls.bytes_written += n as u64;
        if n == 0 { blocked() } else { Ok(n) }
    }

    fn finish(&mut self, stream: &mut Stream) -> io::Result<()> {
        if self.happens(self.faults.interrupts, Mark::FinishInterrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let mut link = stream.0.link();
        if link.reset {
            return Err(ErrorKind::NotConnected.into());
        }
        assert!(!link.output_ended, "a second FIN");
        if self.happens(self.faults.write_blocks, Mark::FinishBlocked) {
            link.blocked = true;
            return blocked();
        }
        (link.output_ended, link.finished) = (true, true);
        Ok(())
    }

    fn waker(&self) -> Box<dyn Wake + Send + Sync> {
        Box::new(Flag(Arc::clone(&self.woken)))
    }

    fn close_listeners(&mut self) {
        self.listens = false;
        // Whoever waits there is reset.
        self.backlog.drain(..).for_each(|wire| wire.resets());
    }
}
