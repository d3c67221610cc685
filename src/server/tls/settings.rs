//! What the connections of TLS listeners share, and any thread may replace.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use ring::rand::{SecureRandom, SystemRandom};
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, UnbufferedServerConnection},
    version::{TLS12, TLS13},
};

use super::{
    certificates::{TlsCertificates, TlsError},
    tickets::{Secret, Tickets},
};

/// A shorter secret could be guessed.
const SECRET_BYTES_MIN: usize = 32;

/// The cryptography, named: no other crate of the program chooses it.
pub(super) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// TLS for listeners: versions 1.2 and 1.3, `http/1.1` as the only protocol (ALPN), no early data, and
/// sessions that clients resume by tickets. Clones are the same: what [`reload`](Self::reload) takes, new
/// connections of all listeners have.
///
/// ```no_run
/// use pushloop::{Server, Tls, TlsCertificates};
///
/// # fn main() -> std::io::Result<()> {
/// let mut server = Server::new(pushloop::Config::default())?;
/// let load = || TlsCertificates::new().files("fullchain.pem", "key.pem");
/// let tls = Tls::new(load()?)?;
/// server.listen_tls("0.0.0.0:443", &tls)?;
/// // On any thread, whenever the files have changed:
/// if let Err(error) = tls.reload(load) {
///     eprintln!("the certificates of before are kept: {error}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    config: RwLock<Arc<ServerConfig>>,
    secret: Secret,
    /// Seconds since 1970, for the tickets.
    now: Arc<AtomicU64>,
    /// Seconds since 1970 at which the first certificate expires.
    expires: AtomicU64,
    reloads: AtomicU64,
    reloads_failed: AtomicU64,
}

impl Tls {
    /// With tickets that last as long as the process.
    ///
    /// # Errors
    ///
    /// There is no certificate, or no randomness.
    pub fn new(certificates: TlsCertificates) -> Result<Self, TlsError> {
        let mut secret = [0; SECRET_BYTES_MIN];
        let filled = SystemRandom::new().fill(&mut secret);
        filled.map_err(|_| TlsError::new("the system's randomness", "there is none"))?;
        Self::with_ticket_secret(certificates, &secret)
    }

    /// With tickets that every server opens that has the same secret: after a restart, or on another machine.
    /// Whoever has the secret can read what resumed sessions of TLS 1.2 said. A ticket is of no use behind
    /// another client authority than the one that it was made for.
    ///
    /// # Errors
    ///
    /// There is no certificate, or the secret has less than 32 bytes.
    pub fn with_ticket_secret(
        certificates: TlsCertificates,
        secret: &[u8],
    ) -> Result<Self, TlsError> {
        if secret.len() < SECRET_BYTES_MIN {
            let problem =
                format!("it has {} bytes, and needs {SECRET_BYTES_MIN} at least", secret.len());
            return Err(TlsError::new("the ticket secret", problem));
        }
        let (secret, now) = (Secret::new(secret), Arc::default());
        let expires = certificates.expires().into();
        let config = RwLock::new(Arc::new(server_config(certificates, &secret, &now)?));
        let (reloads, reloads_failed) = Default::default();
        Ok(Self(Arc::new(Shared { config, secret, now, expires, reloads, reloads_failed })))
    }

    /// Replaces the certificates, for connections that begin from now on. Those that are there, and the
    /// tickets, are not touched. May be called on any thread; the loop does not wait for it.
    ///
    /// # Errors
    ///
    /// What `load` gives, or that there is no certificate. Then those of before are kept.
    pub fn reload(
        &self,
        load: impl FnOnce() -> Result<TlsCertificates, TlsError>,
    ) -> Result<(), TlsError> {
        let loaded = load().and_then(|certificates| {
            let expires = certificates.expires();
            Ok((server_config(certificates, &self.0.secret, &self.0.now)?, expires))
        });
        let counter = if loaded.is_ok() { &self.0.reloads } else { &self.0.reloads_failed };
        counter.fetch_add(1, Ordering::Relaxed);
        let (config, expires) = loaded?;
        *self.0.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        self.0.expires.store(expires, Ordering::Relaxed);
        Ok(())
    }

    /// How often [`reload`](Self::reload) has replaced the certificates, and how often it has failed.
    pub fn reloads(&self) -> (u64, u64) {
        let Shared { reloads, reloads_failed, .. } = &*self.0;
        (reloads.load(Ordering::Relaxed), reloads_failed.load(Ordering::Relaxed))
    }

    pub(super) fn expires(&self) -> u64 {
        self.0.expires.load(Ordering::Relaxed)
    }

    /// Whether both are the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A connection with the certificates of now.
    pub(super) fn begin(&self) -> std::io::Result<UnbufferedServerConnection> {
        let config = self.0.config.read().unwrap_or_else(PoisonError::into_inner);
        UnbufferedServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)
    }

    pub(super) fn tell_time(&self, now: SystemTime) {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        self.0.now.store(seconds, Ordering::Relaxed);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn server_config(
    certificates: TlsCertificates,
    secret: &Secret,
    now: &Arc<AtomicU64>,
) -> Result<ServerConfig, TlsError> {
    if certificates.is_empty() {
        return Err(TlsError::new("TLS", "it needs a certificate"));
    }
    let authority = certificates.authority_digest();
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| TlsError::new("TLS", error))?;
    let builder = match certificates.verifier() {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    // RFC 7301 §3.2: a client that offers others only is refused.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // RFC 8446 §8: what comes early can be replayed.
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::new(Tickets::new(secret.clone(), authority, Arc::clone(now)));
    Ok(config)
}
