//! Tokens that were looked at a moment ago: a busy publisher sends the same one with each request.

use std::{sync::Arc, time::Duration};

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::{Cause, Claims, Invalid};

/// Places for tokens.
const ENTRIES: usize = 4096;
/// Bytes of a token that is kept, so that all of them have a bound in memory. Usual ones are shorter.
const CACHED_TOKEN_BYTES_MAX: usize = 2048;

/// What tokens say that were verified, by their hashes. A token has one place, by its hash, and another
/// one with the same place takes it: nothing is searched or gone through, whatever comes. What was refused
/// is not kept, but for what was good once: its sender may send it again and again.
#[derive(Debug, Default)]
pub struct Cache {
    /// Empty until the first token comes.
    entries: Vec<Option<Entry>>,
}

#[derive(Clone, Debug)]
struct Entry {
    hash: [u8; SHA256_OUTPUT_LEN],
    found: Found,
}

#[derive(Clone, Debug)]
enum Found {
    Good(Arc<Claims>),
    /// It was over at that time.
    Expired(Invalid, Duration),
}

impl Cache {
    /// What a token says, if it was verified and is still good; else what `verify` finds.
    pub fn get_or(
        &mut self,
        token: &str,
        now: Duration,
        verify: impl FnOnce() -> Result<Claims, Invalid>,
    ) -> Result<Arc<Claims>, Invalid> {
        if token.len() > CACHED_TOKEN_BYTES_MAX {
            return verify().map(Arc::new);
        }
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let place = usize::from(u16::from_le_bytes([hash[0], hash[1]])) % ENTRIES;
        if let Some(Some(entry)) = self.entries.get(place)
            && entry.hash == hash
        {
            match &entry.found {
                Found::Good(claims) if claims.expires > now => return Ok(Arc::clone(claims)),
                // The clock may have been put back since.
                Found::Expired(invalid, then) if *then <= now => return Err(invalid.clone()),
                Found::Good(_) | Found::Expired(..) => {}
            }
        }
        let outcome = verify().map(Arc::new);
        let found = match &outcome {
            Ok(claims) => Found::Good(Arc::clone(claims)),
            Err(invalid) if invalid.cause == Cause::Expired => Found::Expired(invalid.clone(), now),
            Err(_) => return outcome,
        };
        if self.entries.is_empty() {
            self.entries = vec![None; ENTRIES];
        }
        self.entries[place] = Some(Entry { hash, found });
        outcome
    }
}
