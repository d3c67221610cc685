//! What one connection reads: its subscriptions, topics that it has left while it was behind, up to where
//! it left them, and what was kept of topics that it subscribes to since.

use super::room::give_back;

/// One subscription, seen from its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    pub(super) topic: u32,
    /// Where the topic's list holds it.
    pub(super) position: u32,
}

/// A part of a topic that is still due: of a subscription that has ended, or from before one that begins
/// with what was kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    pub(super) topic: u32,
    pub(super) cursor: u64,
    /// The offset behind the last publication that is due.
    pub(super) until: u64,
    /// How many publications from the cursor on are not for the connection.
    pub(super) excepted: u64,
    /// The connection keeps up: our slowness is not its lag.
    pub(super) is_fresh: bool,
    /// For what was kept: what the hub's clock showed when it was asked for. It goes behind what was sent
    /// directly before, and none of it is passed over.
    pub(super) joined: Option<u64>,
}

/// Most connections have none or one subscription, and have left nothing behind.
#[derive(Debug, Default)]
pub(super) enum Subscriptions {
    #[default]
    None,
    One(Subscription),
    Many(Box<Many>),
}

#[derive(Debug, Default)]
pub(super) struct Many {
    pub(super) list: Vec<Subscription>,
    pub(super) leaving: Vec<Leaving>,
    /// The subscription with which the next write begins, so that all have their turn, however little a
    /// write takes.
    pub(super) next: u32,
}

impl Subscriptions {
    #[inline]
    pub(super) fn as_slice(&self) -> &[Subscription] {
        match self {
            Subscriptions::None => &[],
            Subscriptions::One(one) => std::slice::from_ref(one),
            Subscriptions::Many(many) => &many.list,
        }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Subscription] {
        match self {
            Subscriptions::None => &mut [],
            Subscriptions::One(one) => std::slice::from_mut(one),
            Subscriptions::Many(many) => &mut many.list,
        }
    }

    pub(super) fn leaving(&self) -> &[Leaving] {
        match self {
            Subscriptions::None | Subscriptions::One(_) => &[],
            Subscriptions::Many(many) => &many.leaving,
        }
    }

    /// How many readers there are: topics that were left, and subscriptions.
    pub(super) fn readers(&self) -> usize {
        self.leaving().len() + self.as_slice().len()
    }

    /// With which subscription the next write begins.
    pub(super) fn first_subscription(&self) -> usize {
        match self {
            Subscriptions::None | Subscriptions::One(_) => 0,
            Subscriptions::Many(many) => many.next as usize,
        }
    }

    pub(super) fn many(&mut self) -> &mut Many {
        if !matches!(self, Subscriptions::Many(_)) {
            let list = self.as_slice().to_vec();
            *self = Subscriptions::Many(Box::new(Many { list, ..Many::default() }));
        }
        match self {
            Subscriptions::Many(many) => many,
            Subscriptions::None | Subscriptions::One(_) => unreachable!("it was just made"),
        }
    }

    pub(super) fn push(&mut self, subscription: Subscription) {
        match self {
            Subscriptions::None => *self = Subscriptions::One(subscription),
            Subscriptions::One(_) | Subscriptions::Many(_) => self.many().list.push(subscription),
        }
    }

    /// Removes the subscription at `at`; the last one takes its place.
    pub(super) fn swap_remove(&mut self, at: usize) {
        match self {
            Subscriptions::None => {}
            Subscriptions::One(_) => *self = Subscriptions::None,
            Subscriptions::Many(many) => {
                many.list.swap_remove(at);
                give_back(&mut many.list, 4);
                self.shrink();
            }
        }
    }

    /// Gives back the box, if too little is left for it.
    pub(super) fn shrink(&mut self) {
        let Subscriptions::Many(many) = self else { return };
        match (&many.list[..], &many.leaving[..]) {
            ([], []) => *self = Subscriptions::None,
            ([one], []) => *self = Subscriptions::One(*one),
            _ => {}
        }
    }

    pub(super) fn position_of(&self, topic: u32) -> Option<usize> {
        self.as_slice().iter().position(|subscription| subscription.topic == topic)
    }
}
