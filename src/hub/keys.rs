//! Publications that were made under a key: one that is made again is answered as the first was.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{Hub, PublishError, Published};
use crate::{
    conn::{Commons, Ticks},
    event::AsMessage,
};

/// The answers that are remembered. A tree, because a table that doubles would hold up the loop.
#[derive(Debug, Default)]
pub(super) struct Keys {
    answers: BTreeMap<Arc<str>, Published>,
    /// The keys, the oldest first, and when each was used.
    ages: VecDeque<(Ticks, Arc<str>)>,
}

/// The text that stands for a topic and a key. No two pairs are the same text.
fn known(topic: &str, key: &str) -> String {
    format!("{} {topic}{key}", topic.len())
}

impl Keys {
    /// The answer that is remembered.
    pub(super) fn answer(&self, topic: &str, key: &str) -> Option<Published> {
        self.answers.get(known(topic, key).as_str()).copied()
    }

    fn remember(&mut self, key: &str, answer: Published, commons: &Commons) {
        let key: Arc<str> = key.into();
        self.answers.insert(Arc::clone(&key), answer);
        self.ages.push_back((commons.now, key));
        if self.ages.len() > commons.config.idempotency_keys_max {
            self.forget_oldest();
            commons.tally.keys_forgotten.add(1);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.ages.pop_front() {
            self.answers.remove(&key);
        }
    }

    /// Forgets what was remembered for long enough.
    #[inline]
    pub(super) fn forget_due(&mut self, memory: Duration, now: Ticks) {
        while self.ages.front().is_some_and(|(since, _)| since.after(memory) <= now) {
            self.forget_oldest();
        }
    }
}

impl Hub {
    /// Publishes a message once: if this `key` was used for this topic before, nothing is published, and
    /// the answer is that of the first time. A publisher that does not know whether its request was heard
    /// can make it again. A publication that was refused may be made again under its key.
    ///
    /// Keys are remembered for [`idempotency_memory`](crate::Config::idempotency_memory), and so many of
    /// them: [`idempotency_keys_max`](crate::Config::idempotency_keys_max).
    ///
    /// # Errors
    ///
    /// See [`PublishError`].
    pub fn publish_once(
        &mut self,
        topic: &str,
        key: &str,
        message: impl AsMessage,
    ) -> Result<Published, PublishError> {
        let config = &self.commons.config;
        if key.len() > config.idempotency_key_bytes_max {
            return Err(PublishError::KeyTooLong);
        }
        let message = message.as_message();
        if self.is_one_of_several()
            && let Some(elsewhere) = self.publish_elsewhere(topic, Some(key), message, None)
        {
            return elsewhere;
        }
        let config = &self.commons.config;
        self.keys.forget_due(config.idempotency_memory, self.commons.now);
        if let Some(answer) = self.keys.answer(topic, key) {
            self.commons.tally.publications_repeated.add(1);
            return Ok(answer);
        }
        let answer = self.publish_to(topic, message, None)?;
        self.keys.remember(&known(topic, key), answer, &self.commons);
        Ok(answer)
    }
}
