//! Where a server listens: its listeners, and how they come about.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use super::{
    Interest, Mio, SOURCE_GENERATION, Server, Source, TcpListener, TcpStream, Token, UnixListener,
    UnixStream, placed::Handed,
};
#[cfg(feature = "tls")]
use crate::server::tls::{Limits, Tls};
use crate::{config::Config, event::ConnId};

/// A socket that was accepted.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What a listener's connections speak over.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Tcp,
    #[cfg(feature = "tls")]
    Tls(Tls),
    Unix,
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(feature = "tls")]
    Tls(TcpListener, Tls),
    Unix {
        /// If it is ours to remove: first, so that no path leads to a socket that is closed.
        _file: Option<SocketFile>,
        listener: UnixListener,
    },
    /// Another loop's, which hands over what it accepts.
    Handed(Handed),
}

impl Listener {
    pub(super) fn tcp(&self) -> Option<&TcpListener> {
        match self {
            Listener::Tcp(listener) => Some(listener),
            #[cfg(feature = "tls")]
            Listener::Tls(listener, _) => Some(listener),
            Listener::Unix { .. } | Listener::Handed(_) => None,
        }
    }

    /// Where it listens, unless that is a Unix-domain socket.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Handed(handed) => handed.address,
            Listener::Tcp(_) | Listener::Unix { .. } => self.tcp()?.local_addr().ok(),
            #[cfg(feature = "tls")]
            Listener::Tls(..) => self.tcp()?.local_addr().ok(),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Listener::Tcp(_) => Kind::Tcp,
            #[cfg(feature = "tls")]
            Listener::Tls(_, tls) => Kind::Tls(tls.clone()),
            Listener::Unix { .. } => Kind::Unix,
            Listener::Handed(handed) => handed.kind.clone(),
        }
    }

    pub(super) fn accept(&self) -> io::Result<(Accepted, Option<SocketAddr>)> {
        match self {
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept()?;
                Ok((Accepted::Unix(stream), None))
            }
            Listener::Handed(_) => Err(io::ErrorKind::WouldBlock.into()),
            Listener::Tcp(listener) => tcp_accepted(listener),
            #[cfg(feature = "tls")]
            Listener::Tls(listener, _) => tcp_accepted(listener),
        }
    }
}

fn tcp_accepted(listener: &TcpListener) -> io::Result<(Accepted, Option<SocketAddr>)> {
    let (stream, peer) = listener.accept()?;
    Ok((Accepted::Tcp(stream), Some(peer)))
}

/// A path, and which file it led to.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf, Option<(u64, u64)>);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // By now the path may be the next server's.
        if identity(&self.0) == self.1 {
            // Gone already is as good.
            let _ = std::fs::remove_file(&self.0);
        }
    }
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
        self.bind_first(address, Listener::Tcp)
    }

    fn bind_first(
        &mut self,
        address: impl ToSocketAddrs,
        kind: impl FnOnce(TcpListener) -> Listener,
    ) -> io::Result<SocketAddr> {
        let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
        for address in address.to_socket_addrs()? {
            match TcpListener::bind(address) {
                Ok(listener) => return self.add(listener, kind),
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
        self.add(TcpListener::from_std(listener), Listener::Tcp)
    }

    /// Listens for TLS, as [`listen`](Self::listen) does for plain connections. The limits are those of
    /// [`Config`]: of open handshakes and their time, and what records that are not whole and ciphertext that
    /// does not leave take, which has as much room as
    /// [`incomplete_bytes_max`](Config::incomplete_bytes_max) and
    /// [`send_queues_bytes_max`](Config::send_queues_bytes_max) say, beside what these count.
    ///
    /// A client that speaks plain HTTP here is told so. Connections that were accepted elsewhere
    /// ([`Handle::adopt`](crate::Handle::adopt)) are plain, and a header of the PROXY protocol
    /// ([`require_proxy_header`](Self::require_proxy_header)) cannot come before TLS.
    ///
    /// # Errors
    ///
    /// See [`listen`](Self::listen).
    #[cfg(feature = "tls")]
    pub fn listen_tls(&mut self, address: impl ToSocketAddrs, tls: &Tls) -> io::Result<SocketAddr> {
        self.net.begin_tls(Limits::new(self.hub.config()), tls);
        self.bind_first(address, |listener| Listener::Tls(listener, tls.clone()))
    }

    /// Listens for TLS on a socket that the caller has bound: see [`listen_on`](Self::listen_on).
    ///
    /// # Errors
    ///
    /// Those of the system.
    #[cfg(feature = "tls")]
    pub fn listen_tls_on(
        &mut self,
        listener: std::net::TcpListener,
        tls: &Tls,
    ) -> io::Result<SocketAddr> {
        self.net.begin_tls(Limits::new(self.hub.config()), tls);
        listener.set_nonblocking(true)?;
        let kind = |listener| Listener::Tls(listener, tls.clone());
        self.add(TcpListener::from_std(listener), kind)
    }

    /// Has sessions for the listeners of the other network, which hands connections to this server.
    #[cfg(feature = "tls")]
    pub(in crate::server) fn begin_tls_as(&mut self, other: &Mio) {
        for listener in &other.listeners {
            if let Kind::Tls(tls) = listener.kind() {
                self.net.begin_tls(Limits::new(self.hub.config()), &tls);
            }
        }
    }

    fn add(
        &mut self,
        mut listener: TcpListener,
        kind: impl FnOnce(TcpListener) -> Listener,
    ) -> io::Result<SocketAddr> {
        let bound = listener.local_addr()?;
        // What is accepted inherits it: no system call for each. No listener's type has the option,
        // which another handle to the same socket does.
        TcpStream::from(listener.as_fd().try_clone_to_owned()?).set_nodelay(true)?;
        let token = self.net.next_listener();
        self.net.poll.registry().register(&mut listener, token, Interest::READABLE)?;
        self.net.listeners.push(kind(listener));
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
        self.net.listeners.iter().find_map(Listener::address)
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
