//! What the broker is asked about members: who has them, and until when.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, RedisResult, cmd};

use super::{COMPANION_MEMORY, Link, millis, refusal};
use crate::{
    broker::keys,
    presence::{companion, leaves_with_info},
};

/// How long a lease is. A node that has not renewed its own for so long is over, and its members leave.
const LEASE: Duration = Duration::from_secs(15);
/// Where nobody has renewed a lease for so long, the broker was away, and not all nodes: they get another lease's time.
const SILENCE_MAX: Duration = Duration::from_secs(7);
/// For how long members are remembered that no node enters again: see `Leases`.
const MEMBER_MEMORY: Duration = Duration::from_secs(24 * 3600);

/// What is asked of one topic's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roll {
    /// The node that has them, or had.
    pub node: u64,
    pub topic: Arc<str>,
    /// How many publications the companion topic keeps, and for how long.
    pub keeps: (u64, Duration),
    /// When it was asked, in milliseconds since 1970.
    pub asked_at: u64,
    pub members_max: usize,
}

/// What the broker is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Renews the node's lease, or begins it. So is that of its name of before, if it has one. Another one may be over
    /// by its own word.
    Renew { node: u64, is_new: bool, before: Option<u64>, over: Option<u64> },
    /// The node has a member, with this info, or has it no more.
    Change { roll: Roll, id: Arc<str>, info: Option<Box<str>> },
    /// The node is over: some of its members leave.
    Sweep { roll: Roll },
}

/// A node that is over, and some topics of which it had members.
#[derive(Debug, PartialEq, Eq)]
pub struct Over {
    pub node: u64,
    pub topics: Vec<Arc<str>>,
}

/// What the broker says.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The lease is renewed.
    Held(Option<Over>),
    /// It is, and that of the node's name of before was over.
    Anew(Option<Over>),
    /// The node has no lease: it is over, as far as the broker knows.
    Lost,
    /// It is so, and with it these have come or gone that no other node has.
    Done(Vec<Box<str>>),
    /// The topic has as many members as it may have.
    Full,
    /// The broker was too slow, and has done nothing.
    Late,
}

impl Link {
    pub fn lease_command(&self, asked: &Ask) -> Cmd {
        match asked {
            Ask::Renew { node, is_new, before, over } => {
                self.renew_command(*node, *is_new, *before, *over)
            }
            Ask::Change { roll, id, info } => {
                let id = serde_json::json!(**id).to_string();
                match info {
                    Some(info) => {
                        let mut command = self.roll_command(&self.scripts.enter, roll);
                        command.arg(id).arg(&**info).arg(roll.members_max);
                        command
                    }
                    None => self.leave_command(roll, &id),
                }
            }
            Ask::Sweep { roll } => self.leave_command(roll, ""),
        }
    }

    fn renew_command(
        &self,
        node: u64,
        is_new: bool,
        before: Option<u64>,
        over: Option<u64>,
    ) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(&self.scripts.lease).arg(3);
        command.arg(keys::nodes(&self.prefix)).arg(keys::over(&self.prefix));
        command.arg(keys::leases(&self.prefix));
        command.arg(name(node)).arg(millis(LEASE)).arg(u8::from(is_new));
        command.arg(over.map(name).unwrap_or_default()).arg(millis(SILENCE_MAX));
        command.arg(keys::lists(&self.prefix, "")).arg(before.map(name).unwrap_or_default());
        command
    }

    fn leave_command(&self, roll: &Roll, id: &str) -> Cmd {
        let mut command = self.roll_command(&self.scripts.leave, roll);
        command.arg(id).arg(u8::from(leaves_with_info(&roll.topic)));
        command
    }

    fn roll_command(&self, script: &str, roll: &Roll) -> Cmd {
        let (prefix, node, list) = (&*self.prefix, name(roll.node), companion(&roll.topic));
        let (count, age) = roll.keeps;
        let mut command = cmd("EVALSHA");
        command.arg(script).arg(7);
        command.arg(keys::topic(prefix, &list)).arg(keys::log(prefix, &list));
        command.arg(keys::members(prefix, &list)).arg(keys::counts(prefix, &list));
        command.arg(keys::held(prefix, &list, &node)).arg(keys::nodes(prefix));
        command.arg(keys::lists(prefix, &node));
        self.add_life(&mut command);
        command.arg(self.deadline(roll.asked_at));
        command.arg(count).arg(millis(age)).arg(millis(age.max(COMPANION_MEMORY)));
        command.arg(keys::channel(prefix, &list)).arg(&node).arg(&*roll.topic);
        command.arg(millis(MEMBER_MEMORY));
        command
    }
}

/// What the broker says of what it was asked.
pub fn answered(answer: RedisResult<Vec<String>>) -> Result<Answer, String> {
    let answer = answer.map_err(|error| refusal(&error))?;
    answer_of(&answer).ok_or_else(|| "its answer is none".to_owned())
}

/// A node, as the broker has it.
fn name(node: u64) -> String {
    format!("{node:016x}")
}

/// The node that is over, if one is named. `None` if its name is none.
fn over_of(words: &[&str]) -> Option<Option<Over>> {
    let [node, topics @ ..] = words else { return Some(None) };
    let node = u64::from_str_radix(node, 16).ok()?;
    Some(Some(Over { node, topics: topics.iter().map(|topic| Arc::from(*topic)).collect() }))
}

fn answer_of(answer: &[String]) -> Option<Answer> {
    let words: Vec<_> = answer.iter().map(String::as_str).collect();
    Some(match &words[..] {
        ["held", over @ ..] => Answer::Held(over_of(over)?),
        ["anew", over @ ..] => Answer::Anew(over_of(over)?),
        ["lost", ..] => Answer::Lost,
        ["done", ids @ ..] => {
            let ids = ids.iter().map(|id| serde_json::from_str(id));
            Answer::Done(ids.collect::<Result<_, _>>().ok()?)
        }
        ["full"] => Answer::Full,
        ["late"] => Answer::Late,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_what_the_scripts_give_and_nothing_else() {
        let read = |words: &str| {
            let words: Vec<_> = words.split_ascii_whitespace().map(str::to_owned).collect();
            answer_of(&words)
        };
        let over = |topics: &[&str]| {
            let topics = topics.iter().map(|topic| Arc::from(*topic)).collect();
            Some(Answer::Held(Some(Over { node: 255, topics })))
        };
        assert_eq!(read("held"), Some(Answer::Held(None)));
        assert_eq!(read("held 00000000000000ff a b"), over(&["a", "b"]));
        assert_eq!(read(&format!("held {}", name(255))), over(&[]));
        assert_eq!(read("anew"), Some(Answer::Anew(None)));
        let topics = vec!["a".into()];
        let anew = Answer::Anew(Some(Over { node: 255, topics }));
        assert_eq!(read("anew 00000000000000ff a"), Some(anew));
        assert_eq!(read("lost 00000000000000ff a"), Some(Answer::Lost));
        assert_eq!(read("done"), Some(Answer::Done(Vec::new())));
        assert_eq!(read(r#"done "a" "\"""#), Some(Answer::Done(vec!["a".into(), "\"".into()])));
        for other in ["", "held x", "anew x", "done done", "HELD", "late 1", "full x"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
