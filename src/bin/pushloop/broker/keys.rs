//! What the broker's keys and channels are called. Those of one topic belong to one slot of a cluster: what is
//! between the braces decides.

use std::fmt::Write;

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

/// Where a topic is: its life (`epoch`), its latest `offset`, and the broker's `run`.
pub fn topic(prefix: &str, topic: &str) -> String {
    format!("{prefix}:topic:{{{}}}", tag(topic))
}

/// What is kept of it.
pub fn log(prefix: &str, topic: &str) -> String {
    format!("{prefix}:log:{{{}}}", tag(topic))
}

/// What was answered under an idempotency key.
pub fn answer(prefix: &str, topic: &str, key: &str) -> String {
    format!("{prefix}:key:{{{}}}:{key}", tag(topic))
}

/// Where it is told what is published.
pub fn channel(prefix: &str, topic: &str) -> String {
    format!("{prefix}:news:{{{}}}", tag(topic))
}

/// Who is in a topic, by its companion topic: the infos of the members.
pub fn members(prefix: &str, companion: &str) -> String {
    format!("{prefix}:members:{{{}}}", tag(companion))
}

/// How many nodes have each of them.
pub fn counts(prefix: &str, companion: &str) -> String {
    format!("{prefix}:counts:{{{}}}", tag(companion))
}

/// Those that one node has.
pub fn held(prefix: &str, companion: &str, node: &str) -> String {
    format!("{prefix}:held:{{{}}}:{node}", tag(companion))
}

/// The topics of which a node has members.
pub fn lists(prefix: &str, node: &str) -> String {
    format!("{prefix}:lists:{node}")
}

/// The nodes, by when their leases end.
pub fn nodes(prefix: &str) -> String {
    format!("{prefix}:nodes")
}

/// Nodes that are over, and have members still.
pub fn over(prefix: &str) -> String {
    format!("{prefix}:over")
}

/// When a lease was renewed last, and from when on one may be over.
pub fn leases(prefix: &str) -> String {
    format!("{prefix}:leases")
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
        assert_eq!(node("p", 255), "p:node:00000000000000ff");
    }
}
