//! What a TLS listener presents and asks for: certificates with their keys, by name, and the authority of
//! clients. All of it is checked here, before anything is taken into use.

use std::{fmt, fs, io, path::Path, sync::Arc};

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use rustls::{
    RootCertStore,
    client::verify_server_name,
    pki_types::{
        CertificateDer, DnsName, PrivateKeyDer, ServerName,
        pem::{Error as PemError, PemObject},
    },
    server::{
        ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};

use super::{expiry::not_after, settings::provider};

/// Bytes of one file of certificates or of a key. A longer one is another file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why certificates are not taken. It says which file or which part is meant, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    what: String,
    problem: String,
}

impl TlsError {
    pub(super) fn new(what: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self { what: what.to_string(), problem: problem.to_string() }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.problem)
    }
}

impl std::error::Error for TlsError {}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

/// The certificates of a [`Tls`](super::Tls), with their keys, in PEM: one, or several by name. Optionally,
/// the authority that clients' certificates have to come from.
///
/// A client that names a host (SNI) gets the first certificate that is valid for it. One that names none, or
/// another, gets the first.
#[derive(Clone, Debug, Default)]
pub struct TlsCertificates {
    keys: Vec<Arc<CertifiedKey>>,
    authority: Option<Authority>,
}

#[derive(Clone, Debug)]
struct Authority {
    verifier: Arc<dyn ClientCertVerifier>,
    digest: [u8; SHA256_OUTPUT_LEN],
}

impl TlsCertificates {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a certificate and its key, from PEM files: the chain, the server's own certificate first, and
    /// the key, unencrypted. ECDSA with P-256 is recommended: signing a handshake holds up the loop for some
    /// 30 µs; with RSA, for a millisecond (2048 bits) to five (4096).
    ///
    /// # Errors
    ///
    /// See [`TlsError`]: a file cannot be read, is not PEM, or the key is not that of the certificate.
    pub fn files(self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsError> {
        let (chain, key) = (chain.as_ref(), key.as_ref());
        self.add((&chain.display(), &read(chain)?), (&key.display(), &read(key)?))
    }

    /// Adds a certificate and its key, in PEM.
    ///
    /// # Errors
    ///
    /// See [`files`](Self::files).
    pub fn pem(self, chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let number = self.keys.len() + 1;
        let [of_chain, of_key] = ["certificate", "key"].map(|what| format!("{what} {number}"));
        self.add((&of_chain, chain), (&of_key, key))
    }

    /// Every client has to present a certificate that one of these authorities (PEM) has signed, or is
    /// refused in the handshake.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub fn client_authority(self, pem: &[u8]) -> Result<Self, TlsError> {
        self.set_authority(&"the client authority", pem)
    }

    /// As [`client_authority`](Self::client_authority), from a file.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub fn client_authority_file(self, path: impl AsRef<Path>) -> Result<Self, TlsError> {
        let path = path.as_ref();
        let pem = read(path)?;
        self.set_authority(&path.display(), &pem)
    }

    fn add(
        mut self,
        (of_chain, chain): (&dyn fmt::Display, &[u8]),
        (of_key, key): (&dyn fmt::Display, &[u8]),
    ) -> Result<Self, TlsError> {
        let chain = certificates(of_chain, chain)?;
        // What a client's name is looked for in.
        ParsedCertificate::try_from(&chain[0]).map_err(|error| TlsError::new(of_chain, error))?;
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => key,
            Err(PemError::NoItemsFound) => {
                return Err(TlsError::new(of_key, "there is no unencrypted private key in it"));
            }
            Err(error) => return Err(TlsError::new(of_key, error)),
        };
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            let problem = match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("the key is not that of the certificate in {of_chain}")
                }
                error => error.to_string(),
            };
            TlsError::new(of_key, problem)
        })?;
        self.keys.push(Arc::new(certified));
        Ok(self)
    }

    fn set_authority(mut self, of: &dyn fmt::Display, pem: &[u8]) -> Result<Self, TlsError> {
        let (mut roots, mut digest) = (RootCertStore::empty(), Context::new(&SHA256));
        for certificate in certificates(of, pem)? {
            // With its length, so that no two lists are the same bytes.
            digest.update(&certificate.len().to_be_bytes());
            digest.update(&certificate);
            roots.add(certificate).map_err(|error| TlsError::new(of, error))?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()))
                .build()
                .map_err(|error| TlsError::new(of, error))?;
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest.finish().as_ref());
        self.authority = Some(Authority { verifier, digest: bytes });
        Ok(self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Seconds since 1970 at which the first of the certificates expires, of those between them and their
    /// authorities, too. 0 if one of them does not say when.
    pub(super) fn expires(&self) -> u64 {
        let chains = self.keys.iter().flat_map(|key| &key.cert);
        chains.map(|it| not_after(it).unwrap_or_default()).min().unwrap_or_default()
    }

    pub(super) fn verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.authority.as_ref().map(|authority| Arc::clone(&authority.verifier))
    }

    /// What tells one client authority from another, and from none.
    pub(super) fn authority_digest(&self) -> [u8; SHA256_OUTPUT_LEN] {
        self.authority.as_ref().map_or([0; SHA256_OUTPUT_LEN], |authority| authority.digest)
    }
}

impl ResolvesServerCert for TlsCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let first = self.keys.first()?;
        if self.keys.len() == 1 {
            return Some(Arc::clone(first));
        }
        let named = hello.server_name().and_then(|name| {
            let name = ServerName::DnsName(DnsName::try_from(name).ok()?);
            self.keys.iter().find(|key| is_valid_for(key, &name))
        });
        Some(Arc::clone(named.unwrap_or(first)))
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    certificate.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

/// The certificates of a PEM text: at least one.
fn certificates(
    of: &dyn fmt::Display,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|error| TlsError::new(of, error))?;
    if chain.is_empty() {
        return Err(TlsError::new(of, "there is no certificate in it"));
    }
    Ok(chain)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let of = path.display();
    let length = fs::metadata(path).map_err(|error| TlsError::new(&of, error))?.len();
    if length > FILE_BYTES_MAX {
        return Err(TlsError::new(of, format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    fs::read(path).map_err(|error| TlsError::new(of, error))
}
