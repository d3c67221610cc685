//! How an application answers a request, and what can be wrong with an answer.

use std::fmt;

use crate::wire::{InvalidHeader, Request, check_header, subprotocols};

/// How to accept a request: see [`Hub::accept`](crate::Hub::accept).
#[derive(Clone, Copy, Debug, Default)]
pub struct Accept<'a> {
    /// The subprotocol to speak, one of those that the request offers (RFC 6455 §1.9). With `None`, a
    /// client that offered some may go on without one (§4.1), but browsers, Node, Netty and others fail the
    /// connection: their users see an error, and no message.
    pub subprotocol: Option<&'a str>,
    /// Further header fields of the 101 response, names and values.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Why [`Hub::accept`](crate::Hub::accept) did not accept.
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

/// Why [`Hub::respond`](crate::Hub::respond) and [`Hub::refuse`](crate::Hub::refuse) did not answer.
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

impl Accept<'_> {
    /// Whether this request can be accepted so.
    pub(crate) fn check(&self, request: &Request) -> Result<(), AcceptError> {
        if !request.is_websocket() {
            return Err(AcceptError::NotWebSocket);
        }
        if let Some(chosen) = self.subprotocol
            && !subprotocols(request).any(|offered| offered == chosen)
        {
            return Err(AcceptError::SubprotocolNotOffered);
        }
        let may_be_set = |(name, value): &(&str, &str)| {
            // §4.2.2: an extension or subprotocol that was not agreed on must not be answered.
            check_header(name, value).is_ok()
                && !name.eq_ignore_ascii_case("upgrade")
                && !name.get(..14).is_some_and(|start| start.eq_ignore_ascii_case("sec-websocket-"))
        };
        if !self.headers.iter().all(may_be_set) {
            return Err(AcceptError::InvalidHeader);
        }
        Ok(())
    }
}
