//! The commands that publish and subscribe from a shell: one connection each, with blocking reads.
//!
//! They know the server by its URLs, its answers and its envelopes, as any other client does. They must not
//! know the library's hub, loop or wire: what they show is what others can do as well.

mod backoff;
mod envelope;
mod http;
pub mod options;
mod places;
pub mod publish;
pub mod subscribe;
mod token;
mod url;

use std::{
    io::{self, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use url::Url;

/// What the arguments of a command ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked<T> {
    Run(T),
    Help(&'static str),
}

/// How long one address may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Says something on standard error; where nobody can be told, all goes on.
pub fn say(what: &str) {
    let _ = writeln!(io::stderr(), "pushloop: {what}");
}

/// Connects to the first address of a URL's host that takes it. Reads and writes end after a silence of
/// this length.
fn dial(url: &Url, silence: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (url.host.as_str(), url.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(silence))?;
                stream.set_write_timeout(Some(silence))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
