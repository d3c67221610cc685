//! Which of several loops of one process a command is for.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Handle;
use crate::event::ConnId;

/// The loops of one process, and what belongs to which.
#[derive(Debug)]
pub(crate) struct Routes {
    /// Each knows its own loop only.
    loops: Vec<Handle>,
    homes: Homes,
}

/// How topics belong to loops.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Homes {
    /// Each is one loop's, by a hash of its name with a secret: what nobody outside can tell, lest peers choose names
    /// that all belong to one loop.
    Shared(u64),
    /// Each loop has topics of its own, and what is published on one stays there.
    Apart,
}

impl Routes {
    pub(crate) fn new(loops: Vec<Handle>, homes: Homes) -> Self {
        Self { loops, homes }
    }

    pub(crate) fn len(&self) -> usize {
        self.loops.len()
    }

    /// The loop that a topic belongs to, if that does not depend on what asks.
    pub(crate) fn home(&self, topic: &str) -> Option<usize> {
        let Homes::Shared(secret) = self.homes else { return None };
        let mut hash = DefaultHasher::new();
        (secret, topic).hash(&mut hash);
        Some((hash.finish() % self.loops.len() as u64) as usize)
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
