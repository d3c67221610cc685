//! Event streams of several topics: each id has the places of all of them, so that the browser's one
//! `Last-Event-ID` says where it was in each. Such events are one connection's own, and are encoded into its
//! outbox when it can take them.

use super::{
    Hub,
    subscriptions::{Leaving, Subscription},
    take::Taking,
    topics::Topics,
};
use crate::{
    conn::{Encoding, Form},
    event::{ConnId, Position},
    wire::encode_event_data,
};

impl Hub {
    /// From here on, the id of each event of this [`event_stream`](Self::event_stream) has the places of
    /// all topics that the connection subscribes to, in the order of their names, with commas in between.
    /// To be called before it subscribes. Its events are then encoded for it alone, at some cost for each,
    /// and what is [written](Self::write) may come in front of what was published before. False if the
    /// connection is no event stream.
    pub fn use_joint_ids(&mut self, id: ConnId) -> bool {
        self.stream_in(id, Form::JointEvents)
    }

    /// A stream ends: as much as may wait for it is encoded now, while it has its places.
    pub(super) fn encode_joint(&mut self, id: ConnId) {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        if slot.connection.encoding() == Encoding::JointEvents {
            let max = self.commons.config.send_queue_bytes_max;
            let (topics, commons) = (&mut self.topics, &mut self.commons);
            Taking { id, connection: &mut slot.connection, topics, commons }.encode_joint(max);
        }
    }
}

impl Taking<'_> {
    /// Encodes what the topics have for the connection, until `max` bytes wait for it.
    pub(super) fn encode_joint(&mut self, max: usize) {
        for reader in 0..self.topics.list(self.id.index).readers() {
            while self.connection.outbox.direct_bytes() < max && self.encode_next(reader) {}
        }
    }

    /// Encodes the next publication of one reader; false if there is none.
    fn encode_next(&mut self, reader: usize) -> bool {
        self.topics.steps += 1;
        let (topic, cursor, until) = self.topics.reader(self.id.index, reader);
        let Some(batch) = self.topics.topic(topic).log.batch_at(cursor).filter(|_| cursor < until)
        else {
            return false;
        };
        let except = batch.next_except(self.id, cursor).filter(|except| except.start == cursor);
        if let Some(except) = except {
            self.topics.set_cursor(self.id, reader, except.end.min(until));
            return true;
        }
        let mut event = self.commons.spare_buffer();
        if let Some((_, opcode, payload)) = batch.publications(cursor).next() {
            encode_event_data(&mut event, opcode, payload);
        }
        let delivered = self.topics.set_cursor(self.id, reader, cursor + 1);
        self.commons.note_delivered(self.id, delivered);
        let ids = self.topics.places_of(self.id);
        event.extend_from_slice(format!("id: {ids}\n\n").as_bytes());
        self.connection.write_events(&event, self.commons);
        self.commons.recycle_buffer(event);
        true
    }
}

impl Topics {
    /// Where a connection is in each of its topics, in the order of their names: at the first publication
    /// that it has not taken.
    fn places_of(&mut self, id: ConnId) -> String {
        let list = self.list(id.index);
        let place = |subscription: &Subscription| {
            let topic = subscription.topic;
            let entry = self.topic(topic);
            let is_kept = |it: &&Leaving| it.topic == topic && it.joined.is_some();
            let kept = list.leaving().iter().filter(is_kept).find(|it| it.cursor < it.until);
            let live = entry.subscribers[subscription.position as usize].cursor;
            let offset = kept.map_or(live, |kept| kept.cursor);
            (self.name(topic), Position { epoch: entry.epoch, offset })
        };
        let mut places: Vec<_> = list.as_slice().iter().map(place).collect();
        places.sort_unstable_by_key(|(name, _)| *name);
        let places: Vec<_> = places.iter().map(|(_, place)| place.to_string()).collect();
        self.steps += places.len() as u64;
        places.join(",")
    }
}
