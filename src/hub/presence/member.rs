//! Members as they are told of, and why one is not let in.

use std::fmt;

use crate::{hub::PublishError, wire::encode_string};

/// A member of a topic: see [`Presence::members`](super::Presence::members). Displayed, it is an object of
/// JSON: `{"id":"ada","info":null}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member<'a> {
    /// Which one it is.
    pub id: &'a str,
    /// What the application said of it: JSON, `null` for nothing.
    pub info: &'a str,
}

impl Member<'_> {
    /// What is published when it joins.
    pub(super) fn join(self) -> String {
        format!("{{\"join\":{self}}}")
    }
}

impl fmt::Display for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{\"id\":{},\"info\":{}}}", quoted(self.id), self.info)
    }
}

/// A member comes or goes: what [`Presence::watch`](super::Presence::watch) tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange<'a> {
    /// The member is new to the topic.
    Join(Member<'a>),
    /// The member with this id has left it.
    Leave {
        /// Which one it was.
        id: &'a str,
    },
}

type Changed = dyn FnMut(&str, MemberChange<'_>) + Send;

/// What is called with each change of a topic.
pub(super) struct Watch(pub(super) Box<Changed>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// What is published when a member leaves.
pub(super) fn leave(id: &str) -> String {
    format!("{{\"leave\":{{\"id\":{}}}}}", quoted(id))
}

/// An info that is empty says nothing.
pub(super) fn or_null(info: &str) -> &str {
    if info.is_empty() { "null" } else { info }
}

fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    encode_string(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

/// Why [`Presence::join`](super::Presence::join) did not let a member in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresenceError {
    /// The connection is gone, or neither an open WebSocket nor an event stream.
    Gone,
    /// The connection has joined the topic as another member.
    OtherMember,
    /// The id is longer than `id_bytes_max`.
    IdTooLong,
    /// The info is longer than `info_bytes_max`.
    InfoTooLong,
    /// The name of the companion topic would be longer than `topic_name_bytes_max`.
    NameTooLong,
    /// The topic has `members_max` members.
    TopicFull,
    /// All topics together have `members_total_max` members.
    TooManyMembers,
    /// `topics_max` topics have members.
    TooManyTopics,
    /// The join could not be published.
    Unpublished(PublishError),
}

impl fmt::Display for PresenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PresenceError::Gone => "the connection is gone, or takes no publications",
            PresenceError::OtherMember => "the connection has joined the topic as another member",
            PresenceError::IdTooLong => "the member's id exceeds `id_bytes_max`",
            PresenceError::InfoTooLong => "the member's info exceeds `info_bytes_max`",
            PresenceError::NameTooLong => {
                "the name of the companion topic exceeds `topic_name_bytes_max`"
            }
            PresenceError::TopicFull => "the topic has `members_max` members",
            PresenceError::TooManyMembers => "the topics have `members_total_max` members",
            PresenceError::TooManyTopics => "`topics_max` topics have members",
            PresenceError::Unpublished(why) => {
                return write!(f, "the join was not published: {why}");
            }
        })
    }
}

impl std::error::Error for PresenceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PresenceError::Unpublished(why) => Some(why),
            PresenceError::Gone
            | PresenceError::OtherMember
            | PresenceError::IdTooLong
            | PresenceError::InfoTooLong
            | PresenceError::NameTooLong
            | PresenceError::TopicFull
            | PresenceError::TooManyMembers
            | PresenceError::TooManyTopics => None,
        }
    }
}

impl From<PublishError> for PresenceError {
    fn from(why: PublishError) -> Self {
        Self::Unpublished(why)
    }
}
