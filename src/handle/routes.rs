//! Which of several loops of one process a command is for.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Handle;
use crate::event::ConnId;

/// The loops of one process, and what belongs to which.
#[derive(Debug)]
pub(crate) struct Routes {
    /// Each knows its own loop only.
    loops: Vec<Handle>,
    /// What nobody outside can tell, lest peers choose names that all belong to one loop.
    secret: u64,
}

impl Routes {
    pub(crate) fn new(loops: Vec<Handle>, secret: u64) -> Self {
        Self { loops, secret }
    }

    pub(crate) fn len(&self) -> usize {
        self.loops.len()
    }

    /// The loop that a topic belongs to.
    pub(crate) fn home(&self, topic: &str) -> usize {
        let mut hash = DefaultHasher::new();
        (self.secret, topic).hash(&mut hash);
        (hash.finish() % self.loops.len() as u64) as usize
    }

    /// The loop that a connection belongs to: its generation says it.
    pub(crate) fn of(&self, id: ConnId) -> usize {
        id.generation as usize % self.loops.len()
    }

    pub(crate) fn loops(&self) -> &[Handle] {
        &self.loops
    }

    /// The loop with the fewest connections.
    pub(super) fn idlest(&self) -> Option<&Handle> {
        self.loops.iter().min_by_key(|it| it.shared.tally.connections_open.get())
    }
}
