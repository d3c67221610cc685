//! What the example applications share: the command line, one page with a script and a style, and
//! the loop. An application includes it by its path, and has its own `main.rs` and `page.html`.

use std::{
    env, io,
    net::{SocketAddr, ToSocketAddrs},
    process::ExitCode,
};

use pushloop::{Config, ConnId, Handler, Hub, Request, Response, Server};
use socket2::{Domain, Socket, Type};

/// Nothing but the application's own script and style, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Of a connection's send buffer, as asked for. Left alone, Linux lets it grow to 4 MiB: a client that
/// lags would get what is a minute old by then, and no policy could give it up.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Connections that wait to be accepted. The kernel takes less if it is set to.
const BACKLOG: i32 = 1024;

/// An application's name, the port that it listens on if none is named, and its page.
pub struct Page {
    pub name: &'static str,
    pub port: u16,
    pub html: &'static str,
}

impl Page {
    /// Serves until the process is ended. `make` gets the hub before the first connection comes.
    pub fn run<H: Handler>(&self, config: Config, make: impl FnOnce(&mut Hub) -> H) -> ExitCode {
        let listen = match self.options(env::args().skip(1)) {
            Ok(Some(listen)) => listen,
            Ok(None) => {
                println!("{}", self.usage());
                return ExitCode::SUCCESS;
            }
            Err(error) => {
                eprintln!("{}: {error}\n{}", self.name, self.usage());
                return ExitCode::from(2);
            }
        };
        match self.serve(listen, config, make) {
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
        config: Config,
        make: impl FnOnce(&mut Hub) -> H,
    ) -> io::Result<()> {
        let mut server = Server::new(config)?;
        let bound = server.listen_on(listener(listen)?.into())?;
        println!("{}: open http://{bound}/", self.name);
        let mut handler = make(server.hub());
        server.run(&mut handler)
    }

    /// Answers a plain request: the page, what it needs, or 404. False if the request asks for a
    /// WebSocket, which is the application's to accept.
    pub fn answer(&self, hub: &mut Hub, id: ConnId, request: &Request) -> bool {
        if request.is_websocket() {
            return false;
        }
        let (kind, body) = match request.path() {
            "/" => ("text/html; charset=utf-8", self.html),
            "/page.js" => ("text/javascript; charset=utf-8", include_str!("page.js")),
            "/page.css" => ("text/css; charset=utf-8", include_str!("page.css")),
            "/icon.svg" => ("image/svg+xml", include_str!("icon.svg")),
            _ => {
                // The peer may be gone by now, here and below, which needs no answer.
                let _ = hub.refuse(id, 404, "not found: the page is at /");
                return true;
            }
        };
        let (status, body) = match request.method() {
            "GET" | "HEAD" => (200, body),
            _ => (405, ""),
        };
        let fields = [
            ("Allow", "GET, HEAD"),
            ("Cache-Control", "no-cache"),
            ("Content-Security-Policy", POLICY),
            ("Content-Type", kind),
            ("X-Content-Type-Options", "nosniff"),
        ];
        let response = fields.iter().fold(Response::new(status).body(body), |response, field| {
            response.header(field.0, field.1).expect("our own header fields are well-formed")
        });
        let _ = hub.respond(id, &response);
        true
    }

    fn usage(&self) -> String {
        format!(
            "usage: {} [--listen ADDRESS]  [127.0.0.1:{}; port 0 takes a free one]",
            self.name, self.port
        )
    }

    /// The address to listen on; `None` if help is asked for.
    fn options(
        &self,
        mut words: impl Iterator<Item = String>,
    ) -> Result<Option<SocketAddr>, String> {
        let mut listen = format!("127.0.0.1:{}", self.port);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--listen" => listen = words.next().ok_or("--listen needs an address")?,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("unknown option '{word}'")),
            }
        }
        match listen.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()) {
            Some(address) => Ok(Some(address)),
            None => {
                Err(format!("'{listen}' is no address to listen on, as 127.0.0.1:{} is", self.port))
            }
        }
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
