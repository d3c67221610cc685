//! What a request's target and fields say, decoded: path segments, the query, cookies.

use std::borrow::Cow;

use super::Request;

impl Request {
    /// The segments of the path, percent-decoded: `/a/b%2Fc` has `a` and `b/c`, and `/` one that is
    /// empty. A segment that is not UTF-8 is `None`.
    pub fn segments(&self) -> impl Iterator<Item = Option<Cow<'_, str>>> {
        self.path().split('/').skip(1).map(percent_decode)
    }

    /// The names and values of the query, decoded as those of a form: `+` is a space, and what is not
    /// UTF-8 is replaced. A part without `=` is a name with an empty value.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let parts = self.query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
        parts.map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (form_decode(name), form_decode(value))
        })
    }

    /// The value of the first pair of the query with this name: see [`query_pairs`](Self::query_pairs).
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query_pairs().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    /// The value of the first field line with this name, in any case, if it is text (UTF-8).
    pub fn header_text(&self, name: &str) -> Option<&str> {
        self.header(name).and_then(|value| str::from_utf8(value).ok())
    }

    /// The names and values of the cookies, as they were sent (RFC 6265 §4.2.1). Their names differ in
    /// upper and lower case; several may have the same. What is not UTF-8 is left out.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.header_all("cookie").filter_map(|line| str::from_utf8(line).ok());
        lines.flat_map(|line| line.split(';')).filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t'])))
        })
    }

    /// The value of the first cookie with this name.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find(|(other, _)| *other == name).map(|(_, value)| value)
    }
}

/// Decodes percent-encoded text (RFC 3986 §2.1). A `%` without two hexadecimal digits stands for itself.
/// `None` if what comes of it is not UTF-8.
pub fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    String::from_utf8(decode(text.bytes())).ok().map(Cow::Owned)
}

fn form_decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.bytes().map(|byte| if byte == b'+' { b' ' } else { byte });
    Cow::Owned(String::from_utf8_lossy(&decode(spaced)).into_owned())
}

fn decode(mut text: impl Iterator<Item = u8> + Clone) -> Vec<u8> {
    let mut decoded = Vec::new();
    while let Some(byte) = text.next() {
        let mut ahead = text.clone();
        let mut digit = || char::from(ahead.next()?).to_digit(16);
        let mut encoded = || Some(digit()? * 16 + digit()?);
        match (byte == b'%').then(&mut encoded).flatten() {
            Some(encoded) => {
                decoded.push(encoded as u8);
                text = ahead;
            }
            None => decoded.push(byte),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::parse_head;

    fn request(target: &str, fields: &str) -> Request {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        parse_head(head.as_bytes(), 64, 0).expect("a valid head")
    }

    #[test]
    fn what_is_percent_encoded_is_decoded_once() {
        for (encoded, decoded) in [
            ("", Some("")),
            ("a", Some("a")),
            ("%61%2f%2F", Some("a//")),
            ("%C3%a9", Some("\u{e9}")),
            ("%2561", Some("%61")),
            ("%", Some("%")),
            ("a%6", Some("a%6")),
            ("%6g%61", Some("%6ga")),
            ("%%41", Some("%A")),
            ("%+1", Some("%+1")),
            ("+", Some("+")),
            ("%ff", None),
        ] {
            assert_eq!(percent_decode(encoded).as_deref(), decoded, "{encoded}");
        }
    }

    #[test]
    fn a_path_has_segments() {
        for (path, segments) in [
            ("/", vec![Some("")]),
            ("/a", vec![Some("a")]),
            ("/a/b%2Fc/", vec![Some("a"), Some("b/c"), Some("")]),
            ("//a?b/c", vec![Some(""), Some("a")]),
            ("/%ff/a", vec![None, Some("a")]),
        ] {
            let request = request(path, "");
            let got: Vec<_> = request.segments().collect();
            assert_eq!(got.iter().map(Option::as_deref).collect::<Vec<_>>(), segments, "{path}");
        }
    }

    #[test]
    fn a_query_is_read_as_a_form() {
        let request = request("/?a=1&b&&c=x+y%2B%26&a=2&d==&%ff=%zz&=e", "");
        let pairs: Vec<_> = request.query_pairs().collect();
        let expected = [
            ("a", "1"),
            ("b", ""),
            ("c", "x y+&"),
            ("a", "2"),
            ("d", "="),
            ("\u{fffd}", "%zz"),
            ("", "e"),
        ];
        assert_eq!(pairs, expected.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(request.query_value("a").as_deref(), Some("1"));
        assert_eq!(request.query_value("A"), None);
    }

    #[test]
    fn cookies_and_fields_are_text() {
        let fields = "Cookie: a=1; b = \"2\" ;c;=d\r\nX: y\r\nCookie: A=3;a=4\r\n";
        let request = request("/", fields);
        let cookies: Vec<_> = request.cookies().collect();
        assert_eq!(cookies, [("a", "1"), ("b", "\"2\""), ("", "d"), ("A", "3"), ("a", "4")]);
        assert_eq!((request.cookie("a"), request.cookie("c")), (Some("1"), None));
        assert_eq!((request.header_text("x"), request.header_text("y")), (Some("y"), None));
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\nCookie: a=\xff\r\n\r\n";
        let request = parse_head(head, 64, 0).expect("a valid head");
        assert_eq!((request.header_text("x"), request.cookies().count()), (None, 0));
    }
}
