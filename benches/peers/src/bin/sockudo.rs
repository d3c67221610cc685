//! A server of sockudo-ws with its defaults, on one thread: `/fan` publishes to all on `/fan`
//! with the library's own `PubSub`, any other path echoes. What is ready at once leaves in one
//! write (`feed`, then `flush`). Compression is left off: its server does not negotiate it.
//!
//! `sockudo 127.0.0.1:9001`

use std::{env, io, sync::Arc};

use futures_util::{FutureExt, SinkExt, StreamExt};
use sockudo_ws::{
    Config, Error, Role, WebSocketStream, handshake::server_handshake, pubsub::PubSub,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::unbounded_channel,
};

const TOPIC: &str = "fan";

type Socket = WebSocketStream<TcpStream>;

async fn echo(mut socket: Socket) -> Result<(), Error> {
    while let Some(first) = socket.next().await {
        let mut arrived = Some(Some(first));
        while let Some(next) = arrived {
            let Some(message) = next else {
                return Ok(());
            };
            let message = message?;
            if message.is_text() || message.is_binary() {
                socket.feed(message).await?;
            }
            arrived = socket.next().now_or_never();
        }
        socket.flush().await?;
    }
    Ok(())
}

async fn fan(mut socket: Socket, topics: &PubSub) -> Result<(), Error> {
    let (outbox, mut inbox) = unbounded_channel();
    let subscriber = topics.create_subscriber(outbox);
    topics.subscribe(subscriber, TOPIC);
    let end = loop {
        tokio::select! {
            arrived = socket.next() => match arrived {
                Some(Ok(message)) if message.is_text() || message.is_binary() => {
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

async fn serve(mut stream: TcpStream, topics: &PubSub) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let request = server_handshake(&mut stream).await?;
    let config = Config::default();
    let socket =
        WebSocketStream::from_raw_with_leftover(stream, Role::Server, config, request.leftover);
    if request.path == "/fan" { fan(socket, topics).await } else { echo(socket).await }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let topics = Arc::new(PubSub::new());
    loop {
        let (stream, _) = listener.accept().await?;
        let topics = Arc::clone(&topics);
        // An error is one connection's own.
        tokio::spawn(async move { drop(serve(stream, &topics).await) });
    }
}
