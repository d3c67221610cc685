//! What other threads hold of a server: a [`Handle`], which turns calls into commands for the loop.
//!
//! This file knows what may be asked from afar and what it costs in the mailbox. It must not know
//! how the loop carries a command out, nor wait for it.

mod command;
mod pending;
mod routes;

use std::{
    error, fmt, slice,
    sync::Arc,
    time::{Duration, Instant},
};

pub use command::Socket;
pub(crate) use command::{Command, Owned};
pub use pending::{AnswerError, Pending};
pub(crate) use routes::{Homes, Routes};

use crate::{
    counters::{Counters, LiveCounters, PrefixCounters},
    event::{AsMessage, ConnId, Message, Position},
    mailbox::{Mailbox, PushError, Wake},
    wire::CloseCode,
};

/// A server seen from another thread: cheap to clone, and free to outlive the server.
///
/// Where one process has several [`Loops`](crate::Loops), each handle reaches all: a command for a connection or
/// a topic goes to the loop that has it, and a shutdown to all. What else is for neither is for the loop that the
/// handle is of, or for all with [`Loops::handle`](crate::Loops::handle). Where the loops have topics of their own
/// ([`Loops::apart`](crate::Loops::apart)), a publication is for that of one loop: the handle's, and the first one's with
/// `Loops::handle`.
///
/// Every method returns at once. `Ok` means that the command was accepted, not that it was carried
/// out: the loop takes commands in its next turns, those of one thread in the order of the calls. A
/// command for a connection or a request that is gone by then is dropped and counted in
/// [`Counters::stale_commands`]; one that was accepted before the server was dropped may be lost
/// with it.
///
/// # Backpressure
///
/// At most `mailbox_commands_max` commands wait to be taken by the loop, with at most
/// `mailbox_bytes_max` bytes of topics, messages, reasons and answers in them. A command over either bound is
/// refused with [`HandleError::Full`] and changes nothing: the caller still has the message, and decides
/// whether to drop it or to try again later. [`notify`](Self::notify) and [`shutdown`](Self::shutdown)
/// have room of their own.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    /// If there are several loops: all of them. Commands go to the one that has the connection, or the topic.
    routes: Option<Arc<Routes>>,
    /// What is for no connection and no topic is for all loops, and not for one of them.
    is_of_all: bool,
}

struct Shared {
    mailbox: Mailbox<Command, Box<dyn Wake + Send + Sync>>,
    tally: Arc<LiveCounters>,
    read_bytes_max: usize,
}

/// Why a command of a [`Handle`] was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleError {
    /// The command would exceed `mailbox_commands_max` or `mailbox_bytes_max`. Once the loop has
    /// taken what waits there is room again, unless the command alone is over the bound in bytes.
    Full,
    /// More was read of a socket than `receive_buffer_bytes`, or `read_bytes_per_turn` if that is more.
    ReadTooLong,
    /// The server is gone, for good.
    Closed,
}

/// What has room of its own in a mailbox, for one command each.
#[derive(Clone, Copy)]
enum Reserved {
    Shutdown,
    /// Another loop has something for this one.
    Lanes,
    Notify(u32),
    /// The answer that a connection's waiting request gets if the application gives none.
    Unanswered(ConnId),
}

impl Reserved {
    fn key(self) -> u64 {
        match self {
            // Neither 0 nor u32::MAX is a connection's generation.
            Self::Shutdown => u64::MAX,
            Self::Lanes => u64::MAX - 1,
            Self::Notify(key) => key.into(),
            Self::Unanswered(id) => id.to_bits(),
        }
    }
}

impl Handle {
    /// `tally` is the loop's own: a handle only reads it.
    pub(crate) fn new(
        waker: Box<dyn Wake + Send + Sync>,
        commands_max: usize,
        bytes_max: usize,
        read_bytes_max: usize,
        tally: Arc<LiveCounters>,
    ) -> Self {
        let mailbox = Mailbox::new(waker, commands_max, bytes_max);
        let shared = Arc::new(Shared { mailbox, tally, read_bytes_max });
        Self { shared, routes: None, is_of_all: false }
    }

    /// The same loop, as one of several; or, with `is_of_all`, all of them.
    pub(crate) fn routed(&self, routes: &Arc<Routes>, is_of_all: bool) -> Self {
        let (shared, routes) = (Arc::clone(&self.shared), Some(Arc::clone(routes)));
        Self { shared, routes, is_of_all }
    }

    /// The loop that has the connection.
    fn of(&self, id: ConnId) -> &Self {
        self.routes.as_deref().map_or(self, |routes| &routes.loops()[routes.of(id)])
    }

    /// The loop that the topic belongs to: where each has topics of its own, this one.
    fn home(&self, topic: &str) -> &Self {
        let routes = self.routes.as_deref();
        let home = routes.and_then(|routes| Some(&routes.loops()[routes.home(topic)?]));
        home.unwrap_or(self)
    }

    /// The loops that this is a handle of.
    fn loops(&self) -> &[Self] {
        match &self.routes {
            Some(routes) if self.is_of_all => routes.loops(),
            Some(_) | None => slice::from_ref(self),
        }
    }

    /// Another loop has something for this one.
    pub(crate) fn wake_for_lanes(&self) {
        // A loop that is gone needs nothing.
        let _ = self.push_reserved(Reserved::Lanes, Command::Lanes);
    }

    /// All loops are to look around.
    pub(crate) fn wake_all(&self) {
        self.loops().iter().for_each(Self::wake_for_lanes);
    }

    /// Publishes `message` to every subscriber of `topic`.
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn publish(&self, topic: &str, message: impl AsMessage) -> Result<(), HandleError> {
        self.publish_to(topic, message.as_message(), None)
    }

    /// Publishes `message` to every subscriber of `topic` but one.
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn publish_except(
        &self,
        topic: &str,
        message: impl AsMessage,
        except: ConnId,
    ) -> Result<(), HandleError> {
        self.publish_to(topic, message.as_message(), Some(except))
    }

    /// Publishes `message` unless it was published under this `key` before, as
    /// [`Hub::publish_once`](crate::Hub::publish_once) does.
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn publish_once(
        &self,
        topic: &str,
        key: &str,
        message: impl AsMessage,
    ) -> Result<(), HandleError> {
        let message = message.as_message();
        let bytes = topic.len().saturating_add(key.len()).saturating_add(message.as_bytes().len());
        let message = message.into();
        let command = Command::PublishOnce { topic: topic.into(), key: key.into(), message };
        self.home(topic).push(command, bytes)
    }

    fn publish_to(
        &self,
        topic: &str,
        message: Message<'_>,
        except: Option<ConnId>,
    ) -> Result<(), HandleError> {
        let bytes = topic.len().saturating_add(message.as_bytes().len());
        let message = message.into();
        self.home(topic).push(Command::Publish { topic: topic.into(), message, except }, bytes)
    }

    /// Sends `message` to one connection.
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn send(&self, id: ConnId, message: impl AsMessage) -> Result<(), HandleError> {
        let message = message.as_message();
        let bytes = message.as_bytes().len();
        self.of(id).push(Command::Send { id, message: message.into() }, bytes)
    }

    /// Subscribes a connection to a topic, as [`Hub::subscribe`](crate::Hub::subscribe) does. If the
    /// connection or the process is at a limit of topics, that is counted in
    /// [`Counters::commands_refused`].
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn subscribe(&self, id: ConnId, topic: &str) -> Result<(), HandleError> {
        self.of(id).push(Command::Subscribe { id, topic: topic.into() }, topic.len())
    }

    /// Subscribes a connection that comes back, as
    /// [`Hub::subscribe_after`](crate::Hub::subscribe_after) does.
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn subscribe_after(
        &self,
        id: ConnId,
        topic: &str,
        position: Position,
    ) -> Result<(), HandleError> {
        self.of(id).push(Command::SubscribeAfter { id, topic: topic.into(), position }, topic.len())
    }

    /// Subscribes a connection that begins with the latest publications, as
    /// [`Hub::subscribe_last`](crate::Hub::subscribe_last) does.
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn subscribe_last(&self, id: ConnId, topic: &str, count: u64) -> Result<(), HandleError> {
        self.of(id).push(Command::SubscribeLast { id, topic: topic.into(), count }, topic.len())
    }

    /// Ends a subscription.
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn unsubscribe(&self, id: ConnId, topic: &str) -> Result<(), HandleError> {
        self.of(id).push(Command::Unsubscribe { id, topic: topic.into() }, topic.len())
    }

    /// Writes a piece of the body of a [`stream`](crate::Hub::stream). If it is more than the stream or
    /// the process has room for, the stream is ended there, its peer of HTTP/1.1 sees that something is
    /// missing, and that is counted in [`Counters::commands_refused`].
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn write(&self, id: ConnId, piece: impl AsRef<[u8]>) -> Result<(), HandleError> {
        let piece = piece.as_ref();
        self.of(id).push(Command::Write { id, piece: piece.into() }, piece.len())
    }

    /// Ends the body of a [`stream`](crate::Hub::stream) behind all that was written.
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn finish(&self, id: ConnId) -> Result<(), HandleError> {
        self.of(id).push(Command::Finish { id }, 0)
    }

    /// Begins the closing handshake of one connection with `code` and `reason`, of which at most
    /// 123 bytes are sent (RFC 6455 §5.5.1); a request that still waits is refused with 503. See
    /// [`Hub::close`](crate::Hub::close).
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn close(&self, id: ConnId, code: CloseCode, reason: &str) -> Result<(), HandleError> {
        self.of(id).push(Command::Close { id, code, reason: reason.into() }, reason.len())
    }

    /// Closes one connection at a moment, as [`Hub::close_at`](crate::Hub::close_at) does.
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn close_at(
        &self,
        id: ConnId,
        at: Instant,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), HandleError> {
        self.of(id).push(Command::CloseAt { id, at, code, reason: reason.into() }, reason.len())
    }

    /// Drops one connection at once, as [`Hub::abort`](crate::Hub::abort) does.
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn abort(&self, id: ConnId) -> Result<(), HandleError> {
        self.of(id).push(Command::Abort { id }, 0)
    }

    /// Hands over a connected socket, of which `read` was read already: the server takes it as if it had
    /// accepted it. So an HTTP server, or a loop of your own that accepts, can share its port. `read`
    /// begins with the head of an HTTP request and has all that was read since. Socket and bytes are
    /// those of the wire: not those of a TLS session, for example.
    ///
    /// The server's limits hold as for any other connection; one too many is closed, and counted in
    /// [`Counters::connections_refused`].
    ///
    /// # Errors
    ///
    /// The command is refused as others are, `read` counted in its bytes, or with
    /// [`HandleError::ReadTooLong`]; the socket comes back with the [`HandleError`].
    pub fn adopt(
        &self,
        socket: impl Into<Socket>,
        read: &[u8],
    ) -> Result<(), (HandleError, Socket)> {
        if read.len() > self.shared.read_bytes_max {
            return Err((HandleError::ReadTooLong, socket.into()));
        }
        let idlest = self.routes.as_deref().filter(|_| self.is_of_all).and_then(Routes::idlest);
        let command = Command::Adopt { socket: socket.into(), read: read.into() };
        idlest.unwrap_or(self).shared.mailbox.try_push(command, read.len()).map_err(
            |(error, command)| match command {
                Command::Adopt { socket, .. } => (error.into(), socket),
                other => unreachable!("a mailbox gives back what it was given, not {other:?}"),
            },
        )
    }

    /// Wakes the application: [`Event::Notified`](crate::Event::Notified) and
    /// [`Handler::on_notify`](crate::Handler::on_notify) come with this key. Calls with one key are one
    /// event until the loop has taken it; each call is followed by an event. What it is about lies in a
    /// queue of the application's own.
    ///
    /// # Errors
    ///
    /// [`HandleError::Closed`] alone: a full mailbox has room for one such command of each key.
    pub fn notify(&self, key: u32) -> Result<(), HandleError> {
        let notified = self
            .loops()
            .iter()
            .map(|it| it.push_reserved(Reserved::Notify(key), Command::Notify { key }));
        any_of(notified)
    }

    /// Begins to end the server as [`Hub::shutdown`](crate::Hub::shutdown) does, with a `deadline`
    /// from when the loop took the command. While one shutdown waits for the loop, another one
    /// replaces its deadline.
    ///
    /// # Errors
    ///
    /// [`HandleError::Closed`] alone: a full mailbox has room for this command.
    pub fn shutdown(&self, deadline: Duration) -> Result<(), HandleError> {
        let all = self.routes.as_deref().map_or(slice::from_ref(self), Routes::loops);
        let told = |it: &Self| it.push_reserved(Reserved::Shutdown, Command::Shutdown { deadline });
        any_of(all.iter().map(told))
    }

    /// What the server has done so far, even when it is gone.
    pub fn counters(&self) -> Counters {
        Counters::sum(self.loops().iter().map(|it| it.shared.tally.snapshot()))
    }

    /// What topics have done so far whose names begin with each of the prefixes of
    /// [`Hub::configure_topics`](crate::Hub::configure_topics), in the order in which they were given.
    pub fn prefix_counters(&self) -> Vec<(String, PrefixCounters)> {
        let mut sum = Vec::new();
        for it in self.loops() {
            PrefixCounters::add_all(&mut sum, it.shared.tally.prefixes.snapshot());
        }
        sum
    }

    /// For the loop: takes every command that waits into `batch`, which is empty.
    pub(crate) fn take(&self, batch: &mut Vec<Command>) {
        self.shared.mailbox.take(batch);
    }

    /// For the loop's end: from here on every handle answers [`HandleError::Closed`]. Returns the
    /// commands that were accepted and never taken.
    pub(crate) fn close_mailbox(&self) -> Vec<Command> {
        self.shared.mailbox.close()
    }

    fn push(&self, command: Command, bytes: usize) -> Result<(), HandleError> {
        self.shared.mailbox.push(command, bytes).map_err(HandleError::from)
    }

    fn push_reserved(&self, room: Reserved, command: Command) -> Result<(), HandleError> {
        self.shared.mailbox.push_reserved(room.key(), command).map_err(HandleError::from)
    }
}

/// Done, if any of the loops has taken it: the others are gone.
fn any_of(results: impl Iterator<Item = Result<(), HandleError>>) -> Result<(), HandleError> {
    let mut any = Err(HandleError::Closed);
    for result in results {
        any = any.or(result);
    }
    any
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl From<PushError> for HandleError {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Full => Self::Full,
            PushError::Closed => Self::Closed,
        }
    }
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the mailbox is at `mailbox_commands_max` or `mailbox_bytes_max`",
            Self::ReadTooLong => "more was read than `receive_buffer_bytes`",
            Self::Closed => "the server is gone",
        })
    }
}

impl error::Error for HandleError {}

#[cfg(test)]
mod tests;
