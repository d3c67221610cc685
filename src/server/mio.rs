//! The network of production: mio, edge-triggered. The only file that names `mio` or reads the
//! clock.

use std::{
    fmt,
    fs::File,
    io,
    net::{Shutdown, SocketAddr, ToSocketAddrs},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ::mio::{
    Events, Interest, Poll, Token, Waker,
    event::Source,
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

use super::{Input, Net, Ready, Server, Wake};
use crate::{config::Config, event::ConnId, handle::Socket};

/// Readiness events taken from the kernel at once.
const EVENTS_PER_WAIT: usize = 1024;
// Where pointers are shorter, the ids of connections would lose their generations as tokens.
const _: () = assert!(usize::BITS >= u64::BITS, "pushloop needs a platform of 64 bits");
/// Tokens whose upper half is 0 are listeners', by number, and the waker's.
const WAKER: Token = Token(u32::MAX as usize);
/// Tokens whose upper half is this are the application's own sources'.
const SOURCE_GENERATION: u32 = u32::MAX;

/// The network of a [`Server`]: TCP and Unix-domain listeners on one mio poll.
#[derive(Debug)]
pub struct Mio {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    listeners: Vec<Listener>,
    /// Held in reserve: with no descriptor left, it makes room to take a connection and drop it.
    spare: Option<File>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix {
        /// If it is ours to remove: first, so that no path leads to a socket that is closed.
        _file: Option<SocketFile>,
        listener: UnixListener,
    },
}

/// A path, and which file it led to.
#[derive(Debug)]
struct SocketFile(PathBuf, Option<(u64, u64)>);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // By now the path may be the next server's.
        if identity(&self.0) == self.1 {
            // Gone already is as good.
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

/// A connection of [`Mio`].
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix-domain socket.
    Unix(UnixStream),
}

impl Mio {
    /// A network that listens nowhere yet.
    ///
    /// # Errors
    ///
    /// Those of the system: no descriptor for the poll, most likely.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_WAIT),
            waker,
            listeners: Vec::new(),
            spare: File::open("/dev/null").ok(),
        })
    }

    fn next_listener(&self) -> Token {
        Token(self.listeners.len())
    }

    /// Whether all TCP listeners are bound to loopback addresses.
    fn is_on_loopback(&self) -> bool {
        self.listeners.iter().all(|listener| match listener {
            Listener::Tcp(listener) => {
                listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
            }
            Listener::Unix { .. } => true,
        })
    }

    fn listener(&self, listener: u32) -> io::Result<&Listener> {
        self.listeners.get(listener as usize).ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

/// Where a clock that is no system's starts: at some time.
#[cfg(feature = "testing")]
#[allow(clippy::disallowed_methods)]
pub(crate) fn clock_start() -> Instant {
    Instant::now()
}

impl Server<Mio> {
    /// A server on an address, with the default limits.
    ///
    /// # Errors
    ///
    /// See [`listen`](Self::listen).
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::bind_with(address, Config::default())
    }

    /// A server on an address, with these limits.
    ///
    /// # Errors
    ///
    /// See [`listen`](Self::listen).
    pub fn bind_with(address: impl ToSocketAddrs, config: Config) -> io::Result<Self> {
        let mut server = Self::new(config)?;
        server.listen(address)?;
        Ok(server)
    }

    /// A server that listens nowhere yet.
    ///
    /// # Errors
    ///
    /// Those of the system: no descriptor for the poll, most likely.
    pub fn new(config: Config) -> io::Result<Self> {
        Ok(Self::with_net(Mio::new()?, config))
    }

    /// Listens on the first address of `address` that can be bound; port 0 takes a free one. Gives
    /// the bound address. May be called several times.
    ///
    /// # Errors
    ///
    /// The address is in use, not this machine's, not permitted, or could not be resolved.
    pub fn listen(&mut self, address: impl ToSocketAddrs) -> io::Result<SocketAddr> {
        let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
        for address in address.to_socket_addrs()? {
            match TcpListener::bind(address) {
                Ok(listener) => return self.add(listener),
                Err(error) => failed = named(error, &address),
            }
        }
        Err(failed)
    }

    /// Listens on a socket that the caller has bound and set to listen: with a longer backlog than
    /// the 128 of [`listen`](Self::listen), say, or inherited from a supervisor. `TCP_NODELAY` is set
    /// on it, for what is accepted to inherit.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn listen_on(&mut self, listener: std::net::TcpListener) -> io::Result<SocketAddr> {
        listener.set_nonblocking(true)?;
        self.add(TcpListener::from_std(listener))
    }

    fn add(&mut self, mut listener: TcpListener) -> io::Result<SocketAddr> {
        let bound = listener.local_addr()?;
        // What is accepted inherits it: no system call for each. No listener's type has the option,
        // which another handle to the same socket does.
        TcpStream::from(listener.as_fd().try_clone_to_owned()?).set_nodelay(true)?;
        let token = self.net.next_listener();
        self.net.poll.registry().register(&mut listener, token, Interest::READABLE)?;
        self.net.listeners.push(Listener::Tcp(listener));
        self.hub.handle_listening(self.net.is_on_loopback());
        Ok(bound)
    }

    /// Listens on a Unix-domain socket. The file is removed with the server, unless another has its
    /// path by then; one that a crashed server left behind is replaced.
    ///
    /// # Errors
    ///
    /// The path is in use, or cannot be created.
    pub fn listen_unix(&mut self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if !is_left_behind(path) {
                    return Err(named(error, &path.display()));
                }
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound.map_err(|error| named(error, &path.display()))?,
        };
        let file = SocketFile(path.into(), identity(path));
        self.add_unix(listener, Some(file))
    }

    /// Listens on a Unix-domain socket that the caller has bound and set to listen, as a supervisor does.
    /// Its file stays where it is.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn listen_unix_on(&mut self, listener: std::os::unix::net::UnixListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        self.add_unix(UnixListener::from_std(listener), None)
    }

    fn add_unix(&mut self, mut listener: UnixListener, file: Option<SocketFile>) -> io::Result<()> {
        let token = self.net.next_listener();
        self.net.poll.registry().register(&mut listener, token, Interest::READABLE)?;
        self.net.listeners.push(Listener::Unix { _file: file, listener });
        Ok(())
    }

    /// The address of the first TCP listener.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.net.listeners.iter().find_map(|listener| match listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix { .. } => None,
        })
    }

    /// Lets the poll watch a source of the caller's own, edge-triggered: it comes back as
    /// [`Event::Source`](crate::Event::Source) with `key`.
    ///
    /// # Errors
    ///
    /// Those of the source.
    pub fn register(
        &mut self,
        source: &mut impl Source,
        key: u32,
        interests: Interest,
    ) -> io::Result<()> {
        let id = ConnId { index: key, generation: SOURCE_GENERATION };
        self.net.poll.registry().register(source, Token(id.to_bits() as usize), interests)
    }

    /// Ends what [`register`](Self::register) began.
    ///
    /// # Errors
    ///
    /// Those of the source.
    pub fn deregister(&mut self, source: &mut impl Source) -> io::Result<()> {
        self.net.poll.registry().deregister(source)
    }
}

fn named(error: io::Error, address: &dyn fmt::Display) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

/// Which file a path leads to. No other can be that one while a listener is bound to it.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Whether the path is a socket that nobody listens on.
fn is_left_behind(path: &Path) -> bool {
    let is_socket = std::fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
    // Without blocking: the backlog of one that is stuck may be full.
    let refused = UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    is_socket && refused
}

impl Wake for Arc<Waker> {
    fn wake(&self) -> io::Result<()> {
        Waker::wake(self)
    }
}

impl Net for Mio {
    type Stream = Stream;

    // Time is an argument everywhere else.
    #[allow(clippy::disallowed_methods)]
    fn now(&self) -> Instant {
        Instant::now()
    }

    #[allow(clippy::disallowed_methods)]
    fn wall_clock(&self) -> Option<SystemTime> {
        Some(SystemTime::now())
    }

    fn wait(&mut self, timeout: Option<Duration>, mut tell: impl FnMut(Ready)) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in &self.events {
            let id = ConnId::from_bits(event.token().0 as u64);
            let readable = event.is_readable() || event.is_error();
            let writable = event.is_writable() || event.is_error();
            tell(match id.generation {
                0 if event.token() == WAKER => Ready::Mailbox,
                0 => Ready::Listener(id.index),
                SOURCE_GENERATION => Ready::Source { key: id.index, readable, writable },
                _ => {
                    // A read ends at urgent data as it does at the end: there is more to read.
                    let read_closed = event.is_read_closed() || event.is_priority();
                    Ready::Connection { id, readable, writable, read_closed }
                }
            });
        }
        Ok(())
    }

    fn accept(&mut self, listener: u32) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self.listener(listener)? {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept()?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }

    fn adopt(&mut self, socket: Socket) -> io::Result<(Stream, Option<SocketAddr>)> {
        match socket {
            Socket::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let peer = stream.peer_addr()?;
                Ok((Stream::Tcp(TcpStream::from_std(stream)), Some(peer)))
            }
            Socket::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Ok((Stream::Unix(UnixStream::from_std(stream)), None))
            }
        }
    }

    fn is_out_of_resources(&self, error: &io::Error) -> bool {
        // ENOMEM, ENFILE, EMFILE; ENOBUFS on Linux and on the BSDs.
        matches!(error.raw_os_error(), Some(12 | 23 | 24 | 55 | 105))
    }

    fn refuse(&mut self, listener: u32) -> io::Result<()> {
        let held = self.spare.take();
        if held.is_none() {
            self.spare = File::open("/dev/null").ok();
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        drop(held);
        let accepted = self.accept(listener).map(drop);
        self.spare = File::open("/dev/null").ok();
        accepted
    }

    fn register(&mut self, stream: &mut Stream, id: ConnId) -> io::Result<()> {
        let token = Token(id.to_bits() as usize);
        let both = Interest::READABLE | Interest::WRITABLE;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let both = both | Interest::PRIORITY;
        match stream {
            Stream::Tcp(stream) => self.poll.registry().register(stream, token, both),
            Stream::Unix(stream) => self.poll.registry().register(stream, token, both),
        }
    }

    fn read(&mut self, stream: &mut Stream, into: &mut [u8]) -> io::Result<Input> {
        let count = match stream {
            Stream::Tcp(stream) => io::Read::read(stream, into),
            Stream::Unix(stream) => io::Read::read(stream, into),
        }?;
        // epoll(7): fewer bytes than there was room for are all that there are, but for an end or
        // urgent data, of which a readiness tells (`read_closed`).
        Ok(if count == 0 { Input::End } else { Input::Bytes { count, more: count == into.len() } })
    }

    fn write(&mut self, stream: &mut Stream, from: &[u8]) -> io::Result<usize> {
        match stream {
            Stream::Tcp(stream) => io::Write::write(stream, from),
            Stream::Unix(stream) => io::Write::write(stream, from),
        }
    }

    fn finish(&mut self, stream: &mut Stream) -> io::Result<()> {
        match stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    fn waker(&self) -> Box<dyn Wake + Send + Sync> {
        Box::new(Arc::clone(&self.waker))
    }

    fn close_listeners(&mut self) {
        self.listeners.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Net, Server, Stream};

    #[test]
    fn what_is_accepted_has_the_nodelay_of_its_listener() {
        let inherited = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = Server::new(Config::default()).unwrap();
        let addresses =
            [server.listen("127.0.0.1:0").unwrap(), server.listen_on(inherited).unwrap()];
        for (listener, address) in addresses.into_iter().enumerate() {
            let _client = std::net::TcpStream::connect(address).unwrap();
            // On loopback, the handshake is over when connect returns.
            let (Stream::Tcp(stream), _) = server.net.accept(listener as u32).unwrap() else {
                panic!("a TCP listener")
            };
            assert!(stream.nodelay().unwrap());
        }
    }
}
