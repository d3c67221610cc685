//! Which topics a token names.

/// Patterns of a token for one action, its own and those of the claim `mercure` together.
const PATTERNS_MAX: usize = 128;

/// Where the joins and leaves of a topic are published: who may read them may know its members.
const PRESENCE: &str = "$presence/";
/// The same, as clients of Centrifugo hear of it.
pub const JOINS: &str = "$joins/";
/// Where servers share which channels have subscribers: see `presence::companion`.
pub const OCCUPIED: &str = "$occupied/";

/// What a pattern for all does not mean.
const PROTECTED: [&str; 3] = ["$", "private-", "presence-"];

/// Topics that a token covers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Grants(Vec<Pattern>);

#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    /// All that begins so.
    Prefix(String),
    /// What begins so, and goes on as RFC 6570 §3.2.2 expands `{x}`: without a slash, say.
    Expansion(String),
}

impl Grants {
    /// Adds a pattern of a claim `subscribe` or `publish`. The error goes on behind the claim's name.
    pub fn add(&mut self, text: &str) -> Result<(), &'static str> {
        let (prefix, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        if prefix.contains('*') {
            return Err("has a pattern with a * that is not its end");
        }
        self.push(if is_prefix { Pattern::Prefix } else { Pattern::Exact }, prefix)
    }

    /// Adds one topic, by its name.
    pub fn add_name(&mut self, name: &str) -> Result<(), &'static str> {
        self.push(Pattern::Exact, name)
    }

    /// The same of the claim `mercure`, where a topic is exact, a URI template, or `*`.
    pub fn add_mercure(&mut self, text: &str) -> Result<(), &'static str> {
        if text == "*" {
            return self.push(Pattern::Prefix, "");
        }
        let Some((prefix, rest)) = text.split_once('{') else {
            return self.push(Pattern::Exact, text);
        };
        let name = rest.strip_suffix('}').unwrap_or_default();
        // RFC 6570 §2.3: the characters of a variable's name. Operators are none of them.
        let is_name = |name: &str| name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
        if name.is_empty() || !is_name(name) {
            return Err(
                "has a URI template, of which {name} at the end is understood and nothing else",
            );
        }
        self.push(Pattern::Expansion, prefix)
    }

    fn push(
        &mut self,
        kind: impl FnOnce(String) -> Pattern,
        text: &str,
    ) -> Result<(), &'static str> {
        if self.0.len() == PATTERNS_MAX {
            return Err("has more than patterns_max = 128 patterns");
        }
        let pattern = kind(text.to_owned());
        if pattern == Pattern::Exact(String::new()) {
            return Err("has an empty pattern");
        }
        self.0.push(pattern);
        Ok(())
    }

    /// Whether a topic is one of them. At most `PATTERNS_MAX` are looked at.
    pub fn cover(&self, topic: &str) -> bool {
        let named = protected_len(topic);
        self.0.iter().any(|pattern| match pattern {
            Pattern::Exact(name) => name == topic,
            Pattern::Prefix(prefix) => prefix.len() >= named && topic.starts_with(prefix.as_str()),
            Pattern::Expansion(prefix) => {
                let rest = topic.strip_prefix(prefix.as_str());
                prefix.len() >= named && rest.is_some_and(is_expansion)
            }
        })
    }
}

/// Unreserved characters, or percent-encoded ones (RFC 6570 §3.2.1).
fn is_expansion(text: &str) -> bool {
    let is_part = |it: u8| it.is_ascii_alphanumeric() || b"-._~%".contains(&it);
    !text.is_empty() && text.bytes().all(is_part)
}

/// Whether a topic is for tokens alone, also where anyone may subscribe to others.
pub fn is_protected(topic: &str) -> bool {
    protected_len(topic) > 0
}

/// How much of a topic's name a pattern has to have to cover it: who is in `private-x` is as private as
/// `private-x` is.
fn protected_len(topic: &str) -> usize {
    let own = |name: &str| {
        let prefix = PROTECTED.iter().find(|prefix| name.starts_with(**prefix));
        prefix.map_or(0, |prefix| prefix.len())
    };
    let of = |before: &str| topic.strip_prefix(before).map(|name| (before.len(), own(name)));
    match [PRESENCE, JOINS, OCCUPIED].into_iter().find_map(of) {
        Some((before, of_topic)) if of_topic > 0 => before + of_topic,
        Some(_) | None => own(topic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(patterns: &[&str]) -> Grants {
        let mut grants = Grants::default();
        patterns.iter().for_each(|it| grants.add(it).expect("it is one"));
        grants
    }

    fn mercure(pattern: &str) -> Grants {
        let mut grants = Grants::default();
        grants.add_mercure(pattern).expect("it is one");
        grants
    }

    #[test]
    fn a_pattern_is_a_name_or_a_prefix_and_never_more_than_it_says() {
        for (pattern, covered, not) in [
            ("chat", &["chat"][..], &["chat/", "cha", "Chat", "xchat"][..]),
            ("chat/*", &["chat/", "chat/1", "chat/1/2"], &["chat", "xchat/1"]),
            ("*", &["a", "a/b", "x-private-", "é"], &["$stats", "private-a", "presence-a"]),
            ("p*", &["pa", "private"], &["private-a", "presence-a"]),
            ("private*", &["private", "privately"], &["private-a"]),
            ("private-*", &["private-a", "private-"], &["private", "presence-a"]),
            ("private-a", &["private-a"], &["private-"]),
            ("presence-r*", &["presence-room"], &["presence-x"]),
            (
                "$*",
                &["$stats", "$presence/room"],
                &["$presence/private-a", "$joins/private-a", "$occupied/private-a", "stats"],
            ),
            ("$presence/*", &["$presence/p"], &["$presence/presence-a", "$presence/private-a"]),
            ("$joins/*", &["$joins/room"], &["$joins/presence-a", "$joins/private-a"]),
            ("$joins/private-*", &["$joins/private-a"], &["$joins/a", "private-a"]),
            ("$presence/private-*", &["$presence/private-a"], &["$presence/a", "private-a"]),
        ] {
            let grants = grants(&[pattern]);
            covered.iter().for_each(|it| assert!(grants.cover(it), "{pattern} {it}"));
            not.iter().for_each(|it| assert!(!grants.cover(it), "{pattern} {it}"));
        }
        assert!(grants(&["a", "b"]).cover("b") && !grants(&[]).cover("b"));
    }

    #[test]
    fn a_topic_of_mercure_is_a_name_or_a_template_that_ends_with_a_variable() {
        for (pattern, covered, not) in [
            ("*", &["a", "https://x/1"][..], &["private-a", "$stats"][..]),
            ("chat/*", &["chat/*"], &["chat/1"]),
            (
                "https://x/{id}",
                &["https://x/1", "https://x/a%2Fb"],
                &["https://x/", "https://x/1/2"],
            ),
            ("private-{x}", &["private-a"], &["private-"]),
            ("{x}", &["a", "a.b"], &["private-a", "a/b", "é"]),
        ] {
            let grants = mercure(pattern);
            covered.iter().for_each(|it| assert!(grants.cover(it), "{pattern} {it}"));
            not.iter().for_each(|it| assert!(!grants.cover(it), "{pattern} {it}"));
        }
        for refused in ["a/{x}/b", "{+x}", "{?x}", "a{", "a{}", "{x*}", "{x,y}", "{x}{y}", "{é}"] {
            assert!(Grants::default().add_mercure(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_pattern_that_says_nothing_is_refused_and_so_is_one_too_many() {
        for (pattern, why) in [("", "empty"), ("a*b", "*"), ("**", "*"), ("*a", "*")] {
            assert!(Grants::default().add(pattern).unwrap_err().contains(why), "{pattern}");
        }
        let mut grants = grants(&["a"; PATTERNS_MAX]);
        assert!(grants.add("b").unwrap_err().contains("patterns_max = 128"));
        assert!(!grants.cover("b"));
    }
}
