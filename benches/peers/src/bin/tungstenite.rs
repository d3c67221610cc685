//! A server of tokio-tungstenite with its defaults, on one thread: `/fan` publishes to all on
//! `/fan`, any other path echoes. What is ready at once leaves in one write (`feed`, then `flush`).
//!
//! `[CERTIFICATES=FOLDER] tungstenite 127.0.0.1:9001`: TLS by rustls with ring, if there is such a folder.

use std::{env, io, path::Path, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use peers::Room;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Error, Message,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

fn is_message(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}

async fn fan<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: WebSocketStream<S>,
    room: &Arc<Room<Message>>,
) -> Result<(), Error> {
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

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    room: Arc<Room<Message>>,
) -> Result<(), Error> {
    let mut on_fan = false;
    #[expect(clippy::result_large_err, reason = "the type is the library's")]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        on_fan = request.uri().path() == "/fan";
        Ok(response)
    };
    let socket = accept_hdr_async(stream, look).await?;
    if on_fan { fan(socket, &room).await } else { peers::echo(socket, is_message).await }
}

/// A server with the certificate of this folder.
fn acceptor(folder: &Path) -> io::Result<TlsAcceptor> {
    let certificates = CertificateDer::pem_file_iter(folder.join("chain.pem"));
    let certificates = certificates.and_then(Iterator::collect).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .and_then(|it| it.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(io::Error::other)?;
    Ok(Arc::new(config).into())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let room = Room::new();
    let Some(folder) = env::var_os("CERTIFICATES") else {
        return peers::serve(|stream| serve(stream, Arc::clone(&room))).await;
    };
    let acceptor = acceptor(folder.as_ref())?;
    peers::serve(|stream| {
        let (accepted, room) = (acceptor.accept(stream), Arc::clone(&room));
        async { serve(accepted.await?, room).await }
    })
    .await
}
