//! The `echo` example as a process of its own, under a tool if need be.

use std::net::SocketAddr;

use super::process::Process;
use super::{Peer, handshake};

/// A running echo server; it is killed with the test.
pub struct Echo {
    pub process: Process,
    pub address: SocketAddr,
}

impl Echo {
    /// Starts the example with `tool` before it, a command and its arguments that become it.
    pub fn start(tool: &[&str]) -> Self {
        let mut process = Process::under(tool, "echo", &["127.0.0.1:0"]);
        let address = process.address("ws://").parse().expect("it prints its address");
        Self { process, address }
    }

    /// Asks for a WebSocket, and does not wait for the answer.
    pub fn asks(&self) -> Peer {
        let mut peer = Peer::connect(self.address);
        peer.sends_bytes(handshake("/", ""));
        peer
    }

    pub fn opens(&self) -> Peer {
        let mut peer = self.asks();
        peer.expects_upgrade();
        peer
    }
}
