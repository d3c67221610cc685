//! What a topic keeps, and what becomes of subscribers that lag.

use std::time::Duration;

/// What becomes of a subscriber that lags: its kernel did not take all that its topic published.
///
/// The policy is applied when the peer reads again; one that reads nothing is closed by
/// [`blocked_timeout`](super::Config::blocked_timeout). Each publication that the subscriber does not get is
/// counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLag {
    /// It gets every publication. If the next one is no longer kept, because the subscriber is behind by
    /// more than [`Config::topic_lag_bytes_max`](super::Config::topic_lag_bytes_max), its connection is closed with 1013 (try again later):
    /// its peer has seen an unbroken sequence.
    #[default]
    Close,
    /// It gets the latest publication, and none of those before. Right for a state of which each
    /// publication tells all.
    Latest,
    /// It gets every publication that is kept. If the next one is no longer kept, because the subscriber
    /// is behind by more than [`Config::topic_lag_bytes_max`](super::Config::topic_lag_bytes_max), it goes on in the middle of those that
    /// are.
    Skip,
}

/// How a topic's publications are kept and sent: see [`Hub::configure_topic`](crate::Hub::configure_topic).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicOptions {
    /// What becomes of a subscriber that lags. Default: [`OnLag::Close`].
    pub on_lag: OnLag,
    /// Whether publications may be sent compressed. Default `true`.
    ///
    /// Do not compress publications that hold a secret beside text that a stranger chose: their length
    /// would tell what the two have in common (RFC 7692 §8).
    #[cfg(feature = "deflate")]
    pub deflate: bool,
    /// What the topic keeps for subscribers that come later or come back. Default `None`: nothing.
    pub history: Option<History>,
}

/// How much of what a topic publishes is kept: for subscribers that come back
/// ([`Hub::subscribe_after`](crate::Hub::subscribe_after)), or that begin with the latest
/// ([`Hub::subscribe_last`](crate::Hub::subscribe_last)). A publication is kept while all three limits
/// let it be, and the process has room: [`Config::history_bytes_max`](super::Config::history_bytes_max).
///
/// A topic with a history lives on without subscribers, and publications to it are taken:
/// [`Config::topic_memory`](super::Config::topic_memory).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// The latest so many publications. Default 1,000. With 1, the topic keeps its state: the latest
    /// value. 0 keeps none, and the topic its place: what was published while a subscriber was away is
    /// known, and not there.
    pub publications: u64,
    /// Bytes of the latest publications, with the bookkeeping. Default 1 MiB. The oldest are given back
    /// in pieces of a quarter of this, or of 64 KiB if that is less.
    pub bytes: usize,
    /// How long a publication is kept, to a sixteenth of it. Default 5 min.
    pub age: Duration,
}

impl History {
    /// The latest so many publications, within the default of the other limits.
    ///
    /// ```
    /// # use pushloop::{Config, History};
    /// let mut config = Config::default();
    /// config.topic.history = Some(History::of(100));
    /// ```
    pub fn of(publications: u64) -> Self {
        Self { publications, ..Self::default() }
    }
}

impl Default for History {
    fn default() -> Self {
        Self { publications: 1000, bytes: 1 << 20, age: Duration::from_secs(5 * 60) }
    }
}

impl TopicOptions {
    /// Whether publications may be sent compressed.
    pub(crate) fn may_deflate(self) -> bool {
        #[cfg(feature = "deflate")]
        return self.deflate;
        #[cfg(not(feature = "deflate"))]
        false
    }
}

#[cfg_attr(not(feature = "deflate"), expect(clippy::derivable_impls))]
impl Default for TopicOptions {
    fn default() -> Self {
        Self {
            on_lag: OnLag::default(),
            #[cfg(feature = "deflate")]
            deflate: true,
            history: None,
        }
    }
}
