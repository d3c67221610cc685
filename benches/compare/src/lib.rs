//! What the load client, the soak and the tests of both have in common.

use std::{
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use socket2::{Domain, Socket, Type};

pub mod frame;

/// The request of a handshake (RFC 6455 §4.1), with the key of the RFC's example: nobody caches these
/// connections.
pub fn request(path: &str, host: SocketAddr, version: u32, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// A socket that will connect from this address of the machine's own: the kernel grants 28,232 ports
/// for each, and keeps them for a minute.
pub fn socket(source: [u8; 4]) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    // Else a port that another connection has would not be given for another target.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    Ok(socket)
}

/// A server's process. It ends with this.
#[derive(Debug)]
pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts it, and waits until it says where it listens.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is a pipe")).read_line(&mut line)?;
        let address = line.trim_end().trim_start_matches("listening on ").parse();
        let address = address.map_err(|_| io::Error::other("the server does not listen"))?;
        Ok(Self { child, address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended cannot be ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
