//! The opening handshake (RFC 6455 §4.2) as a pure function: from a request to what accepts it, or
//! to why it is refused.

use super::authority::Authority;
use super::extensions::parse_extensions;
use super::host::is_below;
use super::http::{self, Request};
use crate::config::Origins;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha1_smol::Sha1;
use std::error::Error;
use std::fmt;
use std::str;

/// §1.3: what is appended to the key before hashing.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// §4.2.1(5) wants a key that decodes to 16 bytes; the bits that the padding hides do not matter
/// to that.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// A valid opening handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The value of `Sec-WebSocket-Accept`.
    accept: [u8; 28],
}

impl Upgrade {
    /// §4.2.2(5.4): the base64 of the SHA-1 of the key, as it was sent, and the GUID.
    fn new(key: &[u8]) -> Upgrade {
        let mut sha1 = Sha1::new();
        sha1.update(key);
        sha1.update(GUID);
        let mut accept = [b'='; 28];
        // 20 bytes always become 28 characters, so this cannot fail.
        let encoded = BASE64.encode_slice(sha1.digest().bytes(), &mut accept);
        debug_assert_eq!(encoded, Ok(28));
        Upgrade { accept }
    }
}

/// Why an opening handshake is refused. The answer to it closes the connection: a proxy might take
/// it for a tunnel already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// 405: the method is not GET (§4.2.1(1)).
    MethodNotGet,
    /// 400: HTTP/1.0 cannot upgrade (§4.2.1(1), RFC 9110 §7.8).
    VersionHttp10,
    /// 426: `Upgrade` does not list `websocket` (§4.2.1(3)).
    UpgradeMissing,
    /// 400: `Connection` does not list `Upgrade` (§4.2.1(4)).
    ConnectionMissing,
    /// 426: `Sec-WebSocket-Version` is not one `13` (§4.2.1(6), §4.4).
    VersionUnsupported,
    /// 400: `Sec-WebSocket-Key` is not one base64 of 16 bytes (§4.2.1(5)).
    KeyInvalid,
    /// 400: `Sec-WebSocket-Protocol` is no list of different tokens (§4.1(10), §11.3.4).
    SubprotocolInvalid,
    /// 400: `Sec-WebSocket-Extensions` is no list of extensions (§9.1).
    ExtensionsInvalid,
    /// 400: the request has a body, which would be taken for frames.
    BodyPresent,
}

impl Refusal {
    /// The status code of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Refusal::MethodNotGet => 405,
            Refusal::UpgradeMissing | Refusal::VersionUnsupported => 426,
            Refusal::VersionHttp10
            | Refusal::ConnectionMissing
            | Refusal::KeyInvalid
            | Refusal::SubprotocolInvalid
            | Refusal::ExtensionsInvalid
            | Refusal::BodyPresent => 400,
        }
    }

    /// Header fields that the answer has to have, as names and values.
    pub const fn extra_headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // RFC 9110 §15.5.6: a 405 MUST say which methods are allowed.
            Refusal::MethodNotGet => &[("Allow", "GET")],
            // RFC 9110 §15.5.22 and RFC 6455 §4.2.2(4): a 426 MUST say to what.
            Refusal::UpgradeMissing | Refusal::VersionUnsupported => {
                &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
            }
            Refusal::VersionHttp10
            | Refusal::ConnectionMissing
            | Refusal::KeyInvalid
            | Refusal::SubprotocolInvalid
            | Refusal::ExtensionsInvalid
            | Refusal::BodyPresent => &[],
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::MethodNotGet => "A WebSocket handshake must be a GET request.",
            Refusal::VersionHttp10 => "A WebSocket handshake needs HTTP/1.1.",
            Refusal::UpgradeMissing => "The Upgrade header must list websocket.",
            Refusal::ConnectionMissing => "The Connection header must list Upgrade.",
            Refusal::VersionUnsupported => "Sec-WebSocket-Version must be 13.",
            Refusal::KeyInvalid => "Sec-WebSocket-Key must be the base64 of 16 bytes, once.",
            Refusal::SubprotocolInvalid => {
                "Sec-WebSocket-Protocol must be a list of different tokens."
            }
            Refusal::ExtensionsInvalid => {
                "Sec-WebSocket-Extensions must be a list of extensions (RFC 6455, section 9.1)."
            }
            Refusal::BodyPresent => "A WebSocket handshake must not have a body.",
        })
    }
}

impl Error for Refusal {}

/// Reads a request as an opening handshake; `Ok(None)` if it does not ask for one.
///
/// It asks for one if `Upgrade` lists `websocket`, in any version, or if there is a
/// `Sec-WebSocket-Key` or a `Sec-WebSocket-Version`. What the offered extensions mean is for
/// whoever knows them, and the origin is for [`origin_allowed`].
///
/// # Errors
///
/// A [`Refusal`] for the first rule of §4.2.1 that the request breaks.
pub fn upgrade(request: &Request) -> Result<Option<Upgrade>, Refusal> {
    if !asks_for_websocket(request) {
        return Ok(None);
    }
    if request.method() != "GET" {
        return Err(Refusal::MethodNotGet);
    }
    // RFC 9110 §7.8: Upgrade in a request of HTTP/1.0 MUST be ignored.
    if request.version_minor() == 0 {
        return Err(Refusal::VersionHttp10);
    }
    if !request.list_contains("upgrade", "websocket") {
        return Err(Refusal::UpgradeMissing);
    }
    if !request.list_contains("connection", "upgrade") {
        return Err(Refusal::ConnectionMissing);
    }
    if only(request, "sec-websocket-version") != Some(b"13") {
        return Err(Refusal::VersionUnsupported);
    }
    let key = only(request, "sec-websocket-key").ok_or(Refusal::KeyInvalid)?;
    if !is_key(key) {
        return Err(Refusal::KeyInvalid);
    }
    check_subprotocols(request)?;
    if parse_extensions(request.header_all("sec-websocket-extensions")).is_err() {
        return Err(Refusal::ExtensionsInvalid);
    }
    if request.content_length() != Some(0) {
        return Err(Refusal::BodyPresent);
    }
    Ok(Some(Upgrade::new(key)))
}

fn asks_for_websocket(request: &Request) -> bool {
    let is_websocket = |member: &[u8]| {
        // RFC 9110 §7.8: a protocol may have a version after a slash.
        let name = member.split(|byte| *byte == b'/').next().unwrap_or_default();
        name.eq_ignore_ascii_case(b"websocket")
    };
    request.list("upgrade").any(is_websocket)
        || request.header("sec-websocket-key").is_some()
        || request.header("sec-websocket-version").is_some()
}

/// The value of a field that must be there once.
fn only<'a>(request: &'a Request, name: &str) -> Option<&'a [u8]> {
    let mut values = request.header_all(name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// §4.2.1(5): base64 of 16 bytes, which is 22 characters and `==`.
fn is_key(key: &[u8]) -> bool {
    // The decoder wants room for whole groups of three bytes.
    let mut nonce = [0; 18];
    BASE64.decode_slice(key, &mut nonce) == Ok(16)
}

/// §4.1(10): the subprotocols MUST all be different, and tokens.
fn check_subprotocols(request: &Request) -> Result<(), Refusal> {
    let mut offered: Vec<&[u8]> = request.list("sec-websocket-protocol").collect();
    // §11.3.4: 1#token, so a field without any is an error. No field is not, nor is an empty one, which
    // libraries send for an empty list.
    let mut values = request.header_all("sec-websocket-protocol");
    let empty = offered.is_empty() && values.any(|value| !value.is_empty());
    offered.sort_unstable();
    let repeated = offered.windows(2).any(|pair| pair[0] == pair[1]);
    if empty || repeated || !offered.iter().all(|name| http::is_token(name)) {
        return Err(Refusal::SubprotocolInvalid);
    }
    Ok(())
}

/// The subprotocols that the client offers, the one that it prefers first (§4.1(10)); they are
/// case-sensitive.
pub fn subprotocols(request: &Request) -> impl Iterator<Item = &str> {
    request.list("sec-websocket-protocol").filter_map(|name| str::from_utf8(name).ok())
}

/// Appends the 101 that completes the handshake (§4.2.2(5)).
///
/// `subprotocol` and `extension` have to be what the client offered, or empty. `extra` are more header fields; those that
/// the handshake sets itself and those that [`Response::header`](super::Response::header) would
/// refuse are left out, and so is a subprotocol that is not a token: nothing that is passed here can
/// break the response apart.
pub fn encode_accept(
    out: &mut Vec<u8>,
    upgrade: &Upgrade,
    subprotocol: &str,
    extension: &str,
    extra: &[(&str, &str)],
) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\n\
          Connection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&upgrade.accept);
    out.extend_from_slice(b"\r\n");
    let mut field = |name: &str, value: &str| {
        for part in [name, ": ", value, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    };
    if http::is_token(subprotocol.as_bytes()) {
        field("Sec-WebSocket-Protocol", subprotocol);
    }
    if !extension.is_empty() {
        field("Sec-WebSocket-Extensions", extension);
    }
    for (name, value) in extra {
        let ours = name.eq_ignore_ascii_case("upgrade")
            || name.get(..14).is_some_and(|start| start.eq_ignore_ascii_case("sec-websocket-"));
        if !ours && http::check_header(name, value).is_ok() {
            field(name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a page of this origin may connect (§10.2): browsers let any page open a WebSocket to
/// anywhere, with the user's cookies, and leave it to the server to refuse.
///
/// `origin` is the value of the only `Origin` (a request with several is for the caller to refuse);
/// without one, the client is no browser and may connect. `host` is [`Request::host`]. The same origin means the same host and the same port, a missing port
/// being the default of the origin's scheme; the scheme itself is not compared, because a proxy may
/// have ended TLS. What is no origin is refused unless the policy is [`Origins::Any`].
pub fn origin_allowed(policy: &Origins, origin: Option<&[u8]>, host: &str) -> bool {
    let Some(origin) = origin else { return true };
    matches!(policy, Origins::Any)
        || Origin::of_page(origin).is_some_and(|origin| origin.is_of(host))
        || origin_listed(policy, origin)
}

/// Whether a page of this origin may connect because it is in the list.
pub fn origin_listed(policy: &Origins, origin: &[u8]) -> bool {
    let list: &[String] = match policy {
        Origins::Any | Origins::SameOrigin => &[],
        Origins::List(list) => list,
    };
    let page = Origin::of_page(origin);
    list.iter().any(|listed| match (&page, Origin::parse_listed(listed)) {
        (Some(page), Some((subdomains, listed))) => listed.fits(subdomains, page),
        _ => NO_ORIGINS.contains(&&**listed) && listed.as_bytes() == origin,
    })
}

/// What is said of pages that have no origin (RFC 6454 §6.1), and by some of files.
const NO_ORIGINS: [&str; 2] = ["null", "file://"];

/// Whether the text is an origin as [`Origins::List`] takes it: `scheme://host[:port]` without a path,
/// `null` or `file://`. The host may be behind `*.`, for all its subdomains. Which of them are of one
/// owner is not known: `https://*.org` is every site below `org`.
pub fn is_origin(text: &str) -> bool {
    NO_ORIGINS.contains(&text) || Origin::parse_listed(text).is_some()
}

/// An origin: `scheme://host[:port]` (RFC 6454 §6.2).
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
    /// The port that the scheme stands for, if it is one of a web page.
    default_port: Option<u16>,
}

impl<'a> Origin<'a> {
    /// An `Origin` field. Some clients put a slash at its end, which cannot lead anywhere else, or take
    /// the brackets off an address, as in `Host`.
    fn of_page(value: &'a [u8]) -> Option<Origin<'a>> {
        let text = str::from_utf8(value).ok()?;
        let (scheme, authority) = text.strip_suffix('/').unwrap_or(text).split_once("://")?;
        Some(Origin::new(scheme, Authority::parse_host(authority)?))
    }

    /// An entry of a list, and whether it is for subdomains.
    fn parse_listed(text: &'a str) -> Option<(bool, Origin<'a>)> {
        let (scheme, authority) = text.split_once("://")?;
        let parent = authority.strip_prefix("*.");
        let origin = Origin::new(scheme, Authority::parse(parent.unwrap_or(authority))?);
        (!origin.host.contains('*')).then_some((parent.is_some(), origin))
    }

    fn new(scheme: &'a str, Authority { host, port }: Authority<'a>) -> Origin<'a> {
        let default_port = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            // Browsers give their extensions schemes of their own; a list may have such an origin.
            _ => None,
        };
        Origin { scheme, host, port: port.or(default_port), default_port }
    }

    /// Whether `host`, a `Host` field, names the server that the page came from.
    fn is_of(&self, host: &str) -> bool {
        let Some(host) = Authority::parse_host(host) else { return false };
        self.default_port.is_some()
            && self.host.eq_ignore_ascii_case(host.host)
            && self.port == host.port.or(self.default_port)
    }

    /// Whether this one, which is listed, is the page's, or for `subdomains` has the page's below it.
    fn fits(&self, subdomains: bool, page: &Origin<'_>) -> bool {
        let host_fits = if subdomains {
            is_below(page.host, self.host)
        } else {
            self.host.eq_ignore_ascii_case(page.host)
        };
        host_fits && self.scheme.eq_ignore_ascii_case(page.scheme) && self.port == page.port
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_answer;
