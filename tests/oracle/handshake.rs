//! The opening handshake (RFC 6455 §4.2) in a request of HTTP/1.1 (RFC 9110, RFC 9112).

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use super::accept::{accept, is_key};
use super::chunks;
use super::deflate::{self, Answer};

/// Limits that a server has for itself, as they are by default.
const HEAD_BYTES_MAX: usize = 8192;
const HEADERS_MAX: usize = 64;
pub(super) const BODY_BYTES_MAX: u128 = 65_536;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What is there can become anything.
    Incomplete,
    /// A WebSocket opens; the client's first frame begins at `rest`.
    Accept { accept: String, protocols: Vec<String>, deflate: Option<Answer>, rest: usize },
    /// One of these statuses, and the end: each is for a rule that the request breaks.
    Refuse(BTreeSet<u16>),
    /// It has nothing to do with WebSocket.
    Plain,
}

/// Judges the first request in `bytes`. `client_bits` is `None` where permessage-deflate is not
/// spoken, and else the largest window that a client gets which offers to keep to one.
pub fn judge(bytes: &[u8], client_bits: Option<u8>) -> Verdict {
    let (lines, end) = match head(bytes) {
        Ok(Some(head)) => head,
        Ok(None) => return Verdict::Incomplete,
        Err(status) => return Verdict::Refuse(BTreeSet::from([status])),
    };
    let mut faults = BTreeSet::new();
    let mut fault = |broken: bool, status: u16| {
        if broken {
            faults.insert(status);
        }
    };
    let words: Vec<&[u8]> = lines[0].split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else {
        return Verdict::Refuse(BTreeSet::from([400]));
    };
    fault(!is_token(method), 400);
    // Neither makes sense here: one makes a tunnel, the other echoes secrets.
    fault(method == b"CONNECT" || method == b"TRACE", 405);
    // RFC 9112 §2.3: HTTP-name "/" DIGIT "." DIGIT.
    let digits = matches!(version, [b'H', b'T', b'T', b'P', b'/', a, b'.', b]
        if a.is_ascii_digit() && b.is_ascii_digit());
    let old = version == b"HTTP/1.0";
    fault(!digits, 400);
    fault(digits && !old && version != b"HTTP/1.1", 505);
    let authority = authority_of(method, target);
    fault(authority.is_none(), 400);
    // RFC 9112 §5: field-name ":" OWS field-value OWS.
    fault(lines.len() - 1 > HEADERS_MAX, 431);
    let mut fields = Vec::new();
    for line in &lines[1..] {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        // RFC 9110 §5.5: visible characters, obs-text, spaces and tabs.
        let fine = |byte: &u8| *byte >= 128 || *byte == b'\t' || (32..127).contains(byte);
        fault(!is_token(name) || !value.is_some_and(|value| value.iter().all(fine)), 400);
        fields.push((name.to_ascii_lowercase(), trim(value.unwrap_or_default())));
    }
    let all = |name: &str| -> Vec<&[u8]> {
        let named = fields.iter().filter(|(other, _)| other == name.as_bytes());
        named.map(|(_, value)| *value).collect()
    };
    let hosts = all("host");
    fault(hosts.len() > 1 || (hosts.is_empty() && !old), 400);
    fault(hosts.iter().any(|host| split_host(host).is_none()), 400);
    // RFC 9112 §6.1, §6.3: one coding is known, and it goes with no length.
    let (codings, lengths) = (all("transfer-encoding"), all("content-length"));
    let chunked = codings.len() == 1 && codings[0].eq_ignore_ascii_case(b"chunked");
    fault(!codings.is_empty() && (old || !lengths.is_empty()), 400);
    fault(!codings.is_empty() && !chunked, 501);
    let expects = all("expect");
    let go_on = expects.len() == 1 && expects[0].eq_ignore_ascii_case(b"100-continue");
    fault(!old && !expects.is_empty() && !go_on, 417);
    let number = |digits: &[u8]| -> Option<u128> {
        let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        plain.then(|| String::from_utf8_lossy(digits).parse().unwrap_or(u128::MAX))
    };
    let length = lengths.first().map_or(Some(0), |digits| number(digits));
    fault(lengths.len() > 1 || length.is_none(), 400);
    let length = length.unwrap_or(0);
    fault(length > BODY_BYTES_MAX, 413);
    if !faults.is_empty() {
        return Verdict::Refuse(faults);
    }
    let body = if chunked { chunks::end_of(&bytes[end..]) } else { Ok(length as usize) };
    let rest = end + body.unwrap_or_default();
    let host = authority.flatten().or(hosts.first().copied()).unwrap_or_default();
    let verdict = opening(method, old, chunked || length > 0, host, &all, client_bits, rest);
    match (&verdict, body) {
        // What is refused is refused by its head.
        (Verdict::Plain, Err(None)) => Verdict::Incomplete,
        (Verdict::Plain, Err(Some(status))) => Verdict::Refuse([status].into()),
        (Verdict::Plain, Ok(_)) if bytes.len() < rest => Verdict::Incomplete,
        _ => verdict,
    }
}

/// RFC 6455 §4.2.1, item by item, and §4.2.2(4).
fn opening<'a>(
    method: &[u8],
    old: bool,
    has_body: bool,
    host: &[u8],
    all: &dyn Fn(&str) -> Vec<&'a [u8]>,
    client_bits: Option<u8>,
    rest: usize,
) -> Verdict {
    let members = |name: &str| -> Vec<&'a [u8]> {
        let split = all(name).into_iter().flat_map(|value| value.split(|byte| *byte == b','));
        split.map(trim).filter(|member| !member.is_empty()).collect()
    };
    let lists = |name, word: &str| {
        members(name).iter().any(|member| member.eq_ignore_ascii_case(word.as_bytes()))
    };
    let (keys, versions, origins) =
        (all("sec-websocket-key"), all("sec-websocket-version"), all("origin"));
    let protocols = members("sec-websocket-protocol");
    let different: BTreeSet<&&[u8]> = protocols.iter().collect();
    let offers = all("sec-websocket-extensions");
    let agreed = deflate::negotiate(&offers, client_bits.unwrap_or(15));
    let faults = [
        (method != b"GET", 405),
        (old, 400),
        (!lists("upgrade", "websocket"), 426),
        (!lists("connection", "upgrade"), 400),
        (versions.len() != 1 || versions[0] != b"13", 426),
        (keys.len() != 1 || !is_key(keys[0]), 400),
        (!protocols.iter().all(|name| is_token(name)), 400),
        (different.len() < protocols.len(), 400),
        // An empty field is taken for none, a list of nothing is not.
        (protocols.is_empty() && all("sec-websocket-protocol").concat() != b"", 400),
        (agreed.is_err(), 400),
        (has_body, 400),
        (origins.len() > 1 || !origins.iter().all(|origin| is_same_origin(origin, host)), 403),
    ];
    let faults: BTreeSet<u16> =
        faults.iter().filter(|(broken, _)| *broken).map(|(_, status)| *status).collect();
    // Whoever says any of this wants a WebSocket. RFC 9110 §7.8: a version may stand behind a slash.
    let wants = |member: &&[u8]| {
        let name = member.split(|byte| *byte == b'/').next().unwrap_or_default();
        name.eq_ignore_ascii_case(b"websocket")
    };
    if keys.is_empty() && versions.is_empty() && !members("upgrade").iter().any(wants) {
        return Verdict::Plain;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match agreed {
        Ok(deflate) if faults.is_empty() => Verdict::Accept {
            accept: accept(&text(keys[0])),
            protocols: protocols.into_iter().map(text).collect(),
            deflate: deflate.filter(|_| client_bits.is_some()),
            rest,
        },
        _ => Verdict::Refuse(faults),
    }
}

/// The lines of a head without their CRLFs, and where the head ends. RFC 9112 §2.2: empty lines
/// may come before it, and a CR or LF alone is an error.
#[expect(clippy::type_complexity, reason = "it is what there is to tell")]
fn head(bytes: &[u8]) -> Result<Option<(Vec<&[u8]>, usize)>, u16> {
    let (mut lines, mut from) = (Vec::new(), 0);
    let too_long = |at: usize| at >= HEAD_BYTES_MAX;
    loop {
        let line = &bytes[from..];
        let Some(len) = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
            return if too_long(bytes.len()) { Err(431) } else { Ok(None) };
        };
        match line[len..] {
            [b'\n', ..] => return Err(if too_long(from + len) { 431 } else { 400 }),
            [b'\r'] => return if too_long(bytes.len()) { Err(431) } else { Ok(None) },
            [b'\r', b'\n', ..] => from += len + 2,
            _ => return Err(if too_long(from + len + 1) { 431 } else { 400 }),
        }
        match (len, lines.is_empty()) {
            (0, true) => {}
            (0, false) if from > HEAD_BYTES_MAX => return Err(431),
            (0, false) => return Ok(Some((lines, from))),
            _ => lines.push(&line[..len]),
        }
    }
}

/// `None` if the target is not valid (RFC 9112 §3.2); else the authority that it names, if any.
fn authority_of<'a>(method: &[u8], target: &'a [u8]) -> Option<Option<&'a [u8]>> {
    // No controls, no spaces, no fragment; for the rest, browsers are laxer than RFC 3986.
    let fine = |byte: &u8| (33..127).contains(byte) && !b"\"#<>".contains(byte);
    if target.is_empty() || !target.iter().all(fine) {
        return None;
    }
    if target[0] == b'/' || (target == b"*" && method == b"OPTIONS") {
        return Some(None);
    }
    let schemes = ["http://", "https://", "ws://", "wss://"];
    let scheme = schemes.iter().find(|scheme| {
        target.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme.as_bytes()))
    })?;
    let authority = target[scheme.len()..].split(|byte| b"/?".contains(byte)).next()?;
    split_authority(authority).map(|_| Some(authority))
}

/// RFC 3986 §3.2 without user information: host and port. No IPvFuture has been defined, and a
/// port is one of TCP.
fn split_authority(text: &[u8]) -> Option<(String, Option<u16>)> {
    let text = str::from_utf8(text).ok()?;
    let ends = if text.starts_with('[') {
        text.find(']')? + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, port) = text.split_at(ends);
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && is_name(host),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let number = match digits {
        "" => None,
        _ if port == digits || !digits.bytes().all(|byte| byte.is_ascii_digit()) => return None,
        _ => Some(digits.parse().ok()?),
    };
    valid.then(|| (host.to_ascii_lowercase(), number))
}

/// A `Host` may also be an IPv6 address without its brackets: with a port, if it can be read so.
fn split_host(text: &[u8]) -> Option<(String, Option<u16>)> {
    let bare = str::from_utf8(text).ok()?;
    let with_port = match bare.rsplit_once(':') {
        Some((address, port)) if !port.is_empty() && address.parse::<Ipv6Addr>().is_ok() => {
            split_authority(format!("[{address}]:{port}").as_bytes())
        }
        _ => None,
    };
    let whole = || split_authority(format!("[{bare}]").as_bytes());
    split_authority(text).or(with_port).or_else(whole)
}

/// reg-name = *( unreserved / pct-encoded / sub-delims ).
fn is_name(text: &str) -> bool {
    let mut pieces = text.split('%');
    let plain = |text: &str| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c))
    };
    let escaped = |piece: &str| {
        piece.len() >= 2 && piece.bytes().take(2).all(|byte| byte.is_ascii_hexdigit())
    };
    pieces.next().is_some_and(plain) && pieces.all(|piece| escaped(piece) && plain(&piece[2..]))
}

/// RFC 6454 §4, but for the scheme: a proxy may have ended TLS.
fn is_same_origin(origin: &[u8], host: &[u8]) -> bool {
    let Ok(origin) = str::from_utf8(origin) else { return false };
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => 80,
        "https" | "wss" => 443,
        _ => return false,
    };
    // One slash at its end does not count.
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    match (split_host(authority.as_bytes()), split_host(host)) {
        (Some(page), Some(host)) => {
            page.0 == host.0 && page.1.unwrap_or(default) == host.1.unwrap_or(default)
        }
        _ => false,
    }
}

/// RFC 9110 §5.6.2.
pub fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// RFC 9110 §5.6.3: spaces and tabs around it do not count.
fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let start = bytes.iter().take_while(blank).count();
    let end = bytes.iter().rev().take_while(blank).count();
    bytes.get(start..bytes.len() - end).unwrap_or_default()
}
