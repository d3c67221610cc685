//! The command line.

use std::{ffi::OsString, path::PathBuf, time::Duration};

pub const USAGE: &str = "\
One server under messages and under connections that end in every way: does anything stay behind?

Usage: soak [OPTIONS]

Options:
  --messages N      echoes and deliveries [100000000]
  --connections N   connections made and ended [1000000]
  --seconds S       an end before both are reached [86400]
  --calm S          how long the server is looked at after everybody has left [45]
  --csv FILE        what was seen each second
  --svg FILE        the same as a chart
  --help

The exit status is 1 if something is left, or if the server's memory over a minute or more has a slope of
1 % or more, which is more than a mebibyte.
";

/// A shorter run has no slope worth the name.
pub const SECONDS_FOR_SLOPE: usize = 60;

#[derive(Debug)]
pub struct Options {
    pub messages: u64,
    pub connections: u64,
    pub seconds: Duration,
    pub calm: Duration,
    pub csv: Option<PathBuf>,
    pub svg: Option<PathBuf>,
}

#[derive(Debug)]
pub enum Asked {
    Soak(Options),
    /// What the program starts itself with.
    Serve,
    Help,
}

/// Reads the arguments. The error is one line for whoever typed them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    use lexopt::prelude::*;

    let mut options = Options {
        messages: 100_000_000,
        connections: 1_000_000,
        seconds: Duration::from_secs(86_400),
        calm: Duration::from_secs(45),
        csv: None,
        svg: None,
    };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("messages") => options.messages = number(&mut parser)?,
            Long("connections") => options.connections = number(&mut parser)?,
            Long("seconds") => options.seconds = Duration::from_secs(number(&mut parser)?),
            Long("calm") => options.calm = Duration::from_secs(number(&mut parser)?),
            Long("csv") => options.csv = Some(file(&mut parser)?),
            Long("svg") => options.svg = Some(file(&mut parser)?),
            Long("help") | Short('h') => return Ok(Asked::Help),
            Value(word) if word == "serve" => return Ok(Asked::Serve),
            _ => return Err(argument.unexpected().to_string()),
        }
    }
    Ok(Asked::Soak(options))
}

fn number(parser: &mut lexopt::Parser) -> Result<u64, String> {
    let value = parser.value().and_then(|value| lexopt::ValueExt::parse(&value));
    value.map_err(|error| error.to_string())
}

fn file(parser: &mut lexopt::Parser) -> Result<PathBuf, String> {
    Ok(parser.value().map_err(|error| error.to_string())?.into())
}
