//! Who is in topics: what is known of that is told beside what is published to their companion topics, so that a list
//! and the place up to which it knows belong together.
//!
//! How many there are is told with the place where a companion topic begins, and counted from there. Who they are is
//! read only if somebody wants to know, portion by portion, while the broker serves others in between. Members come and
//! go meanwhile, which is published to the topic, as the broker changes a list in no other way. So what is read is:
//!
//! - A member of whom nothing is published from the beginning of the reading to its end was there all the time, and is
//!   in a portion, or never, and is in none: that is what `HSCAN` promises.
//! - Of all others, the last publication says whether they are there. What a portion says of them does not count, be it
//!   older or newer.
//!
//! With the last portion the broker tells where the topic is. Once the node has all publications up to there, whichever
//! way they come, the list is that of the place where the topic is here. Before, it may have members of whose joins
//! nothing was heard, and is told to nobody. A cursor is one process's: what is not whole when a connection is lost is
//! read anew.

use std::{collections::BTreeMap, mem, sync::Arc};

use pushloop::{Hub, PresenceNews};

use super::{LISTED_MAX, LISTED_TOO_MANY, State, Topics};
use crate::{
    broker::{
        Done,
        link::{Listed, Portion},
        lists,
        record::Record,
    },
    presence::topic_of,
};

/// What is wanted of the companion topics among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// How many members there are.
    Count,
    /// Who they are.
    Members,
}

/// What is known of who is in a topic.
#[derive(Debug, Default)]
pub(super) enum Listing {
    /// Nobody has asked.
    #[default]
    Unread,
    Reading(Reading),
    /// It is told, and goes on with what is published.
    Read,
}

/// A portion that is asked for: the reading that it belongs to, and the broker's cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    pub reading: u64,
    pub cursor: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reading {
    number: u64,
    members: BTreeMap<Box<str>, Known>,
    /// The offset up to which the portions know, once all are there.
    until: Option<u64>,
}

/// What is known of one member.
#[derive(Debug)]
enum Known {
    /// A portion has it, with this info.
    Listed(Box<str>),
    /// It was published that it came, with this info.
    Came(Box<str>),
    /// It was published that it left.
    Left,
}

impl Reading {
    fn new(number: u64) -> Self {
        Self { number, members: BTreeMap::new(), until: None }
    }

    fn take(&mut self, members: Vec<Listed>) {
        for (id, info) in members {
            self.members.entry(id).or_insert(Known::Listed(info));
        }
    }

    fn note(&mut self, news: PresenceNews) {
        match news {
            PresenceNews::Join(id, info) => _ = self.members.insert(id, Known::Came(info)),
            PresenceNews::Leave(id) => _ = self.members.insert(id, Known::Left),
            PresenceNews::All(_) | PresenceNews::Unknown => {}
        }
    }

    fn into_members(self) -> Vec<Listed> {
        let info = |known| match known {
            Known::Listed(info) | Known::Came(info) => Some(info),
            Known::Left => None,
        };
        self.members.into_iter().filter_map(|(id, known)| Some((id, info(known)?))).collect()
    }
}

impl Topics {
    /// What is to be told of members, in this order.
    pub fn take_news(&mut self) -> Vec<(Box<str>, PresenceNews)> {
        mem::take(&mut self.news)
    }

    /// What has come of lists.
    pub fn take_done(&mut self) -> Vec<Done> {
        mem::take(&mut self.done)
    }

    /// How many members there are at the place where a companion topic is here.
    pub fn member_count(&self, companion: &str) -> Option<usize> {
        let topic = self.topics.get(companion)?;
        match topic.state {
            State::Live | State::Catching => Some(topic.count),
            State::Opening | State::Ending => None,
        }
    }

    /// Why the list of a topic is not read, if it is too long for what is listed already.
    pub fn refuses_list(&self, companion: &str) -> Result<(), String> {
        let Some(topic) = self.topics.get(companion) else { return Ok(()) };
        let would_be = self.listed - topic.listed + topic.count;
        let is_new = matches!(topic.listing, Listing::Unread);
        match topic_of(companion).is_some() && is_new && would_be > LISTED_MAX {
            true => Err(LISTED_TOO_MANY.to_owned()),
            false => Ok(()),
        }
    }

    /// If somebody waits for the list of a topic that is live, it is read, or they need not wait any more.
    pub(super) fn go_on_listing(&mut self, name: &Arc<str>) {
        let Some(topic) = self.topics.get_mut(name).filter(|it| it.state == State::Live) else {
            return;
        };
        match mem::take(&mut topic.listing) {
            Listing::Unread if topic.readers.is_empty() => {}
            Listing::Unread => self.read_list(name),
            Listing::Reading(reading)
                if reading.until.is_some_and(|it| it <= topic.position.offset) =>
            {
                topic.listing = Listing::Read;
                let members = reading.into_members();
                topic.count = members.len();
                if let Some(of) = topic_of(name) {
                    self.news.push((of.into(), PresenceNews::All(members)));
                }
                self.count_listed(name);
                self.settle_readers(name);
            }
            Listing::Reading(reading) => topic.listing = Listing::Reading(reading),
            Listing::Read => {
                topic.listing = Listing::Read;
                self.settle_readers(name);
            }
        }
    }

    /// Those that wait for the list need not any more.
    fn settle_readers(&mut self, name: &Arc<str>) {
        let mut done = mem::take(&mut self.done);
        let readers = self.topics.get_mut(name).map(|it| mem::take(&mut it.readers));
        readers.into_iter().flatten().for_each(|number| self.settle(number, &mut done));
        self.done = done;
    }

    /// Reads the list from its beginning, whatever was read of it.
    pub(super) fn read_list(&mut self, name: &Arc<str>) {
        if let Err(why) = self.refuses_list(name) {
            return self.refuse_list(name, &why);
        }
        self.readings += 1;
        let Some(topic) = self.topics.get_mut(name) else { return };
        let next = Next { reading: self.readings, cursor: 0 };
        topic.listing = Listing::Reading(Reading::new(next.reading));
        self.shared.read(name, next);
        self.count_listed(name);
    }

    /// The list is not read, and those that wait for it are told why.
    fn refuse_list(&mut self, name: &Arc<str>, why: &str) {
        self.unlist(name);
        let readers = self.topics.get_mut(name).map(|it| mem::take(&mut it.readers));
        for number in readers.into_iter().flatten() {
            self.forget(number);
            self.done.push(Done::Failed(number, why.to_owned()));
        }
    }

    /// A portion of a list is there.
    pub fn handle_portion(
        &mut self,
        hub: &mut Hub,
        name: &Arc<str>,
        asked: Next,
        portion: Result<Portion, String>,
    ) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let Listing::Reading(reading) = &mut topic.listing else { return };
        if reading.number != asked.reading {
            return;
        }
        let Portion { cursor, members, position } = match portion {
            Ok(portion) => portion,
            Err(why) => {
                let why = format!("the broker does not tell who is there: {why}");
                return self.refuse_list(name, &why);
            }
        };
        if position.epoch != topic.position.epoch {
            if topic.state != State::Ending {
                self.end(hub, name);
            }
            return;
        }
        reading.take(members);
        if cursor == 0 {
            reading.until = Some(position.offset);
        }
        if !self.count_listed(name) {
            return self.refuse_list(name, LISTED_TOO_MANY);
        }
        match cursor {
            0 => self.go_on_listing(name),
            cursor => self.shared.read(name, Next { cursor, ..asked }),
        }
    }

    /// The way to ask is open anew: lists that are not whole are read from their beginning.
    pub(super) fn read_lists_anew(&mut self) {
        let is_open = |listing: &Listing| matches!(listing, Listing::Reading(_));
        let open = self.topics.iter().filter(|(_, topic)| is_open(&topic.listing));
        let open: Vec<_> = open.map(|(name, _)| Arc::clone(name)).collect();
        open.iter().for_each(|name| self.read_list(name));
    }

    /// It is not known any more who is there.
    pub(super) fn unlist(&mut self, name: &Arc<str>) {
        let Some(of) = topic_of(name) else { return };
        let Some(topic) = self.topics.get_mut(name) else { return };
        match mem::take(&mut topic.listing) {
            Listing::Unread | Listing::Reading(_) => {}
            Listing::Read => self.news.push((of.into(), PresenceNews::Unknown)),
        }
        self.count_listed(name);
    }

    /// If it was published to a companion topic, somebody has come or gone.
    pub(super) fn note_member(&mut self, name: &Arc<str>, record: &Record) {
        let Some(of) = topic_of(name) else { return };
        let Some(topic) = self.topics.get_mut(name) else { return };
        let Some(news) = lists::news(record) else { return };
        topic.count = match &news {
            PresenceNews::Join(..) => topic.count + 1,
            PresenceNews::Leave(_) => topic.count.saturating_sub(1),
            PresenceNews::All(_) | PresenceNews::Unknown => topic.count,
        };
        match &mut topic.listing {
            Listing::Unread => return,
            Listing::Reading(reading) => reading.note(news),
            Listing::Read => self.news.push((of.into(), news)),
        }
        match self.count_listed(name) {
            true => self.go_on_listing(name),
            false => self.refuse_list(name, LISTED_TOO_MANY),
        }
    }

    /// Counts what is held of a list. False if that is too much with all others.
    fn count_listed(&mut self, name: &Arc<str>) -> bool {
        let Some(topic) = self.topics.get_mut(name) else { return true };
        let listed = match &topic.listing {
            Listing::Unread => 0,
            Listing::Reading(reading) => reading.members.len().max(topic.count),
            Listing::Read => topic.count,
        };
        self.listed = self.listed - mem::replace(&mut topic.listed, listed) + listed;
        self.listed <= LISTED_MAX
    }
}
