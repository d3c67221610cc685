//! What is counted of a run: each fault that was injected, and each hard path that was taken. A
//! simulation that never meets a fault proves nothing about it.

use std::cell::RefCell;
use std::rc::Rc;

use pushloop::testing::Fault;

macro_rules! marks {
    ($($name:ident,)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mark {
            $($name,)+
        }

        pub const ALL: &[Mark] = &[$(Mark::$name,)+];
    };
}

marks! {
    // Faults of the network.
    ShortRead, ShortWrite, ReadBlocked, WriteBlocked, ReadInterrupted, WriteInterrupted,
    LateEdge, SingleEdge, ShuffledEdges, SpuriousEdge, StaleEdge, Signal, FullPipe,
    AcceptBlocked, AcceptInterrupted, AcceptAborted, OutOfDescriptors, NoReserve, Unregistrable,
    ClockJump, CommandInTurn, FinishInterrupted, FinishBlocked, ResetRead, ResetWrite, DroppedUnread,
    // What peers do.
    HalfClose, PeerClose, BrokenClause, CutHandshake, Fragmented,
    // What the application does.
    ActInCallback, SubscribedInCallback, UnsubscribedInCallback, PublishedInCallback,
    SentInCallback, ClosedInCallback, ClosedAt, Aborted, HandlePublish, HandleSend, HandleClose, HandleFull, LateAnswer, Refused,
    Responded, Unsubscribed, SentToGone, AnsweredTwice, AnsweredLate, AnsweredThoughGone,
    // What follows from it.
    Delivered, SlotReused, StaleOfReused, BesideBroken, LivedOn, DroppedFull, Conflated, Skipped, Lost, TopicFull, Overflowed, Shed,
    PongCoalesced, ProtocolClosed, TimedOut, StaleCommand, RefusedConnection, Writable,
    MessageAfterClose, ShutDown, LayerAsked, LayerBlocked, LayerStep, LayerKept, RequestGone, HeadFirst,
    // Those that come back, and histories.
    Resumed, ResumedUpToDate, ResumedNoTopic, ResumedOtherEpoch, ResumedFuture, ResumedNotKept,
    BeganWithLatest, ResumedForAnother, HistoryRead, HistoryCleared, HistorySwitched, PublishedToNobody, HistoryGivenUp, TopicForgotten,
    ResumeCut,
    // What compression is met with, and what comes of it.
    Bomb, DeflateGarbage, DeflateCut, DeflateStreams, DeflateNoText, DeflateBeyond, StrayBit,
    Deflated, ReferredBack, Inflated, TookOver, DeflateFailed, BombRefused, MixedTopic,
    SentUncompressed, TopicSwitched,
}

macro_rules! of_network {
    ($($name:ident,)+) => {
        /// What the network counts.
        pub const OF_NETWORK: [(Mark, Fault); 27] = [$((Mark::$name, Fault::$name),)+];
    };
}

of_network! {
    ShortRead, ShortWrite, ReadBlocked, WriteBlocked, ReadInterrupted, WriteInterrupted,
    LateEdge, SingleEdge, ShuffledEdges, SpuriousEdge, StaleEdge, StaleOfReused, Signal, FullPipe,
    AcceptBlocked, AcceptInterrupted, AcceptAborted, OutOfDescriptors, NoReserve, Unregistrable,
    ClockJump, CommandInTurn, FinishInterrupted, FinishBlocked, ResetRead, ResetWrite, DroppedUnread,
}

/// How many of them, the first, are faults of the network.
pub const FAULTS: usize = Mark::DroppedUnread as usize + 1;

/// What those that come back are answered.
pub const RESUMES: [Mark; 6] = [
    Mark::Resumed,
    Mark::ResumedUpToDate,
    Mark::ResumedNoTopic,
    Mark::ResumedOtherEpoch,
    Mark::ResumedFuture,
    Mark::ResumedNotKept,
];

/// How many there are without compression.
pub const WITHOUT_DEFLATE: usize = Mark::Bomb as usize;

/// The counts of a run, shared by all parts of a world.
#[derive(Clone)]
pub struct Marks(Rc<RefCell<Vec<u64>>>);

impl Marks {
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![0; ALL.len()])))
    }

    pub fn hit(&self, mark: Mark) {
        self.add(mark, 1);
    }

    pub fn add(&self, mark: Mark, n: u64) {
        self.0.borrow_mut()[mark as usize] += n;
    }

    pub fn counts(&self) -> Vec<u64> {
        self.0.borrow().clone()
    }
}
