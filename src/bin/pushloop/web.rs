//! HTTP to others: to the backend that hooks ask, and to where issuers have their keys. What is so for both.

use std::{
    fmt::Display,
    io::{self, ErrorKind},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use ureq::{
    Agent, Error,
    config::ConfigBuilder,
    http::Uri,
    tls::{Certificate, RootCerts, TlsConfig},
    typestate::AgentScope,
};

use crate::gate;

/// Characters of what is told of a failure: some of it may be the other side's.
const WHY_CHARS_MAX: usize = 300;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    TimedOut,
    /// There is no connection, or it ended.
    Unreachable,
    /// The other side has not shown that it is the one of the URL, or speaks no TLS.
    Tls,
    /// A status that is no answer: a redirect, which is not followed, among them.
    Status,
    TooLong,
    /// It cannot be read.
    Answer,
}

/// What is so for all requests.
pub fn config(tls: TlsConfig, timeout: Duration) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        // The environment of a server is no place to send its questions elsewhere.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .user_agent(concat!("pushloop/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
}

/// A URL that is whole, of http or https, with nobody's name in it and no fragment.
pub fn url(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let has_user = url.authority().is_none_or(|it| it.as_str().contains('@'));
    let is_whole = matches!(url.scheme_str(), Some("http" | "https"))
        && url.host().is_some_and(|it| !it.is_empty());
    (is_whole && !has_user && !text.contains('#')).then_some(url)
}

/// What of a URL may be told: its path or its query may be a secret.
pub fn origin(url: &str) -> &str {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |at| begin + at);
    &url[..end]
}

pub fn is_https(url: &str) -> bool {
    url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

/// Whom TLS trusts at this URL: the authorities in this file, or those of the system. What is no https trusts
/// nobody. The error names the file.
pub fn trust(url: &str, authorities: Option<&Path>) -> Result<TlsConfig, String> {
    let roots = match authorities {
        _ if !is_https(url) => Vec::new(),
        Some(path) => gate::read(path, read_authorities)?,
        None => authorities_of_system()?,
    };
    // Named, so that no other one is taken by accident: the tree has this one alone.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = TlsConfig::builder().root_certs(RootCerts::from(roots));
    Ok(builder.unversioned_rustls_crypto_provider(provider).build())
}

/// Reads certificates in PEM. ureq leaves out those that cannot be used, and would trust nobody.
pub fn read_authorities(bytes: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let (mut store, mut roots) = (RootCertStore::empty(), Vec::new());
    for (nth, certificate) in (1..).zip(CertificateDer::pem_slice_iter(bytes)) {
        let wrong = |why: &dyn Display| format!("certificate {nth} cannot be used: {why}");
        let certificate = certificate.map_err(|error| wrong(&error))?;
        store.add(certificate.clone()).map_err(|error| wrong(&error))?;
        roots.push(Certificate::from_der(&certificate).to_owned());
    }
    if roots.is_empty() {
        return Err("it has no certificate: a block that begins with -----BEGIN CERTIFICATE-----"
            .to_owned());
    }
    Ok(roots)
}

fn authorities_of_system() -> Result<Vec<Certificate<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(format!(
            "this system names no authority to trust in https{why}: install its package ca-certificates, or name \
             some with --backend-ca"
        ));
    }
    Ok(found.certs.iter().map(|it| Certificate::from_der(it).to_owned()).collect())
}

/// What kind of failure an error is.
pub fn failure(error: &Error) -> Failure {
    match error {
        Error::Timeout(_) => Failure::TimedOut,
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => Failure::TimedOut,
        Error::Io(error) if is_of_tls(error) => Failure::Tls,
        Error::Rustls(_) | Error::Tls(_) => Failure::Tls,
        Error::Io(_) | Error::ConnectionFailed | Error::HostNotFound => Failure::Unreachable,
        Error::BodyExceedsLimit(_) | Error::LargeResponseHeader(..) => Failure::TooLong,
        _ => Failure::Answer,
    }
}

fn is_of_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// What is told of an error, in one line.
pub fn why(error: &Error) -> String {
    let text = match error {
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    line(&text, WHY_CHARS_MAX)
}

/// The beginning of a text, as one line.
pub fn line(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// RFC 9111 §5.2.2: for how long an answer with these fields is fresh, if they say so. What forbids to keep it wins.
pub fn max_age<'a>(cache_control: impl Iterator<Item = &'a str>) -> Option<Duration> {
    let mut fresh = None;
    for directive in cache_control.flat_map(|value| value.split(',')) {
        let directive = directive.trim().to_ascii_lowercase();
        match directive.split_once('=') {
            None if matches!(&*directive, "no-store" | "no-cache") => return Some(Duration::ZERO),
            Some(("max-age", age)) => {
                let seconds = age.trim_matches('"').parse().unwrap_or(0);
                fresh = Some(Duration::from_secs(seconds));
            }
            Some(_) | None => {}
        }
    }
    fresh
}

/// The time since 1970. It is no time of the loop's: what is asked may take long.
pub fn since_1970() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// The same in seconds.
pub fn seconds() -> u64 {
    since_1970().as_secs()
}

/// Bytes in hexadecimal digits, as signatures have them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
