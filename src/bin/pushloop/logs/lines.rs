//! One event as one line: for people, or as a JSON object. Nothing of a client's makes two lines of one, or leaves
//! its quotes.

use std::{
    fmt::Write,
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Kind, Level};

/// Bytes of what a client has chosen, such as a path, in a line.
pub const LOG_TEXT_BYTES_MAX: usize = 1024;

/// What a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Lines,
    Json,
}

/// Something that is said.
#[derive(Debug)]
pub struct Event<'a> {
    pub level: Level,
    pub kind: Kind,
    /// Of the server's kind, the first is a sentence.
    pub fields: &'a [(&'static str, Value<'a>)],
}

#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Number(u64),
    /// What a client has chosen. The end is cut off if it is long.
    Text(&'a str),
    /// What the server says.
    Sentence(&'a str),
    /// The same, without a space in it.
    Word(&'static str),
    /// What has no address has none here.
    Address(Option<IpAddr>),
}

impl Value<'_> {
    fn is_known(&self) -> bool {
        !matches!(self, Self::Address(None))
    }
}

/// Adds the line.
pub fn write(
    line: &mut String,
    format: Format,
    time: Option<SystemTime>,
    name: &str,
    event: &Event<'_>,
) {
    match format {
        Format::Lines => write_line(line, name, event),
        Format::Json => write_json(line, time, name, event),
    }
    line.push('\n');
}

fn write_line(line: &mut String, name: &str, event: &Event<'_>) {
    *line += "pushloop: ";
    if let [("message", Value::Sentence(text))] = event.fields {
        return escape(line, text, "");
    }
    *line += name;
    for (name, value) in event.fields.iter().filter(|(_, value)| value.is_known()) {
        // Writing to a String does not fail.
        let _ = write!(line, " {name}=");
        write_value(line, *value, "");
    }
}

fn write_json(line: &mut String, time: Option<SystemTime>, name: &str, event: &Event<'_>) {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let level = event.level.name();
    let _ =
        write!(line, "{{\"time\":{},\"level\":\"{level}\",\"kind\":\"{name}\"", since.as_millis());
    for (name, value) in event.fields.iter().filter(|(_, value)| value.is_known()) {
        let _ = write!(line, ",\"{name}\":");
        write_value(line, *value, "\"");
    }
    line.push('}');
}

/// The value; `quote` is around what needs no quotes in a line.
fn write_value(line: &mut String, value: Value<'_>, quote: &str) {
    match value {
        Value::Number(number) => _ = write!(line, "{number}"),
        Value::Text(text) => self::quote(line, text, LOG_TEXT_BYTES_MAX),
        Value::Sentence(text) => self::quote(line, text, usize::MAX),
        Value::Word(text) => _ = write!(line, "{quote}{text}{quote}"),
        Value::Address(address) => {
            let address = address.map(|it| it.to_string()).unwrap_or_default();
            let _ = write!(line, "{quote}{address}{quote}");
        }
    }
}

/// As JSON has a text, of at most so many bytes.
fn quote(line: &mut String, text: &str, max: usize) {
    line.push('"');
    let mut ends = (0..=max.min(text.len())).rev();
    let cut = ends.find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    escape(line, &text[..cut], "\"\\");
    if cut < text.len() {
        line.push('…');
    }
    line.push('"');
}

/// Control characters, and those by which a terminal or an editor takes one line for two or turns it round, are
/// written as JSON has them.
fn escape(line: &mut String, text: &str, quotes: &str) {
    for c in text.chars() {
        let _ = match c {
            c if quotes.contains(c) => write!(line, "\\{c}"),
            c if c.is_control()
                || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                write!(line, "\\u{:04x}", u32::from(c))
            }
            c => write!(line, "{c}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn written(format: Format, fields: &[(&'static str, Value<'_>)]) -> String {
        let (mut line, time) = (String::new(), UNIX_EPOCH + Duration::from_millis(1234));
        let event = Event { level: Level::Info, kind: Kind::Closed, fields };
        write(&mut line, format, Some(time), "closed", &event);
        line
    }

    #[test]
    fn an_event_is_a_line_and_an_object() {
        let address = Value::Address(Some([127, 0, 0, 1].into()));
        let fields = [("client", address), ("path", Value::Text("/a")), ("ms", Value::Number(7))];
        assert_eq!(
            written(Format::Lines, &fields),
            "pushloop: closed client=127.0.0.1 path=\"/a\" ms=7\n"
        );
        assert_eq!(
            written(Format::Json, &fields),
            "{\"time\":1234,\"level\":\"info\",\"kind\":\"closed\",\"client\":\"127.0.0.1\",\"path\":\"/a\",\"ms\":7}\n"
        );
        assert_eq!(
            written(Format::Lines, &[("client", Value::Address(None))]),
            "pushloop: closed\n"
        );
    }

    #[test]
    fn whatever_a_text_has_it_is_one_line_and_the_same_text_again() {
        for text in
            ["a\"b\\c", "\n\r\t\0\u{1b}[2J\u{7f}\u{85}\u{9b}", "\u{2028}\u{202e}\u{2066}", "é😀"]
        {
            let json = written(Format::Json, &[("path", Value::Text(text))]);
            let lines = written(Format::Lines, &[("path", Value::Text(text))]);
            let said = written(Format::Lines, &[("message", Value::Sentence(text))]);
            for line in [&json, &lines, &said] {
                let is_harmless =
                    |c: char| !c.is_control() && !('\u{2028}'..='\u{2069}').contains(&c);
                assert!(line.trim_end_matches('\n').chars().all(is_harmless), "{line:?}");
            }
            let object: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
            assert_eq!(object["path"], text);
            let quoted = lines.trim_end().strip_prefix("pushloop: closed path=").expect("it is");
            assert_eq!(serde_json::from_str::<String>(quoted).expect("a JSON text"), text);
        }
    }

    #[test]
    fn a_text_may_be_as_long_as_its_limit() {
        let long = "x".repeat(LOG_TEXT_BYTES_MAX);
        assert!(
            written(Format::Json, &[("path", Value::Text(&long))]).contains(&format!("{long}\"}}"))
        );
        let cut = |text: String| written(Format::Json, &[("path", Value::Text(&text))]);
        assert!(cut(format!("{long}y")).contains(&format!("{long}…\"}}")));
        assert!(cut(format!("{}é", &long[1..])).contains(&format!("{}…\"}}", &long[1..])));
    }
}
