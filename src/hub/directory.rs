//! Topics by their names and places, a million of them without a pause.
//!
//! A table that doubles moves everything at once, and the loop would wait for it. Here a name's hash
//! leads to a bucket, and the table grows and shrinks by a bucket or a few at a time (linear hashing).
//! Places of topics that have gone are filled from the end, a few for each topic that goes.
//!
//! Peers choose names. The hash is keyed at random, lest a peer choose many that fall together.

use std::{
    hash::{BuildHasher, RandomState},
    ops::{Index, IndexMut},
};

use super::{room::give_back, subscriptions::Subscriptions, topics::Topic};

/// Buckets, and places, below which no room is given back.
const KEPT_MIN: usize = 256;
/// So many buckets and places are given back, at the most, for each topic that goes.
const STEPS: usize = 2;
/// No place.
const NIL: u32 = u32::MAX;

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    hash: u64,
    /// The next one in its bucket.
    next: u32,
    topic: Topic,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Directory<S = RandomState> {
    keyed: S,
    /// The first place of each bucket. Invariant: there is at least one.
    buckets: Vec<u32>,
    entries: Vec<Option<Box<Entry>>>,
    /// Places without a topic; those behind the last entry are not given out.
    vacant: Vec<u32>,
    len: usize,
}

impl<S: BuildHasher + Default> Default for Directory<S> {
    fn default() -> Self {
        let keyed = S::default();
        Self { keyed, buckets: vec![NIL], entries: Vec::new(), vacant: Vec::new(), len: 0 }
    }
}

impl<S: BuildHasher> Directory<S> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        let hash = self.keyed.hash_one(name);
        let mut at = self.buckets[bucket_of(hash, self.buckets.len())];
        while let Some(entry) = self.entry(at) {
            if entry.hash == hash && *entry.name == *name {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    pub(super) fn name(&self, place: u32) -> &str {
        self.entry(place).map_or("", |entry| &entry.name)
    }

    pub(super) fn get(&self, place: u32) -> Option<&Topic> {
        self.entry(place).map(|entry| &entry.topic)
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut Topic> {
        let entry = self.entries.get_mut(place as usize)?.as_deref_mut()?;
        Some(&mut entry.topic)
    }

    fn entry(&self, place: u32) -> Option<&Entry> {
        self.entries.get(place as usize)?.as_deref()
    }

    /// Adds a topic whose name is not there yet.
    pub(super) fn insert(&mut self, name: &str, topic: Topic) -> u32 {
        let hash = self.keyed.hash_one(name);
        let place = self.take_place();
        let bucket = bucket_of(hash, self.buckets.len());
        let next = std::mem::replace(&mut self.buckets[bucket], place);
        let entry = Entry { name: name.into(), hash, next, topic };
        self.entries[place as usize] = Some(Box::new(entry));
        self.len += 1;
        if self.len > self.buckets.len() {
            self.split();
        }
        place
    }

    /// Removes a topic, to which no list points. The last one may take its place: the `lists` that point at
    /// it are told.
    pub(super) fn remove(&mut self, place: u32, lists: &mut [Subscriptions]) {
        self.unlink(place, None);
        self.entries[place as usize] = None;
        self.vacant.push(place);
        self.len -= 1;
        for _ in 0..STEPS {
            if self.buckets.len() > KEPT_MIN && self.len < self.buckets.len() / 2 {
                self.merge();
            }
            if self.entries.len() > KEPT_MIN && self.len < self.entries.len() / 2 {
                self.fill_from_end(lists);
            }
        }
        give_back(&mut self.buckets, KEPT_MIN);
        give_back(&mut self.entries, KEPT_MIN);
        give_back(&mut self.vacant, KEPT_MIN);
    }

    /// A place without a topic.
    fn take_place(&mut self) -> u32 {
        while let Some(place) = self.vacant.pop() {
            if (place as usize) < self.entries.len() {
                return place;
            }
        }
        self.entries.push(None);
        (self.entries.len() - 1) as u32
    }

    /// Takes a place out of its bucket, or puts another into its stead.
    fn unlink(&mut self, place: u32, stead: Option<u32>) {
        let Some(entry) = self.entry(place) else { return };
        let (bucket, next) = (bucket_of(entry.hash, self.buckets.len()), entry.next);
        let follows = stead.unwrap_or(next);
        let mut at = self.buckets[bucket];
        if at == place {
            self.buckets[bucket] = follows;
            return;
        }
        while let Some(before) = self.entries[at as usize].as_deref_mut() {
            if before.next == place {
                before.next = follows;
                return;
            }
            at = before.next;
        }
    }

    /// Adds a bucket, and moves there what belongs there of the one bucket that it was part of.
    fn split(&mut self) {
        self.buckets.push(NIL);
        let count = self.buckets.len();
        let new = count - 1;
        let old = new - (1 << new.ilog2());
        let mut at = std::mem::replace(&mut self.buckets[old], NIL);
        while at != NIL {
            let Some(entry) = self.entries[at as usize].as_deref_mut() else { return };
            let bucket = bucket_of(entry.hash, count);
            let next = std::mem::replace(&mut entry.next, self.buckets[bucket]);
            self.buckets[bucket] = at;
            at = next;
        }
    }

    /// Removes the last bucket, and moves what is in it to the one that it was part of.
    fn merge(&mut self) {
        let last = self.buckets.len() - 1;
        let old = last - (1 << last.ilog2());
        let mut at = self.buckets[last];
        self.buckets.truncate(last);
        while at != NIL {
            let Some(entry) = self.entries[at as usize].as_deref_mut() else { return };
            let next = std::mem::replace(&mut entry.next, self.buckets[old]);
            self.buckets[old] = at;
            at = next;
        }
    }

    /// Gives up the last place, of which fewer than half are taken: the topic there moves to a vacant one,
    /// unless its place is known elsewhere.
    fn fill_from_end(&mut self, lists: &mut [Subscriptions]) {
        let from = (self.entries.len() - 1) as u32;
        if let Some(entry) = self.entry(from) {
            if entry.topic.is_known_by_place() {
                return;
            }
            let to = self.take_place();
            debug_assert!(to < from, "half of the places are vacant");
            for (connection, position) in self[from].places() {
                let list = lists[connection as usize].as_mut_slice();
                list[position as usize].topic = to;
            }
            self.unlink(from, Some(to));
            self.entries[to as usize] = self.entries[from as usize].take();
        }
        self.entries.pop();
    }
}

impl<S> Index<u32> for Directory<S> {
    type Output = Topic;

    #[inline]
    fn index(&self, place: u32) -> &Topic {
        &self.entries[place as usize].as_ref().expect("a list points at a topic").topic
    }
}

impl<S> IndexMut<u32> for Directory<S> {
    #[inline]
    fn index_mut(&mut self, place: u32) -> &mut Topic {
        &mut self.entries[place as usize].as_mut().expect("a list points at a topic").topic
    }
}

/// The bucket of a hash, of so many.
fn bucket_of(hash: u64, buckets: usize) -> usize {
    let size = buckets.next_power_of_two();
    let bucket = hash as usize & (size - 1);
    if bucket < buckets { bucket } else { bucket - size / 2 }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, Hasher};

    use super::*;
    use crate::config::TopicOptions;

    /// Names whose hashes are all the same, or one of three.
    #[derive(Default)]
    struct Weak(u64);

    impl Hasher for Weak {
        fn finish(&self) -> u64 {
            self.0 % 3
        }

        fn write(&mut self, bytes: &[u8]) {
            self.0 += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        }
    }

    /// Random names come and go; what is found is what a list of them says.
    fn comes_and_goes<S: BuildHasher + Default>(most: usize, steps: usize) {
        let mut directory = Directory::<S>::default();
        let mut names: Vec<String> = Vec::new();
        let (mut seed, mut grows) = (1_u64, true);
        for step in 0..steps {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let drawn = (seed >> 33) as usize;
            grows = if names.len() >= most { false } else { grows || names.is_empty() };
            if names.is_empty() || drawn % 4 < if grows { 3 } else { 1 } {
                let name = format!("{step}");
                let place =
                    directory.insert(&name, Topic::new(step as u64, TopicOptions::default()));
                assert_eq!(directory.name(place), name);
                names.push(name);
            } else {
                let name = names.swap_remove(drawn % names.len());
                let place = directory.find(&name).expect("it is there");
                directory.remove(place, &mut []);
                assert_eq!(directory.find(&name), None);
            }
            assert_eq!(directory.len(), names.len());
            if let Some(name) = names.get(drawn % names.len().max(1)) {
                let place = directory.find(name).expect("it is there");
                assert_eq!(directory[place].epoch.to_string(), *name);
            }
        }
        for name in names {
            let place = directory.find(&name).expect("it is there");
            directory.remove(place, &mut []);
        }
        assert!(directory.find("0").is_none() && directory.len() == 0);
        let room = [directory.buckets.capacity(), directory.entries.capacity()];
        assert!(room.iter().all(|room| *room <= 4 * KEPT_MIN), "{room:?} are kept");
    }

    /// A table that has been large is emptied: its buckets and places follow the topics that are left.
    #[test]
    fn a_table_has_a_bucket_for_each_topic_and_at_most_twice_as_many() {
        let mut directory = Directory::<RandomState>::default();
        let names = || (0..2000).map(|name| name.to_string());
        for (before, name) in names().enumerate() {
            assert_eq!(directory.buckets.len(), before.max(1));
            directory.insert(&name, Topic::new(0, TopicOptions::default()));
        }
        for name in names() {
            let place = directory.find(&name).expect("it is there");
            directory.remove(place, &mut []);
            let left = directory.len();
            let kept = if left < 1000 { (2 * left + 1).max(256) } else { 2000 };
            let room = [directory.buckets.len(), directory.entries.len()];
            assert_eq!(room, [kept; 2], "{left} topics");
        }
    }

    #[test]
    fn names_that_come_and_go_are_found_and_leave_no_room_behind() {
        comes_and_goes::<RandomState>(3000, 30_000);
    }

    #[test]
    fn names_that_fall_together_are_told_apart() {
        comes_and_goes::<BuildHasherDefault<Weak>>(40, 3000);
    }

    /// What a topic that comes or goes costs does not depend on how many there are.
    #[test]
    fn one_that_comes_moves_the_names_of_one_bucket() {
        let mut directory = Directory::<RandomState>::default();
        for name in 0..10_000 {
            let buckets = directory.buckets.clone();
            directory.insert(&name.to_string(), Topic::new(0, TopicOptions::default()));
            let moved = buckets.iter().zip(&directory.buckets).filter(|(a, b)| a != b).count();
            assert!(moved <= 2 && directory.buckets.len() - buckets.len() <= 1);
        }
        let used = directory.buckets.iter().filter(|first| **first != NIL).count();
        assert!(used > 5000, "names are in {used} buckets of 10,000; by chance in 6321");
    }

    /// Peers choose names: who knows the hash function could choose a million that fall together, were it
    /// not keyed at random.
    #[test]
    fn names_are_hashed_with_a_key_that_no_peer_knows() {
        let directories = [Directory::<RandomState>::default(), Directory::default()];
        let hash = |directory: &Directory| directory.keyed.hash_one("t");
        assert_ne!(hash(&directories[0]), hash(&directories[1]));
    }
}
