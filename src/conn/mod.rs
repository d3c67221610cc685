//! One connection: bytes and time in, events and an outbox out.
//!
//! It knows its state, its incomplete input and what waits to be sent. It **must not know** sockets,
//! clocks, topics or other connections: all that it may use of the world is [`Commons`].
//!
//! Methods sort as follows: *inputs* are named `handle_*`, *commands* are `accept`, `respond`,
//! `send`, `close`, `finish`; *outputs* are its outbox and what the inputs return.

mod batch;
mod commons;
mod cors;
#[cfg_attr(not(feature = "deflate"), path = "no_deflate.rs")]
mod deflate;
mod encoding;
mod events;
mod http;
mod incomplete;
mod input;
mod outbox;
mod reader;
mod request;
mod state;
mod stream;
mod timeout;

use std::{mem, net::SocketAddr, time::Duration};

pub(crate) use batch::{Batch, DEFLATE_COST_MAX, Shared};
pub(crate) use commons::{Commons, TICK_BITS, Ticks};
pub(crate) use cors::{allows_origin, origin_refusal, preflight};
pub(crate) use deflate::Deflation;
pub(crate) use encoding::{Encoding, Form, Source};
use http::{Http, RequestProgress};
pub(crate) use outbox::{Outbox, OutboxSlot};
use state::{Flow, Liveness};
pub(crate) use state::{Flushed, LastWords, Outcome, State, Unread, WorkFlags};
pub(crate) use stream::CHUNK_BYTES;

use crate::{
    event::{Cause, ConnId, Events, Record, Span},
    wire::{
        CloseCode, OpCode, Response, close_payload, encode_accept, encode_frame, encode_message,
    },
};

/// What the peer is told when the application failed over what it sent.
pub(crate) const PANICKED: &str = "the server failed";
/// What a peer is told that did not answer a Ping in time.
const SILENT: &str = "no answer to Ping";

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) state: State,
    pub(crate) outbox: OutboxSlot,
    /// What was agreed on about compression.
    pub(crate) deflation: Deflation,
    flow: Flow,
    pub(crate) flags: WorkFlags,
    /// Which connection of its place it is. The hub notes it here, where it fills what would be padding.
    pub(crate) generation: u32,
}

impl Connection {
    pub(crate) fn new(peer: Option<SocketAddr>, is_proxied: bool, commons: &Commons) -> Self {
        let deadline = commons.now.after(commons.config.handshake_timeout);
        Self {
            state: State::Handshake { http: Box::new(Http::new(peer, is_proxied)), deadline },
            outbox: OutboxSlot::default(),
            deflation: Deflation::default(),
            flow: Flow::Clear,
            flags: WorkFlags::default(),
            generation: 0,
        }
    }

    /// Whether input is of use now. If not, it stays in the kernel and holds the peer back.
    pub(crate) fn wants_input(&self) -> bool {
        match self.state {
            State::Handshake { .. }
            | State::Streaming { .. }
            | State::Events { .. }
            | State::Open { .. }
            | State::Closing { .. }
            | State::Draining { .. } => true,
            State::Deciding { .. }
            | State::Responding { .. }
            | State::Ending { .. }
            | State::Closed { .. } => false,
        }
    }

    /// Whether the application's messages are taken.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. } | State::Ending { .. })
    }

    /// Whether the application may be told that there is room.
    pub(crate) fn takes_output(&self) -> bool {
        self.takes_publications() || self.is_streaming()
    }

    /// Whether it may subscribe to topics.
    pub(crate) fn takes_publications(&self) -> bool {
        self.is_open() || self.is_event_stream()
    }

    /// How it takes publications.
    #[inline]
    pub(crate) fn encoding(&self) -> Encoding {
        self.flags.takes.encoding(self.deflation.takes_shared())
    }

    /// Goes on with a request in what is buffered already.
    pub(crate) fn advance_http(
        &mut self,
        id: ConnId,
        events: &mut Events,
        commons: &mut Commons,
    ) -> Outcome {
        let State::Handshake { http, deadline } = &mut self.state else { return Outcome::Same };
        match http.advance(commons) {
            RequestProgress::Incomplete if http.paused && http.is_begun() => {
                // The deadline is absolute: only the first byte after a pause changes it.
                http.paused = false;
                *deadline = commons.now.after(commons.config.handshake_timeout);
                Outcome::Changed
            }
            RequestProgress::Incomplete => {
                // What has come of a body has earned it time, which its timer learns when it is over.
                *deadline = http.body_deadline(&commons.config).unwrap_or(*deadline);
                Outcome::Same
            }
            RequestProgress::Asked(asked) => {
                http.paused = false;
                let deadline = commons.now.after(match asked.is_head {
                    false => commons.config.answer_timeout,
                    // The time for a body runs on while its head is with the application.
                    true => commons.config.handshake_timeout,
                });
                let Some(http) = self.take_http() else { return Outcome::Same };
                let is_preflight = cors::is_preflight(&commons.config, &asked.request);
                if !is_preflight {
                    events.record_request(http.request_id(id), &asked.request, asked.is_head);
                }
                self.state = State::Deciding { http, asked, deadline };
                if is_preflight { Outcome::Preflight } else { Outcome::Changed }
            }
            RequestProgress::Refused { response, head_only } => {
                self.refuse(id, response, head_only, events, commons)
            }
        }
    }

    /// Refuses a request of which the application has heard no more than the head, and tells it so.
    fn refuse(
        &mut self,
        id: ConnId,
        response: Response,
        head_only: bool,
        events: &mut Events,
        commons: &mut Commons,
    ) -> Outcome {
        self.record_gone(id, &mut events.records);
        let State::Handshake { http, .. } = &self.state else { return Outcome::Same };
        let peer = http.peer();
        let outcome = self.answer_itself(&response, head_only, commons);
        events.record_refused(peer, response);
        outcome
    }

    /// Answers a request in the application's place, and ends the connection with that.
    fn answer_itself(
        &mut self,
        response: &Response,
        head_only: bool,
        commons: &mut Commons,
    ) -> Outcome {
        commons.tally.handshakes_refused.add(1);
        self.write_response(response, head_only, false, commons);
        Outcome::Changed
    }

    /// Answers the request with 101 and opens the connection (RFC 6455 §4.2.2). Gives the input
    /// that came after the request: the peer's first frames.
    pub(crate) fn accept(
        &mut self,
        id: ConnId,
        subprotocol: Option<&str>,
        headers: &[(&str, &str)],
        commons: &mut Commons,
    ) -> Vec<u8> {
        let State::Deciding { http, asked, .. } = &mut self.state else { return Vec::new() };
        Self::note_answered(asked, commons);
        let rest = mem::take(&mut http.buffer);
        if let Some(upgrade) = &asked.upgrade {
            let (deflation, extension) = Deflation::negotiate(&asked.request, commons);
            self.deflation = deflation;
            let subprotocol = subprotocol.unwrap_or_default();
            let outbox = self.outbox.or_spare(commons);
            outbox.push_http(commons, |out| {
                encode_accept(out, upgrade, subprotocol, &extension, headers);
            });
        }
        commons.tally.upgrades.add(1);
        let heard = commons.now.before(first_ping_jitter(id, commons.config.ping_interval));
        let silence = Liveness::Heard(heard);
        self.state = State::Open { partial: None, silence, last_message: commons.now };
        rest
    }

    /// Answers the request as plain HTTP. Another request may follow if this one allows it, and if it
    /// `may_go_on`.
    pub(crate) fn respond(&mut self, response: &Response, may_go_on: bool, commons: &mut Commons) {
        let State::Deciding { asked, .. } = &self.state else { return };
        Self::note_answered(asked, commons);
        let head_only = asked.request.method() == "HEAD";
        // A refused upgrade always ends the connection: a proxy may take it for a tunnel already.
        let keep_alive = may_go_on && asked.request.keep_alive() && asked.upgrade.is_none();
        self.write_response(response, head_only, keep_alive, commons);
    }

    fn write_response(
        &mut self,
        response: &Response,
        head_only: bool,
        keep_alive: bool,
        commons: &mut Commons,
    ) {
        let request = match &self.state {
            State::Handshake { http, .. } => http.headed.as_ref(),
            State::Deciding { asked, .. } => Some(&*asked.request),
            State::Responding { .. }
            | State::Streaming { .. }
            | State::Events { .. }
            | State::Open { .. }
            | State::Ending { .. }
            | State::Closing { .. }
            | State::Draining { .. }
            | State::Closed { .. } => None,
        };
        let more = cors::fields(&commons.config, request, response);
        let outbox = self.outbox.or_spare(commons);
        let date = mem::take(&mut commons.date);
        outbox.push_http(commons, |out| {
            response.encode(out, &date, &more, head_only, !keep_alive);
        });
        commons.date = date;
        let Some(mut http) = self.take_http() else { return };
        http.headed = None;
        self.begin_responding(http, keep_alive, commons);
    }

    /// All of a plain HTTP answer is queued.
    fn begin_responding(&mut self, http: Box<Http>, keep_alive: bool, commons: &Commons) {
        let deadline = commons.now.after(commons.config.answer_timeout);
        self.state = State::Responding { http, keep_alive, written: 0, deadline };
    }

    /// All that waited is written. Whether nothing is to be noted then, as most often.
    #[inline]
    pub(crate) fn is_calm(&mut self, commons: &mut Commons) -> bool {
        self.outbox.rest_if_empty(commons)
            && self.flow == Flow::Clear
            && !self.flags.has(WorkFlags::BEHIND)
            && matches!(self.state, State::Open { .. } | State::Events { .. })
    }

    /// Whether the kernel takes nothing for the connection now.
    #[inline]
    pub(crate) fn is_blocked(&self) -> bool {
        self.flow == Flow::Blocked
    }

    /// What is sent next goes behind all that was published before the hub's clock showed `clock`.
    pub(crate) fn order_behind(&mut self, clock: u64, commons: &mut Commons) {
        self.outbox.or_spare(commons).mark(clock, commons);
        self.deflation.forget_sent();
    }

    /// A message goes out.
    #[inline]
    pub(crate) fn note_message(&mut self, now: Ticks) {
        if let State::Open { last_message, .. } | State::Events { last_message, .. } =
            &mut self.state
        {
            *last_message = now;
        }
    }

    /// Queues a message, compressed if it `may_deflate` and that was agreed on; the caller has
    /// checked that there is room.
    #[inline]
    pub(crate) fn send(
        &mut self,
        opcode: OpCode,
        payload: &[u8],
        may_deflate: bool,
        commons: &mut Commons,
    ) {
        self.note_message(commons.now);
        if may_deflate && self.deflation.is_on() && self.send_deflated(opcode, payload, commons) {
            return;
        }
        let outbox = self.outbox.or_spare(commons);
        outbox.push(commons, |out| encode_message(out, opcode, false, payload));
    }

    /// Queues a message compressed, if that makes it shorter; true if so.
    #[inline(never)]
    fn send_deflated(&mut self, opcode: OpCode, payload: &[u8], commons: &mut Commons) -> bool {
        let Some(deflated) = self.deflation.compress(payload, commons) else { return false };
        let outbox = self.outbox.or_spare(commons);
        outbox.push(commons, |out| encode_message(out, opcode, true, &deflated));
        commons.recycle_buffer(deflated);
        true
    }

    /// Sends Close behind what is queued, if the connection is open (§7.1.2).
    pub(crate) fn close(
        &mut self,
        code: CloseCode,
        reason: &str,
        cause: Cause,
        commons: &mut Commons,
    ) {
        let State::Open { partial, .. } = &mut self.state else { return };
        let partial = partial.take();
        self.deflation.forget_received(commons);
        self.push_close(code, reason, commons);
        let deadline = commons.now.after(commons.config.close_timeout);
        self.state = State::Closing { partial, cause, written: 0, deadline };
    }

    fn push_close(&mut self, code: CloseCode, reason: &str, commons: &mut Commons) {
        let outbox = self.outbox.or_spare(commons);
        outbox.push(commons, |out| {
            encode_frame(out, OpCode::Close, &close_payload(code.get(), reason));
        });
    }

    /// Says the last words of `Ending` and begins to drain.
    pub(crate) fn finish(&mut self, commons: &mut Commons) {
        let State::Ending { last, .. } = &mut self.state else { return };
        match mem::replace(last, LastWords::Nothing) {
            LastWords::Echo(said) => {
                let outbox = self.outbox.or_spare(commons);
                let said = said.as_deref().map_or(&[][..], |said| said);
                outbox.push(commons, |out| encode_frame(out, OpCode::Close, said));
            }
            LastWords::Fail(error) => {
                self.push_close(error.close_code(), &error.to_string(), commons);
            }
            LastWords::Shed => {
                self.push_close(CloseCode::TRY_AGAIN_LATER, incomplete::FULL, commons);
            }
            LastWords::ShedWindow => {
                self.push_close(CloseCode::TRY_AGAIN_LATER, incomplete::WINDOWS_FULL, commons);
            }
            // No code says that a peer is silent. This one makes no client's fault of it, and clients
            // that come back after a loss come back.
            LastWords::Silent => self.push_close(CloseCode::INTERNAL_ERROR, SILENT, commons),
            LastWords::Panicked => self.push_close(CloseCode::INTERNAL_ERROR, PANICKED, commons),
            LastWords::Nothing => {}
        }
        self.drain(commons);
    }

    /// What follows when all that waited is written.
    pub(crate) fn handle_flushed(&mut self, commons: &Commons) -> Flushed {
        match &mut self.state {
            State::Responding { keep_alive: true, .. } => {
                let Some(mut http) = self.take_http() else { return Flushed::Idle };
                http.paused = true;
                let deadline = commons.now.after(commons.config.keep_alive_timeout);
                self.state = State::Handshake { http, deadline };
                Flushed::NextRequest
            }
            State::Responding { keep_alive: false, .. } => {
                let deadline = commons.now.after(commons.config.linger_timeout);
                self.state =
                    State::Draining { fin_sent: false, discarded: 0, written: 0, deadline };
                Flushed::SendFin
            }
            State::Draining { fin_sent: false, .. } => Flushed::SendFin,
            State::Handshake { .. }
            | State::Deciding { .. }
            | State::Streaming { .. }
            | State::Events { .. }
            | State::Open { .. }
            | State::Ending { .. }
            | State::Closing { .. }
            | State::Draining { fin_sent: true, .. }
            | State::Closed { .. } => Flushed::Idle,
        }
    }

    /// FIN is out. What the peer still sends is discarded for a while.
    pub(crate) fn handle_finished(&mut self, commons: &Commons) {
        if let State::Draining { fin_sent, deadline, .. } = &mut self.state {
            *fin_sent = true;
            *deadline = commons.now.after(commons.config.linger_timeout);
        }
    }

    /// Reads no further frame; the last words are for the start of the next turn.
    fn end_open(&mut self, last: LastWords, commons: &mut Commons) -> Outcome {
        self.leave_open(commons);
        self.state = State::Ending { last, closed: false };
        Outcome::Over
    }

    fn drain(&mut self, commons: &mut Commons) {
        self.leave_open(commons);
        let deadline = commons.now.after(commons.config.close_timeout);
        self.state = State::Draining { fin_sent: false, discarded: 0, written: 0, deadline };
    }

    /// Forgets everything but the slot itself.
    fn end(&mut self, commons: &mut Commons) -> Outcome {
        self.leave_open(commons);
        self.outbox.clear(commons);
        self.state = State::Closed { aborted: false };
        Outcome::Over
    }

    /// Gives back what is held of an incomplete message, and for the next one.
    fn leave_open(&mut self, commons: &mut Commons) {
        self.deflation.forget_received(commons);
        if let State::Open { partial, .. } | State::Closing { partial, .. } = &mut self.state
            && let Some(mut partial) = partial.take()
        {
            partial.reset();
            commons.recycle_partial(partial);
        }
    }

    fn take_http(&mut self) -> Option<Box<Http>> {
        match mem::replace(&mut self.state, State::Closed { aborted: false }) {
            State::Handshake { http, .. }
            | State::Deciding { http, .. }
            | State::Responding { http, .. }
            | State::Streaming { http, .. } => Some(http),
            other => {
                self.state = other;
                None
            }
        }
    }
}

/// Connections that came at once are not pinged at once: each first Ping comes up to half an interval
/// early, spread by the id.
fn first_ping_jitter(id: ConnId, interval: Option<Duration>) -> Duration {
    let spread = id.index.wrapping_mul(0x9E37_79B9) >> 16;
    interval.unwrap_or_default() / (1 << 17) * spread
}

fn record_closed(
    id: ConnId,
    cause: Cause,
    text: Span,
    records: &mut Vec<Record>,
    commons: &Commons,
) {
    match cause {
        Cause::Protocol(_) => commons.tally.closed_protocol.add(1),
        Cause::TimedOut | Cause::Idle => commons.tally.closed_timeout.add(1),
        Cause::Overflow => commons.tally.closed_overflow.add(1),
        Cause::Peer { .. }
        | Cause::Local { .. }
        | Cause::Aborted
        | Cause::Lost
        | Cause::ProcessFull
        | Cause::Shutdown => {}
    }
    records.push(Record::Closed { id, cause, text });
}
