//! The command line.

use std::{ffi::OsString, path::PathBuf};

use crate::{rows::ROWS, servers::SERVERS};

const USAGE: &str = "\
Measures pushloop beside other servers and the limit, all in turn, round after round.

Usage: compare [OPTIONS]

  --quick           one round of short runs, to see that everything works; the numbers are rough
  --rounds N        how often each server is measured in each row [5; with --quick 1]
  --seconds S       how long a run is measured [1; with --quick 0.25]
  --only NAME,..    only these servers
  --rows NAME,..    only these rows, or all whose names begin so
  --from FILE       show what an earlier run found (its file is target/compare/results.json)
  --write           put the table into docs/BENCHMARKS.md and the charts into docs/images
  --help
";

#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub quick: bool,
    pub write: bool,
    pub only: Vec<String>,
    pub rows: Vec<String>,
    pub rounds: usize,
    pub seconds: f64,
    pub warmup: f64,
    pub idle_connections: usize,
    pub from: Option<PathBuf>,
}

pub fn usage() -> String {
    let servers: Vec<_> = SERVERS.iter().map(|server| server.name).collect();
    let rows: Vec<_> =
        ROWS.iter().map(|row| format!("  {:<16}{}\n", row.name, row.title)).collect();
    format!("{USAGE}\nServers: {}\n\nRows:\n{}", servers.join(" "), rows.concat())
}

/// Reads the arguments; `None` asks for help. The error is one line for whoever typed them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, String> {
    use lexopt::{Parser, ValueExt, prelude::*};

    let say = |error: lexopt::Error| error.to_string();
    let list = |parser: &mut Parser| -> Result<Vec<String>, String> {
        let text = parser.value().and_then(|value| value.string()).map_err(say)?;
        Ok(text.split(',').map(str::to_owned).collect())
    };
    let mut parser = Parser::from_args(arguments);
    let (mut quick, mut write, mut from) = (false, false, None);
    let (mut only, mut rows) = (Vec::new(), Vec::new());
    let (mut rounds, mut seconds) = (None, None);
    while let Some(argument) = parser.next().map_err(say)? {
        match argument {
            Long("quick") => quick = true,
            Long("write") => write = true,
            Long("only") => only = list(&mut parser)?,
            Long("rows") => rows = list(&mut parser)?,
            Long("rounds") => rounds = Some(parser.value().and_then(|v| v.parse()).map_err(say)?),
            Long("seconds") => seconds = Some(parser.value().and_then(|v| v.parse()).map_err(say)?),
            Long("from") => from = Some(parser.value().map_err(say)?.into()),
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected().to_string()),
        }
    }
    if let Some(name) = only.iter().find(|name| SERVERS.iter().all(|s| s.name != *name)) {
        return Err(format!("no server is called {name}"));
    }
    if let Some(name) = rows.iter().find(|name| ROWS.iter().all(|r| !r.name.starts_with(*name))) {
        return Err(format!("no row's name begins with {name}"));
    }
    let seconds = seconds.unwrap_or(if quick { 0.25 } else { 1.0 });
    let rounds = rounds.unwrap_or(if quick { 1 } else { 5 });
    if rounds == 0 || !(0.05..=60.0).contains(&seconds) {
        return Err("at least one round, and runs of 0.05 to 60 seconds".into());
    }
    Ok(Some(Options {
        quick,
        write,
        only,
        rows,
        rounds,
        seconds,
        warmup: if quick { 0.1 } else { 0.4 },
        idle_connections: if quick { 1_000 } else { 10_000 },
        from,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Options>, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_line_is_read() {
        let options =
            parsed("--quick --only raw,subject --rows echo --rounds 3 --seconds 2 --write");
        let options = options.unwrap().unwrap();
        assert_eq!(options.only, ["raw", "subject"]);
        assert_eq!((options.rounds, options.seconds, options.write), (3, 2.0, true));
        let options = parsed("").unwrap().unwrap();
        assert_eq!((options.rounds, options.quick, options.from), (5, false, None));
        assert!(parsed("--help").unwrap().is_none());
    }

    #[test]
    fn what_is_not_there_is_refused() {
        for line in ["--only nobody", "--rows nothing", "--rounds 0", "--seconds 0", "more", "--x"]
        {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
