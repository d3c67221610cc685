//! What happened: connection ids, messages, and the batch of events that the caller owns.
//!
//! This module must not know what fills a batch, nor anything of connections' states.

mod answer;
mod encoder;
mod ids;
mod message;
mod position;
mod reason;

use std::{net::SocketAddr, slice, str, sync::Arc};

pub use answer::{Accept, AcceptError, RespondError};
pub use encoder::{Encoder, EncodingId, EncodingsFull, Publication};
pub use ids::{ConnId, RequestId};
pub use message::{AsMessage, Message};
pub use position::{InvalidPosition, Position};

use crate::wire::{CloseCode, ProtocolError, Request, Response};

/// Something that happened in a turn of the loop.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A whole HTTP request came; it waits for [`accept`](crate::Hub::accept),
    /// [`respond`](crate::Hub::respond) or [`refuse`](crate::Hub::refuse). Answer each, plain HTTP
    /// too: `accept` answers 426 to what asks for no WebSocket. Without an answer it gets 503 after
    /// [`answer_timeout`](crate::Config::answer_timeout).
    Request {
        /// The request; [`conn`](RequestId::conn) gives its connection.
        id: RequestId,
        /// What it asks for.
        request: &'a Request,
    },
    /// The head of a request came, and its body is still to come. If the request is answered in this
    /// batch, with [`respond`](crate::Hub::respond) or [`refuse`](crate::Hub::refuse), the body is not
    /// waited for, and the connection ends with the answer. Else the body is read from the next turn on,
    /// after `100 Continue` if the peer waits for that (RFC 9110 §10.1.1), and
    /// [`Request`](Self::Request) follows with the same id, or [`RequestGone`](Self::RequestGone).
    ///
    /// Nothing is told of a head that came with its whole body: [`Request`](Self::Request) is there at once.
    /// [`Handler::on_head`](crate::Handler::on_head) is called for these as well.
    RequestHead {
        /// The request that it will be.
        id: RequestId,
        /// What it asks for; its body is empty.
        request: &'a Request,
    },
    /// The requester has left, or the server has answered in the application's place. Comes at most once
    /// for a request, and not if the application answered it before this batch was filled.
    /// [`run`](crate::Server::run) leaves out requests that were answered since.
    ///
    /// A request of which the head was told ([`RequestHead`](Self::RequestHead)) and not answered, and the body
    /// then does not come whole, is told to be gone as well.
    ///
    /// It is a notice. A peer that has sent its last byte may still read, and nothing tells it from one
    /// that is gone. Until the connection ends, the request can be answered all the same, and if an
    /// answer costs little, it should be. If the server answered itself (503 after
    /// [`answer_timeout`](crate::Config::answer_timeout), for want of memory or on
    /// [`Hub::close`](crate::Hub::close), 500 after a panic), or the connection has ended, an answer is
    /// [`Gone`](crate::RespondError::Gone).
    RequestGone {
        /// The request, of which an earlier batch told.
        id: RequestId,
    },
    /// The connection was accepted as a WebSocket. Comes once, before its first message.
    Opened {
        /// The connection.
        id: ConnId,
    },
    /// A whole message came.
    Message {
        /// The connection.
        id: ConnId,
        /// The message, borrowed from the batch.
        message: Message<'a>,
    },
    /// Nothing that was sent to this connection directly waits any more, after the kernel had refused
    /// some bytes of the connection. Publications may still be due. Or less waits than
    /// [`notify_below`](crate::Hub::notify_below) asked to be told of.
    Writable {
        /// The connection.
        id: ConnId,
    },
    /// An open connection is over. Comes once, after its last message.
    Closed {
        /// The connection.
        id: ConnId,
        /// Why.
        reason: Reason<'a>,
    },
    /// A timer that was set with [`Hub::set_timer`](crate::Hub::set_timer) is due.
    Timer {
        /// The key that it was set with.
        key: u64,
    },
    /// The server itself refused a request, which the application does not hear of otherwise: it broke a
    /// rule of HTTP or RFC 6455 or a limit, named a host that is not this server's, came from a page that
    /// may not connect, or did not come whole in time. The connection ends with that.
    Refused {
        /// The other end, where it has an address.
        peer: Option<SocketAddr>,
        /// The status that it got.
        status: u16,
        /// The sentence that it got.
        why: &'a str,
    },
    /// Another thread called [`Handle::notify`](crate::Handle::notify).
    Notified {
        /// The key that it gave.
        key: u32,
    },
    /// A source of the caller's own, registered with the server's poll, became ready.
    Source {
        /// The number that it was registered with.
        key: u32,
        /// It can be read, or has an error to report.
        readable: bool,
        /// It can be written, or has an error to report.
        writable: bool,
    },
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason<'a> {
    /// The peer closed: its code (1005 if it gave none) and its reason, untrusted text.
    Peer {
        /// The code as received, 1005 for none.
        code: u16,
        /// The reason as received; often empty.
        text: &'a str,
    },
    /// `close` or `close_at` closed it, of a [`Hub`](crate::Hub) or of a [`Handle`](crate::Handle), with
    /// this code; or a [`Handler`](crate::Handler) panicked over it, with 1011.
    Local {
        /// The code that was sent.
        code: CloseCode,
    },
    /// `abort` dropped it, of a [`Hub`](crate::Hub) or of a [`Handle`](crate::Handle).
    Aborted,
    /// The peer broke the protocol; it was told so with the error's close code.
    Protocol(ProtocolError),
    /// The connection ended without a Close frame.
    Lost,
    /// The peer stayed silent after a Ping; if it is still there, it was told so with 1011.
    TimedOut,
    /// No message in either direction for `idle_timeout`.
    Idle,
    /// The peer read too slowly. The Close frame names the limit: `send_queue_bytes_max`,
    /// `topic_lag_bytes_max`, `blocked_timeout`; or `send_queues_bytes_max`, if the process was nearly
    /// full and this connection was among those for which most waited.
    Overflow,
    /// More than `incomplete_bytes_max` was incomplete in the whole process, or more kept than
    /// `deflate_windows_bytes_max` of what clients sent compressed, and much of it here.
    ProcessFull,
    /// The server was shut down.
    Shutdown,
}

impl Reason<'_> {
    /// The close code that belongs to it (RFC 6455 §7.4), as a browser's `CloseEvent` would say: 1006 if
    /// no Close frame came.
    pub fn code(&self) -> u16 {
        match self {
            Reason::Peer { code, .. } => *code,
            Reason::Local { code } => code.get(),
            Reason::Protocol(error) => error.close_code().get(),
            Reason::Aborted | Reason::Lost | Reason::TimedOut => 1006,
            Reason::Idle | Reason::Shutdown => CloseCode::GOING_AWAY.get(),
            Reason::Overflow | Reason::ProcessFull => CloseCode::TRY_AGAIN_LATER.get(),
        }
    }
}

/// Where the bytes of an event lie in the batch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Span {
    #[default]
    Empty,
    /// In the receive buffer.
    Received { start: u32, end: u32 },
    /// An assembled message of its own.
    Assembled(u32),
}

/// `Reason` with its text in the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    Peer { code: u16 },
    Local { code: CloseCode },
    Aborted,
    Protocol(ProtocolError),
    Lost,
    TimedOut,
    Idle,
    Overflow,
    ProcessFull,
    Shutdown,
}

impl Record {
    /// An end without text.
    pub(crate) fn closed(id: ConnId, cause: Cause) -> Record {
        Record::Closed { id, cause, text: Span::Empty }
    }
}

/// An `Event`, with places in the batch for what it borrows. It is `Copy`, so that a batch is emptied
/// without a look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Record {
    /// By its place in `Events::requests`.
    Request {
        id: RequestId,
        at: u32,
    },
    RequestHead {
        id: RequestId,
        at: u32,
    },
    RequestGone {
        id: RequestId,
    },
    Opened {
        id: ConnId,
    },
    /// A message in the receive buffer, as most are.
    Received {
        id: ConnId,
        is_text: bool,
        start: u32,
        end: u32,
    },
    /// A message that is in `Events::assembled`.
    Assembled {
        id: ConnId,
        is_text: bool,
        at: u32,
    },
    Writable {
        id: ConnId,
    },
    Closed {
        id: ConnId,
        cause: Cause,
        text: Span,
    },
    Timer {
        key: u64,
    },
    /// By its place in `Events::refusals`.
    Refused {
        at: u32,
    },
    Notified {
        key: u32,
    },
    Source {
        key: u32,
        readable: bool,
        writable: bool,
    },
}

/// A batch of what happened in one turn, owned by the caller and filled by
/// [`Server::poll`](crate::Server::poll).
///
/// It owns the one buffer that all connections receive into: messages are borrowed from it, and
/// looking at them does not borrow the server.
#[derive(Debug, Default)]
pub struct Events {
    pub(crate) records: Vec<Record>,
    requests: Vec<Arc<Request>>,
    refusals: Vec<(Option<SocketAddr>, Response)>,
    /// The receive buffer; what is below `filled` belongs to this turn's records.
    pub(crate) buffer: Box<[u8]>,
    pub(crate) filled: usize,
    /// Messages that came in more than one read, and so were assembled apart.
    pub(crate) assembled: Vec<Vec<u8>>,
    /// Bytes of those messages.
    assembled_bytes: usize,
}

impl Events {
    /// Goes over what happened, in order: of each connection all in order, too.
    pub fn iter(&self) -> Iter<'_> {
        Iter { events: self, records: self.records.iter() }
    }

    /// Whether nothing happened that the application needs to know.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Empties the batch, gives back what it kept, and provides a receive buffer of `bytes`.
    pub(crate) fn begin(&mut self, bytes: usize, recycle: impl FnMut(Vec<u8>)) {
        self.records.clear();
        self.requests.clear();
        self.refusals.clear();
        if !self.assembled.is_empty() {
            self.assembled.drain(..).for_each(recycle);
        }
        (self.filled, self.assembled_bytes) = (0, 0);
        if self.buffer.len() != bytes {
            self.buffer = vec![0; bytes].into();
        }
    }

    /// Bytes that may still be received. None once as much was assembled as the buffer holds: a batch
    /// has to stay small even if little input becomes long messages.
    pub(crate) fn room(&self) -> usize {
        if self.assembled_bytes < self.buffer.len() { self.buffer.len() - self.filled } else { 0 }
    }

    pub(crate) fn record_request(&mut self, id: RequestId, request: &Arc<Request>, is_head: bool) {
        let at = self.requests.len() as u32;
        self.requests.push(Arc::clone(request));
        self.records.push(if is_head {
            Record::RequestHead { id, at }
        } else {
            Record::Request { id, at }
        });
    }

    pub(crate) fn record_refused(&mut self, peer: Option<SocketAddr>, response: Response) {
        let at = self.refusals.len() as u32;
        self.refusals.push((peer, response));
        self.records.push(Record::Refused { at });
    }

    /// What the server itself refused: the address of the peer, and the status and the sentence of the answer.
    #[cfg(feature = "log")]
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (Option<SocketAddr>, u16, &str)> {
        self.refusals.iter().map(|(peer, response)| (*peer, response.status(), response.sentence()))
    }

    /// Keeps an assembled payload for the length of this batch.
    pub(crate) fn keep(&mut self, payload: Vec<u8>) -> Span {
        self.assembled_bytes += payload.len();
        self.assembled.push(payload);
        Span::Assembled((self.assembled.len() - 1) as u32)
    }

    fn event(&self, record: &Record) -> Event<'_> {
        match *record {
            Record::Request { id, at } => {
                Event::Request { id, request: &self.requests[at as usize] }
            }
            Record::RequestHead { id, at } => {
                Event::RequestHead { id, request: &self.requests[at as usize] }
            }
            Record::RequestGone { id } => Event::RequestGone { id },
            Record::Opened { id } => Event::Opened { id },
            Record::Received { id, is_text, start, end } => {
                let payload = self.bytes(Span::Received { start, end });
                Event::Message { id, message: message(is_text, payload) }
            }
            Record::Assembled { id, is_text, at } => {
                let payload = self.bytes(Span::Assembled(at));
                Event::Message { id, message: message(is_text, payload) }
            }
            Record::Writable { id } => Event::Writable { id },
            Record::Closed { id, cause, text } => {
                Event::Closed { id, reason: self.reason(cause, text) }
            }
            Record::Timer { key } => Event::Timer { key },
            Record::Refused { at } => {
                let (peer, response) = &self.refusals[at as usize];
                Event::Refused { peer: *peer, status: response.status(), why: response.sentence() }
            }
            Record::Notified { key } => Event::Notified { key },
            Record::Source { key, readable, writable } => Event::Source { key, readable, writable },
        }
    }

    fn bytes(&self, span: Span) -> &[u8] {
        match span {
            Span::Empty => &[],
            Span::Received { start, end } => &self.buffer[start as usize..end as usize],
            Span::Assembled(index) => &self.assembled[index as usize],
        }
    }

    pub(crate) fn text(&self, span: Span) -> &str {
        valid(self.bytes(span))
    }

    fn reason(&self, cause: Cause, text: Span) -> Reason<'_> {
        match cause {
            Cause::Peer { code } => Reason::Peer { code, text: self.text(text) },
            Cause::Local { code } => Reason::Local { code },
            Cause::Aborted => Reason::Aborted,
            Cause::Protocol(error) => Reason::Protocol(error),
            Cause::Lost => Reason::Lost,
            Cause::TimedOut => Reason::TimedOut,
            Cause::Idle => Reason::Idle,
            Cause::Overflow => Reason::Overflow,
            Cause::ProcessFull => Reason::ProcessFull,
            Cause::Shutdown => Reason::Shutdown,
        }
    }
}

fn message(is_text: bool, payload: &[u8]) -> Message<'_> {
    if is_text { Message::Text(valid(payload)) } else { Message::Binary(payload) }
}

fn valid(text: &[u8]) -> &str {
    str::from_utf8(text).expect("text is validated before it is recorded")
}

impl<'a> IntoIterator for &'a Events {
    type Item = Event<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The iterator of [`Events::iter`].
#[derive(Debug)]
pub struct Iter<'a> {
    events: &'a Events,
    records: slice::Iter<'a, Record>,
}

impl<'a> Iter<'a> {
    /// The next event if it is a message, as most are: they are found before the table of all kinds.
    #[inline]
    pub(crate) fn next_message(&mut self) -> Option<(ConnId, Message<'a>)> {
        let mut records = self.records.clone();
        let record = *records.next()?;
        let (id, is_text, span) = if let Record::Received { id, is_text, start, end } = record {
            (id, is_text, Span::Received { start, end })
        } else if let Record::Assembled { id, is_text, at } = record {
            (id, is_text, Span::Assembled(at))
        } else {
            return None;
        };
        self.records = records;
        Some((id, message(is_text, self.events.bytes(span))))
    }

    /// The connection of the event that was given last, unless it was the connection's last.
    pub(crate) fn last_id(&self) -> Option<ConnId> {
        let given = self.events.records.len() - self.records.len();
        match self.events.records[..given].last()? {
            Record::Request { id, .. }
            | Record::RequestHead { id, .. }
            | Record::RequestGone { id } => Some(id.conn()),
            Record::Opened { id }
            | Record::Received { id, .. }
            | Record::Assembled { id, .. }
            | Record::Writable { id } => Some(*id),
            Record::Closed { .. }
            | Record::Timer { .. }
            | Record::Refused { .. }
            | Record::Notified { .. }
            | Record::Source { .. } => None,
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        if let Some((id, message)) = self.next_message() {
            return Some(Event::Message { id, message });
        }
        self.records.next().map(|record| self.events.event(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_stays_small() {
        assert!(size_of::<Record>() <= 32, "{}", size_of::<Record>());
    }
}
