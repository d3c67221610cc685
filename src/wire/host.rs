//! Which names a server answers to (RFC 9110 §7.2), against DNS rebinding: a page of a foreign name
//! that was made to resolve to this server is of the same origin for its browser, and only the name
//! in its requests tells.

use std::net::Ipv4Addr;

use super::authority::Authority;
use crate::config::Hosts;

/// Whether a request for `host`, which is [`Request::host`](super::Request::host), is for this
/// server. `on_loopback` says that it came over TCP to a server that only this machine reaches.
pub fn host_allowed(policy: &Hosts, on_loopback: bool, host: &str) -> bool {
    let list: &[String] = match policy {
        Hosts::Any => return true,
        Hosts::Automatic if !on_loopback => return true,
        Hosts::Automatic => &[],
        Hosts::List(list) => list,
    };
    // HTTP/1.0 may come without a Host, and no browser speaks it.
    let Some(asked) = Authority::parse_host(host) else { return host.is_empty() };
    // A rebound name is a name: an address leads to where it says.
    let is_address = asked.host.contains(':') || asked.host.parse::<Ipv4Addr>().is_ok();
    is_address || is_localhost(asked.host) || list.iter().any(|name| fits(name, asked))
}

/// Whether the text is a name as [`Hosts::List`] takes it: `host[:port]`, possibly behind `*.`.
pub fn is_host(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    !name.contains('*') && Authority::parse(name).is_some()
}

/// RFC 6761 §6.3: no resolver asks the network for these.
fn is_localhost(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || is_below(host, "localhost")
}

/// Whether a host is a subdomain of another.
pub(super) fn is_below(host: &str, parent: &str) -> bool {
    let Some(at) = host.len().checked_sub(parent.len() + 1).filter(|at| *at > 0) else {
        return false;
    };
    let (Some(dot), Some(end)) = (host.get(at..=at), host.get(at + 1..)) else { return false };
    dot == "." && end.eq_ignore_ascii_case(parent)
}

fn fits(listed: &str, asked: Authority<'_>) -> bool {
    let (subdomains, name) = match listed.strip_prefix("*.") {
        Some(parent) => (true, parent),
        None => (false, listed),
    };
    let Some(name) = Authority::parse(name) else { return false };
    let host_fits = if subdomains {
        is_below(asked.host, name.host)
    } else {
        asked.host.eq_ignore_ascii_case(name.host)
    };
    // Without a port the request is for the scheme's own, and a proxy may have ended TLS.
    let port_fits = |port| asked.port.map_or(matches!(port, 80 | 443), |asked| asked == port);
    host_fits && name.port.is_none_or(port_fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of a server, and by policy whether a request for one of them is answered: by a
    /// server on loopback that has no list, by one with this list, by one that strangers reach.
    const LIST: [&str; 6] =
        ["example.org", "*.sub.example", "port.example:8443", "web.example:443", "*", "http://no"];

    #[test]
    fn names_by_policy() {
        let list = Hosts::List(LIST.map(String::from).to_vec());
        for (host, on_loopback, listed) in ROWS {
            assert_eq!(host_allowed(&Hosts::Automatic, true, host), on_loopback, "{host}");
            for reached in [true, false] {
                assert_eq!(host_allowed(&list, reached, host), listed, "{host} in the list");
                assert!(host_allowed(&Hosts::Any, reached, host), "{host}");
            }
            assert!(host_allowed(&Hosts::Automatic, false, host), "{host} from outside");
            // What is no name of a foreign zone is answered whatever is listed.
            assert!(listed || !on_loopback, "{host}");
        }
    }

    const ROWS: [(&str, bool, bool); 76] = [
        // What no page can make its own name of.
        ("localhost", true, true),
        ("LocalHost", true, true),
        ("localhost:9001", true, true),
        ("localhost:", true, true),
        ("app.localhost", true, true),
        ("a.b.LOCALHOST:5173", true, true),
        ("127.0.0.1", true, true),
        ("127.0.0.1:9001", true, true),
        ("127.8.9.10", true, true),
        ("192.0.2.1:80", true, true),
        ("0.0.0.0", true, true),
        ("255.255.255.255", true, true),
        ("[::1]", true, true),
        ("[::1]:9001", true, true),
        ("[::]", true, true),
        ("[::ffff:127.0.0.1]", true, true),
        ("[2001:db8::1]:443", true, true),
        ("", true, true),
        // What looks like it.
        ("localhost.", false, false),
        (".localhost", false, false),
        ("localhost.example", false, false),
        ("localhost.evil.example:9001", false, false),
        ("xlocalhost", false, false),
        ("localhos", false, false),
        ("localhost2", false, false),
        ("local.host", false, false),
        ("localhost,evil.example", false, false),
        ("%6cocalhost", false, false),
        ("127.0.0.1.nip.example", false, false),
        ("127.0.0.1.", false, false),
        ("127.0.0.01", false, false),
        ("127.0.0.256", false, false),
        ("127.0.0", false, false),
        ("127.1", false, false),
        ("2130706433", false, false),
        ("0x7f000001", false, false),
        ("0x7f.1", false, false),
        ("017700000001", false, false),
        ("1.2.3.4.5", false, false),
        ("7f000001.c0a80001.rebind.example", false, false),
        ("evil.example", false, false),
        ("evil.example:9001", false, false),
        ("evil", false, false),
        ("router.local", false, false),
        ("host.docker.internal:9001", false, false),
        ("xn--lcalhost-54a", false, false),
        ("user@localhost", false, false),
        ("localhost/evil.example", false, false),
        ("l\u{f6}calhost", false, false),
        // An address without its brackets, and what is none.
        ("::1", true, true),
        ("::1:9001", true, true),
        ("2001:DB8::1:443", true, true),
        ("::ffff:127.0.0.1:80", true, true),
        ("::1:", false, false),
        ("::1:evil.example", false, false),
        ("::g", false, false),
        // What is listed, and what looks like it.
        ("example.org", false, true),
        ("EXAMPLE.Org", false, true),
        ("example.org:443", false, true),
        ("example.org:65535", false, true),
        ("a.example.org", false, false),
        ("example.org.", false, false),
        ("example.org.evil.example", false, false),
        ("evilexample.org", false, false),
        ("a.sub.example", false, true),
        ("a.b.Sub.Example:8080", false, true),
        ("sub.example", false, false),
        (".sub.example", false, false),
        ("evilsub.example", false, false),
        ("*.sub.example", false, true),
        ("port.example:8443", false, true),
        ("port.example", false, false),
        ("port.example:443", false, false),
        ("web.example", false, true),
        ("web.example:443", false, true),
        ("http:", false, false),
    ];

    #[test]
    fn what_may_be_listed() {
        for name in LIST.iter().take(4).chain(&["a", "[::1]:80", "xn--bcher-kva.example", "1.2"]) {
            assert!(is_host(name), "{name}");
        }
        for name in
            ["", "*", "*.", "*.*", "a.*", "a*b", "http://a", "a/b", "a:b", "u@a", "a b", "b\u{fc}"]
        {
            assert!(!is_host(name), "{name}");
        }
    }
}
