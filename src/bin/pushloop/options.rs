//! The command line.

use std::{
    ffi::OsString, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr,
    time::Duration,
};

use pushloop::{ClientHeader, History, IpNetwork, Proxies};

pub const USAGE: &str = "\
Live notifications over WebSocket and event streams: a URL is a topic.

Usage: pushloop [serve] [OPTIONS], or pushloop publish | subscribe, which have a --help of their own

Options:
  --listen ADDR          listen on IP:PORT or unix:PATH; may be repeated [127.0.0.1:9001]
  --listen-proxied ADDR  the same, where each connection begins with a PROXY protocol header
  --trust-proxy NETWORK  believe proxies of this network, as 10.0.0.0/8, or 'unix' for those on a
                         Unix socket, when they name their client; may be repeated
  --client-header NAME   the header in which they do, forwarded or x-forwarded-for: see GET /$client
  --unix-mode OCTAL      who may connect to the Unix sockets, as chmod has it [0660]
  --allow-origin ORIGIN  let pages of this origin connect and publish, besides our own, as in
                         https://example.org, 'https://*.example.org' for its subdomains, file://
                         or null for pages without one, '*' for every page; may be repeated
  --allow-host NAME      answer requests for this name that a proxy passes on, besides localhost and
                         addresses: also '*.example.org', '*'; may be repeated [every name once
                         listening beyond this machine]
  --anyone-may-publish   allow listening beyond this machine, where all who reach it can publish
  --one-topic            a URL is one topic: no /a,b and no /?topic=a, for a proxy that guards paths
  --history N            keep the latest N publications of each topic, for those who come back
  --history-age SECONDS  and none that is older [300]
  --history-bytes BYTES  and no more of a topic [1048576]
  --history-bytes-max BYTES   and no more of all topics [268435456]
  --history-file PATH    keep it in this file too, for those who come back after a restart
  --history-file-optional     serve without the file if it cannot be used
  --presence, --presence-delay SECONDS   tell who subscribes; one gone for so long has left [10]
  --retry MILLISECONDS   after which browsers return to a lost event stream, or twice that [2000]
  --subprotocol NAME     answer clients that offer this subprotocol with it; may be repeated
  --head-bytes-max BYTES of a request's line and headers; a header for each 128 of them [16384]
  --keep-alive SECONDS   for the next request: longer than the balancer in front keeps it [75]
  --no-deflate           do not compress messages
  --deflate-takeover     compress better, for 8 KiB more of each connection
  --drain-delay SECONDS  after SIGTERM, how long all goes on but that /readyz answers 503 [0]
  --drain-spread SECONDS then, over how long connections are closed at most [20]
  --drain-deadline SECONDS    and when those that are still there are dropped [30]
  --help, --version

Ctrl-C is as good as SIGTERM; a second one ends it at once. /healthz and /readyz tell how it is;
/$stats has numbers.
";

/// What the head of a request may be limited to, in bytes: below, no browser gets in, and above, heads
/// take more than what they ask for.
const HEAD_BYTES: RangeInclusive<usize> = 1024..=1024 * 1024;

/// Where to listen.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A listener.
#[derive(Debug, PartialEq, Eq)]
pub struct Listen {
    pub place: Place,
    /// Its connections begin with a header of the PROXY protocol.
    pub is_proxied: bool,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    pub listen: Vec<Listen>,
    /// The permissions of the files of Unix sockets.
    pub unix_mode: u32,
    pub proxies: Proxies,
    pub allow_origins: Vec<String>,
    pub allow_hosts: Vec<String>,
    pub anyone_may_publish: bool,
    pub one_topic: bool,
    pub subprotocols: Vec<String>,
    pub head_bytes_max: usize,
    pub keep_alive: Duration,
    pub no_deflate: bool,
    pub deflate_takeover: bool,
    /// Publications that each topic keeps, for how long, and in how many bytes.
    pub history: Option<u64>,
    pub history_age: Option<Duration>,
    pub history_bytes: Option<usize>,
    pub history_bytes_max: Option<usize>,
    /// Whether it is known who subscribes, and after what delay one that is gone has left.
    pub presence: bool,
    pub presence_delay: Option<Duration>,
    /// Where the histories are kept besides, and whether the server does without if that fails.
    pub history_file: Option<PathBuf>,
    pub history_file_optional: bool,
    pub retry: Duration,
    pub drain: Drain,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            unix_mode: 0o660,
            proxies: Proxies::default(),
            allow_origins: Vec::new(),
            allow_hosts: Vec::new(),
            anyone_may_publish: false,
            one_topic: false,
            subprotocols: Vec::new(),
            head_bytes_max: 16 * 1024,
            // Balancers keep theirs for a minute.
            keep_alive: Duration::from_secs(75),
            no_deflate: false,
            deflate_takeover: false,
            history: None,
            history_age: None,
            history_bytes: None,
            history_bytes_max: None,
            presence: false,
            presence_delay: None,
            history_file: None,
            history_file_optional: false,
            retry: Duration::from_secs(2),
            drain: Drain::default(),
        }
    }
}

impl Options {
    /// What each topic keeps.
    pub fn history(&self) -> Option<History> {
        let mut history = History::of(self.history?);
        history.age = self.history_age.unwrap_or(history.age);
        history.bytes = self.history_bytes.unwrap_or(history.bytes);
        Some(history)
    }
}

/// How the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    pub delay: Duration,
    pub spread: Duration,
    pub deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            spread: Duration::from_secs(20),
            deadline: Duration::from_secs(30),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Serve(Box<Options>),
    Help,
    Version,
}

/// Reads the arguments. The error is one line for whoever typed them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    use lexopt::prelude::*;

    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long(name @ ("listen" | "listen-proxied")) => {
                let is_proxied = name == "listen-proxied";
                let place = value(&mut parser, place)?;
                options.listen.push(Listen { place, is_proxied });
            }
            Long("trust-proxy") => match value(&mut parser, proxy)? {
                Some(network) => options.proxies.networks.push(network),
                None => options.proxies.unix = true,
            },
            Long("client-header") => {
                options.proxies.header = value(&mut parser, client_header)?;
            }
            Long("unix-mode") => options.unix_mode = value(&mut parser, mode)?,
            Long("allow-origin") => options.allow_origins.push(value(&mut parser, origin)?),
            Long("allow-host") => options.allow_hosts.push(value(&mut parser, host)?),
            Long("anyone-may-publish") => options.anyone_may_publish = true,
            Long("one-topic") => options.one_topic = true,
            Long("subprotocol") => options.subprotocols.push(value(&mut parser, subprotocol)?),
            Long("head-bytes-max") => options.head_bytes_max = value(&mut parser, head_bytes)?,
            Long("keep-alive") => options.keep_alive = value(&mut parser, seconds)?,
            Long("history") => options.history = Some(value(&mut parser, number)?),
            Long("history-age") => options.history_age = Some(value(&mut parser, seconds)?),
            Long("history-bytes") => options.history_bytes = Some(value(&mut parser, number)?),
            Long("history-bytes-max") => {
                options.history_bytes_max = Some(value(&mut parser, number)?);
            }
            Long("history-file") => options.history_file = Some(path(&mut parser)?),
            Long("history-file-optional") => options.history_file_optional = true,
            Long("presence") => options.presence = true,
            Long("presence-delay") => {
                options.presence_delay = Some(value(&mut parser, seconds)?);
            }
            Long("retry") => options.retry = value(&mut parser, milliseconds)?,
            Long("no-deflate") => options.no_deflate = true,
            Long("deflate-takeover") => options.deflate_takeover = true,
            Long("drain-delay") => options.drain.delay = value(&mut parser, seconds)?,
            Long("drain-spread") => options.drain.spread = value(&mut parser, seconds)?,
            Long("drain-deadline") => options.drain.deadline = value(&mut parser, seconds)?,
            Long("help") | Short('h') => return Ok(Asked::Help),
            Long("version") | Short('V') => return Ok(Asked::Version),
            _ => return Err(argument.unexpected().to_string()),
        }
    }
    if options.listen.is_empty() {
        let place = Place::Tcp(([127, 0, 0, 1], 9001).into());
        options.listen.push(Listen { place, is_proxied: false });
    }
    check_belongings(&options)?;
    check_proxies(&options)?;
    check_reach(&options)?;
    Ok(Asked::Serve(Box::new(options)))
}

/// Options that belong to another one, or exclude it.
fn check_belongings(options: &Options) -> Result<(), String> {
    if options.no_deflate && options.deflate_takeover {
        return Err("--no-deflate and --deflate-takeover exclude each other".to_owned());
    }
    if options.history.is_none()
        && (options.history_age.is_some() || options.history_bytes.is_some())
    {
        return Err("--history-age and --history-bytes bound a history: add --history".to_owned());
    }
    if options.presence_delay.is_some() && !options.presence {
        return Err("--presence-delay is when a member leaves: add --presence".to_owned());
    }
    if options.history_file.is_some() && options.history.is_none() {
        return Err("--history-file keeps a history: add --history".to_owned());
    }
    if options.history_file_optional && options.history_file.is_none() {
        return Err("--history-file-optional is about --history-file".to_owned());
    }
    Ok(())
}

/// Whether strangers who reach the server are meant to.
fn check_reach(options: &Options) -> Result<(), String> {
    let beyond = options.listen.iter().find_map(|listen| match listen.place {
        Place::Tcp(address) if !address.ip().is_loopback() => Some(address.to_string()),
        Place::Tcp(_) | Place::Unix(_) => None,
    });
    let trusts = options.proxies != Proxies::default();
    let beyond = beyond.or(trusts.then(|| "a server behind a proxy".to_owned()));
    match beyond {
        Some(what) if !options.anyone_may_publish => Err(format!(
            "{what} can be reached from other machines, and anyone there could publish: \
             add --anyone-may-publish if that is meant"
        )),
        _ => Ok(()),
    }
}

/// What is asked of proxies, and of no proxy.
fn check_proxies(options: &Options) -> Result<(), String> {
    let proxies = &options.proxies;
    let is_any = proxies.unix || !proxies.networks.is_empty();
    if !is_any && proxies.header != ClientHeader::None {
        return Err("--client-header is for proxies: add --trust-proxy".to_owned());
    }
    if !is_any && options.listen.iter().any(|listen| listen.is_proxied) {
        return Err("--listen-proxied is for proxies: add --trust-proxy".to_owned());
    }
    Ok(())
}

/// A network, or `None` for Unix sockets.
fn proxy(value: &str) -> Result<Option<IpNetwork>, String> {
    if value == "unix" {
        return Ok(None);
    }
    let network = value.parse().map(Some);
    network.map_err(|error| format!("'{value}' is neither 'unix' nor a network: {error}"))
}

fn client_header(value: &str) -> Result<ClientHeader, String> {
    match value.to_ascii_lowercase().as_str() {
        "forwarded" => Ok(ClientHeader::Forwarded),
        "x-forwarded-for" => Ok(ClientHeader::XForwardedFor),
        _ => Err(format!("'{value}' is neither forwarded nor x-forwarded-for")),
    }
}

/// The value of an option, read by `read`.
pub fn value<T>(
    parser: &mut lexopt::Parser,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, String> {
    let value = parser.value().and_then(lexopt::ValueExt::string);
    read(&value.map_err(|error| error.to_string())?)
}

fn seconds(value: &str) -> Result<Duration, String> {
    let seconds = value.parse::<u32>().map_err(|_| format!("'{value}' is no number of seconds"))?;
    Ok(Duration::from_secs(seconds.into()))
}

fn milliseconds(value: &str) -> Result<Duration, String> {
    Ok(Duration::from_millis(number::<u32>(value)?.into()))
}

fn path(parser: &mut lexopt::Parser) -> Result<PathBuf, String> {
    Ok(parser.value().map_err(|error| error.to_string())?.into())
}

fn number<N: FromStr>(value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("'{value}' is no number, or one out of range"))
}

fn mode(value: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| format!("'{value}' is no mode: three octal digits, as in 0660"))
}

fn head_bytes(value: &str) -> Result<usize, String> {
    let bytes = value.parse().ok().filter(|bytes| HEAD_BYTES.contains(bytes));
    bytes.ok_or_else(|| {
        let (least, most) = HEAD_BYTES.into_inner();
        format!("'{value}' is no number of bytes from {least} to {most}")
    })
}

fn subprotocol(value: &str) -> Result<String, String> {
    // RFC 6455 §4.1(10): a token of RFC 9110 §5.6.2.
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !value.is_empty() && value.bytes().all(is_tchar) {
        return Ok(value.to_owned());
    }
    Err(format!("'{value}' is no subprotocol: letters, digits and !#$%&'*+-.^_`|~"))
}

fn place(value: &str) -> Result<Place, String> {
    if let Some(path) = value.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(Place::Unix(path.into()));
    }
    let value = value.replace("localhost:", "127.0.0.1:");
    let address = value.parse().map_err(|_| {
        format!("'{value}' is no address to listen on: IP:PORT as in 127.0.0.1:9001, or unix:PATH")
    })?;
    Ok(Place::Tcp(address))
}

fn origin(value: &str) -> Result<String, String> {
    let bare = value.strip_suffix('/').unwrap_or(value);
    if let Some(origin) = [bare, value].into_iter().find(|it| pushloop::is_origin(it)) {
        return Ok(origin.to_owned());
    }
    if value == "*" {
        return Ok(value.to_owned());
    }
    Err(format!(
        "'{value}' is no origin: SCHEME://HOST[:PORT] without a path, as in https://example.org or \
         'https://*.example.org', file://, null, or '*'"
    ))
}

fn host(value: &str) -> Result<String, String> {
    if value == "*" || pushloop::is_host(value) {
        return Ok(value.to_owned());
    }
    Err(format!(
        "'{value}' is no host: NAME[:PORT] without a scheme, as in example.org, or '*.example.org', or '*'"
    ))
}

#[cfg(test)]
mod tests;
