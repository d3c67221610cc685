//! The HTTP to the backend: one POST, signed, within a time and a size.

use std::{
    io::{self, ErrorKind},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use ureq::{
    Agent, Body, Error,
    http::{Response, header::CACHE_CONTROL},
    tls::TlsConfig,
};

use super::Dialect;
use crate::{
    logs::{Level, say},
    web::{self, Failure, seconds},
};

/// Connections that are kept, and requests at once.
pub const IN_FLIGHT_MAX: usize = 64;
/// Bytes of an answer.
pub const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// For how long a connection is kept without a request: shorter than what servers keep theirs for, so that it is
/// rare that one is closed while a request is on its way.
const IDLE_AGE: Duration = Duration::from_secs(3);
/// For how long an answer may be taken for the next one, whatever the backend says.
const MAX_AGE_MAX: Duration = Duration::from_secs(3600);
/// How often an operator is told the same of a backend.
const SAID_SECONDS: u64 = 60;

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub is_text: bool,
    /// For how long it may be taken for the next one.
    pub max_age: Duration,
    pub body: Vec<u8>,
}

/// When something was said last: it is said now and then.
#[derive(Debug, Default)]
pub struct Said(AtomicU64);

#[derive(Debug)]
pub struct Client {
    agent: Agent,
    url: String,
    dialect: Dialect,
    /// The backend, for an operator.
    name: String,
    /// Why TLS fails is said now and then: a client learns only that the backend cannot be reached.
    said: Said,
}

impl Said {
    /// Whether it is to be said again, which is noted. Of several threads, one says it.
    pub fn is_time(&self) -> bool {
        let (now, before, order) = (seconds(), self.0.load(Ordering::Relaxed), Ordering::Relaxed);
        now.abs_diff(before) >= SAID_SECONDS
            && self.0.compare_exchange(before, now, order, order).is_ok()
    }
}

impl Client {
    pub fn new(url: &str, dialect: Dialect, timeout: Duration, tls: TlsConfig) -> Self {
        let config = web::config(tls, timeout)
            .max_idle_connections(IN_FLIGHT_MAX)
            .max_idle_connections_per_host(IN_FLIGHT_MAX)
            .max_idle_age(IDLE_AGE)
            .build();
        let name = format!("{} at {}", dialect.name(), web::origin(url));
        Self {
            agent: config.new_agent(),
            url: url.to_owned(),
            dialect,
            name,
            said: Said::default(),
        }
    }

    /// The form of what it posts.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Posts JSON, and waits for the answer.
    pub fn post(&self, body: &[u8]) -> Result<Reply, Failure> {
        self.post_and(body, read)
    }

    /// Posts JSON, and waits for the status, by which the backend has taken it or has not. What comes with that is for
    /// nobody.
    pub fn tell(&self, body: &[u8]) -> Result<u16, Failure> {
        self.post_and(body, |mut response| {
            // If it can be read, the connection can have the next request.
            let _ = read_body(&mut response);
            Ok(response.status().as_u16())
        })
    }

    fn post_and<T>(
        &self,
        body: &[u8],
        read: impl Fn(Response<Body>) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let attempt = || self.attempt(body).and_then(&read);
        match attempt() {
            // A connection that was kept, and closed by the backend at this moment.
            Err(Error::Io(error)) if has_ended(&error) => attempt(),
            result => result,
        }
        .map_err(|error| {
            let failure = web::failure(&error);
            if failure == Failure::Tls {
                self.say_why(&error);
            }
            failure
        })
    }

    /// Says what is wrong with the backend's TLS, now and then.
    fn say_why(&self, error: &Error) {
        if self.said.is_time() {
            say(Level::Warn, &format!("{} cannot be reached: {}", self.name, web::why(error)));
        }
    }

    fn attempt(&self, body: &[u8]) -> Result<Response<Body>, Error> {
        let mut request = self.agent.post(&self.url).content_type("application/json");
        for (name, value) in self.dialect.fields(body) {
            request = request.header(name, value);
        }
        request.send(body)
    }
}

fn read(mut response: Response<Body>) -> Result<Reply, Error> {
    let is_text = response.body().mime_type() == Some("text/plain");
    let cache_control = response.headers().get_all(CACHE_CONTROL).into_iter();
    let max_age = max_age(cache_control.filter_map(|value| value.to_str().ok()));
    let status = response.status().as_u16();
    // Read whatever it is, so that the connection can have the next question.
    let body = read_body(&mut response)?;
    Ok(Reply { status, is_text, max_age, body })
}

fn read_body(response: &mut Response<Body>) -> Result<Vec<u8>, Error> {
    response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()
}

/// For how long an answer with these fields may be taken for the next one.
pub fn max_age<'a>(cache_control: impl Iterator<Item = &'a str>) -> Duration {
    web::max_age(cache_control).unwrap_or_default().min(MAX_AGE_MAX)
}

fn has_ended(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
