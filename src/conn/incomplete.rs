//! What a connection keeps of incomplete messages and of requests that have no answer yet, and how it is
//! closed for that.

use super::{Commons, Connection, LastWords, Outcome, State, http::Asked, record_closed};
use crate::{
    event::{Cause, ConnId, Events, Span},
    wire::Response,
};

/// The reason that such a connection is told.
pub(super) const FULL: &str = "the server is at incomplete_bytes_max";
/// The reason that a connection is told when its window is given up.
pub(super) const WINDOWS_FULL: &str = "the server is at deflate_windows_bytes_max";

impl Connection {
    /// Adds `bytes` to the estimate if anything incomplete is held; not how much was kept.
    #[inline]
    pub(super) fn note_incomplete(&mut self, bytes: usize, commons: &mut Commons) {
        let room = match &mut self.state {
            State::Open { partial: None, .. } => return,
            State::Open { partial: Some(partial), .. }
            | State::Closing { partial: Some(partial), .. } => partial.take_uncounted(),
            _ => 0,
        };
        if self.incomplete(commons).0 > 0 {
            commons.incomplete_bytes = commons.incomplete_bytes.saturating_add(bytes + room);
        }
    }

    /// Takes an answered request off the estimate, so that prompt answers do not trigger recounts.
    pub(super) fn note_answered(asked: &Asked, commons: &mut Commons) {
        commons.incomplete_bytes = commons.incomplete_bytes.saturating_sub(asked.held());
    }

    /// Gives back room that an incomplete message does not use.
    pub(crate) fn compact_incomplete(&mut self) {
        if let State::Open { partial: Some(partial), .. }
        | State::Closing { partial: Some(partial), .. } = &mut self.state
        {
            partial.compact();
        }
    }

    /// Bytes that are kept of what is incomplete or waits for its answer, and for how many ticks.
    pub(crate) fn incomplete(&self, commons: &Commons) -> (usize, usize) {
        match &self.state {
            State::Open { partial: Some(partial), .. }
            | State::Closing { partial: Some(partial), .. } => {
                let (bytes, began) = partial.held();
                (bytes, commons.now.since(began))
            }
            State::Handshake { http, deadline } => {
                let ends = commons.now.after(commons.config.handshake_timeout);
                let ticks = http.ticks_since_head(commons.now);
                (http.held(), ticks.unwrap_or_else(|| ends.since(*deadline)))
            }
            State::Deciding { http, asked, deadline } => {
                let ends = commons.now.after(commons.config.answer_timeout);
                (http.held() + asked.held(), ends.since(*deadline))
            }
            State::Responding { http, .. } => (http.held(), 0),
            State::Open { partial: None, .. }
            | State::Closing { partial: None, .. }
            | State::Streaming { .. }
            | State::Events { .. }
            | State::Ending { .. }
            | State::Draining { .. }
            | State::Closed { .. } => (0, 0),
        }
    }

    /// Whether input that was set aside is still of use.
    pub(crate) fn reads_frames(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::Closing { .. })
    }

    /// Gives up what is incomplete, and the connection with it, because the process has no room for it.
    pub(crate) fn shed_incomplete(
        &mut self,
        id: ConnId,
        events: &mut Events,
        commons: &mut Commons,
    ) -> Outcome {
        match &self.state {
            State::Open { .. } => {
                record_closed(id, Cause::ProcessFull, Span::Empty, &mut events.records, commons);
                self.end_open(LastWords::Shed, commons)
            }
            // It keeps what came until the answer is out, in the next turn.
            State::Handshake { http, .. } => {
                let head_only = http.is_head();
                self.refuse(id, Response::text(503, FULL), head_only, events, commons)
            }
            State::Deciding { asked, .. } => {
                let head_only = asked.request.method() == "HEAD";
                self.record_gone(id, &mut events.records);
                self.answer_itself(&Response::text(503, FULL), head_only, commons)
            }
            State::Responding { .. }
            | State::Streaming { .. }
            | State::Events { .. }
            | State::Ending { .. }
            | State::Closing { .. }
            | State::Draining { .. }
            | State::Closed { .. } => {
                self.handle_lost(id, Cause::ProcessFull, &mut events.records, commons)
            }
        }
    }

    /// Bytes that are kept of what the client sent compressed, and for how many ticks no message has
    /// come or gone.
    pub(crate) fn window(&self, commons: &Commons) -> (usize, usize) {
        match &self.state {
            State::Open { last_message, .. } => {
                (self.deflation.window_bytes(), commons.now.since(*last_message))
            }
            // They read no further message, and have given it back.
            State::Handshake { .. }
            | State::Deciding { .. }
            | State::Responding { .. }
            | State::Streaming { .. }
            | State::Events { .. }
            | State::Ending { .. }
            | State::Closing { .. }
            | State::Draining { .. }
            | State::Closed { .. } => (0, 0),
        }
    }

    /// Closes a connection because the process has no room for its window: without it, what the client sends
    /// next cannot be read.
    pub(crate) fn shed_window(
        &mut self,
        id: ConnId,
        events: &mut Events,
        commons: &mut Commons,
    ) -> Outcome {
        record_closed(id, Cause::ProcessFull, Span::Empty, &mut events.records, commons);
        self.end_open(LastWords::ShedWindow, commons)
    }

    /// Whether it waits for a next request of which nothing has come.
    pub(crate) fn is_idle_keep_alive(&self) -> bool {
        matches!(&self.state, State::Handshake { http, .. } if http.paused && !http.is_begun())
            && !self.flags.readable()
    }
}

#[cfg(test)]
mod tests;
