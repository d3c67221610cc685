//! The TLS layer between a transport in memory and a peer. The first byte of the input says what the peer is, the
//! second how much of its ciphertext is read at once.
//!
//! An even first byte: the rest is what it sends, as it stands, in pieces. Nobody can say anything so, and no
//! handshake comes to its end. An odd one: a client of rustls, of TLS 1.2 or 1.3, with a certificate and an earlier
//! session or without, and the rest is what becomes of what it sends, three bytes to a step: what it says, where
//! its records are cut, and which bytes of them are others, gone, more, or there twice. The server echoes. What either
//! hears is what the other said, up to somewhere; and all of it, if nothing was changed.

use std::io::{Read, Write};
use std::sync::Arc;

use crate::pieces::pieces;
use crate::server::echo::Echo;
use crate::server::tls::{Tls, TlsCertificates};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, version};

/// A server that asks for certificates, and one that does not; and for each a client of either version, which
/// remembers sessions: what an input does depends on those before it, if it is to resume.
struct Parties([(Tls, [Arc<ClientConfig>; 2]); 2]);

thread_local! {
    static PARTIES: Parties = Parties::new();
}

impl Parties {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let certified = || {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let of = |asks: bool| {
            let (chain, key) = certified();
            let certificates =
                TlsCertificates::new().pem(chain.as_bytes(), key.as_bytes()).unwrap();
            let certificates = match asks {
                true => certificates.client_authority(authority.pem().as_bytes()).unwrap(),
                false => certificates,
            };
            let client = |version| {
                let (chain, key) = certified();
                let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                let provider = rustls::crypto::ring::default_provider();
                let config = ClientConfig::builder_with_provider(provider.into())
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .with_root_certificates(roots.clone())
                    .with_client_auth_cert(chain, key);
                Arc::new(config.unwrap())
            };
            let clients = [client(&version::TLS12), client(&version::TLS13)];
            (Tls::new(certificates).unwrap(), clients)
        };
        Self([of(false), of(true)])
    }
}

pub fn run(data: &[u8]) {
    let [kind, reads, script @ ..] = data else { return };
    PARTIES.with(|Parties(parties)| {
        let (tls, clients) = &parties[usize::from(kind / 2 % 2)];
        let most = [16, 100, 4096, 100_000][usize::from(reads % 4)];
        let echo = Echo::new(tls, most);
        if kind % 2 == 0 {
            sends(echo, *reads, script);
        } else {
            let config = Arc::clone(&clients[usize::from(kind / 4 % 2)]);
            Talk::new(echo, config).goes(script);
        }
    });
}

/// Bytes as they stand.
fn sends(mut echo: Echo, seed: u8, bytes: &[u8]) {
    echo.may_send(usize::MAX / 2);
    pieces(seed, bytes).into_iter().for_each(|piece| echo.comes(piece));
    echo.ends();
    let sent = echo.sent();
    match bytes.first() {
        Some(byte) if byte.is_ascii_uppercase() => assert!(sent.starts_with(b"HTTP/1.1 400 ")),
        // Records of the handshake, and alerts.
        _ => assert!(sent.first().is_none_or(|kind| [21, 22].contains(kind)), "{sent:?}"),
    }
    assert!(echo.heard.is_empty() && !echo.leaves(), "nobody knows the keys");
}

/// Of an input, so that it does not take long.
const SAID_BYTES_MAX: usize = 100_000;
/// More at once, without anything said, are refused.
const KEYS_MAX: usize = 20;

struct Talk {
    echo: Echo,
    client: ClientConnection,
    said: Vec<u8>,
    /// What the client has heard.
    heard: Vec<u8>,
    /// Ciphertext of the client that has not come to the server.
    under_way: Vec<u8>,
    /// How often the client has taken new keys.
    keys: usize,
    is_changed: bool,
    /// The client understands nothing any more.
    is_lost: bool,
    is_closed: bool,
}

impl Talk {
    fn new(echo: Echo, config: Arc<ClientConfig>) -> Self {
        let client = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        let (said, heard, under_way, keys) = Default::default();
        let (is_changed, is_lost, is_closed) = Default::default();
        Self { echo, client, said, heard, under_way, keys, is_changed, is_lost, is_closed }
    }

    fn goes(mut self, script: &[u8]) {
        for step in script.as_chunks().0 {
            self.step(*step);
        }
        // From here on nothing is in the way.
        self.echo.may_send(usize::MAX / 2);
        for _ in 0..20 {
            self.passes(usize::MAX);
            self.hears();
        }
        self.client.send_close_notify();
        self.passes(usize::MAX);
        self.echo.ends();
        self.hears();
        assert!(self.said.starts_with(&self.echo.heard), "the server hears what nobody said");
        assert!(self.said.starts_with(&self.heard), "the client hears what nobody said");
        if !self.is_changed {
            assert!(!self.echo.has_failed && !self.is_lost && self.heard == self.said);
        }
        let was_open = self.echo.leaves();
        assert!(was_open || self.is_changed);
    }

    fn step(&mut self, [what, a, b]: [u8; 3]) {
        let number = usize::from(a) << 8 | usize::from(b);
        let at = usize::from(a).min(self.under_way.len());
        let end = self.under_way.len().min(at + usize::from(b));
        match what % 12 {
            0 => self.says(number),
            1 | 2 => self.passes(1 + number),
            3 => self.echo.may_send(number),
            4 => self.hears(),
            5 if self.keys < KEYS_MAX => {
                self.keys += 1;
                // Only in version 1.3, and after its handshake.
                let _ = self.client.refresh_traffic_keys();
            }
            // What was said before is kept until then, and would come behind it.
            6 if self.said.len() > 1000 && !self.client.is_handshaking() => self.closes(),
            7 if at < self.under_way.len() => {
                self.is_changed = true;
                self.under_way[at] ^= b | 1;
            }
            8 => {
                self.is_changed |= at < end;
                self.under_way.drain(at..end);
            }
            9 => {
                self.is_changed = true;
                self.under_way.insert(at, b);
            }
            10 => {
                self.is_changed |= at < end;
                self.under_way.extend_from_within(at..end);
            }
            11 if number > 65_000 => {
                self.is_changed = true;
                self.echo.ends();
            }
            _ => {}
        }
    }

    fn says(&mut self, length: usize) {
        if !self.is_closed && self.said.len() < SAID_BYTES_MAX {
            let start = self.said.len();
            let text: Vec<u8> = (start..start + length).map(|at| (at % 251) as u8).collect();
            // One that has heard an alert takes nothing.
            let taken = self.client.writer().write(&text).unwrap_or(0);
            self.said.extend_from_slice(&text[..taken]);
        }
    }

    fn closes(&mut self) {
        self.is_closed = true;
        self.client.send_close_notify();
    }

    /// So much of what the client has sent comes to the server.
    fn passes(&mut self, most: usize) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.under_way).expect("it is memory");
        }
        let count = self.under_way.len().min(most);
        let bytes: Vec<u8> = self.under_way.drain(..count).collect();
        self.echo.comes(&bytes);
    }

    fn hears(&mut self) {
        let sent = self.echo.sent();
        let mut sent = &sent[..];
        while !sent.is_empty() && !self.is_lost {
            if self.client.read_tls(&mut sent).is_err() {
                self.is_lost = true;
                break;
            }
            let Ok(state) = self.client.process_new_packets() else {
                self.is_lost = true;
                break;
            };
            let start = self.heard.len();
            self.heard.resize(start + state.plaintext_bytes_to_read(), 0);
            self.client.reader().read_exact(&mut self.heard[start..]).expect("it is there");
        }
    }
}
