//! Who is in a room, and what pages have said there. The lines themselves are the history of its topic.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use pushloop::History;

/// A room keeps so many lines, and so many bytes of them.
const LINES_MAX: usize = 300;
const BYTES_MAX: usize = 48 * 1024;
/// A room knows the keys of so many lines. A key outlives its line by far: a page that was cut off
/// may say a line again when the line is no longer kept.
pub const KEYS_MAX: usize = 8 * LINES_MAX;

/// What the topic of a room keeps, for as long as the room is there.
pub fn history() -> History {
    let mut history = History::of(LINES_MAX as u64);
    (history.bytes, history.age) = (BYTES_MAX, Duration::MAX);
    history
}

#[derive(Default)]
pub struct Room {
    pub here: BTreeSet<String>,
    /// The number of the last line here, among those of all rooms; 0 if nothing was said.
    pub last: u64,
    keys: Keys,
}

impl Room {
    /// Whether the page with this token has said the line with this key already.
    pub fn knows(&self, token: &str, key: &str) -> bool {
        self.keys.known.contains(&self.keys.hash.hash_one((token, key)))
    }

    pub fn remember(&mut self, token: &str, key: &str) {
        let Keys { hash, known, by_age } = &mut self.keys;
        let key = hash.hash_one((token, key));
        if known.insert(key) {
            by_age.push_back(key);
        }
        if by_age.len() > KEYS_MAX {
            by_age.pop_front().map(|oldest| known.remove(&oldest));
        }
    }
}

/// The keys of lines, as hashes under a secret of this room: nobody can make two that are the same.
#[derive(Default)]
struct Keys {
    hash: RandomState,
    known: HashSet<u64>,
    by_age: VecDeque<u64>,
}
