//! What a client needs: a connection from any of many addresses, a handshake, frames.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

/// No answer takes so long, however busy the machine is, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(120);

/// The `nth` connection. Each comes from another address of this machine than the ones before it, so
/// that the kernel, which remembers a connection for a minute after its end, has a port for it.
pub fn connect(server: SocketAddr, nth: u64) -> io::Result<TcpStream> {
    let source = [127, 1 + (nth >> 14) as u8 % 200, (nth >> 7) as u8 & 127, 1 + (nth as u8 & 127)];
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect(&server.into())?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

pub fn handshake(path: &str, version: u32) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// An open WebSocket.
pub fn open(server: SocketAddr, nth: u64, path: &str) -> io::Result<TcpStream> {
    let mut stream = connect(server, nth)?;
    stream.write_all(handshake(path, 13).as_bytes())?;
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

/// A frame of a client's; its payload is shorter than 126 bytes.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![first, 0x80 | payload.len() as u8];
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// The same as a server's.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8], payload].concat()
}
