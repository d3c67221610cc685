//! What a client is told that may not, or that sent what cannot be: errors, which answer one command, and codes
//! with which a connection is closed. Their numbers and texts are the protocol's: a client goes by the number.

use pushloop::CloseCode;

/// The answer to a command that was not carried out. The connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: u32,
    pub message: &'static str,
    /// The same may be asked for again, and a client does so by itself.
    pub is_temporary: bool,
}

impl Failure {
    pub const INTERNAL: Self = Self::temporary(100, "internal server error");
    pub const PERMISSION_DENIED: Self = Self::new(103, "permission denied");
    pub const METHOD_NOT_FOUND: Self = Self::new(104, "method not found");
    pub const ALREADY_SUBSCRIBED: Self = Self::new(105, "already subscribed");
    pub const LIMIT_EXCEEDED: Self = Self::new(106, "limit exceeded");
    pub const BAD_REQUEST: Self = Self::new(107, "bad request");
    pub const NOT_AVAILABLE: Self = Self::new(108, "not available");
    pub const TOKEN_EXPIRED: Self = Self::new(109, "token expired");
    pub const TOO_MANY_REQUESTS: Self = Self::temporary(111, "too many requests");
    pub const UNRECOVERABLE_POSITION: Self = Self::new(112, "unrecoverable position");

    /// What a refused publication is, by the status that it would have over HTTP.
    pub fn of_publication(status: u16) -> Self {
        match status {
            400 => Self::BAD_REQUEST,
            // It may have been published.
            504 => Self::INTERNAL,
            _ => Self::TOO_MANY_REQUESTS,
        }
    }

    const fn new(code: u32, message: &'static str) -> Self {
        Self { code, message, is_temporary: false }
    }

    const fn temporary(code: u32, message: &'static str) -> Self {
        Self { code, message, is_temporary: true }
    }
}

/// Why a connection is closed. After 3000 to 3499 and 4000 to 4499 a client comes back by itself, after 3500 to
/// 3999 and 4500 to 4999 it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    pub code: u16,
    pub reason: &'static str,
}

impl Disconnect {
    pub const SHUTDOWN: Self = Self::new(3001, "shutdown");
    pub const EXPIRED: Self = Self::new(3005, "connection expired");
    pub const SLOW: Self = Self::new(3008, "slow");
    pub const NO_PONG: Self = Self::new(3012, "no pong");
    pub const INVALID_TOKEN: Self = Self::new(3500, "invalid token");
    pub const BAD_REQUEST: Self = Self::new(3501, "bad request");
    pub const STALE: Self = Self::new(3502, "stale");
    pub const FORCE_NO_RECONNECT: Self = Self::new(3503, "force disconnect");
    pub const CONNECTION_LIMIT: Self = Self::new(3504, "connection limit");
    pub const CHANNEL_LIMIT: Self = Self::new(3505, "channel limit");
    pub const NOT_AVAILABLE: Self = Self::new(3508, "not available");

    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }

    /// What the connection is closed with.
    pub fn close_code(self) -> CloseCode {
        CloseCode::new(self.code).unwrap_or(CloseCode::POLICY)
    }
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Failure(Failure),
    Disconnect(Disconnect),
    /// It is to be carried out once the broker has said something, under this number.
    Once(u64),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Disconnect> for Refused {
    fn from(disconnect: Disconnect) -> Self {
        Self::Disconnect(disconnect)
    }
}

/// Why a subscription has ended that its client did not end. From 2500 on, a client subscribes again.
pub const UNSUBSCRIBED_BY_SERVER: (u32, &str) = (2000, "server unsubscribe");
pub const UNSUBSCRIBED_INSUFFICIENT: (u32, &str) = (2500, "insufficient state");
pub const UNSUBSCRIBED_EXPIRED: (u32, &str) = (2501, "subscription expired");
