//! A response whose body is sent as it is made.

use super::{Commons, Connection, Flow, State, cors, http::Http};
use crate::wire::Response;

/// What is added to a piece at the most: a size of 16 digits and two line ends (RFC 9112 §7.1).
pub(crate) const CHUNK_BYTES: usize = 20;

impl Connection {
    /// Answers with the head of a response whose body follows in pieces. False if the response has no
    /// body, by its status or because the request is for a head: then it is whole.
    pub(crate) fn begin_stream(&mut self, response: &Response, commons: &mut Commons) -> bool {
        let State::Deciding { asked, .. } = &self.state else { return false };
        // RFC 9112 §7: HTTP/1.0 knows no chunks. Its body ends with the connection.
        let is_chunked = asked.request.version_minor() == 1;
        let Some(mut http) = self.begin_body(response, is_chunked, commons) else { return false };
        // No further request of the connection is answered.
        http.buffer = Vec::new();
        let blocked = (self.flow == Flow::Blocked).then_some(commons.now);
        self.state = State::Streaming { http, is_chunked, blocked };
        true
    }

    /// Answers with the head of a response whose body follows, in chunks or up to the connection's end. `None`
    /// if there is no body: then the answer is whole.
    pub(super) fn begin_body(
        &mut self,
        response: &Response,
        is_chunked: bool,
        commons: &mut Commons,
    ) -> Option<Box<Http>> {
        let State::Deciding { asked, .. } = &self.state else { return None };
        if !response.may_have_body() {
            self.respond(response, false, commons);
            return None;
        }
        Self::note_answered(asked, commons);
        let head_only = asked.request.method() == "HEAD";
        let more = cors::fields(&commons.config, Some(&asked.request), response);
        let outbox = self.outbox.or_spare(commons);
        let date = std::mem::take(&mut commons.date);
        outbox.push_http(commons, |out| response.encode_stream(out, &date, &more, is_chunked));
        commons.date = date;
        let http = self.take_http()?;
        if head_only {
            self.begin_responding(http, false, commons);
            return None;
        }
        Some(http)
    }

    #[inline]
    pub(crate) fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming { .. })
    }

    /// Queues a piece of the body, which is not empty; the caller has checked that there is room.
    pub(crate) fn write_stream(&mut self, piece: &[u8], commons: &mut Commons) {
        let State::Streaming { is_chunked, .. } = self.state else { return };
        let outbox = self.outbox.or_spare(commons);
        outbox.push_http(commons, |out| {
            if is_chunked {
                out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            }
            out.extend_from_slice(piece);
            if is_chunked {
                out.extend_from_slice(b"\r\n");
            }
        });
    }

    /// Ends the body behind what is queued, and the connection with it. Without `is_whole`, a peer of
    /// HTTP/1.1 sees that something is missing.
    pub(crate) fn end_stream(&mut self, is_whole: bool, commons: &mut Commons) {
        let State::Streaming { is_chunked, .. } = self.state else { return };
        let Some(http) = self.take_http() else { return };
        if is_whole && is_chunked {
            let outbox = self.outbox.or_spare(commons);
            outbox.push_http(commons, |out| out.extend_from_slice(b"0\r\n\r\n"));
        }
        self.begin_responding(http, false, commons);
    }
}
