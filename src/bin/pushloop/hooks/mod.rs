//! Hooks: a backend is asked who may subscribe and publish, and told who comes and goes.
//!
//! It knows the backend's URL, its HTTP, the bytes of questions, answers and events, in the server's own form and in
//! that of Pusher's webhooks, and the threads that wait for it. It must not know the hub, requests or connections: what
//! waits for an answer is `service/asking.rs`'s, which knows a question by its number, and what is told is
//! `service/telling.rs`'s and `service/pushing/webhooks.rs`'s.
//!
//! The HTTP is `ureq`'s, over the server's own rustls where the URL is https (`web.rs`). It blocks, which is what a
//! thread is for, and brings three crates.

mod answers;
mod client;
mod dialect;
mod events;
mod pool;
mod question;

use std::{path::PathBuf, sync::Arc, time::Duration};

use pushloop::Handle;
use ring::hmac;

pub use self::{
    answers::{Answers, Mark},
    events::{Teller, end_all},
    pool::Pool,
    question::{Verdict, question},
};
use self::{
    client::{Client, IN_FLIGHT_MAX},
    dialect::{Batch, Counts, Dialect},
};
use crate::{
    auth::without_line_end,
    gate,
    pusher::{App, AppFile},
    status::Status,
    web,
};

/// What the service is notified of, when there are answers.
pub const ANSWERED: u32 = 3;

/// The connection of a webhook, and what looks up its name.
const WEBHOOK_DESCRIPTORS: usize = 4;

/// Bytes of a secret.
const SECRET_BYTES_MIN: usize = 16;

/// What a backend may be asked or told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asked, before a WebSocket or an event stream begins, or something else of a topic is read.
    Subscribe,
    /// Asked, before something is published.
    Publish,
    /// Told, when a WebSocket or an event stream has begun.
    Connect,
    /// Told, when it has ended.
    Disconnect,
    /// Told, when a topic has its first subscriber.
    Occupied,
    /// Told, when a topic has none any more.
    Vacated,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Subscribe,
        Self::Publish,
        Self::Connect,
        Self::Disconnect,
        Self::Occupied,
        Self::Vacated,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Occupied => "occupied",
            Self::Vacated => "vacated",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn is_asked(self) -> bool {
        match self {
            Self::Subscribe | Self::Publish => true,
            Self::Connect | Self::Disconnect | Self::Occupied | Self::Vacated => false,
        }
    }
}

/// A webhook as an option has it: `ID:URL`, of the application with this id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub app: String,
    pub url: String,
}

impl Webhook {
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').filter(|(app, _)| !app.is_empty());
        let (app, url) = parts.filter(|(_, url)| web::url(url).is_some()).ok_or_else(|| {
            format!("'{text}' is not ID:URL, with https://HOST[:PORT]/PATH or the same of http://")
        })?;
        Ok(Self { app: app.to_owned(), url: url.to_owned() })
    }

    /// Adds it to others, of which none is of the same application.
    pub fn add_to(self, webhooks: &mut Vec<Self>) -> Result<(), String> {
        if webhooks.iter().any(|it| it.app == self.app) {
            return Err(format!("two webhooks are of the application {}", self.app));
        }
        webhooks.push(self);
        Ok(())
    }
}

/// What the options say of hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookOptions {
    pub url: Option<String>,
    pub kinds: Vec<Kind>,
    pub secret: Option<PathBuf>,
    /// How long a question may take in all.
    pub timeout: Duration,
    pub allow_on_failure: bool,
    /// Fields of a request that a question has as well.
    pub forward_headers: Vec<String>,
    /// Those in Pusher's form, at most one of an application.
    pub webhooks: Vec<Webhook>,
    /// Whom https trusts, in place of the system's authorities.
    pub authorities: Option<PathBuf>,
}

impl HookOptions {
    /// Whether it is a backend that says who may do this.
    pub fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// All that something is sent to.
    pub fn urls(&self) -> impl Iterator<Item = &String> {
        self.url.iter().chain(self.webhooks.iter().map(|it| &it.url))
    }

    /// How many descriptors the connections to all take from the others.
    pub fn descriptors(&self) -> usize {
        // And what looks up its name, and tells.
        let of_url = if self.url.is_some() { IN_FLIGHT_MAX + 8 } else { 0 };
        of_url + self.webhooks.len() * WEBHOOK_DESCRIPTORS
    }

    /// Whether its files can be used. The error names one.
    pub fn check(&self) -> Result<(), String> {
        self.client()?;
        let trust = |it: &Webhook| web::trust(&it.url, self.authorities.as_deref()).map(drop);
        self.webhooks.iter().try_for_each(trust)
    }

    /// The webhook that is of none of these applications.
    pub fn stray_webhook(&self, apps: &[AppFile]) -> Option<&Webhook> {
        self.webhooks.iter().find(|it| apps.iter().all(|app| app.id != it.app))
    }

    /// The key that signs, if there is one. The error names its file.
    fn key(&self) -> Result<Option<hmac::Key>, String> {
        self.secret.as_ref().map(|path| gate::read(path, key)).transpose()
    }

    /// What asks, if something is to be asked.
    pub fn pool(&self, handle: Handle, status: &Arc<Status>) -> Result<Option<Pool>, String> {
        if !self.kinds.iter().any(|kind| kind.is_asked()) {
            return Ok(None);
        }
        Ok(self.client()?.map(|client| Pool::new(client, handle, Arc::clone(status))))
    }

    /// What tells, if something is to be told.
    pub fn teller(&self, status: &Arc<Status>) -> Result<Option<Teller>, String> {
        if self.kinds.iter().all(|kind| kind.is_asked()) {
            return Ok(None);
        }
        Ok(self.client()?.map(|client| Teller::new(client, Arc::clone(status))))
    }

    /// What tells the backends of applications, those that have a webhook.
    pub fn webhook_tellers(
        &self,
        apps: &[Arc<App>],
        status: &Arc<Status>,
    ) -> Result<Vec<Option<Teller>>, String> {
        let teller = |app: &Arc<App>| {
            let webhook = self.webhooks.iter().find(|it| *it.app == *app.id);
            let client =
                webhook.map(|it| self.client_of(&it.url, Dialect::Pusher(Arc::clone(app))));
            Ok(client.transpose()?.map(|client| Teller::new(client, Arc::clone(status))))
        };
        apps.iter().map(teller).collect()
    }

    fn client(&self) -> Result<Option<Client>, String> {
        let Some(url) = &self.url else { return Ok(None) };
        self.client_of(url, Dialect::Own(self.key()?)).map(Some)
    }

    fn client_of(&self, url: &str, dialect: Dialect) -> Result<Client, String> {
        let tls = web::trust(url, self.authorities.as_deref())?;
        Ok(Client::new(url, dialect, self.timeout, tls))
    }
}

/// Reads the bytes of a secret's file. A line end behind them is not part of it.
fn key(bytes: &[u8]) -> Result<hmac::Key, String> {
    let secret = without_line_end(bytes);
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "a secret of hooks has at least hook_secret_bytes_min = {SECRET_BYTES_MIN} bytes, and this one {}",
            secret.len()
        ));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, secret))
}

#[cfg(test)]
mod tests;
