//! Where a topic is.

use std::fmt::Write;

use tungstenite::http::Uri;

/// A URL of topics, with all that needs it percent-encoded.
#[derive(Debug, PartialEq, Eq)]
pub struct Url {
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    /// What the `Host` of a request says.
    pub authority: String,
    /// Path and query.
    pub target: String,
}

impl Url {
    /// Reads a URL. The error is one line for whoever typed it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("'{text}' {why}");
        // It would be left out silently.
        if text.contains('#') {
            return Err(wrong("has a #: in a topic's name it is %23"));
        }
        let is_kept =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&byte);
        let uri = percent_encode(text, is_kept).parse::<Uri>();
        let no_url = || wrong("is no URL: http://HOST:PORT/TOPIC or ws://HOST:PORT/TOPIC");
        let uri = uri.map_err(|_| no_url())?;
        // RFC 3986 §3.1: in either case.
        match uri.scheme_str().unwrap_or_default().to_ascii_lowercase().as_str() {
            "http" | "ws" => {}
            "https" | "wss" => return Err(wrong("needs TLS, which is not spoken here")),
            _ => return Err(no_url()),
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(wrong("names a user, which is not sent"));
        }
        let host = uri.host().unwrap_or_default();
        let port = match authority.strip_prefix(host) {
            Some("") => Some(80),
            rest => rest.and_then(|rest| rest.strip_prefix(':')?.parse().ok()),
        };
        let port = port.filter(|_| !host.is_empty()).ok_or_else(no_url)?;
        // Of an empty path, this is `/`, as RFC 9110 §4.2.3 has it.
        let path = uri.path();
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let url = Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority: authority.to_owned(),
            target: format!("{path}{query}"),
        };
        let mut topics = url.topics();
        if topics.is_empty() {
            return Err(wrong("names no topic, as in http://HOST:PORT/TOPIC"));
        }
        // The server takes it once, and places are counted by the URL.
        topics.sort_unstable();
        if topics.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(wrong("names a topic twice"));
        }
        Ok(url)
    }

    /// The topics that it names, encoded: in its path, or as `topic=` of the query of `/`.
    pub fn topics(&self) -> Vec<&str> {
        let path = self.target.split('?').next().unwrap_or_default();
        match path.strip_prefix('/').unwrap_or_default() {
            "" => self.pairs().filter_map(|pair| pair.strip_prefix("topic=")).collect(),
            names => names.split(',').collect(),
        }
    }

    /// Whether its query has a value of this name.
    pub fn has_in_query(&self, name: &str) -> bool {
        self.pairs().any(|pair| pair.split('=').next() == Some(name))
    }

    fn pairs(&self) -> impl Iterator<Item = &str> {
        self.target.split_once('?').map_or("", |(_, query)| query).split('&')
    }

    /// The URL of a WebSocket, with more in its query.
    pub fn web_socket(&self, query: &str) -> String {
        let joint = if self.target.contains('?') { '&' } else { '?' };
        format!("ws://{}{}{joint}{query}", self.authority, self.target)
    }
}

/// Text as a part of a query's value.
pub fn query_part(text: &str) -> String {
    percent_encode(text, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

/// Text in which the bytes that are not kept are percent-encoded.
fn percent_encode(text: &str, is_kept: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if is_kept(byte) {
            encoded.push(byte.into());
        } else {
            // A `String` takes everything.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_what_others_take_it_for() {
        for (text, host, port, authority, target, topics) in [
            (
                "http://localhost:9001/scores",
                "localhost",
                9001,
                "localhost:9001",
                "/scores",
                &["scores"][..],
            ),
            ("ws://example.org/a,b", "example.org", 80, "example.org", "/a,b", &["a", "b"]),
            ("WS://[::1]:1/a/b?c=d", "::1", 1, "[::1]:1", "/a/b?c=d", &["a/b"]),
            ("http://h/?topic=a&x=1&topic=b", "h", 80, "h", "/?topic=a&x=1&topic=b", &["a", "b"]),
            ("http://h?topic=a", "h", 80, "h", "/?topic=a", &["a"]),
            ("http://h//a", "h", 80, "h", "//a", &["/a"]),
            ("http://h/é <%20", "h", 80, "h", "/%C3%A9%20%3C%20", &["%C3%A9%20%3C%20"]),
        ] {
            let (host, authority, target) = (host.into(), authority.into(), target.into());
            let url = Url { host, port, authority, target };
            assert_eq!(url.topics(), topics, "{text}");
            assert_eq!(Url::parse(text), Ok(url), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_topic_is_said_in_one_line() {
        for (text, why) in [
            ("scores", "is no URL"),
            ("localhost:9001/scores", "is no URL"),
            ("ftp://h/scores", "is no URL"),
            ("http://h:99999/scores", "is no URL"),
            ("http:///scores", "is no URL"),
            ("https://h/scores", "TLS"),
            ("wss://h/scores", "TLS"),
            ("http://user@h/scores", "not sent"),
            ("http://h/a#b", "%23"),
            ("http://h", "no topic"),
            ("http://h/", "no topic"),
            ("http://h/?x=1", "no topic"),
            ("http://h/a,b,a", "twice"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(error.contains(why) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_web_socket_asks_in_its_query() {
        let url = |text| Url::parse(text).expect("it is one").web_socket("x=y");
        assert_eq!(url("http://h:1/a"), "ws://h:1/a?x=y");
        assert_eq!(url("ws://h/a?b=c"), "ws://h/a?b=c&x=y");
    }
}
