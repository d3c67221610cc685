//! What a client needs: a connection from any of many addresses, a handshake, frames.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use pushloop_compare::{frame, request, socket};

/// No answer takes so long, however busy the machine is, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a server sends to a connection that it has not heard of for long: this program may have been
/// stopped.
pub const PING: [u8; 2] = [0x89, 0];

/// The `nth` connection. Each comes from another address of this machine than the ones before it, so
/// that the kernel, which remembers a connection for a minute after its end, has a port for it.
pub fn connect(server: SocketAddr, nth: u64) -> io::Result<TcpStream> {
    let source = [127, 1 + (nth >> 14) as u8 % 200, (nth >> 7) as u8 & 127, 1 + (nth as u8 & 127)];
    let socket = socket(source)?;
    socket.connect(&server.into())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// An open WebSocket.
pub fn open(server: SocketAddr, nth: u64, path: &str) -> io::Result<TcpStream> {
    let mut stream = connect(server, nth)?;
    stream.write_all(request(path, server, 13, "").as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    expect(&head, b"HTTP/1.1 101 ").map(|()| stream)
}

/// It begins with this, or it is an error that shows it.
pub fn expect(got: &[u8], start: &[u8]) -> io::Result<()> {
    if got.starts_with(start) {
        return Ok(());
    }
    let shown = got[..got.len().min(100)].escape_ascii();
    Err(io::Error::other(format!("expected {}, and got {shown}", start.escape_ascii())))
}

/// A frame of a client's.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame::encode(first, payload, Some([0x37, 0xFA, 0x21, 0x3D]))
}
