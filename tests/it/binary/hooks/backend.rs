//! A backend, or an issuer with its keys: what it was sent, and answers of the test's own, over TCP or TLS.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::support::PATIENCE;

/// A request that came.
pub struct Got {
    pub head: String,
    pub body: Vec<u8>,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("it is JSON")
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (other, value) = line.split_once(": ")?;
            other.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

type Answer = dyn Fn(&Got) -> Vec<u8> + Send + Sync;

pub struct Backend {
    address: SocketAddr,
    is_secure: bool,
    got: Receiver<Got>,
}

impl Backend {
    /// One that answers so. An answer of no bytes closes the connection.
    pub fn start(answer: impl Fn(&Got) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start_with(None, answer)
    }

    /// The same over TLS, if there is something for it.
    pub fn start_with(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Got) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let is_secure = tls.is_some();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let ((tell, got), answer) = (mpsc::channel(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (tell, answer, tls) = (tell.clone(), Arc::clone(&answer), tls.clone());
                let stream = stream.expect("it accepts");
                thread::spawn(move || match tls {
                    None => converse(stream, &tell, &*answer),
                    Some(tls) => {
                        let session = ServerConnection::new(tls).expect("it can be served");
                        converse(StreamOwned::new(session, stream), &tell, &*answer);
                    }
                });
            }
        });
        Self { address, is_secure, got }
    }

    pub fn url(&self) -> String {
        self.url_by("127.0.0.1")
    }

    /// It answers so many requests with 500, and the others with yes.
    pub fn failing(times: u32) -> Self {
        let failures = AtomicU32::new(times);
        let fails = move || {
            failures
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1))
                .is_ok()
        };
        Self::start(move |_: &Got| if fails() { reply(500, "", "") } else { yes() })
    }

    /// The same by another name of this machine.
    pub fn url_by(&self, name: &str) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{name}:{}/hook?from=pushloop", self.address.port())
    }

    /// What comes next.
    #[track_caller]
    pub fn next(&self) -> Got {
        self.got.recv_timeout(PATIENCE).expect("the backend is asked")
    }

    /// Whether all was taken with `next` that came.
    pub fn has_no_more(&self) -> bool {
        self.got.try_recv().is_err()
    }
}

fn converse(stream: impl Read + Write, tell: &Sender<Got>, answer: &Answer) {
    let mut reader = BufReader::new(stream);
    while let Some(got) = read(&mut reader) {
        let answer = answer(&got);
        // The test may have ended, and the server may have given up.
        let _ = tell.send(got);
        if answer.is_empty() || reader.get_mut().write_all(&answer).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Got> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut got = Got { head, body: Vec::new() };
    let len = got.field("content-length").unwrap_or("0").parse();
    got.body = vec![0; len.expect("a number")];
    reader.read_exact(&mut got.body).ok()?;
    Some(got)
}

/// An answer.
pub fn reply(status: u16, fields: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!("HTTP/1.1 {status} x\r\nContent-Length: {len}\r\n{fields}\r\n{body}").into_bytes()
}

/// Yes.
pub fn yes() -> Vec<u8> {
    b"HTTP/1.1 204 x\r\n\r\n".to_vec()
}

/// Answers wait until the test lets so many of them go.
pub fn held(answer: Vec<u8>) -> (Sender<()>, impl Fn(&Got) -> Vec<u8> + Send + Sync) {
    let (release, released) = mpsc::channel();
    let released = Mutex::new(released);
    let held = move |_: &Got| {
        // At the end of the test, all go.
        let _ = released.lock().expect("nobody panics").recv();
        answer.clone()
    };
    (release, held)
}
