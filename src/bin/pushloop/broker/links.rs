//! The connections through which the broker is asked: one to a Redis, or one to each master of a cluster. What is asked
//! of a topic goes to the master of its slot, and follows the slot where it has moved.
//!
//! A cluster is away where one of its masters is: nothing is asked of the others then.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use pushloop::Position;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind};

use super::{
    echoes, keys,
    link::{
        self, Answer, Ask, Failure, Link, Place, Portion, Publication, Run, Wanted, answered, here,
        placed, published, refusal,
    },
    slots::{self, Range, SLOTS, slot_of},
    way::{Kind, Named, Way, first, said, wrong},
};
use crate::logs::{Level, say};

/// How often a command is sent after its slot, or after its script.
const REDIRECTS_MAX: usize = 4;
/// Masters of a cluster.
pub const MASTERS_MAX: usize = 1000;
/// Nodes to which slots move, and which cannot be reached: after so many echoes they are tried again, and beyond so many no
/// other one until then.
const AWAY_ECHOES: u32 = 10;
const AWAY_MAX: usize = 100;

/// A command, and where it is sent.
#[derive(Clone, Copy)]
struct Sent {
    nth: usize,
    link: usize,
    /// Its keys are on their way there.
    asks: bool,
    /// There was no script.
    loads: bool,
}

/// See the module.
pub struct Links {
    way: Arc<Way>,
    /// Since which failover the master is one, if sentinels know it.
    failover: u64,
    prefix: String,
    is_durable: bool,
    /// There is one at least.
    links: Vec<Link>,
    /// Which of these has which slot, in a cluster.
    slots: Vec<u16>,
    /// Which of them has echoed last, and how many echoes there were.
    echoing: usize,
    echoes: u64,
    /// Nodes to which slots move, and which could not be reached lately; and how many echoes ago this began.
    away: HashSet<(String, u16)>,
    away_echoes: u32,
    /// Why nothing more is to be asked.
    lost: Option<RedisError>,
}

impl Links {
    /// Connects. Of a cluster, a node of the URL behind so many others is asked first where the slots are.
    pub fn connect(
        way: &Arc<Way>,
        from: usize,
        prefix: &str,
        is_durable: bool,
    ) -> RedisResult<Self> {
        let (servers, failover) = way.servers(from)?;
        let mut links = Self {
            way: Arc::clone(way),
            failover,
            prefix: prefix.to_owned(),
            is_durable,
            links: Vec::new(),
            slots: Vec::new(),
            echoing: 0,
            echoes: 0,
            away: HashSet::new(),
            away_echoes: 0,
            lost: None,
        };
        if way.kind == Kind::Cluster {
            let (host, ranges) = first(servers, |info| link::learn(way, info))?;
            links.follow(&host, ranges)?;
        } else {
            let connect = |info: &_| Link::connect(way, info, prefix, is_durable);
            links.links.push(first(servers, connect)?);
        }
        Ok(links)
    }

    /// Learns from a node where the slots are.
    fn learn(&mut self, from: usize) -> RedisResult<()> {
        let (host, ranges) = self.links[from].learn()?;
        self.follow(&host, ranges)
    }

    /// Connects to masters that are new. Those without a host are where it was asked.
    fn follow(&mut self, from: &str, ranges: Vec<Range>) -> RedisResult<()> {
        let mut slots = vec![u16::MAX; SLOTS];
        // A master may have many ranges.
        let mut known: HashMap<(String, u16), usize> = HashMap::new();
        for Range { first, last, host, port } in ranges {
            let place = (host, port);
            let link = match known.get(&place) {
                Some(link) => *link,
                None => self.link_to(from, &place.0, port)?,
            };
            known.insert(place, link);
            slots[usize::from(first)..=usize::from(last)].fill(link as u16);
        }
        let open = slots.iter().filter(|link| **link == u16::MAX).count();
        if open > 0 {
            return Err(wrong(format!("{open} of the cluster's {SLOTS} slots have no master")));
        }
        self.slots = slots;
        Ok(())
    }

    /// The link to a node that another one has named.
    fn link_to(&mut self, from: &str, host: &str, port: u16) -> RedisResult<usize> {
        let host = if host.is_empty() { from } else { host };
        let Some(info) = self.way.server_at(host.to_owned(), port) else {
            return Err(wrong("the URL names no server".to_owned()));
        };
        let name = Named(&info).to_string();
        let known = self.links.iter().position(|link| Named(link.info()).to_string() == name);
        if let Some(at) = known {
            return Ok(at);
        }
        if self.links.len() >= MASTERS_MAX {
            return Err(wrong(format!("the cluster has more than {MASTERS_MAX} masters")));
        }
        let link = Link::connect(&self.way, &info, &self.prefix, self.is_durable)
            .map_err(|error| wrong(format!("{name}: {}", said(&error))))?;
        self.links.push(link);
        Ok(self.links.len() - 1)
    }

    /// The link to a node to which a slot moves, if it can be reached. What is on its way there is refused else, and
    /// nothing of what is elsewhere.
    fn link_to_ask(&mut self, from: &str, host: &str, port: u16) -> Option<usize> {
        let place = (host.to_owned(), port);
        if self.away.contains(&place) || self.away.len() >= AWAY_MAX {
            return None;
        }
        let link = self.link_to(from, host, port);
        let link = link.inspect_err(|error| {
            self.away.insert(place);
            say(Level::Warn, &format!("the broker: a slot moves to where nobody answers: {error}"));
        });
        link.ok()
    }

    /// Why the broker is to be connected to anew, if it is.
    pub fn check(&mut self) -> RedisResult<()> {
        self.lost.take().map_or(Ok(()), Err)
    }

    /// What the broker gives up when it is full; `None` if that is nothing, or it does not say.
    pub fn eviction(&mut self) -> Option<String> {
        let mut policies = self.links.iter_mut().filter_map(Link::eviction);
        policies.find(|policy| policy != "noeviction")
    }

    /// Tells something on a channel, and looks whether all are the masters that they were.
    pub fn echo(&mut self, channel: &str) -> RedisResult<()> {
        self.way.check_master(self.failover)?;
        self.away_echoes += 1;
        if self.away_echoes >= AWAY_ECHOES {
            self.away_echoes = 0;
            self.away.clear();
        }
        self.echoing = (self.echoing + 1) % self.links.len();
        self.echoes += 1;
        let text = echoes::text(self.echoes, here(), self.echoing, self.links.len());
        self.links[self.echoing].tell(channel, text.as_bytes())?;
        self.links.iter_mut().try_for_each(Link::compare)
    }

    /// Publishes: of one topic, in this order.
    pub fn publish(&mut self, publications: &[Publication]) -> Vec<Result<Position, Failure>> {
        let command = |link: &Link, nth: usize| link.publish_command(&publications[nth]);
        let topic = |nth: usize| &*publications[nth].topic;
        let together = |sent| by_topic(sent, topic);
        let answers = self.ask(publications.len(), topic, command, together).into_iter();
        // What was not sent was not published.
        answers.map(|answer| answer.map_or(Err(Failure::Unreachable), published)).collect()
    }

    /// Tells where topics are, and what is kept of them. The errors are the broker's.
    pub fn open(&mut self, topics: &[(&str, Wanted)]) -> Vec<Result<Place, String>> {
        let command = |link: &Link, nth: usize| link.open_command(topics[nth].0, topics[nth].1);
        let answers = self.ask(topics.len(), |nth| topics[nth].0, command, apart);
        answers
            .into_iter()
            .zip(topics)
            .map(|(answer, (_, wanted))| placed(answer.unwrap_or_else(|| Err(unknown())), *wanted))
            .collect()
    }

    /// Tells some of who is there, by a companion topic, from where the cursor is. The error is the broker's.
    pub fn list(&mut self, topic: &str, cursor: u64) -> Result<Portion, String> {
        let command = |link: &Link, nth| match nth {
            0 => link.list_command(topic, cursor),
            _ => link.place_command(topic),
        };
        let mut answers = self.ask(2, |_| topic, command, apart).into_iter();
        let mut next = || answers.next().flatten().unwrap_or_else(|| Err(unknown()));
        let (members, place) = (next(), next());
        self.links[self.link_of(topic)].portion(members, place)
    }

    /// Asks about members, in this order. The errors are the broker's.
    pub fn lease(&mut self, asked: &[Ask]) -> Vec<Result<Answer, String>> {
        let command = |link: &Link, nth: usize| link.lease_command(&asked[nth]);
        // All of them are in one slot.
        let topic = |_| keys::ANY_COMPANION;
        let answers = self.ask(asked.len(), topic, command, apart).into_iter();
        answers.map(|answer| answered(answer.unwrap_or_else(|| Err(unknown())))).collect()
    }

    fn link_of(&self, topic: &str) -> usize {
        if self.slots.is_empty() {
            return 0;
        }
        usize::from(self.slots[usize::from(slot_of(&keys::topic(&self.prefix, topic)))])
    }

    /// Runs so many commands in one go for each link, those `together` that are. What is sent elsewhere, or finds no
    /// script, has not run, and is sent again. Once a link is lost, nothing more is sent: what has no answer was not.
    fn ask<'a, T: FromRedisValue>(
        &mut self,
        count: usize,
        topic: impl Fn(usize) -> &'a str,
        command: impl Fn(&Link, usize) -> Cmd,
        together: impl Fn(Vec<Sent>) -> Vec<Vec<Sent>>,
    ) -> Vec<Option<RedisResult<T>>> {
        let mut answers: Vec<Option<RedisResult<T>>> = (0..count).map(|_| None).collect();
        let sent = |nth| Sent { nth, link: self.link_of(topic(nth)), asks: false, loads: false };
        let mut open: Vec<_> = (0..count).map(sent).collect();
        for _ in 0..=REDIRECTS_MAX {
            let mut again = Vec::new();
            for link in 0..self.links.len() {
                let mine: Vec<_> = open.iter().filter(|sent| sent.link == link).copied().collect();
                if !mine.is_empty() && self.lost.is_none() {
                    self.ask_link(link, together(mine), &command, &mut answers, &mut again);
                }
            }
            open = self.redirect(again, &topic, &answers);
            if open.is_empty() {
                break;
            }
        }
        answers
    }

    /// Has a link run commands, and leaves `again` with those that have not run.
    fn ask_link<T: FromRedisValue>(
        &mut self,
        at: usize,
        mine: Vec<Vec<Sent>>,
        command: impl Fn(&Link, usize) -> Cmd,
        answers: &mut [Option<RedisResult<T>>],
        again: &mut Vec<Sent>,
    ) {
        let link = &mut self.links[at];
        let run = |run: &Vec<Sent>| Run {
            commands: run.iter().map(|sent| command(link, sent.nth)).collect(),
            asks: run.iter().any(|sent| sent.asks),
            loads: run.iter().any(|sent| sent.loads),
        };
        let runs = mine.iter().map(run).collect();
        let mine = mine.into_iter().flatten();
        let told = match link.run_all(runs) {
            Ok(told) => told,
            Err(error) => {
                self.lost = Some(error);
                return mine.for_each(|sent| answers[sent.nth] = Some(Err(unknown())));
            }
        };
        for (sent, answer) in mine.zip(told) {
            if let Err(error) = &answer {
                self.take_error(error, sent, again);
            }
            answers[sent.nth] = Some(answer);
        }
    }

    fn take_error(&mut self, error: &RedisError, sent: Sent, again: &mut Vec<Sent>) {
        let ErrorKind::Server(kind) = error.kind() else { return };
        match kind {
            ServerErrorKind::NoScript | ServerErrorKind::Moved | ServerErrorKind::Ask => {
                again.push(sent);
            }
            // It is not the master any more, or the cluster is away.
            ServerErrorKind::ReadOnly
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown => self.lost = Some(wrong(refusal(error))),
            _ => {}
        }
    }

    /// Where commands that have not run are to be sent.
    fn redirect<'a, T>(
        &mut self,
        again: Vec<Sent>,
        topic: impl Fn(usize) -> &'a str,
        answers: &[Option<RedisResult<T>>],
    ) -> Vec<Sent> {
        let mut open = Vec::with_capacity(again.len());
        let mut learned = false;
        for Sent { nth, link, asks, loads } in again {
            if self.lost.is_some() {
                break;
            }
            let Some(Err(error)) = &answers[nth] else { continue };
            let moved = error.redirect_node().and_then(|(place, _)| slots::place(place));
            let next = match (error.kind(), moved) {
                (ErrorKind::Server(ServerErrorKind::Ask), Some((host, port))) => {
                    let from = self.links[link].host();
                    let Some(link) = self.link_to_ask(&from, host, port) else { continue };
                    Ok(Sent { nth, link, asks: true, loads })
                }
                (ErrorKind::Server(ServerErrorKind::Moved), Some(_)) => {
                    let known = if learned { Ok(()) } else { self.learn(link) };
                    learned = true;
                    known.map(|()| Sent { nth, link: self.link_of(topic(nth)), asks: false, loads })
                }
                // No script.
                _ => Ok(Sent { nth, link, asks, loads: true }),
            };
            match next {
                Ok(sent) => open.push(sent),
                Err(error) => self.lost = Some(error),
            }
        }
        open.sort_by_key(|sent| sent.nth);
        open
    }
}

/// Each by itself.
fn apart(sent: Vec<Sent>) -> Vec<Vec<Sent>> {
    sent.into_iter().map(|it| vec![it]).collect()
}

/// Those of one topic together: if one of them found no script and was sent again, it would come after the others.
fn by_topic<'a>(sent: Vec<Sent>, topic: impl Fn(usize) -> &'a str) -> Vec<Vec<Sent>> {
    let mut runs: Vec<Vec<Sent>> = Vec::new();
    let mut places = HashMap::new();
    for it in sent {
        let at = *places.entry((topic(it.nth), it.asks, it.loads)).or_insert(runs.len());
        match runs.get_mut(at) {
            Some(run) => run.push(it),
            None => runs.push(vec![it]),
        }
    }
    runs
}

/// Of a command that was sent, and may have run.
fn unknown() -> RedisError {
    wrong("no answer".to_owned())
}
