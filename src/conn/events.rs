//! An event stream: what topics publish as server-sent events.

use super::{Commons, Connection, Flow, Form, Outcome, State};
use crate::{
    event::{Cause, ConnId, Events},
    wire::{HEARTBEAT, Response},
};

impl Connection {
    /// Answers with the head of an event stream, which ends with the connection: so its bytes are the same
    /// in each version of HTTP. False if the request is for a head, or its status has no body.
    pub(crate) fn begin_events(&mut self, response: &Response, commons: &mut Commons) -> bool {
        if self.begin_body(response, false, commons).is_none() {
            return false;
        }
        self.flags.takes = Form::Events;
        let blocked = (self.flow == Flow::Blocked).then_some(commons.now);
        self.state = State::Events { last_message: commons.now, blocked };
        true
    }

    #[inline]
    pub(crate) fn is_event_stream(&self) -> bool {
        matches!(self.state, State::Events { .. })
    }

    /// Queues events of the application; the caller has checked that there is room.
    pub(crate) fn write_events(&mut self, bytes: &[u8], commons: &mut Commons) {
        self.note_message(commons.now);
        let outbox = self.outbox.or_spare(commons);
        outbox.push_http(commons, |out| out.extend_from_slice(bytes));
    }

    /// Ends the stream with these words, and the connection with it, behind what is queued or due.
    pub(crate) fn end_events(&mut self, words: &[u8], commons: &mut Commons) {
        if !words.is_empty() {
            self.write_events(words, commons);
        }
        let deadline = commons.now.after(commons.config.close_timeout);
        self.state = State::Draining { fin_sent: false, discarded: 0, written: 0, deadline };
    }

    /// Nothing was written for a while: a byte keeps the way open, and finds out whether the peer is there.
    /// Or the kernel has taken nothing for too long.
    pub(super) fn time_out_events(
        &mut self,
        id: ConnId,
        events: &mut Events,
        commons: &mut Commons,
    ) -> Outcome {
        if matches!(self.state, State::Events { blocked: Some(_), .. }) {
            return self.handle_lost(id, Cause::Overflow, &mut events.records, commons);
        }
        self.write_events(HEARTBEAT, commons);
        commons.tally.pings_sent.add(1);
        Outcome::Changed
    }
}
