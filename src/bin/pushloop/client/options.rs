//! The command lines of `publish` and `subscribe`.

use std::{ffi::OsString, num::NonZero, os::unix::ffi::OsStringExt, path::PathBuf, time::Duration};

use super::{Asked, url::Url};
use crate::options::value;

pub const PUBLISH_USAGE: &str = "\
Publishes to a topic of a pushloop server.

Usage: pushloop publish [OPTIONS] URL [MESSAGE]

URL is http://HOST:PORT/TOPIC. Without MESSAGE, each line of standard input is a publication of its
own, without its line end. They are published one after another, in order.

Options:
  --binary     all of standard input is one publication, of bytes
  --key KEY    send KEY as Idempotency-Key, for lines KEY-1, KEY-2 and so on; and when the
               connection is lost, send what was not answered again
  --token-file FILE   send the token or the publish key in FILE, or that of PUSHLOOP_TOKEN
  --verbose    print what the server answers
  --help

It ends with 1 if a publication was refused, or is not known to be published because the connection
was lost; standard error says which. Wrong usage ends with 2.
";

pub const SUBSCRIBE_USAGE: &str = "\
Prints what is published to topics of a pushloop server, a line each.

Usage: pushloop subscribe [OPTIONS] URL

URL is ws://HOST:PORT/TOPIC or ws://HOST:PORT/TOPIC,TOPIC. When the connection is lost, it connects
again and goes on behind the last publication that came. Standard error says so, and also if that is
more than the server has kept.

Options:
  --json         print the server's envelopes: JSON objects with the topic, the id and the data
  --raw          print publications of bytes as they are and without a line end, not in base64
  --count N      end after N publications
  --last N       begin with the last N publications of each topic
  --after ID     begin behind the publication with this id; for several topics, repeat it in the
                 order of the URL, with '' for those that begin with what is new
  --token-file FILE   send the token in FILE, read for each connection, or that of PUSHLOOP_TOKEN
  --help

It ends with 1 if it cannot connect at first, or is refused. Wrong usage ends with 2.
";

/// The shortest wait before the first attempt to connect again.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The server pings more than twice in that time.
const SILENCE: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq, Eq)]
pub struct Publish {
    pub url: Url,
    pub input: Input,
    pub key: Option<String>,
    pub is_verbose: bool,
    pub token_file: Option<PathBuf>,
    pub retry_first: Duration,
}

/// What is published.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    Message(Vec<u8>),
    /// The lines of standard input.
    Lines,
    /// Standard input, as one publication of bytes.
    Binary,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Subscribe {
    pub url: Url,
    pub output: Output,
    pub count: Option<NonZero<u64>>,
    pub start: Start,
    pub token_file: Option<PathBuf>,
    pub retry_first: Duration,
    pub silence: Duration,
}

/// How publications are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Text as it is, bytes in base64.
    Lines,
    /// All as it is.
    Raw,
    /// The envelopes.
    Json,
}

/// What the first connection asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    /// What is new, or what is behind these ids: one for each of the first topics, or an empty one.
    After(Vec<String>),
    Last(u64),
}

/// Reads the arguments of `publish`. The error is one line for whoever typed them.
pub fn publish(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked<Publish>, String> {
    use lexopt::prelude::*;

    let (mut url, mut message, mut key, mut token_file) = (None, None, None, None);
    let (mut is_binary, mut is_verbose, mut retry_first) = (false, false, RETRY_FIRST);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Value(text) if url.is_none() => url = Some(read_url(text)?),
            Value(text) if message.is_none() => message = Some(text.into_vec()),
            Long("binary") => is_binary = true,
            Long("key") => key = Some(value(&mut parser, idempotency_key)?),
            Long("verbose") => is_verbose = true,
            Long("token-file") => token_file = Some(path(&mut parser)?),
            // For tests, which wait for nothing.
            Long("retry-first-ms") => retry_first = value(&mut parser, milliseconds)?,
            Long("help") | Short('h') => return Ok(Asked::Help(PUBLISH_USAGE)),
            _ => return Err(argument.unexpected().to_string()),
        }
    }
    let url = url.ok_or("publish needs a URL, as in http://127.0.0.1:9001/scores")?;
    let input = match (message, is_binary) {
        (Some(message), false) => Input::Message(message),
        (None, false) => Input::Lines,
        (None, true) => Input::Binary,
        (Some(_), true) => return Err("--binary is for standard input, not for MESSAGE".to_owned()),
    };
    Ok(Asked::Run(Publish { url, input, key, is_verbose, token_file, retry_first }))
}

/// Reads the arguments of `subscribe`. The error is one line for whoever typed them.
pub fn subscribe(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Asked<Subscribe>, String> {
    use lexopt::prelude::*;

    let (mut url, mut count, mut last, mut after) = (None, None, None, Vec::new());
    let mut token_file = None;
    let (mut is_json, mut is_raw) = (false, false);
    let (mut retry_first, mut silence) = (RETRY_FIRST, SILENCE);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Value(text) if url.is_none() => url = Some(read_url(text)?),
            Long("json") => is_json = true,
            Long("raw") => is_raw = true,
            Long("count") => count = Some(value(&mut parser, number)?),
            Long("last") => last = Some(value(&mut parser, number::<u64>)?),
            Long("after") => after.push(value(&mut parser, id)?),
            Long("token-file") => token_file = Some(path(&mut parser)?),
            // For tests, which wait for nothing.
            Long("retry-first-ms") => retry_first = value(&mut parser, milliseconds)?,
            Long("silence-ms") => silence = value(&mut parser, milliseconds)?,
            Long("help") | Short('h') => return Ok(Asked::Help(SUBSCRIBE_USAGE)),
            _ => return Err(argument.unexpected().to_string()),
        }
    }
    let url = url.ok_or("subscribe needs a URL, as in ws://127.0.0.1:9001/scores")?;
    let output = match (is_json, is_raw) {
        (false, false) => Output::Lines,
        (false, true) => Output::Raw,
        (true, false) => Output::Json,
        (true, true) => return Err("--json and --raw exclude each other".to_owned()),
    };
    // They would be asked for again with each connection.
    if ["after", "last", "envelope"].iter().any(|name| url.has_in_query(name)) {
        return Err("what to begin with is not for the URL: see --after and --last".to_owned());
    }
    if after.len() > url.topics().len() {
        return Err("--after is given more often than the URL has topics".to_owned());
    }
    let start = match last {
        Some(_) if !after.is_empty() => {
            return Err("--last and --after exclude each other".to_owned());
        }
        Some(last) => Start::Last(last),
        None => Start::After(after),
    };
    Ok(Asked::Run(Subscribe { url, output, count, start, token_file, retry_first, silence }))
}

fn path(parser: &mut lexopt::Parser) -> Result<PathBuf, String> {
    Ok(parser.value().map_err(|error| error.to_string())?.into())
}

fn read_url(text: OsString) -> Result<Url, String> {
    let text = text.into_string().map_err(|text| format!("{} is no URL", text.display()))?;
    Url::parse(&text)
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("'{value}' is no number of publications"))
}

fn milliseconds(value: &str) -> Result<Duration, String> {
    let milliseconds = value.parse::<NonZero<u32>>();
    let milliseconds = milliseconds.map_err(|_| format!("'{value}' is no number"))?;
    Ok(Duration::from_millis(milliseconds.get().into()))
}

fn idempotency_key(value: &str) -> Result<String, String> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(value.to_owned());
    }
    Err(format!("'{value}' is no key: visible ASCII, without spaces"))
}

/// An id, of which the server knows what it means.
fn id(value: &str) -> Result<String, String> {
    if value.contains(',') {
        return Err(format!("'{value}' is no id: repeat --after for another topic"));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> impl Iterator<Item = OsString> {
        line.split_whitespace().map(|word| if word == "''" { "".into() } else { word.into() })
    }

    #[test]
    fn what_is_published_is_a_message_or_lines_or_bytes() {
        for (line, expected) in [
            ("http://h/t hello", Input::Message("hello".into())),
            ("http://h/t -- -5", Input::Message("-5".into())),
            ("--verbose http://h/t ''", Input::Message("".into())),
            ("http://h/t --key x", Input::Lines),
            ("http://h/t --binary", Input::Binary),
        ] {
            let parsed = publish(arguments(line));
            let Ok(Asked::Run(options)) = parsed else { panic!("{line}: {parsed:?}") };
            assert_eq!(options.input, expected, "{line}");
        }
    }

    #[test]
    fn a_subscription_begins_with_what_is_new_or_earlier() {
        let after = |ids: &[&str]| Start::After(ids.iter().map(|id| (*id).to_owned()).collect());
        for (line, start, output) in [
            ("ws://h/t", after(&[]), Output::Lines),
            ("ws://h/t --last 3 --json", Start::Last(3), Output::Json),
            ("ws://h/t --after a-1 --raw", after(&["a-1"]), Output::Raw),
            ("ws://h/a,b --after '' --after a&b", after(&["", "a&b"]), Output::Lines),
        ] {
            let parsed = subscribe(arguments(line));
            let Ok(Asked::Run(options)) = parsed else { panic!("{line}: {parsed:?}") };
            assert_eq!((options.start, options.output), (start, output), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let is_one_line = |line: &str, error: String| {
            assert!(!error.is_empty() && !error.contains('\n'), "{line}: {error}");
        };
        for line in [
            "",
            "x",
            "http://h/t a b",
            "http://h/t a --binary",
            "http://h/t --key",
            "http://h/t --key ''",
            "http://h/t --key \u{e9}",
            "http://h/t --jsno",
        ] {
            is_one_line(line, publish(arguments(line)).unwrap_err());
        }
        for line in [
            "",
            "x",
            "ws://h/t a",
            "ws://h/t --json --raw",
            "ws://h/t --count 0",
            "ws://h/t --count x",
            "ws://h/t --last -1",
            "ws://h/t --last 1 --after a",
            "ws://h/t --after a --after b",
            "ws://h/a,b --after a,b",
            "ws://h/t?x=y&after=a",
            "ws://h/t?last=1",
            "ws://h/t --silence-ms 0",
        ] {
            is_one_line(line, subscribe(arguments(line)).unwrap_err());
        }
    }

    #[test]
    fn each_help_is_one_screen_and_wins() {
        let Ok(Asked::Help(publish)) = publish(arguments("--help x")) else { panic!("no help") };
        let Ok(Asked::Help(subscribe)) = subscribe(arguments("ws://h/t -h")) else {
            panic!("no help")
        };
        for usage in [publish, subscribe] {
            assert!(usage.lines().count() < 40);
            assert!(usage.lines().all(|line| line.chars().count() <= 100));
        }
    }
}
