//! The rows of tokens and keys.

use super::{super::values::*, Entry};
use crate::{key_sets::Source, pusher::AppFile};

pub const TOKENS: &[Entry] = &[
    Entry::file(
        "jwt-secret-file",
        "take tokens (JWT, HS256) that are signed with the secret in this file",
        |options, path| options.tokens.secrets.push(path),
    )
    .repeated()
    .reloads(),
    Entry::text(
        "jwt-public-key-file",
        "FILE",
        "take tokens that belong to the public key in this PEM file: RSA (RS256), P-256 (ES256) or Ed25519 \
         (EdDSA); as ISSUER=FILE, those of this issuer alone",
        |options, text| key_file(text).map(|it| options.tokens.public_keys.push(it)),
    )
    .repeated()
    .reloads(),
    Entry::text(
        "jwks",
        "FILE",
        "the same for the keys of this JSON Web Key Set; also ISSUER=FILE",
        |options, text| key_file(text).map(|it| options.tokens.key_sets.push(it)),
    )
    .repeated()
    .reloads(),
    Entry::text(
        "jwks-url",
        "URL",
        "the same for a set that is fetched from https://HOST[:PORT]/PATH, or over http from this machine; also \
         ISSUER=URL",
        |options, text| Source::parse(text).and_then(|it| options.tokens.fetched.add(it)),
    )
    .repeated()
    .reloads(),
    Entry::number(
        "jwks-max-age",
        "SECONDS",
        "fetch it anew when it is so old, or as old as its Cache-Control says, if that is less",
        |options, text| jwks_max_age(text).map(|it| options.tokens.fetched.pace.max_age = it),
    )
    .or("600")
    .reloads(),
    Entry::number(
        "jwks-refetch",
        "SECONDS",
        "and when a token names a key that is not in it, but at most once in so long",
        |options, text| jwks_refetch(text).map(|it| options.tokens.fetched.pace.refetch = it),
    )
    .or("10")
    .reloads(),
    Entry::number(
        "jwks-timeout",
        "MILLISECONDS",
        "how long it may take to fetch it, 60000 at most",
        |options, text| jwks_timeout(text).map(|it| options.tokens.fetched.pace.timeout = it),
    )
    .or("5000")
    .reloads(),
    Entry::text(
        "jwt-issuer",
        "NAME",
        "take tokens of this issuer (iss), and of no other that is not named",
        |options, text| not_empty(text).map(|it| options.tokens.issuers.push(it)),
    )
    .repeated()
    .reloads(),
    Entry::text(
        "jwt-audience",
        "NAME",
        "take tokens for this audience (aud), and no others; without, those that name none",
        |options, text| not_empty(text).map(|it| options.tokens.audiences.push(it)),
    )
    .repeated()
    .reloads(),
    Entry::text(
        "token-cookie",
        "NAME",
        "take tokens from this cookie too, of pages of the same origin and of --allow-origin",
        |options, text| cookie(text).map(|it| options.tokens.cookie = Some(it)),
    ),
    Entry::file(
        "revoked-subjects-file",
        "take no token of the subjects (sub) in this file, one a line; on SIGHUP, their connections end",
        |options, path| options.tokens.revoked = Some(path),
    )
    .reloads(),
    Entry::file(
        "publish-key-file",
        "let all publish that send the key in this file as Authorization: Bearer KEY",
        |options, path| options.tokens.publish_key = Some(path),
    )
    .reloads(),
    Entry::text(
        "pusher-app",
        "ID:KEY:FILE",
        "serve this application to clients of Pusher at /app/KEY and /apps/ID, with its secret in this file; see \
         docs/PUSHER.md",
        |options, text| AppFile::parse(text)?.add_to(&mut options.tokens.apps),
    )
    .repeated(),
    Entry::switch(
        "anyone-may-subscribe",
        "with keys, ask no subscriber, but of topics that begin with private-, presence- or $",
        |options, on| options.tokens.anyone_may_subscribe = on,
    )
    .reloads(),
];
