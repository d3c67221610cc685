//! What a request asks for, as far as its head tells.

use pushloop::Request;

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
