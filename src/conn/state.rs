//! The states of a connection, and what leads from one to the next.

use super::{
    commons::Ticks,
    encoding::Form,
    http::{Asked, Http},
    reader::Partial,
};
use crate::{
    event::Cause,
    wire::{ClosePayload, ProtocolError},
};

/// Where a connection is in its life.
///
/// ```text
///            request            accept               close                    peer's Close
/// Handshake ────────▶ Deciding ────────▶ Open ─────────────────▶ Closing ─────────────┐
///   ▲   │ malformed       │ respond        │ peer's Close, failure, EOF               │
///   │   ▼                 ▼                ▼                                          ▼
///   └─ Responding ◀───────┤              Ending ──────(next turn: our Close)────▶ Draining ──▶ Closed
///  keep-alive  │ ▲ finish │ stream                                                      ▲
///              │ └─── Streaming                        Events ──────(end)──────▶ Draining│
///              └──────────────────────────(no keep-alive)─────────────────────────────┘
/// ```
///
/// A reset, a deadline or a stuck peer leads from any state to `Closed`.
#[derive(Debug)]
pub(crate) enum State {
    /// Collecting an HTTP request (RFC 6455 §4.2.1).
    Handshake { http: Box<Http>, deadline: Ticks },
    /// The application has the request and has not answered yet (§4.2.2).
    Deciding { http: Box<Http>, asked: Box<Asked>, deadline: Ticks },
    /// A plain HTTP answer is being written. So many bytes were `written` since the deadline was set.
    Responding { http: Box<Http>, keep_alive: bool, written: u32, deadline: Ticks },
    /// A plain HTTP answer is being made and written. The kernel has been `blocked` since then.
    Streaming { http: Box<Http>, is_chunked: bool, blocked: Option<Ticks> },
    /// An event stream: what its topics publish is written as events. The last one, or a heartbeat, was
    /// queued at `last_message`. The kernel has been `blocked` since then.
    Events { last_message: Ticks, blocked: Option<Ticks> },
    /// Upgraded; frames flow both ways (§5).
    Open { partial: Option<Box<Partial>>, silence: Liveness, last_message: Ticks },
    /// No further frame is read, but the application may be answering earlier messages of this batch:
    /// our last words follow at the start of a next turn (§7.1.7). If the application has `closed` the
    /// connection meanwhile, it gets no further message.
    Ending { last: LastWords, closed: bool },
    /// We sent Close; still reading until the peer's Close or the deadline (§7.1.2). So many bytes
    /// were `written` since the deadline was set.
    Closing { partial: Option<Box<Partial>>, cause: Cause, written: u32, deadline: Ticks },
    /// Flush, FIN, discard input for a bounded while (§7.1.1).
    Draining { fin_sent: bool, discarded: usize, written: u32, deadline: Ticks },
    /// Terminal. The slot is freed at the start of the next turn. If the application `aborted` the
    /// connection, it gets no further message of it.
    Closed { aborted: bool },
}

/// How long an open connection is silent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Liveness {
    /// Its last byte came then.
    Heard(Ticks),
    /// A Ping went out then, and not a byte came since.
    Pinged(Ticks),
    /// The kernel has taken nothing since then. The peer does not read, whether it sends or not, and a
    /// Ping would wait behind what is not taken.
    Blocked(Ticks),
}

/// What is to be done for a connection, as the hub notes it. The flags are here, where they fill what
/// would be padding.
#[derive(Debug, Default)]
pub(crate) struct WorkFlags {
    /// A bit for each of the constants below: a connection is small, and several are asked for at once.
    bits: u8,
    pub(crate) unread: Unread,
    /// How it takes publications; compressed, if that was agreed on.
    pub(crate) takes: Form,
}

/// What the kernel may hold of a connection's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unread {
    #[default]
    Nothing,
    /// Bytes, or news of the connection's end.
    Something,
    /// The kernel told of an end, which is to be read after the last byte.
    End,
}

impl WorkFlags {
    /// It is in `Hub::dirty` or `Hub::pulls`.
    pub(crate) const DIRTY: u8 = 1;
    /// It lags in a topic, or still reads what is due of one that it has left.
    pub(crate) const BEHIND: u8 = 2;
    /// It is in `Hub::readable`.
    pub(crate) const LISTED: u8 = 4;
    /// Input of it was set aside, and is to be read before any other.
    pub(crate) const REPLAYING: u8 = 8;
    /// Its last read was a long one.
    pub(crate) const READS_MUCH: u8 = 16;

    /// Whether it has one of these flags.
    #[inline]
    pub(crate) fn has(&self, flags: u8) -> bool {
        self.bits & flags != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flag: u8) {
        self.bits |= flag;
    }

    #[inline]
    pub(crate) fn clear(&mut self, flag: u8) {
        self.bits &= !flag;
    }

    /// Whether there may be something to read.
    #[inline]
    pub(crate) fn readable(&self) -> bool {
        self.unread != Unread::Nothing
    }
}

/// Whether what is written to a connection leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The last turn's writes left nothing in the outbox.
    Clear,
    /// They left something, and the kernel takes more.
    Backlog,
    /// The kernel refused bytes, and has not told since that it takes more.
    Blocked,
    /// It has told so, and the outbox has not been empty since.
    Recovering,
}

/// What is still to be said when no further frame is read.
#[derive(Debug)]
pub(crate) enum LastWords {
    /// §5.5.1: what the peer's Close said echoed, or an empty Close for an empty one.
    Echo(Option<Box<ClosePayload>>),
    /// §7.1.7: the code of what it did wrong.
    Fail(ProtocolError),
    /// The process holds too much that is incomplete.
    Shed,
    /// The process keeps too much of what clients sent compressed.
    ShedWindow,
    /// The Ping was not answered.
    Silent,
    /// §7.4.1: 1011, because the application failed over one of its last messages.
    Panicked,
    /// The peer is not listening any more.
    Nothing,
}

/// What an input led to, for the hub to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The state is as before.
    Same,
    /// The state changed, and with it the deadline.
    Changed,
    /// A preflight waits, which is answered in the application's place.
    Preflight,
    /// The connection will deliver nothing more; its `Closed` event, if it was open, is recorded.
    Over,
    /// It is open and was idle for too long.
    Idle,
    /// It is open, and its kernel has taken nothing for too long.
    Stuck,
    /// The input from here on is for a later turn, because enough was inflated in this one.
    Unread { at: usize },
}

/// What a finished write led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing further.
    Idle,
    /// The answer is out, and the next request may be read.
    NextRequest,
    /// Our last byte is out: shut down the writing side.
    SendFin,
}
