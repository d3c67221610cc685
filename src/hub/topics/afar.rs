//! Topics of which other loops have a part: their homes, and their replicas.
//!
//! A home's mirrors are cursors in its log, one for each loop with a replica. They count as subscribers that keep up:
//! the floor waits for them, and where a loop has no room, publications are refused in the end, and none is lost. A
//! replica takes each batch as its home has published it, frames and offsets, and puts the clock of its own hub to it.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Topic, Topics};
use crate::{
    conn::{Commons, Shared, Ticks},
    event::ConnId,
    hub::{
        log::Log,
        peers::{Item, Opened, Peers},
    },
};

/// What a topic has to do with other loops.
#[derive(Debug)]
pub(in crate::hub) enum Afar {
    /// It is at home here, and these have replicas of it.
    Home(Vec<Mirror>),
    /// Another loop is its home.
    Replica(Replica),
}

/// A replica, as its home sees it.
#[derive(Debug)]
pub(in crate::hub) struct Mirror {
    to: usize,
    life: u64,
    /// The topic's name, for what is handed over.
    name: Arc<str>,
    /// It was told where the topic is.
    is_open: bool,
    /// What is before was handed over.
    cursor: u64,
    /// It is among those that wait for room.
    waits: bool,
    subscribers: Arc<AtomicUsize>,
}

#[derive(Debug)]
pub(in crate::hub) struct Replica {
    home: usize,
    life: u64,
    /// Its home has told where the topic is.
    is_open: bool,
    /// What to notify the application of then.
    keys: Vec<u32>,
    /// How many connections subscribe here: its home reads it.
    subscribers: Arc<AtomicUsize>,
}

impl Topic {
    fn mirrors(&self) -> &[Mirror] {
        match self.afar.as_deref() {
            Some(Afar::Home(mirrors)) => mirrors,
            Some(Afar::Replica(_)) | None => &[],
        }
    }

    fn replica(&self) -> Option<&Replica> {
        match self.afar.as_deref() {
            Some(Afar::Replica(replica)) => Some(replica),
            Some(Afar::Home(_)) | None => None,
        }
    }

    /// Whether other loops have replicas of it.
    #[inline(always)]
    pub(in crate::hub) fn is_mirrored(&self) -> bool {
        self.afar.is_some() && !self.mirrors().is_empty()
    }

    /// Whether it is a replica, and its home has not told yet where the topic is.
    #[inline]
    pub(in crate::hub) fn is_opening(&self) -> bool {
        self.afar.is_some() && self.replica().is_some_and(|it| !it.is_open)
    }

    /// What is before was handed to all other loops that have replicas.
    #[inline(always)]
    pub(in crate::hub) fn brought(&self) -> u64 {
        if self.afar.is_none() { u64::MAX } else { self.brought_to_all() }
    }

    #[cold]
    fn brought_to_all(&self) -> u64 {
        self.mirrors().iter().map(|it| it.cursor).min().unwrap_or(u64::MAX)
    }

    /// How many connections of other loops subscribe, as far as is known at its home.
    pub(in crate::hub) fn subscribers_elsewhere(&self) -> usize {
        let count = |it: &Mirror| it.subscribers.load(Ordering::Relaxed);
        if self.afar.is_none() { 0 } else { self.mirrors().iter().map(count).sum() }
    }

    /// The number of subscribers has changed.
    #[inline(always)]
    pub(super) fn note_subscribers(&self) {
        if self.afar.is_some() {
            self.tell_subscribers();
        }
    }

    #[cold]
    fn tell_subscribers(&self) {
        if let Some(replica) = self.replica() {
            replica.subscribers.store(self.subscribers.len(), Ordering::Relaxed);
        }
    }

    /// What a loop that comes is told of what is kept. `None` without a history.
    fn first_kept(&self) -> Option<u64> {
        self.options.history.map(|history| self.log.first_kept(Some(history)))
    }
}

impl Mirror {
    /// Hands over what there is. False if the loop has no room for it now.
    fn bring(
        &mut self,
        log: &Log,
        epoch: u64,
        first: Option<u64>,
        now: Ticks,
        peers: &Peers,
    ) -> bool {
        if !self.is_open {
            let head = self.cursor;
            let kept = first.into_iter().flat_map(|first| log.shared_from(first, now));
            let kept: Vec<_> = kept.take_while(|it| it.end() <= head).collect();
            let bytes = kept.iter().map(Shared::counted).sum();
            let opened = || {
                let (topic, life) = (Arc::clone(&self.name), self.life);
                let first = first.map_or(head, |first| first.min(head));
                Item::Opened(Opened { topic, life, epoch, first, head, kept })
            };
            if peers.push(self.to, bytes, true, opened).is_err() {
                return false;
            }
            self.is_open = true;
        }
        for batch in log.shared_from(self.cursor, now) {
            let (bytes, end) = (batch.counted(), batch.end());
            let news = || Item::News { topic: Arc::clone(&self.name), life: self.life, batch };
            if peers.push(self.to, bytes, true, news).is_err() {
                return false;
            }
            self.cursor = end;
        }
        true
    }
}

impl Topics {
    /// A topic that has begun just now may be another loop's.
    pub(super) fn begin_replica(&mut self, topic: u32) {
        let Some(peers) = self.peers.as_deref_mut() else { return };
        let name = self.topics.name(topic);
        let Some(home) = peers.home_elsewhere(name) else { return };
        let subscribers = Arc::<AtomicUsize>::default();
        let life = peers.open(home, name, Arc::clone(&subscribers));
        let replica = Replica { home, life, is_open: false, keys: Vec::new(), subscribers };
        self.topics[topic].afar = Some(Box::new(Afar::Replica(replica)));
    }

    /// A topic is over. If it was another loop's, that brings nothing more.
    pub(super) fn end_replica(&self, topic: u32) {
        if let (Some(peers), Some(replica)) = (&self.peers, self.topics[topic].replica()) {
            peers.close(replica.home, self.topics.name(topic));
        }
    }

    /// Whether what is kept of the topic is here. If not, it is told with this key once it is.
    pub(in crate::hub) fn is_open_here(&mut self, topic: u32, key: u32) -> bool {
        match self.topics[topic].afar.as_deref_mut() {
            Some(Afar::Replica(replica)) if !replica.is_open => {
                if !replica.keys.contains(&key) {
                    replica.keys.push(key);
                }
                false
            }
            Some(Afar::Replica(_) | Afar::Home(_)) | None => true,
        }
    }

    /// Another loop, in this life of its replica, is to have what is published from now on, and what is kept.
    pub(in crate::hub) fn add_mirror(
        &mut self,
        name: Arc<str>,
        (to, life): (usize, u64),
        subscribers: Arc<AtomicUsize>,
        commons: &mut Commons,
    ) {
        let topic = self.find(&name).unwrap_or_else(|| self.create(&name, commons.config.topic));
        self.handle_used(topic);
        let entry = &mut self.topics[topic];
        entry.log.set_mirrored(true, commons);
        entry.log.close_last(commons);
        let cursor = entry.log.head();
        let mirror = Mirror { to, life, name, is_open: false, cursor, waits: false, subscribers };
        match entry.afar.as_deref_mut() {
            Some(Afar::Home(mirrors)) => {
                mirrors.retain(|it| it.to != to);
                mirrors.push(mirror);
            }
            Some(Afar::Replica(_)) | None => entry.afar = Some(Box::new(Afar::Home(vec![mirror]))),
        }
        self.hand_over(topic, commons);
    }

    /// Another loop needs a topic no more.
    pub(in crate::hub) fn remove_mirror(&mut self, name: &str, from: usize, commons: &mut Commons) {
        let Some(topic) = self.find(name) else { return };
        let entry = &mut self.topics[topic];
        let Some(Afar::Home(mirrors)) = entry.afar.as_deref_mut() else { return };
        mirrors.retain(|it| it.to != from);
        if mirrors.is_empty() {
            entry.afar = None;
            entry.log.set_mirrored(false, commons);
        }
        self.settle(topic, commons);
        self.remove_if_over(topic, commons);
    }

    /// Hands what is sealed to the loops that have replicas, as far as they have room.
    pub(in crate::hub) fn hand_over(&mut self, topic: u32, commons: &Commons) {
        let Some(peers) = self.peers.as_deref_mut() else { return };
        let entry = &mut self.topics[topic];
        let (first, epoch) = (entry.first_kept(), entry.epoch);
        let Some(Afar::Home(mirrors)) = entry.afar.as_deref_mut() else { return };
        for mirror in mirrors.iter_mut().filter(|it| !it.waits) {
            mirror.waits = !mirror.bring(&entry.log, epoch, first, commons.now, peers);
            if mirror.waits {
                peers.wait(mirror.to, Arc::clone(&mirror.name));
            }
        }
    }

    /// Goes on with what found no room in another loop's inbox.
    pub(in crate::hub) fn bring_waiting(&mut self, commons: &mut Commons) {
        for to in 0..self.peers.as_deref().map_or(0, Peers::count) {
            while let Some(name) = self.peers.as_deref_mut().and_then(|it| it.next_waiting(to)) {
                self.steps += 1;
                let Some(topic) = self.find(&name) else { continue };
                let entry = &mut self.topics[topic];
                let Some(Afar::Home(mirrors)) = entry.afar.as_deref_mut() else { continue };
                // One that came anew since waits anew.
                let Some(mirror) = mirrors.iter_mut().find(|it| it.to == to && it.waits) else {
                    continue;
                };
                mirror.waits = false;
                self.hand_over(topic, commons);
                self.settle(topic, commons);
                let waits = |it: &Mirror| it.to == to && it.waits;
                if self.topics[topic].mirrors().iter().any(waits) {
                    // It has no room for the others either.
                    break;
                }
            }
        }
    }

    /// A replica's home tells where the topic is. Gives what the application is to be notified of.
    pub(in crate::hub) fn handle_opened(
        &mut self,
        opened: Opened,
        commons: &mut Commons,
    ) -> Vec<u32> {
        let Opened { topic: name, life, epoch, first, head, kept } = opened;
        let Some(topic) = self.find(&name) else { return Vec::new() };
        let is_it = |it: &Replica| it.life == life && !it.is_open;
        if !self.topics[topic].replica().is_some_and(is_it) {
            return Vec::new();
        }
        // Lists know a topic by its epoch.
        self.handle_used(topic);
        let (clock, keep) = (self.note_published(), self.keep(topic, commons));
        let entry = &mut self.topics[topic];
        entry.epoch = epoch;
        entry.log.begin_replica((first, head), kept, clock, keep, commons);
        entry.reached = head;
        // They subscribed before it was known from where on: from here on.
        self.steps += entry.subscribers.len() as u64;
        entry.subscribers.iter_mut().for_each(|it| it.cursor = head);
        let keys = match entry.afar.as_deref_mut() {
            Some(Afar::Replica(replica)) => {
                replica.is_open = true;
                mem::take(&mut replica.keys)
            }
            Some(Afar::Home(_)) | None => Vec::new(),
        };
        self.note_historic(topic);
        self.bound_history(commons);
        self.remove_if_over(topic, commons);
        keys
    }

    /// A replica's home has published. The batch comes back if there is no room for it.
    pub(in crate::hub) fn handle_news(
        &mut self,
        name: &str,
        life: u64,
        batch: Shared,
        excepted: &[ConnId],
        commons: &mut Commons,
    ) -> Result<(), Shared> {
        let Some(topic) = self.find(name) else { return Ok(()) };
        let entry = &self.topics[topic];
        // It may be for an earlier life of the replica.
        if !entry.replica().is_some_and(|it| it.is_open && it.life == life) {
            return Ok(());
        }
        let (unserved, counted) = (entry.log.unserved_bytes(), batch.counted());
        let is_full = unserved.saturating_add(counted) > commons.config.topic_unserved_bytes_max;
        if (is_full && entry.is_listed)
            || (!self.make_room(counted, commons) && commons.queued_bytes > 0)
        {
            return Err(batch);
        }
        for id in excepted {
            if let Some((_, subscription)) = self.subscription_of(id.index, topic) {
                let subscriber =
                    &mut self.topics[topic].subscribers[subscription.position as usize];
                subscriber.excepted = subscriber.excepted.saturating_add(1);
            }
        }
        let clock = self.note_published();
        self.topics[topic].log.mirror(batch, clock, commons);
        self.handle_published(topic);
        Ok(())
    }
}
