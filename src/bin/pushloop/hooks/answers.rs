//! Questions that were answered with yes a moment ago, and the answer holds for a while.

use std::time::{Duration, Instant};

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

/// Places for answers.
const ENTRIES: usize = 4096;

/// What a question is known by. The question itself is not kept: a header in it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark([u8; SHA256_OUTPUT_LEN]);

impl Mark {
    pub fn of(question: &[u8]) -> Self {
        let mut mark = [0; SHA256_OUTPUT_LEN];
        mark.copy_from_slice(digest(&SHA256, question).as_ref());
        Self(mark)
    }
}

/// A question has one place, by its mark, and another one with the same place takes it: nothing is searched or
/// gone through, whatever comes.
#[derive(Debug, Default)]
pub struct Answers {
    /// Empty until the first answer that holds.
    entries: Vec<Option<(Mark, Instant)>>,
}

impl Answers {
    /// Whether the question was answered with yes, and that holds.
    pub fn allow(&self, mark: Mark, now: Instant) -> bool {
        let entry = self.entries.get(place(mark));
        matches!(entry, Some(Some((other, until))) if *other == mark && *until > now)
    }

    pub fn insert(&mut self, mark: Mark, now: Instant, holds: Duration) {
        if holds.is_zero() {
            return;
        }
        if self.entries.is_empty() {
            self.entries = vec![None; ENTRIES];
        }
        self.entries[place(mark)] = Some((mark, now + holds));
    }
}

fn place(mark: Mark) -> usize {
    usize::from(u16::from_le_bytes([mark.0[0], mark.0[1]])) % ENTRIES
}
