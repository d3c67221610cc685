//! A map of few entries, for what each of many connections has.

use std::borrow::Borrow;

/// Up to so many, there is no room for more than there are.
const EXACT: usize = 4;

/// A map by names, in their order. A tree has room for eleven from its first entry on, which is hundreds of bytes for
/// each of many connections. Here what is behind a new entry is moved, so that it is for some hundred at most.
pub struct Few<K, V>(Vec<(K, V)>);

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Borrow<str>, V> Few<K, V> {
    /// Where a name is; or where it would be.
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(key, _)| key.borrow().cmp(name))
    }

    pub fn get(&self, name: &str) -> Option<&V> {
        self.find(name).ok().map(|at| &self.0[at].1)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.find(name).ok().map(|at| &mut self.0[at].1)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Adds an entry, or takes the place of the one of that name.
    pub fn insert(&mut self, key: K, value: V) {
        match self.find(key.borrow()) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => {
                if self.0.len() < EXACT {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (key, value));
            }
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<V> {
        self.find(name).ok().map(|at| self.0.remove(at).1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }
}

impl<K, V> IntoIterator for Few<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_is_a_map() {
        let (mut few, mut tree) =
            (Few::<Box<str>, u32>::default(), BTreeMap::<Box<str>, u32>::new());
        for step in 0..1000_u32 {
            // Every fourth goes; names come in no order, and again.
            let name = format!("{}", step.wrapping_mul(2_654_435_761) >> 25);
            if step % 4 == 3 {
                assert_eq!(few.remove(&name), tree.remove(&*name));
            } else {
                few.insert(name.as_str().into(), step);
                tree.insert(name.as_str().into(), step);
            }
            assert_eq!(few.get(&name), tree.get(&*name));
            assert_eq!(few.contains(&name), tree.contains_key(&*name));
            assert!(few.iter().eq(tree.iter()));
        }
        if let Some(value) = few.get_mut("7") {
            *value = 0;
            tree.insert("7".into(), 0);
        }
        assert!(few.keys().eq(tree.keys()) && few.into_iter().eq(tree));
    }

    #[test]
    fn the_first_take_no_more_room_than_they_need() {
        let mut few = Few::default();
        for (nth, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            few.insert(name, 0_u8);
            assert_eq!(few.0.capacity(), nth + 1);
        }
    }
}
