//! https to the backend of hooks and to issuers: who is trusted, and what is said of one that is not.

use std::{path::Path, sync::Arc};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{
    super::{
        PUSHLOOP, ask_tcp,
        hooks::{
            backend::{Backend, Got, yes},
            metric,
        },
        serve,
        tokens::{File, status},
    },
    Signer, publishes, set, until,
};
use crate::{
    support::process::Process,
    tls::{Authority, Pair},
};

/// What presents this certificate.
pub fn presents((chain, key): Pair) -> Arc<ServerConfig> {
    let chain = CertificateDer::from_pem_slice(chain.as_bytes()).expect("it is one");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("it is one");
    let provider = rustls::crypto::ring::default_provider();
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key);
    Arc::new(config.expect("they are a pair"))
}

/// A certificate for this machine that no authority has signed.
fn signed_by_itself() -> Pair {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("it is a name");
    params.distinguished_name.push(DnType::CommonName, "itself");
    let key = KeyPair::generate().expect("ring makes one");
    (params.self_signed(&key).expect("it signs").pem(), key.serialize_pem())
}

/// A server of which standard error is read with the rest: where it is, and where its metrics are.
fn serves(variables: &str, arguments: &[&str]) -> (Process, String, String) {
    let shell = format!(
        "{variables} exec \"$0\" --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 \"$@\" 2>&1"
    );
    let mut server =
        Process::start(Path::new("bash"), &[&["-c", &shell, PUSHLOOP], arguments].concat());
    let address = server.address("open http://");
    let metrics = server.address("metrics at http://");
    (server, address, metrics)
}

/// The next line with this in it.
fn says(server: &mut Process, what: &str) -> String {
    loop {
        let line = server.line();
        assert!(!line.is_empty(), "nothing is said of {what}");
        if line.contains(what) {
            return line;
        }
    }
}

#[test]
fn who_is_trusted_is_asked_and_brings_keys() {
    let (authority, key) = (Authority::new(), Signer::new("a"));
    let tls = || Some(presents(authority.signs(&["localhost"])));
    let answer = set(&[&key]);
    let keys = Backend::start_with(tls(), move |_: &Got| answer.clone());
    let hook = Backend::start_with(tls(), |_: &Got| yes());
    let ca = File::new("trusted-ca", authority.pem().as_bytes());
    let (keys_url, hook_url) = (keys.url_by("localhost"), hook.url_by("localhost"));
    let urls = ["--jwks-url", &keys_url, "--hook-url", &hook_url, "--hook-event", "publish"];
    let of_system = format!("SSL_CERT_FILE='{}'", ca.path());
    // Those of a file, and those of the system.
    for (variables, more) in [("", &["--backend-ca", ca.path()][..]), (&*of_system, &[])] {
        let (_server, address, metrics) = serves(variables, &[&urls, more].concat());
        until(|| metric(&metrics, "jwks_missing") == 0);
        assert_eq!(publishes(&address, &key.signs()), 200);
        assert_eq!(publishes(&address, &key.signs()), 200);
        assert_eq!(metric(&metrics, "hook_questions_allowed_total"), 2);
        assert!([hook.next(), hook.next()].iter().all(|got| got.head.starts_with("POST ")));
        assert!(keys.next().head.starts_with("GET "));
    }
}

/// Each is counted, and standard error says why; the client learns that it cannot be reached.
#[test]
fn who_is_not_trusted_is_not_asked() {
    let [authority, other] = [(); 2].map(|()| Authority::new());
    let key = Signer::new("a");
    let ca = File::new("other-ca", authority.pem().as_bytes());
    for (tls, why) in [
        (
            presents(authority.signs(&["elsewhere.example"])),
            "certificate not valid for name \"localhost\"",
        ),
        (presents(signed_by_itself()), "invalid peer certificate: UnknownIssuer"),
        // Of another authority with the same name.
        (presents(other.signs(&["localhost"])), "invalid peer certificate: BadSignature"),
    ] {
        let answer = set(&[&key]);
        let keys = Backend::start_with(Some(Arc::clone(&tls)), move |_: &Got| answer.clone());
        let hook = Backend::start_with(Some(tls), |_: &Got| yes());
        let trust = ["--backend-ca", ca.path()];
        let url = keys.url_by("localhost");
        let (mut server, address, metrics) =
            serves("", &[&trust[..], &["--jwks-url", &url]].concat());
        until(|| metric(&metrics, "jwks_fetches_tls_failed_total") > 0);
        let said = says(&mut server, &url);
        assert!(said.contains("it has none yet: ") && said.contains(why), "{said}");
        assert_eq!(publishes(&address, &key.signs()), 503);
        let url = hook.url_by("localhost");
        let asks = ["--hook-url", &url, "--hook-event", "publish"];
        let (mut server, address, metrics) = serves("", &[&trust[..], &asks].concat());
        let told = ask_tcp(&address, "POST /t", "", "x");
        assert_eq!(status(&told), 503, "{told}");
        assert!(told.ends_with("the backend that decides it cannot be reached by TLS"), "{told}");
        assert_eq!(metric(&metrics, "hook_questions_tls_failed_total"), 1);
        // Behind its origin there may be secrets.
        let origin = url.strip_suffix("/hook?from=pushloop").unwrap();
        let said = says(&mut server, origin);
        assert!(said.contains("cannot be reached: ") && said.contains(why), "{said}");
        assert!(!said.contains("from="), "{said}");
        assert!(keys.has_no_more() && hook.has_no_more());
    }
}

/// The same of one that answers in plain text.
#[test]
fn what_speaks_no_tls_has_no_keys() {
    let (_plain, address) = serve(&[]);
    let ca = File::new("plain-ca", Authority::new().pem().as_bytes());
    let url = format!("https://{address}/");
    let (mut server, _, metrics) = serves("", &["--backend-ca", ca.path(), "--jwks-url", &url]);
    until(|| metric(&metrics, "jwks_fetches_tls_failed_total") > 0);
    let said = says(&mut server, &url);
    assert!(said.contains("corrupt message"), "{said}");
}
