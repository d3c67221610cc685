//! Tokens that are none, keys that are none, and who may do what.

mod fixtures;
mod policy;

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    encoding::to_base64url,
    token::{Cause, TOKEN_BYTES_MAX},
    *,
};
use fixtures::{HS256, Made, P384, PUBLIC, SECRET, SHORT_RSA};

const NOW: u64 = 1_800_000_000;

fn now() -> Duration {
    Duration::from_secs(NOW)
}

/// What verifies tokens of the secret and of each public key of the fixtures.
fn verifier() -> Verifier {
    let public = PUBLIC.iter().map(|made| public_key(made.pem.as_bytes()));
    let keys = [secret(SECRET)].into_iter().chain(public).collect::<Result<_, _>>();
    Verifier { keys: keys.expect("they are keys"), ..Verifier::default() }
}

fn signed(claims: &Value) -> String {
    sign(claims, &secret(SECRET).expect("it is one")).expect("a secret signs")
}

/// A token of the fixtures' secret with this text as its parts.
fn signed_text(header: &str, payload: &str) -> String {
    let signed = [header, payload].map(|part| to_base64url(part.as_bytes())).join(".");
    let code = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", to_base64url(code.as_ref()))
}

/// Good claims with one more, or another one.
fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = json!({ "sub": "ada", "exp": NOW + 60 });
    claims[name] = value;
    claims
}

#[track_caller]
fn refused(verifier: &Verifier, token: &str, cause: Cause, why: &str) {
    let invalid = verifier.verify(token, now()).expect_err("it is refused");
    assert!(invalid.cause == cause && invalid.why.contains(why), "{why}: {invalid:?} of {token}");
    // As RFC 6750 §3 wants it, and nothing of it comes back.
    let is_plain = |it: u8| matches!(it, b' '..=b'~') && !b"\"\\".contains(&it);
    assert!(invalid.why.bytes().all(is_plain), "{}", invalid.why);
}

#[test]
fn what_another_library_signs_is_verified_with_each_form_of_its_key() {
    let by_file = verifier();
    for (algorithm, token) in
        PUBLIC.iter().map(|made| (made.algorithm, made.token)).chain([("HS256", HS256)])
    {
        let claims =
            by_file.verify(token, now()).unwrap_or_else(|why| panic!("{algorithm}: {why:?}"));
        assert_eq!(claims.subject.as_deref(), Some("ada"));
        assert_eq!(claims.expires, Duration::from_secs(4_102_444_800));
        assert!(claims.grants(Action::Subscribe).cover("chat/1"));
        assert!(!claims.grants(Action::Publish).cover("chat/1"));
    }
    for Made { algorithm, token, jwk, .. } in &PUBLIC {
        let (keys, left_out) =
            key_set(format!("{{\"keys\":[{jwk}]}}").as_bytes()).expect(algorithm);
        assert!(left_out.is_empty() && keys.len() == 1, "{left_out:?}");
        let of_set = Verifier { keys, ..Verifier::default() };
        assert!(of_set.verify(token, now()).is_ok(), "{algorithm}");
    }
}

#[test]
fn one_bit_more_or_less_is_another_token() {
    let verifier = verifier();
    for token in PUBLIC.iter().map(|made| made.token).chain([HS256]) {
        let dots: Vec<_> = token.match_indices('.').map(|(at, _)| at).collect();
        // In each of the three parts, and the last character of all, of which some bits say nothing.
        for at in [10, dots[0] + 10, dots[1] + 10, token.len() - 1] {
            let mut forged = token.as_bytes().to_vec();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("it is ASCII");
            assert!(verifier.verify(&forged, now()).is_err(), "{at} {forged}");
        }
    }
}

#[test]
fn what_is_no_token_is_refused_with_the_reason() {
    let good = signed(&json!({ "exp": NOW + 60 }));
    let verifier = verifier();
    assert!(verifier.verify(&good, now()).is_ok());
    let header = r#"{"alg":"HS256"}"#;
    let payload = format!("{{\"exp\":{}}}", NOW + 60);
    let deep = format!("{{\"exp\":{},\"a\":{}{}}}", NOW + 60, "[".repeat(200), "]".repeat(200));
    let twice = format!("{{\"exp\":{},\"exp\":{}}}", NOW - 60, NOW + 60);
    for (token, why) in [
        (String::new(), "three parts"),
        ("x".to_owned(), "three parts"),
        (good.rsplit_once('.').expect("it has dots").0.to_owned(), "three parts"),
        (format!("{good}."), "three parts"),
        (format!("{good}.x.y"), "three parts"),
        (format!(".{good}"), "three parts"),
        (good[..good.len() - 2].to_owned(), "signature is no base64url"),
        (format!("{good}="), "signature is no base64url"),
        (format!("{good}\n"), "signature is no base64url"),
        (format!(" {good}"), "header is no base64url"),
        (good.replacen('.', ".+", 1), "payload is no base64url"),
        (signed_text("x", &payload), "header is no JSON"),
        (signed_text("[]", &payload), "header is no JSON object"),
        (signed_text("{}", &payload), "no alg"),
        (signed_text(r#"{"alg":256}"#, &payload), "no alg"),
        (signed_text(r#"{"alg":"none","alg":"HS256"}"#, &payload), "each name comes once"),
        (signed_text(r#"{"alg":"HS256","kid":1}"#, &payload), "kid is no text"),
        (signed_text(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &payload), "crit"),
        (signed_text(header, "x"), "payload is no JSON"),
        (signed_text(header, "\"a\""), "payload is no JSON object"),
        (signed_text(header, &format!("{payload} x")), "payload is no JSON"),
        (signed_text(header, &twice), "each name comes once"),
        (signed_text(header, &deep), "payload is no JSON"),
    ] {
        refused(&verifier, &token, Cause::Malformed, why);
    }
}

#[test]
fn a_token_may_be_as_long_as_its_limit() {
    let of_len = |len: usize| {
        // Three bytes are four characters.
        let bare = signed(&json!({ "exp": NOW + 60, "x": "" })).len();
        let mut more = (len - bare) / 4 * 3;
        loop {
            let token = signed(&json!({ "exp": NOW + 60, "x": "x".repeat(more) }));
            if token.len() >= len {
                return token;
            }
            more += 1;
        }
    };
    let longest = of_len(TOKEN_BYTES_MAX);
    assert_eq!(longest.len(), TOKEN_BYTES_MAX);
    assert!(verifier().verify(&longest, now()).is_ok());
    let longer = of_len(TOKEN_BYTES_MAX + 1);
    assert_eq!(longer.len(), TOKEN_BYTES_MAX + 1);
    refused(&verifier(), &longer, Cause::Malformed, "token_bytes_max = 8192");
}

#[test]
fn the_key_decides_how_a_token_is_verified() {
    let payload = format!("{{\"exp\":{}}}", NOW + 60);
    let public_only = Verifier { keys: verifier().keys.split_off(1), ..Verifier::default() };
    let part = |text: &str| to_base64url(text.as_bytes());
    for alg in ["none", "None", "HS512", "RS384", "PS256", "ES384", "hs256", ""] {
        let unsigned = format!("{}.{}.", part(&format!("{{\"alg\":\"{alg}\"}}")), part(&payload));
        refused(&verifier(), &unsigned, Cause::Unsigned, "alg is none of");
    }
    // The signature is left out, or is of another key or algorithm.
    for alg in ["HS256", "RS256", "ES256", "EdDSA"] {
        let header = part(&format!("{{\"alg\":\"{alg}\"}}"));
        let bare = format!("{header}.{}.", part(&payload));
        // Without a name of a key, it may be by one that a set has by now, and no set has secrets.
        let cause = if alg == "HS256" { Cause::Unsigned } else { Cause::UnknownKey };
        refused(&verifier(), &bare, cause, "signature is not");
        let by_other = signed_text(&format!("{{\"alg\":\"{alg}\"}}"), &payload);
        assert_eq!(verifier().verify(&by_other, now()).is_ok(), alg == "HS256", "{alg}");
    }
    // A public key is no secret, in whatever form somebody may take it for one.
    for Made { pem, .. } in &PUBLIC {
        for known in [pem.as_bytes(), pem.trim_end().as_bytes()] {
            let code = hmac::Key::new(hmac::HMAC_SHA256, known);
            let bytes = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(&payload));
            let code = to_base64url(hmac::sign(&code, bytes.as_bytes()).as_ref());
            refused(
                &public_only,
                &format!("{bytes}.{code}"),
                Cause::Unsigned,
                "no key here is for",
            );
        }
        assert!(secret(pem.as_bytes()).unwrap_err().contains("--jwt-public-key-file"));
    }
    // A key that comes with the token is none.
    let jwk = PUBLIC[1].jwk;
    let own = signed_text(&format!("{{\"alg\":\"ES256\",\"jwk\":{jwk},\"jku\":\"x\"}}"), &payload);
    refused(&verifier(), &own, Cause::UnknownKey, "signature is not");
}

/// What a token names decides whether a set may have its key by now, and which set: not whether it is good.
#[test]
fn a_token_may_be_by_a_key_that_is_not_here_yet() {
    let jwk = PUBLIC[1].jwk.replace("\"EC\"", "\"EC\",\"kid\":\"a\"");
    let (keys, _) = key_set(format!("{{\"keys\":[{jwk}]}}").as_bytes()).expect("it has one");
    let verifier = Verifier { fetched: vec![Arc::new(keys)], ..Verifier::default() };
    assert!(verifier.verify(PUBLIC[1].token, now()).is_ok());
    for (header, cause, why) in [
        (r#"{"alg":"ES256","kid":"a"}"#, Cause::Unsigned, "signature is not"),
        (r#"{"alg":"ES256","kid":"b"}"#, Cause::UnknownKey, "no key here has the token's kid"),
        (r#"{"alg":"ES256"}"#, Cause::UnknownKey, "signature is not"),
        (r#"{"alg":"RS256","kid":"a"}"#, Cause::UnknownKey, "no key here is for"),
        (r#"{"alg":"HS256","kid":"b"}"#, Cause::Unsigned, "no key here is for"),
        (r#"{"alg":"none","kid":"b"}"#, Cause::Unsigned, "alg is none of"),
    ] {
        let forged = signed_text(header, r#"{"iss":"them","exp":4102444800}"#);
        refused(&verifier, &forged, cause, why);
        assert_eq!(claimed_issuer(&forged).as_deref(), Some("them"));
    }
    assert_eq!(claimed_issuer(PUBLIC[1].token), None);
}

#[test]
fn each_claim_that_is_wrong_is_named() {
    let verifier = verifier();
    let patterns = |count: usize| claims_with("publish", json!(vec!["a"; count]));
    let info = |len: usize| claims_with("info", json!("x".repeat(len - 2)));
    for good in [
        claims_with("nbf", json!(NOW + 60)),
        claims_with("exp", json!(NOW as f64 + 0.5)),
        claims_with("sub", json!("x".repeat(255))),
        claims_with("info", json!({ "a": [1] })),
        info(1024),
        patterns(128),
        claims_with("mercure", json!({ "publish": ["*"], "payload": 1 })),
        claims_with("iss", json!("anybody")),
        claims_with("unknown", json!(null)),
    ] {
        assert!(verifier.verify(&signed(&good), now()).is_ok(), "{good}");
    }
    for (claims, why) in [
        (json!({ "sub": "ada" }), "no claim exp"),
        (claims_with("exp", json!(null)), "exp is no moment"),
        (claims_with("exp", json!("1900000000")), "exp is no moment"),
        (claims_with("exp", json!(-1)), "exp is no moment"),
        (claims_with("exp", json!(1e300)), "exp is no moment"),
        (claims_with("nbf", json!(NOW + 61)), "not valid yet (nbf)"),
        (claims_with("nbf", json!("0")), "nbf is no moment"),
        (claims_with("aud", json!("other")), "aud"),
        (claims_with("aud", json!([])), "aud"),
        (claims_with("sub", json!(1)), "sub is no text"),
        (claims_with("sub", json!("")), "sub is empty"),
        (claims_with("sub", json!("x".repeat(256))), "sub_bytes_max = 255"),
        (info(1025), "info_bytes_max = 1024"),
        (claims_with("subscribe", json!("*")), "claim subscribe is no array"),
        (claims_with("publish", json!([1])), "claim publish is no array"),
        (claims_with("publish", json!(["a*b"])), "claim publish has a pattern"),
        (claims_with("publish", json!([""])), "claim publish has an empty"),
        (patterns(129), "patterns_max = 128"),
        (claims_with("mercure", json!([])), "mercure is no object"),
        (
            claims_with("mercure", json!({ "subscribe": ["{/x}"] })),
            "mercure.subscribe has a URI template",
        ),
        (claims_with("mercure", json!({ "publish": "*" })), "mercure.publish is no array"),
    ] {
        refused(&verifier, &signed(&claims), Cause::Claims, why);
    }
    for exp in [json!(NOW), json!(NOW - 1), json!(0), json!(NOW as f64 - 0.5)] {
        refused(&verifier, &signed(&claims_with("exp", exp)), Cause::Expired, "expired (exp)");
    }
}

#[test]
fn who_made_a_token_and_for_whom_is_checked_where_it_is_said() {
    let ours = Verifier {
        issuers: vec!["https://a".to_owned(), "https://b".to_owned()],
        audiences: vec!["live".to_owned()],
        ..verifier()
    };
    let claims = |iss: Value, aud: Value| json!({ "exp": NOW + 60, "iss": iss, "aud": aud });
    for (iss, aud) in
        [(json!("https://a"), json!("live")), (json!("https://b"), json!(["x", "live"]))]
    {
        assert!(ours.verify(&signed(&claims(iss, aud)), now()).is_ok());
    }
    for (iss, aud, why) in [
        (json!("https://c"), json!("live"), "iss"),
        (json!("https://a/"), json!("live"), "iss"),
        (json!(["https://a"]), json!("live"), "iss"),
        (json!(null), json!("live"), "iss"),
        (json!("https://a"), json!("Live"), "aud"),
        (json!("https://a"), json!(["x"]), "aud"),
        (json!("https://a"), json!(null), "aud"),
        (json!("https://a"), json!({ "live": 1 }), "aud"),
    ] {
        refused(&ours, &signed(&claims(iss, aud)), Cause::Claims, why);
    }
    refused(&ours, &signed(&json!({ "exp": NOW + 60, "aud": "live" })), Cause::Claims, "iss");
    refused(&ours, &signed(&json!({ "exp": NOW + 60, "iss": "https://a" })), Cause::Claims, "aud");
}

/// A key of one issuer signs for no other one, whatever is expected of keys that are of none.
#[test]
fn a_key_of_an_issuer_verifies_its_tokens_alone() {
    let of = |text: &[u8], issuer: &str| {
        secret(text).expect("it is one").of_issuer(Some(&issuer.to_owned()))
    };
    let other = b"fedcba9876543210fedcba9876543210";
    let keys = vec![of(SECRET, "https://a"), of(other, "https://b")];
    let two = Verifier { keys, issuers: vec!["https://b".to_owned()], ..Verifier::default() };
    let claims = |iss: &str| json!({ "exp": NOW + 60, "iss": iss });
    let by_other =
        |iss: &str| sign(&claims(iss), &secret(other).expect("it is one")).expect("it signs");
    assert!(two.verify(&signed(&claims("https://a")), now()).is_ok());
    assert!(two.verify(&by_other("https://b"), now()).is_ok());
    refused(&two, &signed(&claims("https://b")), Cause::Claims, "iss");
    refused(&two, &by_other("https://a"), Cause::Claims, "iss");
}

#[test]
fn the_name_of_a_key_chooses_it_and_a_token_is_tried_with_few() {
    let key = |id: Option<&str>, byte: u8| {
        let mut key = secret(&[byte; 32]).expect("it is one");
        key.id = id.map(str::to_owned);
        key
    };
    let token = |kid: &str, byte: u8| {
        let header = format!("{{\"alg\":\"HS256\"{kid}}}");
        let payload = format!("{{\"exp\":{}}}", NOW + 60);
        let signed = [header, payload].map(|part| to_base64url(part.as_bytes())).join(".");
        let code = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]), signed.as_bytes());
        format!("{signed}.{}", to_base64url(code.as_ref()))
    };
    let keys: Vec<_> = (0..5).map(|at| key(Some(&format!("k{at}")), at)).collect();
    let named = Verifier { keys, ..Verifier::default() };
    for at in 0..5 {
        assert!(named.verify(&token(&format!(",\"kid\":\"k{at}\""), at), now()).is_ok());
    }
    refused(&named, &token(",\"kid\":\"k0\"", 1), Cause::Unsigned, "signature is not by a key");
    refused(&named, &token(",\"kid\":\"k5\"", 1), Cause::Unsigned, "kid");
    assert!(named.verify(&token("", 3), now()).is_ok());
    refused(&named, &token("", 4), Cause::Unsigned, "keys_tried_max = 4");
    // Keys of files have no names; those that a token names come first.
    let mut keys: Vec<_> = (0..4).map(|at| key(None, at)).collect();
    let files = Verifier { keys, ..Verifier::default() };
    assert!(files.verify(&token(",\"kid\":\"any\"", 3), now()).is_ok());
    keys = files.keys;
    keys.push(key(Some("k9"), 9));
    let both = Verifier { keys, ..Verifier::default() };
    assert!(both.verify(&token(",\"kid\":\"k9\"", 9), now()).is_ok());
}

#[test]
fn what_is_no_key_is_refused_with_the_reason() {
    for (len, is_good) in [(32, true), (31, false)] {
        for end in ["", "\n", "\r\n"] {
            let bytes = ["x".repeat(len).as_bytes(), end.as_bytes()].concat();
            let refusal = secret(&bytes).err();
            assert_eq!(refusal.is_none(), is_good, "{len}");
            assert!(refusal.is_none_or(|why| why.contains("secret_bytes_min = 32")));
        }
    }
    let good = PUBLIC[0].pem;
    for (text, why) in [
        (String::new(), "no PEM"),
        ("ssh-ed25519 AAAA".to_owned(), "no PEM"),
        (good.replace("-----END", "-----"), "no -----END PUBLIC KEY-----"),
        (good.repeat(2), "several"),
        (good.replace("MII", "M*I"), "no base64"),
        (good.replace("MII", "MIJ"), "none of RSA"),
        (good.replace("PUBLIC", "PRIVATE"), "private key"),
        (good.replace("PUBLIC", "RSA PRIVATE"), "private key"),
        (good.replace("PUBLIC KEY", "CERTIFICATE"), "certificate"),
        (good.replace("PUBLIC", "RSA PUBLIC"), "no PUBLIC KEY"),
        (SHORT_RSA.to_owned(), "rsa_bits_min = 2048"),
        (P384.to_owned(), "none of RSA"),
    ] {
        let refusal = public_key(text.as_bytes()).expect_err(&text);
        assert!(refusal.contains(why), "{why}: {refusal}");
    }
}

#[test]
fn a_set_of_keys_leaves_out_what_is_for_others_and_says_so() {
    let rsa: Value = serde_json::from_str(PUBLIC[0].jwk).expect("JSON");
    let p256: Value = serde_json::from_str(PUBLIC[1].jwk).expect("JSON");
    let with = |key: &Value, name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        key
    };
    let set = |keys: &[Value]| key_set(json!({ "keys": keys }).to_string().as_bytes());
    for (key, why) in [
        (json!(1), "no object"),
        (json!({}), "kty"),
        (with(&rsa, "use", json!("enc")), "use"),
        (with(&rsa, "key_ops", json!(["encrypt"])), "key_ops"),
        (with(&rsa, "alg", json!("PS256")), "alg is not RS256"),
        (with(&rsa, "alg", json!("HS256")), "alg is not RS256"),
        (with(&rsa, "kid", json!(1)), "kid is no text"),
        (with(&rsa, "n", json!("AQAB")), "rsa_bits_min = 2048"),
        (with(&rsa, "n", json!("=")), "n is no base64url"),
        (with(&rsa, "e", json!("AQ")), "exponent"),
        (with(&rsa, "e", json!("AAI")), "exponent"),
        (with(&p256, "crv", json!("P-384")), "none of RSA"),
        (with(&p256, "x", json!("AQAB")), "32 bytes"),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": "AQAB" }), "32 bytes"),
        (json!({ "kty": "oct", "k": "x" }), "--jwt-secret-file"),
    ] {
        let alone = set(std::slice::from_ref(&key)).expect_err("nothing is left");
        assert!(alone.contains(why), "{why}: {alone}");
        let (keys, left_out) = set(&[key, with(&p256, "kid", json!("a"))]).expect("one is left");
        assert_eq!(keys[0].id.as_deref(), Some("a"));
        assert!(
            left_out.len() == 1 && left_out[0].starts_with("key 1 is left out"),
            "{left_out:?}"
        );
    }
    assert_eq!(set(&vec![p256.clone(); 64]).expect("it is the limit").0.len(), 64);
    assert!(set(&vec![p256; 65]).unwrap_err().contains("keys_max = 64"));
    for (text, why) in
        [("", "no JSON"), ("[]", "each name"), ("{}", "array"), ("{\"keys\":[]}", "empty")]
    {
        assert!(key_set(text.as_bytes()).unwrap_err().contains(why), "{text}");
    }
}

#[test]
fn a_publish_key_is_compared_whole() {
    let key = PublishKey::new(b"0123456789abcdef\n").expect("it is one");
    assert!(key.is("0123456789abcdef"));
    for other in
        ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeg", "0123456789abcdef\n"]
    {
        assert!(!key.is(other), "{other}");
    }
    for (bytes, why) in [
        (&b"0123456789abcde\n"[..], "publish_key_bytes_min = 16"),
        (b"0123456789 abcdef", "without spaces"),
        (b"0123456789abcdef\n0123456789abcdef", "one line"),
        (b"\xff123456789abcdef", "visible ASCII"),
    ] {
        assert!(PublishKey::new(bytes).unwrap_err().contains(why), "{why}");
    }
}

#[test]
fn a_token_is_verified_once_until_it_expires() {
    let (verifier, mut cache) = (verifier(), Cache::default());
    let token = signed(&json!({ "exp": NOW + 60 }));
    let mut count = 0;
    let mut get = |token: &str, at: u64| {
        let now = Duration::from_secs(at);
        let verify = || {
            count += 1;
            verifier.verify(token, now)
        };
        let is_good = cache.get_or(token, now, verify).is_ok();
        (is_good, count)
    };
    assert_eq!(get(&token, NOW), (true, 1));
    assert_eq!(get(&token, NOW + 59), (true, 1));
    // The same is so when it is over, unless the clock is put back.
    assert_eq!(get(&token, NOW + 60), (false, 2));
    assert_eq!(get(&token, NOW + 61), (false, 2));
    assert_eq!(get(&token, NOW + 59), (true, 3));
    // What else is refused is not kept, nor what is long.
    for count in [4, 5] {
        assert_eq!(get("x", NOW), (false, count));
    }
    let long = signed(&json!({ "exp": NOW + 60, "x": "x".repeat(1600) }));
    assert!(long.len() > 2048, "{}", long.len());
    for count in [6, 7] {
        assert_eq!(get(&long, NOW), (true, count));
    }
}
