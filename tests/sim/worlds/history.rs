//! What each topic of a simulated world has published, as its application can know it: the oracle of
//! positions and histories. It says what must be kept, what may not be, and what a position is good for.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::time::{Duration, Instant};

use pushloop::testing::Choice;
use pushloop::{Config, History, Message, Position, PositionError, Published};

use super::peer::Said;
use super::world::{TOPICS, World, topic_name};

/// What a publication counts as beside its frame, with a batch of its own, at the most.
const OVERHEAD_BYTES: usize = 320;
/// And in a batch with others.
const PLACE_BYTES: usize = 40;
/// What a handle's publication has, at the most, where it is not known.
const UNKNOWN_BYTES: usize = 1000;
/// Time is counted in ticks of less than a tenth of a second: a deadline is some of them late.
pub const LATE: Duration = Duration::from_millis(500);
/// Of a turn that took longer than it meant to, so much is counted; no turn means to take so long.
pub const STANDSTILL: Duration = Duration::from_secs(1);
pub const LONG: Duration = Duration::from_secs(6);

/// One publication.
pub struct Entry {
    /// Unknown where handles published more than is kept.
    pub said: Option<Said>,
    /// The member that it is not for, while that subscribes.
    pub except: Option<usize>,
    /// It was published then, or later.
    pub since: Instant,
    /// All that is needed of it was done then, by the clock that does not count standstills.
    pub done: Duration,
    /// Bytes of all frames up to here, this one included.
    frames: usize,
}

/// What a topic published under one epoch: an offset is an index.
pub struct Life {
    pub epoch: u64,
    pub entries: Vec<Entry>,
    /// From here on, everything must be kept.
    pub must: u64,
    /// Nothing may be kept that is before.
    pub gone: u64,
    /// Whatever is before was given to all that keep up.
    pub done: usize,
    /// How many publications, the last, may not have come.
    unsure: usize,
}

impl Life {
    fn new(epoch: u64) -> Self {
        Self { epoch, entries: Vec::new(), must: 0, gone: 0, done: 0, unsure: 0 }
    }

    pub fn head(&self) -> u64 {
        self.entries.len() as u64
    }

    fn frames_before(&self, offset: u64) -> usize {
        (offset as usize).checked_sub(1).map_or(0, |last| self.entries[last].frames)
    }

    /// Bytes that these publications count as, with so many beside each frame.
    fn cost(&self, from: u64, to: u64, overhead: usize) -> usize {
        self.frames_before(to) - self.frames_before(from) + (to - from) as usize * overhead
    }

    /// Whether a history must have the publication now, and all that came after. A copy that is compressed
    /// counts as well, as long as a write holds it.
    pub fn must_have(&self, offset: u64, history: History, now: Instant, copies: usize) -> bool {
        let limit = self.frames_before(offset).saturating_sub(history.bytes / 4);
        // What is given back with it: it is in one piece with what came before.
        let piece = self.entries.partition_point(|entry| entry.frames < limit) as u64;
        let before = self.cost(piece.min(offset), offset, PLACE_BYTES);
        self.head() - offset <= history.publications
            && now - self.entries[offset as usize].since + LATE < history.age
            && copies * (before + self.cost(offset, self.head(), OVERHEAD_BYTES)) <= history.bytes
    }
}

/// One topic.
pub struct Track {
    /// The last one goes on if the topic `is_live`.
    pub lives: Vec<Life>,
    pub is_live: bool,
    pub history: Option<History>,
    /// Where each publication is: its life and its offset.
    pub places: HashMap<Said, (usize, u64)>,
    /// What handles have published and was not seen yet.
    flying: VecDeque<(Said, usize)>,
    /// How much of it was refused, or came when the topic took nothing.
    vanished: u64,
    /// Some of that may have gone to nobody, or to a life that is over.
    pub is_murky: bool,
    /// It was in use then: somebody subscribed, or published.
    pub used: Instant,
    /// The same by the other clock, and never too early; and whether it was since the last turn.
    pub idle: Duration,
    pub is_used: bool,
}

/// All topics.
pub struct Histories {
    pub tracks: Vec<Track>,
    /// Topics may have histories here.
    pub any: bool,
    /// Publications that must have been kept and were not, and topics: the counters say that they were
    /// given up.
    pub excess: u64,
    forgotten: u64,
    /// The clock that does not count standstills.
    pub clock: Duration,
    pub turned: Instant,
    pub written: u64,
}

/// How much a topic keeps.
pub fn drawn_history(choice: &Choice) -> Option<History> {
    if choice.below(5) == 4 {
        return None;
    }
    let mut history = History::of(choice.of(&[1000, 0, 1, 3, 20, 1000]));
    history.bytes = choice.of(&[1 << 20, 1 << 20, 1 << 20, 8000, 2500]);
    history.age = Duration::from_millis(choice.of(&[7_200_000, 7_200_000, 20_000, 800]));
    Some(history)
}

impl Histories {
    pub fn drawn(choice: &Choice, config: &mut Config, now: Instant) -> Self {
        let any = choice.below(2) == 1;
        if any {
            config.topic.history = drawn_history(choice);
            config.history_bytes_max = choice.of(&[256 << 20, 256 << 20, 6000, 1500]);
            config.topic_memory = Duration::from_millis(choice.of(&[7_200_000, 5000, 50]));
            config.topics_remembered_max = choice.of(&[100_000, 2, 1, 0]);
        }
        let track = || Track {
            lives: Vec::new(),
            is_live: false,
            history: config.topic.history,
            places: HashMap::new(),
            flying: VecDeque::new(),
            vanished: 0,
            is_murky: false,
            used: now,
            idle: Duration::ZERO,
            is_used: false,
        };
        Self {
            tracks: (0..TOPICS).map(|_| track()).collect(),
            any,
            excess: 0,
            forgotten: 0,
            clock: Duration::ZERO,
            turned: now,
            written: 0,
        }
    }

    /// How many publications of handles no topic took.
    pub fn vanished(&self) -> u64 {
        self.tracks.iter().map(|track| track.vanished).sum()
    }

    /// A handle has published, and the loop will come to it.
    pub fn is_asked(&mut self, said: Said, bytes: usize) {
        if let Some(topic) = said.topic {
            self.tracks[topic].flying.push_back((said, bytes));
        }
    }

    /// It was refused to the handle.
    pub fn is_refused(&mut self, said: Said) {
        self.tracks.iter_mut().for_each(|track| track.flying.retain(|it| it.0 != said));
    }

    /// Everything that handles have asked for was done.
    pub fn rests(&mut self) {
        for track in &mut self.tracks {
            track.vanished += track.flying.len() as u64;
            track.flying.clear();
            track.is_murky = false;
        }
    }
}

impl Track {
    /// The life that goes on.
    pub fn life(&self) -> Option<&Life> {
        self.lives.last().filter(|_| self.is_live)
    }

    pub fn here(&self) -> Option<Position> {
        self.life().map(|life| Position { epoch: life.epoch, offset: life.head() })
    }

    fn push(&mut self, said: Option<Said>, except: Option<usize>, since: Instant, bytes: usize) {
        let nth = self.lives.len() - 1;
        let life = &mut self.lives[nth];
        if let Some(said) = said {
            let place = (nth, life.head());
            assert_eq!(self.places.insert(said, place), None, "{said:?} is published twice");
        }
        let frames = life.frames_before(life.head()) + bytes;
        life.entries.push(Entry { said, except, since, done: Duration::MAX, frames });
    }

    /// The life is over, or goes on once a connection subscribes that comes before another has read what
    /// was due. What handles asked for may have come before that.
    fn ends_life(&mut self, now: Instant) {
        for _ in 0..self.flying.len() {
            self.push(None, None, now, UNKNOWN_BYTES);
        }
        (self.is_live, self.is_murky) = (false, true);
        self.lives.last_mut().expect("it was live").unsure = self.flying.len();
    }

    /// It goes on, and has a position.
    fn revives(&mut self, head: u64) {
        let life = self.lives.last_mut().expect("it has lived");
        let certain = life.entries.len() - mem::take(&mut life.unsure);
        life.entries.truncate(certain.max(head as usize));
        life.done = life.done.min(life.entries.len());
        (life.must, life.gone) = (life.must.min(life.head()), life.gone.min(life.head()));
        self.is_live = true;
    }

    /// What comes next is of another life.
    fn begins_life(&mut self, epoch: u64) {
        let is_new = self.lives.iter().all(|life| life.epoch != epoch);
        assert!(is_new, "epoch {epoch:x} is that of an earlier life");
        self.lives.push(Life::new(epoch));
        self.is_live = true;
    }

    /// A handle's publication is seen: what handles asked for before it was done before.
    fn lands(&mut self, said: Said, is_certain: bool) -> usize {
        let at = self.flying.iter().position(|it| it.0 == said);
        let at = at.unwrap_or_else(|| panic!("{said:?} is kept, and nobody published it"));
        assert!(at == 0 || !is_certain, "{:?} is not kept, but {said:?}", self.flying[0]);
        self.vanished += at as u64;
        self.flying.drain(..=at).next_back().map_or(0, |it| it.1)
    }
}

impl World {
    /// What a topic has come to, as far as the application was not the one that did it.
    pub fn looks_at(&mut self, topic: usize) {
        let name = topic_name(topic);
        let config = self.server.hub().config();
        let (memory, unserved_max) = (config.topic_memory, config.topic_unserved_bytes_max);
        let (here, now) = (self.server.hub().position(name), self.server.hub().now());
        let track = &mut self.histories.tracks[topic];
        let epoch = track.lives.last().map(|life| life.epoch);
        let goes_on = here.is_some() && here.map(|here| here.epoch) == epoch;
        if track.is_live && !goes_on {
            // It was left, or not used for long; or others were, and there were too many.
            let is_early = track.history.is_some() && now - track.used < memory;
            self.histories.forgotten += u64::from(is_early);
            let counted = self.server.hub().counters().topics_forgotten;
            let early = self.histories.forgotten;
            assert!(early <= counted, "topic {topic} is forgotten: {early} of {counted}");
            self.histories.tracks[topic].ends_life(now);
        }
        let track = &mut self.histories.tracks[topic];
        let Some(here) = here else {
            track.is_murky = true;
            return;
        };
        if !goes_on {
            track.begins_life(here.epoch);
            track.is_murky |= here.offset > 0;
        } else if !track.is_live {
            track.revives(here.offset);
        }
        let known = track.here().expect("it is live").offset;
        assert!(here.offset >= known, "topic {topic}: {here} is before {known}");
        let is_certain =
            track.history.is_some() && !track.is_murky && !self.is_tight && unserved_max > 1 << 20;
        self.learns(topic, here, is_certain);
        if self.server.hub().subscriber_count(name) > 0 {
            let track = &mut self.histories.tracks[topic];
            (track.used, track.is_used) = (now, true);
        }
    }

    /// What handles have published since.
    fn learns(&mut self, topic: usize, here: Position, is_certain: bool) {
        let known = self.histories.tracks[topic].here().expect("it is live").offset;
        if here.offset == known {
            return;
        }
        let kept = self.reads_last(topic, here.offset - known);
        let (since, now) = (self.histories.turned, self.server.hub().now());
        let track = &mut self.histories.tracks[topic];
        track.used = now.max(track.used);
        let unseen = here.offset - known - kept.len() as u64;
        for _ in 0..unseen {
            let next = track.flying.front().copied().filter(|_| is_certain);
            match next {
                Some((said, _)) => {
                    let bytes = track.lands(said, true);
                    track.push(Some(said), None, since, bytes);
                }
                None => track.push(None, None, since, UNKNOWN_BYTES),
            }
        }
        for said in kept {
            let bytes = track.lands(said, is_certain);
            track.push(Some(said), None, since, bytes);
        }
    }

    /// The latest that a topic has kept, as the application reads it.
    pub fn reads_last(&mut self, topic: usize, count: u64) -> Vec<Said> {
        let name = topic_name(topic);
        let hub = self.server.hub();
        let here = hub.position(name);
        let read: Vec<_> = hub
            .history_last(name, count)
            .map(|publication| match publication.message {
                Message::Text(text) => (publication.position, Said::read(text.as_bytes())),
                Message::Binary(_) => panic!("only text is published"),
            })
            .collect();
        let count = read.len() as u64;
        for (nth, (position, said)) in read.iter().enumerate() {
            let here = here.expect("it has published");
            assert_eq!(said.topic, Some(topic));
            let offset = here.offset - count + nth as u64 + 1;
            assert_eq!(*position, Position { epoch: here.epoch, offset });
        }
        read.into_iter().map(|(_, said)| said).collect()
    }

    /// The application has published, and was told where.
    pub fn has_place(&mut self, said: Said, done: Published, except: Option<usize>, bytes: usize) {
        let topic = said.topic.expect("it is published");
        let now = self.server.hub().now();
        let track = &mut self.histories.tracks[topic];
        let Some(position) = done.position else {
            assert!(track.history.is_none() && done.subscribers == 0, "{said:?} has no place");
            return;
        };
        (track.used, track.is_used) = (now, true);
        if track.here().is_none_or(|here| here.epoch != position.epoch) {
            assert!(!track.is_live, "topic {topic} begins anew at {position}");
            track.begins_life(position.epoch);
        }
        track.push(Some(said), except, now, bytes);
        assert_eq!(track.here(), Some(position), "{said:?}");
    }

    /// What is said of a position before anything else happens.
    pub fn expects(&mut self, topic: usize, after: Position) -> Result<u64, PositionError> {
        self.looks_at(topic);
        self.checks_kept(topic);
        let since = self.server.hub().published_since(topic_name(topic), after);
        let track = &self.histories.tracks[topic];
        let Some(life) = track.life() else { return Err(PositionError::NoTopic) };
        if life.epoch != after.epoch {
            return Err(PositionError::OtherEpoch);
        }
        let Some(count) = life.head().checked_sub(after.offset) else {
            return Err(PositionError::Future);
        };
        // Between what must be kept and what must not, the topic may say either, and has said it.
        let is_kept = since == Ok(count);
        let history = track.history;
        assert!(!is_kept || after.offset >= life.gone, "{after} is gone");
        assert!(!is_kept || history.is_none_or(|history| count <= history.publications));
        assert!(is_kept || after.offset < life.must, "{after} of topic {topic} must be kept");
        if is_kept { Ok(count) } else { Err(PositionError::NotKept) }
    }
}
