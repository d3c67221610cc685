//! Tokens are checked on a pool of threads before a WebSocket is accepted. A token is a name and for how
//! many seconds it is valid; a name that comes again takes the place of its earlier connection.
//!
//! `cargo run --example tokens -- 127.0.0.1:9001`, then `ws://127.0.0.1:9001/?token=ada.60`

use std::{
    collections::HashMap,
    env,
    error::Error,
    io,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use pushloop::{
    Accept, CloseCode, ConnId, Handler, Hub, Message, Pending, Request, RequestId, Server,
};

/// Requests that wait for a thread. One too many is dropped, which answers it with 503.
const WAITING_MAX: usize = 256;
const EXPIRED: CloseCode = CloseCode::new(4001).expect("4000 to 4999 are for applications");
const REPLACED: CloseCode = CloseCode::new(4002).expect("4000 to 4999 are for applications");

/// Hands each request to the pool.
struct Door(mpsc::SyncSender<Pending>);

impl Handler for Door {
    fn on_request(&mut self, hub: &mut Hub, id: RequestId, request: &Request) {
        if !request.is_websocket() {
            let _ = hub.refuse(id, 426, "this is a WebSocket server");
        } else if let Some(pending) = hub.defer(id) {
            let _ = self.0.try_send(pending);
        }
    }

    fn on_message(&mut self, _: &mut Hub, _: ConnId, _: Message<'_>) {}
}

/// What the threads share. The id of a connection that is gone reaches no other, so it may stay in `users`.
struct Pool {
    jobs: Mutex<mpsc::Receiver<Pending>>,
    users: Mutex<HashMap<String, ConnId>>,
}

impl Pool {
    fn work(&self) {
        let next = || self.jobs.lock().expect("not poisoned").recv();
        while let Ok(mut pending) = next() {
            // A request that is dropped without an answer gets 503.
            if let Err(error) = self.answer(&mut pending) {
                eprintln!("{error}");
            }
        }
    }

    fn answer(&self, pending: &mut Pending) -> Result<(), Box<dyn Error>> {
        let token = pending.request().query_value("token").unwrap_or_default();
        let Some((name, left)) = check(&token) else {
            return Ok(pending.refuse(401, "this token is not valid")?);
        };
        let (handle, id) = (pending.handle().clone(), pending.id().conn());
        // Before it is accepted: none is without its end, also where the mailbox is full.
        handle.close_at(id, pending.asked_at() + left, EXPIRED, "the token has expired")?;
        if let Some(earlier) = self.users.lock().expect("not poisoned").insert(name.clone(), id) {
            handle.close(earlier, REPLACED, "connected again")?;
        }
        pending.accept(Accept::default())?;
        Ok(handle.send(id, format!("welcome, {name}"))?)
    }
}

/// Stands for a question to another service, and may block. Gives the name and the time that is left.
fn check(token: &str) -> Option<(String, Duration)> {
    let (name, seconds) = token.split_once('.')?;
    let seconds: u32 = seconds.parse().ok()?;
    ["ada", "bob"].contains(&name).then(|| (name.into(), Duration::from_secs(seconds.into())))
}

fn main() -> io::Result<()> {
    let mut server = Server::bind(env::args().nth(1).unwrap_or("127.0.0.1:9001".into()))?;
    println!("tokens: ws://{}/?token=ada.60", server.local_addr().expect("it listens on TCP"));
    let (door, jobs) = mpsc::sync_channel(WAITING_MAX);
    let pool = Arc::new(Pool { jobs: Mutex::new(jobs), users: Mutex::default() });
    for _ in 0..4 {
        let pool = Arc::clone(&pool);
        thread::spawn(move || pool.work());
    }
    server.run(&mut Door(door))
}
