//! What differs by topic: the most specific prefix of a topic's name decides, and in place of what it does
//! not say, what is said for all.

use std::time::Duration;

use pushloop::{ConfigureError, History, Hub, OnLag, TopicOptions};

use crate::{options::Options, presence, pusher};

/// How long a cache channel keeps its latest event.
const CACHE_AGE: Duration = Duration::from_secs(30 * 60);
/// How many joins and leaves are kept, and how long, where servers share them.
const LISTS_KEPT: u64 = 100;
const LISTS_AGE: Duration = Duration::from_secs(60);

/// What is so for one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByTopic {
    pub history: Option<History>,
    pub on_lag: OnLag,
    /// Whether it is known who subscribes.
    pub presence: bool,
    /// Whether no token is asked of those that publish.
    pub anyone_may_publish: bool,
}

impl ByTopic {
    pub fn of(options: &Options) -> Self {
        let history = options.history.map(|publications| {
            let mut history = History::of(publications);
            (history.age, history.bytes) = (options.history_age, options.history_bytes);
            history
        });
        let Options { on_lag, presence, anyone_may_publish, .. } = *options;
        Self { history, on_lag, presence, anyone_may_publish }
    }

    /// Adds what is so for topics of which the server itself knows more, where nothing else is said of them.
    pub fn add_own(self, options: &Options, by_prefix: &mut Vec<(String, Self)>) {
        if !options.tokens.apps.is_empty() {
            self.add_channels(by_prefix);
        }
        if options.broker.url.is_some() {
            self.add_lists(by_prefix);
        }
    }

    /// Adds what is so for cache channels and those with members, where nothing else is said of them: these keep
    /// the latest event, and of those it is known who subscribes.
    fn add_channels(self, by_prefix: &mut Vec<(String, Self)>) {
        for prefix in pusher::CACHES.iter().chain(&pusher::PRESENCES) {
            if by_prefix.iter().any(|(other, _)| other == prefix) {
                continue;
            }
            let mut channels = Self { presence: prefix.starts_with("presence-"), ..self };
            if pusher::is_cache(prefix) && channels.history.is_none() {
                let mut history = History::of(1);
                history.age = CACHE_AGE;
                channels.history = Some(history);
            }
            by_prefix.push(((*prefix).to_owned(), channels));
        }
    }

    /// Adds what is so for the joins and leaves that servers share, where nothing is said of them: some are kept, so that
    /// their places are the same at each server.
    fn add_lists(self, by_prefix: &mut Vec<(String, Self)>) {
        let any = |it: &Self| it.presence;
        let is_any = any(&self) || by_prefix.iter().any(|(_, it)| any(it));
        if !is_any || self.history.is_some() {
            return;
        }
        let mut history = History::of(LISTS_KEPT);
        history.age = LISTS_AGE;
        let list =
            Self { history: Some(history), presence: false, anyone_may_publish: false, ..self };
        for prefix in presence::SHARED {
            if by_prefix.iter().all(|(other, _)| other != prefix) {
                by_prefix.push((prefix.to_owned(), list));
            }
        }
    }

    fn options(self) -> TopicOptions {
        let mut options = TopicOptions::default();
        (options.history, options.on_lag) = (self.history, self.on_lag);
        options
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    others: ByTopic,
    /// The longest prefix first.
    by_prefix: Vec<(String, ByTopic)>,
}

impl Patterns {
    pub fn new(others: ByTopic, mut by_prefix: Vec<(String, ByTopic)>) -> Self {
        by_prefix.sort_by_key(|(prefix, _)| usize::MAX - prefix.len());
        Self { others, by_prefix }
    }

    /// What is so for the topic of this name.
    pub fn of(&self, name: &str) -> ByTopic {
        let found = self.by_prefix.iter().find(|(prefix, _)| name.starts_with(&**prefix));
        found.map_or(self.others, |(_, by_topic)| *by_topic)
    }

    /// Whether this is so for some topics.
    pub fn any(&self, is_so: impl Fn(&ByTopic) -> bool) -> bool {
        is_so(&self.others) || self.by_prefix.iter().any(|(_, by_topic)| is_so(by_topic))
    }

    /// The prefixes, the longest first, and whether anyone may publish there.
    pub fn anyone_may_publish(&self) -> impl Iterator<Item = (String, bool)> {
        self.by_prefix.iter().map(|(prefix, it)| (prefix.clone(), it.anyone_may_publish))
    }

    /// Has topics that begin from now on be so.
    pub fn configure(&self, hub: &mut Hub) -> Result<(), ConfigureError> {
        let by_prefix = self.by_prefix.iter();
        let by_prefix = by_prefix.map(|(prefix, it)| (prefix.clone(), it.options())).collect();
        hub.configure_topics(self.others.options(), by_prefix)
    }
}

#[cfg(test)]
mod tests {
    use pushloop::{Config, Server};

    use super::*;

    #[test]
    fn topics_begin_with_what_is_so_for_them() {
        let mut server = Server::new(Config::default()).expect("there are descriptors");
        let by_topic = |history, on_lag| ByTopic { history, on_lag, ..ByTopic::default() };
        let skips = by_topic(None, OnLag::Skip);
        let state = by_topic(Some(History::of(1)), OnLag::Latest);
        let by_prefix = [("a", skips), ("a/b", state)].map(|(prefix, it)| (prefix.to_owned(), it));
        let patterns = Patterns::new(ByTopic::default(), by_prefix.into());
        patterns.configure(server.hub()).expect("there are two");
        for (name, expected) in [("a/", skips), ("a/b/c", state), ("b", ByTopic::default())] {
            assert_eq!(patterns.of(name), expected, "{name}");
            let options = server.hub().topic_options(name);
            assert_eq!((options.history, options.on_lag), (expected.history, expected.on_lag));
        }
    }

    #[test]
    fn joins_and_leaves_that_servers_share_are_kept_where_nothing_else_is_said() {
        let lists = |all: ByTopic, mut by_prefix: Vec<(String, ByTopic)>| {
            let given = by_prefix.len();
            all.add_lists(&mut by_prefix);
            let added = by_prefix.split_off(given).into_iter();
            let told = |(prefix, it): (String, ByTopic)| {
                (prefix, it.history.map(|it| it.publications), it.presence)
            };
            added.map(told).collect::<Vec<_>>()
        };
        let nothing = ByTopic::default();
        let has_members = ByTopic { presence: true, ..nothing };
        let keeps = ByTopic { history: Some(History::of(5)), ..has_members };
        let added = presence::SHARED.map(|it| (it.to_owned(), Some(LISTS_KEPT), false));
        assert_eq!(lists(has_members, Vec::new()), added);
        assert_eq!(lists(nothing, vec![("a".to_owned(), has_members)]), added);
        let own = vec![("$presence/".to_owned(), nothing)];
        assert_eq!(lists(has_members, own), added[1..]);
        for all in [nothing, keeps] {
            assert_eq!(lists(all, Vec::new()), []);
        }
    }
}
