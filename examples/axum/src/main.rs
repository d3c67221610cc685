//! An axum program and pushloop on one port: axum answers requests, pushloop has the WebSockets.
//!
//! `cargo run -- 127.0.0.1:9015`, then open a WebSocket on `ws://127.0.0.1:9015/news` and
//! `curl -d 'Goal!' http://127.0.0.1:9015/news`. SIGTERM ends both.

use std::{
    env, io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing, serve::Listener};
use pushloop::{Accept, Config, ConnId, Handle, Handler, Hosts, Hub, Message, Request, RequestId};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{sleep, timeout},
};

/// Bytes of a request that are looked at, and how long they may take to come.
const LOOK_BYTES: usize = 8 * 1024;
const LOOK_TIME: Duration = Duration::from_secs(5);

type Latest = Arc<Mutex<String>>;

/// What pushloop calls, on a thread of its own.
struct News(Latest);

impl Handler for News {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        if request.path() != "/news" {
            let _ = hub.refuse(id, 404, "there is /news");
        } else if hub.accept(id, Accept::default()).is_ok() {
            // Subscribed first, then told: a publication in between comes twice, and none is missed.
            let _ = hub.subscribe(id.conn(), "news");
            let _ = hub.send(id.conn(), &*self.0.lock().expect("not poisoned"));
        }
    }

    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}
}

/// What axum calls. Each clone has the same latest news and the same server.
#[derive(Clone)]
struct App {
    latest: Latest,
    live: Handle,
}

async fn latest(State(app): State<App>) -> String {
    app.latest.lock().expect("not poisoned").clone()
}

async fn publish(State(app): State<App>, news: String) -> StatusCode {
    // Under the lock: what is published last is the latest.
    let mut latest = app.latest.lock().expect("not poisoned");
    latest.clone_from(&news);
    match app.live.publish("news", news) {
        Ok(()) => StatusCode::ACCEPTED,
        // The mailbox is full, or the server is gone.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The connections that are left for axum.
struct Plain {
    streams: mpsc::Receiver<(TcpStream, SocketAddr)>,
    address: SocketAddr,
}

impl Listener for Plain {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        match self.streams.recv().await {
            Some(stream) => stream,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Whether the first request of the connection asks for a WebSocket. Nothing is read.
async fn is_upgrade(stream: &TcpStream) -> io::Result<bool> {
    let mut bytes = vec![0; LOOK_BYTES];
    loop {
        let seen = stream.peek(&mut bytes).await?;
        let text = String::from_utf8_lossy(&bytes[..seen]).to_ascii_lowercase();
        if text.contains("\r\n\r\n") || seen == 0 || seen == LOOK_BYTES {
            return Ok(text.lines().any(|line| line.replace(' ', "") == "upgrade:websocket"));
        }
        // What is there keeps the socket readable: a wait for more would end at once.
        sleep(Duration::from_millis(20)).await;
    }
}

async fn share(listener: TcpListener, plain: mpsc::Sender<(TcpStream, SocketAddr)>, live: Handle) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // No descriptor is left, most likely.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (plain, live) = (plain.clone(), live.clone());
        tokio::spawn(async move {
            // A connection that is not handed on is closed.
            match timeout(LOOK_TIME, is_upgrade(&stream)).await {
                Ok(Ok(true)) => _ = stream.into_std().map(|socket| live.adopt(socket, &[])),
                Ok(Ok(false)) => _ = plain.send((stream, peer)).await,
                Ok(Err(_)) | Err(_) => {}
            }
        });
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind(env::args().nth(1).unwrap_or("127.0.0.1:9015".into())).await?;
    let address = listener.local_addr()?;
    let mut config = Config::default();
    // pushloop does not know where the port is: beyond IP addresses and `localhost`, name its hosts.
    config.hosts = Hosts::List(vec![]);
    let mut server = pushloop::Server::new(config)?;
    let (latest_news, live) = (Latest::default(), server.handle());
    let mut news = News(Arc::clone(&latest_news));
    let server = thread::spawn(move || server.run(&mut news));
    println!("axum: http://{address}/news");

    let app = App { latest: latest_news, live: live.clone() };
    let routes = Router::new().route("/news", routing::get(latest).post(publish)).with_state(app);
    let (send, streams) = mpsc::channel(64);
    let sharing = tokio::spawn(share(listener, send, live.clone()));
    let mut term = signal(SignalKind::terminate())?;
    let ended = async move {
        term.recv().await;
        sharing.abort();
        let _ = live.shutdown(Duration::from_secs(5));
    };
    axum::serve(Plain { streams, address }, routes).with_graceful_shutdown(ended).await?;
    let run = tokio::task::spawn_blocking(|| server.join()).await?;
    run.unwrap_or(Err(io::ErrorKind::Other.into()))
}
