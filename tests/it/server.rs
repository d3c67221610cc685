//! The server around the connections: listeners, handles, shutdown, time, ids, requests, and what the system
//! runs out of.
//!
//! What has to be exact runs on a network in memory; what has to be true runs on sockets, and what
//! belongs to a process runs the `echo` example as one.

mod adopted;
mod deadlines;
mod handles;
mod ids;
mod listeners;
mod loops;
mod pending;
mod process;
mod reading;
mod refused;
mod requests;
mod resources;
mod shutdown;
mod time;

use std::io;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::support::PATIENCE;
use pushloop::{ConnId, Handle, Handler, Hub, Message, Server};

/// Sends every message back.
struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, hub: &mut Hub, id: ConnId, message: Message<'_>) {
        hub.send(id, message).expect("the tests' peers read");
    }
}

/// A server in a thread of its own, under [`Server::run`].
struct Running {
    handle: Handle,
    ended: Receiver<io::Result<()>>,
}

impl Running {
    fn start(mut server: Server, mut handler: impl Handler + Send + 'static) -> Self {
        let handle = server.handle();
        let (end, ended) = mpsc::channel();
        thread::spawn(move || end.send(server.run(&mut handler)));
        Self { handle, ended }
    }

    /// Waits until `run` returns. Where a handler asserts something, that is a panic of it.
    #[track_caller]
    fn ends(&self) {
        self.ended.recv_timeout(PATIENCE).expect("the server ends").expect("the poll works");
        assert_eq!(self.handle.counters().handler_panics, 0);
    }
}
