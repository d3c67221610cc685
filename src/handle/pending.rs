//! A request that is answered later, from any thread.

use std::{error, fmt, sync::Arc, time::Instant};

use super::{Command, Handle, HandleError, Reserved};
use crate::{
    event::{Accept, AcceptError, RequestId},
    mailbox::PushError,
    wire::{InvalidHeader, Request, Response},
};

/// A request whose answer is decided on elsewhere: by a thread pool that looks at
/// tokens, for example. [`Hub::defer`](crate::Hub::defer) gives it.
///
/// What is wrong with an answer is found here, on the caller's thread, and another one can be given. One
/// answer is accepted; the loop carries it out in a next turn, as it does the commands of a
/// [`Handle`]. If the request is over by then, the answer is dropped and counted in
/// [`stale_commands`](crate::Counters::stale_commands).
///
/// A `Pending` that is dropped without an answer answers 503, however full the mailbox is. The time for
/// an answer, [`answer_timeout`](crate::Config::answer_timeout), goes on meanwhile.
#[derive(Debug)]
#[must_use = "a request whose `Pending` is dropped is answered with 503"]
pub struct Pending {
    handle: Handle,
    id: RequestId,
    request: Arc<Request>,
    asked_at: Instant,
    is_answered: bool,
}

/// Why an answer of a [`Pending`] was not taken. Another answer can be given, but after
/// [`Answered`](Self::Answered) and [`Closed`](Self::Closed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// An answer was accepted before.
    Answered,
    /// The request cannot be accepted so.
    Accept(AcceptError),
    /// A header field of the response is invalid.
    InvalidHeader(InvalidHeader),
    /// The mailbox is full: see [`HandleError::Full`].
    Full,
    /// The server is gone.
    Closed,
}

impl Pending {
    pub(crate) fn new(
        handle: Handle,
        id: RequestId,
        request: Arc<Request>,
        asked_at: Instant,
    ) -> Self {
        Self { handle, id, request, asked_at, is_answered: false }
    }

    /// The request's id. Once the request is accepted, [`conn`](RequestId::conn) is the WebSocket's.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// What it asks for.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The hub's time when the request was deferred: what `close_at` counts from, also where time is
    /// simulated.
    pub fn asked_at(&self) -> Instant {
        self.asked_at
    }

    /// The server that it waits at.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Answers with 101: the connection is a WebSocket from here on. Commands of the same thread for
    /// [`id().conn()`](Self::id) come behind it: the first message, or a subscription.
    ///
    /// # Errors
    ///
    /// See [`AnswerError`].
    pub fn accept(&mut self, accept: Accept<'_>) -> Result<(), AnswerError> {
        accept.check(&self.request).map_err(AnswerError::Accept)?;
        let subprotocol = accept.subprotocol.map(Into::into);
        let headers = accept.headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let bytes = accept.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let id = self.id;
        self.answer(Command::Accept { id, subprotocol, headers: headers.collect() }, bytes)
            .map_err(|(error, _)| error)
    }

    /// Answers as plain HTTP.
    ///
    /// # Errors
    ///
    /// See [`AnswerError`]; the response comes back with it.
    pub fn respond(&mut self, response: Response) -> Result<(), (AnswerError, Response)> {
        let id = self.id;
        self.answer_with(response, |response| Command::Respond { id, response })
    }

    /// Answers with a response whose body follows in pieces, by [`Handle::write`] to
    /// [`id().conn()`](Self::id): see [`Hub::stream`](crate::Hub::stream).
    ///
    /// # Errors
    ///
    /// See [`AnswerError`]; the response comes back with it.
    pub fn stream(&mut self, response: Response) -> Result<(), (AnswerError, Response)> {
        let id = self.id;
        self.answer_with(response, |response| Command::Stream { id, response })
    }

    /// Answers with an event stream: see [`Hub::event_stream`](crate::Hub::event_stream).
    /// [`id().conn()`](Self::id) may subscribe to topics from here on.
    ///
    /// # Errors
    ///
    /// See [`AnswerError`]; the response comes back with it.
    pub fn event_stream(&mut self, response: Response) -> Result<(), (AnswerError, Response)> {
        let id = self.id;
        self.answer_with(response, |response| Command::EventStream { id, response })
    }

    fn answer_with(
        &mut self,
        response: Response,
        command: impl FnOnce(Box<Response>) -> Command,
    ) -> Result<(), (AnswerError, Response)> {
        if let Err(error) = response.check() {
            return Err((AnswerError::InvalidHeader(error), response));
        }
        let bytes = response.bytes();
        self.answer(command(Box::new(response)), bytes).map_err(|(error, command)| match command {
            Command::Respond { response, .. }
            | Command::Stream { response, .. }
            | Command::EventStream { response, .. } => (error, *response),
            other => unreachable!("a mailbox gives back what it was given, not {other:?}"),
        })
    }

    /// Answers with an HTTP status and a sentence that says why.
    ///
    /// # Errors
    ///
    /// See [`AnswerError`].
    pub fn refuse(&mut self, status: u16, why: &str) -> Result<(), AnswerError> {
        self.respond(Response::text(status, why)).map_err(|(error, _)| error)
    }

    fn answer(&mut self, command: Command, bytes: usize) -> Result<(), (AnswerError, Command)> {
        if self.is_answered {
            return Err((AnswerError::Answered, command));
        }
        let pushed = self.handle.shared.mailbox.try_push(command, bytes);
        self.is_answered = pushed.is_ok();
        pushed.map_err(|(error, command)| match error {
            PushError::Full => (AnswerError::Full, command),
            PushError::Closed => (AnswerError::Closed, command),
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.is_answered {
            let response = Response::text(503, "the server gave no answer");
            let command = Command::Respond { id: self.id, response: Box::new(response) };
            // If the server is gone, so is the request.
            let _ = self.handle.push_reserved(Reserved::Unanswered(self.id.conn()), command);
        }
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("the request is answered already"),
            Self::Accept(error) => error.fmt(f),
            Self::InvalidHeader(error) => error.fmt(f),
            Self::Full => HandleError::Full.fmt(f),
            Self::Closed => HandleError::Closed.fmt(f),
        }
    }
}

impl error::Error for AnswerError {}
