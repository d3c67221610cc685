//! Commands that are sent in one go. Those that belong together run without anything in between: a script is there for
//! all of them or for none, also where others load it or have the broker forget it meanwhile.

use redis::{Cmd, FromRedisValue, RedisResult, Value, cmd, from_redis_value};

use super::Link;
use crate::broker::way::wrong;

/// Commands that belong together: at the least one.
pub struct Run {
    pub commands: Vec<Cmd>,
    /// Their keys are on their way to where they are sent.
    pub asks: bool,
    /// The broker has not had the scripts: it is given them with the commands, also if others have it forget them again.
    pub loads: bool,
}

impl Link {
    /// Runs commands in one go, and gives their answers in their order; the outer error is the connection's.
    pub fn run_all<T: FromRedisValue>(
        &mut self,
        runs: Vec<Run>,
    ) -> RedisResult<Vec<RedisResult<T>>> {
        let mut all = redis::pipe();
        let mut counts = Vec::with_capacity(runs.len());
        for Run { commands, asks, loads } in runs {
            let scripts = if loads { &self.scripts.texts[..] } else { &[] };
            let is_transaction = loads || commands.len() > 1;
            counts.push((scripts.len(), commands.len(), is_transaction));
            if asks {
                // It holds for all of a transaction.
                all.cmd("ASKING").ignore();
            }
            if is_transaction {
                all.cmd("MULTI").ignore();
            }
            scripts.iter().for_each(|script| _ = all.cmd("SCRIPT").arg("LOAD").arg(script));
            commands.into_iter().for_each(|command| _ = all.add_command(command));
            if is_transaction {
                all.add_command(cmd("EXEC"));
            }
        }
        let told: Vec<Value> = all.ignore_errors().query(&mut self.connection)?;
        let mut told = told.into_iter();
        let mut answers = Vec::with_capacity(told.len());
        for (scripts, count, is_transaction) in counts {
            let some: Vec<_> = told.by_ref().take(scripts + count).collect();
            let some = if is_transaction { outcomes(some, told.next())? } else { some };
            for answer in some.into_iter().skip(scripts) {
                answers.push(from_redis_value(answer)?);
            }
        }
        Ok(answers)
    }
}

/// What became of the commands of a transaction: where one could not be queued, none has run.
fn outcomes(queued: Vec<Value>, done: Option<Value>) -> RedisResult<Vec<Value>> {
    match done {
        Some(Value::Array(answers)) if answers.len() == queued.len() => Ok(answers),
        Some(Value::ServerError(aborted)) => {
            let why = queued.iter().find(|it| matches!(it, Value::ServerError(_)));
            let why = why.cloned().unwrap_or(Value::ServerError(aborted));
            Ok(vec![why; queued.len()])
        }
        _ => Err(wrong("EXEC says something else".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_a_transaction_have_their_answers_or_the_reason_why_none_has_run() {
        let error = |line: &str| match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(value) => value,
            Err(error) => unreachable!("{error}"),
        };
        let (queued, moved) = (Value::SimpleString("QUEUED".to_owned()), error("MOVED 1 h:7"));
        let aborted = error("EXECABORT Transaction discarded because of previous errors.");
        let answers = vec![Value::Int(1), error("NOSCRIPT No matching script.")];
        let both = vec![queued.clone(), queued.clone()];
        let told = outcomes(both.clone(), Some(Value::Array(answers.clone())));
        assert_eq!(told.ok(), Some(answers));
        let told = outcomes(vec![queued, moved.clone()], Some(aborted.clone()));
        assert_eq!(told.ok(), Some(vec![moved.clone(), moved]));
        assert_eq!(
            outcomes(both.clone(), Some(aborted.clone())).ok(),
            Some(vec![aborted.clone(), aborted])
        );
        for other in [None, Some(Value::Nil), Some(Value::Array(Vec::new()))] {
            assert!(outcomes(both.clone(), other).is_err());
        }
    }
}
