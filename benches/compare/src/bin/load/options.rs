//! The command line.

use std::{ffi::OsString, net::Ipv4Addr, net::SocketAddr, net::ToSocketAddrs, time::Duration};

pub const USAGE: &str = "\
Loads a WebSocket server, and checks every byte that comes back.

Usage: load echo|fan|connect|idle URL [OPTIONS]

  echo      each message comes back to its sender
  fan       each message that is published comes to every connection
  connect   connects, shakes hands, closes and begins again
  idle      opens connections and leaves them alone: the server's memory for each (needs --pid)

URL is ws://HOST:PORT/PATH; for fan the server publishes what comes on PATH to all that are on it.

Options:
  --connections N     connections, or how many are being made at once for connect [32]
  --payload BYTES     of each message [20; 512 with --deflate]; for idle: each connection has one
                      message of so many bytes echoed first [none]
  --in-flight N       how many messages of a connection, or publications of a publisher, are under
                      way at once [1]
  --publishers 1|all  who publishes, for fan [1]
  --rate R            instead of --in-flight: R messages a second over all connections, each at its
                      time, however late the answers are; latencies count from that time
  --seconds S         how long it is measured [5]
  --warmup S          how long it runs before that [1]
  --deflate           offer permessage-deflate, and send text that compresses
  --raw               the other side is `raw`: what comes back is what was sent, masks and all
  --sources A-B       connect from these addresses, in turn [127.0.0.1-127.0.0.16 for connect and
                      idle on 127.0.0.0/8, else whatever the system takes]
  --pid PID           the server's process: its CPU time and memory
  --sleep             sleep until something comes, instead of asking again and again
  --json              the result as one JSON object, on the last line
  --quiet             no line of progress for each second on stderr
  --help
";

/// Connections beyond this many need a second source address: the system grants 28,232 ports.
const CONNECTIONS_PER_SOURCE: usize = 28_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Echo,
    Fan,
    Connect,
    Idle,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Echo => "echo",
            Mode::Fan => "fan",
            Mode::Connect => "connect",
            Mode::Idle => "idle",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    /// As the `Host` field has it.
    pub host: String,
    pub path: String,
}

/// The first and the last address to connect from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources(pub Ipv4Addr, pub Ipv4Addr);

#[derive(Clone, Debug)]
pub struct Options {
    pub mode: Mode,
    pub target: Target,
    pub connections: usize,
    pub payload: Option<usize>,
    pub in_flight: usize,
    pub all_publish: bool,
    pub rate: Option<f64>,
    pub seconds: Duration,
    pub warmup: Duration,
    pub deflate: bool,
    pub raw: bool,
    pub sources: Option<Sources>,
    pub pid: Option<u32>,
    pub sleep: bool,
    pub json: bool,
    pub quiet: bool,
}

impl Options {
    pub fn payload(&self) -> usize {
        self.payload.unwrap_or(if self.deflate { 512 } else { 20 })
    }
}

/// Reads the arguments; `None` asks for help. The error is one line for whoever typed them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, String> {
    use lexopt::prelude::*;

    let mut parser = lexopt::Parser::from_args(arguments);
    let mut words: Vec<String> = Vec::new();
    let mut options = Options {
        mode: Mode::Echo,
        target: Target {
            address: ([127, 0, 0, 1], 0).into(),
            host: String::new(),
            path: String::new(),
        },
        connections: 32,
        payload: None,
        in_flight: 1,
        all_publish: false,
        rate: None,
        seconds: Duration::from_secs(5),
        warmup: Duration::from_secs(1),
        deflate: false,
        raw: false,
        sources: None,
        pid: None,
        sleep: false,
        json: false,
        quiet: false,
    };
    let say = |error: lexopt::Error| error.to_string();
    while let Some(argument) = parser.next().map_err(say)? {
        match argument {
            Value(word) => words.push(word.string().map_err(say)?),
            Long("connections") => options.connections = number(&mut parser, 1)?,
            Long("payload") => options.payload = Some(number(&mut parser, 0)?),
            Long("in-flight") => options.in_flight = number(&mut parser, 1)?,
            Long("publishers") => options.all_publish = publishers(&mut parser)?,
            Long("rate") => options.rate = Some(rate(&mut parser)?),
            Long("seconds") => options.seconds = seconds(&mut parser)?,
            Long("warmup") => options.warmup = seconds(&mut parser)?,
            Long("deflate") => options.deflate = true,
            Long("raw") => options.raw = true,
            Long("sources") => options.sources = Some(sources(&mut parser)?),
            Long("pid") => options.pid = Some(parser.value().and_then(|v| v.parse()).map_err(say)?),
            Long("sleep") => options.sleep = true,
            Long("json") => options.json = true,
            Long("quiet") => options.quiet = true,
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected().to_string()),
        }
    }
    let [mode, url] = words.as_slice() else { return Err("a mode and a URL are wanted".into()) };
    options.mode = match mode.as_str() {
        "echo" => Mode::Echo,
        "fan" => Mode::Fan,
        "connect" => Mode::Connect,
        "idle" => Mode::Idle,
        other => return Err(format!("no mode is called {other}")),
    };
    options.target = target(url)?;
    fits_together(&mut options)?;
    Ok(Some(options))
}

fn fits_together(options: &mut Options) -> Result<(), String> {
    if options.raw && options.deflate {
        return Err("--raw compresses nothing: it goes without --deflate".into());
    }
    if options.all_publish && options.deflate {
        return Err("--deflate is for fan with one publisher".into());
    }
    if options.all_publish && options.payload() < crate::crowd::PAYLOAD_MIN {
        return Err(format!(
            "--publishers all needs a payload of at least {} bytes, to tell them apart",
            crate::crowd::PAYLOAD_MIN
        ));
    }
    if options.mode == Mode::Idle && options.pid.is_none() {
        return Err("idle needs --pid".into());
    }
    let loopback = options.target.address.ip().is_loopback() && options.target.address.is_ipv4();
    let many = matches!(options.mode, Mode::Connect | Mode::Idle)
        || options.connections > CONNECTIONS_PER_SOURCE;
    if options.sources.is_none() && loopback && many {
        options.sources = Some(Sources([127, 0, 0, 1].into(), [127, 0, 0, 16].into()));
    }
    Ok(())
}

fn number(parser: &mut lexopt::Parser, least: usize) -> Result<usize, String> {
    use lexopt::ValueExt;
    let number = parser.value().and_then(|value| value.parse()).map_err(|e| e.to_string())?;
    if number < least { Err(format!("at least {least}, not {number}")) } else { Ok(number) }
}

fn real(parser: &mut lexopt::Parser) -> Result<f64, String> {
    use lexopt::ValueExt;
    parser.value().and_then(|value| value.parse()).map_err(|error| error.to_string())
}

fn seconds(parser: &mut lexopt::Parser) -> Result<Duration, String> {
    Duration::try_from_secs_f64(real(parser)?).map_err(|error| error.to_string())
}

fn rate(parser: &mut lexopt::Parser) -> Result<f64, String> {
    let rate = real(parser)?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err(format!("no rate: {rate}")) }
}

fn publishers(parser: &mut lexopt::Parser) -> Result<bool, String> {
    use lexopt::ValueExt;
    match parser.value().and_then(|value| value.string()).map_err(|e| e.to_string())?.as_str() {
        "1" => Ok(false),
        "all" => Ok(true),
        other => Err(format!("--publishers is 1 or all, not {other}")),
    }
}

fn sources(parser: &mut lexopt::Parser) -> Result<Sources, String> {
    use lexopt::ValueExt;
    let value = parser.value().and_then(|value| value.string()).map_err(|e| e.to_string())?;
    let (first, last) = value.split_once('-').unwrap_or((&value, &value));
    let address = |text: &str| {
        text.parse().ok().filter(Ipv4Addr::is_loopback).ok_or(format!("not in 127.0.0.0/8: {text}"))
    };
    let sources = Sources(address(first)?, address(last)?);
    if sources.0 > sources.1 { Err(format!("an empty range: {value}")) } else { Ok(sources) }
}

fn target(url: &str) -> Result<Target, String> {
    let rest = url.strip_prefix("ws://").ok_or(format!("not a ws:// URL: {url}"))?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let mut addresses = host.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    let address = addresses.next().ok_or(format!("{host} has no address"))?;
    Ok(Target { address, host: host.into(), path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Options>, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_line_is_read() {
        let options = parsed(
            "fan ws://127.0.0.1:9001/fan --connections 500 --publishers all --payload 32 \
             --in-flight 4 --rate 1e4 --seconds 0.5 --warmup 0 --pid 7 --json",
        );
        let options = options.unwrap().unwrap();
        assert_eq!(options.mode, Mode::Fan);
        assert_eq!(options.target.address, "127.0.0.1:9001".parse().unwrap());
        assert_eq!(
            (options.target.host.as_str(), options.target.path.as_str()),
            ("127.0.0.1:9001", "/fan")
        );
        assert_eq!((options.connections, options.payload(), options.in_flight), (500, 32, 4));
        assert!(options.all_publish && options.json && !options.quiet);
        assert_eq!((options.rate, options.pid), (Some(1e4), Some(7)));
        assert_eq!((options.seconds, options.warmup), (Duration::from_millis(500), Duration::ZERO));
        assert!(parsed("--help").unwrap().is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "",
            "echo",
            "echo ws://127.0.0.1:1 more",
            "sing ws://127.0.0.1:1",
            "echo http://127.0.0.1:1",
            "echo ws://127.0.0.1",
            "echo ws://127.0.0.1:1 --connections 0",
            "echo ws://127.0.0.1:1 --rate 0",
            "echo ws://127.0.0.1:1 --rate nan",
            "echo ws://127.0.0.1:1 --seconds -1",
            "echo ws://127.0.0.1:1 --sources 10.0.0.1-10.0.0.2",
            "echo ws://127.0.0.1:1 --sources 127.0.0.2-127.0.0.1",
            "echo ws://127.0.0.1:1 --raw --deflate",
            "fan ws://127.0.0.1:1 --publishers 2",
            "fan ws://127.0.0.1:1 --publishers all --payload 7",
            "idle ws://127.0.0.1:1",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn connecting_again_and_again_needs_many_ports() {
        let sources = |line: &str| parsed(line).unwrap().unwrap().sources;
        assert_eq!(sources("echo ws://127.0.0.1:1"), None);
        assert!(sources("connect ws://127.0.0.1:1").is_some());
        assert!(sources("echo ws://127.0.0.1:1 --connections 28001").is_some());
    }
}
