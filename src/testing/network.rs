//! A network in memory that keeps the contract of [`Net`](crate::Net) to the letter and, with faults, is no kinder
//! than that: edge-triggered, with a readiness that comes late, alone, out of order, for nothing, or for
//! connections that are gone.

mod contract;

use std::{
    collections::VecDeque,
    fmt,
    io::{self, ErrorKind},
    mem,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Choice, Fault, Faults, wire::Wire};
use crate::{
    event::ConnId,
    server::{Ready, clock_start},
};

/// Of connections that are gone, so many may still be told of.
const GONE_MAX: usize = 8;

/// What the loop asked of a network: exact, so that a test can assert what something costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Of [`Net::wait`](crate::Net::wait).
    pub waits: usize,
    /// Of [`Net::accept`](crate::Net::accept).
    pub accepts: usize,
    /// Of [`Net::read`](crate::Net::read).
    pub reads: usize,
    /// Of [`Net::write`](crate::Net::write).
    pub writes: usize,
    /// Bytes that reads brought.
    pub bytes_read: u64,
    /// Bytes that writes took.
    pub bytes_written: u64,
}

/// A network in memory with one listener. See the [module](super).
///
/// Its clock moves while the loop waits and has nothing to do, and when [`passes`](Self::passes) says.
pub struct Network {
    /// What goes wrong from here on.
    pub faults: Faults,
    /// What the loop asked so far.
    pub calls: Calls,
    /// The longest time that one wait lets pass; without limit at first.
    pub nap_max: Duration,
    /// How many things one wait tells, at the most.
    pub told_max: usize,
    /// What the next wait tells, whatever happened.
    pub strays: Vec<Ready>,
    /// What the next accepts fail with, each of which costs its connection.
    pub accept_errors: VecDeque<ErrorKind>,
    now: Instant,
    started: Instant,
    leapt: Instant,
    slept: Duration,
    is_idle: bool,
    choice: Choice,
    met: [u64; Fault::ALL.len()],
    listens: bool,
    listener_edge: bool,
    backlog: VecDeque<Wire>,
    wires: Vec<Wire>,
    gone: VecDeque<ConnId>,
    woken: Arc<AtomicBool>,
    others: VecDeque<Box<dyn FnOnce()>>,
    /// Empty between two waits.
    tellers: Vec<Teller>,
    ready: Vec<Ready>,
}

/// What has something to tell.
#[derive(Clone, Copy)]
enum Teller {
    Mailbox,
    Listener,
    Wire(usize),
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Network {
    /// A network without faults. Those that are set later come from the seed 0.
    pub fn new() -> Self {
        Self::with_choice(Choice::seeded(0))
    }

    /// A network whose [`faults`](Self::faults) come when these choices say, and none at first.
    pub fn with_choice(choice: Choice) -> Self {
        let now = clock_start();
        Self {
            faults: Faults::default(),
            calls: Calls::default(),
            nap_max: Duration::MAX,
            told_max: usize::MAX,
            strays: Vec::new(),
            accept_errors: VecDeque::new(),
            now,
            started: now,
            leapt: now,
            slept: Duration::ZERO,
            is_idle: false,
            choice,
            met: [0; Fault::ALL.len()],
            listens: true,
            listener_edge: false,
            backlog: VecDeque::new(),
            wires: Vec::new(),
            gone: VecDeque::new(),
            woken: Arc::default(),
            others: VecDeque::new(),
            tellers: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// A new connection for the server to accept. It is reset if the server listens no more.
    pub fn connects(&mut self) -> Wire {
        self.connects_from(None)
    }

    /// The same, from an address.
    pub fn connects_from(&mut self, peer: Option<SocketAddr>) -> Wire {
        let wire = Wire::new(peer);
        if self.listens {
            self.backlog.push_back(wire.clone());
            self.listener_edge = true;
        } else {
            wire.resets();
        }
        wire
    }

    /// How many connections were not accepted yet.
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// Time passes while the loop does not wait: the process was busy, or the machine stood still.
    pub fn passes(&mut self, time: Duration) {
        self.now += time;
        self.leapt = self.now;
    }

    /// When that was the last time, or the clock leapt; at first, when the network was made.
    pub fn leapt(&self) -> Instant {
        self.leapt
    }

    /// How long all waits took together.
    pub fn slept(&self) -> Duration {
        self.slept
    }

    /// The last wait had nothing to tell and would not have ended but for its timeout: until then, the
    /// loop has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// How often the loop met this.
    pub fn met(&self, fault: Fault) -> u64 {
        self.met[fault as usize]
    }

    /// What another thread does, such as a call of a [`Handle`](crate::Handle), while the loop is in one
    /// of its calls: which one, [`Faults::meddles`] says. One after the other, in this order.
    pub fn meanwhile(&mut self, what: impl FnOnce() + 'static) {
        self.others.push_back(Box::new(what));
    }

    /// Whether something of that is still to be done.
    pub fn has_meanwhile(&self) -> bool {
        !self.others.is_empty()
    }

    /// Does what is left of that.
    pub fn ends_meanwhile(&mut self) {
        self.others.drain(..).for_each(|other| other());
    }

    fn meets(&mut self, fault: Fault) {
        self.met[fault as usize] += 1;
    }

    fn happens(&mut self, percent: usize, fault: Fault) -> bool {
        let happens = self.choice.chance(percent);
        if happens {
            self.meets(fault);
        }
        happens
    }

    /// A call of the loop: other threads are not kept waiting by it.
    fn is_called(&mut self) {
        while !self.others.is_empty() && self.happens(self.faults.meddles, Fault::CommandInTurn) {
            if let Some(other) = self.others.pop_front() {
                other();
            }
        }
    }

    /// What has something to tell.
    fn find_tellers(&self, tellers: &mut Vec<Teller>) {
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
    }

    fn tell(&mut self, teller: Teller) {
        match teller {
            Teller::Mailbox => {
                self.woken.store(false, Ordering::SeqCst);
                self.ready.push(Ready::Mailbox);
            }
            Teller::Listener => {
                self.listener_edge = false;
                self.ready.push(Ready::Listener(0));
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
                    self.ready.push(Ready::Connection { id, readable, writable, read_closed });
                }
            }
        }
    }

    /// Tells of what became ready, as far as the faults let it.
    fn tell_all(&mut self, tellers: &mut Vec<Teller>) {
        self.find_tellers(tellers);
        if tellers.len() > 1 && self.happens(self.faults.shuffled, Fault::ShuffledEdges) {
            self.choice.shuffles(tellers);
        }
        if tellers.len() > 1 && self.happens(self.faults.single, Fault::SingleEdge) {
            tellers.truncate(1);
        }
        for teller in tellers.drain(..) {
            if self.ready.len() < self.told_max && !self.happens(self.faults.late, Fault::LateEdge)
            {
                self.tell(teller);
            }
        }
    }

    /// Readiness that nobody asked for.
    fn tell_strays(&mut self) {
        if !self.gone.is_empty() && self.happens(self.faults.stale, Fault::StaleEdge) {
            let id = self.gone[self.gone.len() - 1 - self.choice.below(self.gone.len())];
            let has_its_slot = |it: ConnId| it.to_bits() as u32 == id.to_bits() as u32;
            if self.wires.iter().any(|wire| wire.id().is_some_and(has_its_slot)) {
                self.meets(Fault::StaleOfReused);
            }
            let ready = Ready::Connection { id, readable: true, writable: true, read_closed: true };
            self.ready.push(ready);
        }
        if self.faults.spurious == 0 {
            return;
        }
        let ids: Vec<_> = self.wires.iter().filter_map(Wire::id).collect();
        if !ids.is_empty() && self.happens(self.faults.spurious, Fault::SpuriousEdge) {
            let id = self.choice.of(&ids);
            let (readable, writable) = (self.choice.chance(50), self.choice.chance(50));
            let ready = Ready::Connection { id, readable, writable, read_closed: false };
            self.ready.push(ready);
            self.ready.push(self.choice.of(&[Ready::Mailbox, Ready::Listener(0)]));
        }
    }

    /// Nothing is to be told.
    fn sleep(&mut self, timeout: Option<Duration>, tellers: &mut Vec<Teller>) -> io::Result<()> {
        self.find_tellers(tellers);
        if !tellers.is_empty() || timeout == Some(Duration::ZERO) {
            tellers.clear();
            return Ok(());
        }
        self.is_idle = true;
        let Some(timeout) = timeout else {
            let never = "nothing will ever happen in this network: the loop would wait for ever";
            return Err(io::Error::new(ErrorKind::Deadlock, never));
        };
        let nap = timeout.min(self.nap_max);
        self.now += nap;
        self.slept += nap;
        Ok(())
    }

    fn forget_the_dropped(&mut self) {
        for wire in self.wires.extract_if(.., |wire| wire.is_dropped()) {
            self.met[Fault::DroppedUnread as usize] += u64::from(wire.is_cut());
            self.gone.extend(wire.id());
        }
        while self.gone.len() > GONE_MAX {
            self.gone.pop_front();
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("connections", &self.wires.len())
            .field("calls", &self.calls)
            .field("slept", &self.slept)
            .finish_non_exhaustive()
    }
}
