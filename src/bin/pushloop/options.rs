//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

pub const USAGE: &str = "\
Live notifications over WebSocket: a URL is a topic.

Usage: pushloop [OPTIONS]

Options:
  --listen ADDR          listen on IP:PORT or unix:PATH; may be repeated [127.0.0.1:9001]
  --allow-origin ORIGIN  let pages of this origin connect and publish, besides our own: as in
                         https://example.org, 'https://*.example.org' for its subdomains,
                         file:// or null for pages without one, '*' for every page; may be
                         repeated
  --allow-host NAME      answer requests for this name, besides localhost and IP addresses: the
                         name that a proxy passes on, or '*.example.org'; '*' for every
                         name; may be repeated [every name once listening beyond this
                         machine]
  --anyone-may-publish   allow listening beyond this machine, where whoever can reach
                         the port can publish
  --drain-delay SECONDS  after SIGTERM, how long all goes on but that /readyz answers 503 [0]
  --drain-spread SECONDS
                         then, over how long Close frames are spread at most [20]
  --drain-deadline SECONDS
                         and when whoever is still there is dropped [30]
  --help, --version

Ctrl-C is as good as SIGTERM, and a second one ends it at once. GET /healthz and /readyz tell how
it is; /$stats has numbers.
";

/// Where to listen.
#[derive(Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub listen: Vec<Listen>,
    pub allow_origins: Vec<String>,
    pub allow_hosts: Vec<String>,
    pub anyone_may_publish: bool,
    pub drain: Drain,
}

/// How the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    pub delay: Duration,
    pub spread: Duration,
    pub deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            spread: Duration::from_secs(20),
            deadline: Duration::from_secs(30),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Serve(Options),
    Help,
    Version,
}

/// Reads the arguments. The error is one line for whoever typed them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    use lexopt::prelude::*;

    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("listen") => {
                let value = parser.value().and_then(|value| value.string());
                options.listen.push(listen(&value.map_err(|error| error.to_string())?)?);
            }
            Long("allow-origin") => {
                let value = parser.value().and_then(|value| value.string());
                options.allow_origins.push(origin(&value.map_err(|error| error.to_string())?)?);
            }
            Long("allow-host") => {
                let value = parser.value().and_then(|value| value.string());
                options.allow_hosts.push(host(&value.map_err(|error| error.to_string())?)?);
            }
            Long("drain-delay") => options.drain.delay = seconds(&mut parser)?,
            Long("drain-spread") => options.drain.spread = seconds(&mut parser)?,
            Long("drain-deadline") => options.drain.deadline = seconds(&mut parser)?,
            Long("anyone-may-publish") => options.anyone_may_publish = true,
            Long("help") | Short('h') => return Ok(Asked::Help),
            Long("version") | Short('V') => return Ok(Asked::Version),
            _ => return Err(argument.unexpected().to_string()),
        }
    }
    if options.listen.is_empty() {
        options.listen.push(Listen::Tcp(([127, 0, 0, 1], 9001).into()));
    }
    let beyond = options.listen.iter().find_map(|listen| match listen {
        Listen::Tcp(address) if !address.ip().is_loopback() => Some(address),
        Listen::Tcp(_) | Listen::Unix(_) => None,
    });
    match beyond {
        Some(address) if !options.anyone_may_publish => Err(format!(
            "{address} can be reached from other machines, and anyone there could publish: \
             add --anyone-may-publish if that is meant"
        )),
        _ => Ok(Asked::Serve(options)),
    }
}

fn seconds(parser: &mut lexopt::Parser) -> Result<Duration, String> {
    let value = parser.value().map_err(|error| error.to_string())?;
    let seconds = value.to_str().and_then(|value| value.parse::<u32>().ok());
    let seconds =
        seconds.ok_or_else(|| format!("'{}' is no number of seconds", value.display()))?;
    Ok(Duration::from_secs(seconds.into()))
}

fn listen(value: &str) -> Result<Listen, String> {
    if let Some(path) = value.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        return Ok(Listen::Unix(path.into()));
    }
    let value = value.replace("localhost:", "127.0.0.1:");
    let address = value.parse().map_err(|_| {
        format!("'{value}' is no address to listen on: IP:PORT as in 127.0.0.1:9001, or unix:PATH")
    })?;
    Ok(Listen::Tcp(address))
}

fn origin(value: &str) -> Result<String, String> {
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

fn host(value: &str) -> Result<String, String> {
    if value == "*" || pushloop::is_host(value) {
        return Ok(value.to_owned());
    }
    Err(format!(
        "'{value}' is no host: NAME[:PORT] without a scheme, as in example.org, or '*.example.org', or '*'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_default_is_this_machine_only() {
        let listen = vec![Listen::Tcp(([127, 0, 0, 1], 9001).into())];
        let options = Options { listen, ..Options::default() };
        assert_eq!(parsed(""), Ok(Asked::Serve(options)));
    }

    #[test]
    fn listening_beyond_this_machine_has_to_be_meant() {
        for address in ["0.0.0.0:80", "[::]:80", "192.0.2.1:80"] {
            assert!(parsed(&format!("--listen {address}")).is_err());
            assert!(parsed(&format!("--listen {address} --anyone-may-publish")).is_ok());
        }
        assert!(parsed("--listen [::1]:80 --listen localhost:81 --listen unix:/tmp/x").is_ok());
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for line in [
            "--allow-origin example.org",
            "--allow-origin http://a/b",
            "--allow-origin https://*",
            "--allow-origin https://a.*.org",
            "--allow-origin Null",
            "--allow-origin file:",
            "--allow-origin */",
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains("is no origin") && !error.contains('\n'), "{line}: {error}");
        }
        for (value, origin) in [
            ("https://example.org/", "https://example.org"),
            ("https://*.example.org", "https://*.example.org"),
            ("file://", "file://"),
            ("file:///", "file://"),
            ("null", "null"),
            ("*", "*"),
        ] {
            let parsed = parsed(&format!("--allow-origin {value}"));
            let Ok(Asked::Serve(options)) = parsed else { panic!("{value}: {parsed:?}") };
            assert_eq!(options.allow_origins, [origin]);
        }
        for line in ["--allow-host http://a", "--allow-host a/b", "--allow-host a.*.b"] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains("is no host") && !error.contains('\n'), "{line}: {error}");
        }
        assert!(parsed("--allow-host a:80 --allow-host *.b --allow-host *").is_ok());
        for line in ["--listen", "--listen 80", "--listen unix:", "--listne x", "extra", "-x"] {
            let error = parsed(line).unwrap_err();
            assert!(!error.is_empty() && !error.contains('\n'), "{line}: {error}");
        }
    }

    #[test]
    fn how_it_ends_is_in_whole_seconds() {
        let line = "--drain-delay 5 --drain-spread 0 --drain-deadline 3600";
        let Ok(Asked::Serve(Options { drain, .. })) = parsed(line) else { panic!("{line}") };
        let seconds = [drain.delay, drain.spread, drain.deadline].map(|time| time.as_secs());
        assert_eq!(seconds, [5, 0, 3600]);
        for line in ["--drain-delay", "--drain-spread -1", "--drain-deadline 1.5"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn help_and_version_win() {
        assert_eq!(parsed("--help --listne"), Ok(Asked::Help));
        assert_eq!(parsed("-V"), Ok(Asked::Version));
    }
}
