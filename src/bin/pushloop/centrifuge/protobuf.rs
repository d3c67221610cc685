//! Messages in Protobuf: fields, each behind its number and its type, and each message behind its length.

use std::borrow::Cow;

use pushloop::Message;

use super::fields::{Field, Malformed, Sink, Source};

/// Bytes of a number of 64 bits, of which each has seven.
const VARINT_BYTES_MAX: usize = 10;

/// The types of fields that there are here. Groups are not: no version of the protocol has had one.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// A message of which the fields have been told apart.
#[derive(Debug)]
pub struct Fields<'a>(Vec<(u32, Value<'a>)>);

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Nothing here has this type.
    Fixed,
}

impl<'a> Fields<'a> {
    pub fn read(mut bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = take_varint(&mut bytes)?;
            let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0);
            let value = match tag & 7 {
                VARINT => Value::Varint(take_varint(&mut bytes)?),
                BYTES => Value::Bytes(take_message(&mut bytes)?),
                FIXED_64 => take(&mut bytes, 8).map(|_| Value::Fixed)?,
                FIXED_32 => take(&mut bytes, 4).map(|_| Value::Fixed)?,
                _ => return Err(Malformed),
            };
            fields.push((number.ok_or(Malformed)?, value));
        }
        Ok(Self(fields))
    }

    fn value(&self, (_, number): Field) -> Option<Value<'a>> {
        self.0.iter().rev().find(|(other, _)| *other == number).map(|(_, value)| *value)
    }

    fn bytes(&self, field: Field) -> Result<Option<&'a [u8]>, Malformed> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Value::Varint(_) | Value::Fixed) => Err(Malformed),
        }
    }
}

impl<'a> Source<'a> for Fields<'a> {
    fn text(&self, field: Field) -> Result<Cow<'a, str>, Malformed> {
        let text = str::from_utf8(self.bytes(field)?.unwrap_or_default());
        text.map(Cow::Borrowed).map_err(|_| Malformed)
    }

    fn number(&self, field: Field) -> Result<u64, Malformed> {
        match self.value(field) {
            None => Ok(0),
            Some(Value::Varint(number)) => Ok(number),
            Some(Value::Bytes(_) | Value::Fixed) => Err(Malformed),
        }
    }

    fn signed(&self, field: Field) -> Result<i32, Malformed> {
        // What is negative comes as one of 64 bits.
        (self.number(field)? as i64).try_into().map_err(|_| Malformed)
    }

    fn flag(&self, field: Field) -> Result<bool, Malformed> {
        Ok(self.number(field)? != 0)
    }

    fn data(&self, field: Field) -> Result<Option<Message<'a>>, Malformed> {
        let bytes = self.bytes(field)?;
        Ok(bytes.map(|bytes| str::from_utf8(bytes).map_or(Message::Binary(bytes), Message::Text)))
    }

    fn message(&self, field: Field) -> Result<Option<Self>, Malformed> {
        self.bytes(field)?.map(Self::read).transpose()
    }

    fn entries(&self, (name, number): Field) -> Result<Vec<(Cow<'a, str>, Self)>, Malformed> {
        let own = self.0.iter().filter(|(other, _)| *other == number);
        let read = |(_, value): &(u32, Value<'a>)| {
            let entry = Self(vec![(number, *value)]).message((name, number))?.ok_or(Malformed)?;
            let value = entry.message(("value", 2))?.unwrap_or(Self(Vec::new()));
            Ok((entry.text(("key", 1))?, value))
        };
        own.map(read).collect()
    }
}

/// Takes a message that is behind its length.
pub fn take_message<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let len = take_varint(bytes)?;
    take(bytes, usize::try_from(len).map_err(|_| Malformed)?)
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], Malformed> {
    let (taken, rest) = bytes.split_at_checked(len).ok_or(Malformed)?;
    *bytes = rest;
    Ok(taken)
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for (nth, byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth has one bit left.
        if nth == VARINT_BYTES_MAX - 1 && *byte > 1 {
            return Err(Malformed);
        }
        number |= bits << (7 * nth);
        if byte & 0x80 == 0 {
            *bytes = &bytes[nth + 1..];
            return Ok(number);
        }
    }
    Err(Malformed)
}

/// Makes one message.
pub struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    /// Appends a message behind its length.
    pub fn message(out: &'a mut Vec<u8>, fill: impl FnOnce(&mut Writer<'_>)) {
        let start = out.len();
        fill(&mut Writer(out));
        put_len(out, start);
    }

    fn tag(&mut self, (_, number): Field, kind: u64) {
        add_varint(self.0, u64::from(number) << 3 | kind);
    }

    fn bytes(&mut self, field: Field, bytes: &[u8]) {
        self.tag(field, BYTES);
        add_varint(self.0, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
}

impl Sink for Writer<'_> {
    fn text(&mut self, field: Field, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn number(&mut self, field: Field, number: u64) {
        if number > 0 {
            self.tag(field, VARINT);
            add_varint(self.0, number);
        }
    }

    fn flag(&mut self, field: Field, flag: bool) {
        self.number(field, flag.into());
    }

    fn data(&mut self, field: Field, data: Message<'_>) {
        match data {
            Message::Text(text) => self.bytes(field, text.as_bytes()),
            Message::Binary(bytes) => self.bytes(field, bytes),
        }
    }

    fn message(&mut self, field: Field, fill: impl FnOnce(&mut Self)) {
        self.tag(field, BYTES);
        let start = self.0.len();
        fill(self);
        put_len(self.0, start);
    }

    fn list<T>(
        &mut self,
        field: Field,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Self, T),
    ) {
        items.into_iter().for_each(|item| self.message(field, |sink| fill(sink, item)));
    }

    fn entries<K: AsRef<str>, T>(
        &mut self,
        field: Field,
        items: impl IntoIterator<Item = (K, T)>,
        mut fill: impl FnMut(&mut Self, T),
    ) {
        for (key, item) in items {
            self.message(field, |entry| {
                entry.text(("key", 1), key.as_ref());
                entry.message(("value", 2), |sink| fill(sink, item));
            });
        }
    }
}

fn add_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Puts the length of what begins at `start` in front of it.
fn put_len(out: &mut Vec<u8>, start: usize) {
    let mut len = Vec::with_capacity(VARINT_BYTES_MAX);
    add_varint(&mut len, (out.len() - start) as u64);
    out.splice(start..start, len);
}
