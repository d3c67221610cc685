//! What the loop needs of a network, and the contract that it relies on.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use crate::{counters::LayerCounts, event::ConnId, handle::Socket, mailbox::Wake};

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
        /// How many bytes, at the front of the buffer. 0 means that something came that is no
        /// plaintext yet, such as a part of a record or a step of a handshake: the peer is alive.
        count: usize,
        /// Another read may bring something without a further readiness: the loop reads again, in
        /// a later turn. If not, the loop waits for the next readiness, and forgets those before
        /// this read. So a layer that gives what it had left, without a look at its transport,
        /// says `more`.
        more: bool,
    },
    /// The peer has ended its side. Further reads give the same.
    End,
}

/// A network with edge-triggered readiness: mio's, or a simulated one in tests.
///
/// A stream carries plaintext between the loop and a peer. It is a plain socket, or a layer over one,
/// with a handshake and records (TLS). A layer holds ciphertext that has not left yet, and the loop
/// gives it the occasions to send it. A plain socket holds nothing, and costs nothing for this.
///
/// # What the loop promises
///
/// - After a readiness to read, it calls [`read`](Self::read) until a read says that there is no
///   `more`, or gives the end, `WouldBlock` or an error. After one with `read_closed`, only the last
///   three count. The reads may come many turns later, and other calls between them.
/// - It writes to a connection only after a read has brought plaintext of it.
/// - It calls [`flush`](Self::flush) after the writes of a turn, and after each read that did not
///   fail.
/// - After a `WouldBlock` of `write`, `flush` or [`finish`](Self::finish), it writes nothing until it
///   is told that the connection is writable. Then it goes on: with writes if any wait, and with a
///   flush in any case. It reads on meanwhile. Other readiness to write is ignored.
/// - It calls `finish` once everything is written and a flush has left nothing. If that gives
///   `WouldBlock`, it flushes and calls it again when the connection is writable. Afterwards it
///   writes nothing, and reads on.
/// - It calls anything again at once that gives `Interrupted`.
/// - It [releases](Self::release) a stream after an error, at the end, at a deadline, or to free what the
///   stream takes.
///
/// # What a network promises
///
/// - Each readiness is told once, by a [`wait`](Self::wait) after it came about. There is one to read
///   when something new arrives, and one to write when something can leave after a `WouldBlock`.
/// - A readiness may be late, for nothing, or of a connection that is gone.
/// - No call blocks but `wait`.
/// - What a stream holds is bounded. If its ciphertext has no more room, `write` gives `WouldBlock`.
/// - A read does not wait for ciphertext to leave: no readiness to write makes the loop read. If the
///   peer's records demand more answers than the stream can hold, the read fails.
/// - A stream that has something to say about an error sends it before it gives the error.
pub trait Net {
    /// One connection.
    type Stream;

    /// The time. The loop asks once for each turn, after its wait, and once before it while the
    /// application has timers or the server is ending.
    ///
    /// The clock does not go back, and may stand still outside of a wait. What it says after a wait is
    /// the time of the whole turn. [`wait`](Self::wait) measures its timeout with the same clock.
    fn now(&self) -> Instant;

    /// The time of day, for the `Date` of responses (RFC 9110 §6.6.1), which have none without it. It is
    /// asked for a few times a second at most, and may go back.
    fn wall_clock(&self) -> Option<SystemTime> {
        None
    }

    /// Waits until something is ready, for `timeout` at the most (`None`: for as long as it takes;
    /// zero: not at all), and tells of each thing that is. A signal may end the wait early, with
    /// nothing ready.
    ///
    /// A wait that ends at its timeout has moved [`now`](Self::now) on by as much: if it has not, the
    /// loop waits again for what is due then. If it has moved it on by more than a second beyond,
    /// the loop takes the process to have stood still: the connections' deadlines are put off by what
    /// exceeds the second, as their peers' bytes are still to be read.
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

    /// Takes a connected socket that was accepted elsewhere: see
    /// [`Handle::adopt`](crate::Handle::adopt). A network that has no sockets needs no more than what is
    /// here.
    ///
    /// # Errors
    ///
    /// Any error drops the socket.
    fn adopt(&mut self, socket: Socket) -> io::Result<(Self::Stream, Option<SocketAddr>)> {
        drop(socket);
        Err(io::ErrorKind::Unsupported.into())
    }

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

    /// Reads once. `into` is not empty, and may be shorter than what there is: then the stream keeps
    /// the rest and says `more`. All of `into` may be written to, as a layer's ciphertext is.
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

    /// Takes a stream back and closes it: what it holds is lost. A stream that closes when it is dropped needs
    /// no more than what is here.
    fn release(&mut self, stream: Self::Stream) {
        drop(stream);
    }

    /// What is counted of streams that are layers. The loop asks in each turn. A network without layers
    /// needs no more than what is here.
    fn layer_counts(&self) -> Option<LayerCounts> {
        None
    }

    /// What another thread wakes [`wait`](Self::wait) with.
    fn waker(&self) -> Box<dyn Wake + Send + Sync>;

    /// Stops listening, for good.
    fn close_listeners(&mut self);
}
