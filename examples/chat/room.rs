//! Who is in a room, and what was said there, as far back as is kept.

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Value, json};

/// A room keeps so many lines, and so many bytes of text.
const LINES_MAX: usize = 300;
const BYTES_MAX: usize = 48 * 1024;

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
    /// Nothing up to this id is known here.
    forgotten: u64,
}

impl Room {
    /// An empty room, made at this time.
    pub fn new(id: u64) -> Self {
        Self { here: BTreeSet::new(), lines: VecDeque::new(), bytes: 0, forgotten: id }
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

    /// Whether the same person has said this already.
    pub fn has(&self, from: &str, key: &str) -> bool {
        self.lines.iter().rev().any(|line| line.key == key && line.from == from)
    }

    /// Nothing was ever said here, or nothing of it is kept: 0; else when the last was.
    pub fn last_id(&self) -> u64 {
        self.lines.back().map_or(0, |line| line.id)
    }
}
