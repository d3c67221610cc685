//! Answering a request: accept it as a WebSocket, or answer it as plain HTTP.

use std::fmt;

use super::Hub;
use crate::{
    conn::{State, allows_origin},
    event::{Cause, ConnId},
    wire::{Refusal, Request, Response, check_header, subprotocols},
};

/// How a request is accepted: see [`Hub::accept`].
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
    /// The connection is gone, or its request is answered already.
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
            AcceptError::Gone => "the connection is gone, or its request is answered already",
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
    /// The connection is gone, or its request is answered already.
    Gone,
}

impl fmt::Display for RespondError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is gone, or its request is answered already")
    }
}

impl std::error::Error for RespondError {}

impl Hub {
    /// Answers a request with 101: the connection is a WebSocket from here on (RFC 6455 §4.2.2).
    ///
    /// Messages and subscriptions are taken at once; [`Event::Opened`](crate::Event::Opened)
    /// follows in the next batch. A request that asks for no WebSocket is answered with 426.
    ///
    /// # Errors
    ///
    /// See [`AcceptError`].
    pub fn accept(&mut self, id: ConnId, accept: Accept<'_>) -> Result<(), AcceptError> {
        let slot = Self::slot_mut(&mut self.slots, id).ok_or(AcceptError::Gone)?;
        let State::Deciding { asked, .. } = &slot.connection.state else {
            return Err(AcceptError::Gone);
        };
        if asked.upgrade.is_none() {
            self.commons.tally.handshakes_refused.add(1);
            let _ = self.respond(id, &Response::from(Refusal::UpgradeMissing));
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
        let rest =
            slot.connection.accept(id, accept.subprotocol, accept.headers, &mut self.commons);
        self.opened.push(id);
        if rest.is_empty() {
            self.commons.recycle_buffer(rest);
        } else {
            slot.connection.notes.replaying = true;
            self.replays.push_back((id, rest));
        }
        Self::mark_dirty(slot, &mut self.dirty, id);
        Self::mark_readable(slot, &mut self.readable, id);
        self.arm(id);
        if self.is_shutting_down() {
            self.close_for(id, Cause::Shutdown);
        }
        Ok(())
    }

    /// Whether the page that a browser sent this request from may use this server, by
    /// [`Config::origins`](crate::Config::origins). Handshakes are checked without being asked;
    /// plain requests that change something should be.
    pub fn allows_origin(&self, request: &Request) -> bool {
        allows_origin(&self.commons.config, request)
    }

    /// Answers a request as plain HTTP. The connection then takes the peer's next request, unless
    /// the peer or the request forbids it.
    ///
    /// The response counts as bytes that wait to be sent, but no limit refuses it.
    ///
    /// # Errors
    ///
    /// [`RespondError::Gone`].
    pub fn respond(&mut self, id: ConnId, response: &Response) -> Result<(), RespondError> {
        self.answer(id, response, true)
    }

    pub(super) fn answer(
        &mut self,
        id: ConnId,
        response: &Response,
        may_go_on: bool,
    ) -> Result<(), RespondError> {
        let slot = Self::slot_mut(&mut self.slots, id).ok_or(RespondError::Gone)?;
        let State::Deciding { asked, .. } = &slot.connection.state else {
            return Err(RespondError::Gone);
        };
        // The server's own answers are those after which the connection may not go on.
        if asked.upgrade.is_some() || !may_go_on {
            self.commons.tally.handshakes_refused.add(1);
        }
        slot.connection.respond(response, may_go_on, &mut self.commons);
        Self::mark_dirty(slot, &mut self.dirty, id);
        self.arm(id);
        Ok(())
    }

    /// Answers a request with an HTTP status and a sentence that says why.
    ///
    /// # Errors
    ///
    /// [`RespondError::Gone`].
    pub fn refuse(&mut self, id: ConnId, status: u16, why: &str) -> Result<(), RespondError> {
        self.respond(id, &Response::text(status, why))
    }
}
