//! What the loop needs of a network, and the contract that it relies on.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{event::ConnId, mailbox::Wake};

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ready {
    /// A listener (by its number, in the order in which they were added) has connections.
    Listener(u32),
    /// The waker was woken.
    Mailbox,
    /// A connection changed.
    Connection {
        /// Which one; the loop ignores ids that are gone.
        id: ConnId,
        /// There may be something to read: bytes, the end, or an error.
        readable: bool,
        /// It may take bytes again, or has an error to report.
        writable: bool,
        /// A read that brings less than it could is not the last: the peer shut down its side, which one
        /// more read after the last byte will say, or sent something at which a read stops.
        read_closed: bool,
    },
    /// A source of the application's own.
    Source {
        /// The number that it was registered with.
        key: u32,
        /// It can be read.
        readable: bool,
        /// It can be written.
        writable: bool,
    },
}

/// A network with edge-triggered readiness: mio's, or a simulated one in tests.
///
/// # Contract
///
/// Readiness is told once: after it, [`read`](Self::read) or [`write`](Self::write) is called until
/// it gives `WouldBlock`, or fewer bytes than it was given room for (epoll(7)), before the next
/// readiness is relied on. Readiness may be spurious, late, or of a connection that is gone. All
/// calls are nonblocking but for [`wait`](Self::wait).
pub trait Net {
    /// One connection. Dropping it closes it.
    type Stream;

    /// The time. The loop asks once for each turn, after its wait, and once before it while the
    /// application has timers or the server is ending.
    fn now(&self) -> Instant;

    /// Waits until something is ready, for `timeout` at the most (`None`: for as long as it takes),
    /// and tells of each thing that is. A signal may end the wait early, with nothing ready.
    ///
    /// # Errors
    ///
    /// Any error is one of the network as a whole, and ends the loop.
    fn wait(&mut self, timeout: Option<Duration>, tell: impl FnMut(Ready)) -> io::Result<()>;

    /// Takes the next connection from a listener.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none. Errors of the one connection are skipped by the loop; of
    /// others see [`is_out_of_resources`](Self::is_out_of_resources).
    fn accept(&mut self, listener: u32) -> io::Result<(Self::Stream, Option<SocketAddr>)>;

    /// Whether an error of [`accept`](Self::accept) says that the process or the system has no
    /// room for a further connection.
    fn is_out_of_resources(&self, error: &io::Error) -> bool;

    /// Takes a connection and drops it at once, with the help of a descriptor held in reserve.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none to take; any other if there is no reserve.
    fn refuse(&mut self, listener: u32) -> io::Result<()>;

    /// Registers a connection under its id, for reading and writing.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn register(&mut self, stream: &mut Self::Stream, id: ConnId) -> io::Result<()>;

    /// Reads; 0 for the end.
    ///
    /// # Errors
    ///
    /// `WouldBlock` and `Interrupted` are not failures; any other error ends the connection.
    fn read(&mut self, stream: &mut Self::Stream, into: &mut [u8]) -> io::Result<usize>;

    /// Writes some or all of `from`, which is not empty.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    fn write(&mut self, stream: &mut Self::Stream, from: &[u8]) -> io::Result<usize>;

    /// Shuts down the writing side.
    ///
    /// # Errors
    ///
    /// Any error ends the connection.
    fn shut_down(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// What another thread wakes [`wait`](Self::wait) with.
    fn waker(&self) -> Box<dyn Wake + Send + Sync>;

    /// Stops listening, for good.
    fn close_listeners(&mut self);
}
