//! In which order what was inserted stands, and what it costs to find a place for more.
//!
//! yrs looks for the place of an insertion among all that others inserted at the same place, and a
//! thousand insertions of five bytes each can have it look at ten million. It is counted here, by the
//! same rules and before yrs is asked, and the sender of an update pays for it. What is found on the
//! way is whether an insertion is between what stands in that order, which yrs takes for granted, and
//! by which the texts of pages could come to differ.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::update::{Id, Item, Parts, Refusal, malformed};

/// Prices, in units of the ledger: about a nanosecond each.
const ITEM_COSTS: u64 = 500;
/// To look at one that is in the way (here, and then in yrs), and at one that is only passed.
const LOOK_COSTS: u64 = 400;
const PASS_COSTS: u64 = 10;
/// To see whether what an insertion is beside is there by now.
const ASK_COSTS: u64 = 60;
/// To take something apart: its characters are counted up to there, both halves are copied, and what
/// is behind it moves on.
const SPLIT_COSTS: u64 = 300;
const UNITS_COUNTED_FOR_ONE: u64 = 2;
const UNITS_COPIED_FOR_ONE: u64 = 20;
const RUNS_MOVED_FOR_ONE: u64 = 16;

/// What may still be done for a peer.
pub struct Work {
    pub left: u64,
}

impl Work {
    pub fn spend(&mut self, price: u64) -> Result<(), Refusal> {
        self.left = self.left.checked_sub(price).ok_or(Refusal::TooMuch)?;
        Ok(())
    }
}

/// Characters of one client, typed one behind the other, and not taken apart so far.
struct Run {
    id: Id,
    len: u32,
    /// What it was inserted between.
    left: Option<Id>,
    right: Option<Id>,
    next: Option<usize>,
    is_deleted: bool,
}

#[derive(Default)]
pub struct Order {
    runs: Vec<Run>,
    /// By client and the clock of the first character.
    starts: HashMap<u64, BTreeMap<u32, usize>>,
    first: Option<usize>,
    /// Runs that are one with another, and in no list.
    joined: usize,
}

impl Order {
    pub fn len(&self) -> usize {
        self.runs.len() - self.joined
    }

    pub fn clients(&self) -> usize {
        self.starts.len()
    }

    /// The first characters of all runs that are not deleted, in their order.
    #[cfg(test)]
    pub fn ids(&self) -> impl Iterator<Item = Id> {
        let runs = std::iter::successors(self.first, |at| self.runs[*at].next);
        runs.map(|at| &self.runs[at]).filter(|run| !run.is_deleted).map(|run| run.id)
    }

    fn find(&self, (client, clock): Id) -> Option<usize> {
        let (_, at) = self.starts.get(&client)?.range(..=clock).next_back()?;
        let run = &self.runs[*at];
        (clock - run.id.1 < run.len).then_some(*at)
    }

    fn push(&mut self, run: Run) -> usize {
        let at = self.runs.len();
        self.starts.entry(run.id.0).or_default().insert(run.id.1, at);
        self.runs.push(run);
        at
    }

    /// The run that begins with this character, which is there.
    fn beginning_with(&mut self, id: Id, work: &mut Work) -> Result<usize, Refusal> {
        let at = self.find(id).ok_or(Refusal::OutOfStep)?;
        let runs = self.len() as u64;
        let run = &mut self.runs[at];
        let offset = id.1 - run.id.1;
        if offset == 0 {
            return Ok(at);
        }
        let counted = u64::from(offset) / UNITS_COUNTED_FOR_ONE;
        let copied = u64::from(run.len) / UNITS_COPIED_FOR_ONE;
        work.spend(SPLIT_COSTS + counted + copied + runs / RUNS_MOVED_FOR_ONE)?;
        let (len, left) = (run.len - offset, Some((id.0, id.1 - 1)));
        let rest = Run { id, len, left, right: run.right, next: run.next, ..*run };
        run.len = offset;
        let rest = self.push(rest);
        self.runs[at].next = Some(rest);
        Ok(rest)
    }

    /// The run that ends with this character, which is there.
    fn ending_with(&mut self, id: Id, work: &mut Work) -> Result<usize, Refusal> {
        let at = self.find(id).ok_or(Refusal::OutOfStep)?;
        let run = &self.runs[at];
        if id.1 + 1 < run.id.1 + run.len {
            self.beginning_with((id.0, id.1 + 1), work)?;
        }
        Ok(at)
    }

    /// Puts an insertion where yrs puts it, and gives its run and the one before it. What it is
    /// between is there.
    fn place(&mut self, item: &Item, work: &mut Work) -> Result<[Option<usize>; 2], Refusal> {
        work.spend(ITEM_COSTS)?;
        // A run keeps its beginning when it is taken apart: so the one that ends comes second.
        let right = item.right.map(|id| self.beginning_with(id, work)).transpose()?;
        let left = item.left.map(|id| self.ending_with(id, work)).transpose()?;
        let before = self.find_place(item, left, right, work)?;
        let next = before.map_or(self.first, |at| self.runs[at].next);
        let Item { id, len, left, right, is_deleted } = *item;
        let at = self.push(Run { id, len, left, right, next, is_deleted });
        match before {
            Some(before) => self.runs[before].next = Some(at),
            None => self.first = Some(at),
        }
        Ok([before, Some(at)])
    }

    /// Makes two runs one if they are as if typed at once: yrs counts what comes to the first.
    fn join(&mut self, at: usize, next: usize, work: &mut Work) -> Result<(), Refusal> {
        let [run, other] = [&self.runs[at], &self.runs[next]];
        let end = (run.id.0, run.id.1 + run.len);
        let is_typed_on = end == other.id && other.left == Some((end.0, end.1 - 1));
        let is_alike = run.right == other.right && run.is_deleted == other.is_deleted;
        if run.next == Some(next) && is_typed_on && is_alike {
            work.spend(u64::from(other.len))?;
            let (len, behind) = (other.len, other.next);
            (self.runs[at].len, self.runs[at].next) = (self.runs[at].len + len, behind);
            self.starts.get_mut(&end.0).and_then(|starts| starts.remove(&end.1));
            self.joined += 1;
        }
        Ok(())
    }

    /// The run that the insertion comes to stand behind: `Item::integrate` of Yjs, rule by rule.
    fn find_place(
        &self,
        item: &Item,
        left: Option<usize>,
        right: Option<usize>,
        work: &mut Work,
    ) -> Result<Option<usize>, Refusal> {
        let (mut place, mut is_settled) = (left, false);
        let (mut passed, mut conflicting) = (HashSet::new(), HashSet::new());
        let mut next = left.map_or(self.first, |at| self.runs[at].next);
        while next != right {
            let at = next.ok_or(malformed("an insertion is between what is in another order"))?;
            let other = &self.runs[at];
            next = other.next;
            if is_settled {
                work.spend(PASS_COSTS)?;
                continue;
            }
            work.spend(LOOK_COSTS)?;
            passed.insert(at);
            conflicting.insert(at);
            let origin = other.left.and_then(|id| self.find(id));
            if other.left == item.left {
                if other.id.0 < item.id.0 {
                    place = Some(at);
                    conflicting.clear();
                } else {
                    is_settled = other.right == item.right;
                }
            } else if origin.is_some_and(|origin| passed.contains(&origin)) {
                if origin.is_some_and(|origin| !conflicting.contains(&origin)) {
                    place = Some(at);
                    conflicting.clear();
                }
            } else {
                is_settled = true;
            }
        }
        Ok(place)
    }

    /// Marks what is deleted; what is beside it is taken apart from it.
    pub fn delete(
        &mut self,
        (client, clock): Id,
        len: u32,
        work: &mut Work,
    ) -> Result<(), Refusal> {
        work.spend(ITEM_COSTS)?;
        self.beginning_with((client, clock), work)?;
        self.ending_with((client, clock + len - 1), work)?;
        let starts = self.starts.get(&client).ok_or(Refusal::OutOfStep)?;
        for at in starts.range(clock..clock + len).map(|(_, at)| *at) {
            work.spend(PASS_COSTS)?;
            self.runs[at].is_deleted = true;
        }
        Ok(())
    }

    /// Finds the places of all insertions, marks what is deleted, and makes one of what was typed in
    /// a row.
    pub fn arrange(&mut self, parts: Parts, work: &mut Work) -> Result<(), Refusal> {
        let fresh = self.place_all(parts.items, work)?;
        for (id, len) in parts.deletions {
            self.delete(id, len, work)?;
        }
        for pair in fresh.into_iter().rev() {
            if let [Some(before), Some(at)] = pair {
                self.join(before, at, work)?;
            }
        }
        Ok(())
    }

    /// Places each insertion after those that it is beside.
    fn place_all(
        &mut self,
        items: Vec<(u64, VecDeque<Item>)>,
        work: &mut Work,
    ) -> Result<Vec<[Option<usize>; 2]>, Refusal> {
        let mut fresh = Vec::new();
        let clients: Vec<_> = items.iter().map(|(client, _)| *client).collect();
        let mut items: HashMap<_, _> = items.into_iter().collect();
        for client in clients {
            // Each waits for an insertion of the one behind it.
            let mut waiting = vec![client];
            let mut waits = HashSet::from([client]);
            while let Some(client) = waiting.last() {
                work.spend(ASK_COSTS)?;
                let next = items.get_mut(client);
                let Some(item) = next.as_ref().and_then(|items| items.front()) else { break };
                let mut beside = [item.left, item.right].into_iter().flatten();
                if let Some((other, _)) = beside.find(|id| self.find(*id).is_none()) {
                    // yrs looks for the other among all.
                    work.spend(items.len() as u64)?;
                    waiting.push(other);
                    if !waits.insert(other) {
                        return Err(malformed("insertions are beside one another in a circle"));
                    }
                } else if let Some(item) = next.and_then(VecDeque::pop_front) {
                    fresh.push(self.place(&item, work)?);
                    if waiting.len() > 1 {
                        waiting.pop().map(|client| waits.remove(&client));
                    }
                }
            }
        }
        debug_assert!(items.values().all(VecDeque::is_empty), "each item is beside what is there");
        Ok(fresh)
    }
}
