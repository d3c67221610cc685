//! A server of fastwebsockets with its defaults, over hyper, on one thread: `/fan` publishes to all
//! on `/fan`, any other path echoes. An echo is one write for each frame, as in the library's own
//! example; what is published leaves through a buffer that is flushed when the channel is empty.
//!
//! `fastwebsockets 127.0.0.1:9001`

use std::{convert::Infallible, future, io, sync::Arc};

use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError,
    WebSocketWrite, upgrade,
};
use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use peers::Room;
use tokio::{
    io::{AsyncWrite, BufWriter},
    sync::mpsc::UnboundedReceiver,
};

type Published = (OpCode, Bytes);

async fn echo(upgraded: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(upgraded.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn fan(
    upgraded: upgrade::UpgradeFut,
    room: Arc<Room<Published>>,
) -> Result<(), WebSocketError> {
    let (reader, writer) = upgraded.await?.split(|stream| {
        let (reader, writer) = tokio::io::split(stream);
        (reader, BufWriter::new(writer))
    });
    let (_member, outbox, inbox) = room.join();
    tokio::spawn(async { drop(write(writer, inbox).await) });
    let mut reader = FragmentCollectorRead::new(reader);
    loop {
        // What the library owes the peer, a Pong or a Close, goes the way of all that is sent.
        let mut owe = |frame: Frame<'_>| {
            future::ready(outbox.send((frame.opcode, Bytes::copy_from_slice(&frame.payload))))
        };
        let frame = reader.read_frame(&mut owe).await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => {
                room.publish(&(frame.opcode, Bytes::copy_from_slice(&frame.payload)));
            }
            _ => {}
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(
    mut writer: WebSocketWrite<W>,
    mut inbox: UnboundedReceiver<Published>,
) -> Result<(), WebSocketError> {
    while let Some(first) = inbox.recv().await {
        let mut due = Some(first);
        while let Some((opcode, payload)) = due {
            let frame = Frame::new(true, opcode, None, Payload::Borrowed(&payload));
            writer.write_frame(frame).await?;
            due = inbox.try_recv().ok();
        }
        writer.flush().await?;
    }
    Ok(())
}

async fn handshake(
    mut request: Request<Incoming>,
    room: Arc<Room<Published>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let on_fan = request.uri().path() == "/fan";
    Ok(match upgrade::upgrade(&mut request) {
        Ok((response, upgraded)) => {
            // An error is one connection's own.
            if on_fan {
                tokio::spawn(async { drop(fan(upgraded, room).await) });
            } else {
                tokio::spawn(async { drop(echo(upgraded).await) });
            }
            response
        }
        Err(_) => {
            let mut refused = Response::new(Empty::new());
            *refused.status_mut() = StatusCode::BAD_REQUEST;
            refused
        }
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let room = Room::new();
    peers::serve(|stream| {
        let room = Arc::clone(&room);
        let service = service_fn(move |request| handshake(request, Arc::clone(&room)));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connection.with_upgrades()
    })
    .await
}
