//! The table of options: flags, variables, keys of the file, the help and the docs are all made from it.
//! To add an option, add a row here and a field in `Options`.

mod broker;
mod centrifuge;
mod hooks;
mod logs;
mod loops;
mod tokens;

use std::path::PathBuf;

use super::{Listen, Options, Speech, values::*};

/// One option.
pub struct Entry {
    /// `--name`, the key in the file, and behind `PUSHLOOP_` in capitals the variable.
    pub name: &'static str,
    /// What stands for the value in the help, with its unit; empty for a switch.
    pub value: &'static str,
    pub help: &'static str,
    pub set: Set,
    /// Several values are a list.
    pub repeats: bool,
    /// What is taken if nothing is given.
    pub default: Option<&'static str>,
    /// Topics with a prefix may have another value.
    pub by_topic: bool,
    /// A server that runs takes another value on SIGHUP.
    pub reloads: bool,
}

/// What an option takes, and what that does. The error is about the value alone.
#[derive(Clone, Copy)]
pub enum Set {
    Switch(fn(&mut Options, bool)),
    Number(fn(&mut Options, &str) -> Result<(), String>),
    Text(fn(&mut Options, &str) -> Result<(), String>),
    /// A file that is read.
    File(fn(&mut Options, PathBuf)),
    /// A file that the server makes if it is not there.
    Made(fn(&mut Options, PathBuf)),
}

/// Options under one heading.
pub struct Group {
    pub title: &'static str,
    pub entries: &'static [Entry],
}

impl Entry {
    const fn new(name: &'static str, value: &'static str, help: &'static str, set: Set) -> Self {
        Self {
            name,
            value,
            help,
            set,
            repeats: false,
            default: None,
            by_topic: false,
            reloads: false,
        }
    }

    const fn switch(name: &'static str, help: &'static str, set: fn(&mut Options, bool)) -> Self {
        Self::new(name, "", help, Set::Switch(set))
    }

    const fn number(
        name: &'static str,
        value: &'static str,
        help: &'static str,
        set: fn(&mut Options, &str) -> Result<(), String>,
    ) -> Self {
        Self::new(name, value, help, Set::Number(set))
    }

    const fn text(
        name: &'static str,
        value: &'static str,
        help: &'static str,
        set: fn(&mut Options, &str) -> Result<(), String>,
    ) -> Self {
        Self::new(name, value, help, Set::Text(set))
    }

    const fn file(name: &'static str, help: &'static str, set: fn(&mut Options, PathBuf)) -> Self {
        Self::new(name, "FILE", help, Set::File(set))
    }

    const fn made(name: &'static str, help: &'static str, set: fn(&mut Options, PathBuf)) -> Self {
        Self::new(name, "PATH", help, Set::Made(set))
    }

    const fn repeated(mut self) -> Self {
        self.repeats = true;
        self
    }

    const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    const fn by_topic(mut self) -> Self {
        self.by_topic = true;
        self.reloads()
    }

    const fn reloads(mut self) -> Self {
        self.reloads = true;
        self
    }

    /// What would be taken, as one writes it in the file.
    pub fn in_file(&self) -> String {
        let (name, value) = (self.name, self.value);
        match self.set {
            Set::Switch(_) => format!("{name} = true, or false"),
            Set::Number(_) => format!("{name} = {value}, a whole number"),
            Set::Text(_) | Set::File(_) | Set::Made(_) if self.repeats => {
                format!("{name} = \"{value}\", or a list of them")
            }
            Set::Text(_) | Set::File(_) | Set::Made(_) => format!("{name} = \"{value}\""),
        }
    }

    pub fn is_switch(&self) -> bool {
        matches!(self.set, Set::Switch(_))
    }
}

/// The option that opens topics, or all where there are no keys: what topics keep does not follow from it.
pub const ANYONE_MAY_PUBLISH: &str = "anyone-may-publish";

/// The option that names the file; only flags and variables have it.
pub const CONFIG: &str = "config";

pub const GROUPS: &[Group] = &[
    Group { title: "Main options", entries: MAIN },
    Group { title: "Who gets in", entries: ACCESS },
    Group { title: "Tokens and keys", entries: tokens::TOKENS },
    Group { title: "TLS", entries: TLS },
    Group { title: "Hooks: a backend decides, or knows", entries: hooks::HOOKS },
    Group { title: "Several loops", entries: loops::LOOPS },
    Group { title: "Several servers, one broker", entries: broker::BROKER },
    Group { title: "Clients of Centrifugo", entries: centrifuge::CENTRIFUGE },
    Group { title: "Behind a proxy", entries: PROXIES },
    Group { title: "What topics keep and know", entries: TOPICS },
    Group { title: "Connections", entries: CONNECTIONS },
    Group { title: "The end", entries: DRAIN },
    Group { title: "What it says", entries: logs::LOGS },
];

/// All options, in the order of the help.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    GROUPS.iter().flat_map(|group| group.entries)
}

const MAIN: &[Entry] = &[
    Entry::text("listen", "ADDR", "listen on IP:PORT or unix:PATH", |options, text| {
        listen(options, place(text)?, Speech::Plain)
    })
    .repeated()
    .or("127.0.0.1:9001"),
    Entry::file(CONFIG, "read more options from this TOML file", |options, path| {
        options.config = Some(path);
    }),
    Entry::text(
        "metrics-listen",
        "ADDR",
        "answer GET /metrics at this IP:PORT too, from a loop of its own",
        |options, text| address(text).map(|it| options.metrics_listen = Some(it)),
    ),
    Entry::number(
        "history",
        "N",
        "keep the latest N publications of each topic, for clients that come back",
        |options, text| number(text).map(|it| options.history = Some(it)),
    )
    .by_topic(),
    Entry::made(
        "history-file",
        "keep it in this file too, for clients that come back after a restart",
        |options, path| options.history_file = Some(path),
    ),
    Entry::switch("presence", "tell who subscribes", |options, on| options.presence = on)
        .by_topic(),
];

const ACCESS: &[Entry] = &[
    Entry::text(
        "allow-origin",
        "ORIGIN",
        "let pages of this origin connect and publish, besides our own, as in https://example.org, \
         'https://*.example.org' for its subdomains, file:// or null for pages without one, '*' for every \
         page",
        |options, text| origin(text).map(|it| options.allow_origins.push(it)),
    )
    .repeated()
    .reloads(),
    Entry::text(
        "allow-host",
        "NAME",
        "answer requests for this name that a proxy passes on, besides localhost and addresses: also \
         '*.example.org', '*' [every name once listening beyond this machine]",
        |options, text| host(text).map(|it| options.allow_hosts.push(it)),
    )
    .repeated()
    .reloads(),
    Entry::switch(
        ANYONE_MAY_PUBLISH,
        "allow listening beyond this machine, where all that reach it can publish; with keys, only in [[topics]] of \
         the file: ask no token of those that publish there",
        |options, on| options.anyone_may_publish = on,
    )
    .by_topic(),
    Entry::number(
        "client-connections-max",
        "N",
        "how many connections one IPv4 address or IPv6 /64 may have, and sixteen times as many a /48; \
         loopback has no limit",
        |options, text| number(text).map(|it| options.client_limits.connections_max = Some(it)),
    ),
    Entry::number(
        "client-connections-per-second",
        "N",
        "and how many it may begin in a second",
        |options, text| {
            number(text).map(|it| options.client_limits.connections_per_second_max = Some(it))
        },
    ),
    Entry::number(
        "publications-per-second",
        "N",
        "how many publications one such client, and one token's subject (sub), may make in a second; the publish \
         key has no limit",
        |options, text| number(text).map(|it| options.publications_per_second = Some(it)),
    ),
    Entry::number(
        "publication-bytes-per-second",
        "BYTES",
        "and of how many bytes",
        |options, text| number(text).map(|it| options.publication_bytes_per_second = Some(it)),
    ),
    Entry::number(
        "subject-connections-max",
        "N",
        "how many WebSockets and event streams one token's subject may have",
        |options, text| number(text).map(|it| options.subject_connections_max = Some(it)),
    ),
    Entry::text(
        "unix-mode",
        "OCTAL",
        "who may connect to the Unix sockets, as chmod has it",
        |options, text| mode(text).map(|it| options.unix_mode = it),
    )
    .or("0660"),
];

const TLS: &[Entry] = &[
    Entry::text(
        "listen-tls",
        "ADDR",
        "listen for https:// and wss:// on IP:PORT",
        |options, text| listen(options, Place::Tcp(address(text)?), Speech::Tls),
    )
    .repeated(),
    Entry::switch(
        "inherit-tls",
        "speak TLS on the TCP sockets that a service manager hands over",
        |options, on| options.tls.is_inherited = on,
    ),
    Entry::file(
        "tls-cert",
        "the certificate, and those between it and its authority (PEM); of several, the first that a client's name \
         is in, or the first of all",
        |options, path| options.tls.certificates.push(path),
    )
    .repeated()
    .reloads(),
    Entry::file("tls-key", "and its key (PEM), in the same order", |options, path| {
        options.tls.keys.push(path);
    })
    .repeated()
    .reloads(),
    Entry::file(
        "tls-client-ca",
        "let in only clients with a certificate of this authority (PEM)",
        |options, path| options.tls.client_authority = Some(path),
    )
    .reloads(),
    Entry::file(
        "tls-ticket-secret-file",
        "32 random bytes or more, the same for all servers that may resume each other's sessions, also after a \
         restart",
        |options, path| options.tls.ticket_secret = Some(path),
    ),
    Entry::file(
        "backend-ca",
        "of https to the backends of hooks and to key sets, trust the authorities in this file (PEM), and not those of \
         the system",
        |options, path| {
            options.hooks.authorities = Some(path.clone());
            options.tokens.fetched.authorities = Some(path);
        },
    ),
];

const PROXIES: &[Entry] = &[
    Entry::text(
        "trust-proxy",
        "NETWORK",
        "believe proxies of this network, as 10.0.0.0/8, or 'unix' for those on a Unix socket, when they \
         name their client",
        |options, text| {
            proxy(text).map(|network| match network {
                Some(network) => options.proxies.networks.push(network),
                None => options.proxies.unix = true,
            })
        },
    )
    .repeated(),
    Entry::text(
        "client-header",
        "NAME",
        "the header in which they do, forwarded or x-forwarded-for: see GET /$client",
        |options, text| client_header(text).map(|it| options.proxies.header = it),
    ),
    Entry::text(
        "listen-proxied",
        "ADDR",
        "as --listen, where each connection begins with a PROXY protocol header",
        |options, text| listen(options, place(text)?, Speech::Proxied),
    )
    .repeated(),
    Entry::switch(
        "one-topic",
        "a URL is one topic: no /a,b and no /?topic=a, for a proxy that guards paths",
        |options, on| options.one_topic = on,
    ),
];

const TOPICS: &[Entry] = &[
    Entry::number(
        "history-age",
        "SECONDS",
        "keep no publication that is older",
        |options, text| seconds(text).map(|it| options.history_age = it),
    )
    .or("300")
    .by_topic(),
    Entry::number("history-bytes", "BYTES", "and no more of a topic than this", |options, text| {
        number(text).map(|it| options.history_bytes = it)
    })
    .or("1048576")
    .by_topic(),
    Entry::number(
        "history-bytes-max",
        "BYTES",
        "and no more of all topics together",
        |options, text| number(text).map(|it| options.history_bytes_max = it),
    )
    .or("268435456"),
    Entry::text(
        "on-lag",
        "POLICY",
        "what becomes of a subscriber that is behind by more than 1 MiB: close, or skip to the middle of \
         that; or latest: one that is behind gets the latest publication alone",
        |options, text| on_lag(text).map(|it| options.on_lag = it),
    )
    .or("close")
    .by_topic(),
    Entry::switch(
        "history-file-optional",
        "serve without the file if it cannot be used",
        |options, on| options.history_file_optional = on,
    ),
    Entry::number(
        "presence-delay",
        "SECONDS",
        "one that subscribed and is gone for so long has left",
        |options, text| seconds(text).map(|it| options.presence_delay = it),
    )
    .or("10"),
];

const CONNECTIONS: &[Entry] = &[
    Entry::number(
        "keep-alive",
        "SECONDS",
        "how long a connection waits for its next request: longer than the balancer in front keeps it",
        |options, text| seconds(text).map(|it| options.keep_alive = it),
    )
    // Balancers keep theirs for a minute.
    .or("75"),
    Entry::number(
        "head-bytes-max",
        "BYTES",
        "how long a request's line and headers may be; with a header for each 128 of them",
        |options, text| head_bytes(text).map(|it| options.head_bytes_max = it),
    )
    .or("16384"),
    Entry::text(
        "subprotocol",
        "NAME",
        "answer clients that offer this subprotocol with it",
        |options, text| subprotocol(text).map(|it| options.subprotocols.push(it)),
    )
    .repeated(),
    Entry::number(
        "retry",
        "MILLISECONDS",
        "after how long browsers return to a lost event stream, or twice that",
        |options, text| milliseconds(text).map(|it| options.retry = it),
    )
    .or("2000"),
    Entry::switch("no-deflate", "do not compress messages", |options, on| options.no_deflate = on),
    Entry::switch(
        "deflate-takeover",
        "compress better, for 8 KiB more of each connection",
        |options, on| options.deflate_takeover = on,
    ),
];

const DRAIN: &[Entry] = &[
    Entry::number(
        "drain-delay",
        "SECONDS",
        "after SIGTERM, how long all goes on but that /readyz answers 503",
        |options, text| seconds(text).map(|it| options.drain.delay = it),
    )
    .or("0")
    .reloads(),
    Entry::number(
        "drain-spread",
        "SECONDS",
        "then, over how long connections are closed at most",
        |options, text| seconds(text).map(|it| options.drain.spread = it),
    )
    .or("20")
    .reloads(),
    Entry::number(
        "drain-deadline",
        "SECONDS",
        "and when those that are still there are dropped",
        |options, text| seconds(text).map(|it| options.drain.deadline = it),
    )
    .or("30")
    .reloads(),
];

/// Adds a listener.
fn listen(options: &mut Options, place: Place, speech: Speech) -> Result<(), String> {
    options.listen.push(Listen { place, speech });
    Ok(())
}
