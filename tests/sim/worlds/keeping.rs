//! What must hold of the histories of a simulated world, and what the application does with them.

use std::mem;
use std::time::Duration;

use pushloop::{History, Position, PositionError};

use super::history::{Entry, LATE, LONG, Life, STANDSTILL, drawn_history};
use super::marks::Mark;
use super::peer::Said;
use super::world::{TOPICS, World, topic_name};

impl World {
    /// What must be kept is, and what must not be is not.
    pub fn checks_kept(&mut self, topic: usize) {
        let hub = self.server.hub();
        let (name, now) = (topic_name(topic), hub.now());
        let is_served = hub.queued_bytes_total() == 0;
        let given_up = hub.counters().history_given_up;
        let copies = 1 + usize::from(self.deflate.is_some());
        let histories = &mut self.histories;
        let track = &mut histories.tracks[topic];
        let Some(life) = track.lives.last_mut().filter(|_| track.is_live) else { return };
        let (epoch, head) = (life.epoch, life.head());
        let since = |offset| hub.published_since(name, Position { epoch, offset });
        let must = |life: &Life, offset| {
            track.history.is_some_and(|history| life.must_have(offset, history, now, copies))
        };
        while life.must < head && !must(life, life.must) {
            life.must += 1;
        }
        while life.must < head && since(life.must).is_err() {
            // The process has too little room.
            life.must += 1;
            histories.excess += 1;
        }
        let excess = histories.excess;
        assert!(excess <= given_up, "topic {topic}: {excess} are missing, {given_up} given up");
        let is_old = |entry: &Entry| {
            let age = track.history.map_or(Duration::MAX, |history| history.age);
            let most = entry.done.saturating_add(age).saturating_add(age / 16);
            most.saturating_add(LATE) < histories.clock
        };
        if is_served && track.history.is_some() {
            while life.gone < head && is_old(&life.entries[life.gone as usize]) {
                life.gone += 1;
            }
        }
        let most = track.history.map_or(u64::MAX, |history| history.publications);
        let gone = life.gone.max(head.saturating_sub(most));
        if let Some(before) = gone.checked_sub(1) {
            let said = since(before);
            let cleared = life.gone;
            assert_eq!(
                said,
                Err(PositionError::NotKept),
                "topic {topic}: {before} of {head}, gone {cleared}: {:?}",
                track.history
            );
        }
        assert_eq!(since(head + 1), Err(PositionError::Future));
    }

    /// A turn is over.
    pub fn checks_histories(&mut self) {
        let hub = self.server.hub();
        let (now, counters) = (hub.now(), hub.counters());
        let is_served = hub.queued_bytes_total() == 0;
        let most = hub.config().history_bytes_max as u64;
        assert!(counters.history_bytes <= most, "{} of history", counters.history_bytes);
        let histories = &mut self.histories;
        let passed = now - histories.turned;
        let is_leap = self.leaps || passed > LONG;
        histories.clock += if is_leap { passed.min(STANDSTILL) } else { passed };
        histories.turned = now;
        let has_written = histories.written != counters.bytes_sent;
        histories.written = counters.bytes_sent;
        for topic in 0..TOPICS {
            let before = self.histories.tracks[topic].here();
            self.looks_at(topic);
            let clock = self.histories.clock;
            let track = &mut self.histories.tracks[topic];
            if let Some(life) = track.lives.last_mut() {
                life.entries[life.done..].iter_mut().for_each(|entry| entry.done = clock);
                life.done = if is_served { life.entries.len() } else { life.done };
            }
            let subscribers = self.server.hub().subscriber_count(topic_name(topic));
            let track = &mut self.histories.tracks[topic];
            let is_used = mem::take(&mut track.is_used) || track.here() != before;
            if is_used || subscribers > 0 || has_written || !is_served {
                track.idle = clock;
            }
            self.checks_kept(topic);
        }
        let kept = self.histories.tracks.iter().filter_map(|track| track.history);
        let most: usize = kept.map(|history| history.bytes).sum();
        assert!(counters.history_bytes <= most as u64, "{} of history", counters.history_bytes);
    }

    /// Nothing happens for a while: what nobody uses is forgotten in time.
    pub fn checks_forgotten(&mut self) {
        let config = self.server.hub().config();
        let (memory, most) = (config.topic_memory, config.topics_remembered_max);
        let mut remembered = 0;
        for topic in 0..TOPICS {
            let subscribers = self.server.hub().subscriber_count(topic_name(topic));
            let track = &self.histories.tracks[topic];
            if subscribers > 0 || track.life().is_none() {
                continue;
            }
            let idle = self.histories.clock - track.idle;
            assert!(idle < memory.saturating_add(2 * LATE), "topic {topic}, unused for {idle:?}");
            remembered += usize::from(!idle.is_zero());
        }
        assert!(remembered <= most, "{remembered} topics are remembered");
    }

    /// The application gives up what a topic has kept, or reads it.
    pub fn keeps_house(&mut self, topic: usize) {
        self.looks_at(topic);
        self.checks_kept(topic);
        let all = self.reads_last(topic, u64::MAX);
        let track = &self.histories.tracks[topic];
        if let Some(life) = track.life() {
            let first = life.entries.len() - all.len();
            let is_it = |(entry, said): (&Entry, &Said)| entry.said.is_none_or(|it| it == *said);
            assert!(life.entries[first..].iter().zip(&all).all(is_it), "{all:?} of topic {topic}");
        }
        match self.choice.below(3) {
            0 => self.marks.hit(Mark::HistoryRead),
            1 => self.gives_up(topic, all.len() as u64),
            _ => {
                let history = drawn_history(&self.choice);
                self.has_history(topic, history);
                self.marks.hit(Mark::HistorySwitched);
            }
        }
    }

    /// The application gives up what a topic keeps, which is so many publications, or all but the last few.
    fn gives_up(&mut self, topic: usize, kept: u64) {
        let name = topic_name(topic);
        let stay = self.choice.below(4) as u64;
        let hub = self.server.hub();
        let here = hub.position(name);
        let had_some = match here.filter(|_| stay > 0) {
            Some(Position { epoch, offset }) => {
                let before = Position { epoch, offset: offset.saturating_sub(stay) };
                let given_up = hub.expire_history(name, before).expect("it was there");
                assert!(given_up == 0 || given_up == kept - stay, "{given_up} of {kept}");
                given_up > 0
            }
            None => hub.clear_history(name),
        };
        let stay = if here.is_some() { stay } else { 0 };
        let left = hub.history_last(name, u64::MAX).count() as u64;
        let track = &mut self.histories.tracks[topic];
        if track.history.is_none() {
            assert!(!had_some);
            return;
        }
        assert_eq!((had_some, left), (kept > stay, kept.min(stay)));
        if let Some(life) = track.lives.last_mut() {
            let until = life.head().saturating_sub(stay);
            (life.gone, life.must) = (life.gone.max(until), life.must.max(until));
            self.marks.hit(Mark::HistoryCleared);
        }
    }

    /// From here on, the topic keeps so much.
    pub fn has_history(&mut self, topic: usize, history: Option<History>) {
        let name = topic_name(topic);
        let mut options = self.server.hub().topic_options(name);
        options.history = history;
        self.server.hub().configure_topic(name, options).expect("there is room for a few");
        let now = self.server.hub().now();
        let track = &mut self.histories.tracks[topic];
        track.is_murky = true;
        let before = mem::replace(&mut track.history, history);
        let clock = self.histories.clock;
        if let Some(life) = track.lives.last_mut() {
            // Its pieces may be longer than those of a history with less room.
            let bytes = |history: Option<History>| history.map_or(0, |it| it.bytes);
            let has_less = before.is_none() || bytes(history) < bytes(before);
            life.must = if has_less { life.head() } else { life.must };
            // What is in one piece by now is given up with its newest.
            life.entries.iter_mut().for_each(|entry| entry.done = entry.done.max(clock));
        }
        (track.used, track.is_used) = (now, true);
        self.looks_at(topic);
        self.checks_kept(topic);
    }
}
