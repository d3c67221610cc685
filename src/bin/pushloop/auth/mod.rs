//! Who may subscribe and publish: keys, tokens, and the one question that every door asks (`Policy::may`).
//!
//! It knows the bytes of keys and of tokens, names of topics, and the time that it is told. It must not know
//! requests, connections, files or clocks: where a token comes from is `gate.rs`, which files there are is
//! `gate/files.rs`.
//!
//! Tokens are JWTs (RFC 7519), signed and not encrypted (RFC 7515), and they are verified here by hand, on `ring`.
//! `jsonwebtoken` 12 can be had with a provider of our own, which must be set for the whole process; it brings
//! five crates and had three major versions in fourteen months. What it would do is a split, base64 and a
//! comparison of two numbers; its PEM needs a dozen crates more. Which key may decide, what is bounded, what
//! comes twice and how a refusal reads would be ours in any case, and there the mistakes are made.
//!
//! Two rules of RFC 8725 are held by the types. A key knows its one algorithm, and a token's `alg` only chooses
//! among keys: there is no way to verify by an algorithm that a token names. And `Claims` come of `Verifier::verify` alone.

mod cache;
mod claims;
mod encoding;
mod keys;
mod pattern;
mod token;

use std::sync::Arc;

use ring::hmac;

pub use self::{
    cache::Cache,
    claims::Claims,
    encoding::without_line_end,
    keys::{Key, key_set, public_key, secret},
    pattern::{JOINS, OCCUPIED, is_protected},
    token::{Cause, Invalid, Unverified, Verifier, claimed_issuer, sign},
};

/// Bytes of a key for publishing.
pub const PUBLISH_KEY_BYTES_MIN: usize = 16;

/// What somebody asks to do to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read what is published, from now on or what was kept, or who subscribes.
    Subscribe,
    Publish,
}

/// The one who asks.
#[derive(Clone, Debug)]
pub enum Principal {
    /// Neither a token nor a key came.
    Anyone,
    /// The backend, with the key for publishing.
    PublishKey,
    Token(Arc<Claims>),
    /// The backend of an application of Pusher's, which has signed its request.
    Backend,
    /// A client of one, perhaps with a signature for one topic.
    Client {
        signed: Option<Box<str>>,
    },
}

impl Principal {
    /// What its token says, if it has one.
    pub fn claims(&self) -> Option<&Arc<Claims>> {
        match self {
            Self::Token(claims) => Some(claims),
            Self::Anyone | Self::PublishKey | Self::Backend | Self::Client { .. } => None,
        }
    }

    /// Who it is, as its token has it.
    pub fn subject(&self) -> Option<&str> {
        self.claims()?.subject.as_deref()
    }
}

/// What is asked of everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// There are keys. Without, all that come may subscribe and publish.
    pub is_guarded: bool,
    pub anyone_may_subscribe: bool,
    /// Whether anyone may publish to topics that begin so, the longest prefix first: it alone counts.
    pub anyone_may_publish: Vec<(String, bool)>,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The server's own topics take nothing.
    ReadOnly,
    NoToken(Action),
    /// The token has no pattern for the topic.
    NotGranted(Action),
    /// The key for publishing does nothing else.
    KeyPublishesOnly,
    /// There are no keys, and nobody is told from anybody.
    NobodyKnown,
    /// A client of an application has no signature for the topic.
    NotSigned,
}

impl Policy {
    /// Whether somebody may do this to a topic, by its decoded name. Every way to subscribe, to read and to
    /// publish asks here, so that none of them leads around another.
    pub fn may(&self, who: &Principal, action: Action, topic: &str) -> Result<(), Denied> {
        let is_for_anyone = match action {
            Action::Subscribe => self.anyone_may_subscribe,
            Action::Publish => {
                let mut prefixes = self.anyone_may_publish.iter();
                let longest = prefixes.find(|(prefix, _)| topic.starts_with(prefix.as_str()));
                longest.is_some_and(|(_, may)| *may)
            }
        };
        let is_open = is_for_anyone && !pattern::is_protected(topic);
        let verdict = match who {
            Principal::Anyone | Principal::PublishKey | Principal::Token(_)
                if is_open || !self.is_guarded =>
            {
                Ok(())
            }
            Principal::Client { signed: Some(signed) } if **signed == *topic => Ok(()),
            Principal::Client { .. }
                if action == Action::Subscribe && !pattern::is_protected(topic) =>
            {
                Ok(())
            }
            Principal::Client { .. } => Err(Denied::NotSigned),
            Principal::Backend => Ok(()),
            Principal::Anyone => Err(Denied::NoToken(action)),
            Principal::PublishKey if action == Action::Publish => Ok(()),
            Principal::PublishKey => Err(Denied::KeyPublishesOnly),
            Principal::Token(claims) if claims.grants(action).cover(topic) => Ok(()),
            Principal::Token(_) => Err(Denied::NotGranted(action)),
        };
        let is_read_only = action == Action::Publish && topic.starts_with('$');
        // Where it is asked who comes, that is asked first.
        if is_read_only && verdict != Err(Denied::NoToken(action)) {
            return Err(Denied::ReadOnly);
        }
        verdict
    }

    /// Whether anyone may publish to some topic.
    pub fn has_open_topics(&self) -> bool {
        !self.is_guarded || self.anyone_may_publish.iter().any(|(_, may)| *may)
    }
}

impl Denied {
    /// The status of an answer.
    pub fn status(self) -> u16 {
        match self {
            Self::NoToken(_) => 401,
            Self::ReadOnly
            | Self::NotGranted(_)
            | Self::KeyPublishesOnly
            | Self::NobodyKnown
            | Self::NotSigned => 403,
        }
    }

    /// What is told: a sentence of ASCII without quotes, as RFC 6750 §3 wants it.
    pub fn why(self) -> &'static str {
        match self {
            Self::ReadOnly => "topics that begin with $ are the server's own",
            Self::NoToken(Action::Subscribe) => "a token is needed to subscribe",
            Self::NoToken(Action::Publish) => "a token is needed to publish",
            Self::NotGranted(Action::Subscribe) => {
                "the token's claim subscribe does not cover this topic"
            }
            Self::NotGranted(Action::Publish) => {
                "the token's claim publish does not cover this topic"
            }
            Self::NobodyKnown => {
                "this is for operators, who are known by a token: there are no keys"
            }
            Self::NotSigned => "the signature is not the one of this socket and channel",
            Self::KeyPublishesOnly => "the publish key does not allow to subscribe to this topic",
        }
    }
}

/// The key of a backend that makes no tokens.
///
/// It is not kept: a code is made of it, and of what comes in its place. `ring` compares the two codes in
/// constant time, and the length of the key shows in neither.
#[derive(Clone, Debug)]
pub struct PublishKey(hmac::Tag);

impl PublishKey {
    /// Reads the bytes of its file. A line end behind them is not part of it.
    pub fn new(bytes: &[u8]) -> Result<Self, String> {
        let key = encoding::without_line_end(bytes);
        if key.len() < PUBLISH_KEY_BYTES_MIN {
            return Err(format!(
                "a publish key has at least publish_key_bytes_min = {PUBLISH_KEY_BYTES_MIN} bytes, and this one {}",
                key.len()
            ));
        }
        // It comes as `Authorization: Bearer KEY`.
        if !key.iter().all(u8::is_ascii_graphic) {
            return Err("a publish key is one line of visible ASCII without spaces".to_owned());
        }
        Ok(Self(hmac::sign(&code_key(key), PURPOSE)))
    }

    pub fn is(&self, other: &str) -> bool {
        hmac::verify(&code_key(other.as_bytes()), PURPOSE, self.0.as_ref()).is_ok()
    }
}

const PURPOSE: &[u8] = b"pushloop publish key";

fn code_key(key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

#[cfg(test)]
mod tests;
