//! The topics that a URL names.

use std::borrow::Cow;

use pushloop::{Config, Request, percent_decode};

/// Why a request is refused: a status, and a sentence.
pub type Refusal = (u16, Cow<'static, str>);

/// The topics of a request, percent-decoded once: those of the path, `/a,b`, or of the query of the root,
/// `/?topic=a&topic=b`, which no proxy rewrites. All are valid, or none is given. With `one_topic`, the
/// path is one and there is no other form: a proxy that guards paths has seen what it leads to.
pub fn of(request: &Request, config: &Config, one_topic: bool) -> Result<Vec<String>, Refusal> {
    let path = request.path().strip_prefix('/').unwrap_or_default();
    let queried = in_query(request.query().unwrap_or_default());
    let names = match (path, queried.is_empty()) {
        ("", true) => return Err((404, "no topic here: the path names it, as in /scores".into())),
        (_, false) if one_topic => {
            return Err((400, "a topic is named by the path here (--one-topic)".into()));
        }
        ("", false) => queried,
        (_, false) => return Err((400, "topic= is for the path / only".into())),
        (_, true) => path.split(',').map(|name| percent_decode(name).map(Into::into)).collect(),
    };
    if one_topic && names.len() > 1 {
        return Err((400, "one topic in a URL (--one-topic): a comma in its name is %2C".into()));
    }
    let mut topics: Vec<String> = Vec::new();
    for name in names {
        let name = name.ok_or_else(|| (400, "a topic's name is UTF-8, percent-encoded".into()))?;
        check(&name, config)?;
        if topics.contains(&name) {
            continue;
        }
        if topics.len() == config.topics_per_connection_max {
            return Err((400, "too many topics: topics_per_connection_max = 128".into()));
        }
        topics.push(name);
    }
    Ok(topics)
}

/// What the query names as `topic`, decoded as a form's; `None` for what is not UTF-8.
fn in_query(query: &str) -> Vec<Option<String>> {
    let decoded = |text: &str| percent_decode(&text.replace('+', " ")).map(Into::into);
    let pairs = query.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
    let named = pairs.filter(|(name, _)| decoded(name).is_some_and(|name: String| name == "topic"));
    named.map(|(_, value)| decoded(value)).collect()
}

/// Whether this may be the name of a topic.
pub fn check(name: &str, config: &Config) -> Result<(), Refusal> {
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err((400, "a topic's name is not empty and has no control characters".into()));
    }
    // What is in front of the server may resolve them (RFC 3986 §5.2.4), and see another topic.
    if name.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err((400, "a topic's name has no segments . and ..".into()));
    }
    if name.len() > config.topic_name_bytes_max {
        return Err((414, "a topic's name has at most topic_name_bytes_max = 255 bytes".into()));
    }
    Ok(())
}
