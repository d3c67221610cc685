//! What comes from a peer: bytes, their end, and the end of the connection.

use std::ops::Range;

use super::{
    Commons, Connection, LastWords, Liveness, Outcome, State,
    reader::{End, Reader, read_usual_frames},
    record_closed,
};
use crate::{
    event::{Cause, ConnId, Events, Record, Span},
    wire::close_payload,
};

/// Bytes of input that a peer is to send within each `linger_timeout` to be waited for on.
const LINGER_STEP_BYTES: usize = 256 * 1024;

impl Connection {
    /// Takes `events.buffer[input]`, to its last byte. Whole messages are taken here. Anything else is
    /// left to a function of its own, so that its state is not set up for whole messages.
    #[inline]
    pub(crate) fn handle_input(
        &mut self,
        id: ConnId,
        events: &mut Events,
        mut input: Range<usize>,
        commons: &mut Commons,
    ) -> Outcome {
        let mut unchanged = Outcome::Same;
        if let State::Open { partial, silence, last_message } = &mut self.state {
            match silence {
                Liveness::Heard(at) => *at = commons.now,
                Liveness::Pinged(_) => {
                    *silence = Liveness::Heard(commons.now);
                    // The timer is set for the answer, which may be later than the next Ping.
                    unchanged = Outcome::Changed;
                }
                Liveness::Blocked(_) => {}
            }
            if partial.is_none() {
                let before = events.records.len();
                input.start = read_usual_frames(id, events, commons, input.clone());
                if events.records.len() > before {
                    *last_message = commons.now;
                }
                if input.is_empty() {
                    return unchanged;
                }
            }
        }
        self.handle_other_input(id, events, input, unchanged, commons)
    }

    #[inline(never)]
    fn handle_other_input(
        &mut self,
        id: ConnId,
        events: &mut Events,
        input: Range<usize>,
        unchanged: Outcome,
        commons: &mut Commons,
    ) -> Outcome {
        let (partial, last_message) = match &mut self.state {
            State::Handshake { http, .. } => {
                let bytes = input.len();
                http.buffer.extend_from_slice(&events.buffer[input]);
                let outcome = self.advance_http(id, events, commons);
                self.note_incomplete(bytes, commons);
                return outcome;
            }
            State::Open { partial, last_message, .. } => (partial, Some(last_message)),
            State::Closing { partial, .. } => (partial, None),
            State::Draining { fin_sent, discarded, deadline, .. } => {
                let steps = *discarded / LINGER_STEP_BYTES;
                *discarded += input.len();
                if *discarded > commons.config.linger_bytes_max {
                    return self.end(commons);
                }
                if !*fin_sent || *discarded / LINGER_STEP_BYTES == steps {
                    return Outcome::Same;
                }
                *deadline = commons.now.after(commons.config.linger_timeout);
                return Outcome::Changed;
            }
            State::Deciding { .. }
            | State::Responding { .. }
            | State::Streaming { .. }
            | State::Events { .. }
            | State::Ending { .. }
            | State::Closed { .. } => return Outcome::Same,
        };
        let before = events.records.len();
        let mut reader = Reader {
            id,
            events,
            commons,
            outbox: &mut self.outbox,
            deflation: &mut self.deflation,
            backlog: self.flow != super::Flow::Clear,
            quiet: last_message.is_none(),
            inflated: 0,
        };
        let read = reader.read(partial, input.start, input.end);
        if let Some(last_message) = last_message
            && events.records.len() > before
        {
            *last_message = commons.now;
        }
        self.note_incomplete(input.len(), commons);
        match read {
            Ok(at) if at < input.end => Outcome::Unread { at },
            Ok(_) => unchanged,
            Err(end) => self.end_reading(id, end, events, commons),
        }
    }

    /// The peer will send nothing more.
    pub(crate) fn handle_eof(
        &mut self,
        id: ConnId,
        events: &mut Events,
        commons: &mut Commons,
    ) -> Outcome {
        match &self.state {
            State::Open { .. } => {
                record_closed(id, Cause::Lost, Span::Empty, &mut events.records, commons);
                self.end_open(LastWords::Nothing, commons)
            }
            State::Closing { cause, .. } => {
                record_closed(id, *cause, Span::Empty, &mut events.records, commons);
                self.drain(commons);
                Outcome::Changed
            }
            State::Streaming { .. } | State::Events { .. } => {
                record_closed(id, Cause::Lost, Span::Empty, &mut events.records, commons);
                self.end(commons)
            }
            State::Handshake { .. } => {
                self.record_gone(id, &mut events.records);
                self.end(commons)
            }
            State::Draining { fin_sent: true, .. } => self.end(commons),
            State::Draining { fin_sent: false, .. }
            | State::Deciding { .. }
            | State::Responding { .. }
            | State::Ending { .. }
            | State::Closed { .. } => Outcome::Same,
        }
    }

    /// The connection is gone: reset, or stuck for good.
    pub(crate) fn handle_lost(
        &mut self,
        id: ConnId,
        cause: Cause,
        records: &mut Vec<Record>,
        commons: &mut Commons,
    ) -> Outcome {
        match &self.state {
            State::Open { .. } | State::Streaming { .. } | State::Events { .. } => {
                record_closed(id, cause, Span::Empty, records, commons);
            }
            State::Closing { cause, .. } => {
                record_closed(id, *cause, Span::Empty, records, commons);
            }
            State::Closed { .. } => return Outcome::Same,
            State::Deciding { .. } | State::Handshake { .. } => self.record_gone(id, records),
            State::Responding { .. } | State::Ending { .. } | State::Draining { .. } => {}
        }
        self.end(commons)
    }

    fn end_reading(
        &mut self,
        id: ConnId,
        end: End,
        events: &mut Events,
        commons: &mut Commons,
    ) -> Outcome {
        if let State::Closing { cause, .. } = self.state {
            // Whatever came, our Close is out already and there is no second one (§5.5.1).
            record_closed(id, cause, Span::Empty, &mut events.records, commons);
            self.leave_open(commons);
            self.drain(commons);
            return Outcome::Changed;
        }
        let (cause, text, last) = match end {
            End::Close { code, text } => {
                let said = |code| Box::new(close_payload(code, events.text(text)));
                let last = LastWords::Echo(code.map(said));
                (Cause::Peer { code: code.unwrap_or(1005) }, text, last)
            }
            End::Failed(error) => (Cause::Protocol(error), Span::Empty, LastWords::Fail(error)),
        };
        record_closed(id, cause, text, &mut events.records, commons);
        self.end_open(last, commons)
    }
}
