//! Where values of options come from: flags, variables, a file. Each value knows where it stood.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
};

use super::{
    Options,
    table::{self, Entry, Set},
};

const PREFIX: &str = "PUSHLOOP_";

/// Variables of the project's own tests, which a server that they start inherits.
const OF_TESTS: [&str; 3] = ["PUSHLOOP_SEED", "PUSHLOOP_SHIM", "PUSHLOOP_TEST_"];

/// What the commands of a client send, and the server does not read.
const OF_CLIENTS: &str = "PUSHLOOP_TOKEN";

/// Where a value stood. As text, it is what an error begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag(String),
    Variable(String),
    File { path: String, line: usize, key: String },
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, line, key } => write!(f, "{path}:{line}: {key}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value as it was given, which the option takes. A switch has `true` or `false`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub text: OsString,
    pub origin: Origin,
}

/// The values of each option that has some, by its name.
pub type Given = BTreeMap<&'static str, Vec<Value>>;

/// Has the option take the value.
pub fn apply(entry: &Entry, value: &Value, options: &mut Options) -> Result<(), String> {
    let outcome = match entry.set {
        Set::Switch(set) => switch(&value.text).map(|on| set(options, on)),
        Set::Number(set) | Set::Text(set) => text(&value.text).and_then(|text| set(options, text)),
        Set::File(_) | Set::Made(_) if value.text.is_empty() => Err("it is empty".to_owned()),
        Set::File(set) | Set::Made(set) => {
            set(options, (&value.text).into());
            Ok(())
        }
    };
    outcome.map_err(|why| format!("{}: {why}", value.origin))
}

/// Adds a value that the option would take: what another source replaces is looked at as well.
pub fn give(given: &mut Given, entry: &'static Entry, value: Value) -> Result<(), String> {
    apply(entry, &value, &mut Options::default())?;
    given.entry(entry.name).or_default().push(value);
    Ok(())
}

fn switch(value: &OsStr) -> Result<bool, String> {
    match value.to_str() {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err(format!("'{}' is neither true nor false", value.display())),
    }
}

fn text(value: &OsStr) -> Result<&str, String> {
    value.to_str().ok_or_else(|| format!("'{}' is not UTF-8", value.display()))
}

/// What the arguments ask for.
#[derive(Debug)]
pub enum Flags {
    Given(Given),
    Help,
    Version,
}

/// Reads the arguments. Of an option that is no list, the last value is taken.
pub fn of_flags(arguments: impl IntoIterator<Item = OsString>) -> Result<Flags, String> {
    use lexopt::prelude::*;

    let mut given = Given::new();
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        let entry = match argument {
            Long("help") | Short('h') => return Ok(Flags::Help),
            Long("version") | Short('V') => return Ok(Flags::Version),
            Long(name) => table::all().find(|entry| entry.name == name).ok_or_else(|| {
                format!("invalid option '--{name}'{}", near(name, |near| format!("--{near}")))
            })?,
            Short(_) | Value(_) => return Err(argument.unexpected().to_string()),
        };
        let text = if entry.is_switch() {
            parser.optional_value().unwrap_or_else(|| "true".into())
        } else {
            parser.value().map_err(|error| error.to_string())?
        };
        let origin = Origin::Flag(entry.name.to_owned());
        give(&mut given, entry, self::Value { text, origin })?;
    }
    Ok(Flags::Given(given))
}

/// Reads the variables. One that is empty is as good as none; a list has its values between commas or
/// on lines.
pub fn of_environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Given, String> {
    let mut given = Given::new();
    for (name, value) in variables {
        let name = name.to_string_lossy();
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let entry = table::all().find(|entry| rest == capitals(entry.name));
        let Some(entry) = entry else {
            if is_of_others(&name, &value.to_string_lossy()) {
                continue;
            }
            let near = near(rest, |near| format!("{PREFIX}{}", capitals(near)));
            return Err(format!("{name}: no option has this variable{near}"));
        };
        let origin = Origin::Variable(name.into_owned());
        let values = match value.to_str().filter(|_| entry.repeats) {
            Some(list) => list.split([',', '\n']).map(|it| it.trim().into()).collect(),
            None => vec![value],
        };
        for text in values.into_iter().filter(|text: &OsString| !text.is_empty()) {
            give(&mut given, entry, Value { text, origin: origin.clone() })?;
        }
    }
    Ok(given)
}

fn capitals(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// Whether somebody else gives a process variables of this name: Kubernetes tells each of a service that
/// is called `pushloop`, and of one called `pushloop-…`.
fn is_of_others(name: &str, value: &str) -> bool {
    let is_of_service = name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.contains("_PORT") && value.contains("://"))
        || ["_TCP_", "_UDP_", "_SCTP_"]
            .iter()
            .any(|it| name.contains("_PORT_") && name.contains(it));
    is_of_service || name == OF_CLIENTS || OF_TESTS.iter().any(|it| name.starts_with(it))
}

/// What to say of a name that no option has: the nearest that there is, if one is near.
fn near(name: &str, show: impl Fn(&str) -> String) -> String {
    let nearest = nearest(name, table::all().map(|entry| entry.name));
    nearest.map(|it| format!(": {} is near", show(it))).unwrap_or_default()
}

/// The name that is nearest, if one is near.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let (distance, nearest) = names.map(|it| (distance(&name, it), it)).min_by_key(|it| it.0)?;
    (distance <= 2 && distance < nearest.len() / 2).then_some(nearest)
}

/// How many letters are to be put in, left out or replaced to make one name of the other.
fn distance(one: &str, other: &str) -> usize {
    // Of what is longer, nothing is near.
    if one.len().abs_diff(other.len()) > 2 {
        return usize::MAX;
    }
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, c) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, it) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(c != *it);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
