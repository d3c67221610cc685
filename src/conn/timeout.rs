//! What time does to a connection.

use super::{Commons, Connection, Outcome, Silence, State, Ticks};
use crate::{
    event::{Cause, ConnId, Events},
    wire::{OpCode, Response, encode_frame},
};

/// Of what is queued before a Close, the kernel is to take so much within each `close_timeout`: whoever
/// reads a byte now and then would hold a closed connection for ever.
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
                    Silence::Pinged(at) => Some(at.after(config.pong_timeout)),
                    Silence::Heard(at) => config.ping_interval.map(|interval| at.after(interval)),
                };
                let idle = config.idle_timeout.map(|timeout| last_message.after(timeout));
                [quiet, idle].into_iter().flatten().min()
            }
            State::Ending { .. } | State::Closed => None,
        }
    }

    /// A moment that [`next_timeout`](Self::next_timeout) named may have come.
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
            // Behind a crowd, what came in time is still to be read.
            State::Handshake { .. } if self.notes.readable() => Outcome::Same,
            State::Handshake { http, .. } if http.is_begun() => {
                let head_only = http.is_head();
                let text = "the request did not come whole in time";
                self.time_out_request(408, text, head_only, commons)
            }
            State::Deciding { asked, .. } => {
                let head_only = asked.request.method() == "HEAD";
                let text = "the application did not answer in time";
                self.record_gone(id, events);
                self.time_out_request(503, text, head_only, commons)
            }
            State::Open { .. } => self.time_out_open(id, events, commons),
            State::Handshake { .. }
            | State::Responding { .. }
            | State::Ending { .. }
            | State::Closing { .. }
            | State::Draining { .. }
            | State::Closed => self.handle_lost(id, Cause::TimedOut, events, commons),
        }
    }

    /// The kernel takes more, after it was full: the peer has read. A Ping may be queued behind much, and
    /// it cannot answer that before.
    pub(crate) fn handle_room(&mut self, now: Ticks) {
        if let State::Open { silence, .. } = &mut self.state {
            *silence = Silence::Heard(now);
        }
    }

    /// It was written to. A closing connection has its time again from each step of its queue, and from
    /// the last byte, which is the Close's: no peer can answer it before.
    pub(crate) fn handle_written(&mut self, commons: &Commons) {
        if let State::Closing { left, deadline, .. }
        | State::Draining { fin_sent: false, left, deadline, .. } = &mut self.state
        {
            let now_left = u32::try_from(self.outbox.bytes()).unwrap_or(u32::MAX);
            if now_left == 0 || left.saturating_sub(now_left) >= STEP_BYTES {
                *left = now_left;
                *deadline = commons.now.after(commons.config.close_timeout);
            }
        }
    }

    /// The whole server ends, and what is queued has until its deadline.
    pub(crate) fn put_off_timeout(&mut self, commons: &Commons) {
        if (self.outbox.bytes() > 0 || self.backlog)
            && let State::Closing { deadline, .. }
            | State::Draining { fin_sent: false, deadline, .. } = &mut self.state
        {
            *deadline = commons.now.after(commons.config.close_timeout);
        }
    }

    fn time_out_request(
        &mut self,
        status: u16,
        text: &str,
        head_only: bool,
        commons: &mut Commons,
    ) -> Outcome {
        commons.tally.handshakes_refused.add(1);
        self.write_response(&Response::text(status, text), head_only, false, commons);
        Outcome::Changed
    }

    fn time_out_open(&mut self, id: ConnId, events: &mut Events, commons: &mut Commons) -> Outcome {
        let State::Open { silence, last_message, .. } = &mut self.state else {
            return Outcome::Same;
        };
        let config = &commons.config;
        // Behind a crowd, what came since is still to be read.
        let unread = self.notes.readable();
        if let Silence::Pinged(at) = silence
            && commons.now >= at.after(config.pong_timeout)
        {
            if unread {
                return Outcome::Same;
            }
            return self.handle_lost(id, Cause::TimedOut, events, commons);
        }
        let idle = config.idle_timeout.map(|timeout| last_message.after(timeout));
        if idle.is_some_and(|due| commons.now >= due) {
            return if unread { Outcome::Same } else { Outcome::Idle };
        }
        // §5.5.2: a Ping may serve as a keepalive.
        *silence = Silence::Pinged(commons.now);
        let outbox = self.outbox.or_spare(commons);
        outbox.push(commons, |out| encode_frame(out, OpCode::Ping, &[]));
        commons.tally.pings_sent.add(1);
        Outcome::Changed
    }
}
