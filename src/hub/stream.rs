//! Answering a request with a body that is sent as it is made.

use super::Hub;
use crate::{
    conn::{CHUNK_BYTES, Commons, Connection, Encoding, Outbox, WorkFlags},
    event::{Cause, ConnId, Record, RequestId, RespondError},
    hub::SendError,
    wire::{CloseCode, Response},
};

impl Hub {
    /// Answers a request with a response whose body follows in pieces, by
    /// [`write`](Self::write) to [`id.conn()`](RequestId::conn), until [`finish`](Self::finish): for
    /// events, and for what is too long to be held in memory. A body that `response` has is the first
    /// piece. In HTTP/1.1 the body is sent in chunks; in HTTP/1.0 it ends with the connection, which takes
    /// no further request in either case.
    ///
    /// [`Event::Closed`](crate::Event::Closed) comes once for each stream: when it is finished, or when
    /// the peer has left, and what was written may not have arrived. A response without a body, to a HEAD
    /// request or by its status, is finished at once. What the peer sends meanwhile is discarded. A peer
    /// that takes nothing of what waits for [`answer_timeout`](crate::Config::answer_timeout) is dropped;
    /// one that is gone without a word shows only when something is written, so a stream of events should
    /// say something now and then. A stream that is not finished holds a shutdown up to its deadline.
    ///
    /// # Errors
    ///
    /// See [`RespondError`].
    pub fn stream(&mut self, id: RequestId, response: Response) -> Result<(), RespondError> {
        self.begin_stream(id, &response, |connection, commons| {
            let has_begun = connection.begin_stream(&response, commons);
            let piece = response.body_bytes();
            if has_begun && !piece.is_empty() {
                connection.write_stream(piece, commons);
            }
            has_begun
        })
    }

    /// Answers a request with a response that `begins`, or that is whole if it does not.
    pub(super) fn begin_stream(
        &mut self,
        id: RequestId,
        response: &Response,
        begins: impl FnOnce(&mut Connection, &mut Commons) -> bool,
    ) -> Result<(), RespondError> {
        response.check().map_err(RespondError::InvalidHeader)?;
        let conn = id.conn;
        let slot = Self::slot_mut(&mut self.slots, conn).ok_or(RespondError::Gone)?;
        if slot.connection.asked(id).ok_or(RespondError::Gone)?.gone {
            self.answered.insert(id);
        }
        if begins(&mut slot.connection, &mut self.commons) {
            Self::mark_readable(slot, &mut self.readable, conn);
        } else {
            let cause = Cause::Local { code: CloseCode::NORMAL };
            self.told_next.push(Record::closed(conn, cause));
        }
        Self::mark_dirty(slot, &mut self.dirty, conn);
        self.arm(conn);
        Ok(())
    }

    /// Queues a piece of the body of a [`stream`](Self::stream), or of an
    /// [`event_stream`](Self::event_stream); none if `piece` is empty.
    ///
    /// # Backpressure
    ///
    /// What is not taken is for the caller to keep: it is not counted as dropped, and the stream goes on.
    /// Write while fewer bytes wait ([`queued_bytes`](Self::queued_bytes)) than you like, and go on at
    /// [`Event::Writable`](crate::Event::Writable), which comes when all has left that the kernel once
    /// refused, or when [`notify_below`](Self::notify_below) says.
    ///
    /// # Errors
    ///
    /// [`SendError::Gone`] if the connection is no stream, or no more;
    /// [`SendError::Full`] if more than [`send_queue_bytes_max`](crate::Config::send_queue_bytes_max) would
    /// wait, with 20 bytes for each piece; [`SendError::ProcessFull`].
    pub fn write(&mut self, id: ConnId, piece: impl AsRef<[u8]>) -> Result<(), SendError> {
        let piece = piece.as_ref();
        let slot = Self::slot_mut(&mut self.slots, id).ok_or(SendError::Gone)?;
        let is_events = slot.connection.is_event_stream();
        if !is_events && !slot.connection.is_streaming() {
            return Err(SendError::Gone);
        }
        if piece.is_empty() {
            return Ok(());
        }
        let is_ordered = is_events
            && slot.connection.encoding() != Encoding::JointEvents
            && (slot.connection.flags.has(WorkFlags::BEHIND)
                || self.topics.may_have_news(id.index));
        let more = if is_ordered { Outbox::MARK_BYTES } else { 0 };
        let len = piece.len().saturating_add(CHUNK_BYTES).saturating_add(more);
        let waits = slot.connection.outbox.direct_bytes();
        if waits.saturating_add(len) > self.commons.config.send_queue_bytes_max {
            return Err(SendError::Full);
        }
        if !self.topics.make_room(len, &mut self.commons) {
            return Err(SendError::ProcessFull);
        }
        if is_ordered {
            slot.connection.order_behind(self.topics.moment(), &mut self.commons);
        }
        match is_events {
            true => slot.connection.write_events(piece, &mut self.commons),
            false => slot.connection.write_stream(piece, &mut self.commons),
        }
        Self::mark_dirty(slot, &mut self.dirty, id);
        Ok(())
    }

    /// Ends the body of a [`stream`](Self::stream) behind all that was written, or an
    /// [`event_stream`](Self::event_stream) behind all that was published as well. False if the connection
    /// is no stream, or no more.
    pub fn finish(&mut self, id: ConnId) -> bool {
        self.end_stream(id, Cause::Local { code: CloseCode::NORMAL }, None)
    }

    /// Ends a stream; it is whole if the application ends it. One in a form of the application's has what that
    /// says of its being `closed`.
    pub(super) fn end_stream(
        &mut self,
        id: ConnId,
        cause: Cause,
        closed: Option<(CloseCode, &str)>,
    ) -> bool {
        if self.is_event_stream(id) {
            self.end_events(id, cause, closed);
            return true;
        }
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return false };
        if !slot.connection.is_streaming() {
            return false;
        }
        let is_whole = matches!(cause, Cause::Local { .. });
        slot.connection.end_stream(is_whole, &mut self.commons);
        self.told_next.push(Record::closed(id, cause));
        Self::mark_dirty(slot, &mut self.dirty, id);
        self.arm(id);
        true
    }
}
