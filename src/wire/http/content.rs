//! What the body of a request is, by the fields that describe it: text or bytes.

use std::error::Error;
use std::fmt;

use super::{Request, is_token};

/// Optional whitespace (RFC 9110 §5.6.3).
const OWS: [char; 2] = [' ', '\t'];

/// Whether a body is text: see [`Request::body_kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// Text, in UTF-8.
    Text,
    /// Anything else.
    Binary,
}

/// Why a body cannot be taken for what its fields say that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContentError {
    /// 400: there are several `Content-Type` lines, or one that is no media type (RFC 9110 §8.3).
    TypeInvalid,
    /// 400: the body is to be text, and is not UTF-8.
    NotUtf8,
    /// 415: text in a charset other than UTF-8 (RFC 9110 §8.3.2).
    CharsetUnsupported,
    /// 415: a `Content-Encoding` other than `identity` (RFC 9110 §8.4).
    EncodingUnsupported,
}

impl ContentError {
    /// The status code of the answer.
    pub const fn status(self) -> u16 {
        match self {
            ContentError::TypeInvalid | ContentError::NotUtf8 => 400,
            ContentError::CharsetUnsupported | ContentError::EncodingUnsupported => 415,
        }
    }

    /// A sentence that says what is wrong, for the answer.
    pub const fn message(self) -> &'static str {
        match self {
            ContentError::TypeInvalid => "Content-Type must be one media type.",
            ContentError::NotUtf8 => {
                "The body is not UTF-8, as text has to be: \
                 bytes have another Content-Type, such as application/octet-stream."
            }
            ContentError::CharsetUnsupported => "Text must be in UTF-8.",
            ContentError::EncodingUnsupported => "The body must have no Content-Encoding.",
        }
    }
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl Error for ContentError {}

impl Request {
    /// Whether the body is text or bytes, as far as the head tells: it need not have come yet.
    ///
    /// Text are the types `text/*`, `application/json` and `*/*+json`, `application/xml` and `*/*+xml`,
    /// and `application/x-www-form-urlencoded`; and a body without a `Content-Type`. All others are
    /// bytes, whatever charset they name.
    ///
    /// # Errors
    ///
    /// Every [`ContentError`] but [`NotUtf8`](ContentError::NotUtf8).
    pub fn body_kind(&self) -> Result<BodyKind, ContentError> {
        if self.list("content-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            return Err(ContentError::EncodingUnsupported);
        }
        let mut lines = self.header_all("content-type");
        let line = match (lines.next(), lines.next()) {
            (None, _) => return Ok(BodyKind::Text),
            (Some(line), None) => str::from_utf8(line).ok(),
            (Some(_), Some(_)) => None,
        };
        let (is_text, charset) = line.and_then(media_type).ok_or(ContentError::TypeInvalid)?;
        if !is_text {
            return Ok(BodyKind::Binary);
        }
        // ASCII is UTF-8, and the form without a hyphen is a common mistake.
        let is_utf8 = |charset: &String| {
            ["utf-8", "utf8", "us-ascii"].iter().any(|it| charset.eq_ignore_ascii_case(it))
        };
        if charset.as_ref().is_none_or(is_utf8) {
            Ok(BodyKind::Text)
        } else {
            Err(ContentError::CharsetUnsupported)
        }
    }
}

/// Whether a media type is text, and the charset that it names (RFC 9110 §8.3.1). `None` if it is
/// malformed.
fn media_type(value: &str) -> Option<(bool, Option<String>)> {
    let end = value.find(';').unwrap_or(value.len());
    let (name, parameters) = value.split_at(end);
    let name = name.trim_end_matches(OWS).to_ascii_lowercase();
    let (top, sub) = name.split_once('/')?;
    if !is_token(top.as_bytes()) || !is_token(sub.as_bytes()) {
        return None;
    }
    let of_application = matches!(sub, "json" | "xml" | "x-www-form-urlencoded");
    let is_text = top == "text"
        || (top == "application" && of_application)
        || sub.ends_with("+json")
        || sub.ends_with("+xml");
    Some((is_text, charset(parameters)?))
}

/// The charset among parameters (RFC 9110 §5.6.6). `None` if they are malformed, or name two.
fn charset(mut parameters: &str) -> Option<Option<String>> {
    let mut charset = None;
    loop {
        let Some(rest) = parameters.trim_start_matches(OWS).strip_prefix(';') else {
            return parameters.trim_start_matches(OWS).is_empty().then_some(charset);
        };
        let rest = rest.trim_start_matches(OWS);
        if rest.is_empty() || rest.starts_with(';') {
            parameters = rest;
            continue;
        }
        let (name, rest) = rest.split_once('=')?;
        let (value, rest) = parameter_value(rest)?;
        let is_charset = name.eq_ignore_ascii_case("charset");
        if !is_token(name.as_bytes()) || (is_charset && charset.replace(value).is_some()) {
            return None;
        }
        parameters = rest;
    }
}

/// A token or a quoted string (RFC 9110 §5.6.4), and what follows it.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        let (token, rest) = text.split_at(end);
        return is_token(token.as_bytes()).then(|| (token.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, &quoted[at + 1..])),
            (_, '\\') => value.push(characters.next()?.1),
            (_, character) => value.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::parse_head;

    fn kind(fields: &str) -> Result<BodyKind, ContentError> {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        parse_head(head.as_bytes(), 64, 0).expect("a valid head").body_kind()
    }

    #[test]
    fn the_type_decides() {
        const TEXT: Result<BodyKind, ContentError> = Ok(BodyKind::Text);
        const BINARY: Result<BodyKind, ContentError> = Ok(BodyKind::Binary);
        const INVALID: Result<BodyKind, ContentError> = Err(ContentError::TypeInvalid);
        const CHARSET: Result<BodyKind, ContentError> = Err(ContentError::CharsetUnsupported);
        assert_eq!(kind(""), TEXT);
        for (value, expected) in [
            ("text/plain", TEXT),
            ("TEXT/Html", TEXT),
            ("application/json", TEXT),
            ("application/problem+json", TEXT),
            ("application/xml", TEXT),
            ("image/svg+xml", TEXT),
            ("application/x-www-form-urlencoded", TEXT),
            ("application/octet-stream", BINARY),
            ("application/jsonp", BINARY),
            ("image/json", BINARY),
            ("multipart/form-data; boundary=\"a;b\"", BINARY),
            ("application/octet-stream; charset=latin1", BINARY),
            ("text/plain;charset=utf-8", TEXT),
            ("text/plain ; CHARSET = x", INVALID),
            ("text/plain ;\tCHARSET=\"U\\tf-8\" ; x=y", TEXT),
            ("text/plain; charset=utf8", TEXT),
            ("text/plain; charset=us-ascii", TEXT),
            ("text/plain; charset=iso-8859-1", CHARSET),
            ("text/plain; charset=\"\"", CHARSET),
            ("application/json; charset=utf-16", CHARSET),
            // RFC 9110 §5.6.6: a parameter may be absent.
            ("text/plain;", TEXT),
            ("text/plain; ;; charset=utf-16;", CHARSET),
            ("text/plain; charset=utf-8; charset=utf-8", INVALID),
            ("text/plain; charset=utf-8 x", INVALID),
            ("text/plain; charset=\"utf-8", INVALID),
            ("text/plain; charset=\"utf-8\\", INVALID),
            ("text/plain; charset=\"utf-8\"x", INVALID),
            ("text/plain; charset=", INVALID),
            ("text/plain; charset", INVALID),
            ("text/plain; =utf-8", INVALID),
            ("text/plain, text/html", INVALID),
            ("text/plain text/html", INVALID),
            ("text", INVALID),
            ("text/", INVALID),
            ("/plain", INVALID),
            ("text/a/b", INVALID),
            ("text /plain", INVALID),
            ("", INVALID),
            ("\u{e9}/x", INVALID),
        ] {
            assert_eq!(kind(&format!("Content-Type: {value}\r\n")), expected, "{value}");
        }
        assert_eq!(kind("Content-Type: a/b\r\nContent-Type: a/b\r\n"), INVALID);
    }

    #[test]
    fn a_body_that_is_encoded_is_neither() {
        for (fields, expected) in [
            ("Content-Encoding: identity\r\n", Ok(BodyKind::Text)),
            ("Content-Encoding: , Identity ,\r\n", Ok(BodyKind::Text)),
            ("Content-Encoding: gzip\r\n", Err(ContentError::EncodingUnsupported)),
            ("Content-Encoding: identity, br\r\n", Err(ContentError::EncodingUnsupported)),
            (
                "Content-Encoding: identity\r\nContent-Type: image/png\r\nContent-Encoding: aws-chunked\r\n",
                Err(ContentError::EncodingUnsupported),
            ),
        ] {
            assert_eq!(kind(fields), expected, "{fields}");
        }
    }
}
