//! Lists of members, which are read in portions.

use super::*;
use crate::broker::link::Portion;

/// The news of members that are to be told, in short.
fn news(topics: &mut Topics) -> Vec<String> {
    let news = topics.take_news().into_iter().map(|(topic, news)| match news {
        PresenceNews::All(members) => format!("{topic}: {} are there", members.len()),
        PresenceNews::Join(id, info) => format!("{topic}: {id} {info} joins"),
        PresenceNews::Leave(id) => format!("{topic}: {id} leaves"),
        PresenceNews::Unknown => format!("{topic}: unknown"),
    });
    news.collect()
}

impl World {
    /// Its companion topic is there, with so many members, and its list is wanted under this number.
    fn listing(count: usize) -> (Self, u64) {
        let mut world = Self::opening();
        world.name = "$presence/t".into();
        let names = [world.name.to_string()];
        world.topics.want(world.server.hub(), &names, &[], Lists::Count);
        world.topics.handle_subscribed(world.server.hub(), &world.name);
        world.opened(Wanted::Latest(KEEPS), Place { members: count, ..place([], at(5)) });
        assert_eq!(world.next_portion(), None, "nobody has asked who they are");
        assert_eq!(world.topics.member_count(&world.name), Some(count));
        let number = world.topics.want(world.server.hub(), &names, &[], Lists::Members);
        (world, number)
    }

    /// The portion that is asked for.
    fn next_portion(&self) -> Option<Next> {
        self.shared.echo();
        self.shared.next_batch().expect("it does not end").portion.map(|(_, next)| next)
    }

    /// The portion that is asked for has these members, and is followed by another one unless its cursor is 0.
    fn portion(&mut self, cursor: u64, members: &[&str], position: Position) {
        let members = members.iter().map(|id| (Box::from(*id), Box::from("1"))).collect();
        let next = self.next_portion().expect("one is asked for");
        self.told_portion(next, Ok(Portion { cursor, members, position }));
    }

    fn told_portion(&mut self, next: Next, portion: Result<Portion, String>) {
        let (hub, name) = (self.server.hub(), Arc::clone(&self.name));
        self.topics.handle_portion(hub, &name, next, portion);
    }

    /// Somebody has come or gone: what is told of it.
    fn says(&mut self, offset: u64, text: &str) -> Vec<String> {
        let (hub, name) = (self.server.hub(), Arc::clone(&self.name));
        let record = Record::of(pushloop::Message::Text(text), 0);
        drop(self.topics.handle_news(hub, name, at(offset), record));
        news(&mut self.topics)
    }
}

const JOIN: &str = r#"{"join":{"id":"ada","info":null}}"#;
const LEAVE: &str = r#"{"leave":{"id":"ada"}}"#;

#[test]
fn a_list_is_told_with_the_place_of_its_topic_and_changes_with_it() {
    let (mut world, number) = World::listing(2);
    world.portion(7, &["0"], at(5));
    world.portion(0, &["1"], at(5));
    assert_eq!(news(&mut world.topics), ["t: 2 are there"]);
    assert!(matches!(world.topics.take_done()[..], [Done::Ready(ready)] if ready == number));
    assert_eq!(world.says(6, JOIN), ["t: ada null joins"]);
    assert_eq!(world.topics.member_count("$presence/t"), Some(3));
    assert!(world.says(6, JOIN).is_empty() && world.says(7, "{}").is_empty());
    assert_eq!(world.says(8, LEAVE), ["t: ada leaves"]);
    // Behind a hole nothing is told until it is closed.
    assert!(world.says(10, JOIN).is_empty());
    assert_eq!(world.topics.listed, 2);
    world.opened(Wanted::After(8, KEEPS), place([], at(0)));
    assert_eq!(news(&mut world.topics), ["t: unknown"]);
    assert_eq!(world.topics.listed, 0);
}

/// A portion may know what was not heard yet: the list is told with the place up to which all is heard.
#[test]
fn what_comes_and_goes_while_a_list_is_read_is_in_it_once() {
    let (mut world, _) = World::listing(2);
    world.portion(7, &["0", "ada"], at(6));
    assert!(world.says(6, JOIN).is_empty() && world.says(7, LEAVE).is_empty());
    // The same of one that was read before it left, and of one that is not heard to have left.
    world.portion(0, &["1", "ada", "ben"], at(9));
    assert!(news(&mut world.topics).is_empty() && world.topics.take_done().is_empty());
    assert!(world.says(8, r#"{"leave":{"id":"0"}}"#).is_empty());
    assert_eq!(world.says(9, r#"{"leave":{"id":"1"}}"#), ["t: 1 are there"]);
    assert_eq!((world.topics.listed, world.topics.member_count("$presence/t")), (1, Some(1)));
    assert!(matches!(world.topics.take_done()[..], [Done::Ready(_)]));
}

#[test]
fn a_list_that_is_not_whole_is_read_anew_after_a_lost_connection() {
    let (mut world, _) = World::listing(2);
    world.portion(7, &["0", "1"], at(5));
    let before = world.next_portion().expect("the next is asked for");
    world.topics.handle_connected();
    let anew = world.next_portion().expect("it is read anew");
    assert!(anew.cursor == 0 && anew.reading != before.reading);
    world.opened(Wanted::After(5, KEEPS), place([], at(5)));
    let all = |cursor| Portion { cursor, members: Vec::new(), position: at(5) };
    world.told_portion(before, Ok(all(0)));
    assert!(news(&mut world.topics).is_empty(), "a portion of before");
    world.told_portion(anew, Ok(all(0)));
    assert_eq!(news(&mut world.topics), ["t: 0 are there"]);
}

#[test]
fn those_that_wait_for_a_list_are_told_why_there_is_none() {
    let (mut world, number) = World::listing(2);
    let next = world.next_portion().expect("one is asked for");
    world.told_portion(next, Err("WRONGTYPE".to_owned()));
    let done = world.topics.take_done();
    assert!(
        matches!(&done[..], [Done::Failed(failed, why)] if *failed == number && why.contains("WRONGTYPE"))
    );
    assert!(world.topics.has(world.server.hub(), "$presence/t", None, Lists::Count));
    assert_eq!((world.topics.listed, world.topics.waiters.len()), (0, 1), "the topic of the world");
}

#[test]
fn as_many_members_are_listed_as_the_limit_says() {
    let (mut world, _) = World::listing(LISTED_MAX - 2);
    world.topics.listed += 2;
    assert_eq!(world.topics.refuses_list("$presence/t"), Ok(()));
    world.portion(0, &["0"], at(5));
    assert_eq!(news(&mut world.topics).len(), 1);
    assert!(matches!(world.topics.take_done()[..], [Done::Ready(_)]));
    // One more than there may be comes: the list is told no more, and the topic goes on.
    world.topics.listed += LISTED_MAX - 3;
    assert_eq!(world.says(6, JOIN), ["t: ada null joins", "t: unknown"]);
    let hub = world.server.hub();
    let has = |lists| world.topics.has(hub, "$presence/t", None, lists);
    assert_eq!((has(Lists::Count), has(Lists::Members)), (true, false));
    assert_eq!(world.topics.listed, LISTED_MAX - 1);
    // One more than there may be is there.
    let (mut world, number) = World::listing(LISTED_MAX + 1);
    assert_eq!(world.next_portion(), None);
    let why = world.topics.refuses_list("$presence/t").unwrap_err();
    assert!(why.contains("members_listed_max = 100000"), "{why}");
    let done = world.topics.take_done();
    assert!(matches!(&done[..], [Done::Failed(failed, told)] if *failed == number && *told == why));
    assert_eq!(world.topics.listed, 0);
}
