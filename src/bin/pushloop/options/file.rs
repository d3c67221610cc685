//! Options in a TOML file: a key for each, with the name of its flag.

use std::{fs::File, io::Read, ops::Range};

use toml::{Spanned, de::DeTable, de::DeValue};

use super::{
    sources::{Given, Origin, Value, give, near},
    table::{self, CONFIG, Entry, Set},
};

/// What a file may have, so that one that never ends is not read to its end.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Reads the file that this value of `--config` names.
pub fn read(config: &Value) -> Result<Given, String> {
    let named = config.text.display();
    let fails = |why: &str| format!("{}: cannot read {named}: {why}", config.origin);
    let mut bytes = Vec::new();
    File::open(&config.text)
        .and_then(|file| file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| fails(&error.to_string()))?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(fails(&format!("it is longer than config_bytes_max = {CONFIG_BYTES_MAX}")));
    }
    let text = str::from_utf8(&bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{named}:{line}: it is not UTF-8")
    })?;
    of_text(&named.to_string(), text)
}

/// A text, and how it is called.
#[derive(Clone, Copy)]
struct Source<'a> {
    path: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn line(self, at: Range<usize>) -> usize {
        self.text.bytes().take(at.start).filter(|byte| *byte == b'\n').count() + 1
    }

    fn refuse(self, at: Range<usize>, why: &str) -> String {
        format!("{}:{}: {}", self.path, self.line(at), why.replace('\n', " "))
    }
}

/// Reads what the file of this name has in it.
pub fn of_text(path: &str, text: &str) -> Result<Given, String> {
    let source = Source { path, text };
    let parsed = DeTable::parse(text)
        .map_err(|error| source.refuse(error.span().unwrap_or_default(), error.message()))?;
    let mut entries: Vec<_> = parsed.get_ref().iter().collect();
    // What is wrong first is said.
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut given = Given::new();
    for (key, value) in entries {
        let name: &str = key.get_ref();
        if name == CONFIG {
            return Err(
                source.refuse(key.span(), "config is for the command line, not for the file")
            );
        }
        let Some(entry) = table::all().find(|entry| entry.name == name) else {
            let near = near(name, |entry| entry.name.to_owned());
            return Err(source.refuse(key.span(), &format!("no option is called {name:?}{near}")));
        };
        match value.get_ref() {
            DeValue::Array(items) if entry.repeats => {
                items.iter().try_for_each(|item| take(source, &mut given, entry, item))?;
            }
            _ => take(source, &mut given, entry, value)?,
        }
    }
    Ok(given)
}

/// Takes one value, which is of the type that the option has.
fn take(
    source: Source<'_>,
    given: &mut Given,
    entry: &'static Entry,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), String> {
    let text = match (value.get_ref(), entry.set) {
        (DeValue::Boolean(on), Set::Switch(_)) => Some(on.to_string()),
        (DeValue::Integer(number), Set::Number(_)) => {
            let decimal = i128::from_str_radix(number.as_str(), number.radix());
            Some(decimal.map_or_else(|_| number.to_string(), |it| it.to_string()))
        }
        (DeValue::String(text), Set::Text(_) | Set::File(_) | Set::Made(_)) => {
            Some(text.clone().into_owned())
        }
        _ => None,
    };
    let line = source.line(value.span());
    let origin = Origin::File { path: source.path.to_owned(), line, key: entry.name.to_owned() };
    let Some(text) = text else {
        let found = kind(value.get_ref());
        return Err(format!("{origin}: it is {found}, and to be {}", entry.in_file()));
    };
    give(given, entry, Value { text: text.into(), origin })
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
