//! Pages: which of them may use this server (RFC 6455 §10.2), and what those of other origins are told
//! with a plain answer (CORS, Fetch §3.2).

use crate::{
    config::{Config, Cors, Origins},
    wire::{Request, Response, origin_allowed, origin_listed},
};

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const REQUEST_METHOD: &str = "Access-Control-Request-Method";

/// Bytes of what a peer sent that it is told again.
const SHOWN_BYTES_MAX: usize = 128;

/// Whether the page that a request comes from may use this server.
pub(crate) fn allows_origin(config: &Config, request: &Request) -> bool {
    let mut origins = request.header_all("origin");
    match (origins.next(), origins.next()) {
        (Some(_), Some(_)) => false,
        (None, _) => matches!(config.origins, Origins::Any) || !is_from_elsewhere(request),
        (origin, None) => origin_allowed(&config.origins, origin, request.host()),
    }
}

/// Whether a browser says that a page of another origin asks (Fetch Metadata §2.4). What it does not know
/// is to be ignored.
fn is_from_elsewhere(request: &Request) -> bool {
    request.header_all("sec-fetch-site").any(|site| matches!(site, b"cross-site" | b"same-site"))
}

/// Why the page may not, for whoever runs this server or the proxy before it.
pub(crate) fn origin_refusal(config: &Config, request: &Request) -> Option<String> {
    if allows_origin(config, request) {
        return None;
    }
    let page = match request.header("origin") {
        Some(_) => format!("the Origin is \"{}\"", shown(request, "origin")),
        None => format!(
            "there is no Origin, the Sec-Fetch-Site is \"{}\"",
            shown(request, "sec-fetch-site")
        ),
    };
    let host = cut(request.host().bytes());
    Some(format!(
        "pages of other origins may not use this server: {page}, and the Host is \"{host}\". Set \
         Config::origins (pushloop --allow-origin ORIGIN), or have the proxy pass on the Host with its \
         port\n"
    ))
}

/// The values of a field.
fn shown(request: &Request, name: &str) -> String {
    let values: Vec<_> = request.header_all(name).collect();
    cut(values.join(&b", "[..]).into_iter())
}

/// The beginning of what a peer sent, as one printable line.
fn cut(mut bytes: impl Iterator<Item = u8>) -> String {
    let printable = |byte: u8| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '?' };
    let start: String = bytes.by_ref().take(SHOWN_BYTES_MAX).map(printable).collect();
    if bytes.next().is_some() { start + "..." } else { start }
}

/// Whether a browser asks if a page of another origin may send a request (Fetch §3.2.2).
pub(super) fn is_preflight(config: &Config, request: &Request) -> bool {
    config.cors.is_some()
        && request.method() == "OPTIONS"
        && request.header("origin").is_some()
        && request.header(REQUEST_METHOD).is_some()
}

/// Whether the request is no preflight, or asks for one method that is listed.
pub(super) fn allows_method(config: &Config, request: &Request) -> bool {
    let Some(cors) = config.cors.as_ref().filter(|_| is_preflight(config, request)) else {
        return true;
    };
    let mut asked = request.header_all(REQUEST_METHOD);
    let method = asked.next().unwrap_or_default();
    asked.next().is_none() && cors.methods.iter().any(|listed| listed.as_bytes() == method)
}

/// The answer to a preflight of a page that may.
pub(crate) fn preflight(cors: &Cors) -> Response {
    Response::new(204)
        .header("Access-Control-Allow-Methods", &cors.methods.join(", "))
        .header("Access-Control-Allow-Headers", &cors.headers.join(", "))
        .header("Access-Control-Max-Age", &cors.max_age.as_secs().to_string())
}

/// The further fields of the answer to a request whose head is known.
pub(super) fn fields<'a>(
    config: &Config,
    request: Option<&'a Request>,
    response: &Response,
) -> Vec<(&'static str, &'a str)> {
    let (Some(cors), Some(request)) = (&config.cors, request) else { return Vec::new() };
    if response.has(ALLOW_ORIGIN) {
        return Vec::new();
    }
    // Also where there is no Origin: a cache may have the answer for a page that sends one.
    let mut fields = vec![("Vary", "Origin")];
    if let Some(origin) = request.header_text("origin")
        && allows_origin(config, request)
    {
        let is_any = matches!(config.origins, Origins::Any);
        fields.push((ALLOW_ORIGIN, if is_any { "*" } else { origin }));
        // Who reads along on the way to http://example.org could make a page of it, and is not to get
        // what https://example.org tells a user: the same host is not enough.
        if cors.credentials && origin_listed(&config.origins, origin.as_bytes()) {
            fields.push(("Access-Control-Allow-Credentials", "true"));
        }
    }
    fields
}
