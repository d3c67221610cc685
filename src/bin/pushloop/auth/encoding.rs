//! The forms in which keys and tokens come: base64url, JSON, PEM and DER.

use std::fmt;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value, error::Category};

/// Decodes base64url without padding (RFC 7515 §2), of which each value has one form.
pub fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

pub fn to_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads an object of JSON in which no name comes twice: RFC 8259 §4 leaves open which of two counts, and
/// others may have read the other one. The error goes on behind a name for it.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, &'static str> {
    let object: Result<Object, _> = serde_json::from_slice(bytes);
    object.map(|object| object.0).map_err(|error| match error.classify() {
        Category::Data => "is no JSON object in which each name comes once",
        Category::Io | Category::Syntax | Category::Eof => "is no JSON",
    })
}

struct Object(Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Names).map(Self)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, value)) = from.next_entry::<String, Value>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a name comes twice"));
            }
        }
        Ok(object)
    }
}

/// What is in the one block of PEM (RFC 7468) of a text, and its label.
pub fn pem(text: &str) -> Result<(&str, Vec<u8>), String> {
    let none = || "there is no PEM: a block that begins with -----BEGIN PUBLIC KEY-----".to_owned();
    let (_, rest) = text.split_once("-----BEGIN ").ok_or_else(none)?;
    let (label, rest) = rest.split_once("-----").ok_or_else(none)?;
    let end = format!("-----END {label}-----");
    let (body, rest) = rest.split_once(&end).ok_or_else(|| format!("there is no {end}"))?;
    if rest.contains("-----BEGIN ") {
        return Err("there are several blocks of PEM: a file has one key".to_owned());
    }
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| "the PEM is no base64".to_owned())?;
    Ok((label, der))
}

/// Takes the first value from DER, which has this tag (X.690 §8.1), and gives its content.
pub fn take_der<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (head, rest) = input.split_at_checked(2)?;
    let (len, rest) = match head[1] {
        len @ ..=0x7F => (usize::from(len), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (len, rest) = rest.split_at_checked(2)?;
            (usize::from(len[0]) << 8 | usize::from(len[1]), rest)
        }
        // Longer than any key, or not DER.
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    *input = rest;
    (head[0] == tag).then_some(content)
}

/// What is in a file of one line.
pub fn without_line_end(bytes: &[u8]) -> &[u8] {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    line.strip_suffix(b"\r").unwrap_or(line)
}
