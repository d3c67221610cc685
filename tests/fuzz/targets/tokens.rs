//! Tokens and keys of the server to run: what the fuzzer makes as a token, as what one with a good signature says,
//! and as the bytes of a file with keys. In the second form, a line is the header, and the rest the payload.
//!
//! Nothing forged is good; what is good says so to another reader of its JSON; and no refusal can break out of
//! the field of the answer that it stands in.

#![no_main]

#[path = "../../../src/bin/pushloop/auth/mod.rs"]
#[allow(dead_code, unused_imports, reason = "a target needs a part of it")]
mod auth;

use std::time::Duration;

use auth::{Action, Invalid, Verifier};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use ring::hmac;
use serde_json::Value;

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"the seeds are signed with others";
const TOPICS: [&str; 6] =
    ["a", "chat/1", "private-a", "presence-a", "$stats", "$presence/private-a"];
/// How much of each topic a pattern has to have.
const NAMED: [usize; 6] = [0, 0, 8, 9, 1, 18];

fuzz_target!(|data: &[u8]| {
    let now = Duration::from_secs(NOW);
    let keys = vec![auth::secret(SECRET).expect("it is long enough")];
    let verifier = Verifier { keys, ..Verifier::default() };
    let _ = auth::secret(data);
    if let Ok(key) = auth::public_key(data) {
        assert!(!key.verifies(b"", b""));
    }
    if let Ok((keys, _)) = auth::key_set(data) {
        assert!(keys.iter().all(|key| !key.verifies(b"", b"")));
    }
    let Ok(text) = str::from_utf8(data) else { return };
    is_told(&verifier.verify(text, now).expect_err("nobody has the secret"));
    let (header, payload) = text.split_once('\n').unwrap_or((r#"{"alg":"HS256"}"#, text));
    let signed = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let code = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(code));
    match verifier.verify(&token, now) {
        Ok(claims) => {
            let header: Value = serde_json::from_str(header).expect("it is JSON");
            assert_eq!(header["alg"], "HS256");
            let said: Value = serde_json::from_str(payload).expect("it is JSON");
            assert!(said["exp"].as_f64().expect("a number") > NOW as f64);
            assert!(said["nbf"].as_f64().unwrap_or(0.0) <= (NOW + 60) as f64);
            assert_eq!(said["sub"].as_str(), claims.subject.as_deref());
            for (action, name) in [(Action::Subscribe, "subscribe"), (Action::Publish, "publish")] {
                for (topic, named) in TOPICS.iter().zip(NAMED) {
                    // The claims of Mercure have another grammar.
                    if said.get("mercure").is_none() {
                        let is_named = action == Action::Subscribe && is_named(&said, topic);
                        let covers = is_named || is_covered(&said[name], topic, named);
                        assert_eq!(claims.grants(action).cover(topic), covers, "{topic}");
                    }
                }
            }
        }
        Err(invalid) => is_told(&invalid),
    }
});

fn is_covered(patterns: &Value, topic: &str, named: usize) -> bool {
    let patterns = patterns.as_array().into_iter().flatten().filter_map(Value::as_str);
    patterns.into_iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => topic.starts_with(prefix) && prefix.len() >= named,
        None => topic == pattern,
    })
}

/// A name is a name, whatever it begins with.
fn is_named(said: &Value, topic: &str) -> bool {
    let mut names = said["channels"].as_array().into_iter().flatten().chain([&said["channel"]]);
    names.any(|name| name == topic)
}

/// A sentence of the characters that RFC 6750 §3 allows in `error_description`.
fn is_told(invalid: &Invalid) {
    let is_plain = |it: u8| matches!(it, b' '..=b'~') && !b"\"\\".contains(&it);
    assert!(!invalid.why.is_empty() && invalid.why.bytes().all(is_plain), "{invalid:?}");
}
