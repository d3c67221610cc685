//! The command line.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use lexopt::{Parser, prelude::*};

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

/// Reads the arguments.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, lexopt::Error> {
    let (mut messages, mut connections, mut seconds, mut calm) =
        (100_000_000, 1_000_000, 86_400, 45);
    let (mut csv, mut svg) = (None, None);
    let mut parser = Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("messages") => messages = parser.value()?.parse()?,
            Long("connections") => connections = parser.value()?.parse()?,
            Long("seconds") => seconds = parser.value()?.parse()?,
            Long("calm") => calm = parser.value()?.parse()?,
            Long("csv") => csv = Some(parser.value()?.into()),
            Long("svg") => svg = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok(Asked::Help),
            Value(word) if word == "serve" => return Ok(Asked::Serve),
            _ => return Err(argument.unexpected()),
        }
    }
    let (seconds, calm) = (Duration::from_secs(seconds), Duration::from_secs(calm));
    Ok(Asked::Soak(Options { messages, connections, seconds, calm, csv, svg }))
}
