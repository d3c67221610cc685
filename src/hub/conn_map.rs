//! Data of the application's own for each connection.

use crate::event::ConnId;

/// A map from [`ConnId`] to data of the application's own: O(1), by the id's index, with the
/// generation checked, so that what was stored for a connection is never found for a later one.
/// Fill it when a connection is accepted, and remove from it when it is over: a value that is not
/// removed stays until its place is used again.
///
/// ```
/// # fn on_open(id: pushloop::ConnId) {
/// let mut names = pushloop::ConnMap::new();
/// names.insert(id, String::from("ada"));
/// assert_eq!(names.get(id).map(String::as_str), Some("ada"));
/// names.remove(id);
/// assert!(names.is_empty());
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ConnMap<T> {
    entries: Vec<Option<(u32, T)>>,
    len: usize,
}

impl<T> Default for ConnMap<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), len: 0 }
    }
}

impl<T> ConnMap<T> {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores a value, and gives the one that the same connection had. What an earlier connection
    /// left in the place is dropped.
    pub fn insert(&mut self, id: ConnId, value: T) -> Option<T> {
        let at = id.index as usize;
        if at >= self.entries.len() {
            self.entries.resize_with(at + 1, || None);
        }
        let before = self.entries[at].replace((id.generation, value));
        if before.is_none() {
            self.len += 1;
        }
        before.filter(|(generation, _)| *generation == id.generation).map(|(_, value)| value)
    }

    /// The connection's value.
    pub fn get(&self, id: ConnId) -> Option<&T> {
        match self.entries.get(id.index as usize)? {
            Some((generation, value)) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// The connection's value, to change.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        match self.entries.get_mut(id.index as usize)? {
            Some((generation, value)) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// Takes the connection's value out.
    pub fn remove(&mut self, id: ConnId) -> Option<T> {
        let entry = self.entries.get_mut(id.index as usize)?;
        let (_, value) = entry.take_if(|(generation, _)| *generation == id.generation)?;
        self.len -= 1;
        Some(value)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Goes over all values, to change, in no particular order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut T)> {
        self.entries.iter_mut().enumerate().filter_map(|(at, entry)| {
            let (generation, value) = entry.as_mut()?;
            Some((ConnId { index: at as u32, generation: *generation }, value))
        })
    }

    /// Goes over all values, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.entries.iter().enumerate().filter_map(|(at, entry)| {
            let (generation, value) = entry.as_ref()?;
            Some((ConnId { index: at as u32, generation: *generation }, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_connection_does_not_find_an_earlier_ones_value() {
        let (old, new) = (ConnId { index: 3, generation: 1 }, ConnId { index: 3, generation: 2 });
        let mut map = ConnMap::new();
        assert_eq!(map.insert(old, "old"), None);
        assert_eq!(map.get(new), None);
        assert_eq!(map.remove(new), None);
        assert_eq!(map.insert(new, "new"), None);
        assert_eq!((map.get(old), map.get(new), map.len()), (None, Some(&"new"), 1));
        assert_eq!(map.get_mut(old), None);
        assert_eq!(map.get_mut(new), Some(&mut "new"));
        assert_eq!(map.insert(new, "newer"), Some("new"));
        assert_eq!(map.iter().collect::<Vec<_>>(), [(new, &"newer")]);
        map.iter_mut().for_each(|(_, value)| *value = "newest");
        assert_eq!(map.get(new), Some(&"newest"));
        *map.get_mut(new).unwrap() = "last";
        assert_eq!(map.remove(new), Some("last"));
        assert!(map.is_empty());
        assert_eq!((map.len(), map.get_mut(new)), (0, None));
        for index in 0..3 {
            map.insert(ConnId { index, generation: 1 }, "one of three");
        }
        assert!(map.len() == 3 && !map.is_empty());
    }
}
