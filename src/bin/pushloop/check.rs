//! `pushloop check`: what a server would take, and from where, without a server.

use std::{
    fmt::Write,
    fs::{self, File},
    path::Path,
};

use crate::{
    options::{CONFIG, Entry, Origin, Set, Taken, Value, all, in_one_line},
    tls,
};

/// Looks at the files that are named, and gives all that would be taken: a TOML file, which has it as
/// well.
pub fn check(taken: &Taken) -> Result<String, String> {
    check_contents(taken).map_err(in_one_line)?;
    let mut text = String::new();
    for entry in all() {
        tell(&mut text, entry, taken.values(entry));
    }
    for line in taken.options.tokens.fetched.descriptions() {
        let _ = writeln!(text, "# {line}");
    }
    for topics in taken.topics() {
        let (prefix, origin) = (quoted(&topics.prefix), place(&topics.origin));
        let _ = write!(text, "\n[[topics]]\nprefix = {prefix}  # {origin}\n");
        all().for_each(|entry| tell(&mut text, entry, topics.values(entry)));
    }
    Ok(text)
}

/// Whether what is in the files that are named can be used.
fn check_contents(taken: &Taken) -> Result<(), String> {
    check_files(taken)?;
    taken.options.tokens.read()?;
    taken.options.tokens.fetched.check()?;
    taken.options.hooks.check()?;
    taken.options.broker.check()?;
    tls::of(&taken.options).map_err(|error| format!("cannot use TLS: {error}"))?;
    Ok(())
}

/// Whether files that are named can be used.
pub fn check_files(taken: &Taken) -> Result<(), String> {
    for entry in all() {
        for value in taken.values(entry) {
            check_file(entry, value).map_err(|why| {
                format!("{}: cannot use {}: {why}", value.origin, value.text.display())
            })?;
        }
    }
    Ok(())
}

/// Adds the line of an option that has a value.
fn tell(text: &mut String, entry: &Entry, values: &[Value]) {
    let Some(first) = values.first() else { return };
    // The file does not name itself, and what was not given need not be.
    let is_left_out = entry.name == CONFIG || first.origin == Origin::Default;
    let comment = if is_left_out { "# " } else { "" };
    let shown: Vec<_> = values.iter().map(|value| in_toml(entry, value)).collect();
    let shown = match &shown[..] {
        [value] => value.clone(),
        _ => format!("[{}]", shown.join(", ")),
    };
    let _ = writeln!(text, "{comment}{} = {shown}  # {}", entry.name, place(&first.origin));
}

fn place(origin: &Origin) -> String {
    match origin {
        Origin::File { path, line, .. } => format!("{path}:{line}"),
        Origin::Flag(_) | Origin::Variable(_) | Origin::Default => origin.to_string(),
    }
}

fn check_file(entry: &Entry, value: &Value) -> Result<(), String> {
    let path = Path::new(&value.text);
    match entry.set {
        Set::Switch(_) | Set::Number(_) | Set::Text(_) => Ok(()),
        Set::File(_) => can_be_read(path),
        Set::Made(_) if path.exists() => can_be_read(path),
        Set::Made(_) => {
            let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
            match parent.unwrap_or(Path::new(".")).is_dir() {
                true => Ok(()),
                false => Err("there is no directory for it".to_owned()),
            }
        }
    }
}

fn can_be_read(path: &Path) -> Result<(), String> {
    let kind = fs::metadata(path).map_err(|error| error.to_string())?.file_type();
    if kind.is_dir() {
        return Err("it is a directory".to_owned());
    }
    // A pipe would wait for its writer, and have nothing left for the server.
    if kind.is_file() {
        File::open(path).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The value as the file has it.
fn in_toml(entry: &Entry, value: &Value) -> String {
    let text = value.text.to_string_lossy();
    match (entry.set, text.parse::<u64>()) {
        (Set::Switch(_), _) => text.into_owned(),
        (Set::Number(_), Ok(number)) => number.to_string(),
        (Set::Number(_) | Set::Text(_) | Set::File(_) | Set::Made(_), _) => quoted(&text),
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            c if c.is_control() => write!(quoted, "\\u{:04x}", u32::from(c)),
            c => write!(quoted, "{c}"),
        };
    }
    quoted + "\""
}
