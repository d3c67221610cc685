//! The timer wheel: one timer for each connection, O(1) to set, to clear and to find.
//!
//! A message costs no timer operation: the connection stores when it was last heard, and what the
//! wheel finds due too early is set again. It must not know connections, only their indices.

use crate::conn::Ticks;

/// A rotation is 68.7 s. A timer that is due later is passed over once for each rotation before it.
const SLOTS: usize = 1024;
/// The list of timers that were found in a slot whose time has come, and are not yet handed out.
const DUE: u32 = SLOTS as u32;
const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    prev: u32,
    next: u32,
    due: Ticks,
    /// The list that it is in; `NIL` if it is not set.
    list: u32,
}

#[derive(Debug)]
pub(super) struct Wheel {
    heads: Box<[u32]>,
    /// A bit for each slot that is not empty.
    occupied: [u64; SLOTS / 64],
    links: Vec<Link>,
    /// The first tick whose slot has not been emptied; one after `now` at the most.
    hand: Ticks,
    /// No timer is found before this tick: so that most turns need not look.
    soonest: Ticks,
    /// The timer that this came from was cleared.
    stale: bool,
}

const NEVER: Ticks = Ticks(u32::MAX);

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            heads: vec![NIL; SLOTS + 1].into(),
            occupied: [0; SLOTS / 64],
            links: Vec::new(),
            hand: Ticks(0),
            soonest: NEVER,
            stale: false,
        }
    }

    /// Sets the timer of `index`, in place of the one it had.
    pub(super) fn set(&mut self, index: u32, due: Ticks) {
        let at = index as usize;
        if at >= self.links.len() {
            let unset = Link { prev: NIL, next: NIL, due, list: NIL };
            self.links.resize(at + 1, unset);
        }
        self.clear(index);
        let due = due.max(self.hand);
        self.links[at].due = due;
        self.soonest = self.soonest.min(due);
        self.link(index, due.0 % SLOTS as u32);
    }

    pub(super) fn clear(&mut self, index: u32) {
        let Some(link) = self.links.get_mut(index as usize) else { return };
        let Link { prev, next, list, due } = *link;
        if list == NIL {
            return;
        }
        self.stale |= due == self.soonest;
        link.list = NIL;
        if prev == NIL {
            self.heads[list as usize] = next;
        } else {
            self.links[prev as usize].next = next;
        }
        if next != NIL {
            self.links[next as usize].prev = prev;
        }
        if self.heads[list as usize] == NIL && list != DUE {
            self.occupied[list as usize / 64] &= !(1 << (list % 64));
        }
    }

    /// Takes one timer that is due at `now`, if there is one.
    #[inline]
    pub(super) fn pop(&mut self, now: Ticks) -> Option<u32> {
        if now < self.soonest {
            // All slots up to now are empty, but for what belongs to later rotations.
            self.hand = Ticks(now.0 + 1);
            return None;
        }
        self.search(now)
    }

    fn search(&mut self, now: Ticks) -> Option<u32> {
        loop {
            let index = self.heads[DUE as usize];
            if index != NIL {
                self.clear(index);
                let due = self.links[index as usize].due;
                if due <= now {
                    return Some(index);
                }
                // A later rotation's.
                self.link(index, due.0 % SLOTS as u32);
                continue;
            }
            if self.hand > now {
                self.look_ahead();
                return None;
            }
            match self.first_occupied() {
                Some(tick) if tick <= now => {
                    // What belongs to a later rotation goes back, behind the hand.
                    self.hand = Ticks(tick.0 + 1);
                    self.empty_into_due(tick.0 as usize % SLOTS);
                }
                _ => self.hand = Ticks(now.0 + 1),
            }
        }
    }

    /// When [`pop`](Self::pop) should be called at the latest.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Ticks> {
        if self.stale {
            self.look_ahead();
        }
        (self.soonest != NEVER).then_some(self.soonest)
    }

    fn look_ahead(&mut self) {
        self.stale = false;
        self.soonest = match self.heads[DUE as usize] {
            NIL => self.first_occupied().unwrap_or(NEVER),
            _ => Ticks(0),
        };
    }

    /// The first tick from the hand on whose slot holds anything. The first word is the last as well,
    /// for the slots before the hand's: of those behind it nothing was found.
    fn first_occupied(&self) -> Option<Ticks> {
        let start = self.hand.0 as usize % SLOTS;
        for step in 0..=self.occupied.len() {
            let word = (start / 64 + step) % self.occupied.len();
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= !0 << (start % 64);
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some(Ticks(self.hand.0 + ahead as u32));
            }
        }
        None
    }

    fn link(&mut self, index: u32, list: u32) {
        let head = self.heads[list as usize];
        let link = &mut self.links[index as usize];
        (link.prev, link.next, link.list) = (NIL, head, list);
        if head != NIL {
            self.links[head as usize].prev = index;
        }
        self.heads[list as usize] = index;
        if list != DUE {
            self.occupied[list as usize / 64] |= 1 << (list % 64);
        }
    }

    fn empty_into_due(&mut self, slot: usize) {
        while self.heads[slot] != NIL {
            let index = self.heads[slot];
            self.clear(index);
            self.link(index, DUE);
        }
    }
}

/// A wheel in plain numbers, for the benchmarks.
#[cfg(internals)]
#[derive(Debug)]
pub struct Timers(Wheel);

#[cfg(internals)]
impl Default for Timers {
    fn default() -> Self {
        Self(Wheel::new())
    }
}

#[cfg(internals)]
impl Timers {
    /// Sets the timer of `index`, in place of the one it had.
    #[inline]
    pub fn set(&mut self, index: u32, due: u32) {
        self.0.set(index, Ticks(due));
    }

    /// Takes one timer that is due at `now`, if there is one.
    #[inline]
    pub fn pop(&mut self, now: u32) -> Option<u32> {
        self.0.pop(Ticks(now))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A small generator of our own, so that a failure repeats.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, below: u32) -> u32 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((self.0 >> 33) as u32) % below
        }
    }

    #[test]
    fn a_million_random_operations_agree_with_an_ordered_map() {
        let (mut wheel, mut model, mut dice) = (Wheel::new(), BTreeMap::new(), Dice(7));
        let mut now = 0;
        for _ in 0..1_000_000 {
            let index = dice.roll(200);
            match dice.roll(10) {
                0..=5 => {
                    let due = now + 1 + dice.roll(3000);
                    wheel.set(index, Ticks(due));
                    model.insert(index, due);
                }
                6 => {
                    wheel.clear(index);
                    model.remove(&index);
                }
                _ => {
                    now += dice.roll(40);
                    let mut popped = Vec::new();
                    while let Some(index) = wheel.pop(Ticks(now)) {
                        popped.push(index);
                    }
                    popped.sort_unstable();
                    let due: Vec<u32> = model
                        .iter()
                        .filter(|(_, due)| **due <= now)
                        .map(|(index, _)| *index)
                        .collect();
                    assert_eq!(popped, due);
                    model.retain(|_, due| *due > now);
                }
            }
        }
    }

    #[test]
    fn it_never_asks_to_be_called_later_than_the_first_timer_nor_at_once_without_one() {
        let mut wheel = Wheel::new();
        assert_eq!(wheel.next(), None);
        wheel.set(3, Ticks(5 + SLOTS as u32));
        wheel.set(4, Ticks(900));
        assert_eq!(wheel.pop(Ticks(5)), None);
        assert_eq!(wheel.next(), Some(Ticks(900)));
        assert_eq!(wheel.pop(Ticks(900)), Some(4));
        assert_eq!(wheel.next(), Some(Ticks(5 + SLOTS as u32)));
        assert_eq!(wheel.pop(Ticks(5 + SLOTS as u32)), Some(3));
        assert_eq!((wheel.pop(Ticks(9000)), wheel.next()), (None, None));
    }

    #[test]
    fn a_timer_in_the_past_is_due_at_the_next_tick() {
        let mut wheel = Wheel::new();
        assert_eq!(wheel.pop(Ticks(50)), None);
        wheel.set(1, Ticks(10));
        assert_eq!(wheel.pop(Ticks(50)), None);
        assert_eq!(wheel.pop(Ticks(51)), Some(1));
    }

    #[test]
    fn what_is_due_but_not_taken_stays_due() {
        let mut wheel = Wheel::new();
        for index in 0..3 {
            wheel.set(index, Ticks(4));
        }
        assert!(wheel.pop(Ticks(4)).is_some());
        assert_eq!(wheel.next(), Some(Ticks(0)));
        assert!(wheel.pop(Ticks(4)).is_some() && wheel.pop(Ticks(4)).is_some());
        assert_eq!(wheel.pop(Ticks(4)), None);
    }

    #[test]
    fn a_timer_nearly_a_rotation_ahead_is_seen_wherever_the_hand_is() {
        for hand in 1..SLOTS as u32 {
            let mut wheel = Wheel::new();
            assert_eq!(wheel.pop(Ticks(hand - 1)), None);
            wheel.set(0, Ticks(hand + DUE - 1));
            wheel.set(1, Ticks(hand + DUE - 2));
            wheel.clear(1);
            assert_eq!(wheel.next(), Some(Ticks(hand + DUE - 1)));
        }
    }
}
