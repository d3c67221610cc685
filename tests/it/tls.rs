//! TLS as its clients see it: rustls' own client, sockets, and certificates that are made for each run.

mod bad;
mod reload;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use pushloop::{Config, Server, Tls, TlsCertificates};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion, version,
};

use crate::support::http::{ask, dial, upgrade};
use crate::support::{Frame, TestServer, close_empty, echo, quiet, text};

/// A certificate and its key, in PEM.
pub type Pair = (String, String);

/// What signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn signs(&self, names: &[&str]) -> Pair {
        self.signs_until(names, 2100)
    }

    /// The same for a certificate that expires as this year begins.
    fn signs_until(&self, names: &[&str], year: i32) -> Pair {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Its own certificate, which those trust that trust it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        roots
    }

    /// What presents certificates for these names.
    pub fn certifies(&self, names: &[&[&str]]) -> TlsCertificates {
        names.iter().fold(TlsCertificates::new(), |certificates, names| {
            let (chain, key) = self.signs(names);
            certificates.pem(chain.as_bytes(), key.as_bytes()).unwrap()
        })
    }

    pub fn client(&self) -> Client {
        self.client_of(&[&version::TLS13, &version::TLS12], None)
    }

    fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Pair>,
    ) -> Client {
        let provider = rustls::crypto::ring::default_provider();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots());
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(32);
        Client(config)
    }
}

/// A client that remembers its sessions.
#[derive(Clone)]
pub struct Client(ClientConfig);

pub type Connection = StreamOwned<ClientConnection, TcpStream>;

impl Client {
    fn speaks(mut self, protocols: &[&[u8]]) -> Self {
        self.0.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
        self
    }

    fn tls(&self, name: &'static str) -> ClientConnection {
        ClientConnection::new(Arc::new(self.0.clone()), name.try_into().unwrap()).unwrap()
    }

    /// The handshake, or what was wrong with it.
    fn tries(&self, address: SocketAddr, name: &'static str) -> Result<Connection, String> {
        let mut stream = StreamOwned::new(self.tls(name), dial(address));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
        }
        Ok(stream)
    }

    pub fn connects(&self, address: SocketAddr) -> Connection {
        self.tries(address, "localhost").expect("the server takes part in the handshake")
    }

    /// A WebSocket, and a message that came back: by then, the client has its tickets.
    pub fn opens(&self, address: SocketAddr) -> Connection {
        let mut stream = self.connects(address);
        upgrade(&mut stream, "/");
        echoes(&mut stream, "hello");
        stream
    }
}

pub fn is_resumed(stream: &Connection) -> bool {
    stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
}

fn echoes(stream: &mut Connection, message: &str) {
    stream.write_all(&text(message).masked([1, 2, 3, 4])).unwrap();
    assert_eq!(Frame::read(stream).unwrap(), Some(text(message)));
}

/// A server with these certificates, on a free port, that echoes.
fn serves(tls: &Tls) -> TestServer {
    serves_with(quiet(|_| {}), tls)
}

fn serves_with(config: Config, tls: &Tls) -> TestServer {
    let mut server = Server::new(config).unwrap();
    server.listen_tls("127.0.0.1:0", tls).unwrap();
    TestServer::serves(server, echo)
}

fn localhost(authority: &Authority) -> Tls {
    Tls::new(authority.certifies(&[&["localhost"]])).unwrap()
}

#[test]
fn both_versions_are_spoken_with_the_protocol_named_or_not() {
    let authority = Authority::new();
    let server = serves(&localhost(&authority));
    for (version, expected) in
        [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let client = authority.client_of(&[version], None);
        let offers: [(&[&[u8]], _); 3] = [
            (&[b"http/1.1"], Some(&b"http/1.1"[..])),
            (&[b"h2", b"http/1.1"], Some(b"http/1.1")),
            (&[], None),
        ];
        for (offer, agreed) in offers {
            let stream = client.clone().speaks(offer).opens(server.address());
            assert_eq!(stream.conn.protocol_version(), Some(expected));
            assert_eq!(stream.conn.alpn_protocol(), agreed, "{offer:?}");
        }
        for offer in [&[&b"h2"[..]][..], &[b"h3"], &[b"http/1.0", b"acme-tls/1"]] {
            let refused = client.clone().speaks(offer).tries(server.address(), "localhost");
            let refused = refused.map(drop).expect_err("no protocol is common");
            assert!(refused.contains("NoApplicationProtocol"), "{offer:?}: {refused}");
        }
    }
    server.until(|hub| hub.counters().tls_handshakes_failed == 6);
    assert_eq!(server.handle().counters().tls_handshakes, 6);
}

#[test]
fn long_messages_and_plain_requests_come_through() {
    let authority = Authority::new();
    let server =
        serves_with(quiet(|config| config.message_bytes_max = 1 << 20), &localhost(&authority));
    let mut stream = authority.client().opens(server.address());
    for length in [1, 16_383, 16_384, 16_385, 65_535, 65_536, 200_000] {
        echoes(&mut stream, &"x".repeat(length));
    }
    let answer = ask(authority.client().connects(server.address()), "GET /", "", "");
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
}

#[test]
fn a_name_gets_its_certificate_and_another_name_or_none_the_first() {
    let authority = Authority::new();
    let names: [&[&str]; 3] = [&["localhost"], &["a.test", "*.b.test"], &["b.test"]];
    let certificates = authority.certifies(&names);
    let server = serves(&Tls::new(certificates).unwrap());
    let presented = |name: &'static str| {
        let tried = authority.client().tries(server.address(), name);
        tried.map(|stream| stream.conn.peer_certificates().unwrap()[0].clone())
    };
    let first = presented("localhost").unwrap();
    let [a, any, b] = ["a.test", "x.b.test", "b.test"].map(|name| presented(name).unwrap());
    assert!(a == any && a != b && a != first && b != first);
    // The client is told, and it refuses.
    let error = presented("c.test").unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    // An address is no name, and is not told.
    let error = presented("127.0.0.1").unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    let mut unnamed = authority.client();
    unnamed.0.enable_sni = false;
    let stream = unnamed.connects(server.address());
    assert_eq!(stream.conn.peer_certificates().unwrap()[0], first);
}

#[test]
fn close_notify_goes_before_fin_on_each_of_a_thousand_closes() {
    let authority = Authority::new();
    let server = serves(&localhost(&authority));
    let client = authority.client();
    for at in 0..1000 {
        let mut stream = client.connects(server.address());
        if at % 2 == 0 {
            upgrade(&mut stream, "/");
            stream.write_all(&close_empty().masked([1; 4])).unwrap();
            assert_eq!(Frame::read(&mut stream).unwrap(), Some(close_empty()));
        } else {
            let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
        }
        // Without a close_notify, it is an error.
        stream.read_to_end(&mut Vec::new()).unwrap_or_else(|error| panic!("close {at}: {error}"));
    }
    let counts = server.handle().counters();
    assert_eq!(
        (counts.tls_handshakes, counts.tls_handshakes_failed, counts.tls_broken),
        (1000, 0, 0)
    );
    assert!(counts.tls_handshakes_resumed >= 900, "{counts:?}");
}

#[test]
fn a_client_has_to_have_a_certificate_of_the_authority_that_is_asked_for() {
    let [authority, clients, strangers] = [(); 3].map(|()| Authority::new());
    let certificates = authority.certifies(&[&["localhost"]]);
    let tls = Tls::new(certificates.client_authority(clients.pem.as_bytes()).unwrap()).unwrap();
    let server = serves(&tls);
    let [known, stranger] = [&clients, &strangers].map(|it| it.signs(&["a client"]));
    for version in [&version::TLS12, &version::TLS13] {
        let opens = |own| {
            let tried = authority.client_of(&[version], own).tries(server.address(), "localhost");
            let mut stream = tried?;
            // In TLS 1.3, the client hears of it after its own handshake.
            let ask = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let read = ask.and_then(|()| stream.read(&mut [0; 100]));
            read.map_err(|error| error.to_string())
        };
        assert!(opens(Some(&known)).is_ok_and(|count| count > 0));
        let (error, alien) = (opens(None).unwrap_err(), opens(Some(&stranger)).unwrap_err());
        assert!(error.contains("ertificate"), "{error}");
        assert!(alien.contains("UnknownCA") || alien.contains("DecryptError"), "{alien}");
    }
    server.until(|hub| hub.counters().tls_handshakes_failed == 4);
}

#[test]
fn one_provider_of_cryptography_is_in_the_tree() {
    let lock = include_str!("../../Cargo.lock");
    let packages: Vec<_> = lock.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
    assert!(packages.contains(&"\"ring\"") && packages.contains(&"\"rustls\""));
    for other in
        ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls", "rustls-graviola"]
    {
        assert!(!packages.contains(&&*format!("{other:?}")), "{other} is a second one");
    }
}
