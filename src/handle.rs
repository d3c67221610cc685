//! What other threads hold of a server: a [`Handle`], which turns calls into commands for the loop.
//!
//! This file knows what may be asked from afar and what it costs in the mailbox. It must not know
//! how the loop carries a command out, nor wait for it.

use std::{error, fmt, sync::Arc, time::Duration};

use crate::{
    counters::{Counters, Tally},
    event::{AsMessage, ConnId, Message},
    mailbox::{Mailbox, PushError, Wake},
    wire::CloseCode,
};

/// A server seen from another thread: cheap to clone, and free to outlive the server.
///
/// Every method returns at once. `Ok` means that the command was accepted, not that it was carried
/// out: the loop takes commands in its next turns, those of one thread in the order of the calls. A
/// command for a connection that is gone by then is dropped and counted in
/// [`Counters::stale_commands`]; one that was accepted before the server was dropped may be lost
/// with it.
///
/// # Backpressure
///
/// At most `mailbox_commands_max` commands wait to be taken by the loop, with at most
/// `mailbox_bytes_max` bytes of topics, messages and reasons in them. A command over either bound is
/// refused with [`HandleError::Full`] and changes nothing: the caller still has the message, and decides
/// whether to drop it or to try again later. [`shutdown`](Self::shutdown) has room of its own.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    mailbox: Mailbox<Command, Box<dyn Wake + Send + Sync>>,
    tally: Arc<Tally>,
}

/// Why a command of a [`Handle`] was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleError {
    /// The command would exceed `mailbox_commands_max` or `mailbox_bytes_max`. Once the loop has
    /// taken what waits there is room again, unless the command alone is over the bound in bytes.
    Full,
    /// The server is gone, for good.
    Closed,
}

/// What a handle asks of the loop.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Publish { topic: Box<str>, message: Owned },
    Send { id: ConnId, message: Owned },
    Close { id: ConnId, code: CloseCode, reason: Box<str> },
    Shutdown { deadline: Duration },
}

/// A [`Message`] on its way between threads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    Text(Box<str>),
    Binary(Box<[u8]>),
}

impl Handle {
    /// `tally` is the loop's own: a handle only reads it.
    pub(crate) fn new(
        waker: Box<dyn Wake + Send + Sync>,
        commands_max: usize,
        bytes_max: usize,
        tally: Arc<Tally>,
    ) -> Self {
        let mailbox = Mailbox::new(waker, commands_max, bytes_max);
        Self { shared: Arc::new(Shared { mailbox, tally }) }
    }

    /// Publishes `message` to every subscriber of `topic`.
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn publish(&self, topic: &str, message: impl AsMessage) -> Result<(), HandleError> {
        let message = message.as_message();
        let bytes = topic.len().saturating_add(message.as_bytes().len());
        self.push(Command::Publish { topic: topic.into(), message: message.into() }, bytes)
    }

    /// Sends `message` to one connection.
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn send(&self, id: ConnId, message: impl AsMessage) -> Result<(), HandleError> {
        let message = message.as_message();
        let bytes = message.as_bytes().len();
        self.push(Command::Send { id, message: message.into() }, bytes)
    }

    /// Begins the closing handshake of one connection with `code` and `reason`, of which at most
    /// 123 bytes are sent (RFC 6455 §5.5.1).
    ///
    /// # Errors
    ///
    /// [`HandleError::Full`] and [`HandleError::Closed`]; see [Backpressure](#backpressure).
    pub fn close(&self, id: ConnId, code: CloseCode, reason: &str) -> Result<(), HandleError> {
        self.push(Command::Close { id, code, reason: reason.into() }, reason.len())
    }

    /// Begins to end the server as [`Hub::shutdown`](crate::Hub::shutdown) does, with a `deadline`
    /// from when the loop took the command. While one shutdown waits for the loop, another one
    /// replaces its deadline.
    ///
    /// # Errors
    ///
    /// [`HandleError::Closed`] alone: a full mailbox has room for this command.
    pub fn shutdown(&self, deadline: Duration) -> Result<(), HandleError> {
        self.shared.mailbox.push_reserved(Command::Shutdown { deadline }).map_err(HandleError::from)
    }

    /// What the server has done so far, even when it is gone.
    pub fn counters(&self) -> Counters {
        self.shared.tally.snapshot()
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
            Self::Closed => "the server is gone",
        })
    }
}

impl error::Error for HandleError {}

impl Owned {
    pub(crate) fn message(&self) -> Message<'_> {
        match self {
            Self::Text(text) => Message::Text(text),
            Self::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

impl From<Message<'_>> for Owned {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.into()),
            Message::Binary(bytes) => Self::Binary(bytes.into()),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{io, thread};

    use super::*;

    struct NoWaker;

    impl Wake for NoWaker {
        fn wake(&self) -> io::Result<()> {
            Ok(())
        }
    }

    const ID: ConnId = ConnId::from_bits(1 << 32 | 7);

    fn handle(commands_max: usize, bytes_max: usize) -> Handle {
        Handle::new(Box::new(NoWaker), commands_max, bytes_max, Arc::default())
    }

    fn taken(handle: &Handle) -> Vec<Command> {
        let mut batch = Vec::new();
        handle.take(&mut batch);
        batch
    }

    #[test]
    fn commands_arrive_in_the_order_of_the_calls_and_as_they_were_given() {
        let handle = handle(8, 64);
        handle.publish("scores", Message::Text("Goal!")).unwrap();
        handle.send(ID, Message::Binary(&[0xff, 0])).unwrap();
        handle.shutdown(Duration::from_secs(30)).unwrap();
        handle.close(ID, CloseCode::NORMAL, "bye").unwrap();
        let message = Owned::Text("Goal!".into());
        assert_eq!(message.message(), Message::Text("Goal!"));
        let bytes = Owned::Binary([0xff, 0].into());
        assert_eq!(bytes.message(), Message::Binary(&[0xff, 0]));
        let expected = [
            Command::Publish { topic: "scores".into(), message },
            Command::Send { id: ID, message: bytes },
            Command::Shutdown { deadline: Duration::from_secs(30) },
            Command::Close { id: ID, code: CloseCode::NORMAL, reason: "bye".into() },
        ];
        assert_eq!(taken(&handle), expected);
    }

    #[test]
    fn commands_are_accepted_up_to_mailbox_commands_max() {
        let handle = handle(3, usize::MAX);
        handle.publish("t", Message::Text("1")).unwrap();
        handle.send(ID, Message::Text("2")).unwrap();
        handle.close(ID, CloseCode::NORMAL, "3").unwrap();
        let full = Err(HandleError::Full);
        assert_eq!(handle.publish("", Message::Text("")), full);
        assert_eq!(handle.send(ID, Message::Text("")), full);
        assert_eq!(handle.close(ID, CloseCode::NORMAL, ""), full);
        assert_eq!(taken(&handle).len(), 3);
        assert_eq!(handle.publish("t", Message::Text("4")), Ok(()));
    }

    #[test]
    fn topics_messages_and_reasons_are_accepted_up_to_mailbox_bytes_max() {
        let full = Err(HandleError::Full);
        let handle = handle(usize::MAX, 10);
        assert_eq!(handle.publish("topic", Message::Text("123456")), full);
        assert_eq!(handle.publish("topic", Message::Text("12345")), Ok(()));
        assert_eq!(handle.send(ID, Message::Text("1")), full);
        assert_eq!(handle.send(ID, Message::Text("")), Ok(()));
        assert_eq!(taken(&handle).len(), 2);
        assert_eq!(handle.send(ID, Message::Binary(&[0; 11])), full);
        assert_eq!(handle.send(ID, Message::Binary(&[0; 10])), Ok(()));
        assert_eq!(taken(&handle).len(), 1);
        assert_eq!(handle.close(ID, CloseCode::NORMAL, "0123456789."), full);
        assert_eq!(handle.close(ID, CloseCode::NORMAL, "0123456789"), Ok(()));
        assert_eq!(taken(&handle).len(), 1);
    }

    #[test]
    fn shutdown_goes_through_when_the_mailbox_is_full() {
        let handle = handle(1, 1);
        handle.send(ID, Message::Text("1")).unwrap();
        assert_eq!(handle.send(ID, Message::Text("")), Err(HandleError::Full));
        assert_eq!(handle.shutdown(Duration::from_secs(30)), Ok(()));
        assert_eq!(handle.shutdown(Duration::from_secs(1)), Ok(()));
        let commands = taken(&handle);
        assert_eq!(commands[1..], [Command::Shutdown { deadline: Duration::from_secs(1) }]);
    }

    #[test]
    fn a_handle_that_outlives_its_server_says_so() {
        let handle = handle(8, 64);
        handle.shutdown(Duration::ZERO).unwrap();
        let other = handle.clone();
        assert_eq!(handle.close_mailbox(), [Command::Shutdown { deadline: Duration::ZERO }]);
        let closed = Err(HandleError::Closed);
        assert_eq!(other.publish("t", Message::Text("")), closed);
        assert_eq!(other.send(ID, Message::Text("")), closed);
        assert_eq!(other.close(ID, CloseCode::NORMAL, ""), closed);
        assert_eq!(other.shutdown(Duration::ZERO), closed);
        assert_eq!(other.counters(), Counters::default());
    }

    #[test]
    fn clones_work_on_every_thread_and_read_the_counters() {
        let tally = Arc::<Tally>::default();
        let handle = Handle::new(Box::new(NoWaker), 100, 100, Arc::clone(&tally));
        tally.deliveries.add(42);
        thread::scope(|scope| {
            for topic in ["a", "b"] {
                let handle = handle.clone();
                scope.spawn(move || {
                    assert_eq!(handle.counters().deliveries, 42);
                    for n in 0_u8..10 {
                        handle.publish(topic, Message::Binary(&[n])).unwrap();
                    }
                });
            }
        });
        let mut commands = taken(&handle);
        // Stable: what came from one thread stays in its order.
        commands.sort_by_key(|command| match command {
            Command::Publish { topic, .. } => topic.clone(),
            other => panic!("{other:?} was never asked for"),
        });
        let expected = ["a", "b"].into_iter().flat_map(|topic| {
            (0_u8..10).map(move |n| Command::Publish {
                topic: topic.into(),
                message: Owned::Binary([n].into()),
            })
        });
        assert!(commands.into_iter().eq(expected));
    }

    #[test]
    fn a_full_mailbox_names_its_limits() {
        let full = HandleError::Full.to_string();
        assert!(full.contains("mailbox_commands_max") && full.contains("mailbox_bytes_max"));
        assert!(HandleError::Closed.to_string().contains("gone"));
    }
}
