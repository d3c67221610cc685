//! A connection through which the broker is asked: it publishes and tells where topics are, many in one go.

mod leasing;

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pushloop::Position;
use redis::{
    Client, Cmd, Connection, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, cmd,
};

use super::{
    keys, lists,
    record::{Record, number},
};
use crate::presence::topic_of;

pub use leasing::{Answer, Ask, Over, Roll};

/// A topic's life, its offset, entries of what is kept, and members with their infos, as the broker tells them.
type Told = (Vec<u8>, Vec<u8>, Vec<Value>, Vec<(String, String)>);

/// How long the broker may take for anything that it is asked.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// For how long a topic without publications is remembered, so that positions of before are still known.
const TOPIC_MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);

/// The same of a companion topic, which has one for each topic with members: at least so long, and as long as its
/// publications are kept.
const COMPANION_MEMORY: Duration = Duration::from_secs(10 * 60);

/// What a publication asks of the broker.
#[derive(Clone, Debug)]
pub struct Publication {
    pub number: u64,
    pub topic: Box<str>,
    pub record: Record,
    /// How many publications are kept, and for how long.
    pub keeps: (u64, Duration),
    /// An idempotency key, and for how long it is remembered.
    pub key: Option<(String, Duration)>,
    /// Where the topic has to be.
    pub only_at: Option<Position>,
}

/// Why nothing is known to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection: it was not published.
    Unreachable,
    /// The connection was lost, and it may have been published.
    Unknown,
    /// The broker was too slow: it was not published.
    Late,
    /// The topic is elsewhere than it had to be.
    Moved,
    /// What the broker said instead.
    Refused(String),
}

/// Where a topic is, and what is kept of it, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub position: Position,
    pub kept: Vec<(u64, Record)>,
    /// Of a companion topic, if its latest publications were wanted: who is there.
    pub members: Vec<Listed>,
}

/// A member's id and info.
pub type Listed = (Box<str>, Box<str>);

/// How many publications a topic keeps, and how many bytes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeps {
    pub publications: u64,
    pub bytes: usize,
}

/// What is asked about a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The latest publications, of so much.
    Latest(Keeps),
    /// Those behind this offset, of so much.
    After(u64, Keeps),
    /// Only where it is. It was here when it was asked.
    Place(u64),
}

/// See the module.
pub struct Link {
    connection: Connection,
    prefix: String,
    is_durable: bool,
    /// What the broker's process is called: another one may know less.
    run: String,
    /// How far the broker's clock is ahead of ours, in milliseconds.
    ahead: i64,
    scripts: Scripts,
}

/// What the broker calls the scripts.
#[derive(Default)]
struct Scripts {
    publish: String,
    open: String,
    enter: String,
    leave: String,
    lease: String,
}

/// Milliseconds since 1970.
pub fn millis_since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// What nobody can tell, and no two processes draw alike.
pub fn draw() -> u64 {
    RandomState::new().hash_one(0)
}

impl Link {
    pub fn connect(client: &Client, prefix: &str, is_durable: bool) -> RedisResult<Self> {
        let mut connection = client.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        let told: String = cmd("INFO").arg("server").query(&mut connection)?;
        let run = told.lines().find_map(|line| line.strip_prefix("run_id:"));
        let Some(run) = run.map(|run| run.trim().to_owned()) else {
            return Err((ErrorKind::UnexpectedReturnType, "INFO names no run_id").into());
        };
        let (prefix, scripts) = (prefix.to_owned(), Scripts::default());
        let mut link = Self { connection, prefix, is_durable, run, ahead: 0, scripts };
        link.compare_clocks()?;
        link.load()?;
        Ok(link)
    }

    /// Looks how far the broker's clock is ahead of ours: either may be set.
    pub fn compare_clocks(&mut self) -> RedisResult<()> {
        let (seconds, micros): (i64, i64) = cmd("TIME").query(&mut self.connection)?;
        let here = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as i64;
        self.ahead = seconds * 1000 + micros / 1000 - here;
        Ok(())
    }

    /// What the broker gives up when it is full; `None` if it does not say.
    pub fn eviction(&mut self) -> Option<String> {
        let mut command = cmd("CONFIG");
        command.arg("GET").arg("maxmemory-policy");
        let told: RedisResult<Vec<String>> = command.query(&mut self.connection);
        told.ok()?.pop()
    }

    fn load(&mut self) -> RedisResult<()> {
        let mut load = |script: &str| -> RedisResult<String> {
            cmd("SCRIPT").arg("LOAD").arg(script).query(&mut self.connection)
        };
        macro_rules! appends {
            ($file:literal) => {
                concat!(include_str!("append.lua"), include_str!($file))
            };
        }
        self.scripts = Scripts {
            publish: load(appends!("publish.lua"))?,
            open: load(include_str!("open.lua"))?,
            enter: load(appends!("enter.lua"))?,
            leave: load(appends!("leave.lua"))?,
            // It is run where the broker is full, too: members would leave of which nobody renews the lease. In all else it is
            // as those without flags. Older brokers know of none.
            lease: load(concat!(
                "#!lua flags=allow-oom,allow-cross-slot-keys\n",
                appends!("lease.lua")
            ))
            .or_else(|_| load(appends!("lease.lua")))?,
        };
        Ok(())
    }

    /// What scripts have to know to begin a topic's life.
    fn add_life(&self, command: &mut Cmd) {
        command.arg(&self.run).arg(draw()).arg(u8::from(self.is_durable));
    }

    /// Tells something on a channel.
    pub fn tell(&mut self, channel: &str, what: &[u8]) -> RedisResult<()> {
        cmd("PUBLISH").arg(channel).arg(what).query(&mut self.connection)
    }

    /// Publishes, in this order. The error is one of the connection: what became of each is not known.
    pub fn publish(
        &mut self,
        publications: &[Publication],
    ) -> RedisResult<Vec<Result<Position, Failure>>> {
        let command = |link: &Self, nth: usize| link.publish_command(&publications[nth]);
        let answers = self.ask(publications.len(), command)?;
        Ok(answers.into_iter().map(published).collect())
    }

    fn publish_command(&self, it: &Publication) -> Cmd {
        let (count, age) = it.keeps;
        let deadline = it.record.made_at as i64 + self.ahead + TIMEOUT.as_millis() as i64;
        let mut command = cmd("EVALSHA");
        command.arg(&self.scripts.publish).arg(2 + usize::from(it.key.is_some()));
        command.arg(keys::topic(&self.prefix, &it.topic)).arg(keys::log(&self.prefix, &it.topic));
        if let Some((key, _)) = &it.key {
            command.arg(keys::answer(&self.prefix, &it.topic, key));
        }
        self.add_life(&mut command);
        command.arg(deadline);
        command.arg(count).arg(millis(age)).arg(millis(TOPIC_MEMORY));
        command.arg(keys::channel(&self.prefix, &it.topic)).arg(it.record.encode());
        match it.only_at {
            Some(Position { epoch, offset }) => command.arg(epoch).arg(offset),
            None => command.arg("").arg(""),
        };
        command.arg(millis(it.key.as_ref().map_or(Duration::ZERO, |(_, memory)| *memory)));
        command
    }

    /// Tells where topics are, and what is kept of them. The inner errors are the broker's.
    pub fn open(&mut self, topics: &[(&str, Wanted)]) -> RedisResult<Vec<Result<Place, String>>> {
        let command = |link: &Self, nth: usize| {
            let (topic, wanted) = topics[nth];
            let (keeps, from) = match wanted {
                Wanted::Latest(keeps) => (keeps, String::new()),
                Wanted::After(offset, keeps) => (keeps, format!("{}-0", offset.saturating_add(1))),
                Wanted::Place(_) => (Keeps::default(), String::new()),
            };
            let is_list = matches!(wanted, Wanted::Latest(_)) && topic_of(topic).is_some();
            let mut command = cmd("EVALSHA");
            command.arg(&link.scripts.open).arg(2 + usize::from(is_list));
            command.arg(keys::topic(&link.prefix, topic)).arg(keys::log(&link.prefix, topic));
            if is_list {
                command.arg(keys::members(&link.prefix, topic));
            }
            link.add_life(&mut command);
            let memory = if topic_of(topic).is_some() { COMPANION_MEMORY } else { TOPIC_MEMORY };
            command.arg(keeps.publications).arg(from).arg(millis(memory)).arg(keeps.bytes);
            command
        };
        let answers = self.ask::<Told>(topics.len(), command)?;
        let placed = answers.into_iter().zip(topics).map(|(answer, (_, wanted))| {
            let (epoch, offset, mut kept, members) = answer.map_err(|error| told(&error))?;
            if matches!(wanted, Wanted::Latest(_)) {
                kept.reverse();
            }
            let position = position(&epoch, &offset).ok_or("it has no place")?;
            let kept = kept.iter().map(|entry| entry_of(entry).ok_or("what is kept is not ours"));
            let kept = kept.collect::<Result<_, _>>()?;
            Ok(Place { position, kept, members: lists::read(members) })
        });
        Ok(placed.collect())
    }

    /// Runs so many commands in one go, and once more those that found no script: the broker has not run
    /// these.
    fn ask<T: redis::FromRedisValue>(
        &mut self,
        count: usize,
        command: impl Fn(&Self, usize) -> Cmd,
    ) -> RedisResult<Vec<RedisResult<T>>> {
        let mut answers = self.run_all(0..count, &command)?;
        let is_lost = |answer: &RedisResult<T>| {
            let no_script = ErrorKind::Server(ServerErrorKind::NoScript);
            answer.as_ref().is_err_and(|error| error.kind() == no_script)
        };
        let lost: Vec<_> = (0..count).filter(|nth| is_lost(&answers[*nth])).collect();
        if !lost.is_empty() {
            self.load()?;
            let again = self.run_all(lost.iter().copied(), &command)?;
            lost.into_iter().zip(again).for_each(|(nth, answer)| answers[nth] = answer);
        }
        Ok(answers)
    }

    fn run_all<T: redis::FromRedisValue>(
        &mut self,
        numbers: impl Iterator<Item = usize>,
        command: impl Fn(&Self, usize) -> Cmd,
    ) -> RedisResult<Vec<RedisResult<T>>> {
        let mut all = redis::pipe();
        let commands: Vec<_> = numbers.map(|nth| command(self, nth)).collect();
        commands.into_iter().for_each(|it| {
            all.add_command(it);
        });
        all.ignore_errors().query(&mut self.connection)
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis().max(1) as u64
}

/// What the broker says of an error, without the place in a script.
fn told(error: &RedisError) -> String {
    let code = error.code().unwrap_or_default();
    format!("{code} {}", error.detail().unwrap_or_default()).trim().to_owned()
}

fn published(answer: RedisResult<Vec<String>>) -> Result<Position, Failure> {
    let answer = answer.map_err(|error| Failure::Refused(told(&error)))?;
    match &answer.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["done" | "again", epoch, offset] => position(epoch.as_bytes(), offset.as_bytes())
            .ok_or_else(|| Failure::Refused("it gave no place".to_owned())),
        ["late"] => Err(Failure::Late),
        ["moved"] => Err(Failure::Moved),
        _ => Err(Failure::Refused("its answer is none".to_owned())),
    }
}

fn position(epoch: &[u8], offset: &[u8]) -> Option<Position> {
    Some(Position { epoch: number(epoch)?, offset: number(offset)? })
}

/// An entry of a stream: its id, and the one field.
fn entry_of(entry: &Value) -> Option<(u64, Record)> {
    let Value::Array(parts) = entry else { return None };
    let [Value::BulkString(id), Value::Array(fields)] = &parts[..] else { return None };
    let [Value::BulkString(_), Value::BulkString(record)] = &fields[..] else { return None };
    let offset = id.strip_suffix(b"-0").and_then(number)?;
    Some((offset, Record::decode(record)?))
}
