//! What the server is told: by flags, before variables, before a file, before defaults.

mod centrifuge;
mod file;
mod help;
mod hooks;
mod loops;
mod sources;
mod table;
mod values;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use pushloop::{ClientLimits, OnLag, Proxies};

use crate::{
    auth,
    broker::BrokerOptions,
    gate::TokenOptions,
    hooks::{HookOptions, Kind},
    logs::LogOptions,
};

use file::InFile;
pub use file::Topics;
pub use help::usage;
use sources::{Flags, Given};
pub use sources::{Origin, Value};
pub use table::{ANYONE_MAY_PUBLISH, CONFIG, Entry, Set, all};
pub use values::{Place, value};

use crate::patterns::{ByTopic, Patterns};

const COOKIE_ORIGINS: &str =
    "a cookie is for origins that are listed, and not for *, null or file://";

/// A listener.
#[derive(Debug, PartialEq, Eq)]
pub struct Listen {
    pub place: Place,
    pub speech: Speech,
}

/// How the connections of a listener begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Plain,
    /// With a header of the PROXY protocol.
    Proxied,
    Tls,
}

/// The files of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates and keys, paired in their order.
    pub certificates: Vec<PathBuf>,
    pub keys: Vec<PathBuf>,
    pub client_authority: Option<PathBuf>,
    pub ticket_secret: Option<PathBuf>,
    /// Sockets that are handed over are for TLS.
    pub is_inherited: bool,
}

/// What the options ask for. The defaults are in the table of options.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub config: Option<PathBuf>,
    pub listen: Vec<Listen>,
    /// No address was asked for: it is the default.
    pub listens_by_default: bool,
    pub tls: TlsFiles,
    /// Where the metrics are, besides.
    pub metrics_listen: Option<SocketAddr>,
    pub client_limits: ClientLimits,
    /// What one client, or one subject of tokens, may publish.
    pub publications_per_second: Option<u32>,
    pub publication_bytes_per_second: Option<u32>,
    pub subject_connections_max: Option<usize>,
    /// The permissions of the files of Unix sockets.
    pub unix_mode: u32,
    pub proxies: Proxies,
    pub allow_origins: Vec<String>,
    pub allow_hosts: Vec<String>,
    pub anyone_may_publish: bool,
    /// Who may subscribe and publish.
    pub tokens: TokenOptions,
    /// Of whom it is asked who may, and who is told.
    pub hooks: HookOptions,
    pub broker: BrokerOptions,
    /// How many loops there are.
    pub loops: usize,
    /// Whether clients of Centrifugo may connect.
    pub centrifuge: bool,
    pub one_topic: bool,
    pub subprotocols: Vec<String>,
    pub head_bytes_max: usize,
    pub keep_alive: Duration,
    pub no_deflate: bool,
    pub deflate_takeover: bool,
    /// Publications that each topic keeps, for how long, and in how many bytes.
    pub history: Option<u64>,
    pub history_age: Duration,
    pub history_bytes: usize,
    pub history_bytes_max: usize,
    pub on_lag: OnLag,
    /// Whether it is known who subscribes, and after what delay one that is gone has left.
    pub presence: bool,
    pub presence_delay: Duration,
    /// Where the histories are kept besides, and whether the server does without if that fails.
    pub history_file: Option<PathBuf>,
    pub history_file_optional: bool,
    pub retry: Duration,
    pub drain: Drain,
    pub logs: LogOptions,
    /// What is so for each topic: what is said above, but for some.
    pub patterns: Patterns,
}

impl Options {
    /// Whether some socket is for TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_inherited || self.listen.iter().any(|listen| listen.speech == Speech::Tls)
    }

    /// Whether strangers who reach this address are meant to.
    pub fn check_reach(&self, address: SocketAddr) -> Result<(), String> {
        if address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        self.check_open(&address.to_string())
    }

    /// Whether a server that began with others may take these, in place of the latest: where it listens, its
    /// proxies and its cookie stay, and a file that was cut as it was written may have lost its keys.
    pub fn check_beside(&self, begun: &Self, latest: &Self) -> Result<(), String> {
        if latest.tokens.are_given() && !self.tokens.are_given() && !self.anyone_may_publish {
            let why = "there are no keys any more, and anyone could publish: add --anyone-may-publish if that \
                       is meant, or restart";
            return Err(why.to_owned());
        }
        if begun.tokens.cookie.is_some() && self.allows_anybodys_pages() {
            return Err(format!("there is a --token-cookie until a restart: {COOKIE_ORIGINS}"));
        }
        Ok(())
    }

    /// Whether any page may act for whoever looks at it. What has no origin may be anybody's.
    fn allows_anybodys_pages(&self) -> bool {
        let is_anybodys = |origin: &String| ["*", "null", "file://"].contains(&origin.as_str());
        self.allow_origins.iter().any(is_anybodys)
    }

    fn check_open(&self, what: &str) -> Result<(), String> {
        let is_asked = self.hooks.has(Kind::Publish);
        if self.anyone_may_publish || self.tokens.are_given() || is_asked {
            return Ok(());
        }
        Err(format!(
            "{what} can be reached from other machines, and anyone there could publish: \
             add --anyone-may-publish if that is meant, or keys (--jwt-secret-file, --publish-key-file), \
             or a hook (--hook-event publish)"
        ))
    }
}

/// How the server ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    pub delay: Duration,
    pub spread: Duration,
    pub deadline: Duration,
}

/// Options, and where each of their values stood.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    pub options: Options,
    given: Given,
    topics: Vec<Topics>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Serve(Box<Taken>),
    Help,
    Version,
}

/// Reads all sources. The error is one line for whoever wrote them.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Asked, String> {
    parse_all(arguments, variables).map_err(in_one_line)
}

/// An error with its control characters written out: a value that it shows may have a line's end.
pub fn in_one_line(error: String) -> String {
    let written = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    error.chars().map(written).collect()
}

fn parse_all(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Asked, String> {
    let flags = match sources::of_flags(arguments)? {
        Flags::Given(flags) => flags,
        Flags::Help => return Ok(Asked::Help),
        Flags::Version => return Ok(Asked::Version),
    };
    let variables = sources::of_environment(variables)?;
    let config = [&flags, &variables].into_iter().find_map(|it| it.get(CONFIG)?.last());
    let InFile { mut given, topics } = match config {
        Some(config) => file::read(config)?,
        None => InFile::default(),
    };
    given.extend(variables);
    given.extend(flags);
    Taken::of(given, topics).map(|taken| Asked::Serve(Box::new(taken)))
}

impl Taken {
    fn of(mut given: Given, topics: Vec<Topics>) -> Result<Self, String> {
        let listens = given.keys().any(|name| name.starts_with("listen"));
        let mut options = Options { listens_by_default: !listens, ..Options::default() };
        for entry in all().filter(|entry| !(entry.name == "listen" && listens)) {
            if let Some(default) = entry.default {
                let value = Value { text: default.into(), origin: Origin::Default };
                given.entry(entry.name).or_insert_with(|| vec![value]);
            }
        }
        for entry in all() {
            for value in given.get(entry.name).into_iter().flatten() {
                sources::apply(entry, value, &mut options)?;
            }
        }
        let mut taken = Self { options, given, topics };
        taken.options.patterns = taken.patterns()?;
        taken.check_topics()?;
        taken.check_broker()?;
        taken.check_loops()?;
        taken.check_centrifuge()?;
        taken.check_belongings()?;
        taken.check_proxies()?;
        taken.check_tokens()?;
        taken.check_hooks()?;
        taken.check_tls()?;
        taken.check_reach().map_err(|why| match taken.origin_of_reach() {
            Some(origin) => format!("{origin}: {why}"),
            None => why,
        })?;
        Ok(taken)
    }

    /// What is so for each topic. What a prefix does not say is so as for all others.
    fn patterns(&self) -> Result<Patterns, String> {
        let by_prefix = self.topics.iter().map(|topics| {
            let mut options = Options::default();
            for entry in all().filter(|entry| entry.by_topic) {
                let own = topics.values(entry);
                for value in if own.is_empty() { self.values(entry) } else { own } {
                    sources::apply(entry, value, &mut options)?;
                }
            }
            Ok((topics.prefix.clone(), ByTopic::of(&options)))
        });
        let mut by_prefix = by_prefix.collect::<Result<Vec<_>, String>>()?;
        ByTopic::of(&self.options).add_own(&self.options, &mut by_prefix);
        Ok(Patterns::new(ByTopic::of(&self.options), by_prefix))
    }

    /// The values that are taken, the default among them.
    pub fn values(&self, entry: &Entry) -> &[Value] {
        self.given.get(entry.name).map_or(&[], Vec::as_slice)
    }

    /// What differs for topics with a prefix.
    pub fn topics(&self) -> &[Topics] {
        &self.topics
    }

    /// Whether the option has other values than there.
    pub fn differs(&self, other: &Self, entry: &Entry) -> bool {
        let texts = |taken: &Self| -> Vec<_> {
            taken.values(entry).iter().map(|value| value.text.clone()).collect()
        };
        texts(self) != texts(other)
    }

    /// Whether other prefixes, or other options of these, are given than there.
    pub fn topics_differ(&self, other: &Self) -> bool {
        let texts = |taken: &Self| -> Vec<_> {
            let values = |topics: &Topics, entry| -> Vec<_> {
                topics.values(entry).iter().map(|value| value.text.clone()).collect()
            };
            let topics = taken.topics.iter();
            let all_of = |it: &Topics| all().map(|entry| values(it, entry)).collect::<Vec<_>>();
            topics.map(|it| (it.prefix.clone(), all_of(it))).collect()
        };
        texts(self) != texts(other)
    }

    /// Where the option was given, if it was: the beginning of an error.
    fn origin(&self, name: &str) -> Option<&Origin> {
        let value = self.given.get(name)?.last()?;
        Some(&value.origin).filter(|origin| **origin != Origin::Default)
    }

    /// Refuses the options that are given and have no use, or an opposite.
    fn refuse(&self, names: &[&str], why: &str) -> Result<(), String> {
        match names.iter().find_map(|name| self.origin(name)) {
            Some(origin) => Err(format!("{origin}: {why}")),
            None => Ok(()),
        }
    }

    /// Options that belong to another one, or exclude it.
    fn check_belongings(&self) -> Result<(), String> {
        let options = &self.options;
        if options.no_deflate && options.deflate_takeover {
            let why = "--no-deflate and --deflate-takeover exclude each other";
            self.refuse(&["no-deflate"], why)?;
        }
        if !options.patterns.any(|it| it.history.is_some()) {
            self.refuse(&["history-age", "history-bytes"], "it bounds a history: add --history")?;
            self.refuse(&["history-file"], "it keeps a history: add --history")?;
        }
        if !options.patterns.any(|it| it.presence) {
            self.refuse(&["presence-delay"], "it is when a member leaves: add --presence")?;
        }
        if options.history_file_optional && options.history_file.is_none() {
            self.refuse(&["history-file-optional"], "it is about --history-file")?;
        }
        Ok(())
    }

    /// What is for sentinels only, and what is not for several masters.
    fn check_masters(&self) -> Result<(), String> {
        let broker = &self.options.broker;
        if !broker.has_sentinels() {
            let why = "it is about sentinels: of --redis redis+sentinel://HOST:PORT/MASTER";
            self.refuse(&["redis-sentinel-password-file"], why)?;
        }
        if broker.has_sentinels() || broker.is_cluster() {
            let why = "a replica that becomes the master may lack what was taken: not with sentinels or a cluster";
            self.refuse(&["redis-durable"], why)?;
        }
        if broker.is_cluster() && broker.prefix.contains(['{', '}']) {
            self.refuse(&["redis-prefix"], "in a cluster, braces say which slot a key is in")?;
        }
        Ok(())
    }

    /// What is for a broker only, and what is not for one.
    fn check_broker(&self) -> Result<(), String> {
        if self.options.broker.url.is_none() {
            let names = [
                "redis-password-file",
                "redis-sentinel-password-file",
                "redis-ca",
                "redis-prefix",
                "redis-durable",
            ];
            return self.refuse(&names, "it is about a broker: add --redis");
        }
        if !self.options.broker.is_tls() {
            self.refuse(&["redis-ca"], "it is about TLS: of --redis rediss://HOST:PORT")?;
        }
        self.check_masters()?;
        self.refuse(&["history-file"], "the broker keeps the histories: not with --redis")
    }

    /// What bounds a history of topics that have none, and opens topics that are open or stay closed.
    fn check_topics(&self) -> Result<(), String> {
        for topics in &self.topics {
            let opens = self.options.patterns.of(&topics.prefix).anyone_may_publish;
            if opens && let Some(origin) = topics.origin_of(&[ANYONE_MAY_PUBLISH]) {
                if !self.options.tokens.are_given() {
                    let why = "anyone may, as long as there are no keys: see --jwt-secret-file";
                    return Err(format!("{origin}: {why}"));
                }
                if auth::is_protected(&topics.prefix) {
                    let why = "topics that begin with private-, presence- or $ are open to nobody";
                    return Err(format!("{origin}: {why}"));
                }
            }
            if self.options.patterns.of(&topics.prefix).history.is_none()
                && let Some(origin) = topics.origin_of(&["history-age", "history-bytes"])
            {
                return Err(format!("{origin}: it bounds a history: add history"));
            }
        }
        Ok(())
    }

    /// What is asked of proxies, and of no proxy.
    fn check_proxies(&self) -> Result<(), String> {
        let proxies = &self.options.proxies;
        if proxies.unix || !proxies.networks.is_empty() {
            return Ok(());
        }
        let why = "it is for proxies: add --trust-proxy";
        self.refuse(&["client-header", "listen-proxied"], why)
    }

    /// What has other machines reach the server, and is refused.
    fn origin_of_reach(&self) -> Option<&Origin> {
        let listens = all().filter(|entry| entry.name.starts_with("listen"));
        let is_refused = |value: &&Value| match value.text.to_str().map(values::place) {
            Some(Ok(Place::Tcp(address))) => self.options.check_reach(address).is_err(),
            Some(Ok(Place::Unix(_)) | Err(_)) | None => false,
        };
        let refused = listens.flat_map(|entry| self.values(entry)).find(is_refused);
        refused.map(|value| &value.origin).or_else(|| self.origin("trust-proxy"))
    }

    /// Whether what is said of tokens goes together.
    fn check_tokens(&self) -> Result<(), String> {
        let tokens = &self.options.tokens;
        if !tokens.has_keys() {
            let why = "it is about tokens: add --jwt-secret-file, --jwt-public-key-file, --jwks or --jwks-url";
            let names = ["jwt-issuer", "jwt-audience", "token-cookie", "revoked-subjects-file"];
            self.refuse(&names, why)?;
        }
        if tokens.fetched.sources.is_empty() {
            let names = ["jwks-max-age", "jwks-refetch", "jwks-timeout"];
            self.refuse(&names, "it is about --jwks-url")?;
        }
        if !tokens.are_given() {
            let why = "anyone may, as long as there are no keys: see --jwt-secret-file";
            return self.refuse(&["anyone-may-subscribe"], why);
        }
        if !tokens.has_keys() && !tokens.anyone_may_subscribe && tokens.apps.is_empty() {
            let why = "nobody could subscribe: add --anyone-may-subscribe, or a key for tokens";
            self.refuse(&["publish-key-file"], why)?;
        }
        if self.options.anyone_may_publish {
            let why = "with keys, those may publish who have a token or the publish key";
            self.refuse(&[ANYONE_MAY_PUBLISH], why)?;
        }
        if self.options.allows_anybodys_pages() {
            self.refuse(&["token-cookie"], COOKIE_ORIGINS)?;
        }
        Ok(())
    }

    /// What TLS needs, and what is for TLS only.
    fn check_tls(&self) -> Result<(), String> {
        let TlsFiles { certificates, keys, .. } = &self.options.tls;
        if !self.options.has_tls() {
            let names = ["tls-cert", "tls-key", "tls-client-ca", "tls-ticket-secret-file"];
            return self.refuse(&names, "it is for TLS: add --listen-tls");
        }
        if certificates.is_empty() && keys.is_empty() {
            let why = "it needs --tls-cert and --tls-key";
            return self.refuse(&["listen-tls", "inherit-tls"], why);
        }
        if certificates.len() == keys.len() {
            return Ok(());
        }
        let (certificates, keys) = (certificates.len(), keys.len());
        let why = format!(
            "each --tls-cert has its --tls-key, in the same order: there are {certificates} and {keys}"
        );
        self.refuse(&["tls-cert", "tls-key"], &why)
    }

    /// Whether strangers who reach the server are meant to.
    fn check_reach(&self) -> Result<(), String> {
        let options = &self.options;
        for listen in &options.listen {
            match listen.place {
                Place::Tcp(address) => options.check_reach(address)?,
                Place::Unix(_) => {}
            }
        }
        if options.proxies != Proxies::default() {
            options.check_open("a server behind a proxy")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
