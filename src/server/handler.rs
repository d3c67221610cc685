//! The callback veneer over [`Server::poll`].

use std::{
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{Net, Server};
use crate::{
    event::{Accept, ConnId, Event, Iter, Message, Reason, RequestId},
    hub::Hub,
    wire::Request,
};

/// An application as callbacks, for [`Server::run`].
///
/// Each gets the [`Hub`], to answer, send, publish and close; none may block, because the one
/// thread that all connections share is waiting for it.
///
/// # Panics
///
/// A callback that panics costs its own connection only. [`run`](Server::run) closes the connection with
/// 1011 (internal error), or answers its request with 500. It delivers no further message of it, tells
/// of its end (`on_close`, `on_request_gone`) as of any other, and counts the panic in
/// [`handler_panics`](crate::Counters::handler_panics). A panic in `on_close` or `on_timer` is counted,
/// and nothing else. The panic is reported by the process's panic hook, on standard error if nothing
/// else was set.
///
/// The handler itself lives on, with what the panic left half done in it, as if a poisoned lock were
/// taken all the same: bring what belongs together up to date before a call that may panic. If a panic
/// is to end the server, own the loop with [`poll`](Server::poll), where a panic is the caller's, or
/// build with `panic = "abort"`. A stack that overflows ends the process in any case.
pub trait Handler {
    /// The head of a request came. Called once for each request, before [`on_request`](Self::on_request)
    /// and before its body is read, so that an upload can be refused before it comes. If the request is
    /// answered here, `on_request` is not called; else it follows. The request has no body yet, and can
    /// be refused or answered, but not accepted or deferred: see [`Event::RequestHead`].
    fn on_head(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let _ = (hub, id, request);
    }

    /// A request came. By default each is accepted as a WebSocket, and one that asks for none is
    /// answered with 426.
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        let _ = request;
        // The error is the peer's, and has been answered.
        let _ = hub.accept(id, Accept::default());
    }

    /// The requester has left before it was answered, or the server has answered in the application's
    /// place: see [`Event::RequestGone`]. Comes at most once for a request, and not after the
    /// application has answered it.
    fn on_request_gone(&mut self, hub: &mut Hub, id: RequestId) {
        let _ = (hub, id);
    }

    /// A connection was accepted. It may have ended since: then `on_close` follows, and a `send` or
    /// a `subscribe` meanwhile is refused as `Gone`.
    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        let _ = (hub, id);
    }

    /// A message came.
    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>);

    /// Nothing that was sent to the connection directly waits any more, after its kernel had been full, or
    /// less waits than [`Hub::notify_below`] asked to be told of: see [`Event::Writable`].
    fn on_writable(&mut self, hub: &mut Hub, id: ConnId) {
        let _ = (hub, id);
    }

    /// An open connection is over.
    fn on_close(&mut self, hub: &mut Hub, id: ConnId, reason: Reason<'_>) {
        let _ = (hub, id, reason);
    }

    /// A timer that was set with [`Hub::set_timer`] is due.
    fn on_timer(&mut self, hub: &mut Hub, key: u64) {
        let _ = (hub, key);
    }

    /// The server itself refused a request with this status and this sentence: see [`Event::Refused`].
    fn on_refused(&mut self, hub: &mut Hub, peer: Option<SocketAddr>, status: u16, why: &str) {
        let _ = (hub, peer, status, why);
    }

    /// Another thread called [`Handle::notify`](crate::Handle::notify) with this key.
    fn on_notify(&mut self, hub: &mut Hub, key: u32) {
        let _ = (hub, key);
    }

    /// A source of the application's own, registered with the server's [`mio`](crate::mio) registry,
    /// became ready: see [`Event::Source`].
    fn on_source(&mut self, hub: &mut Hub, key: u32, readable: bool, writable: bool) {
        let _ = (hub, key, readable, writable);
    }
}

impl<N: Net> Server<N> {
    /// Calls the handler for all that happens, until a [`shutdown`](Hub::shutdown) is complete.
    ///
    /// # Errors
    ///
    /// An error of the poll itself, never one of a connection. What a panic does is said at
    /// [`Handler`].
    pub fn run(&mut self, handler: &mut (impl Handler + ?Sized)) -> io::Result<()> {
        while !self.hub.is_finished() {
            self.turn(handler, None)?;
        }
        Ok(())
    }

    /// One turn of [`run`](Self::run), which waits for the network `timeout` at the most: see
    /// [`poll`](Self::poll). For a loop of your own around a `Handler`, and for its tests.
    ///
    /// # Errors
    ///
    /// An error of the poll itself, never one of a connection.
    pub fn turn(
        &mut self,
        handler: &mut (impl Handler + ?Sized),
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let mut events = self.events.take().unwrap_or_default();
        let polled = self.poll(&mut events, timeout);
        let hub = &mut self.hub;
        let mut rest = events.iter();
        // One catch for the whole batch, which goes on after a panic with what is left: a turn pays
        // for it once.
        while catch_unwind(AssertUnwindSafe(|| tell(handler, hub, &mut rest))).is_err() {
            hub.handle_panic(rest.last_id());
        }
        self.events = Some(events);
        polled
    }
}

#[inline(never)]
fn tell(handler: &mut (impl Handler + ?Sized), hub: &mut Hub, events: &mut Iter<'_>) {
    loop {
        // Most are messages. The handler may have closed the connection since this batch was filled.
        while let Some((id, message)) = events.next_message() {
            if !hub.is_discarded(id) {
                handler.on_message(hub, id, message);
            }
        }
        let Some(event) = events.next() else { return };
        match event {
            Event::RequestHead { id, request } => handler.on_head(hub, id, request),
            Event::Request { id, request } => tell_request(handler, hub, id, request),
            // The handler may have answered it since this batch was filled.
            Event::RequestGone { id } if hub.was_answered(id) => {}
            Event::RequestGone { id } => handler.on_request_gone(hub, id),
            Event::Opened { id } => handler.on_open(hub, id),
            Event::Message { .. } => {}
            Event::Writable { id } => handler.on_writable(hub, id),
            Event::Closed { id, reason } => handler.on_close(hub, id, reason),
            Event::Timer { key } => handler.on_timer(hub, key),
            Event::Refused { peer, status, why } => handler.on_refused(hub, peer, status, why),
            Event::Notified { key } => handler.on_notify(hub, key),
            Event::Source { key, readable, writable } => {
                handler.on_source(hub, key, readable, writable);
            }
        }
    }
}

fn tell_request(
    handler: &mut (impl Handler + ?Sized),
    hub: &mut Hub,
    id: RequestId,
    request: &Request,
) {
    if hub.is_head_told(id) == Some(false) {
        handler.on_head(hub, id, request);
        if hub.is_head_told(id).is_none() {
            return;
        }
    }
    handler.on_request(hub, id, request);
}
