//! Options in a TOML file: a key for each, with the name of its flag.

use std::{
    fs::File,
    io::Read,
    ops::{Range, RangeInclusive},
};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    sources::{Given, Origin, Value, give, nearest},
    table::{self, CONFIG, Entry, Set},
};

/// What a file may have, so that one that never ends is not read to its end.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// The key of what differs by topic, and how many there may be: the library's limits.
const TOPICS: &str = "topics";
const TOPICS_MAX: usize = 64;
const PREFIX_BYTES: RangeInclusive<usize> = 1..=255;

/// Reads the file that this value of `--config` names.
pub fn read(config: &Value) -> Result<InFile, String> {
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

    fn origin(self, value: &Spanned<DeValue<'_>>, key: &str) -> Origin {
        let line = self.line(value.span());
        Origin::File { path: self.path.to_owned(), line, key: key.to_owned() }
    }

    fn refuse(self, at: Range<usize>, why: &str) -> String {
        format!("{}:{}: {}", self.path, self.line(at), why.replace('\n', " "))
    }
}

/// What a file gives.
#[derive(Debug, Default)]
pub struct InFile {
    pub given: Given,
    pub topics: Vec<Topics>,
}

/// What is given for topics with names that begin with a prefix: `[[topics]]`.
#[derive(Debug, PartialEq, Eq)]
pub struct Topics {
    pub prefix: String,
    pub origin: Origin,
    given: Given,
}

impl Topics {
    pub fn values(&self, entry: &Entry) -> &[Value] {
        self.given.get(entry.name).map_or(&[], Vec::as_slice)
    }

    /// Where one of these options is given, if one is.
    pub fn origin_of(&self, names: &[&str]) -> Option<&Origin> {
        names.iter().find_map(|name| self.given.get(*name)?.first()).map(|value| &value.origin)
    }
}

/// Reads what the file of this name has in it.
pub fn of_text(path: &str, text: &str) -> Result<InFile, String> {
    let source = Source { path, text };
    let parsed = DeTable::parse(text)
        .map_err(|error| source.refuse(error.span().unwrap_or_default(), error.message()))?;
    let mut file = InFile::default();
    for (key, value) in in_order(parsed.get_ref()) {
        let name: &str = key.get_ref();
        if name == CONFIG {
            let why = "config is for the command line, not for the file";
            return Err(source.refuse(key.span(), why));
        }
        if name == TOPICS {
            file.topics = of_topics(source, value)?;
            continue;
        }
        let Some(entry) = table::all().find(|entry| entry.name == name) else {
            let names = table::all().map(|entry| entry.name).chain([TOPICS]);
            let near = nearest(name, names).map(|it| format!(": {it} is near"));
            let why = format!("no option is called {name:?}{}", near.unwrap_or_default());
            return Err(source.refuse(key.span(), &why));
        };
        take_all(source, &mut file.given, entry, value)?;
    }
    Ok(file)
}

/// The entries of a table as they stand: what is wrong first is said.
fn in_order<'a, 'i>(
    table: &'a DeTable<'i>,
) -> impl Iterator<Item = (&'a Spanned<DeString<'i>>, &'a Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries.into_iter()
}

fn of_topics(source: Source<'_>, value: &Spanned<DeValue<'_>>) -> Result<Vec<Topics>, String> {
    let DeValue::Array(items) = value.get_ref() else {
        let why = format!("topics is {}, and to be tables: [[topics]]", kind(value.get_ref()));
        return Err(source.refuse(value.span(), &why));
    };
    let mut topics: Vec<Topics> = Vec::new();
    for item in items.iter() {
        if topics.len() == TOPICS_MAX {
            let why = format!("more [[topics]] than topic_prefixes_max = {TOPICS_MAX}");
            return Err(source.refuse(item.span(), &why));
        }
        let DeValue::Table(table) = item.get_ref() else {
            let why =
                format!("topics has {}, and is to have tables: [[topics]]", kind(item.get_ref()));
            return Err(source.refuse(item.span(), &why));
        };
        let of_these = of_prefix(source, item.span(), table)?;
        if topics.iter().any(|it| it.prefix == of_these.prefix) {
            return Err(format!("{}: there are two of {:?}", of_these.origin, of_these.prefix));
        }
        topics.push(of_these);
    }
    Ok(topics)
}

/// Reads one `[[topics]]`.
fn of_prefix(source: Source<'_>, at: Range<usize>, table: &DeTable<'_>) -> Result<Topics, String> {
    let (mut prefix, mut given) = (None, Given::new());
    for (key, value) in in_order(table) {
        let name: &str = key.get_ref();
        let entry = table::all().find(|entry| entry.by_topic && entry.name == name);
        match (name, value.get_ref(), entry) {
            ("prefix", DeValue::String(text), _) if PREFIX_BYTES.contains(&text.len()) => {
                let origin = source.origin(value, "prefix");
                prefix = Some((text.clone().into_owned(), origin));
            }
            ("prefix", _, _) => {
                let (least, most) = PREFIX_BYTES.into_inner();
                let why =
                    format!("prefix is the beginning of names of topics: {least} to {most} bytes");
                return Err(source.refuse(value.span(), &why));
            }
            (_, _, Some(entry)) => take_all(source, &mut given, entry, value)?,
            (_, _, None) => {
                let names = table::all().filter(|entry| entry.by_topic).map(|entry| entry.name);
                let names: Vec<_> = ["prefix"].into_iter().chain(names).collect();
                let why = format!(
                    "[[topics]] has no {name:?}, but {}; what is for all stands above the first one",
                    names.join(", ")
                );
                return Err(source.refuse(key.span(), &why));
            }
        }
    }
    let Some((prefix, origin)) = prefix else {
        let why = "[[topics]] has a prefix, as in prefix = \"chat/\"";
        return Err(source.refuse(at, why));
    };
    Ok(Topics { prefix, origin, given })
}

/// Takes the value of an option, or each of its values.
fn take_all(
    source: Source<'_>,
    given: &mut Given,
    entry: &'static Entry,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), String> {
    match value.get_ref() {
        DeValue::Array(items) if entry.repeats => {
            items.iter().try_for_each(|item| take(source, given, entry, item))
        }
        _ => take(source, given, entry, value),
    }
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
    let origin = source.origin(value, entry.name);
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
