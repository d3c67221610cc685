//! Who is on `/fan`, for libraries that leave publish/subscribe to their users: a channel for each
//! connection, as in their examples of a chat.

use std::sync::{Arc, Mutex, PoisonError};

use slab::Slab;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The connections that get what is published.
pub struct Room<M> {
    members: Mutex<Slab<UnboundedSender<M>>>,
}

/// One connection's place in a room, which it leaves when this is dropped.
pub struct Member<M> {
    room: Arc<Room<M>>,
    key: usize,
}

impl<M: Clone> Room<M> {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { members: Mutex::default() })
    }

    pub fn join(self: &Arc<Self>) -> (Member<M>, UnboundedSender<M>, UnboundedReceiver<M>) {
        let (outbox, inbox) = unbounded_channel();
        let key = self.with_members(|members| members.insert(outbox.clone()));
        (Member { room: Arc::clone(self), key }, outbox, inbox)
    }

    pub fn publish(&self, message: &M) {
        self.with_members(|members| {
            for (_, member) in members {
                // One whose connection is ending has no use for it.
                drop(member.send(message.clone()));
            }
        });
    }
}

impl<M> Room<M> {
    fn with_members<R>(&self, act: impl FnOnce(&mut Slab<UnboundedSender<M>>) -> R) -> R {
        act(&mut self.members.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<M> Drop for Member<M> {
    fn drop(&mut self) {
        self.room.with_members(|members| drop(members.remove(self.key)));
    }
}
