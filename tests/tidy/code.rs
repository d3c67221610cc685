//! As much of Rust's grammar as the rules of `tests/tidy/main.rs` need: words and signs, where an item
//! ends, and which paths start at the root of the crate. It reads code that rustfmt and rustc
//! have accepted, so it has no errors to report.

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[derive(Clone, Copy)]
pub struct Token<'a> {
    pub text: &'a str,
    /// Counted from 1.
    pub line: usize,
}

/// The words and signs of Rust code; comments, strings and characters are left out.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let skipped = skipped_len(rest, text[..at].ends_with(is_word));
        let len = if skipped > 0 {
            skipped
        } else if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if skipped == 0 && !first.is_whitespace() {
            found.push(Token { text: &rest[..len], line });
        }
        line += rest[..len].matches('\n').count();
        at += len;
    }
    found
}

/// The length of the comment, string or character that `rest` begins with; 0 if it begins with
/// code. `inside_word` says that `rest` begins in the middle of a word.
fn skipped_len(rest: &str, inside_word: bool) -> usize {
    let until = |from: usize, end: &str| {
        rest[from..].find(end).map_or(rest.len(), |found| from + found + end.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_len(rest);
    }
    if !inside_word {
        let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).unwrap_or("");
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let open = rest.len() - raw.len() + hashes + 1;
            return until(open, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    if let Some(string) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = string.find(|c| {
            let closes = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        return end.map_or(rest.len(), |end| end + 2);
    }
    if rest.starts_with("'\\") {
        return until(3, "'");
    }
    // A quote that is closed after one character; otherwise it is a lifetime.
    let mut chars = rest.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\''), Some(inner), Some('\'')) => 2 + inner.len_utf8(),
        _ => 0,
    }
}

/// Block comments nest.
fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let step = if rest[at..].starts_with("/*") {
            depth += 1;
            2
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            2
        } else {
            rest[at..].chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

pub fn nesting(text: &str) -> i32 {
    match text {
        "{" | "(" | "[" => 1,
        "}" | ")" | "]" => -1,
        _ => 0,
    }
}

/// One past the item that starts at `start`: its `;`, or the brace that closes its body.
pub fn item_end(code: &[Token<'_>], start: usize) -> usize {
    let mut depth = 0;
    for (at, token) in code.iter().enumerate().skip(start) {
        depth += nesting(token.text);
        let closed = depth == 0 && matches!(token.text, ";" | "}");
        if closed || depth < 0 {
            return at + 1;
        }
    }
    code.len()
}

/// `code` without the items under a `#[cfg(..)]` that holds for tests only.
pub fn without_tests(code: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let close = rest.iter().position(|t| t.text == "]").unwrap_or(rest.len());
        if rest.iter().take(4).map(|t| t.text).eq(["#", "[", "cfg", "("])
            && asks_for_tests(&rest[..close])
        {
            at = item_end(&code, at + close + 1);
        } else {
            kept.push(code[at]);
            at += 1;
        }
    }
    kept
}

/// Whether a condition names `test` where it is required: not under `not(..)` or `any(..)`.
fn asks_for_tests(condition: &[Token<'_>]) -> bool {
    let required = |t: &[Token<'_>]| t[2].text == "test" && t[0].text != "not";
    condition.windows(3).any(required) && !condition.iter().any(|t| t.text == "any")
}

/// The first name of each path that starts at the root of the crate, in a file that is `depth`
/// modules below it.
pub fn root_imports<'a>(code: &[Token<'a>], depth: usize) -> impl Iterator<Item = Token<'a>> {
    let mut heads = Vec::new();
    for (at, token) in code.iter().enumerate() {
        let continues = at > 0 && code[at - 1].text == "::";
        let path = match token.text {
            "crate" => &code[at + 1..],
            "super" if !continues => {
                let mut end = at;
                while code[end + 1..].iter().take(2).map(|t| t.text).eq(["::", "super"]) {
                    end += 2;
                }
                let ups = (end - at) / 2 + 1;
                if ups < depth {
                    continue;
                }
                &code[end + 1..]
            }
            _ => continue,
        };
        if path.first().is_some_and(|sign| sign.text == "::") {
            heads.extend(first_names(&path[1..]));
        }
    }
    heads.into_iter()
}

/// `a::b` begins with `a`; `{a::b, c::{d, e}}` with `a` and `c`.
fn first_names<'a>(path: &[Token<'a>]) -> Vec<Token<'a>> {
    if path.first().is_none_or(|token| token.text != "{") {
        return path.first().copied().into_iter().collect();
    }
    let mut depth = 0;
    let mut names = Vec::new();
    for pair in path[..item_end(path, 0)].windows(2) {
        depth += nesting(pair[0].text);
        if depth == 1 && matches!(pair[0].text, "{" | ",") && pair[1].text != "}" {
            names.push(pair[1]);
        }
    }
    names
}
