//! `pushloop token make` and `pushloop token check`: tokens from a shell.

use std::{
    ffi::OsString,
    fmt::Write as _,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use pushloop::{Mio, Net};
use serde_json::{Map, Value as Json, json};

use crate::{
    auth::{Action, Invalid, Policy, Principal, Unverified, Verifier, secret, sign},
    client::Asked,
    gate::{KeyFile, TokenOptions, read},
    key_sets::{Source, fetch},
    options::value,
};

const USAGE: &str = "\
Makes and explains tokens (JWT), which say who may subscribe and publish.

Usage: pushloop token make --secret-file FILE --expires-in SECONDS [OPTIONS]
       pushloop token check [OPTIONS] TOKEN, or - for one on standard input

Options of make, which prints a token signed with HS256:
  --secret-file FILE     the secret, of at least 32 bytes, that the server has as --jwt-secret-file
  --expires-in SECONDS   when it ends
  --sub NAME             for whom it is: the member's id, where the server tells who subscribes
  --info JSON            what others are told of the member
  --subscribe PATTERN    a topic, 'chat/*' for all that begins so, or '*'; may be repeated
  --publish PATTERN      the same; neither means topics that begin with $, private- or presence-,
                         unless it begins so itself
  --issuer NAME, --audience NAME   what the server expects as --jwt-issuer and --jwt-audience

Options of check, which says what the token has and whether the server would take it:
  --jwt-secret-file FILE, --jwt-public-key-file FILE, --jwks FILE, --jwks-url URL,
  --backend-ca FILE, --jwt-issuer NAME, --jwt-audience NAME    as those of the server
  --subscribe TOPIC, --publish TOPIC   say whether the token allows it; may be repeated
  --help

check ends with 0 if the token is good and allows all that was asked. Wrong usage ends with 2.
";

/// How long it is waited for a key set.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, PartialEq, Eq)]
pub enum Token {
    Make { secret: PathBuf, expires_in: Duration, claims: Map<String, Json> },
    Check { token: String, options: Box<TokenOptions>, asked: Vec<(Action, String)> },
}

/// Reads the arguments. The error is one line for whoever typed them.
pub fn parse(mut arguments: Vec<OsString>) -> Result<Asked<Token>, String> {
    let command = if arguments.is_empty() { None } else { Some(arguments.remove(0)) };
    match command.as_ref().and_then(|command| command.to_str()) {
        Some("make") => parse_make(arguments),
        Some("check") => parse_check(arguments),
        Some("--help" | "-h") => Ok(Asked::Help(USAGE)),
        _ => Err("token is make or check".to_owned()),
    }
}

fn parse_make(arguments: Vec<OsString>) -> Result<Asked<Token>, String> {
    use lexopt::prelude::*;

    let text = |text: &str| Ok(Json::from(text));
    let (mut secret, mut expires_in, mut claims) = (None, None, Map::new());
    let (mut subscribe, mut publish) = (Vec::new(), Vec::new());
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("secret-file") => secret = Some(file(&mut parser)?),
            Long("expires-in") => expires_in = Some(value(&mut parser, seconds)?),
            Long("sub") => drop(claims.insert("sub".to_owned(), value(&mut parser, text)?)),
            Long("issuer") => drop(claims.insert("iss".to_owned(), value(&mut parser, text)?)),
            Long("audience") => drop(claims.insert("aud".to_owned(), value(&mut parser, text)?)),
            Long("info") => drop(claims.insert("info".to_owned(), value(&mut parser, info)?)),
            Long("subscribe") => subscribe.push(value(&mut parser, text)?),
            Long("publish") => publish.push(value(&mut parser, text)?),
            Long("help") | Short('h') => return Ok(Asked::Help(USAGE)),
            _ => return Err(argument.unexpected().to_string()),
        }
    }
    for (name, patterns) in [("subscribe", subscribe), ("publish", publish)] {
        if !patterns.is_empty() {
            claims.insert(name.to_owned(), patterns.into());
        }
    }
    let secret = secret.ok_or("token make needs --secret-file FILE")?;
    let expires_in = expires_in.ok_or("token make needs --expires-in SECONDS")?;
    Ok(Asked::Run(Token::Make { secret, expires_in, claims }))
}

fn parse_check(arguments: Vec<OsString>) -> Result<Asked<Token>, String> {
    use lexopt::prelude::*;

    let text = |text: &str| Ok(text.to_owned());
    let key_file = |text: &str| Ok(KeyFile::parse(text));
    let (mut token, mut options, mut asked) = (None, TokenOptions::default(), Vec::new());
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Value(text) if token.is_none() => token = Some(text),
            Long("jwt-secret-file") => options.secrets.push(file(&mut parser)?),
            Long("jwt-public-key-file") => options.public_keys.push(value(&mut parser, key_file)?),
            Long("jwks") => options.key_sets.push(value(&mut parser, key_file)?),
            Long("jwks-url") => options.fetched.add(value(&mut parser, Source::parse)?)?,
            Long("backend-ca") => options.fetched.authorities = Some(file(&mut parser)?),
            Long("jwt-issuer") => options.issuers.push(value(&mut parser, text)?),
            Long("jwt-audience") => options.audiences.push(value(&mut parser, text)?),
            Long("subscribe") => asked.push((Action::Subscribe, value(&mut parser, text)?)),
            Long("publish") => asked.push((Action::Publish, value(&mut parser, text)?)),
            Long("help") | Short('h') => return Ok(Asked::Help(USAGE)),
            _ => return Err(argument.unexpected().to_string()),
        }
    }
    let token = token.ok_or("token check needs a TOKEN, or - for standard input")?;
    let token = token.into_string().map_err(|_| "the token is no text".to_owned())?;
    Ok(Asked::Run(Token::Check { token, options: options.into(), asked }))
}

fn file(parser: &mut lexopt::Parser) -> Result<PathBuf, String> {
    Ok(parser.value().map_err(|error| error.to_string())?.into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<u32>().map_err(|_| format!("'{text}' is no number of seconds"))?;
    Ok(Duration::from_secs(seconds.into()))
}

fn info(text: &str) -> Result<Json, String> {
    text.parse().map_err(|error| format!("'{text}' is no JSON: {error}"))
}

/// Makes or explains a token. The error is still to say.
pub fn run(token: &Token) -> Result<ExitCode, String> {
    // The loop's own: no other is read.
    let clock = Mio::new().ok().and_then(|mio| mio.wall_clock());
    let now = clock.and_then(|now| now.duration_since(UNIX_EPOCH).ok());
    let now = now.ok_or("the time of day is not known")?;
    let (said, is_good) = match token {
        Token::Make { secret, expires_in, claims } => {
            (make(secret, claims.clone(), now, *expires_in)?, true)
        }
        Token::Check { token, options, asked } => {
            let (mut verifier, mut left_out) = options.verifier()?;
            for source in &options.fetched.sources {
                let (keys, others) = fetch(source, FETCH_TIMEOUT, options.fetched.trust(source)?)?;
                verifier.keys.extend(keys);
                left_out.extend(others.into_iter().map(|why| format!("{source}: {why}")));
            }
            left_out.iter().for_each(|what| crate::logs::say(crate::logs::Level::Warn, what));
            let verifier = options.has_keys().then_some(verifier);
            explain(&given(token)?, verifier, asked, now)
        }
    };
    print!("{said}");
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn make(
    path: &Path,
    mut claims: Map<String, Json>,
    now: Duration,
    expires_in: Duration,
) -> Result<String, String> {
    let key = read(path, secret)?;
    claims.insert("exp".to_owned(), json!((now + expires_in).as_secs()));
    let audiences = claims.get("aud").and_then(Json::as_str).map(str::to_owned);
    let token = sign(&claims.into(), &key).ok_or("this key cannot sign")?;
    // What the server would refuse is not made.
    let (keys, audiences) = (vec![key], audiences.into_iter().collect());
    let verifier = Verifier { keys, audiences, ..Verifier::default() };
    verifier.verify(&token, now).map_err(|invalid| invalid.why)?;
    Ok(format!("{token}\n"))
}

/// The token, or what standard input has.
fn given(token: &str) -> Result<String, String> {
    if token != "-" {
        return Ok(token.to_owned());
    }
    let mut input = String::new();
    // Beyond any limit, it is too long all the same.
    let read = io::stdin().lock().take(1 << 20).read_to_string(&mut input);
    read.map_err(|error| format!("standard input: {error}"))?;
    Ok(input.trim_end().to_owned())
}

/// What there is to say of a token, and whether it is good and allows what is asked.
fn explain(
    token: &str,
    verifier: Option<Verifier>,
    asked: &[(Action, String)],
    now: Duration,
) -> (String, bool) {
    let mut said = String::new();
    if let Err(Invalid { why, .. }) = describe(&mut said, token, now) {
        let _ = writeln!(said, "verdict: refused: {why}");
        return (said, false);
    }
    let Some(verifier) = verifier else {
        said += "verdict: not verified: give a key, as --jwt-secret-file FILE\n";
        return (said, false);
    };
    let who = match verifier.verify(token, now) {
        Ok(claims) => Principal::Token(Arc::new(claims)),
        Err(Invalid { why, .. }) => {
            let _ = writeln!(said, "verdict: refused: {why}");
            return (said, false);
        }
    };
    said += "verdict: good\n";
    let policy = Policy { is_guarded: true, ..Policy::default() };
    let mut is_good = true;
    for (action, topic) in asked {
        let name = match action {
            Action::Subscribe => "subscribe",
            Action::Publish => "publish",
        };
        let verdict = policy.may(&who, *action, topic);
        is_good &= verdict.is_ok();
        let verdict =
            verdict.map_or_else(|denied| format!("no: {}", denied.why()), |()| "yes".into());
        let _ = writeln!(said, "{name} {topic}: {verdict}");
    }
    (said, is_good)
}

fn describe(said: &mut String, token: &str, now: Duration) -> Result<(), Invalid> {
    let unverified = Unverified::read(token)?;
    let header = &unverified.header;
    let id = header.key_id.as_ref().map(|id| format!(", kid {id:?}")).unwrap_or_default();
    let _ = writeln!(said, "header: alg {:?}{id}", header.algorithm);
    let claims = unverified.claims()?;
    let end = claims.get("exp").and_then(Json::as_f64);
    let _ = writeln!(said, "claims: {}", Json::from(claims));
    if let Some(end) = end {
        let left = end - now.as_secs_f64();
        let when =
            if left > 0.0 { format!("in {left:.0} s") } else { format!("{:.0} s ago", -left) };
        let _ = writeln!(said, "expires: {when}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked<Token>, String> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for line in [
            "",
            "mkae",
            "make",
            "make --secret-file f",
            "make --expires-in 1",
            "make --secret-file f --expires-in -1",
            "make --secret-file f --expires-in 1 x",
            "make --secret-file f --expires-in 1 --info {",
            "check",
            "check a b",
            "check a --expires-in 1",
        ] {
            let error = parsed(line).unwrap_err();
            assert!(!error.is_empty() && !error.contains('\n'), "{line}: {error}");
        }
    }

    #[test]
    fn its_help_is_one_screen_and_wins() {
        for line in ["--help", "make -h", "check x --help"] {
            let Ok(Asked::Help(usage)) = parsed(line) else { panic!("no help: {line}") };
            assert!(usage.lines().count() < 40);
            assert!(usage.lines().all(|line| line.chars().count() <= 100));
        }
    }

    #[test]
    fn a_token_that_the_server_would_refuse_is_not_made() {
        let path = std::env::temp_dir().join(format!("pushloop-secret-{}", std::process::id()));
        std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").expect("it is written");
        let made = |name: &str, value: Json| {
            let claims = Map::from_iter([(name.to_owned(), value)]);
            make(&path, claims, Duration::from_secs(1_000), Duration::from_secs(10))
        };
        assert!(made("sub", json!("ada")).is_ok_and(|token| token.ends_with('\n')));
        assert!(made("subscribe", json!(["a*b"])).unwrap_err().contains("subscribe"));
        assert!(made("info", json!("x".repeat(1024))).unwrap_err().contains("info_bytes_max"));
        std::fs::remove_file(path).expect("it is there");
    }
}
