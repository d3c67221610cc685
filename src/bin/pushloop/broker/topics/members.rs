//! Who is in topics: what is known of that is told beside what is published to their companion topics, so that a list
//! and the place up to which it knows belong together.

use std::{mem, sync::Arc};

use pushloop::PresenceNews;

use super::{LISTED_MAX, Topics};
use crate::{
    broker::{link::Listed, lists, record::Record},
    presence::topic_of,
};

impl Topics {
    /// What is to be told of members, in this order.
    pub fn take_news(&mut self) -> Vec<(Box<str>, PresenceNews)> {
        mem::take(&mut self.news)
    }

    /// If it is a companion topic, these are the members at the place where it begins.
    pub(super) fn list(&mut self, name: &Arc<str>, members: Vec<Listed>) {
        self.unlist(name);
        let Some(of) = topic_of(name) else { return };
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.listed = Some(members.len());
        self.listed += members.len();
        self.news.push((of.into(), PresenceNews::All(members)));
    }

    /// It is not known any more who is there.
    pub(super) fn unlist(&mut self, name: &Arc<str>) {
        let Some(of) = topic_of(name) else { return };
        let Some(topic) = self.topics.get_mut(name) else { return };
        if let Some(count) = topic.listed.take() {
            self.listed -= count;
            self.news.push((of.into(), PresenceNews::Unknown));
        }
    }

    /// If it was published to a companion topic, somebody has come or gone. False if too many are listed.
    pub(super) fn note_member(&mut self, name: &Arc<str>, record: &Record) -> bool {
        let Some(of) = topic_of(name) else { return true };
        let Some(topic) = self.topics.get_mut(name) else { return true };
        let (Some(count), Some(news)) = (&mut topic.listed, lists::news(record)) else {
            return true;
        };
        let after = match &news {
            PresenceNews::Join(..) => *count + 1,
            PresenceNews::Leave(_) => count.saturating_sub(1),
            PresenceNews::All(_) | PresenceNews::Unknown => *count,
        };
        self.listed = self.listed - *count + after;
        *count = after;
        self.news.push((of.into(), news));
        self.listed <= LISTED_MAX
    }
}
