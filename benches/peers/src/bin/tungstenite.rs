//! A server of tokio-tungstenite with its defaults, on one thread: `/fan` publishes to all on
//! `/fan`, any other path echoes. What is ready at once leaves in one write (`feed`, then `flush`).
//!
//! `tungstenite 127.0.0.1:9001`

use std::{io, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use peers::Room;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Error, Message,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

type Socket = WebSocketStream<TcpStream>;

fn is_message(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}

async fn fan(mut socket: Socket, room: &Arc<Room<Message>>) -> Result<(), Error> {
    let (_member, _, mut inbox) = room.join();
    loop {
        tokio::select! {
            arrived = socket.next() => match arrived {
                Some(message) => {
                    let message = message?;
                    if is_message(&message) {
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
    let mut on_fan = false;
    #[expect(clippy::result_large_err, reason = "the type is the library's")]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        on_fan = request.uri().path() == "/fan";
        Ok(response)
    };
    let socket = accept_hdr_async(stream, look).await?;
    if on_fan { fan(socket, &room).await } else { peers::echo(socket, is_message).await }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let room = Room::new();
    peers::serve(|stream| serve(stream, Arc::clone(&room))).await
}
