//! Event streams: what topics publish, as server-sent events. And the other encodings that a connection
//! may ask for.

use super::Hub;
use crate::{
    conn::{Encoding, Form},
    event::{Cause, ConnId, Encoder, EncodingId, EncodingsFull, Record, RequestId, RespondError},
    wire::{CloseCode, Response},
};

/// What every event stream says, unless its response says otherwise.
const FIELDS: [(&str, &str); 3] = [
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-store"),
    // nginx would keep back what comes.
    ("X-Accel-Buffering", "no"),
];

impl Hub {
    /// Answers a request with an event stream (HTML §9.2), as a page's `EventSource` reads it: from here
    /// on [`id.conn()`](RequestId::conn) may subscribe to topics as a WebSocket may, and each publication
    /// comes as an event:
    ///
    /// ```text
    /// id: 3f2a00c4d1e9b007-42
    /// data: Goal!
    ///
    /// ```
    ///
    /// The id is the [`Position`](crate::Position) behind it, which comes back as `Last-Event-ID` when the
    /// browser connects again: see [`subscribe_after`](Self::subscribe_after). With several topics it is the
    /// id of one of them, unless [`use_joint_ids`](Self::use_joint_ids) is called. Each line of a text is a
    /// line of the event. Bytes come in base64 in an event that is named `base64`, and text that has a carriage
    /// return or a NUL in one named `base64-text`. Events are the same bytes for all connections, and encoded
    /// once; they are not compressed.
    ///
    /// The response has the content type of event streams and asks proxies not to keep it back; a body that
    /// it has goes first, as `retry: 2000\n\n` might. [`write`](Self::write) adds events of your own, in
    /// order with what is published; [`finish`](Self::finish) ends the stream. What the peer sends is
    /// discarded. A comment is sent when nothing else was for
    /// [`ping_interval`](crate::Config::ping_interval). A peer that lags is treated as a WebSocket is; for
    /// lack of a Close frame, its connection ends. [`Event::Closed`](crate::Event::Closed) comes once for
    /// each stream.
    ///
    /// A request for a head gets the head alone, and the stream is finished at once.
    ///
    /// # Errors
    ///
    /// See [`RespondError`].
    pub fn event_stream(&mut self, id: RequestId, response: Response) -> Result<(), RespondError> {
        let add = |response: Response, (name, value): (&str, &str)| match response.has(name) {
            true => response,
            false => response.header(name, value),
        };
        let response = FIELDS.into_iter().fold(response, add);
        self.begin_stream(id, &response, |connection, commons| {
            let has_begun = connection.begin_events(&response, commons);
            if has_begun {
                connection.write_events(response.body_bytes(), commons);
            }
            has_begun
        })?;
        if self.is_shutting_down() {
            self.close_for(id.conn, Cause::Shutdown);
        }
        Ok(())
    }

    /// From here on, publications come to this WebSocket in envelopes, so that a page knows their places
    /// and can resume: each is a text message of a JSON object.
    ///
    /// ```text
    /// {"topic":"scores","id":"3f2a00c4d1e9b007-42","data":"Goal!"}
    /// ```
    ///
    /// Bytes are in base64, under `base64` in place of `data`. What is sent directly comes as it is.
    /// Envelopes are the same bytes for all connections, and encoded once; they are not compressed. False
    /// if the connection is no WebSocket, or no more.
    pub fn use_envelopes(&mut self, id: ConnId) -> bool {
        self.take_in(id, Form::Envelopes)
    }

    /// Adds an encoding of the application: publications in a form of its own, as a protocol for which there
    /// are clients wants them. [`use_encoding`](Self::use_encoding) says which connections take it.
    ///
    /// # Errors
    ///
    /// [`EncodingsFull`] beyond [`EncodingId::ENCODINGS_MAX`] of them. None is ever taken back: a hub is
    /// given them when it begins.
    pub fn add_encoding(&mut self, encoder: Encoder) -> Result<EncodingId, EncodingsFull> {
        let id = EncodingId::nth(self.commons.encoders.len()).ok_or(EncodingsFull)?;
        self.commons.encoders.push(encoder);
        self.commons.close_codes.push(None);
        Ok(id)
    }

    /// Has connections that take this encoding closed with other codes than 1001 when the server ends
    /// ([`shutdown`](Self::shutdown)), and than 1013 when they read too slowly: what clients of its protocol do
    /// then goes by the code. False if this hub has no such encoding.
    pub fn set_close_codes(
        &mut self,
        encoding: EncodingId,
        shutdown: CloseCode,
        too_slow: CloseCode,
    ) -> bool {
        let codes = self.commons.close_codes.get_mut(encoding.index());
        codes.map(|codes| *codes = Some([shutdown, too_slow])).is_some()
    }

    /// The code that a connection is closed with, which has another one as a rule.
    pub(super) fn close_code(&self, id: ConnId, code: CloseCode, cause: Cause) -> CloseCode {
        let form = self.slot(id).map(|slot| slot.connection.flags.takes);
        let Some(Form::Own(own)) = form else { return code };
        match (self.commons.close_codes.get(own.index()), cause) {
            (Some(Some([shutdown, _])), Cause::Shutdown) => *shutdown,
            (Some(Some([_, too_slow])), Cause::Overflow) => *too_slow,
            (Some(_) | None, _) => code,
        }
    }

    /// From here on, publications of all its topics come to this connection in an encoding of the
    /// application. What is sent directly, or [written](Self::write), comes as it is, in order with them. The
    /// messages are the same bytes for all connections that take this encoding, and made once for a batch of
    /// publications; where compression was agreed on, those of publications of 64 bytes and more are compressed
    /// once, too.
    ///
    /// [`Encoder::Stream`] is for an [`event_stream`](Self::event_stream), which may have another content
    /// type: a body of lines, say. No comment of the hub's comes into it, so it has to be written to now and
    /// then: a peer that is gone without a word shows only so. The others are for WebSockets.
    ///
    /// False if the connection is not of that kind, or no more, or if this hub has no such encoding.
    pub fn use_encoding(&mut self, id: ConnId, encoding: EncodingId) -> bool {
        let form = Form::Own(encoding);
        match self.commons.encoders.get(encoding.index()) {
            Some(Encoder::Text(_) | Encoder::Binary(_)) => self.take_in(id, form),
            Some(Encoder::Stream { .. }) => self.stream_in(id, form),
            None => false,
        }
    }

    fn take_in(&mut self, id: ConnId, form: Form) -> bool {
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return false };
        if slot.connection.is_open() {
            slot.connection.flags.takes = form;
        }
        slot.connection.is_open()
    }

    /// Has an event stream take publications so; false if the connection is none.
    pub(super) fn stream_in(&mut self, id: ConnId, form: Form) -> bool {
        let slot = Self::slot_mut(&mut self.slots, id);
        let Some(slot) = slot.filter(|slot| slot.connection.is_event_stream()) else {
            return false;
        };
        slot.connection.flags.takes = form;
        true
    }

    pub(super) fn is_event_stream(&self, id: ConnId) -> bool {
        self.slot(id).is_some_and(|slot| slot.connection.is_event_stream())
    }

    /// What an event stream ends with that is closed, if its form has something for that and there is room.
    fn last_words(&self, id: ConnId, cause: Cause, (code, reason): (CloseCode, &str)) -> Vec<u8> {
        let mut words = Vec::new();
        let Some(connection) = self.slot(id).map(|slot| &slot.connection) else { return words };
        if let Form::Own(own) = connection.flags.takes
            && let Some(Encoder::Stream { close, .. }) = self.commons.encoders.get(own.index())
        {
            close(self.close_code(id, code, cause), reason, &mut words);
        }
        let waits = connection.outbox.direct_bytes();
        if words.len().saturating_add(waits) > self.commons.config.send_queue_bytes_max {
            words.clear();
        }
        words
    }

    /// Ends an event stream, behind all that is due to it.
    pub(super) fn end_events(
        &mut self,
        id: ConnId,
        cause: Cause,
        closed: Option<(CloseCode, &str)>,
    ) {
        let words = closed.map(|closed| self.last_words(id, cause, closed)).unwrap_or_default();
        self.encode_joint(id);
        let is_joint =
            self.slot(id).is_some_and(|slot| slot.connection.encoding() == Encoding::JointEvents);
        // Behind the end, its events would have no places.
        self.leave_topics(id, !is_joint);
        let Some(slot) = Self::slot_mut(&mut self.slots, id) else { return };
        slot.connection.end_events(&words, &mut self.commons);
        self.commons.tally.closed_overflow.add(matches!(cause, Cause::Overflow).into());
        self.told_next.push(Record::closed(id, cause));
        Self::mark_dirty(slot, &mut self.dirty, id);
        self.arm(id);
    }
}
