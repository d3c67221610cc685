//! Keys that the server fetches from an issuer's URL: what they let in, how they change, and what becomes of an
//! issuer that is away or not who it should be. How a fetch can fail is in `src/bin/pushloop/key_sets/`.

mod changes;
pub mod https;

use std::sync::{Arc, Mutex};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::{
    PUSHLOOP, ask_tcp,
    hooks::{
        backend::{Backend, Got, held, reply},
        metric,
    },
    serve,
    tokens::{bearer, in_seconds, status},
};
use crate::support::process::{Process, bounded, connect, read_json};

/// A key of an issuer.
pub struct Signer {
    kid: &'static str,
    pair: Ed25519KeyPair,
}

impl Signer {
    pub fn new(kid: &'static str) -> Self {
        let mut seed = [0; 32];
        seed[..kid.len()].copy_from_slice(kid.as_bytes());
        Self { kid, pair: Ed25519KeyPair::from_seed_unchecked(&seed).expect("any seed is one") }
    }

    pub fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.kid, "x": x })
    }

    /// A token for topic `t` of this issuer.
    pub fn signs_of(&self, issuer: &str) -> String {
        let header = json!({ "alg": "EdDSA", "kid": self.kid });
        let claims = json!({
            "iss": issuer, "exp": in_seconds(3600), "publish": ["t"], "subscribe": ["$stats"]
        });
        let signed =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes())))
    }

    pub fn signs(&self) -> String {
        self.signs_of("anybody")
    }
}

/// The answer with these keys.
pub fn set(signers: &[&Signer]) -> Vec<u8> {
    let keys: Vec<_> = signers.iter().map(|it| it.jwk()).collect();
    reply(200, "Content-Type: application/json\r\n", &json!({ "keys": keys }).to_string())
}

/// What has keys, which change.
pub struct Issuer {
    pub backend: Backend,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Issuer {
    pub fn start(answer: Vec<u8>) -> Self {
        let answer = Arc::new(Mutex::new(answer));
        let given = Arc::clone(&answer);
        let backend = Backend::start(move |_: &Got| given.lock().expect("nobody panics").clone());
        Self { backend, answer }
    }

    pub fn has(&self, answer: Vec<u8>) {
        *self.answer.lock().expect("nobody panics") = answer;
    }
}

/// The status of the answer to a publication with this token.
pub fn publishes(address: &str, token: &str) -> u16 {
    status(&ask_tcp(address, "POST /t", &bearer(token), "x"))
}

/// Asks until it is so, for a minute at most.
#[track_caller]
pub fn until(mut is_so: impl FnMut() -> bool) {
    let end = in_seconds(60);
    while !is_so() {
        assert!(in_seconds(0) < end, "it has not come to be so");
    }
}

/// A server that fetches keys there, and shows its numbers to all.
pub fn fetching(url: &str, arguments: &[&str]) -> (Process, String, String) {
    let common = ["--jwks-url", url, "--metrics-listen", "127.0.0.1:0"];
    let (mut server, address) = serve(&[&common, arguments].concat());
    let metrics = server.address("metrics at http://");
    (server, address, metrics)
}

#[test]
fn keys_that_are_fetched_verify_tokens() {
    let [key, other] = ["a", "b"].map(Signer::new);
    let issuer = Issuer::start(set(&[&key]));
    let url = issuer.backend.url();
    let (_server, address, metrics) = fetching(&url, &[]);
    until(|| metric(&metrics, "jwks_fetches_total") == 1);
    let got = issuer.backend.next();
    assert!(got.head.starts_with("GET /hook?from=pushloop HTTP/1.1\r\n"), "{}", got.head);
    until(|| metric(&metrics, "jwks_missing") == 0);
    assert_eq!(publishes(&address, &key.signs()), 200);
    assert_eq!(publishes(&address, &(key.signs() + "A")), 401);
    assert_eq!(publishes(&address, &other.signs()), 401);
    let at = metric(&metrics, "jwks_fetched_seconds");
    assert!(at.abs_diff(in_seconds(0) as u64) < 60, "{at}");
    let stats = format!("/$stats?token={}", key.signs());
    let told = read_json(&mut connect(&address, &stats));
    assert_eq!((&told["jwks_missing"], &told["jwks_fetches"]), (&json!(0), &json!(1)), "{told}");
    assert!(told["jwks_age_seconds"].as_u64().is_some_and(|age| age < 60), "{told}");
}

/// As with keys in files: those of an issuer are good for its tokens alone.
#[test]
fn keys_of_one_issuer_are_no_others() {
    let key = Signer::new("a");
    let issuer = Issuer::start(set(&[&key]));
    let name = "https://issuer.example/";
    let url = format!("{name}={}", issuer.backend.url());
    let (_server, address, metrics) = fetching(&url, &[]);
    until(|| metric(&metrics, "jwks_missing") == 0);
    assert_eq!(publishes(&address, &key.signs_of(name)), 200);
    assert_eq!(publishes(&address, &key.signs_of("https://issuer.example")), 401);
}

/// The server begins at once, is not ready, and says of tokens that it cannot know; others are as they are.
#[test]
fn until_there_are_keys_their_tokens_are_told_to_come_again() {
    let key = Signer::new("a");
    let (release, answer) = held(set(&[&key]));
    let backend = Backend::start(answer);
    let url = format!("of-these={}", backend.url());
    let (_server, address, _files) = super::tokens::guarded(&["--jwks-url", &url]);
    let ready = || status(&ask_tcp(&address, "GET /readyz", "", ""));
    let token = key.signs_of("of-these");
    let told = ask_tcp(&address, "POST /t", &bearer(&token), "x");
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("\r\nRetry-After: 1\r\n"), "{told}");
    assert!(
        told.ends_with("the keys that the token may be by have not been fetched yet"),
        "{told}"
    );
    assert_eq!(ready(), 503);
    assert_eq!(status(&ask_tcp(&address, "GET /healthz", "", "")), 200);
    // Of another issuer, by a secret, and no token.
    assert_eq!(publishes(&address, &key.signs_of("another")), 401);
    let claims = json!({ "exp": in_seconds(3600), "publish": ["t"], "subscribe": ["$stats"] });
    let by_secret = super::tokens::token(&claims);
    assert_eq!(publishes(&address, &by_secret), 200);
    assert_eq!(publishes(&address, &(by_secret.clone() + "A")), 401);
    assert_eq!(publishes(&address, "x"), 401);
    let told = read_json(&mut connect(&address, &format!("/$stats?token={by_secret}")));
    assert_eq!((&told["tokens_early"], &told["jwks_missing"]), (&json!(1), &json!(1)), "{told}");
    release.send(()).expect("the backend waits");
    until(|| ready() == 200);
    assert_eq!(publishes(&address, &token), 200);
}

/// What is wrong ends the server as it starts, and `check` says what would be fetched and fetches nothing.
#[test]
fn a_url_is_looked_at_and_not_fetched() {
    let check = |arguments: &[&str]| {
        let output = bounded(PUSHLOOP).arg("check").args(arguments).output();
        let output = output.expect("it runs");
        let told = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(told).expect("text"))
    };
    let issuer = Issuer::start(Vec::new());
    let url = issuer.backend.url();
    let (is_right, told) = check(&["--jwks-url", &url, "--jwks-max-age", "86400"]);
    let line = format!(
        "# {url} is to be fetched: anew after 86400 s, at most once in 10 s, within 5000 ms"
    );
    assert!(is_right && told.lines().any(|it| it == line), "{told}");
    assert!(issuer.backend.has_no_more());
    let pem = super::tokens::File::new(
        "no-ca",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let none = super::tokens::File::new("empty-ca", b"");
    let secure = ["--jwks-url", "https://issuer.example/keys"];
    let many = (0..17).flat_map(|_| ["--jwks-url", &url]).collect::<Vec<_>>();
    assert!(check(&many[..32]).0);
    for (arguments, why) in [
        (&["--jwks-url", "http://issuer.example/"][..], "it is to be https://"),
        (&["--jwks-url", "http://127.0.0.1.example/"], "it is to be https://"),
        (&["--jwks-url", "a=http://10.0.0.1/"], "it is to be https://"),
        (&["--jwks-url", "ftp://127.0.0.1/"], "neither URL nor ISSUER=URL"),
        (&["--jwks-url", "=https://127.0.0.1/"], "neither URL nor ISSUER=URL"),
        (&["--jwks-url", "https://user@127.0.0.1/"], "neither URL nor ISSUER=URL"),
        (&["--jwks-url", "keys.json"], "neither URL nor ISSUER=URL"),
        (&many, "key_sets_max = 16"),
        (&["--jwks-max-age", "5"], "--jwks-url"),
        (&["--jwks-refetch", "5"], "--jwks-url"),
        (&["--jwks-timeout", "5"], "--jwks-url"),
        (&[&secure[..], &["--jwks-max-age", "0"]].concat(), "seconds from 1 to 86400"),
        (&[&secure[..], &["--jwks-max-age", "86401"]].concat(), "seconds from 1 to 86400"),
        (&[&secure[..], &["--jwks-refetch", "0"]].concat(), "seconds from 1 to 3600"),
        (&[&secure[..], &["--jwks-refetch", "3601"]].concat(), "seconds from 1 to 3600"),
        (&[&secure[..], &["--jwks-timeout", "0"]].concat(), "milliseconds from 1 to 60000"),
        (&[&secure[..], &["--jwks-timeout", "60001"]].concat(), "milliseconds from 1 to 60000"),
        (&["--jwks-url", &url, "--backend-ca", none.path()], "it is about https"),
        (&[&secure[..], &["--backend-ca", none.path()]].concat(), "it has no certificate"),
        (&[&secure[..], &["--backend-ca", pem.path()]].concat(), "certificate 1 cannot be used"),
        (&[&secure[..], &["--backend-ca", "/nowhere/ca"]].concat(), "/nowhere/ca"),
    ] {
        let (is_right, told) = check(arguments);
        assert!(
            !is_right && told.contains(why) && told.lines().count() == 1,
            "{arguments:?}: {told}"
        );
    }
    for right in [
        "http://localhost:1/",
        "http://[::1]:1/",
        "http://127.9.9.9/",
        "https://[2001:db8::1]/x?y=1",
    ] {
        assert!(web_is_right(&check, right), "{right}");
    }
}

/// Where trust needs no authorities of the system.
fn web_is_right(check: &dyn Fn(&[&str]) -> (bool, String), url: &str) -> bool {
    let authority = crate::tls::Authority::new();
    let file = super::tokens::File::new("ca", authority.pem().as_bytes());
    let more: &[&str] = if url.starts_with("https") { &["--backend-ca", file.path()] } else { &[] };
    check(&[&["--jwks-url", url], more].concat()).0
}

#[test]
fn a_token_is_explained_by_the_keys_of_its_issuer() {
    let key = Signer::new("a");
    let issuer = Issuer::start(set(&[&key]));
    let explain = || {
        let url = issuer.backend.url();
        let arguments = ["token", "check", "--jwks-url", &url, "--publish", "t", &key.signs()];
        let output = bounded(PUSHLOOP).args(arguments).output().expect("it runs");
        String::from_utf8([output.stdout, output.stderr].concat()).expect("text")
    };
    let told = explain();
    assert!(told.contains("verdict: good\npublish t: yes\n"), "{told}");
    issuer.has(reply(404, "", ""));
    let told = explain();
    assert!(told.contains("the answer has the status 404"), "{told}");
}
