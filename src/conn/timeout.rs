//! What time does to a connection.

use super::{
    Commons, Connection, Flow, Form, LastWords, Liveness, Outcome, State, Ticks, WorkFlags,
    record_closed,
};
use crate::{
    event::{Cause, ConnId, Events, Span},
    wire::{OpCode, Response, encode_frame},
};

/// Bytes of what is queued before a Close that the kernel is to take within each `close_timeout`, and of an
/// answer within each `answer_timeout`. Otherwise a peer that reads a byte now and then would hold a
/// connection for ever.
const STEP_BYTES: u32 = 16 * 1024;

impl Connection {
    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest, as things stand.
    pub(crate) fn next_timeout(&self, commons: &Commons) -> Option<Ticks> {
        match &self.state {
            State::Handshake { deadline, .. }
            | State::Deciding { deadline, .. }
            | State::Responding { deadline, .. }
            | State::Closing { deadline, .. }
            | State::Draining { deadline, .. } => Some(*deadline),
            State::Open { silence, last_message, .. } => {
                let config = &commons.config;
                let quiet = match silence {
                    Liveness::Pinged(at) => Some(at.after(config.pong_timeout)),
                    Liveness::Blocked(at) => Some(at.after(config.blocked_timeout)),
                    Liveness::Heard(at) => config.ping_interval.map(|interval| at.after(interval)),
                };
                let idle = config.idle_timeout.map(|timeout| last_message.after(timeout));
                [quiet, idle].into_iter().flatten().min()
            }
            State::Streaming { blocked, .. } => {
                blocked.map(|at| at.after(commons.config.answer_timeout))
            }
            State::Events { last_message, blocked } => match blocked {
                Some(at) => Some(at.after(commons.config.blocked_timeout)),
                // A comment is none of its form.
                None if matches!(self.flags.takes, Form::Own(_)) => None,
                None => commons.config.ping_interval.map(|interval| last_message.after(interval)),
            },
            State::Ending { .. } | State::Closed { .. } => None,
        }
    }

    /// The time that [`next_timeout`](Self::next_timeout) gave may have come.
    pub(crate) fn handle_timeout(
        &mut self,
        id: ConnId,
        events: &mut Events,
        commons: &mut Commons,
    ) -> Outcome {
        if self.next_timeout(commons).is_none_or(|due| commons.now < due) {
            return Outcome::Same;
        }
        match &self.state {
            // What came in time may be unread still, behind a crowd.
            State::Handshake { .. } if self.flags.readable() => Outcome::Same,
            State::Handshake { http, .. } if http.is_begun() => {
                let head_only = http.is_head();
                let text = "the request did not come whole in time";
                self.refuse(id, Response::text(408, text), head_only, events, commons)
            }
            // The application had no turn to answer it in.
            State::Deciding { asked, .. } if asked.is_head => Outcome::Same,
            State::Deciding { asked, .. } => {
                let head_only = asked.request.method() == "HEAD";
                let text = "the application did not answer in time";
                self.record_gone(id, &mut events.records);
                self.answer_itself(&Response::text(503, text), head_only, commons)
            }
            State::Open { .. } => self.time_out_open(id, events, commons),
            State::Events { .. } => self.time_out_events(id, events, commons),
            State::Handshake { .. }
            | State::Responding { .. }
            | State::Streaming { .. }
            | State::Ending { .. }
            | State::Closing { .. }
            | State::Draining { .. }
            | State::Closed { .. } => {
                self.handle_lost(id, Cause::TimedOut, &mut events.records, commons)
            }
        }
    }

    /// The network takes nothing more, or holds something that the kernel does not take.
    pub(crate) fn handle_blocked(&mut self, now: Ticks) {
        if self.flow != Flow::Blocked {
            if let State::Open { silence, .. } = &mut self.state {
                *silence = Liveness::Blocked(now);
            } else if let State::Streaming { blocked, .. } | State::Events { blocked, .. } =
                &mut self.state
            {
                *blocked = Some(now);
            }
        }
        self.flow = Flow::Blocked;
        if let Some(outbox) = self.outbox.get_mut() {
            outbox.compact();
        }
    }

    /// The kernel takes more again: the peer has read. This counts as a sign of life, because a Ping may
    /// be queued behind much that the peer has to read first.
    pub(crate) fn handle_room(&mut self, now: Ticks) {
        self.flow = Flow::Recovering;
        if let State::Open { silence, .. } = &mut self.state {
            *silence = Liveness::Heard(now);
        } else if let State::Streaming { blocked, .. } | State::Events { blocked, .. } =
            &mut self.state
        {
            *blocked = None;
        }
    }

    /// So many bytes were written; with `is_over`, nothing is left. An answer and a closing connection
    /// have their time anew from each step, and the latter from the last byte, which is the Close's: no
    /// peer can answer it before.
    /// True if the connection was blocked and nothing waits in the outbox any more.
    pub(crate) fn handle_written(
        &mut self,
        bytes: usize,
        is_over: bool,
        commons: &mut Commons,
    ) -> bool {
        let is_empty = self.outbox.rest_if_empty(commons);
        let has_recovered = is_empty && self.flow == Flow::Recovering;
        self.flow = match (self.flow, is_empty) {
            (Flow::Blocked, _) => Flow::Blocked,
            (_, true) => Flow::Clear,
            (Flow::Recovering, false) => Flow::Recovering,
            (Flow::Clear | Flow::Backlog, false) => Flow::Backlog,
        };
        let config = &commons.config;
        let (written, deadline, timeout) = match &mut self.state {
            State::Closing { written, deadline, .. }
            | State::Draining { fin_sent: false, written, deadline, .. } => {
                (written, deadline, config.close_timeout)
            }
            State::Responding { written, deadline, .. } => {
                (written, deadline, config.answer_timeout)
            }
            State::Handshake { .. }
            | State::Deciding { .. }
            | State::Streaming { .. }
            | State::Events { .. }
            | State::Open { .. }
            | State::Ending { .. }
            | State::Draining { fin_sent: true, .. }
            | State::Closed { .. } => return has_recovered,
        };
        *written = written.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if is_over || *written >= STEP_BYTES {
            *written = 0;
            *deadline = commons.now.after(timeout);
        }
        has_recovered
    }

    /// The server ends: what is queued has time until the server's deadline.
    pub(crate) fn put_off_timeout(&mut self, commons: &Commons) {
        if (self.outbox.bytes() > 0
            || self.flags.has(WorkFlags::BEHIND)
            || self.flow != Flow::Clear)
            && let State::Closing { deadline, .. }
            | State::Draining { fin_sent: false, deadline, .. } = &mut self.state
        {
            *deadline = commons.now.after(commons.config.close_timeout);
        }
    }

    fn time_out_open(&mut self, id: ConnId, events: &mut Events, commons: &mut Commons) -> Outcome {
        let State::Open { silence, last_message, .. } = &mut self.state else {
            return Outcome::Same;
        };
        let config = &commons.config;
        // What has come since may be unread still, behind a crowd.
        let unread = self.flags.readable();
        if let Liveness::Pinged(at) = silence
            && commons.now >= at.after(config.pong_timeout)
        {
            if unread {
                return Outcome::Same;
            }
            record_closed(id, Cause::TimedOut, Span::Empty, &mut events.records, commons);
            return self.end_open(LastWords::Silent, commons);
        }
        let idle = config.idle_timeout.map(|timeout| last_message.after(timeout));
        if idle.is_some_and(|due| commons.now >= due) {
            return if unread { Outcome::Same } else { Outcome::Idle };
        }
        if let Liveness::Blocked(_) = silence {
            return Outcome::Stuck;
        }
        // §5.5.2: a Ping may serve as a keepalive.
        *silence = Liveness::Pinged(commons.now);
        let outbox = self.outbox.or_spare(commons);
        outbox.push(commons, |out| encode_frame(out, OpCode::Ping, &[]));
        commons.tally.pings_sent.add(1);
        Outcome::Changed
    }
}

#[cfg(test)]
mod tests;
