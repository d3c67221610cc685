//! The network of production: mio, edge-triggered. The only file that names `mio` or reads the
//! clock.

mod listen;
mod placed;

use std::{
    fs::File,
    io,
    net::{Shutdown, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ::mio::{
    Events, Interest, Poll, Token, Waker,
    event::Source,
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

use self::{
    listen::{Accepted, Kind, Listener},
    placed::Placed,
};
#[cfg(feature = "tls")]
use super::tls::{Clock, Limits, Sessions, Tls, TlsStream, Transport};
use super::{Input, Net, Ready, Server, Wake};
#[cfg(feature = "tls")]
use crate::counters::LayerCounts;
use crate::{event::ConnId, handle::Socket};

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
    /// The connections over TLS, once there is a listener for them.
    #[cfg(feature = "tls")]
    tls: Option<Box<Sessions<TcpStream>>>,
    /// Listeners that were left alone although they may have connections.
    put_off: Vec<u32>,
    /// Where connections go that are accepted, if there are several loops.
    placed: Option<Placed>,
}

/// A connection of [`Mio`].
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix-domain socket.
    Unix(UnixStream),
    /// Over TLS, over TCP.
    #[cfg(feature = "tls")]
    Tls(TlsStream),
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
            #[cfg(feature = "tls")]
            tls: None,
            put_off: Vec::new(),
            placed: None,
        })
    }

    fn next_listener(&self) -> Token {
        Token(self.listeners.len())
    }

    /// Whether all TCP listeners are bound to loopback addresses.
    pub(super) fn is_on_loopback(&self) -> bool {
        let addresses = self.listeners.iter().filter(|it| !matches!(it.kind(), Kind::Unix));
        addresses
            .map(Listener::address)
            .all(|address| address.is_some_and(|address| address.ip().to_canonical().is_loopback()))
    }

    #[cfg(feature = "tls")]
    #[allow(clippy::disallowed_methods)]
    pub(super) fn begin_tls(&mut self, limits: Limits, tls: &Tls) {
        let clock = Clock { now: Instant::now, wall: SystemTime::now };
        self.tls.get_or_insert_with(|| Box::new(Sessions::new(clock, limits))).listen(tls);
    }

    /// Whether it is one for TLS, and no further handshake may begin now. Without sessions, none may.
    fn has_full_tls(&self, kind: &Kind) -> bool {
        match kind {
            #[cfg(feature = "tls")]
            Kind::Tls(_) => self.tls.as_deref().is_none_or(Sessions::is_full),
            Kind::Tcp | Kind::Unix => false,
        }
    }

    /// A socket that a listener of this kind has accepted, as a connection.
    fn begin_stream(&mut self, kind: &Kind, socket: Accepted) -> Stream {
        match (socket, kind) {
            #[cfg(feature = "tls")]
            (Accepted::Tcp(stream), Kind::Tls(tls)) => match &mut self.tls {
                Some(sessions) => Stream::Tls(sessions.accept(stream, tls)),
                None => Stream::Tcp(stream),
            },
            (Accepted::Tcp(stream), Kind::Tcp | Kind::Unix) => Stream::Tcp(stream),
            (Accepted::Unix(stream), _) => Stream::Unix(stream),
        }
    }

    #[cfg(feature = "tls")]
    fn sessions(&mut self) -> io::Result<&mut Sessions<TcpStream>> {
        self.tls.as_deref_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// Where a clock that is no system's starts: at some time.
#[cfg(feature = "testing")]
#[allow(clippy::disallowed_methods)]
pub(crate) fn clock_start() -> Instant {
    Instant::now()
}

#[cfg(feature = "tls")]
impl Transport for TcpStream {
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        TcpStream::shutdown(self, how)
    }
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
        #[cfg(feature = "tls")]
        let timeout = match &mut self.tls {
            Some(sessions) => {
                sessions.begin_turn();
                timeout
            }
            None => timeout,
        };
        let waits = self.put_off.drain(..).map(|it| tell(Ready::Listener(it))).count() > 0;
        let timeout = if waits { Some(Duration::ZERO) } else { timeout };
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        if let Some(placed) = &mut self.placed {
            placed.take(|listener| tell(Ready::Listener(listener)));
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
        let Some(accepting) = self.listeners.get(listener as usize) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let kind = accepting.kind();
        if self.has_full_tls(&kind) {
            self.put_off.push(listener);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (socket, peer) = match &mut self.placed {
            None => accepting.accept()?,
            Some(placed) => match placed.accept(accepting, listener)? {
                Some(own) => own,
                None => {
                    // The others have had so many that this loop has other things to do.
                    self.put_off.push(listener);
                    return Err(io::ErrorKind::WouldBlock.into());
                }
            },
        };
        Ok((self.begin_stream(&kind, socket), peer))
    }

    fn adopt(&mut self, socket: Socket) -> io::Result<(Stream, Option<SocketAddr>)> {
        let adopted = match socket {
            Socket::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let peer = stream.peer_addr()?;
                (Stream::Tcp(TcpStream::from_std(stream)), Some(peer))
            }
            Socket::Unix(stream) => {
                stream.set_nonblocking(true)?;
                (Stream::Unix(UnixStream::from_std(stream)), None)
            }
        };
        if let Some(placed) = &self.placed {
            placed.note_taken();
        }
        Ok(adopted)
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
        let accepted = self.accept(listener).map(|(stream, _)| self.release(stream));
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
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => {
                let Some(sessions) = &mut self.tls else {
                    return Err(io::ErrorKind::NotConnected.into());
                };
                self.poll.registry().register(sessions.register(stream)?, token, both)
            }
        }
    }

    fn read(&mut self, stream: &mut Stream, into: &mut [u8]) -> io::Result<Input> {
        let count = match stream {
            Stream::Tcp(stream) => io::Read::read(stream, into),
            Stream::Unix(stream) => io::Read::read(stream, into),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => return self.sessions()?.read(stream, into),
        }?;
        // epoll(7): fewer bytes than there was room for are all that there are, but for an end or
        // urgent data, of which a readiness tells (`read_closed`).
        Ok(if count == 0 { Input::End } else { Input::Bytes { count, more: count == into.len() } })
    }

    fn write(&mut self, stream: &mut Stream, from: &[u8]) -> io::Result<usize> {
        match stream {
            Stream::Tcp(stream) => io::Write::write(stream, from),
            Stream::Unix(stream) => io::Write::write(stream, from),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => self.sessions()?.write(stream, from),
        }
    }

    #[cfg(feature = "tls")]
    #[inline]
    fn flush(&mut self, stream: &mut Stream) -> io::Result<()> {
        match stream {
            Stream::Tcp(_) | Stream::Unix(_) => Ok(()),
            Stream::Tls(stream) => self.sessions()?.flush(stream),
        }
    }

    fn finish(&mut self, stream: &mut Stream) -> io::Result<()> {
        match stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => self.sessions()?.finish(stream),
        }
    }

    fn release(&mut self, stream: Stream) {
        if let Some(placed) = &self.placed {
            placed.note_released();
        }
        match stream {
            Stream::Tcp(stream) => drop(stream),
            Stream::Unix(stream) => drop(stream),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => {
                if let Some(sessions) = &mut self.tls {
                    sessions.release(stream);
                }
            }
        }
    }

    #[cfg(feature = "tls")]
    #[inline]
    fn layer_counts(&self) -> Option<LayerCounts> {
        self.tls.as_deref().map(Sessions::counts)
    }

    fn waker(&self) -> Box<dyn Wake + Send + Sync> {
        Box::new(Arc::clone(&self.waker))
    }

    fn close_listeners(&mut self) {
        self.listeners.clear();
        if let Some(placed) = &mut self.placed {
            placed.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Net, Server, Stream};
    use crate::config::Config;

    #[test]
    fn a_stream_is_no_larger_than_the_sockets_without_layers() {
        #[allow(dead_code, reason = "its size is what counts")]
        enum Plain {
            Tcp(::mio::net::TcpStream),
            Unix(::mio::net::UnixStream),
        }
        assert_eq!(size_of::<Option<Stream>>(), size_of::<Option<Plain>>());
    }

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
