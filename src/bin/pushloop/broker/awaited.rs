//! Members that something waits for: a client is told who is there once it is one of them itself.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
};

use pushloop::{Presence, PresenceNews};

/// A topic and a member's id.
type Named = (Box<str>, Box<str>);

/// See the module. Each has a number, as what waits for topics has.
#[derive(Debug, Default)]
pub struct Awaited {
    numbers: BTreeMap<Named, BTreeSet<u64>>,
    members: HashMap<u64, Named>,
    /// Those that are there.
    ready: Vec<u64>,
}

impl Awaited {
    /// Waits for a member under this number.
    pub fn add(&mut self, number: u64, topic: &str, id: &str) {
        let member = (Box::from(topic), Box::from(id));
        self.numbers.entry(member.clone()).or_default().insert(number);
        self.members.insert(number, member);
    }

    /// How many members of a topic are waited for beside this one, up to so many.
    pub fn count_beside(&self, topic: &str, id: &str, most: usize) -> usize {
        let of_topic = self.numbers.range((Box::from(topic), Box::from(""))..);
        let of_topic = of_topic.take_while(|((of, _), _)| **of == *topic);
        of_topic.filter(|((_, member), _)| **member != *id).take(most).count()
    }

    /// Nobody waits under this number any more.
    pub fn forget(&mut self, number: u64) {
        let Some(member) = self.members.remove(&number) else { return };
        if let Some(numbers) = self.numbers.get_mut(&member) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.numbers.remove(&member);
            }
        }
    }

    /// Something was told of a topic.
    pub fn note(&mut self, presence: &mut Presence, topic: Box<str>, news: PresenceNews) {
        match &news {
            PresenceNews::Join(id, _) => self.settle((topic.clone(), id.clone())),
            PresenceNews::All(members) if !self.numbers.is_empty() => {
                members.iter().for_each(|(id, _)| self.settle((topic.clone(), id.clone())));
            }
            PresenceNews::All(_) | PresenceNews::Leave(_) | PresenceNews::Unknown => {}
        }
        presence.handle_news(&topic, news);
    }

    fn settle(&mut self, member: Named) {
        for number in self.numbers.remove(&member).into_iter().flatten() {
            self.members.remove(&number);
            self.ready.push(number);
        }
    }

    /// The numbers under which nothing is waited for any more.
    pub fn take_ready(&mut self) -> Vec<u64> {
        mem::take(&mut self.ready)
    }
}

#[cfg(test)]
mod tests {
    use pushloop::PresenceConfig;

    use super::*;

    #[test]
    fn what_waits_for_a_member_goes_on_once_it_is_there() {
        let mut presence = Presence::shared(1, str::to_owned, PresenceConfig::default());
        let mut awaited = Awaited::default();
        let member = |id: &str| (Box::from(id), Box::from("null"));
        let mut note = |awaited: &mut Awaited, news| {
            awaited.note(&mut presence, "t".into(), news);
            awaited.take_ready()
        };
        for (number, topic, id) in
            [(1, "t", "ada"), (2, "t", "ada"), (3, "u", "ada"), (4, "t", "ben")]
        {
            awaited.add(number, topic, id);
        }
        let count = |id, most| awaited.count_beside("t", id, most);
        assert_eq!((count("ada", 9), count("cy", 9), count("cy", 1)), (1, 2, 1));
        assert!(note(&mut awaited, PresenceNews::Leave("ada".into())).is_empty());
        let all = PresenceNews::All(vec![member("ada"), member("cy")]);
        assert_eq!(note(&mut awaited, all), [1, 2]);
        awaited.add(5, "t", "ben");
        awaited.forget(4);
        assert_eq!(note(&mut awaited, PresenceNews::Join("ben".into(), "null".into())), [5]);
        awaited.forget(3);
        assert!(awaited.numbers.is_empty() && awaited.members.is_empty());
    }
}
