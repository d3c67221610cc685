//! What the servers have in common: the loop that accepts, an echo, and which connections are on `/fan`,
//! for libraries that leave publish/subscribe to their users: a channel for each connection, as in their
//! examples of a chat.

use std::{
    env, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use slab::Slab;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

/// Serves each connection to the address that the program was given.
pub async fn serve<E, F>(connection: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    E: Send + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
{
    let address = env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let served = connection(stream);
        // An error is one connection's own.
        tokio::spawn(async { drop(served.await) });
    }
}

/// Sends each message back. What is ready at once leaves in one write (`feed`, then `flush`).
pub async fn echo<M, E, S>(mut socket: S, is_message: fn(&M) -> bool) -> Result<(), E>
where
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
{
    while let Some(first) = socket.next().await {
        let mut arrived = Some(Some(first));
        while let Some(next) = arrived {
            let Some(message) = next else {
                return Ok(());
            };
            let message = message?;
            if is_message(&message) {
                socket.feed(message).await?;
            }
            arrived = socket.next().now_or_never();
        }
        socket.flush().await?;
    }
    Ok(())
}

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
        let key = self.members().insert(outbox.clone());
        (Member { room: Arc::clone(self), key }, outbox, inbox)
    }

    pub fn publish(&self, message: &M) {
        for (_, member) in &*self.members() {
            // One whose connection is ending has no use for it.
            drop(member.send(message.clone()));
        }
    }
}

impl<M> Room<M> {
    fn members(&self) -> MutexGuard<'_, Slab<UnboundedSender<M>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Drop for Member<M> {
    fn drop(&mut self) {
        drop(self.room.members().remove(self.key));
    }
}
