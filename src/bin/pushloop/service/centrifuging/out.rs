//! What is sent to one client.

use pushloop::{ConnId, Hub, SendError};

use crate::centrifuge::{
    Format,
    codes::{Disconnect, Failure},
    replies::{Answer, Push, add_answer, add_ping, add_push},
    transports::{Transport, Way},
};

/// From so many bytes on they are sent, so that an answer that is too long is known before the next command.
const BYTES_MAX: usize = 16 * 1024;

/// Answers that go into one message.
pub(super) struct Out {
    id: ConnId,
    way: Way,
    bytes: Vec<u8>,
    /// It was taken until now: the connection is there, and reads.
    is_taken: bool,
}

impl Out {
    pub fn new(id: ConnId, way: Way) -> Self {
        Self { id, way, bytes: Vec::new(), is_taken: true }
    }

    pub fn id(&self) -> ConnId {
        self.id
    }

    pub fn format(&self) -> Format {
        self.way.format
    }

    pub fn is_taken(&self) -> bool {
        self.is_taken
    }

    /// Whether another answer, however long it may be, leaves the connection below its limit.
    pub fn has_room(&self, hub: &Hub) -> bool {
        hub.queued_bytes(self.id) + self.bytes.len() <= hub.config().send_queue_bytes_max / 2
    }

    pub fn answer(&mut self, id: u32, answer: &Result<Answer<'_>, Failure>) {
        add_answer(self.way.format, &mut self.bytes, id, answer);
    }

    pub fn push(&mut self, channel: &str, push: &Push<'_>) {
        add_push(self.way.format, &mut self.bytes, channel, push);
    }

    pub fn ping(&mut self) {
        add_ping(self.way.format, &mut self.bytes);
    }

    /// Sends them, if they are many.
    pub fn flush_many(&mut self, hub: &mut Hub) {
        if self.bytes.len() >= BYTES_MAX {
            self.flush(hub);
        }
    }

    /// Sends them: what is published from now on, or was kept, comes behind.
    pub fn flush(&mut self, hub: &mut Hub) {
        if self.bytes.is_empty() {
            return;
        }
        let sent = match (self.way.transport, self.way.format) {
            // It was made of text.
            (Transport::WebSocket, Format::Json) => {
                hub.send(self.id, str::from_utf8(&self.bytes).unwrap_or_default())
            }
            (Transport::WebSocket, Format::Protobuf) => hub.send(self.id, &self.bytes[..]),
            (Transport::Events | Transport::Body, _) => self.write(hub),
        };
        self.is_taken &= sent.is_ok();
        self.bytes.clear();
    }

    /// Writes them to a stream. One that reads too slowly is closed as a WebSocket is: behind a gap, the rest would be
    /// taken for what it is not.
    fn write(&self, hub: &mut Hub) -> Result<(), SendError> {
        let mut framed = Vec::with_capacity(self.bytes.len() + 16);
        self.way.add_frame(&self.bytes, &mut framed);
        let sent = hub.write(self.id, framed);
        if sent == Err(SendError::Full) {
            hub.close(self.id, Disconnect::SLOW.close_code(), Disconnect::SLOW.reason);
        }
        sent
    }
}
