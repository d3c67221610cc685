//! A connection to a server of the broker's, through which it is asked: it publishes and tells where topics are, many
//! in one go.

mod leasing;
mod together;

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pushloop::Position;
use redis::{Cmd, Connection, ConnectionAddr, ConnectionInfo, RedisError, RedisResult, Value, cmd};

use super::{
    keys, lists,
    record::{Record, number},
    slots::{self, Range},
    way::{Kind, Named, Way, wrong},
};
use crate::presence::topic_of;

pub use leasing::{Answer, Ask, Over, Roll, answered};
pub use together::Run;

/// What `open.lua` replies: a topic's life, its offset, entries of what is kept, and how many members there are.
pub type OpenReply = (Vec<u8>, Vec<u8>, Vec<Value>, usize);

/// Members of one portion of a list, or some more: all of a list that is short, as Redis has it in one piece.
const PORTION: usize = 500;

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
    /// Of a companion topic, if its latest publications were wanted: how many are there.
    pub members: usize,
}

/// Some of who is there, by a companion topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Where the next one begins; 0 if there is none.
    pub cursor: u64,
    pub members: Vec<Listed>,
    /// Where the topic was after that.
    pub position: Position,
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
    /// Where it leads.
    info: ConnectionInfo,
    is_cluster: bool,
    prefix: String,
    is_durable: bool,
    /// What the server's process is called, and its time as a master: another one may know less.
    run: String,
    /// How far the broker's clock is ahead of ours, in milliseconds.
    ahead: i64,
    scripts: Scripts,
}

/// What the broker calls the scripts.
#[derive(Default)]
struct Scripts {
    /// All of them.
    texts: Vec<&'static str>,
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

/// The same of now, by this machine's clock.
pub fn here() -> u64 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64
}

/// What nobody can tell, and no two processes draw alike.
pub fn draw() -> u64 {
    RandomState::new().hash_one(0)
}

/// The value of a line of `INFO`.
fn line<'a>(told: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = told.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
}

impl Link {
    pub fn connect(
        way: &Way,
        info: &ConnectionInfo,
        prefix: &str,
        is_durable: bool,
    ) -> RedisResult<Self> {
        let is_cluster = way.kind == Kind::Cluster;
        let (connection, told) = reach(way, info)?;
        let Some(process) = line(&told, "run_id").map(str::to_owned) else {
            return Err(wrong("INFO names no run_id".to_owned()));
        };
        let info = info.clone();
        let (prefix, scripts, run) = (prefix.to_owned(), Scripts::default(), String::new());
        let mut link =
            Self { connection, info, is_cluster, prefix, is_durable, run, ahead: 0, scripts };
        let mastery = link.look()?;
        link.run = format!("{process}-{mastery}");
        link.load()?;
        Ok(link)
    }

    /// Looks whether it is the master that it was, and how its clock goes: either may be set.
    pub fn compare(&mut self) -> RedisResult<()> {
        let mastery = self.look()?;
        if self.run.ends_with(&mastery) {
            return Ok(());
        }
        Err(wrong(format!("{} is a master anew: it may know less", Named(&self.info))))
    }

    /// Looks how far the broker's clock is ahead of ours, and gives the name of its time as a master.
    fn look(&mut self) -> RedisResult<String> {
        let mut all = redis::pipe();
        all.cmd("TIME").cmd("INFO").arg("replication");
        if self.is_cluster {
            all.cmd("CLUSTER").arg("INFO");
        }
        let told: Vec<Value> = all.query(&mut self.connection)?;
        let mut told = told.into_iter();
        let mut next = || told.next().unwrap_or(Value::Nil);
        let (seconds, micros): (i64, i64) = redis::from_redis_value(next())?;
        let there = seconds.saturating_mul(1000).saturating_add(micros / 1000);
        self.ahead = there.saturating_sub(here() as i64);
        let role: String = redis::from_redis_value(next())?;
        if line(&role, "role").is_some_and(|role| role != "master") {
            let name = Named(&self.info);
            return Err(wrong(format!("{name} is a replica: it takes no publications")));
        }
        if self.is_cluster {
            let state: String = redis::from_redis_value(next())?;
            if line(&state, "cluster_state") != Some("ok") {
                let name = Named(&self.info);
                return Err(wrong(format!("the cluster is down, as {name} says")));
            }
        }
        Ok(line(&role, "master_replid").unwrap_or_default().to_owned())
    }

    /// Which slots have which masters, in a cluster, and what those are at that name no host.
    pub fn learn(&mut self) -> RedisResult<(String, Vec<Range>)> {
        Ok((self.host(), ranges(&mut self.connection)?))
    }

    /// Its server's name or address.
    pub fn host(&self) -> String {
        host(&self.info)
    }

    /// Where it leads.
    pub fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// What the broker gives up when it is full; `None` if it does not say.
    pub fn eviction(&mut self) -> Option<String> {
        let mut command = cmd("CONFIG");
        command.arg("GET").arg("maxmemory-policy");
        let told: RedisResult<Vec<String>> = command.query(&mut self.connection);
        told.ok()?.pop()
    }

    fn load(&mut self) -> RedisResult<()> {
        let mut texts = Vec::new();
        let mut load = |script: &'static str| -> RedisResult<String> {
            let name = cmd("SCRIPT").arg("LOAD").arg(script).query(&mut self.connection)?;
            texts.push(script);
            Ok(name)
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
            texts: Vec::new(),
        };
        self.scripts.texts = texts;
        Ok(())
    }

    /// What scripts have to know to begin a topic's life.
    fn add_life(&self, command: &mut Cmd) {
        command.arg(&self.run).arg(draw()).arg(u8::from(self.is_durable));
    }

    /// Until when what was asked then may run, by the broker's clock.
    fn deadline(&self, asked_at: u64) -> i64 {
        let until = (asked_at as i64).saturating_add(self.ahead);
        until.saturating_add(TIMEOUT.as_millis() as i64)
    }

    /// Tells something on a channel.
    pub fn tell(&mut self, channel: &str, what: &[u8]) -> RedisResult<()> {
        cmd("PUBLISH").arg(channel).arg(what).query(&mut self.connection)
    }

    pub fn publish_command(&self, it: &Publication) -> Cmd {
        let (count, age) = it.keeps;
        let mut command = cmd("EVALSHA");
        command.arg(&self.scripts.publish).arg(2 + usize::from(it.key.is_some()));
        command.arg(keys::topic(&self.prefix, &it.topic)).arg(keys::log(&self.prefix, &it.topic));
        if let Some((key, _)) = &it.key {
            command.arg(keys::answer(&self.prefix, &it.topic, key));
        }
        self.add_life(&mut command);
        command.arg(self.deadline(it.record.made_at));
        command.arg(count).arg(millis(age)).arg(millis(TOPIC_MEMORY));
        command.arg(keys::channel(&self.prefix, &it.topic)).arg(it.record.encode());
        match it.only_at {
            Some(Position { epoch, offset }) => command.arg(epoch).arg(offset),
            None => command.arg("").arg(""),
        };
        command.arg(millis(it.key.as_ref().map_or(Duration::ZERO, |(_, memory)| *memory)));
        command
    }

    pub fn open_command(&self, topic: &str, wanted: Wanted) -> Cmd {
        let (keeps, from) = match wanted {
            Wanted::Latest(keeps) => (keeps, String::new()),
            Wanted::After(offset, keeps) => (keeps, format!("{}-0", offset.saturating_add(1))),
            Wanted::Place(_) => (Keeps::default(), String::new()),
        };
        let is_list = matches!(wanted, Wanted::Latest(_)) && topic_of(topic).is_some();
        let mut command = cmd("EVALSHA");
        command.arg(&self.scripts.open).arg(2 + usize::from(is_list));
        command.arg(keys::topic(&self.prefix, topic)).arg(keys::log(&self.prefix, topic));
        if is_list {
            command.arg(keys::members(&self.prefix, topic));
        }
        self.add_life(&mut command);
        let memory = if topic_of(topic).is_some() { COMPANION_MEMORY } else { TOPIC_MEMORY };
        command.arg(keeps.publications).arg(from).arg(millis(memory)).arg(keeps.bytes);
        command
    }

    /// Asks for a portion of who is there.
    pub fn list_command(&self, topic: &str, cursor: u64) -> Cmd {
        let mut command = cmd("HSCAN");
        command.arg(keys::members(&self.prefix, topic)).arg(cursor).arg("COUNT").arg(PORTION);
        command
    }

    /// Asks where a topic is, and changes nothing.
    pub fn place_command(&self, topic: &str) -> Cmd {
        let mut command = cmd("HMGET");
        command.arg(keys::topic(&self.prefix, topic)).arg("epoch").arg("offset").arg("run");
        command
    }

    /// What the broker has said to both. Of another run it would be of another life.
    pub fn portion(
        &self,
        members: RedisResult<Value>,
        place: RedisResult<Value>,
    ) -> Result<Portion, String> {
        let read = |answer: RedisResult<Value>| answer.map_err(|error| refusal(&error));
        let (members, place) = (read(members)?, read(place)?);
        let (cursor, members): (u64, Vec<(String, String)>) =
            redis::from_redis_value(members).map_err(|error| error.to_string())?;
        let place: [Option<String>; 3] =
            redis::from_redis_value(place).map_err(|error| error.to_string())?;
        let [Some(epoch), Some(offset), Some(run)] = place else {
            return Err("it has no place".to_owned());
        };
        if run != self.run && !self.is_durable {
            return Err("the topic begins anew".to_owned());
        }
        let position = position(epoch.as_bytes(), offset.as_bytes()).ok_or("it has no place")?;
        Ok(Portion { cursor, members: lists::read(members), position })
    }
}

/// Connects to a server, if it is what the URL says. It says of itself what `INFO` has.
fn reach(way: &Way, info: &ConnectionInfo) -> RedisResult<(Connection, String)> {
    let mut connection = way.connect(info, TIMEOUT)?;
    let told: String = cmd("INFO").arg("server").query(&mut connection)?;
    check_mode(&told, info, way.kind == Kind::Cluster).map_err(wrong)?;
    Ok((connection, told))
}

/// What [`Link::learn`] gives, by a node that need not be a master.
pub fn learn(way: &Way, info: &ConnectionInfo) -> RedisResult<(String, Vec<Range>)> {
    let (mut connection, _) = reach(way, info)?;
    Ok((host(info), ranges(&mut connection)?))
}

fn ranges(connection: &mut Connection) -> RedisResult<Vec<Range>> {
    let told = cmd("CLUSTER").arg("SLOTS").query(connection)?;
    slots::read(&told).ok_or_else(|| wrong("CLUSTER SLOTS says something else".to_owned()))
}

fn host(info: &ConnectionInfo) -> String {
    match info.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => String::new(),
    }
}

/// Whether a server is what the URL says, and if not, what to write.
fn check_mode(told: &str, info: &ConnectionInfo, is_cluster: bool) -> Result<(), String> {
    let name = Named(info);
    match line(told, "redis_mode") {
        Some("sentinel") => {
            Err(format!("{name} is a sentinel: write redis+sentinel://{name}/MASTER"))
        }
        Some("cluster") if !is_cluster => {
            Err(format!("{name} is a node of a cluster: write redis+cluster://{name}"))
        }
        Some("standalone") if is_cluster => {
            Err(format!("{name} is a node of no cluster: write redis://{name}"))
        }
        _ => Ok(()),
    }
}

/// Where a topic is, as the broker says.
pub fn placed(answer: RedisResult<OpenReply>, wanted: Wanted) -> Result<Place, String> {
    let (epoch, offset, mut kept, members) = answer.map_err(|error| refusal(&error))?;
    if matches!(wanted, Wanted::Latest(_)) {
        kept.reverse();
    }
    let position = position(&epoch, &offset).ok_or("it has no place")?;
    let kept = kept.iter().map(|entry| entry_of(entry).ok_or("what is kept is not ours"));
    let kept = kept.collect::<Result<_, _>>()?;
    Ok(Place { position, kept, members })
}

fn millis(time: Duration) -> u64 {
    time.as_millis().max(1) as u64
}

/// What the broker says of an error, without the place in a script.
pub fn refusal(error: &RedisError) -> String {
    let code = error.code().unwrap_or_default();
    format!("{code} {}", error.detail().unwrap_or_default()).trim().to_owned()
}

/// What became of a publication, as the broker says.
pub fn published(answer: RedisResult<Vec<String>>) -> Result<Position, Failure> {
    let answer = answer.map_err(|error| match error.is_io_error() {
        true => Failure::Unknown,
        false => Failure::Refused(refusal(&error)),
    })?;
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
