//! Who may do what, once it is known who asks.

use super::*;

#[test]
fn who_may_do_what_is_the_same_question_everywhere() {
    use Action::{Publish, Subscribe};
    let claims = json!({
        "exp": NOW + 60, "subscribe": ["*", "private-a", "$stats"], "publish": ["a", "$stats"],
    });
    let claims = verifier().verify(&signed(&claims), now()).expect("it is good");
    let token = Principal::Token(Arc::new(claims));
    let open = Policy::default();
    let guarded = Policy { is_guarded: true, ..open.clone() };
    let readable = Policy { anyone_may_subscribe: true, ..guarded.clone() };
    let prefixes = [("a/b/", true), ("a/", false), ("", true)];
    let anyone_may_publish = prefixes.map(|(prefix, may)| (prefix.to_owned(), may)).into();
    let writable = Policy { anyone_may_publish, ..guarded.clone() };
    assert!(open.has_open_topics() && writable.has_open_topics() && !readable.has_open_topics());
    let (none, key) = (Principal::Anyone, Principal::PublishKey);
    let granted = |action| Err(Denied::NotGranted(action));
    let missing = |action| Err(Denied::NoToken(action));
    for (policy, who, action, topic, verdict) in [
        (&open, &none, Publish, "a", Ok(())),
        (&open, &none, Subscribe, "private-a", Ok(())),
        (&open, &none, Subscribe, "$stats", Ok(())),
        (&open, &none, Publish, "$stats", Err(Denied::ReadOnly)),
        (&guarded, &none, Subscribe, "a", missing(Subscribe)),
        (&guarded, &none, Publish, "a", missing(Publish)),
        (&guarded, &none, Publish, "$stats", missing(Publish)),
        (&readable, &none, Subscribe, "a", Ok(())),
        (&readable, &none, Publish, "a", missing(Publish)),
        (&readable, &none, Subscribe, "private-a", missing(Subscribe)),
        (&readable, &none, Subscribe, "presence-a", missing(Subscribe)),
        (&readable, &none, Subscribe, "$stats", missing(Subscribe)),
        (&readable, &none, Subscribe, "$presence/a", missing(Subscribe)),
        (&guarded, &key, Publish, "private-a", Ok(())),
        (&guarded, &key, Publish, "$stats", Err(Denied::ReadOnly)),
        (&guarded, &key, Subscribe, "a", Err(Denied::KeyPublishesOnly)),
        (&readable, &key, Subscribe, "a", Ok(())),
        (&readable, &key, Subscribe, "private-a", Err(Denied::KeyPublishesOnly)),
        (&guarded, &token, Subscribe, "b", Ok(())),
        (&guarded, &token, Subscribe, "private-a", Ok(())),
        (&guarded, &token, Subscribe, "private-b", granted(Subscribe)),
        (&guarded, &token, Subscribe, "$stats", Ok(())),
        (&guarded, &token, Subscribe, "$presence/a", granted(Subscribe)),
        (&guarded, &token, Publish, "a", Ok(())),
        (&guarded, &token, Publish, "b", granted(Publish)),
        (&guarded, &token, Publish, "$stats", Err(Denied::ReadOnly)),
        (&writable, &none, Publish, "a", Ok(())),
        (&writable, &none, Publish, "a/x", missing(Publish)),
        (&writable, &none, Publish, "a/b/x", Ok(())),
        (&writable, &none, Subscribe, "a", missing(Subscribe)),
        (&writable, &none, Publish, "private-a", missing(Publish)),
        (&writable, &none, Publish, "presence-a", missing(Publish)),
        (&writable, &none, Publish, "$stats", missing(Publish)),
        (&writable, &token, Publish, "b", Ok(())),
        (&writable, &token, Publish, "a/x", granted(Publish)),
    ] {
        assert_eq!(policy.may(who, action, topic), verdict, "{policy:?} {action:?} {topic}");
    }
}
