//! What the example applications share: the command line, one page with a script and a style, the
//! loop, and how much a stranger may ask for. An application includes it by its path, and has its own
//! `main.rs` and `page.html`. Not all need `clock.rs` and `name.rs` beside it.

use std::{
    collections::HashMap,
    env, io,
    net::{SocketAddr, ToSocketAddrs},
    process::ExitCode,
    time::Instant,
};

use pushloop::{Config, Handler, Hub, Request, RequestId, Response, Server};
use socket2::{Domain, Socket, Type};

/// Nothing but the application's own script and style, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub const SCRIPT: &str = "text/javascript; charset=utf-8";
/// Of a connection's send buffer, as asked for. Left alone, Linux lets it grow to 4 MiB: a client that
/// lags would get what is a minute old by then, and no policy could give it up.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Connections that wait to be accepted. The kernel takes less if it is set to.
const BACKLOG: i32 = 1024;

/// Options with a number, by their names.
pub type Numbers = HashMap<String, u64>;

/// An application's name, the port that it listens on if none is named, its page, and what it takes
/// beside `--listen`: options with a number.
pub struct Page {
    pub name: &'static str,
    pub port: u16,
    pub html: &'static str,
    pub takes: &'static [&'static str],
}

impl Page {
    /// Serves until the process is ended. `make` gets the hub before the first connection comes,
    /// where it listens, and the numbers of the command line.
    pub fn run<H: Handler>(
        &self,
        config: Config,
        make: impl FnOnce(&mut Hub, SocketAddr, &Numbers) -> H,
    ) -> ExitCode {
        let (listen, numbers) = match self.command_line(env::args().skip(1)) {
            Ok(Some(options)) => options,
            Ok(None) => {
                println!("{}", self.usage());
                return ExitCode::SUCCESS;
            }
            Err(error) => {
                eprintln!("{}: {error}\n{}", self.name, self.usage());
                return ExitCode::from(2);
            }
        };
        match self.serve(listen, &numbers, config, make) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {listen}: {error}", self.name);
                ExitCode::FAILURE
            }
        }
    }

    fn serve<H: Handler>(
        &self,
        listen: SocketAddr,
        numbers: &Numbers,
        config: Config,
        make: impl FnOnce(&mut Hub, SocketAddr, &Numbers) -> H,
    ) -> io::Result<()> {
        let mut server = Server::new(config)?;
        let address = server.listen_on(listener(listen)?.into())?;
        println!("{}: open http://{address}/", self.name);
        let mut handler = make(server.hub(), address, numbers);
        server.run(&mut handler)
    }

    /// Answers a plain request: the page, what it needs, or 404. False if the request asks for a
    /// WebSocket, which is the application's to accept.
    pub fn answer(&self, hub: &mut Hub, id: RequestId, request: &Request) -> bool {
        if request.is_websocket() {
            return false;
        }
        let (kind, body) = match request.path() {
            "/" => ("text/html; charset=utf-8", self.html),
            "/page.js" => (SCRIPT, include_str!("page.js")),
            "/page.css" => ("text/css; charset=utf-8", include_str!("page.css")),
            "/icon.svg" => ("image/svg+xml", include_str!("icon.svg")),
            _ => {
                // The peer may be gone by now, here and below, which needs no answer.
                let _ = hub.refuse(id, 404, "not found: the page is at /");
                return true;
            }
        };
        let answer = match request.method() {
            "GET" | "HEAD" => file(kind, body),
            _ => Response::text(405, "GET and HEAD only").header("Allow", "GET, HEAD"),
        };
        let _ = hub.respond(id, answer);
        true
    }

    fn usage(&self) -> String {
        let numbers: String = self.takes.iter().map(|name| format!(" [{name} N]")).collect();
        let port = self.port;
        format!(
            "usage: {} [--listen ADDRESS]{numbers}  (127.0.0.1:{port}; port 0 takes a free one)",
            self.name
        )
    }

    /// The address to listen on, and the numbers; `None` if help is asked for.
    fn command_line(
        &self,
        mut words: impl Iterator<Item = String>,
    ) -> Result<Option<(SocketAddr, Numbers)>, String> {
        let mut listen = format!("127.0.0.1:{}", self.port);
        let mut numbers = Numbers::new();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--listen" => listen = words.next().ok_or("--listen needs an address")?,
                "--help" | "-h" => return Ok(None),
                name if self.takes.contains(&name) => {
                    let number = words.next().and_then(|number| number.parse().ok());
                    numbers.insert(word.clone(), number.ok_or(format!("{name} needs a number"))?);
                }
                _ => return Err(format!("unknown option '{word}'")),
            }
        }
        let address = listen.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        let wrong = || format!("'{listen}' is no address to listen on, as 127.0.0.1:80 is");
        Ok(Some((address.ok_or_else(wrong)?, numbers)))
    }
}

/// The answer with a file of this kind.
pub fn file(kind: &str, body: impl Into<Vec<u8>>) -> Response {
    let fields = [
        ("Cache-Control", "no-cache"),
        ("Content-Security-Policy", POLICY),
        ("Content-Type", kind),
        ("X-Content-Type-Options", "nosniff"),
    ];
    fields
        .iter()
        .fold(Response::new(200).body(body), |response, field| response.header(field.0, field.1))
}

/// What a connection may still do: so much at once, and so much more with each second.
pub struct Budget {
    most: f64,
    per_second: f64,
    left: f64,
    counted: Instant,
}

impl Budget {
    pub fn new(most: u32, per_second: f64, now: Instant) -> Self {
        let most = f64::from(most);
        Self { most, per_second, left: most, counted: now }
    }

    /// Whether there is as much left; it is taken off.
    pub fn pays(&mut self, now: Instant, cost: usize) -> bool {
        let earned = (now - self.counted).as_secs_f64() * self.per_second;
        (self.left, self.counted) = (self.most.min(self.left + earned) - cost as f64, now);
        self.left >= 0.0
    }
}

/// Connections that are accepted here have the listener's send buffer.
fn listener(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
