//! Who is in a room, and what was said there, as far back as is kept.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
};

use serde_json::{Value, json};

/// A room keeps so many lines, and so many bytes of text.
const LINES_MAX: usize = 300;
const BYTES_MAX: usize = 48 * 1024;
/// A room knows the keys of so many lines. A key outlives its line by far: a page that was cut off
/// may say a line again when the line is no longer kept.
pub const KEYS_MAX: usize = 8 * LINES_MAX;

/// Something that was said.
pub struct Line {
    /// When, in microseconds since 1970; no two lines have the same.
    pub id: u64,
    pub from: String,
    pub text: String,
    /// Chosen by the page, so that a line that comes twice is known.
    pub key: String,
}

impl Line {
    pub fn to_json(&self) -> Value {
        json!({ "id": self.id, "from": self.from, "text": self.text, "key": self.key })
    }
}

pub struct Room {
    pub here: BTreeSet<String>,
    lines: VecDeque<Line>,
    bytes: usize,
    keys: Keys,
    /// Nothing up to this id is known here.
    forgotten: u64,
}

impl Room {
    /// An empty room, made at this time.
    pub fn new(id: u64) -> Self {
        let (here, lines, keys) = (BTreeSet::new(), VecDeque::new(), Keys::default());
        Self { here, lines, bytes: 0, keys, forgotten: id }
    }

    pub fn push(&mut self, line: Line) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.text.len();
            self.forgotten = oldest.id;
        }
    }

    pub fn after(&self, id: u64) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.id > id)
    }

    /// Whether somebody who has all up to `id` may miss something that is not kept.
    pub fn has_gap(&self, id: u64) -> bool {
        id > 0 && id < self.forgotten
    }

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

    /// Nothing was ever said here, or nothing of it is kept: 0; else when the last was.
    pub fn last_id(&self) -> u64 {
        self.lines.back().map_or(0, |line| line.id)
    }
}

/// The keys of lines, as hashes under a secret of this room: nobody can make two that are the same.
#[derive(Default)]
struct Keys {
    hash: RandomState,
    known: HashSet<u64>,
    by_age: VecDeque<u64>,
}
