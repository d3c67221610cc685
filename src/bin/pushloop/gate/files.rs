//! The files that keys are in.

use std::{
    collections::HashSet,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Keys;
use crate::{
    auth::{Policy, PublishKey, Verifier, key_set, public_key, secret},
    key_sets::FetchOptions,
    pusher::{App, AppFile},
};

/// Bytes of a file with keys.
const KEY_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What the options say of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenOptions {
    pub secrets: Vec<PathBuf>,
    pub public_keys: Vec<KeyFile>,
    pub key_sets: Vec<KeyFile>,
    /// Sets that are not in files.
    pub fetched: FetchOptions,
    pub issuers: Vec<String>,
    pub audiences: Vec<String>,
    pub publish_key: Option<PathBuf>,
    pub api_key: Option<PathBuf>,
    /// Subjects of which no token is taken.
    pub revoked: Option<PathBuf>,
    pub cookie: Option<String>,
    pub anyone_may_subscribe: bool,
    /// Applications of Pusher's.
    pub apps: Vec<AppFile>,
}

/// A file with keys, which may be those of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    pub issuer: Option<String>,
    pub path: PathBuf,
}

impl KeyFile {
    /// Reads `FILE` or `ISSUER=FILE`.
    pub fn parse(text: &str) -> Self {
        let (issuer, path) = match text.rsplit_once('=') {
            Some((issuer, path)) => (Some(issuer.to_owned()), path),
            None => (None, text),
        };
        Self { issuer, path: path.into() }
    }
}

impl TokenOptions {
    /// Whether there are keys for tokens.
    pub fn has_keys(&self) -> bool {
        let has_files =
            !(self.secrets.is_empty() && self.public_keys.is_empty() && self.key_sets.is_empty());
        has_files || !self.fetched.sources.is_empty()
    }

    /// Whether it is asked who may publish.
    pub fn are_given(&self) -> bool {
        self.has_keys() || self.publish_key.is_some() || !self.apps.is_empty()
    }

    /// What verifies tokens by the keys in files, and why some of these are left out.
    pub fn verifier(&self) -> Result<(Verifier, Vec<String>), String> {
        let (mut keys, mut left_out) = (Vec::new(), Vec::new());
        for path in &self.secrets {
            keys.push(read(path, secret)?);
        }
        for KeyFile { issuer, path } in &self.public_keys {
            keys.push(read(path, public_key)?.of_issuer(issuer.as_ref()));
        }
        for KeyFile { issuer, path } in &self.key_sets {
            let (set, others) = read(path, key_set)?;
            keys.extend(set.into_iter().map(|key| key.of_issuer(issuer.as_ref())));
            left_out.extend(others.into_iter().map(|why| format!("{}: {why}", path.display())));
        }
        let (issuers, audiences) = (self.issuers.clone(), self.audiences.clone());
        Ok((Verifier { keys, fetched: Vec::new(), issuers, audiences }, left_out))
    }

    /// Reads all keys in files: they are good, or the error says which is not. And why some are left out.
    pub fn read(&self) -> Result<(Keys, Vec<String>), String> {
        let (verifier, left_out) = self.verifier()?;
        let publish_key = self.publish_key.as_ref().map(|path| read(path, PublishKey::new));
        let publish_key = publish_key.transpose()?;
        let api_key = self.api_key.as_ref().map(|path| read(path, PublishKey::new)).transpose()?;
        let (is_guarded, anyone_may_subscribe) = (self.are_given(), self.anyone_may_subscribe);
        let policy = Policy { is_guarded, anyone_may_subscribe, ..Policy::default() };
        let revoked = self.revoked.as_ref().map(|path| read(path, subjects)).transpose()?;
        let (revoked, sets) = (revoked.unwrap_or_default(), Vec::new());
        let app = |(nth, app): (usize, &AppFile)| {
            read(&app.secret, |secret| App::new(nth, app, secret)).map(Arc::new)
        };
        let apps = self.apps.iter().enumerate().map(app).collect::<Result<_, _>>()?;
        Ok((Keys { policy, verifier, publish_key, api_key, revoked, sets, apps }, left_out))
    }
}

/// One subject a line, as tokens have it. Empty lines are none.
fn subjects(bytes: &[u8]) -> Result<HashSet<Box<str>>, String> {
    let text = str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(Box::from).collect())
}

/// What a file has, read by `parse`. The error names the file.
pub fn read<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<T, String> {
    let mut bytes = Vec::new();
    let wrong = |why: String| format!("{}: {why}", path.display());
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(KEY_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(wrong(format!(
            "it is longer than key_file_bytes_max = {KEY_FILE_BYTES_MAX} bytes"
        )));
    }
    parse(&bytes).map_err(wrong)
}
