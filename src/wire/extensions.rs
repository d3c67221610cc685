//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 §9.1). What an extension means is not known
//! here.

use super::http::is_token;
use std::str;

/// One extension that a client offers, with its parameters in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// The extension's registered token.
    pub name: &'a str,
    /// Names and values, as they were written; a quoted value without its quotes.
    pub params: Vec<(&'a str, Option<String>)>,
}

/// §9.1: a recipient of a value that does not conform to the grammar MUST fail the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedExtensions;

/// Reads the values of all `Sec-WebSocket-Extensions` fields of a request as one list.
///
/// As in every list of its time (RFC 2616 §2.1), members may be empty but for one, and there may be
/// space around each separator.
///
/// # Errors
///
/// [`MalformedExtensions`] if there is such a field, and the grammar does not produce it.
pub fn parse_extensions<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<Extension<'a>>, MalformedExtensions> {
    let mut extensions = Vec::new();
    let mut any_line = false;
    for line in lines {
        any_line = true;
        // A token is ASCII, and nothing but tokens and separators may be here.
        let rest = str::from_utf8(line).map_err(|_| MalformedExtensions)?;
        Cursor { rest }.list(&mut extensions)?;
    }
    if any_line && extensions.is_empty() {
        return Err(MalformedExtensions);
    }
    Ok(extensions)
}

/// What of a line is still to be read.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn list(&mut self, into: &mut Vec<Extension<'a>>) -> Result<(), MalformedExtensions> {
        loop {
            while self.takes(',') {}
            if self.rest.is_empty() {
                return Ok(());
            }
            into.push(self.extension()?);
            if !self.rest.is_empty() && !self.rest.starts_with(',') {
                return Err(MalformedExtensions);
            }
        }
    }

    fn extension(&mut self) -> Result<Extension<'a>, MalformedExtensions> {
        let name = self.token()?;
        let mut params = Vec::new();
        while self.takes(';') {
            let name = self.token()?;
            let value = if self.takes('=') { Some(self.value()?) } else { None };
            params.push((name, value));
        }
        Ok(Extension { name, params })
    }

    fn value(&mut self) -> Result<String, MalformedExtensions> {
        if !self.takes('"') {
            return self.token().map(str::to_owned);
        }
        let mut value = String::new();
        let mut chars = self.rest.char_indices();
        loop {
            match chars.next().ok_or(MalformedExtensions)? {
                (at, '"') => {
                    self.rest = &self.rest[at + 1..];
                    self.skip_space();
                    break;
                }
                (_, '\\') => value.push(chars.next().ok_or(MalformedExtensions)?.1),
                (_, char) => value.push(char),
            }
        }
        // §9.1: the value after unescaping MUST conform to the token grammar.
        if is_token(value.as_bytes()) { Ok(value) } else { Err(MalformedExtensions) }
    }

    fn token(&mut self) -> Result<&'a str, MalformedExtensions> {
        let is_separator = |char: char| matches!(char, ',' | ';' | '=' | '"' | ' ' | '\t');
        let end = self.rest.find(is_separator).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.skip_space();
        if is_token(token.as_bytes()) { Ok(token) } else { Err(MalformedExtensions) }
    }

    /// Takes the separator and the space after it, if it is next; inside quotes, space counts.
    fn takes(&mut self, separator: char) -> bool {
        if separator != '"' {
            self.skip_space();
        }
        let Some(rest) = self.rest.strip_prefix(separator) else { return false };
        self.rest = rest;
        if separator != '"' {
            self.skip_space();
        }
        true
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> Result<String, MalformedExtensions> {
        let parsed = parse_extensions(lines.iter().map(|line| line.as_bytes()))?;
        let show = |(name, value): &(&str, Option<String>)| match value {
            Some(value) => format!(";{name}={value}"),
            None => format!(";{name}"),
        };
        let show = |it: &Extension<'_>| {
            it.name.to_owned() + &it.params.iter().map(show).collect::<String>()
        };
        Ok(parsed.iter().map(show).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn lists_are_read() {
        for (lines, expected) in [
            (&[][..], ""),
            (&["a"], "a"),
            (&["a, b;c, d;e=f;g"], "a,b;c,d;e=f;g"),
            (&["a", "b;c"], "a,b;c"),
            (&[" , a ,, b , "], "a,b"),
            (&["", "a"], "a"),
            (&["a ; b = c\t;\td"], "a;b=c;d"),
            (&[r#"a;b="c""#], "a;b=c"),
            (&[r#"a;b="\c\d" , e"#], "a;b=cd,e"),
        ] {
            assert_eq!(parse(lines).as_deref(), Ok(expected), "{lines:?}");
        }
    }

    #[test]
    fn what_the_grammar_does_not_produce_is_malformed() {
        for line in [
            "",
            " ",
            ",",
            ";",
            "a;",
            "a;;b",
            "a;b=",
            "a=b",
            "a b",
            "a;b c",
            "a;b=c d",
            "=",
            "a;=b",
            "\"a\"",
            "a;\"b\"",
            "a;b=\"\"",
            "a;b=\"c",
            "a;b=\"c\\",
            "a;b=\"c d\"",
            "a;b=\"c,d\"",
            "a;b=\"c\"d",
            "a;b=\" c\"",
            "a/b",
            "a;b=c/d",
            "(a)",
            "ä",
            "a;b=ä",
            "a;b=\"ä\"",
            "a;b==c",
        ] {
            assert_eq!(parse(&[line]), Err(MalformedExtensions), "{line:?}");
        }
    }
}
