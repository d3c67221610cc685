//! Keys that tokens are verified with, from the bytes of their files.

use ring::{hmac, signature};
use serde_json::{Map, Value};

use super::encoding::{base64url, object, pem, take_der, without_line_end};

/// Bytes of a secret: what RFC 7518 §3.2 demands of HS256.
const SECRET_BYTES_MIN: usize = 32;
/// Bits of the modulus of an RSA key (RFC 7518 §3.3). What is longer takes long to verify.
const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;
/// Keys of one set.
const KEYS_MAX: usize = 64;

/// What a signature is made with (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// Its names in a token or a key; RFC 9864 has one more for the last.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A key, with the one algorithm that it is for.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name in a set of keys.
    pub id: Option<String>,
    /// The issuer of the tokens that it verifies, if there are several.
    pub issuer: Option<String>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Secret(hmac::Key),
    /// Both as numbers, the first byte first and not zero.
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point of P-256, uncompressed (SEC 1 §2.3.3).
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Key {
    fn of(material: Material) -> Self {
        Self { id: None, issuer: None, material }
    }

    /// The same for tokens of this issuer alone, if one is named.
    pub fn of_issuer(mut self, issuer: Option<&String>) -> Self {
        self.issuer = issuer.cloned();
        self
    }

    pub fn algorithm(&self) -> Algorithm {
        match &self.material {
            Material::Secret(_) => Algorithm::Hs256,
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Whether the signature was made of these bytes with this key. `ring` compares a code in constant time.
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        let point = |algorithm, key: &[u8]| {
            signature::UnparsedPublicKey::new(algorithm, key).verify(signed, signature)
        };
        let verified = match &self.material {
            Material::Secret(key) => hmac::verify(key, signed, signature),
            Material::Rsa { modulus: n, exponent: e } => signature::RsaPublicKeyComponents { n, e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, signature),
            Material::P256(key) => point(&signature::ECDSA_P256_SHA256_FIXED, key),
            Material::Ed25519(key) => point(&signature::ED25519, key),
        };
        verified.is_ok()
    }

    /// The signature of these bytes, if the key is one to sign with.
    pub fn sign(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        match &self.material {
            Material::Secret(key) => Some(hmac::sign(key, bytes).as_ref().into()),
            Material::Rsa { .. } | Material::P256(_) | Material::Ed25519(_) => None,
        }
    }
}

/// Reads a secret: the bytes of its file, without a line end behind them.
pub fn secret(bytes: &[u8]) -> Result<Key, String> {
    let secret = without_line_end(bytes);
    // A public key is known to all, and whoever knows the secret makes tokens.
    if secret.trim_ascii_start().starts_with(b"-----BEGIN ") {
        return Err(
            "it is PEM, and a secret is bytes: a public key is for --jwt-public-key-file".into()
        );
    }
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "a secret has at least secret_bytes_min = {SECRET_BYTES_MIN} bytes, and this one {}",
            secret.len()
        ));
    }
    Ok(Key::of(Material::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret))))
}

/// Reads a public key in PEM, as `openssl pkey -pubout` writes it.
pub fn public_key(bytes: &[u8]) -> Result<Key, String> {
    let (label, der) = pem(str::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?)?;
    match label {
        "PUBLIC KEY" => {}
        label if label.ends_with("PRIVATE KEY") => {
            return Err("it is a private key, which only those need who make tokens: \
                        openssl pkey -pubout gives the public one"
                .to_owned());
        }
        "CERTIFICATE" => {
            return Err("it is a certificate: openssl x509 -noout -pubkey gives its key".to_owned());
        }
        _ => {
            return Err("it is no PUBLIC KEY, as openssl pkey -pubin -pubout writes one".to_owned());
        }
    }
    read_spki(&der).ok_or_else(|| "it is none of RSA, P-256 and Ed25519".to_owned())?.map(Key::of)
}

/// Names of algorithms and a curve, in DER (RFC 8017 §A.1, RFC 5480 §2.1, RFC 8410 §3).
const RSA_OID: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
const EC_OID: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
const P256_OID: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07";
const ED25519_OID: &[u8] = b"\x2b\x65\x70";

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// Reads a SubjectPublicKeyInfo (RFC 5280 §4.1). `None` if it is none that is known here.
fn read_spki(mut der: &[u8]) -> Option<Result<Material, String>> {
    let mut info = take_der(&mut der, SEQUENCE).filter(|_| der.is_empty())?;
    let mut algorithm = take_der(&mut info, SEQUENCE)?;
    let bits = take_der(&mut info, BIT_STRING).filter(|_| info.is_empty())?;
    // The number of bits that are not used.
    let key = bits.strip_prefix(b"\0")?;
    match take_der(&mut algorithm, OID)? {
        RSA_OID => {
            let mut key = key;
            let mut numbers = take_der(&mut key, SEQUENCE).filter(|_| key.is_empty())?;
            let modulus = take_der(&mut numbers, INTEGER)?;
            let exponent = take_der(&mut numbers, INTEGER).filter(|_| numbers.is_empty())?;
            Some(rsa(modulus, exponent))
        }
        EC_OID if take_der(&mut algorithm, OID)? == P256_OID => Some(p256(key.to_vec())),
        ED25519_OID => Some(ed25519(key.to_vec())),
        _ => None,
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Material, String> {
    let number = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes[zeros..].to_vec()
    };
    let (modulus, exponent) = (number(modulus), number(exponent));
    let unused = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    let bits = modulus.len() * 8 - unused;
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Err(format!(
            "an RSA key has from rsa_bits_min = {RSA_BITS_MIN} to rsa_bits_max = {RSA_BITS_MAX} bits, and this one {bits}"
        ));
    }
    // With 1, everybody signs. `ring` takes no more than 33 bits.
    let is_usual = exponent.len() <= 4 && exponent.last().is_some_and(|last| last % 2 == 1);
    if !is_usual || exponent == [1] {
        return Err("the exponent of the RSA key is not usual".to_owned());
    }
    Ok(Material::Rsa { modulus, exponent })
}

fn p256(point: Vec<u8>) -> Result<Material, String> {
    if point.len() != 65 || point[0] != 4 {
        return Err("the key is no uncompressed point of P-256".to_owned());
    }
    Ok(Material::P256(point))
}

fn ed25519(key: Vec<u8>) -> Result<Material, String> {
    if key.len() != 32 {
        return Err("an Ed25519 key has 32 bytes".to_owned());
    }
    Ok(Material::Ed25519(key))
}

/// Reads a set of keys (RFC 7517 §5), and says why some of it are left out, which other tokens may be for.
pub fn key_set(bytes: &[u8]) -> Result<(Vec<Key>, Vec<String>), String> {
    let set = object(bytes).map_err(|why| format!("it {why}"))?;
    let Some(Value::Array(list)) = set.get("keys") else {
        return Err("it has no array of keys: a key set is {\"keys\":[…]}".to_owned());
    };
    if list.len() > KEYS_MAX {
        return Err(format!("it has more than keys_max = {KEYS_MAX} keys"));
    }
    let (mut keys, mut left_out) = (Vec::new(), Vec::new());
    for (nth, entry) in (1..).zip(list) {
        match read_jwk(entry) {
            Ok(key) => keys.push(key),
            Err(why) => left_out.push(format!("key {nth} is left out: {why}")),
        }
    }
    if keys.is_empty() {
        let all = if left_out.is_empty() { "it is empty".to_owned() } else { left_out.join("; ") };
        return Err(format!("no key of it can be used: {all}"));
    }
    Ok((keys, left_out))
}

fn read_jwk(entry: &Value) -> Result<Key, String> {
    let Value::Object(jwk) = entry else { return Err("it is no object".to_owned()) };
    let is_for_signatures = match (jwk.get("use"), jwk.get("key_ops")) {
        (Some(usage), _) if usage != "sig" => false,
        (_, Some(Value::Array(operations))) => operations.iter().any(|it| it == "verify"),
        (_, Some(_)) => false,
        (_, None) => true,
    };
    if !is_for_signatures {
        return Err("it is not for verifying signatures (use, key_ops)".to_owned());
    }
    let curve = jwk.get("crv").and_then(Value::as_str).unwrap_or_default();
    let kind = jwk.get("kty").and_then(Value::as_str).unwrap_or_default();
    let material = match (kind, curve) {
        ("RSA", _) => rsa(&member(jwk, "n")?, &member(jwk, "e")?)?,
        ("EC", "P-256") => {
            let (x, y) = (member(jwk, "x")?, member(jwk, "y")?);
            // RFC 7518 §6.2.1.2: each has the length of the curve's field.
            if x.len() != 32 || y.len() != 32 {
                return Err("x and y of P-256 have 32 bytes".to_owned());
            }
            p256([&[4], &x[..], &y[..]].concat())?
        }
        ("OKP", "Ed25519") => ed25519(member(jwk, "x")?)?,
        // What is fetched, or shown, is no place for secrets.
        ("oct", _) => return Err("it is a secret: --jwt-secret-file is for these".to_owned()),
        _ => {
            return Err(
                "its kty and crv are none of RSA, EC with P-256, OKP with Ed25519".to_owned()
            );
        }
    };
    let mut key = Key::of(material);
    let named = jwk.get("alg").map(|name| name.as_str().and_then(Algorithm::by_name));
    if named.is_some_and(|named| named != Some(key.algorithm())) {
        return Err(format!("its alg is not {}", key.algorithm().name()));
    }
    key.id = match jwk.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return Err("its kid is no text".to_owned()),
    };
    Ok(key)
}

fn member(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let text = jwk.get(name).and_then(Value::as_str);
    text.and_then(base64url).ok_or_else(|| format!("its {name} is no base64url"))
}
