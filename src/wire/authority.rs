//! `host[:port]` (RFC 3986 §3.2), as it stands in `Host`, in a request target and in `Origin`.

use std::net::Ipv6Addr;

/// A host and an optional port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    /// Never empty; an IPv6 address is without its brackets, and is all that has a colon.
    pub(super) host: &'a str,
    /// `None` if absent or empty.
    pub(super) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses `text`; `None` if it is empty, has user information, or is not in the grammar.
    pub(super) fn parse(text: &'a str) -> Option<Authority<'a>> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(literal) => literal.split_once(']').filter(|(address, _)| is_ipv6(address))?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        if host.is_empty() || !(text.starts_with('[') || is_reg_name(host.as_bytes())) {
            return None;
        }
        let port = match rest.strip_prefix(':') {
            Some(port) => parse_port(port)?,
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Authority { host, port })
    }

    /// Parses a `Host` field: as [`parse`](Self::parse), or an IPv6 address without its brackets, which
    /// many clients send for a URL that has them. What is behind the last colon is the port, if an
    /// address is before it and it is one: `::1:9001` is port 9001 of `::1`. Nothing but an address is
    /// ever read so, and an address leads nowhere but where the client is.
    pub(super) fn parse_host(text: &'a str) -> Option<Authority<'a>> {
        let bare = || {
            let (host, digits) = text.rsplit_once(':').filter(|(address, _)| is_ipv6(address))?;
            Some(Authority { host, port: Some(parse_port(digits)??) })
        };
        let whole = || is_ipv6(text).then_some(Authority { host: text, port: None });
        Authority::parse(text).or_else(bare).or_else(whole)
    }
}

fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

/// RFC 3986 §3.2.3: a port is digits, possibly none. `None` is an error.
fn parse_port(digits: &str) -> Option<Option<u16>> {
    if digits.is_empty() {
        return Some(None);
    }
    // `parse` would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Some)
}

/// RFC 3986 §3.2.2: unreserved, percent-encoded and sub-delims; an IPv4 address is one too.
fn is_reg_name(mut name: &[u8]) -> bool {
    loop {
        name = match name {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..]
                if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) =>
            {
                rest
            }
            _ => return false,
        };
    }
}
