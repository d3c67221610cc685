//! Peers that come back in a simulated world, with positions of every kind; and what each must have got
//! of each topic, offset by offset: what was kept, whole and first, and then what is live.

use pushloop::{ConnId, Joined, OnLag, Position, PositionError, SubscribeError};

use super::history::{Life, Track};
use super::marks::Mark;
use super::peer::Said;
use super::world::{Due, TOPICS, World, topic_name};

/// One subscription of a member to a topic: it reads the offsets of one life in a row.
pub struct Reading {
    topic: usize,
    /// Of the topic's lives.
    life: usize,
    /// What comes first, and where the live stream begins.
    from: u64,
    joined: u64,
    /// Where it ended.
    left: Option<u64>,
}

impl Reading {
    fn end(&self, life: &Life) -> u64 {
        self.left.map_or(life.head(), |left| left.min(life.head()))
    }

    /// Whether the member need not get the publication.
    fn may_skip(&self, life: &Life, offset: u64, at: usize, may_jump: bool) -> bool {
        let is_excepted = life.entries[offset as usize].except == Some(at);
        offset >= self.joined && (may_jump || is_excepted)
    }

    /// Whether it can be that what is next is at `to`, and what was at `from` before.
    fn reaches(&self, life: &Life, from: u64, to: u64, at: usize, may_jump: bool) -> bool {
        (from..to).all(|offset| self.may_skip(life, offset, at, may_jump))
    }
}

impl World {
    /// A peer comes back to a topic, or begins with the latest; or something else happens to histories.
    pub fn resumes(&mut self) {
        let topic = self.choice.below(TOPICS);
        let kind = self.choice.below(20);
        self.notes(|| format!("history {kind} of topic {topic}"));
        if kind == 19 {
            return self.keeps_house(topic);
        }
        let open = (0..self.members.len()).filter(|at| self.members[*at].is_open);
        let open: Vec<_> = open.collect();
        let is_there = !open.is_empty() && !self.choice.chance(5);
        let at = if is_there { Some(self.choice.of(&open)) } else { self.any() };
        let Some(at) = at else { return };
        let Some(id) = self.members[at].id else { return };
        if self.members[at].topics.contains(&topic) && self.choice.chance(85) {
            self.unsubscribes(at, id, topic);
            for _ in 0..self.choice.below(4) {
                self.publishes(topic);
            }
        }
        if kind > 15 {
            return self.begins_with_latest(at, id, topic);
        }
        let after = self.drawn_position(topic);
        let expected = self.expects(topic, after);
        let done = self.server.hub().subscribe_after(id, topic_name(topic), after);
        let Some(joined) = self.has_joined(at, topic, done) else { return };
        assert_eq!(joined.kept, expected, "after {after} of topic {topic}");
        self.marks.hit(match expected {
            Ok(0) => Mark::ResumedUpToDate,
            Ok(_) => Mark::Resumed,
            Err(PositionError::NoTopic) => Mark::ResumedNoTopic,
            Err(PositionError::OtherEpoch) => Mark::ResumedOtherEpoch,
            Err(PositionError::Future) => Mark::ResumedFuture,
            Err(PositionError::NotKept) => Mark::ResumedNotKept,
            Err(other) => panic!("{other} is new here"),
        });
    }

    fn begins_with_latest(&mut self, at: usize, id: ConnId, topic: usize) {
        let count = self.choice.of(&[1, 0, 3, 50, u64::MAX]);
        self.looks_at(topic);
        let kept = self.reads_last(topic, count).len() as u64;
        let done = self.server.hub().subscribe_last(id, topic_name(topic), count);
        let Some(joined) = self.has_joined(at, topic, done) else { return };
        assert_eq!(joined.kept, Ok(kept), "the latest {count} of topic {topic}");
        self.marks.hit(Mark::BeganWithLatest);
    }

    pub fn subscribes(&mut self, at: usize, id: ConnId, topic: usize) {
        self.looks_at(topic);
        let done = self.server.hub().subscribe(id, topic_name(topic));
        if !self.members[at].is_open {
            return assert_eq!(done, Err(SubscribeError::Gone));
        }
        if done == Err(SubscribeError::TooManyTopics) {
            return self.has_left_many(at);
        }
        assert_eq!(done, Ok(()));
        if !self.members[at].topics.contains(&topic) {
            self.subscribed(at, topic, 0);
        }
    }

    /// Notes what the member is due from here on. Nothing if it was not subscribed.
    fn has_joined(
        &mut self,
        at: usize,
        topic: usize,
        done: Result<Joined, SubscribeError>,
    ) -> Option<Joined> {
        if !self.members[at].is_open {
            assert_eq!(done, Err(SubscribeError::Gone));
            return None;
        }
        if self.members[at].topics.contains(&topic) {
            assert_eq!(done, Err(SubscribeError::Subscribed));
            return None;
        }
        if done == Err(SubscribeError::TooManyTopics) {
            self.has_left_many(at);
            return None;
        }
        let joined = done.expect("it may subscribe");
        assert_eq!(self.server.hub().position(topic_name(topic)), Some(joined.position));
        let count = joined.kept.unwrap_or(0);
        self.subscribed(at, topic, count);
        let kept = self.reads_last(topic, count);
        assert_eq!(kept.len() as u64, count);
        let dues = kept.into_iter().map(|said| Due { said, must: true, kept: true });
        self.members[at].due.extend(dues);
        Some(joined)
    }

    /// A subscription to what was kept is two entries for one that lags, until it has read them. Of those that it has
    /// left, it may have as many as of topics.
    pub fn has_left_many(&mut self, at: usize) {
        let most = self.server.hub().config().topics_per_connection_max;
        assert!(2 * self.members[at].readings.len() > most, "peer {at} may subscribe");
    }

    /// The member subscribes from here on, and so many publications come first.
    pub fn subscribed(&mut self, at: usize, topic: usize, kept: u64) {
        self.looks_at(topic);
        let track = &self.histories.tracks[topic];
        let joined = track.life().expect("somebody subscribes").head();
        let (life, from) = (track.lives.len() - 1, joined - kept);
        let reading = Reading { topic, life, from, joined, left: None };
        self.members[at].readings.push(reading);
        let flying = self.flying.iter().filter(|said| said.topic == Some(topic));
        let due = flying.map(|said| Due { said: *said, must: false, kept: false });
        self.members[at].due.extend(due);
        self.members[at].topics.insert(topic);
    }

    /// The member subscribes no more.
    pub fn unsubscribed(&mut self, at: usize, topic: usize) {
        let track = &self.histories.tracks[topic];
        let readings = self.members[at].readings.iter_mut();
        let reading = readings.rev().find(|it| it.topic == topic).expect("it subscribed");
        reading.left = Some(track.lives[reading.life].head());
    }

    /// Where some peer says that it is.
    fn drawn_position(&mut self, topic: usize) -> Position {
        let choice = self.choice.clone();
        self.looks_at(topic);
        let tracks = &self.histories.tracks;
        let track = &tracks[topic];
        let here = track.here().unwrap_or(Position { epoch: 0, offset: 0 });
        let back = choice.below(here.offset.min(30) as usize + 1) as u64;
        let before = Position { offset: here.offset - back, ..here };
        match choice.below(16) {
            0 => here,
            1..5 => self.place_of_a_peer(topic).unwrap_or(before),
            5..9 => before,
            9..11 => Position { offset: choice.below(here.offset as usize + 1) as u64, ..here },
            11 if track.lives.len() > 1 => {
                let old = &track.lives[choice.below(track.lives.len() - 1)];
                let offset = choice.below(old.entries.len() + 1) as u64;
                Position { epoch: old.epoch, offset }
            }
            12 => tracks[(topic + 1) % TOPICS].here().unwrap_or(here),
            13..15 => Position { offset: here.offset + 1 + choice.below(3) as u64, ..here },
            _ => Position { epoch: here.epoch ^ 1, ..here },
        }
    }

    /// What a peer has read last, one that is gone perhaps: it knows where that was.
    fn place_of_a_peer(&self, topic: usize) -> Option<Position> {
        let track = &self.histories.tracks[topic];
        let recent = self.peers.len().min(12);
        let peer = &self.peers[self.peers.len() - 1 - self.choice.below(recent)];
        let last = peer.got.iter().rfind(|said| track.places.contains_key(said))?;
        let (life, offset) = track.places[last];
        if peer.wire.is_dropped() {
            self.marks.hit(Mark::ResumedForAnother);
        }
        Some(Position { epoch: track.lives[life].epoch, offset: offset + 1 })
    }

    /// What the peer got of each topic is what its subscriptions were due, one after the other: what was
    /// kept is whole, and of what is live only a policy passes over some. If it got all, nothing is left.
    pub fn checks_readings(&self, at: usize, is_all: bool) {
        for topic in 0..TOPICS {
            let ways = self.ways_through(at, topic);
            let may_jump = self.policies[topic] != OnLag::Close;
            let readings = self.readings(at, topic);
            let track = &self.histories.tracks[topic];
            let is_over = |way: &(usize, u64)| {
                readings[way.0..].iter().enumerate().all(|(nth, reading)| {
                    let life = &track.lives[reading.life];
                    let from = if nth == 0 { way.1 } else { reading.from };
                    reading.reaches(life, from, reading.end(life), at, may_jump)
                })
            };
            let is_whole = readings.is_empty() || !is_all || ways.iter().any(is_over);
            assert!(is_whole, "peer {at}, topic {topic}: something is missing at the end");
        }
    }

    fn readings(&self, at: usize, topic: usize) -> Vec<&Reading> {
        self.members[at].readings.iter().filter(|it| it.topic == topic).collect()
    }

    /// Every place at which the peer may be in its subscriptions to the topic: which one, and what is next
    /// there.
    fn ways_through(&self, at: usize, topic: usize) -> Vec<(usize, u64)> {
        let readings = self.readings(at, topic);
        let mut ways: Vec<_> = readings.first().map(|first| (0, first.from)).into_iter().collect();
        for said in self.peers[at].got.iter().filter(|said| said.topic == Some(topic)) {
            let mut next = Vec::new();
            for way in &ways {
                self.goes_on(at, &readings, *way, *said, &mut next);
            }
            next.sort_unstable();
            next.dedup();
            assert!(!next.is_empty(), "peer {at}: {said:?} does not follow; it was at {ways:?}");
            ways = next;
        }
        ways
    }

    /// Where the peer may be behind what it got next.
    fn goes_on(
        &self,
        at: usize,
        readings: &[&Reading],
        (nth, mut next): (usize, u64),
        said: Said,
        ways: &mut Vec<(usize, u64)>,
    ) {
        let topic = said.topic.expect("it was published");
        let track = &self.histories.tracks[topic];
        let may_jump = self.policies[topic] != OnLag::Close;
        for (nth, reading) in readings.iter().enumerate().skip(nth) {
            let life = &track.lives[reading.life];
            let end = reading.end(life);
            let is_next = |offset: &u64| reading.reaches(life, next, *offset, at, may_jump);
            let candidates = places(track, reading.life, said, next..end);
            ways.extend(candidates.filter(is_next).map(|offset| (nth, offset + 1)));
            if !reading.reaches(life, next, end, at, may_jump) {
                return;
            }
            next = readings.get(nth + 1).map_or(0, |reading| reading.from);
        }
    }
}

/// Where the publication may be: if it is not known, wherever one is not known that handles published.
fn places(
    track: &Track,
    life: usize,
    said: Said,
    within: std::ops::Range<u64>,
) -> impl Iterator<Item = u64> {
    let place = track.places.get(&said).copied();
    let known = place.filter(|(of, at)| *of == life && within.contains(at)).map(|it| it.1);
    let is_unknown = move |at: &u64| track.lives[life].entries[*at as usize].said.is_none();
    let unknown = place.is_none() && said.by_handle;
    let range = if unknown { within } else { 0..0 };
    known.into_iter().chain(range.filter(is_unknown))
}
