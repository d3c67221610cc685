//! The callback veneer over [`Server::poll`].

use std::io;

use super::{Net, Server};
use crate::{
    event::{ConnId, Event, Events, Message, Reason},
    hub::{Accept, Hub},
    wire::Request,
};

/// An application as callbacks, for [`Server::run`].
///
/// Each gets the [`Hub`], to answer, send, publish and close; none may block, because the one
/// thread that all connections share is waiting for it.
pub trait Handler {
    /// A request came. By default each is accepted as a WebSocket, and one that asks for none is
    /// answered with 426.
    fn on_request(&mut self, hub: &mut Hub, id: ConnId, request: &Request) {
        let _ = request;
        // The error is the peer's, and has been answered.
        let _ = hub.accept(id, Accept::default());
    }

    /// A connection was accepted. It may have ended since: then `on_close` follows, and what is
    /// sent meanwhile is refused as `Gone`.
    fn on_open(&mut self, hub: &mut Hub, id: ConnId) {
        let _ = (hub, id);
    }

    /// A message came.
    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>);

    /// All that waited for the connection is out, after the kernel had been full.
    fn on_writable(&mut self, hub: &mut Hub, id: ConnId) {
        let _ = (hub, id);
    }

    /// An opened connection is over.
    fn on_close(&mut self, hub: &mut Hub, id: ConnId, reason: Reason<'_>) {
        let _ = (hub, id, reason);
    }

    /// A timer is due that was set with [`Hub::set_timer`].
    fn on_timer(&mut self, hub: &mut Hub, key: u64) {
        let _ = (hub, key);
    }
}

impl<N: Net> Server<N> {
    /// Calls the handler for all that happens, until a [`shutdown`](Hub::shutdown) is complete.
    ///
    /// # Errors
    ///
    /// An error of the poll itself, never one of a connection.
    pub fn run(&mut self, handler: &mut impl Handler) -> io::Result<()> {
        let mut events = Events::default();
        while !self.hub.is_finished() {
            self.poll(&mut events, None)?;
            let hub = &mut self.hub;
            for event in &events {
                match event {
                    Event::Request { id, request } => handler.on_request(hub, id, request),
                    Event::Opened { id } => handler.on_open(hub, id),
                    // The handler may have closed it since this batch was filled.
                    Event::Message { id, .. } if hub.passes_over(id) => {}
                    Event::Message { id, message } => handler.on_message(hub, id, message),
                    Event::Writable { id } => handler.on_writable(hub, id),
                    Event::Closed { id, reason } => handler.on_close(hub, id, reason),
                    Event::Timer { key } => handler.on_timer(hub, key),
                    // Sources belong to those who own the loop.
                    Event::Source { .. } => {}
                }
            }
        }
        Ok(())
    }
}
