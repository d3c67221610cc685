//! What is counted of topics together whose names begin with the same prefix, of which there are a few.

use std::sync::{Arc, Mutex, PoisonError};

use super::Count;

/// What topics have done whose names begin with one of the prefixes of
/// [`Hub::configure_topics`](crate::Hub::configure_topics), and not with a longer one of them.
///
/// Topics count that began since the prefix was given first. The last two are what is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrefixCounters {
    /// Messages published to these topics, each counted once however many subscribers it has.
    pub publications: u64,
    /// Bytes of these messages.
    pub published_bytes: u64,
    /// Subscriptions to them: a connection that subscribes to two counts twice.
    pub subscribers: u64,
    /// How many of them have subscribers.
    pub topics: u64,
}

impl PrefixCounters {
    /// Adds what another loop of the process has counted, which knows the same prefixes.
    pub(crate) fn add_all(sum: &mut Vec<(String, Self)>, others: Vec<(String, Self)>) {
        for (prefix, it) in others {
            match sum.iter_mut().find(|(known, _)| *known == prefix) {
                Some((_, known)) => {
                    known.publications += it.publications;
                    known.published_bytes += it.published_bytes;
                    known.subscribers += it.subscribers;
                    known.topics += it.topics;
                }
                None => sum.push((prefix, it)),
            }
        }
    }
}

/// The live counters of one prefix. Each of its topics has them at hand.
#[derive(Debug, Default)]
pub(crate) struct LivePrefix {
    publications: Count,
    published_bytes: Count,
    subscribers: Count,
    topics: Count,
}

impl LivePrefix {
    pub(crate) fn note_published(&self, bytes: usize) {
        self.publications.add(1);
        self.published_bytes.add(bytes as u64);
    }

    pub(crate) fn note_subscribed(&self, is_first: bool) {
        self.subscribers.add(1);
        self.topics.add(is_first.into());
    }

    pub(crate) fn note_unsubscribed(&self, was_last: bool) {
        self.subscribers.sub(1);
        self.topics.sub(was_last.into());
    }

    fn snapshot(&self) -> PrefixCounters {
        PrefixCounters {
            publications: self.publications.get(),
            published_bytes: self.published_bytes.get(),
            subscribers: self.subscribers.get(),
            topics: self.topics.get(),
        }
    }
}

/// The prefixes that there are. The loop changes them when they are configured, and any thread reads them.
#[derive(Debug, Default)]
pub(crate) struct LivePrefixes(Mutex<Vec<(String, Arc<LivePrefix>)>>);

impl LivePrefixes {
    /// These are the prefixes from now on. One that was there before goes on counting. Gives the counters of each, in
    /// their order.
    pub(crate) fn set<'a>(&self, prefixes: impl Iterator<Item = &'a str>) -> Vec<Arc<LivePrefix>> {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            |prefix: &str| list.iter().find(|(it, _)| it == prefix).map(|it| Arc::clone(&it.1));
        let next: Vec<_> =
            prefixes.map(|prefix| (prefix.to_owned(), known(prefix).unwrap_or_default())).collect();
        let counters = next.iter().map(|(_, counters)| Arc::clone(counters)).collect();
        *list = next;
        counters
    }

    pub(crate) fn snapshot(&self) -> Vec<(String, PrefixCounters)> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().map(|(prefix, counters)| (prefix.clone(), counters.snapshot())).collect()
    }
}
