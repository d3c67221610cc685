//! Keys that are fetched, as the gate has them.

use std::sync::{Arc, atomic::Ordering};

use pushloop::{Handle, Hub};

use super::{Gate, Keys, TurnedAway, since_1970};
use crate::{
    auth::{Cache, claimed_issuer},
    key_sets::{KeySet, Latest},
    logs::{Level, say},
    options::Options,
    status::Status,
};

impl Keys {
    /// The same, with the keys of these sets besides.
    pub fn with(mut self, sets: Vec<KeySet>) -> Self {
        self.sets = sets;
        self
    }

    pub fn sets(&self) -> &[KeySet] {
        &self.sets
    }
}

impl Gate {
    /// What the options ask for. Keys that are fetched are begun to be.
    pub fn begin(options: &Options, handle: &Handle, status: &Arc<Status>) -> Result<Self, String> {
        let tokens = &options.tokens;
        let (keys, left_out) = tokens.read()?;
        left_out.iter().for_each(|why| say(Level::Warn, why));
        let sets = tokens.fetched.begin(&[], handle, status)?;
        let keys = keys.with(sets).open_to(&options.patterns);
        Ok(Self::new(keys, tokens.cookie.clone(), Arc::clone(status)))
    }

    /// The same for another loop, which remembers for itself whose tokens it has seen.
    pub fn twin(&self) -> Self {
        Self::new(self.keys.clone(), self.cookie.clone(), Arc::clone(&self.status))
    }

    /// The sets of keys that are fetched.
    pub fn sets(&self) -> &[KeySet] {
        self.keys.sets()
    }

    /// Goes by the keys that the sets have now.
    pub fn take_fetched(&mut self) {
        let latest: Vec<Latest> = self.keys.sets.iter().map(KeySet::latest).collect();
        let before = &self.keys.verifier.fetched;
        let is_same = before.len() == latest.len()
            && before.iter().zip(&latest).all(|(before, now)| Arc::ptr_eq(before, &now.keys));
        let missing = latest.iter().filter(|set| set.at.is_none()).count();
        let oldest = latest.iter().map(|set| set.at.unwrap_or(0)).min();
        self.status.jwks_missing.store(missing as u64, Ordering::Relaxed);
        self.status.jwks_fetched_seconds.store(oldest.unwrap_or(0), Ordering::Relaxed);
        if !is_same {
            self.keys.verifier.fetched = latest.into_iter().map(|set| set.keys).collect();
            // A key that has gone has signed some of what is in it.
            self.cache = Cache::default();
        }
    }

    /// Has the sets fetched again that the key of a token may be in by now. What the token's sender is told, if one
    /// of them has never been fetched: that the token is not good is not known.
    pub(super) fn want_key(&self, token: &str) -> Option<TurnedAway> {
        if self.keys.sets.is_empty() {
            return None;
        }
        let issuer = claimed_issuer(token);
        let mut is_early = false;
        for set in self.keys.sets.iter().filter(|set| set.may_have_signed(issuer.as_deref())) {
            set.want();
            is_early |= set.latest().at.is_none();
        }
        is_early.then(|| {
            self.status.tokens_early.fetch_add(1, Ordering::Relaxed);
            TurnedAway {
                status: 503,
                why: "the keys that the token may be by have not been fetched yet".into(),
                field: Some(("Retry-After", "1".into())),
                is_last: true,
            }
        })
    }

    /// How old the oldest keys are that were fetched, as a member of JSON.
    pub(super) fn age_of_fetched(&self, hub: &Hub) -> Option<String> {
        let at = self.status.jwks_fetched_seconds.load(Ordering::Relaxed);
        let now = since_1970(hub).filter(|_| at > 0)?.as_secs();
        Some(format!(",\"jwks_age_seconds\":{}", now.saturating_sub(at)))
    }
}
