//! A server of tokio-tungstenite with its defaults, on one thread: `/fan` publishes to all on
//! `/fan`, any other path echoes. What is ready at once leaves in one write (`feed`, then `flush`).
//!
//! `tungstenite 127.0.0.1:9001`

use std::{env, io, sync::Arc};

use futures_util::{FutureExt, SinkExt, StreamExt};
use peers::Room;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Error, Message,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

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

async fn fan(mut socket: Socket, room: &Arc<Room<Message>>) -> Result<(), Error> {
    let (_member, _, mut inbox) = room.join();
    loop {
        tokio::select! {
            arrived = socket.next() => match arrived {
                Some(message) => {
                    let message = message?;
                    if message.is_text() || message.is_binary() {
                        room.publish(&message);
                    }
                }
                None => return Ok(()),
            },
            Some(published) = inbox.recv() => {
                socket.feed(published).await?;
                while let Ok(published) = inbox.try_recv() {
                    socket.feed(published).await?;
                }
                socket.flush().await?;
            }
        }
    }
}

async fn serve(stream: TcpStream, room: Arc<Room<Message>>) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let mut on_fan = false;
    #[expect(clippy::result_large_err, reason = "the type is the library's")]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        on_fan = request.uri().path() == "/fan";
        Ok(response)
    };
    let socket = accept_hdr_async(stream, look).await?;
    if on_fan { fan(socket, &room).await } else { echo(socket).await }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let room = Room::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let room = Arc::clone(&room);
        // An error is one connection's own.
        tokio::spawn(async { drop(serve(stream, room).await) });
    }
}
