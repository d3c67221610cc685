//! What carries a connection's bytes: a socket, with TLS in between if the URL says so.
//!
//! The client offers one version, one cipher and one group (TLS 1.3, AES-128-GCM, X25519): what a browser offers
//! first and every server has, so that all servers are measured with the same.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::{AsRawFd, RawFd},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup, RootCertStore,
    client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::TLS13,
};

use crate::options::Options;

#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    /// A handshake is carried on by whatever is read and written.
    tls: Option<Box<ClientConnection>>,
}

impl Stream {
    pub fn new(socket: TcpStream, options: &Options) -> io::Result<Self> {
        let begin = |config: &Arc<ClientConfig>| {
            let name = options.address.ip().into();
            ClientConnection::new(Arc::clone(config), name).map(Box::new).map_err(io::Error::other)
        };
        Ok(Self { socket, tls: options.tls.as_ref().map(begin).transpose()? })
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether its handshake went on with keys of an earlier one.
    pub fn is_resumed(&self) -> bool {
        let kind = self.tls.as_ref().and_then(|tls| tls.handshake_kind());
        kind == Some(HandshakeKind::Resumed)
    }

    /// Whether something was taken that has not left.
    pub fn holds_output(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(tls) = &mut self.tls else { return self.socket.read(into) };
            match tls.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // An end without a close_notify is one, too: messages have their own lengths.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            tls.read_tls(&mut self.socket)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            put_off(self.flush())?;
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let Some(tls) = &mut self.tls else { return self.socket.write(from) };
        let taken = tls.writer().write(from)?;
        put_off(self.flush())?;
        Ok(taken)
    }

    /// Sends what was taken.
    fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

/// What the kernel does not take now leaves later.
fn put_off(flushed: io::Result<()>) -> io::Result<()> {
    flushed.or_else(|error| if error.kind() == ErrorKind::WouldBlock { Ok(()) } else { Err(error) })
}

/// TLS with servers that this authority certifies.
pub fn config(authority: &Path, resume: bool) -> Result<Arc<ClientConfig>, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", authority.display());
    let authority = CertificateDer::from_pem_file(authority).map_err(|error| named(&error))?;
    let mut roots = RootCertStore::empty();
    roots.add(authority).map_err(|error| named(&error))?;
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![ring::kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = match resume {
        true => Resumption::store(Arc::new(Tickets::default())),
        false => Resumption::disabled(),
    };
    Ok(Arc::new(config))
}

/// All that the one server has given, and the latest first: rustls' own store has room for eight, which are gone when
/// many connections begin at once.
#[derive(Debug, Default)]
struct Tickets(Mutex<Vec<Tls13ClientSessionValue>>);

impl ClientSessionStore for Tickets {
    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    // There is one group, and no TLS 1.2.

    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}
