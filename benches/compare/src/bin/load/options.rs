//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use lexopt::{Parser, prelude::*};
use rustls::ClientConfig;

use crate::stream;

pub const USAGE: &str = "\
Loads a WebSocket server on loopback, and checks every byte that comes back.

Usage: load echo|fan|connect|idle ws[s]://ADDRESS:PORT/PATH [OPTIONS]

  echo      each message comes back to its sender
  fan       what is published on PATH comes to every connection there
  connect   connects, shakes hands, closes and begins again
  idle      opens connections and leaves them alone: the server's memory for each (needs --pid)

Options:
  --connections N     connections, or how many are being made at once for connect [32]
  --payload BYTES     of each message [20]
  --in-flight N       how many messages of a connection, or publications of a publisher, are under
                      way at once [1]
  --publishers 1|all  which connections publish, for fan [1]
  --rate R            instead of --in-flight, for echo: R messages a second over all connections,
                      each at its time, however late the answers are; latencies count from that time
  --seconds S         how long it is measured [5]
  --warmup S          how long it runs before that [1]
  --deflate           offer permessage-deflate, and send text that compresses
  --raw               the other side is `raw`: what comes back is what was sent, masks and all
  --authority FILE    for wss://: what certifies the server (PEM)
  --resume            resume sessions of TLS: all but those of the connections that come first
  --pid PID           the server's process: its CPU time and memory
  --sleep             sleep until something comes, instead of asking again and again
  --help
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Echo,
    Fan,
    Connect,
    Idle,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub mode: Mode,
    pub address: SocketAddr,
    pub path: String,
    pub connections: usize,
    pub payload: usize,
    pub in_flight: u64,
    pub all_publish: bool,
    pub rate: Option<f64>,
    pub seconds: Duration,
    pub warmup: Duration,
    pub deflate: bool,
    pub raw: bool,
    pub pid: Option<u32>,
    pub sleep: bool,
    /// For `wss://`.
    pub tls: Option<Arc<ClientConfig>>,
    pub resume: bool,
}

/// Reads the arguments; `None` asks for help. The error is one line for whoever typed them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, String> {
    let mut parser = Parser::from_args(arguments);
    let mut words: Vec<String> = Vec::new();
    let mut options = Options {
        mode: Mode::Echo,
        address: ([127, 0, 0, 1], 0).into(),
        path: String::new(),
        connections: 32,
        payload: 20,
        in_flight: 1,
        all_publish: false,
        rate: None,
        seconds: Duration::from_secs(5),
        warmup: Duration::from_secs(1),
        deflate: false,
        raw: false,
        pid: None,
        sleep: false,
        tls: None,
        resume: false,
    };
    let mut authority: Option<PathBuf> = None;
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Value(word) => words.push(word.to_string_lossy().into()),
            Long("connections") => options.connections = value(&mut parser)?,
            Long("payload") => options.payload = value(&mut parser)?,
            Long("in-flight") => options.in_flight = value(&mut parser)?,
            Long("publishers") => options.all_publish = value::<String>(&mut parser)? == "all",
            Long("rate") => options.rate = Some(value(&mut parser)?),
            Long("seconds") => options.seconds = seconds(&mut parser)?,
            Long("warmup") => options.warmup = seconds(&mut parser)?,
            Long("deflate") => options.deflate = true,
            Long("raw") => options.raw = true,
            Long("pid") => options.pid = Some(value(&mut parser)?),
            Long("sleep") => options.sleep = true,
            Long("authority") => authority = Some(value::<String>(&mut parser)?.into()),
            Long("resume") => options.resume = true,
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
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    options.tls = match (scheme, authority) {
        ("ws", None) => None,
        ("wss", Some(authority)) => Some(stream::config(&authority, options.resume)?),
        ("ws" | "wss", _) => return Err("wss:// goes with --authority, and ws:// without".into()),
        _ => return Err(format!("not a ws:// or wss:// URL: {url}")),
    };
    let (address, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    options.address = address.parse().map_err(|error| format!("{address}: {error}"))?;
    options.path = path.into();
    fits_together(&options).map(|()| Some(options))
}

fn fits_together(options: &Options) -> Result<(), String> {
    let Options { mode, all_publish, deflate, rate, .. } = *options;
    let wrong = [
        (options.connections == 0 || options.in_flight == 0, "there is at least one of each"),
        (options.raw && deflate, "--raw compresses nothing: it goes without --deflate"),
        (all_publish && deflate, "--deflate is for fan with one publisher"),
        (
            all_publish && options.payload < crate::crowd::PAYLOAD_MIN,
            "--publishers all needs a payload of at least 8 bytes, to tell them apart",
        ),
        (rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)), "no rate"),
        (rate.is_some() && mode != Mode::Echo, "--rate is for echo"),
        (options.resume && options.tls.is_none(), "--resume is for wss://"),
        (options.resume && mode != Mode::Connect, "--resume is for connect"),
        (mode == Mode::Idle && options.pid.is_none(), "idle needs --pid"),
    ];
    wrong.iter().find(|(is_wrong, _)| *is_wrong).map_or(Ok(()), |(_, why)| Err((*why).into()))
}

fn value<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    parser: &mut Parser,
) -> Result<T, String> {
    parser.value().and_then(|value| value.parse()).map_err(|error| error.to_string())
}

fn seconds(parser: &mut Parser) -> Result<Duration, String> {
    Duration::try_from_secs_f64(value(parser)?).map_err(|error| error.to_string())
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
             --in-flight 4 --seconds 0.5 --warmup 0 --pid 7",
        );
        let options = options.unwrap().unwrap();
        assert_eq!((options.mode, options.all_publish, options.pid), (Mode::Fan, true, Some(7)));
        assert_eq!(options.address, "127.0.0.1:9001".parse().unwrap());
        assert_eq!((options.path.as_str(), options.connections), ("/fan", 500));
        assert_eq!((options.payload, options.in_flight), (32, 4));
        assert_eq!((options.seconds, options.warmup), (Duration::from_millis(500), Duration::ZERO));
        let paced = parsed("echo ws://127.0.0.1:9001 --rate 1e4").unwrap().unwrap();
        assert_eq!((paced.rate, paced.path.as_str()), (Some(1e4), "/"));
        assert!(parsed("--help").unwrap().is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["", "echo", "sing ws://127.0.0.1:1", "echo http://127.0.0.1:1", "echo ws://x"]
        {
            assert!(parsed(line).is_err(), "{line}");
        }
        for (mode, options) in [
            ("echo", "more"),
            ("echo", "--connections 0"),
            ("echo", "--rate 0"),
            ("echo", "--rate nan"),
            ("echo", "--seconds -1"),
            ("echo", "--raw --deflate"),
            ("fan", "--rate 1"),
            ("fan", "--publishers all --payload 7"),
            ("fan", "--publishers all --deflate"),
            ("idle", ""),
            ("echo", "--authority x"),
            ("connect", "--resume"),
        ] {
            assert!(parsed(&format!("{mode} ws://127.0.0.1:1 {options}")).is_err(), "{options}");
        }
        for line in ["", "--authority /nobody's", "--authority Cargo.toml"] {
            assert!(parsed(&format!("echo wss://127.0.0.1:1 {line}")).is_err(), "{line}");
        }
    }
}
