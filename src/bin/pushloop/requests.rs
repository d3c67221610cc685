//! What a request asks for, as far as its head tells.

use std::net::IpAddr;

use pushloop::Request;

/// Where a request comes from, as what is limited for each: an IPv4 address, or the /64 of an IPv6 one. This machine,
/// and what has no address, has no limits.
pub fn network(request: &Request) -> Option<IpAddr> {
    let client = request.client().map(|it| it.to_canonical()).filter(|it| !it.is_loopback())?;
    Some(match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    })
}

/// Whether it asks for an event stream. A browser's `EventSource` does, and for nothing else.
pub fn wants_events(request: &Request) -> bool {
    let accepted = request.header_all("accept").filter_map(|value| str::from_utf8(value).ok());
    let mut types = accepted.flat_map(|value| value.split(','));
    types.any(|it| {
        let (essence, parameters) = it.split_once(';').unwrap_or((it, ""));
        let is_refused = parameters.split(';').any(|it| is_zero_weight(it.trim()));
        essence.trim().eq_ignore_ascii_case("text/event-stream") && !is_refused
    })
}

/// RFC 9110 §12.4.2: with the weight 0, it is what is not acceptable.
fn is_zero_weight(parameter: &str) -> bool {
    let weight = parameter.strip_prefix(['q', 'Q']).and_then(|it| it.strip_prefix('='));
    weight.is_some_and(|weight| weight.parse() == Ok(0.0))
}

/// Whether it asks how the server is.
pub fn is_health(request: &Request) -> bool {
    match request.method() {
        "GET" | "HEAD" => {
            matches!(request.path(), "/healthz" | "/readyz") && !request.is_websocket()
        }
        method => method == "OPTIONS" && matches!(request.path(), "/" | "*"),
    }
}
