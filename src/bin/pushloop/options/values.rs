//! What the values of options are, as text.

use std::{
    fmt::Display, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, thread,
    time::Duration,
};

use pushloop::{ClientHeader, IpNetwork, OnLag};

use crate::{
    gate::KeyFile,
    hooks::Kind,
    logs::{Format, LINES_PER_SECOND, Level},
    web,
};

/// What the head of a request may be limited to, in bytes: below, no browser gets in, and above, heads
/// take more than what they ask for.
const HEAD_BYTES: RangeInclusive<usize> = 1024..=1024 * 1024;

/// Loops of one process.
const LOOPS_MAX: usize = 64;

/// When sets of keys are fetched: after how many seconds, how many apart, and within how many milliseconds.
const JWKS_AGES: RangeInclusive<u64> = 1..=24 * 60 * 60;
const JWKS_REFETCHES: RangeInclusive<u64> = 1..=60 * 60;
const JWKS_TIMES: RangeInclusive<u64> = 1..=60_000;

/// How long a question to a hook may take, in milliseconds: less than `Config::answer_timeout`, after which the
/// server itself has answered.
const HOOK_TIMEOUT: RangeInclusive<u64> = 1..=20_000;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A network, or `None` for Unix sockets.
pub fn proxy(value: &str) -> Result<Option<IpNetwork>, String> {
    if value == "unix" {
        return Ok(None);
    }
    let network = value.parse().map(Some);
    network.map_err(|error| format!("'{value}' is neither 'unix' nor a network: {error}"))
}

pub fn client_header(value: &str) -> Result<ClientHeader, String> {
    match value.to_ascii_lowercase().as_str() {
        "forwarded" => Ok(ClientHeader::Forwarded),
        "x-forwarded-for" => Ok(ClientHeader::XForwardedFor),
        _ => Err(format!("'{value}' is neither forwarded nor x-forwarded-for")),
    }
}

/// Loops of one process.
pub fn loops(value: &str) -> Result<usize, String> {
    if value == "auto" {
        return Ok(thread::available_parallelism().map_or(1, usize::from).min(LOOPS_MAX));
    }
    within(value, 1..=LOOPS_MAX, " loops")
}

/// The URL of a broker.
pub fn broker(value: &str) -> Result<String, String> {
    crate::broker::check_url(value).map(|()| value.to_owned())
}

pub fn on_lag(value: &str) -> Result<OnLag, String> {
    match value {
        "close" => Ok(OnLag::Close),
        "skip" => Ok(OnLag::Skip),
        "latest" => Ok(OnLag::Latest),
        _ => Err(format!("'{value}' is neither close nor skip nor latest")),
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

pub fn seconds(value: &str) -> Result<Duration, String> {
    let seconds = value.parse::<u32>().map_err(|_| format!("'{value}' is no number of seconds"))?;
    Ok(Duration::from_secs(seconds.into()))
}

pub fn milliseconds(value: &str) -> Result<Duration, String> {
    Ok(Duration::from_millis(number::<u32>(value)?.into()))
}

pub fn number<N: FromStr>(value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("'{value}' is no number, or one out of range"))
}

pub fn mode(value: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| format!("'{value}' is no mode: three octal digits, as in 0660"))
}

pub fn head_bytes(value: &str) -> Result<usize, String> {
    within(value, HEAD_BYTES, "bytes")
}

/// A number of what the unit says.
fn within<N>(value: &str, range: RangeInclusive<N>, unit: &str) -> Result<N, String>
where
    N: FromStr + PartialOrd + Display,
{
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (least, most) = range.into_inner();
        format!("'{value}' is no number of {unit} from {least} to {most}")
    })
}

/// RFC 6455 §4.1(10): a token of RFC 9110 §5.6.2.
pub fn subprotocol(value: &str) -> Result<String, String> {
    word(value)
        .ok_or_else(|| format!("'{value}' is no subprotocol: letters, digits and !#$%&'*+-.^_`|~"))
}

/// RFC 6265 §4.1.1: the name of one is a token as well.
pub fn cookie(value: &str) -> Result<String, String> {
    word(value).ok_or_else(|| {
        format!("'{value}' is no cookie's name: letters, digits and !#$%&'*+-.^_`|~")
    })
}

fn word(value: &str) -> Option<String> {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!value.is_empty() && value.bytes().all(is_tchar)).then(|| value.to_owned())
}

pub fn not_empty(value: &str) -> Result<String, String> {
    if value.is_empty() { Err("it is empty".to_owned()) } else { Ok(value.to_owned()) }
}

pub fn key_file(value: &str) -> Result<KeyFile, String> {
    let file = KeyFile::parse(value);
    let is_empty = |issuer: &String| issuer.is_empty();
    if file.path.as_os_str().is_empty() || file.issuer.as_ref().is_some_and(is_empty) {
        return Err(format!("'{value}' is neither FILE nor ISSUER=FILE"));
    }
    Ok(file)
}

pub fn place(value: &str) -> Result<Place, String> {
    if let Some(path) = value.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(Place::Unix(path.into()));
    }
    address(value).map(Place::Tcp).map_err(|error| error + ", or unix:PATH")
}

pub fn address(value: &str) -> Result<SocketAddr, String> {
    let address = value.replace("localhost:", "127.0.0.1:").parse();
    address
        .map_err(|_| format!("'{value}' is no address to listen on: IP:PORT as in 127.0.0.1:9001"))
}

pub fn origin(value: &str) -> Result<String, String> {
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

pub fn host(value: &str) -> Result<String, String> {
    if value == "*" || pushloop::is_host(value) {
        return Ok(value.to_owned());
    }
    Err(format!(
        "'{value}' is no host: NAME[:PORT] without a scheme, as in example.org, or '*.example.org', or '*'"
    ))
}

pub fn hook_url(value: &str) -> Result<String, String> {
    let wrong = || {
        format!("'{value}' is no URL of a hook: https://HOST[:PORT]/PATH, or the same of http://")
    };
    web::url(value).map(|_| value.to_owned()).ok_or_else(wrong)
}

pub fn hook_event(value: &str) -> Result<Kind, String> {
    Kind::parse(value).ok_or_else(|| {
        format!(
            "'{value}' is none of subscribe, publish, connect, disconnect, occupied and vacated"
        )
    })
}

pub fn hook_timeout(value: &str) -> Result<Duration, String> {
    within(value, HOOK_TIMEOUT, "milliseconds").map(Duration::from_millis)
}

pub fn jwks_max_age(value: &str) -> Result<Duration, String> {
    within(value, JWKS_AGES, "seconds").map(Duration::from_secs)
}

pub fn jwks_refetch(value: &str) -> Result<Duration, String> {
    within(value, JWKS_REFETCHES, "seconds").map(Duration::from_secs)
}

pub fn jwks_timeout(value: &str) -> Result<Duration, String> {
    within(value, JWKS_TIMES, "milliseconds").map(Duration::from_millis)
}

/// RFC 9110 §5.1, in lower case: that is how a question has it.
pub fn header_name(value: &str) -> Result<String, String> {
    let name = word(value).map(|name| name.to_ascii_lowercase());
    name.ok_or_else(|| {
        format!("'{value}' is no header's name: letters, digits and !#$%&'*+-.^_`|~")
    })
}

pub fn log_format(value: &str) -> Result<Format, String> {
    match value {
        "lines" => Ok(Format::Lines),
        "json" => Ok(Format::Json),
        _ => Err(format!("'{value}' is neither lines nor json")),
    }
}

pub fn log_level(value: &str) -> Result<Level, String> {
    let level = Level::ALL.into_iter().find(|level| level.name() == value);
    level.ok_or_else(|| format!("'{value}' is none of error, warn, info and debug"))
}

pub fn log_lines(value: &str) -> Result<u32, String> {
    within(value, LINES_PER_SECOND, "lines")
}
