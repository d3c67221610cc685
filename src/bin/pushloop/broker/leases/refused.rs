//! Members that the broker did not take, each in its turn.

use std::{collections::BTreeSet, ops::Bound, sync::Arc};

/// A topic and a member's id.
type Named = (Arc<str>, Arc<str>);

/// See the module. It has no more members than are here: see [`remove`](Self::remove).
#[derive(Debug, Default)]
pub struct Refused {
    leaves: Turns,
    joins: Turns,
}

impl Refused {
    pub fn insert(&mut self, member: Named, is_here: bool) {
        let turns = if is_here { &mut self.joins } else { &mut self.leaves };
        turns.members.insert(member);
    }

    /// The broker knows of the member, or knows that it has left.
    pub fn remove(&mut self, member: &Named) {
        self.leaves.members.remove(member);
        self.joins.members.remove(member);
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next ones, so many at most. Leaves come first, because they make room, and are half of them at most
    /// while others wait.
    pub fn take(&mut self, most: usize) -> Vec<Named> {
        let leaves = most - self.joins.members.len().min(most / 2);
        let mut taken: Vec<_> = self.leaves.by_ref().take(leaves).collect();
        let left = most - taken.len();
        taken.extend(self.joins.by_ref().take(left));
        taken
    }
}

/// Those behind the one that was taken last come next.
#[derive(Debug, Default)]
struct Turns {
    members: BTreeSet<Named>,
    last: Option<Named>,
}

impl Iterator for Turns {
    type Item = Named;

    fn next(&mut self) -> Option<Named> {
        let from = match &self.last {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let mut behind = self.members.range((from, Bound::Unbounded));
        let next = behind.next().or_else(|| self.members.first())?.clone();
        self.members.remove(&next);
        self.last = Some(next.clone());
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(nth: usize) -> Named {
        ("t".into(), nth.to_string().into())
    }

    #[test]
    fn each_has_its_turn_and_leaves_come_first() {
        let mut refused = Refused::default();
        (0..8).for_each(|nth| refused.insert(member(nth), nth < 4));
        let mut take = |most| {
            let taken = refused.take(most);
            // They are refused again.
            for (topic, id) in &taken {
                let is_here = **id < *"4";
                refused.insert((Arc::clone(topic), Arc::clone(id)), is_here);
            }
            taken.iter().map(|(_, id)| id.to_string()).collect::<String>()
        };
        for expected in ["4501", "6723", "4501"] {
            assert_eq!(take(4), expected);
        }
        assert_eq!(take(1), "6");
        assert_eq!(take(100), "74562301");
        (0..7).for_each(|nth| refused.remove(&member(nth)));
        assert_eq!(refused.take(9), [member(7)]);
        (0..8).for_each(|nth| refused.insert(member(nth), true));
        assert_eq!(refused.take(4).len(), 4, "no leave waits");
        refused.clear();
        assert_eq!(refused.take(9), []);
        (0..8).for_each(|nth| refused.insert(member(nth), false));
        assert_eq!(refused.take(4).len(), 4, "no other waits");
    }
}
