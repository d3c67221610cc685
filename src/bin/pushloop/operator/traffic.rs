//! Which topics carry most, of however many there are, from a list that is bounded.

use std::collections::HashMap;

/// Topics of which it is counted what they carry. When another one comes, the one that carries least gives way,
/// and what it carried is taken for what the new one may have carried before (the "space saving" of Metwally,
/// Agrawal and El Abbadi): a topic that carries more than a 128th of all is always in the list.
pub const OPERATOR_TOPICS_MAX: usize = 128;

/// What a topic has carried since it came into the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub publications: u64,
    pub bytes: u64,
    /// Bytes that came, and that left for subscribers.
    carried: u64,
    /// The same of those that gave way to it, before.
    inherited: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Traffic(HashMap<Box<str>, Load>);

impl Traffic {
    /// Somebody publishes so many bytes to a topic of so many subscribers.
    pub fn note(&mut self, name: &str, bytes: usize, subscribers: usize) {
        if !self.0.contains_key(name) {
            let inherited = self.make_room();
            let load = Load { carried: inherited, inherited, ..Load::default() };
            self.0.insert(name.into(), load);
        }
        let Some(load) = self.0.get_mut(name) else { return };
        load.publications += 1;
        load.bytes += bytes as u64;
        // A message has a header.
        load.carried += (bytes as u64 + 2) * (1 + subscribers as u64);
    }

    /// Has room for one more, and gives what the one has carried that gave way, if one did.
    fn make_room(&mut self) -> u64 {
        if self.0.len() < OPERATOR_TOPICS_MAX {
            return 0;
        }
        let least = self.0.iter().min_by_key(|(_, load)| load.carried);
        let Some((name, load)) = least.map(|(name, load)| (name.clone(), *load)) else { return 0 };
        self.0.remove(&name);
        load.carried
    }

    /// The topics that have carried most for certain, the first the most, and forgets all.
    pub fn take_top(&mut self, count: usize) -> Vec<(Box<str>, Load)> {
        let mut all: Vec<_> = self.0.drain().collect();
        all.sort_by_key(|(_, load)| u64::MAX - (load.carried - load.inherited));
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_with_more_subscribers_carry_more() {
        let mut traffic = Traffic::default();
        traffic.note("few", 100, 1);
        traffic.note("many", 10, 1000);
        traffic.note("few", 100, 1);
        let top = traffic.take_top(9);
        let told: Vec<_> =
            top.iter().map(|(name, it)| (&**name, it.publications, it.bytes)).collect();
        assert_eq!(told, [("many", 1, 10), ("few", 2, 200)]);
        assert_eq!(traffic.take_top(9), []);
    }

    #[test]
    fn the_list_is_bounded_and_what_carries_much_is_in_it() {
        let mut traffic = Traffic::default();
        for nth in 0..OPERATOR_TOPICS_MAX {
            traffic.note(&nth.to_string(), 1, 0);
            assert_eq!(traffic.0.len(), nth + 1);
        }
        // A crowd of others, and one that comes with every tenth.
        for nth in 0..10_000 {
            traffic.note(&format!("x{nth}"), 1, 0);
            if nth % 10 == 0 {
                traffic.note("often", 1, 0);
            }
            assert_eq!(traffic.0.len(), OPERATOR_TOPICS_MAX);
        }
        let top = traffic.take_top(20);
        assert_eq!((top.len(), &*top[0].0), (20, "often"));
        assert!((900..=1000).contains(&top[0].1.publications), "{top:?}");
        // What the others inherited is not told as theirs.
        assert!(top[1..].iter().all(|(_, load)| load.publications < 10), "{top:?}");
    }
}
