//! What the broker's keys and channels are called. Those of one topic belong to one slot of a cluster: what is
//! between the braces decides. All that is about members is in one slot, as one script changes a topic's list and what
//! a node has of all of them.

use std::fmt::Write;

use crate::presence::topic_of;

/// The slot of all that is about members.
const MEMBERS: &str = "{$presence}";

/// The name with nothing in it that ends the braces.
fn tag(topic: &str) -> String {
    let mut tag = String::with_capacity(topic.len());
    for c in topic.chars() {
        let _ = match c {
            '%' | '{' | '}' => write!(tag, "%{:02X}", u32::from(c)),
            c => write!(tag, "{c}"),
        };
    }
    tag
}

/// A companion topic, in their slot.
pub const ANY_COMPANION: &str = "$presence/";

/// A topic in its slot.
fn place(topic: &str) -> String {
    match topic_of(topic) {
        Some(name) => format!("{MEMBERS}/{}", tag(name)),
        None => format!("{{{}}}", tag(topic)),
    }
}

/// Where a topic is: its life (`epoch`), its latest `offset`, and the broker's `run`.
pub fn topic(prefix: &str, topic: &str) -> String {
    format!("{prefix}:topic:{}", place(topic))
}

/// What is kept of it.
pub fn log(prefix: &str, topic: &str) -> String {
    format!("{prefix}:log:{}", place(topic))
}

/// What was answered under an idempotency key.
pub fn answer(prefix: &str, topic: &str, key: &str) -> String {
    format!("{prefix}:key:{}:{key}", place(topic))
}

/// Where it is told what is published.
pub fn channel(prefix: &str, topic: &str) -> String {
    format!("{prefix}:news:{}", place(topic))
}

/// Who is in a topic, by its companion topic: the infos of the members.
pub fn members(prefix: &str, companion: &str) -> String {
    format!("{prefix}:members:{}", place(companion))
}

/// How many nodes have each of them.
pub fn counts(prefix: &str, companion: &str) -> String {
    format!("{prefix}:counts:{}", place(companion))
}

/// Those that one node has.
pub fn held(prefix: &str, companion: &str, node: &str) -> String {
    format!("{prefix}:held:{}:{node}", place(companion))
}

/// The topics of which a node has members.
pub fn lists(prefix: &str, node: &str) -> String {
    format!("{prefix}:lists:{MEMBERS}:{node}")
}

/// The nodes, by when their leases end.
pub fn nodes(prefix: &str) -> String {
    format!("{prefix}:nodes:{MEMBERS}")
}

/// Nodes that are over, and have members still.
pub fn over(prefix: &str) -> String {
    format!("{prefix}:over:{MEMBERS}")
}

/// When a lease was renewed last, and from when on one may be over.
pub fn leases(prefix: &str) -> String {
    format!("{prefix}:leases:{MEMBERS}")
}

/// Where a node hears of itself.
pub fn node(prefix: &str, node: u64) -> String {
    format!("{prefix}:node:{node:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_topic_have_one_tag_and_no_two_topics_share_one() {
        for (name, expected) in [("a/b", "a/b"), ("}", "%7D"), ("{}", "%7B%7D"), ("%7D", "%257D")] {
            let tag = format!("{{{expected}}}");
            for key in [
                topic("p", name),
                log("p", name),
                answer("p", name, "}k"),
                channel("p", name),
                members("p", name),
                counts("p", name),
                held("p", name, "}n"),
            ] {
                let (from, to) = (key.find('{'), key.find('}'));
                let between = from.zip(to).map(|(from, to)| &key[from..=to]);
                assert_eq!(between, Some(&*tag), "{key}");
            }
        }
        let topics = [
            "$presence",
            "$presence/",
            "$presence/a",
            "$presence/a:b",
            "$presence/}",
            "$joins/a",
            "$occupied/a",
        ];
        let mut all: Vec<_> = topics.iter().flat_map(|it| [topic("p", it), log("p", it)]).collect();
        for list in &topics[1..] {
            all.extend([members("p", list), counts("p", list), held("p", list, "n")]);
        }
        all.extend([lists("p", "n"), nodes("p"), over("p"), leases("p")]);
        for key in &all {
            assert_eq!(key.split(['{', '}']).nth(1), Some("$presence"), "{key}");
        }
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len(), "{all:?}");
        assert_eq!(node("p", 255), "p:node:00000000000000ff");
    }
}
