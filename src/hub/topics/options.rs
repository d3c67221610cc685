//! Which options a topic has: its own, those of the longest prefix of its name, or those of all others.

use std::{cmp::Reverse, mem, sync::Arc};

use super::Topics;
use crate::{
    config::TopicOptions,
    conn::Commons,
    counters::{LivePrefix, LivePrefixes},
};

/// The beginning of names of topics, and what these begin with.
#[derive(Debug)]
pub(super) struct Prefix {
    text: String,
    options: TopicOptions,
    pub(super) counters: Arc<LivePrefix>,
}

impl Topics {
    /// The options with which a topic begins.
    pub(in crate::hub) fn options(&self, name: &str, default: TopicOptions) -> TopicOptions {
        let own = self.options.get(name);
        let by_prefix = || self.prefix_of(name).map(|prefix| &prefix.options);
        own.or_else(by_prefix).copied().unwrap_or(default)
    }

    /// The longest prefix of a topic's name. There are `topic_prefixes_max` at the most.
    pub(super) fn prefix_of(&self, name: &str) -> Option<&Prefix> {
        self.prefixes.iter().find(|prefix| name.starts_with(&*prefix.text))
    }

    /// Topics that begin from here on have these options by the longest prefix of their names.
    pub(in crate::hub) fn set_prefixes(
        &mut self,
        prefixes: Vec<(String, TopicOptions)>,
        counters: &LivePrefixes,
    ) {
        let counters = counters.set(prefixes.iter().map(|(prefix, _)| &**prefix));
        let prefixes = prefixes.into_iter().zip(counters);
        self.prefixes = prefixes
            .map(|((text, options), counters)| Prefix { text, options, counters })
            .collect();
        self.prefixes.sort_by_key(|prefix| Reverse(prefix.text.len()));
    }

    /// Sets a topic's options, or gives it those of others again. False if `max` topics have options
    /// already.
    pub(in crate::hub) fn configure(
        &mut self,
        name: &str,
        options: Option<TopicOptions>,
        default: TopicOptions,
        max: usize,
        commons: &mut Commons,
    ) -> bool {
        match options {
            Some(options) => {
                if self.options.len() >= max && !self.options.contains_key(name) {
                    return false;
                }
                self.options.insert(name.into(), options);
            }
            None => {
                self.options.remove(name);
                if self.options.capacity() > 4 * self.options.len().max(64) {
                    self.options.shrink_to_fit();
                }
            }
        }
        if let Some(topic) = self.find(name) {
            let options = self.options(name, default);
            let before = mem::replace(&mut self.topics[topic].options, options);
            self.handle_options(topic, before, commons);
            self.remove_if_over(topic, commons);
        }
        true
    }
}
