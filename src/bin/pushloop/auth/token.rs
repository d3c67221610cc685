//! Tokens: three parts, a signature over two of them, and by which key it is.

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use super::{
    claims::{Claims, Expected},
    encoding::{base64url, object, to_base64url},
    keys::{Algorithm, Key},
};

/// Bytes of a token.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Keys that a token is tried with: where keys change, its own and the one before.
const KEYS_TRIED_MAX: usize = 4;

/// Why a token is none, in a sentence of ASCII without quotes, as RFC 6750 §3 wants it. It has names of
/// claims, and nothing of what the token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub cause: Cause,
    pub why: Cow<'static, str>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is no token.
    Malformed,
    /// No key here has signed it.
    Unsigned,
    /// The same, and its key may be one that a set has by now.
    UnknownKey,
    /// It says something that is not taken here.
    Claims,
    Expired,
    /// Its subject may nothing any more.
    Revoked,
    /// It was not looked at: too many false ones came from there.
    TooMany,
}

impl Invalid {
    pub fn new(cause: Cause, why: impl Into<Cow<'static, str>>) -> Self {
        Self { cause, why: why.into() }
    }
}

fn malformed(why: impl Into<Cow<'static, str>>) -> Invalid {
    Invalid::new(Cause::Malformed, why)
}

fn unsigned(why: &'static str) -> Invalid {
    Invalid::new(Cause::Unsigned, why)
}

/// What is asked of tokens.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    pub keys: Vec<Key>,
    /// Those of sets that are fetched, which change while the server runs.
    pub fetched: Vec<Arc<Vec<Key>>>,
    /// Who may have made a token, if that matters: for keys that are not of one issuer.
    pub issuers: Vec<String>,
    pub audiences: Vec<String>,
}

/// A token that nobody has verified. What it says is a claim of whoever sent it.
#[derive(Debug)]
pub struct Unverified<'a> {
    pub header: Header,
    /// What was signed: its first two parts, and the dot.
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// What the first part says.
#[derive(Debug)]
pub struct Header {
    pub algorithm: String,
    pub key_id: Option<String>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart (RFC 7515 §5.2).
    pub fn read(token: &'a str) -> Result<Self, Invalid> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(malformed(format!(
                "the token is longer than token_bytes_max = {TOKEN_BYTES_MAX} bytes"
            )));
        }
        let parts: Vec<&str> = token.splitn(4, '.').collect();
        let &[header, payload, signature] = &parts[..] else {
            return Err(malformed("the token is not three parts with dots between them"));
        };
        let bytes = |part: &str, name: &str| {
            let why = || malformed(format!("the token's {name} is no base64url (cut, or padded?)"));
            base64url(part).ok_or_else(why)
        };
        let is_wrong = |why| malformed(format!("the token's header {why}"));
        let header = Header::read(&object(&bytes(header, "header")?).map_err(is_wrong)?)?;
        let payload_bytes = bytes(payload, "payload")?;
        let signature_bytes = bytes(signature, "signature")?;
        let signed = &token[..token.len() - signature.len() - 1];
        Ok(Self { header, signed, payload: payload_bytes, signature: signature_bytes })
    }

    /// What it claims.
    pub fn claims(&self) -> Result<Map<String, Value>, Invalid> {
        object(&self.payload).map_err(|why| malformed(format!("the token's payload {why}")))
    }
}

impl Header {
    fn read(header: &Map<String, Value>) -> Result<Self, Invalid> {
        // RFC 7515 §4.1.11: what must be understood and is not makes it invalid. Nothing is: a key that
        // comes along (`jwk`, `jku`, `x5c`) is never looked at.
        if header.contains_key("crit") {
            return Err(malformed("the token's header demands that crit is understood"));
        }
        let Some(Value::String(algorithm)) = header.get("alg") else {
            return Err(malformed("the token's header has no alg"));
        };
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Err(malformed("the token's kid is no text")),
        };
        Ok(Self { algorithm: algorithm.clone(), key_id })
    }
}

impl Verifier {
    /// What a token says, if it is good: `now` is the time since 1970.
    pub fn verify(&self, token: &str, now: Duration) -> Result<Claims, Invalid> {
        let unverified = Unverified::read(token)?;
        let key = self.signer(&unverified)?;
        let issuers = match &key.issuer {
            Some(issuer) => std::slice::from_ref(issuer),
            None => &self.issuers,
        };
        let expected = Expected { issuers, audiences: &self.audiences, now };
        Claims::read(&unverified.claims()?, &expected)
    }

    /// The key that has signed it. The names of algorithm and key in a token choose among the keys of that
    /// algorithm, and change nothing in how one of them verifies.
    fn signer(&self, token: &Unverified) -> Result<&Key, Invalid> {
        let Some(algorithm) = Algorithm::by_name(&token.header.algorithm) else {
            return Err(unsigned("the token's alg is none of HS256, RS256, ES256, EdDSA"));
        };
        let keys = self.keys.iter().chain(self.fetched.iter().flat_map(|set| set.iter()));
        let mut candidates: Vec<_> = keys.filter(|key| key.algorithm() == algorithm).collect();
        let has_none = candidates.is_empty();
        if let Some(id) = &token.header.key_id {
            // Keys of files have no name, and may be meant.
            candidates.retain(|key| key.id.as_ref().is_none_or(|it| it == id));
            candidates.sort_by_key(|key| key.id.is_none());
        }
        let signed = token.signed.as_bytes();
        let mut tried = candidates.iter().take(KEYS_TRIED_MAX);
        if let Some(key) = tried.find(|key| key.verifies(signed, &token.signature)) {
            return Ok(key);
        }
        let why = match candidates.len() {
            0 if has_none => "no key here is for the token's alg",
            0 => "no key here has the token's kid",
            1..=KEYS_TRIED_MAX => "the token's signature is not by a key of this server",
            _ => {
                "the token's signature is not by one of the first keys_tried_max = 4 keys: it needs a kid"
            }
        };
        let id = token.header.key_id.as_ref();
        let is_known = id.is_some() && candidates.iter().any(|key| key.id.as_ref() == id);
        // No set has secrets.
        let is_final = is_known || algorithm == Algorithm::Hs256;
        Err(Invalid::new(if is_final { Cause::Unsigned } else { Cause::UnknownKey }, why))
    }
}

/// Whom a token names as its issuer. Nobody has verified that.
pub fn claimed_issuer(token: &str) -> Option<String> {
    let claims = Unverified::read(token).ok()?.claims().ok()?;
    claims.get("iss").and_then(Value::as_str).map(str::to_owned)
}

/// Makes a token of these claims with a secret. `None` for a key that cannot sign.
pub fn sign(claims: &Value, key: &Key) -> Option<String> {
    let header = format!(r#"{{"alg":"{}","typ":"JWT"}}"#, key.algorithm().name());
    let payload = claims.to_string();
    let signed =
        format!("{}.{}", to_base64url(header.as_bytes()), to_base64url(payload.as_bytes()));
    let signature = key.sign(signed.as_bytes())?;
    Some(format!("{signed}.{}", to_base64url(&signature)))
}
