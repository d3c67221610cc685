//! What goes wrong in a simulated network, and how often.

use super::Choice;

/// How many of 100 calls meet which fault. The default is a network without faults: name what differs, as
/// in `Faults { late: 30, ..Faults::default() }`, because there may be more of them one day.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A read brings a part of what there is.
    pub short_read: usize,
    /// A write takes a part of what there is room for.
    pub short_write: usize,
    /// A read gives `WouldBlock`, though there is something; that is told afterwards.
    pub read_blocks: usize,
    /// A write or a FIN gives `WouldBlock`, though there is room; that is told afterwards.
    pub write_blocks: usize,
    /// A call gives `Interrupted`.
    pub interrupts: usize,
    /// A readiness is told by a later wait.
    pub late: usize,
    /// A wait tells of one thing, and a later one of the others.
    pub single: usize,
    /// A wait tells in any order.
    pub shuffled: usize,
    /// A readiness is told for nothing.
    pub spurious: usize,
    /// A readiness is told of a connection that is gone.
    pub stale: usize,
    /// A wait ends at once, with nothing told.
    pub signal: usize,
    /// An accept gives `WouldBlock`, or fails for its one connection.
    pub accept_fails: usize,
    /// An accept finds no descriptor for a further connection.
    pub exhausted: usize,
    /// There is no descriptor in reserve then.
    pub no_reserve: usize,
    /// A connection cannot be registered.
    pub unregistrable: usize,
    /// The clock leaps at a wait, by up to an hour.
    pub jump: usize,
    /// Something that is to be done [`meanwhile`](super::Network::meanwhile) is done in a call.
    pub meddles: usize,
}

impl Faults {
    /// A mix, with none of each fault in a third of the cases.
    pub fn drawn(choice: &Choice) -> Self {
        let knob = |most: usize| if choice.below(3) == 0 { 0 } else { choice.below(most + 1) };
        let drawn = Self {
            short_read: knob(90),
            short_write: knob(90),
            read_blocks: knob(50),
            write_blocks: knob(50),
            interrupts: knob(30),
            late: knob(60),
            single: knob(60),
            shuffled: knob(100),
            spurious: knob(40),
            stale: knob(60),
            signal: knob(20),
            accept_fails: knob(40),
            exhausted: knob(30),
            no_reserve: knob(80),
            unregistrable: knob(10),
            meddles: knob(60),
            // A jump ends many connections: it is the exception.
            jump: if choice.below(4) == 3 { choice.below(8) } else { 0 },
        };
        let short_write = if drawn.writes_are_taken() { 0 } else { drawn.short_write };
        Self { short_write, ..drawn }
    }

    /// Those of [`drawn`](Self::drawn) that no peer notices but by its pace: nothing is refused, and the
    /// clock does not leap.
    pub fn drawn_without_loss(choice: &Choice) -> Self {
        Self { accept_fails: 0, exhausted: 0, unregistrable: 0, jump: 0, ..Self::drawn(choice) }
    }

    /// Kernels take everything at once, of all peers.
    pub fn writes_are_taken(&self) -> bool {
        self.write_blocks == 0
    }
}

macro_rules! faults {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// What a network did to the loop. [`Network::met`](super::Network::met) counts each: a test that
        /// never met a fault proves nothing about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[$doc])+ $name,)+
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Fault] = &[$(Fault::$name,)+];
        }
    };
}

faults! {
    /// A read brought a part of what there was.
    ShortRead,
    /// A write took a part of what there was room for.
    ShortWrite,
    /// A read gave `WouldBlock`, though there was something.
    ReadBlocked,
    /// A write gave `WouldBlock` or took less, though there was room.
    WriteBlocked,
    /// A read gave `Interrupted`.
    ReadInterrupted,
    /// A write gave `Interrupted`.
    WriteInterrupted,
    /// A readiness was left to a later wait.
    LateEdge,
    /// A wait told of one of several things.
    SingleEdge,
    /// A wait told in another order.
    ShuffledEdges,
    /// A readiness was told for nothing.
    SpuriousEdge,
    /// A readiness was told of a connection that was gone.
    StaleEdge,
    /// Another connection had the slot of that one.
    StaleOfReused,
    /// A wait ended with nothing told.
    Signal,
    /// A peer's kernel did not take all of a write.
    FullPipe,
    /// An accept gave `WouldBlock`, though there was a connection.
    AcceptBlocked,
    /// An accept gave `Interrupted`.
    AcceptInterrupted,
    /// A connection was reset while it was accepted.
    AcceptAborted,
    /// An accept found no descriptor.
    OutOfDescriptors,
    /// There was none in reserve.
    NoReserve,
    /// A connection could not be registered.
    Unregistrable,
    /// The clock leapt.
    ClockJump,
    /// Something was done in the middle of a call.
    CommandInTurn,
    /// A FIN gave `Interrupted`.
    FinishInterrupted,
    /// A FIN gave `WouldBlock`.
    FinishBlocked,
    /// A read met a reset.
    ResetRead,
    /// A write met a reset.
    ResetWrite,
    /// The server dropped a connection with input unread, and its peer lost what it had not read.
    DroppedUnread,
}
