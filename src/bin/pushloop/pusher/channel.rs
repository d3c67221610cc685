//! The names of channels, and the topics that they are.
//!
//! A channel of the first application is the topic of its name, and one of a further application ends with `:` and
//! the application's id. So the beginning of a name is what it is in Pusher, in each application: `private-` needs a
//! signature there, and a token at every other door.

use std::borrow::Cow;

use super::apps::App;

/// Bytes of a channel's name.
pub const NAME_BYTES_MAX: usize = 164;
/// What the names of cache channels begin with.
pub const CACHES: [&str; 4] =
    ["cache-", "private-cache-", "presence-cache-", "private-encrypted-cache-"];
/// And of those that have members.
pub const PRESENCES: [&str; 2] = ["presence-", "presence-cache-"];

/// The channel of one user, which only its connections may have.
const USER: &str = "#server-to-user-";
/// What its topic begins with: no channel has a `#`, and no pattern for all means it.
const USER_TOPIC: &str = "private-#server-to-user-";

/// Where joins and leaves are published.
const COMPANION: &str = "$presence/";

/// What a channel's name says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Public,
    Private,
    /// Its events are sealed from end to end; clients publish none.
    Encrypted,
    Presence,
    /// Of one user.
    User,
}

impl Kind {
    /// `None` if it is no channel's name.
    pub fn of(name: &str) -> Option<Self> {
        if let Some(user) = name.strip_prefix(USER) {
            let is_name = !user.is_empty()
                && name.len() <= NAME_BYTES_MAX
                && !user.contains(char::is_control);
            return is_name.then_some(Self::User);
        }
        let is_part = |it: u8| it.is_ascii_alphanumeric() || b"_-=@,.;".contains(&it);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_part) {
            return None;
        }
        // A topic's name has none of these: what is in front of a server may resolve them.
        if [".", ".."].contains(&name) {
            return None;
        }
        Some(if name.starts_with("private-encrypted-") {
            Self::Encrypted
        } else if name.starts_with("private-") {
            Self::Private
        } else if name.starts_with("presence-") {
            Self::Presence
        } else {
            Self::Public
        })
    }

    /// Whether clients may publish to it.
    pub fn takes_client_events(self) -> bool {
        match self {
            Self::Private | Self::Presence => true,
            Self::Public | Self::Encrypted | Self::User => false,
        }
    }
}

/// Whether its latest event is kept for those that subscribe later.
pub fn is_cache(name: &str) -> bool {
    CACHES.iter().any(|prefix| name.starts_with(prefix))
}

/// The channel of a user.
pub fn user_channel(user: &str) -> String {
    format!("{USER}{user}")
}

impl App {
    /// The topic that a channel is.
    pub fn topic(&self, channel: &str) -> String {
        match channel.strip_prefix(USER) {
            // The last `:` is in front of the application.
            Some(user) => {
                let user = user.replace('%', "%25").replace(':', "%3A");
                format!("{USER_TOPIC}{user}{}", self.suffix)
            }
            None => format!("{channel}{}", self.suffix),
        }
    }

    /// The presence channel that a topic is, if it is one of this application's.
    pub fn presence_channel<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let channel = topic.strip_suffix(&*self.suffix)?;
        (Kind::of(channel) == Some(Kind::Presence)).then_some(channel)
    }
}

/// The channel that a topic is, in whichever application, and whether the topic is the one that tells of its members.
pub(super) fn of_topic(topic: &str) -> (Cow<'_, str>, bool) {
    let (topic, is_companion) = match topic.strip_prefix(COMPANION) {
        Some(topic) => (topic, true),
        None => (topic, false),
    };
    let name = topic.split(':').next().unwrap_or_default();
    let channel = match name.strip_prefix(USER_TOPIC) {
        Some(user) => user_channel(&user.replace("%3A", ":").replace("%25", "%")).into(),
        None => name.into(),
    };
    (channel, is_companion)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pusher::AppFile;

    #[test]
    fn a_name_says_what_a_channel_is_and_what_is_none_is_refused() {
        for (name, kind) in [
            ("a", Kind::Public),
            ("A-Za-z0-9_-=@,.;", Kind::Public),
            ("private", Kind::Public),
            ("cache-a", Kind::Public),
            ("private-a", Kind::Private),
            ("private-cache-a", Kind::Private),
            ("private-encrypted-a", Kind::Encrypted),
            ("private-encrypted-cache-a", Kind::Encrypted),
            ("presence-a", Kind::Presence),
            ("presence-cache-a", Kind::Presence),
            ("#server-to-user-a b:c", Kind::User),
        ] {
            assert_eq!(Kind::of(name), Some(kind), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "a:1",
            "é",
            "$stats",
            "#a",
            "#server-to-user-",
            "private-#server-to-user-a",
            "a\0",
            "#server-to-user-\n",
        ] {
            assert_eq!(Kind::of(name), None, "{name:?}");
        }
        assert_eq!(Kind::of(&"a".repeat(164)), Some(Kind::Public));
        assert_eq!(Kind::of(&"a".repeat(165)), None);
        assert_eq!(Kind::of(&user_channel(&"a".repeat(148))), Some(Kind::User));
        assert_eq!(Kind::of(&user_channel(&"a".repeat(149))), None);
    }

    #[test]
    fn no_two_channels_are_one_topic() {
        let app = |nth, id: &str| {
            let file = AppFile::parse(&format!("{id}:key:f")).unwrap();
            App::new(nth, &file, &[7; 16]).unwrap()
        };
        let apps = [app(0, "1"), app(1, "2"), app(2, "3A")];
        let mut topics = Vec::new();
        for app in &apps {
            for channel in
                ["a", "private-a", "presence-a", "#server-to-user-a", "#server-to-user-a:2%3A"]
            {
                let topic = app.topic(channel);
                assert_eq!(of_topic(&topic), (channel.into(), false));
                assert_eq!(of_topic(&format!("$presence/{topic}")), (channel.into(), true));
                assert!(!topics.contains(&topic), "{topic}");
                topics.push(topic);
            }
        }
        for (topic, channels) in [
            ("presence-a", [Some("presence-a"), None, None]),
            ("presence-a:2", [None, Some("presence-a"), None]),
            ("presence-a:4", [None; 3]),
            ("private-a", [None; 3]),
            ("presence-a:2:2", [None; 3]),
        ] {
            assert_eq!(apps.each_ref().map(|app| app.presence_channel(topic)), channels, "{topic}");
        }
        assert_eq!(apps[0].topic("private-a"), "private-a");
        assert_eq!(apps[1].topic("private-a"), "private-a:2");
    }
}
