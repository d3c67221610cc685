//! A request that waits for the application's answer: its id, and the notice that it is gone.

use super::{
    Commons, Connection, State, Unread,
    http::{Asked, Http},
};
use crate::event::{ConnId, Record, RequestId};
use std::{mem, sync::Arc};

/// RFC 9110 §15.2.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Http {
    /// The request of which the head was told, and the body is to come. It is given once.
    fn take_told_head(&mut self, conn: ConnId) -> Option<RequestId> {
        mem::take(&mut self.head_told).then(|| self.request_id(conn))
    }

    /// The id of the request that the application was told of last.
    pub(super) fn request_id(&self, conn: ConnId) -> RequestId {
        RequestId { conn, number: self.told }
    }
}

impl Connection {
    /// Takes what was read of a new connection before it came here; true if anything was.
    pub(crate) fn take_over(&mut self, read: Vec<u8>, commons: &mut Commons) -> bool {
        let State::Handshake { http, .. } = &mut self.state else { return false };
        let bytes = read.len();
        http.buffer = read;
        self.note_incomplete(bytes, commons);
        bytes > 0
    }

    /// Whether a request is to come, or its rest.
    #[inline]
    pub(crate) fn is_asking(&self) -> bool {
        matches!(self.state, State::Handshake { .. })
    }

    /// Whether the application has the head of a request, and the body is to come.
    pub(crate) fn is_at_head(&self) -> bool {
        matches!(&self.state, State::Deciding { asked, .. } if asked.is_head)
    }

    /// The application has seen the head and not answered: the body is to come. True if something is to
    /// be written. RFC 9110 §10.1.1: 100 is left out if the body has begun to come.
    pub(crate) fn expect_body(&mut self, commons: &mut Commons) -> bool {
        let State::Deciding { deadline, .. } = self.state else { return false };
        let State::Deciding { mut http, asked, .. } =
            mem::replace(&mut self.state, State::Closed { aborted: false })
        else {
            return false;
        };
        let says_go_on = asked.request.expects_continue() && http.buffer.is_empty();
        http.headed = Some(Arc::unwrap_or_clone(asked.request));
        // What came with the head has earned it time.
        let deadline = http.body_deadline(&commons.config).unwrap_or(deadline);
        self.state = State::Handshake { http, deadline };
        if says_go_on {
            let outbox = self.outbox.or_spare(commons);
            outbox.push_http(commons, |out| out.extend_from_slice(CONTINUE));
        }
        says_go_on
    }

    /// The request that waits for the application's answer, on a connection of this id.
    pub(crate) fn waiting_request(&self, conn: ConnId) -> Option<RequestId> {
        let State::Deciding { http, .. } = &self.state else { return None };
        Some(http.request_id(conn))
    }

    /// The request of this id, if it is the one that waits.
    pub(crate) fn asked(&self, id: RequestId) -> Option<&Asked> {
        let State::Deciding { http, asked, .. } = &self.state else { return None };
        (http.request_id(id.conn) == id).then_some(&**asked)
    }

    /// Whether a request waits, its peer has ended its side, and the application was not told so. The
    /// kernel's word is all that is known of the end: nothing is read meanwhile.
    pub(crate) fn has_departed(&self) -> bool {
        let State::Deciding { asked, .. } = &self.state else { return false };
        self.flags.unread == Unread::End && !asked.gone && !asked.is_head
    }

    /// The request that waits, if the application is to be told that it is gone. It is told once.
    pub(crate) fn take_gone(&mut self, conn: ConnId) -> Option<RequestId> {
        let State::Deciding { http, asked, .. } = &mut self.state else { return None };
        let told = mem::replace(&mut asked.gone, true);
        (!told).then(|| http.request_id(conn))
    }

    /// Tells the application, once, that the request is gone that waits, or of which it was told the head.
    pub(crate) fn record_gone(&mut self, conn: ConnId, records: &mut Vec<Record>) {
        let gone = if let State::Handshake { http, .. } = &mut self.state {
            http.take_told_head(conn)
        } else {
            self.take_gone(conn)
        };
        records.extend(gone.map(|id| Record::RequestGone { id }));
    }
}
