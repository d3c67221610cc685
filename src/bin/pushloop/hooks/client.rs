//! The HTTP to the backend: one POST, signed, within a time and a size.

use std::{
    fmt::Write,
    io::{self, ErrorKind},
    time::{Duration, SystemTime},
};

use ring::hmac;
use ureq::{Agent, Error, http::header::CACHE_CONTROL};

/// Connections that are kept, and requests at once.
pub const IN_FLIGHT_MAX: usize = 64;
/// Bytes of an answer.
pub const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// For how long a connection is kept without a request: shorter than what servers keep theirs for, so that it is
/// rare that one is closed while a request is on its way.
const IDLE_AGE: Duration = Duration::from_secs(3);
/// For how long an answer may be taken for the next one, whatever the backend says.
const MAX_AGE_SECONDS_MAX: u64 = 3600;

const SIGNATURE: &str = "Pushloop-Signature";

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    TimedOut,
    /// There is no connection, or it ended.
    Unreachable,
    /// A status that says neither yes nor no: a redirect, which is not followed, among them.
    Status,
    /// It cannot be read, or is too long.
    Answer,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub is_text: bool,
    /// For how long it may be taken for the next one.
    pub max_age: Duration,
    pub body: Vec<u8>,
}

#[derive(Debug)]
pub struct Client {
    agent: Agent,
    url: String,
    key: Option<hmac::Key>,
}

impl Client {
    pub fn new(url: &str, key: Option<hmac::Key>, timeout: Duration) -> Self {
        let config = Agent::config_builder()
            // The environment of a server is no place to send its questions elsewhere.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .max_idle_connections(IN_FLIGHT_MAX)
            .max_idle_connections_per_host(IN_FLIGHT_MAX)
            .max_idle_age(IDLE_AGE)
            .user_agent(concat!("pushloop/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent(), url: url.to_owned(), key }
    }

    /// Posts JSON, and waits for the answer.
    pub fn post(&self, body: &[u8]) -> Result<Reply, Failure> {
        match self.attempt(body) {
            // A connection that was kept, and closed by the backend at this moment.
            Err(Error::Io(error)) if has_ended(&error) => self.attempt(body),
            attempt => attempt,
        }
        .map_err(|error| failure(&error))
    }

    fn attempt(&self, body: &[u8]) -> Result<Reply, Error> {
        let mut request = self.agent.post(&self.url).content_type("application/json");
        if let Some(key) = &self.key {
            request = request.header(SIGNATURE, sign(key, seconds(), body));
        }
        let mut response = request.send(body)?;
        let is_text = response.body().mime_type() == Some("text/plain");
        let cache_control = response.headers().get_all(CACHE_CONTROL).into_iter();
        let max_age = max_age(cache_control.filter_map(|value| value.to_str().ok()));
        let status = response.status().as_u16();
        // Read whatever it is, so that the connection can have the next question.
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Reply { status, is_text, max_age, body })
    }
}

/// When a signature is made. It is no time of the loop's: what is told may wait for long.
fn seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

/// The time and the code of both, in hexadecimal digits. Without the time, what was overheard once could be sent
/// again for ever.
pub fn sign(key: &hmac::Key, seconds: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    let mut value = format!("t={seconds},v1=");
    for byte in context.sign().as_ref() {
        // Writing to a String does not fail.
        let _ = write!(value, "{byte:02x}");
    }
    value
}

/// RFC 9111 §5.2.2: for how long an answer with these fields is fresh. What forbids to keep it wins.
pub fn max_age<'a>(cache_control: impl Iterator<Item = &'a str>) -> Duration {
    let mut seconds = 0;
    for directive in cache_control.flat_map(|value| value.split(',')) {
        let directive = directive.trim().to_ascii_lowercase();
        match directive.split_once('=') {
            None if matches!(&*directive, "no-store" | "no-cache") => return Duration::ZERO,
            Some(("max-age", age)) => seconds = age.trim_matches('"').parse().unwrap_or(0),
            Some(_) | None => {}
        }
    }
    Duration::from_secs(seconds.min(MAX_AGE_SECONDS_MAX))
}

fn has_ended(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::Timeout(_) => Failure::TimedOut,
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => Failure::TimedOut,
        Error::Io(_) | Error::ConnectionFailed | Error::HostNotFound => Failure::Unreachable,
        _ => Failure::Answer,
    }
}
