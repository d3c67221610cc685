//! A server of sockudo-ws with its defaults, on one thread: `/fan` publishes to all on `/fan`
//! with the library's own `PubSub`, any other path echoes. What is ready at once leaves in one
//! write (`feed`, then `flush`). Compression is left off: its server does not negotiate it.
//!
//! `sockudo 127.0.0.1:9001`

use std::{io, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use sockudo_ws::{
    Config, Error, Message, Role, WebSocketStream, handshake::server_handshake, pubsub::PubSub,
};
use tokio::{net::TcpStream, sync::mpsc::unbounded_channel};

const TOPIC: &str = "fan";

type Socket = WebSocketStream<TcpStream>;

fn is_message(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}

async fn fan(mut socket: Socket, topics: &PubSub) -> Result<(), Error> {
    let (outbox, mut inbox) = unbounded_channel();
    let subscriber = topics.create_subscriber(outbox);
    topics.subscribe(subscriber, TOPIC);
    let end = loop {
        tokio::select! {
            arrived = socket.next() => match arrived {
                Some(Ok(message)) if is_message(&message) => {
                    topics.publish(TOPIC, message);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            },
            Some(published) = inbox.recv() => {
                socket.feed(published).await?;
                while let Ok(published) = inbox.try_recv() {
                    socket.feed(published).await?;
                }
                socket.flush().await?;
            }
        }
    };
    topics.remove_subscriber(subscriber);
    end
}

async fn serve(mut stream: TcpStream, topics: Arc<PubSub>) -> Result<(), Error> {
    let request = server_handshake(&mut stream).await?;
    let config = Config::default();
    let socket =
        WebSocketStream::from_raw_with_leftover(stream, Role::Server, config, request.leftover);
    if request.path == "/fan" {
        fan(socket, &topics).await
    } else {
        peers::echo(socket, is_message).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let topics = Arc::new(PubSub::new());
    peers::serve(|stream| serve(stream, Arc::clone(&topics))).await
}
