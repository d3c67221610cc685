//! One fetch of a set: a GET, within a time and a size.

use std::{
    panic::{self, AssertUnwindSafe},
    time::Duration,
};

use ring::digest::{SHA256, digest};
use ureq::{
    Agent, Error,
    http::header::{ACCEPT, CACHE_CONTROL},
    tls::TlsConfig,
};

use super::Source;
use crate::{
    auth::{Key, key_set},
    web::{self, Failure},
};

/// Bytes of an answer: as many as a file with keys may have.
const KEY_SET_BYTES_MAX: u64 = 1024 * 1024;

const MEDIA_TYPES: &str = "application/jwk-set+json, application/json";

/// A set that came.
#[derive(Debug)]
pub struct Fetched {
    pub keys: Vec<Key>,
    /// Why some of them are left out.
    pub left_out: Vec<String>,
    /// Of the bytes of the answer.
    pub hash: Vec<u8>,
    /// For how long it says that it holds, if it says so.
    pub max_age: Option<Duration>,
}

/// Why none came.
#[derive(Debug)]
pub struct Failed {
    pub failure: Failure,
    /// In one line.
    pub why: String,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let failure = web::failure(&error);
        let why = match &error {
            Error::BodyExceedsLimit(_) => {
                format!("the answer is longer than key_set_bytes_max = {KEY_SET_BYTES_MAX} bytes")
            }
            _ if failure == Failure::TimedOut => "it has not answered in time".to_owned(),
            other => web::why(other),
        };
        Self { failure, why }
    }
}

/// Fetches a set once. The error names it.
pub fn fetch(
    source: &Source,
    timeout: Duration,
    tls: TlsConfig,
) -> Result<(Vec<Key>, Vec<String>), String> {
    let fetched = Client::new(source, timeout, tls).fetch();
    let fetched = fetched.map_err(|Failed { why, .. }| format!("{source}: {why}"))?;
    Ok((fetched.keys, fetched.left_out))
}

/// What fetches a set.
#[derive(Debug)]
pub struct Client {
    pub source: Source,
    agent: Agent,
}

impl Client {
    pub fn new(source: &Source, timeout: Duration, tls: TlsConfig) -> Self {
        // Until the next fetch, no server keeps a connection.
        let config = web::config(tls, timeout).max_idle_connections(0).build();
        Self { source: source.clone(), agent: config.new_agent() }
    }

    /// Fetches it, and waits for that.
    pub fn fetch(&self) -> Result<Fetched, Failed> {
        // A thread that is gone would be missed for ever.
        panic::catch_unwind(AssertUnwindSafe(|| self.attempt())).unwrap_or_else(|_| {
            Err(Failed { failure: Failure::Answer, why: "the fetch has failed".to_owned() })
        })
    }

    fn attempt(&self) -> Result<Fetched, Failed> {
        let mut response = self.agent.get(&self.source.url).header(ACCEPT, MEDIA_TYPES).call()?;
        let status = response.status();
        if status != 200 {
            let more =
                if status.is_redirection() { ", a redirect, which is not followed" } else { "" };
            let why = format!("the answer has the status {}{more}", status.as_u16());
            return Err(Failed { failure: Failure::Status, why });
        }
        let cache_control = response.headers().get_all(CACHE_CONTROL).into_iter();
        let max_age = web::max_age(cache_control.filter_map(|value| value.to_str().ok()));
        let bytes = response.body_mut().with_config().limit(KEY_SET_BYTES_MAX).read_to_vec()?;
        let (keys, left_out) =
            key_set(&bytes).map_err(|why| Failed { failure: Failure::Answer, why })?;
        let of_issuer = |key: Key| key.of_issuer(self.source.issuer.as_ref());
        Ok(Fetched {
            keys: keys.into_iter().map(of_issuer).collect(),
            left_out,
            hash: digest(&SHA256, &bytes).as_ref().into(),
            max_age,
        })
    }
}
