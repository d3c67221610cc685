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
        /// Reads are to go on until one gives [`Input::End`], `WouldBlock` or an error, whatever
        /// the reads before it say: the peer shut down its side, or sent something at which a read
        /// stops short.
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

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Bytes of plaintext, or a step towards some.
    Bytes {
        /// How many there are, at the front of the buffer. With 0, something came that is no
        /// plaintext yet, such as a part of a record or a step of a handshake: the peer is alive.
        count: usize,
        /// Another read may bring something without a further readiness: the loop reads again, in
        /// a later turn. If not, the loop waits for the next readiness, and forgets those before
        /// this read: a layer that gives what it had left says `more`, as it has not asked its
        /// transport.
        more: bool,
    },
    /// The peer has ended its side. Further reads give the same.
    End,
}

/// A network with edge-triggered readiness: mio's, or a simulated one in tests.
///
/// A stream carries plaintext between the loop and a peer. It may be a layer over a transport, with
/// a handshake, records and bytes of its own (TLS); then it holds *ciphertext* that has not left yet,
/// and the methods below say when it leaves. A plain socket holds nothing.
///
/// # What the loop promises
///
/// - After a readiness to read, it calls [`read`](Self::read) until that says that there is no
///   `more`, or gives the end, `WouldBlock` or an error; and until one of the last three if the
///   readiness said `read_closed`. It may do so many turns later, with other calls in between.
/// - It writes nothing to a connection before a read has brought a byte of it.
/// - After the writes of a turn, and after each read that did not fail, it calls
///   [`flush`](Self::flush).
/// - After a `WouldBlock` of `write`, `flush` or [`finish`](Self::finish), it does not write until it
///   is told that the connection is writable; then it calls `flush` before anything else waits for
///   the connection, and goes on where it stopped. Reads go on meanwhile.
/// - It calls `finish` when everything is written and flushed, and again on the next readiness to
///   write for as long as that gives `WouldBlock`. It writes nothing afterwards, and reads on.
/// - It calls again what a signal interrupted, at once.
/// - It drops a stream after an error of it, and else after its end or a deadline.
///
/// # What a network promises
///
/// - Readiness is told once, in a [`wait`](Self::wait) after it came about: to read, if the last
///   read gave no `more`, or `WouldBlock`, and there is something new; to write, if `write`,
///   `flush` or `finish` gave `WouldBlock` and what stood in the way is gone. Each later part of what
///   arrives is told of anew.
/// - Readiness may be late, for nothing, or of a connection that is gone.
/// - All calls are nonblocking but for `wait`.
/// - A stream holds a bounded number of bytes. Where it is full of ciphertext, `write` gives
///   `WouldBlock`. A read does not wait for ciphertext to leave, as no readiness to write makes the
///   loop read: a stream of which the peer's records demand more answers than it can hold fails.
pub trait Net {
    /// One connection. Dropping it closes it, and what it holds is lost.
    type Stream;

    /// The time. The loop asks once for each turn, after its wait, and once before it while the
    /// application has timers or the server is ending.
    ///
    /// The clock may stand still and does not go back; what it says after a wait is the time of the
    /// whole turn. It is the one that [`wait`](Self::wait) measures its timeout with.
    fn now(&self) -> Instant;

    /// Waits until something is ready, for `timeout` at the most (`None`: for as long as it takes;
    /// zero: not at all), and tells of each thing that is. A signal may end the wait early, with
    /// nothing ready.
    ///
    /// A wait that lasts for its timeout has brought [`now`](Self::now) that far, or the loop waits
    /// once more for what is due then. If it has brought it more than a second further, the loop
    /// takes the process to have been suspended, and what is due of connections is put off by the
    /// rest, as their peers' bytes are still to be read.
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

    /// Reads once. `into` is not empty, and may be shorter than what there is: the stream keeps the
    /// rest, and there is `more`. All of `into` may be written to.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing new came, not even a part of something. It and `Interrupted` are not
    /// failures; any other error ends the connection.
    fn read(&mut self, stream: &mut Self::Stream, into: &mut [u8]) -> io::Result<Input>;

    /// Takes some or all of `from`, which is not empty, and gives how many bytes: at least one. The
    /// stream may hold what becomes of them until it is flushed.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing can be taken until the connection is writable, which will be told. It
    /// and `Interrupted` are not failures; any other error ends the connection.
    fn write(&mut self, stream: &mut Self::Stream, from: &[u8]) -> io::Result<usize>;

    /// Hands what the stream holds to the transport. A stream that never holds anything needs no
    /// more than what is here.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if something is left, until the connection is writable, which will be told. It
    /// and `Interrupted` are not failures; any other error ends the connection.
    fn flush(&mut self, stream: &mut Self::Stream) -> io::Result<()> {
        let _ = stream;
        Ok(())
    }

    /// Shuts down the writing side: what a layer says last (a close_notify), then FIN.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if it is not done, and to be called again when the connection is writable, which
    /// will be told. It and `Interrupted` are not failures; any other error ends the connection.
    fn finish(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// What another thread wakes [`wait`](Self::wait) with.
    fn waker(&self) -> Box<dyn Wake + Send + Sync>;

    /// Stops listening, for good.
    fn close_listeners(&mut self);
}
