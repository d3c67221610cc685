//! Answering a request: accept it as a WebSocket, or answer it as plain HTTP.

use std::fmt;

use super::Hub;
use crate::{
    conn::allows_origin,
    event::{Cause, ConnId, Record, RequestId},
    wire::{InvalidHeader, Refusal, Request, Response, check_header, subprotocols},
};

/// How to accept a request: see [`Hub::accept`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Accept<'a> {
    /// The subprotocol to speak, one of those that the request offers (RFC 6455 §1.9).
    pub subprotocol: Option<&'a str>,
    /// Further header fields of the 101 response, names and values.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Why [`Hub::accept`] did not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcceptError {
    /// The request is answered already, timed out, or its connection is gone.
    Gone,
    /// The request asks for no WebSocket; it has been answered with 426.
    NotWebSocket,
    /// The request does not offer this subprotocol; it still waits for an answer.
    SubprotocolNotOffered,
    /// A header field is malformed or not the application's to set; the request still waits.
    InvalidHeader,
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AcceptError::Gone => {
                "the request is answered already, timed out, or its connection is gone"
            }
            AcceptError::NotWebSocket => "the request asks for no WebSocket",
            AcceptError::SubprotocolNotOffered => "the request does not offer this subprotocol",
            AcceptError::InvalidHeader => "a header field is malformed or not the application's",
        })
    }
}

impl std::error::Error for AcceptError {}

/// Why [`Hub::respond`] and [`Hub::refuse`] did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RespondError {
    /// The request is answered already, timed out, or its connection is gone.
    Gone,
    /// A header field of the response is invalid; the request still waits for an answer.
    InvalidHeader(InvalidHeader),
}

impl fmt::Display for RespondError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RespondError::Gone => {
                f.write_str("the request is answered already, timed out, or its connection is gone")
            }
            RespondError::InvalidHeader(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RespondError {}

impl Hub {
    /// Answers a request with 101: the connection is a WebSocket from here on (RFC 6455 §4.2.2).
    ///
    /// Messages to [`id.conn()`](RequestId::conn) and its subscriptions are taken at once;
    /// [`Event::Opened`](crate::Event::Opened) follows in the next batch. A request that asks for no
    /// WebSocket is answered with 426.
    ///
    /// # Errors
    ///
    /// See [`AcceptError`].
    pub fn accept(&mut self, id: RequestId, accept: Accept<'_>) -> Result<(), AcceptError> {
        let conn = id.conn;
        let slot = Self::slot_mut(&mut self.slots, conn).ok_or(AcceptError::Gone)?;
        let asked = slot.connection.asked(id).ok_or(AcceptError::Gone)?;
        if asked.upgrade.is_none() {
            self.commons.tally.handshakes_refused.add(1);
            let _ = self.respond(id, Response::from(Refusal::UpgradeMissing));
            return Err(AcceptError::NotWebSocket);
        }
        if let Some(chosen) = accept.subprotocol
            && !subprotocols(&asked.request).any(|offered| offered == chosen)
        {
            return Err(AcceptError::SubprotocolNotOffered);
        }
        if !accept.headers.iter().all(|(name, value)| {
            // §4.2.2: an extension or subprotocol that was not agreed on must not be answered.
            check_header(name, value).is_ok()
                && !name.eq_ignore_ascii_case("upgrade")
                && !name.get(..14).is_some_and(|start| start.eq_ignore_ascii_case("sec-websocket-"))
        }) {
            return Err(AcceptError::InvalidHeader);
        }
        if asked.gone {
            self.answered.insert(id);
        }
        let rest =
            slot.connection.accept(conn, accept.subprotocol, accept.headers, &mut self.commons);
        self.told_next.push(Record::Opened { id: conn });
        if rest.is_empty() {
            self.commons.recycle_buffer(rest);
        } else {
            slot.connection.notes.replaying = true;
            self.replays.push_back((conn, rest));
        }
        Self::mark_dirty(slot, &mut self.dirty, conn);
        Self::mark_readable(slot, &mut self.readable, conn);
        self.arm(conn);
        if self.is_shutting_down() {
            self.close_for(conn, Cause::Shutdown);
        }
        Ok(())
    }

    /// Whether [`Config::origins`](crate::Config::origins) lets the page that sent this request use this
    /// server. The server checks handshakes itself; an application should check plain requests that
    /// change something.
    pub fn allows_origin(&self, request: &Request) -> bool {
        allows_origin(&self.commons.config, request)
    }

    /// Answers a request as plain HTTP. The connection then takes the peer's next request, unless the
    /// peer or the request forbids that, or the server is shutting down: then the connection ends, and
    /// the response says so.
    ///
    /// The response counts as bytes that wait to be sent, but no limit refuses it.
    ///
    /// # Errors
    ///
    /// See [`RespondError`].
    pub fn respond(&mut self, id: RequestId, response: Response) -> Result<(), RespondError> {
        response.check().map_err(RespondError::InvalidHeader)?;
        let slot = self.slot(id.conn).ok_or(RespondError::Gone)?;
        if slot.connection.asked(id).ok_or(RespondError::Gone)?.gone {
            self.answered.insert(id);
        }
        self.answer(id, &response, true)
    }

    /// Answers the request that waits on this connection in the application's place, and ends the
    /// connection with that. False if none waits.
    pub(super) fn answer_in_place(&mut self, conn: ConnId, response: &Response) -> bool {
        let Some(slot) = Self::slot_mut(&mut self.slots, conn) else { return false };
        let Some(id) = slot.connection.waiting_request(conn) else { return false };
        let gone = slot.connection.take_gone(conn);
        self.told_next.extend(gone.map(|id| Record::RequestGone { id }));
        self.answer(id, response, false).is_ok()
    }

    fn answer(
        &mut self,
        id: RequestId,
        response: &Response,
        may_go_on: bool,
    ) -> Result<(), RespondError> {
        let slot = Self::slot_mut(&mut self.slots, id.conn).ok_or(RespondError::Gone)?;
        let asked = slot.connection.asked(id).ok_or(RespondError::Gone)?;
        // The server's own answers are those after which the connection may not go on.
        if asked.upgrade.is_some() || !may_go_on {
            self.commons.tally.handshakes_refused.add(1);
        }
        // Else a peer that pipelines without end would hold a shutdown up to its deadline.
        let may_go_on = may_go_on && self.shutdown.is_none();
        slot.connection.respond(response, may_go_on, &mut self.commons);
        Self::mark_dirty(slot, &mut self.dirty, id.conn);
        self.arm(id.conn);
        Ok(())
    }

    /// Whether the application answered the request since this batch was begun. The batch may hold a
    /// notice that the request is gone.
    pub(crate) fn was_answered(&self, id: RequestId) -> bool {
        self.answered.contains(&id)
    }

    /// Answers a request with an HTTP status and a sentence that says why.
    ///
    /// # Errors
    ///
    /// [`RespondError::Gone`].
    pub fn refuse(&mut self, id: RequestId, status: u16, why: &str) -> Result<(), RespondError> {
        self.respond(id, Response::text(status, why))
    }
}
