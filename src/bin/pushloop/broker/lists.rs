//! Lists of members, as the broker has them and tells of them: ids are kept there as JSON, so that scripts can put them
//! into what they publish.

use pushloop::PresenceNews;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{link::Listed, record::Record};

/// What is published to a companion topic.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum JoinOrLeave<'a> {
    Join {
        id: Box<str>,
        #[serde(borrow)]
        info: &'a RawValue,
    },
    Leave {
        id: Box<str>,
        #[serde(rename = "info")]
        _info: Option<IgnoredAny>,
    },
}

/// What a publication to a companion topic says; `None` if no script has made it.
pub fn news(record: &Record) -> Option<PresenceNews> {
    Some(match serde_json::from_slice(&record.payload).ok()? {
        JoinOrLeave::Join { id, info } => PresenceNews::Join(id, info.get().into()),
        JoinOrLeave::Leave { id, .. } => PresenceNews::Leave(id),
    })
}

/// The members that the broker has. What no script has put there is left out.
pub fn read(members: Vec<(String, String)>) -> Vec<Listed> {
    let member = |(id, info): (String, String)| {
        let id = serde_json::from_str(&id).ok()?;
        Some((id, serde_json::from_str::<&RawValue>(&info).ok()?.get().into()))
    };
    members.into_iter().filter_map(member).collect()
}

#[cfg(test)]
mod tests {
    use pushloop::Message;

    use super::*;

    #[test]
    fn what_scripts_tell_is_read_and_nothing_else() {
        let read = |text: &str| news(&Record::of(Message::Text(text), 0));
        let join = |id: &str, info: &str| Some(PresenceNews::Join(id.into(), info.into()));
        let ada = r#"{"join":{"id":"ada","info":{"desk": 12}}}"#;
        assert_eq!(read(ada), join("ada", r#"{"desk": 12}"#));
        assert_eq!(read(r#"{"join":{"id":"\"\u0001κ","info":null}}"#), join("\"\u{1}κ", "null"));
        let left = Some(PresenceNews::Leave("}},{".into()));
        assert_eq!(read(r#"{"leave":{"id":"}},{"}}"#), left);
        assert_eq!(
            read(r#"{"leave":{"id":"ada","info":[1]}}"#),
            Some(PresenceNews::Leave("ada".into()))
        );
        for other in ["", "1", "{}", r#"{"leave":{"id":1}}"#, r#"{"join":{"id":"a"}}"#, "\u{1}"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn members_are_read_and_what_is_none_is_left_out() {
        let pairs = [(r#""ada""#, "null"), ("ben", "1"), (r#""cy""#, "["), (r#""\n""#, "[1, 2]")];
        let pairs = pairs.map(|(id, info)| (id.to_owned(), info.to_owned()));
        let expected = [("ada", "null"), ("\n", "[1, 2]")];
        assert_eq!(read(pairs.into()), expected.map(|(id, info)| (id.into(), info.into())));
    }
}
