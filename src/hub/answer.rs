//! Answering a request: accept it as a WebSocket, or answer it as plain HTTP.

use super::Hub;
use crate::{
    conn::{WorkFlags, allows_origin, origin_refusal, preflight},
    event::{Accept, AcceptError, Cause, ConnId, Record, RequestId, RespondError},
    handle::Pending,
    wire::{Refusal, Request, Response},
};

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
        match accept.check(&asked.request) {
            Err(AcceptError::NotWebSocket) => {
                self.commons.tally.handshakes_refused.add(1);
                let _ = self.respond(id, Response::from(Refusal::UpgradeMissing));
                return Err(AcceptError::NotWebSocket);
            }
            checked => checked?,
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
            slot.connection.flags.set(WorkFlags::REPLAYING);
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

    /// The request to be answered later, from any thread: see [`Pending`]. `None` if it is answered
    /// already, timed out, or its connection is gone; or if its body is still to come.
    pub fn defer(&self, id: RequestId) -> Option<Pending> {
        let asked = self.slot(id.conn)?.connection.asked(id)?;
        if asked.is_head {
            return None;
        }
        Some(Pending::new(self.handle(), id, asked.request.clone(), self.now))
    }

    /// Whether [`Config::origins`](crate::Config::origins) lets the page that sent this request use this
    /// server. The server checks handshakes itself; an application should check plain requests that
    /// change something. A request without `Origin` is no page's, unless its `Sec-Fetch-Site` says that it
    /// is another's (`cross-site` or `same-site`): a form's or a proxy's that lost it.
    pub fn allows_origin(&self, request: &Request) -> bool {
        allows_origin(&self.commons.config, request)
    }

    /// Why [`allows_origin`](Self::allows_origin) says no, to answer 403 with: what was compared, as it
    /// came and cut to 128 bytes each, and what to set. `None` if it says yes.
    pub fn origin_refusal(&self, request: &Request) -> Option<String> {
        origin_refusal(&self.commons.config, request)
    }

    /// Answers a request as plain HTTP. The connection then takes the peer's next request, unless the
    /// peer, the request or the response ([`close`](Response::close)) forbids that, or the server is
    /// shutting down: then the connection ends, and the response says so.
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

    /// Answers the preflight that waits on this connection.
    pub(super) fn answer_preflight(&mut self, conn: ConnId) {
        let request = self.slot(conn).and_then(|slot| slot.connection.waiting_request(conn));
        if let (Some(id), Some(cors)) = (request, &self.commons.config.cors) {
            let response = preflight(cors);
            // The place is for health checks.
            let response = if self.is_in_reserve(conn) { response.close() } else { response };
            let _ = self.answer(id, &response, true);
        }
    }

    /// From here on, each plain answer is the last of its connection, and says so: for a server that will
    /// shut down soon, to which a balancer would go on sending requests over connections that it keeps.
    /// Answers to preflights are among them.
    pub fn end_keep_alive(&mut self) {
        self.ends_keep_alive = true;
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
        let is_ending = self.ends_keep_alive || self.shutdown.is_some();
        let may_go_on = may_go_on && !is_ending && !asked.is_head && !response.is_last();
        slot.connection.respond(response, may_go_on, &mut self.commons);
        Self::mark_dirty(slot, &mut self.dirty, id.conn);
        self.arm(id.conn);
        Ok(())
    }

    /// Whether the request waits for an answer, and the application was told of its head before: `None`
    /// if it does not wait.
    pub(crate) fn is_head_told(&self, id: RequestId) -> Option<bool> {
        Some(self.slot(id.conn)?.connection.asked(id)?.head_told)
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
