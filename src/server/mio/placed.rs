//! Connections that one loop accepts and another has.
//!
//! The first loop has the listeners. It hands each connection to the loop that has most room left, itself among them. For
//! the others, a listener is a place where they find what was handed to them.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    Mio, Waker,
    listen::{Accepted, Kind, Listener},
};
use crate::mailbox::Mailbox;

/// Connections that are handed to others one after the other, before the loop does something else.
const HANDED_MAX: usize = 64;
/// Connections that wait for a loop that does not take them, at the most; what is more is the accepting one's.
const WAITING_MAX: usize = 4096;

/// A socket that was accepted, by which listener, and where it comes from.
type Placement = (u32, Accepted, Option<SocketAddr>);

/// One loop, as the one sees it that accepts.
#[derive(Debug)]
struct Place {
    /// Connections that it has, or was handed.
    count: AtomicUsize,
    /// So many are its share.
    max: usize,
    /// What was handed to it.
    handed: Mailbox<Placement, Arc<Waker>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Placed {
    here: usize,
    places: Arc<[Place]>,
    /// What was taken and not accepted here yet.
    taken: VecDeque<Placement>,
    /// Where the search for a place begins, so that equal ones take turns.
    next: usize,
}

/// A listener of another loop.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) kind: Kind,
    pub(super) address: Option<SocketAddr>,
}

impl Mio {
    /// The first of these networks accepts for all. Each may have so many connections.
    pub(in crate::server) fn place(networks: &mut [&mut Self], shares: &[usize]) {
        let places = networks.iter().zip(shares).map(|(net, max)| Place {
            count: AtomicUsize::new(0),
            max: *max,
            handed: Mailbox::new(Arc::clone(&net.waker), WAITING_MAX, 0),
        });
        let places: Arc<[Place]> = places.collect();
        for (here, net) in networks.iter_mut().enumerate() {
            let (places, taken) = (Arc::clone(&places), VecDeque::new());
            net.placed = Some(Placed { here, places, taken, next: 0 });
        }
    }

    /// Has listeners as the other network has them, to which that one hands connections.
    pub(in crate::server) fn listen_as(&mut self, other: &Self) {
        let handed = other.listeners.iter().map(|it| {
            let (kind, address) = (it.kind(), it.address());
            Listener::Handed(Handed { kind, address })
        });
        self.listeners = handed.collect();
    }
}

impl Placed {
    /// Accepts one for this loop, and hands others on before. `None` if so many were handed on that others have to wait.
    pub(super) fn accept(
        &mut self,
        accepting: &Listener,
        listener: u32,
    ) -> io::Result<Option<(Accepted, Option<SocketAddr>)>> {
        if let Listener::Handed(_) = accepting {
            let at = self.taken.iter().position(|(of, ..)| *of == listener);
            let taken = at.and_then(|at| self.taken.remove(at));
            let (_, socket, peer) = taken.ok_or(io::ErrorKind::WouldBlock)?;
            return Ok(Some((socket, peer)));
        }
        for _ in 0..HANDED_MAX {
            let (socket, peer) = accepting.accept()?;
            let to = self.roomiest();
            if to == self.here {
                self.note_taken();
                return Ok(Some((socket, peer)));
            }
            let place = &self.places[to];
            place.count.fetch_add(1, Ordering::Relaxed);
            if let Err((_, (_, socket, peer))) = place.handed.try_push((listener, socket, peer), 0)
            {
                place.count.fetch_sub(1, Ordering::Relaxed);
                self.note_taken();
                return Ok(Some((socket, peer)));
            }
        }
        Ok(None)
    }

    /// The loop with most room left; of several, each in its turn.
    fn roomiest(&mut self) -> usize {
        let count = self.places.len();
        let left = |nth: usize| {
            let place = &self.places[nth];
            place.max as i64 - place.count.load(Ordering::Relaxed) as i64
        };
        let order = (0..count).map(|nth| (self.next + nth) % count);
        let to = order.rev().max_by_key(|nth| left(*nth)).unwrap_or(self.here);
        self.next = (to + 1) % count;
        to
    }

    /// Takes what was handed to this loop, and tells of the listeners.
    pub(super) fn take(&mut self, mut tell: impl FnMut(u32)) {
        let mut batch = Vec::new();
        self.places[self.here].handed.take(&mut batch);
        self.taken.extend(batch);
        let mut told = None;
        for (listener, ..) in &self.taken {
            if told.replace(*listener) != Some(*listener) {
                tell(*listener);
            }
        }
    }

    /// This loop has one more.
    pub(super) fn note_taken(&self) {
        self.places[self.here].count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_released(&self) {
        self.places[self.here].count.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes no more: what was handed over and not accepted is closed.
    pub(super) fn close(&mut self) {
        drop(self.places[self.here].handed.close());
        self.taken.clear();
    }
}
