//! Messages in JSON: objects, one a line. What an application puts into one is passed through, and never read.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use pushloop::Message;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::fields::{Field, Malformed, Sink, Source};

/// An object of which the members have not been looked into. However deep one of them is nested, nothing here is.
#[derive(Debug)]
pub struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(Text(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'a> Object<'a> {
    pub fn read(text: &'a str) -> Result<Self, Malformed> {
        serde_json::from_str(text).map_err(|_| Malformed)
    }

    /// The JSON of a member, as it came.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.0.iter().rev().find(|(other, _)| other == name)?;
        Some(value.get()).filter(|text| *text != "null")
    }

    /// The only member's name and value.
    pub fn only(&self) -> Option<(&str, &'a str)> {
        let [(name, value)] = &self.0[..] else { return None };
        Some((name, value.get()))
    }

    fn of<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, Malformed> {
        let value = self.raw(name).map(serde_json::from_str);
        value.transpose().map_err(|_| Malformed)
    }

    /// The members of an array.
    pub fn list<T: Deserialize<'a>>(&self, name: &str) -> Result<Vec<T>, Malformed> {
        Ok(self.of(name)?.unwrap_or_default())
    }
}

impl<'a> Source<'a> for Object<'a> {
    fn text(&self, (name, _): Field) -> Result<Cow<'a, str>, Malformed> {
        Ok(self.of(name)?.map_or(Cow::Borrowed(""), |Text(text)| text))
    }

    fn number(&self, (name, _): Field) -> Result<u64, Malformed> {
        Ok(self.of(name)?.unwrap_or_default())
    }

    fn signed(&self, (name, _): Field) -> Result<i32, Malformed> {
        Ok(self.of(name)?.unwrap_or_default())
    }

    fn flag(&self, (name, _): Field) -> Result<bool, Malformed> {
        Ok(self.of(name)?.unwrap_or_default())
    }

    fn data(&self, (name, _): Field) -> Result<Option<Message<'a>>, Malformed> {
        Ok(self.raw(name).map(Message::Text))
    }

    fn message(&self, (name, _): Field) -> Result<Option<Self>, Malformed> {
        self.of(name)
    }

    fn entries(&self, (name, _): Field) -> Result<Vec<(Cow<'a, str>, Self)>, Malformed> {
        let Some(Object(members)) = self.of(name)? else { return Ok(Vec::new()) };
        let read = |(name, value): (_, &'a RawValue)| Ok((name, Object::read(value.get())?));
        members.into_iter().map(read).collect()
    }
}

/// Makes one object, in one line.
pub struct Writer<'a> {
    out: &'a mut String,
    has_members: bool,
}

impl<'a> Writer<'a> {
    /// Appends an object.
    pub fn object(out: &'a mut String, fill: impl FnOnce(&mut Writer<'_>)) {
        out.push('{');
        fill(&mut Writer { out, has_members: false });
        out.push('}');
    }

    fn name(&mut self, (name, _): Field) {
        self.key(name);
    }

    fn key(&mut self, name: &str) {
        if self.has_members {
            self.out.push(',');
        }
        self.has_members = true;
        add_text(self.out, name);
        self.out.push(':');
    }
}

impl Sink for Writer<'_> {
    fn text(&mut self, field: Field, text: &str) {
        if !text.is_empty() {
            self.name(field);
            add_text(self.out, text);
        }
    }

    fn number(&mut self, field: Field, number: u64) {
        if number > 0 {
            self.name(field);
            self.out.push_str(&number.to_string());
        }
    }

    fn flag(&mut self, field: Field, flag: bool) {
        if flag {
            self.name(field);
            self.out.push_str("true");
        }
    }

    fn data(&mut self, field: Field, data: Message<'_>) {
        self.name(field);
        match data {
            Message::Text(text) => match json(text) {
                Some(json) => add_line(self.out, json),
                None => add_text(self.out, text),
            },
            Message::Binary(bytes) => {
                self.out.push('"');
                STANDARD.encode_string(bytes, self.out);
                self.out.push('"');
            }
        }
    }

    fn message(&mut self, field: Field, fill: impl FnOnce(&mut Self)) {
        self.name(field);
        self.out.push('{');
        let has_members = std::mem::take(&mut self.has_members);
        fill(self);
        self.has_members = has_members;
        self.out.push('}');
    }

    fn list<T>(
        &mut self,
        field: Field,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Self, T),
    ) {
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            return;
        }
        self.name(field);
        self.out.push('[');
        for (nth, item) in items.enumerate() {
            self.out.push_str(if nth == 0 { "{" } else { ",{" });
            self.has_members = false;
            fill(self, item);
            self.out.push('}');
        }
        self.has_members = true;
        self.out.push(']');
    }

    fn entries<K: AsRef<str>, T>(
        &mut self,
        field: Field,
        items: impl IntoIterator<Item = (K, T)>,
        mut fill: impl FnMut(&mut Self, T),
    ) {
        self.message(field, |sink| {
            for (key, item) in items {
                sink.key(key.as_ref());
                sink.out.push('{');
                sink.has_members = false;
                fill(sink, item);
                sink.has_members = true;
                sink.out.push('}');
            }
        });
    }
}

/// The JSON that a text is, without what is around it.
fn json(text: &str) -> Option<&str> {
    serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get)
}

/// JSON in one line. A line's end is none of a string's characters (RFC 8259 §7), so it stands between two tokens.
fn add_line(out: &mut String, json: &str) {
    let mut lines = json.split(['\n', '\r']);
    out.push_str(lines.next().unwrap_or_default());
    for line in lines {
        out.push(' ');
        out.push_str(line);
    }
}

fn add_text(out: &mut String, text: &str) {
    // A text always can be.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}
