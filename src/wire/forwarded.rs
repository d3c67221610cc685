//! Which client a proxy says that a request comes from (RFC 7239, and `X-Forwarded-For`).

use std::net::{IpAddr, SocketAddr};

use super::http::{Request, is_token};
use crate::config::{ClientHeader, Proxies};

/// The client's address. `from` is where the connection comes from: its peer, or the client that the PROXY protocol
/// says; `None` over a Unix-domain socket. The header is read from its end, where the nearest proxy has
/// written, up to the first address that is no proxy's. What is no address hides all that is before it.
pub fn client(request: &Request, from: Option<IpAddr>, proxies: &Proxies) -> Option<IpAddr> {
    let addresses: Vec<Option<IpAddr>> = match proxies.header {
        ClientHeader::None => return from,
        ClientHeader::Forwarded => {
            let elements = request.header_all("forwarded").flat_map(|value| split(value, b','));
            elements.filter(|element| !element.is_empty()).map(forwarded_for).collect()
        }
        // It knows no quotes: one that a client sends hides no comma.
        ClientHeader::XForwardedFor => request.list("x-forwarded-for").map(node).collect(),
    };
    let mut client = from;
    for before in addresses.into_iter().rev() {
        match before {
            Some(before) if proxies.contains(client) => client = Some(before),
            _ => break,
        }
    }
    client
}

/// The parts between separators, but for those in quoted strings (RFC 9110 §5.6.4). What follows a quote
/// that does not end is of the same part.
fn split(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    value
        .split(move |byte| {
            if is_escaped {
                is_escaped = false;
                return false;
            }
            is_escaped = is_quoted && *byte == b'\\';
            is_quoted ^= *byte == b'"';
            !is_quoted && *byte == separator
        })
        .map(<[u8]>::trim_ascii)
}

/// The address in the one `for` of an element, as in `for="[2001:db8::1]:4711";proto=https`. An element
/// that breaks the grammar has none: a client may have begun it, and left a quote open.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut address = None;
    for pair in split(element, b';').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&pair[..at], &pair[at + 1..]);
        let value = if is_token(value) { value } else { quoted(value)? };
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") && address.replace(value).is_some() {
            return None;
        }
    }
    node(address?)
}

/// What is in a quoted string, as it stands there.
fn quoted(value: &[u8]) -> Option<&[u8]> {
    let text = value.strip_prefix(b"\"")?;
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return (at + 1 == text.len()).then(|| &text[..at]),
            b'\\' => _ = bytes.next()?,
            _ => {}
        }
    }
    None
}

/// An address with a port or without. A name, `unknown` and what is hidden are none.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let address = text.parse().or_else(|_| text.parse::<SocketAddr>().map(|it| it.ip())).ok();
    // RFC 7239 §6: IPv6 stands in brackets.
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    address.or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::super::http::parse_head;
    use super::*;

    /// A request from 10.0.0.1 with these lines, where 10.0.0.0/8 are proxies.
    fn client_of(header: ClientHeader, lines: &str) -> String {
        let proxies =
            Proxies { networks: vec!["10.0.0.0/8".parse().unwrap()], unix: false, header };
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let request = parse_head(head.as_bytes(), 64, 0).unwrap();
        client(&request, Some([10, 0, 0, 1].into()), &proxies).unwrap().to_string()
    }

    #[test]
    fn the_last_address_that_is_no_proxys_is_the_client() {
        use ClientHeader::{Forwarded, None, XForwardedFor};
        for (header, lines, expected) in [
            (None, "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n", "10.0.0.1"),
            (XForwardedFor, "Forwarded: for=192.0.2.1\r\n", "10.0.0.1"),
            (Forwarded, "X-Forwarded-For: 192.0.2.1\r\n", "10.0.0.1"),
            (XForwardedFor, "", "10.0.0.1"),
            (XForwardedFor, "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"),
            (XForwardedFor, "X-Forwarded-For: 192.0.2.9, 192.0.2.1\r\n", "192.0.2.1"),
            (XForwardedFor, "X-Forwarded-For: 192.0.2.1, 10.1.1.1, 10.2.2.2\r\n", "192.0.2.1"),
            (
                XForwardedFor,
                "X-Forwarded-For: 192.0.2.9\r\nX: y\r\nX-Forwarded-For: 192.0.2.1\r\n",
                "192.0.2.1",
            ),
            (XForwardedFor, "X-Forwarded-For: 10.3.3.3, 10.2.2.2\r\n", "10.3.3.3"),
            (XForwardedFor, "X-Forwarded-For: 192.0.2.1:4711,,\r\n", "192.0.2.1"),
            (XForwardedFor, "X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1"),
            (XForwardedFor, "X-Forwarded-For: [2001:db8::1]:80\r\n", "2001:db8::1"),
            (XForwardedFor, "X-Forwarded-For: ::ffff:192.0.2.1\r\n", "192.0.2.1"),
            // Nothing behind what is no address is believed.
            (XForwardedFor, "X-Forwarded-For: 192.0.2.1, unknown\r\n", "10.0.0.1"),
            (XForwardedFor, "X-Forwarded-For: 192.0.2.1, x, 10.2.2.2\r\n", "10.2.2.2"),
            (XForwardedFor, "X-Forwarded-For: 192.0.2.1, \u{e9}\r\n", "10.0.0.1"),
            (XForwardedFor, "X-Forwarded-For: 192.0.2.1 10.2.2.2\r\n", "10.0.0.1"),
            (XForwardedFor, "X-Forwarded-For: \", 192.0.2.1\r\n", "192.0.2.1"),
            (Forwarded, "Forwarded: for=192.0.2.1\r\n", "192.0.2.1"),
            (
                Forwarded,
                "Forwarded: proto=https;FOR=\"192.0.2.1:80\" ; by=10.0.0.1\r\n",
                "192.0.2.1",
            ),
            (Forwarded, "Forwarded: for=\"[2001:db8::1]\", for=10.2.2.2\r\n", "2001:db8::1"),
            (Forwarded, "Forwarded: for=\"[2001:db8::1]:4711\"\r\n", "2001:db8::1"),
            (Forwarded, "Forwarded: for=192.0.2.9;host=\"a,b\\\",for=192.0.2.8\"\r\n", "192.0.2.9"),
            (Forwarded, "Forwarded: for=192.0.2.1, for=_hidden\r\n", "10.0.0.1"),
            (Forwarded, "Forwarded: for=192.0.2.1;for=192.0.2.2\r\n", "10.0.0.1"),
            (Forwarded, "Forwarded: for=192.0.2.1, by=10.2.2.2\r\n", "10.0.0.1"),
            (Forwarded, "Forwarded: for=192.0.2.1, for=\"192.0.2.2\r\n", "10.0.0.1"),
            (Forwarded, "Forwarded: for=192.0.2.9;x=\", for=192.0.2.1\r\n", "10.0.0.1"),
            (Forwarded, "Forwarded: for=192.0.2.9;x=\"a\\\", for=192.0.2.1\r\n", "10.0.0.1"),
            (Forwarded, "Forwarded: for=192.0.2.9;x=\"\"y, for=192.0.2.1\r\n", "192.0.2.1"),
            (Forwarded, "Forwarded: x;for=192.0.2.9\r\n", "10.0.0.1"),
            (Forwarded, "Forwarded: (x)=y;for=192.0.2.9\r\n", "10.0.0.1"),
            (Forwarded, "Forwarded: ;for=192.0.2.1;;\r\n", "192.0.2.1"),
        ] {
            assert_eq!(client_of(header, lines), expected, "{header:?}: {lines}");
        }
    }

    #[test]
    fn only_a_proxy_is_believed() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
        let request = parse_head(head.as_bytes(), 64, 0).unwrap();
        let stranger = Some([192, 0, 2, 7].into());
        let said = Some([192, 0, 2, 1].into());
        for (from, unix, expected) in
            [(stranger, true, stranger), (None, false, None), (None, true, said)]
        {
            let header = ClientHeader::XForwardedFor;
            let proxies = Proxies { networks: Vec::new(), unix, header };
            assert_eq!(client(&request, from, &proxies), expected);
        }
    }
}
