//! Where the server listens.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use pushloop::{Server, Tls};
use rustix::{fs::Mode, process::umask};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    options::{Listen, Options, Place, Speech},
    supervisor::{self, Inherited},
};

/// Connections that wait to be accepted. The kernel takes less if it is set to.
const BACKLOG: i32 = 4096;

/// Listens on all that was handed over, and wherever it was asked for; gives what to tell of it. The default is
/// not asked for where something was handed over.
pub fn all(server: &mut Server, options: &Options, tls: Option<&Tls>) -> io::Result<String> {
    let mut opened = String::new();
    let inherited = supervisor::inherited()?;
    let is_handed_over = !inherited.is_empty();
    if options.tls.is_inherited && !is_handed_over {
        return Err(io::Error::other("--inherit-tls: no socket was handed over (LISTEN_FDS)"));
    }
    let mut number = 0;
    for socket in inherited {
        opened += &inherit(server, socket, options, tls)?;
        number += 1;
    }
    let asked = options.listen.iter().filter(|_| !(is_handed_over && options.listens_by_default));
    for listen in asked {
        opened += &self::listen(server, listen, options, tls)?;
        if listen.speech == Speech::Proxied {
            server.require_proxy_header(number);
        }
        number += 1;
    }
    Ok(opened)
}

fn inherit(
    server: &mut Server,
    socket: Inherited,
    options: &Options,
    tls: Option<&Tls>,
) -> io::Result<String> {
    match socket {
        Inherited::Tcp(socket) => {
            options.check_reach(socket.local_addr()?).map_err(io::Error::other)?;
            listen_on(server, socket, tls.filter(|_| options.tls.is_inherited))
        }
        Inherited::Unix(socket) => {
            let opened = match socket.local_addr()?.as_pathname() {
                Some(path) => format!("pushloop: listening on unix:{}\n", path.display()),
                None => "pushloop: listening on a Unix socket without a path\n".to_owned(),
            };
            server.listen_unix_on(socket).map(|()| opened)
        }
    }
}

fn listen_on(server: &mut Server, socket: TcpListener, tls: Option<&Tls>) -> io::Result<String> {
    match tls {
        Some(tls) => server.listen_tls_on(socket, tls).map(|bound| opened(bound, "s")),
        None => server.listen_on(socket).map(|bound| opened(bound, "")),
    }
}

/// What there is to say of an address that is open; `s` is the end of a scheme that has TLS.
fn opened(bound: SocketAddr, s: &str) -> String {
    format!(
        "pushloop: open http{s}://{bound}/\n  \
         subscribe: new WebSocket(\"ws{s}://{bound}/scores\")\n  \
         publish:   curl -d 'Goal!' http{s}://{bound}/scores\n"
    )
}

fn listen(
    server: &mut Server,
    listen: &Listen,
    options: &Options,
    tls: Option<&Tls>,
) -> io::Result<String> {
    match &listen.place {
        Place::Tcp(address) => {
            let socket = tcp_listener(*address).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
            })?;
            listen_on(server, socket.into(), tls.filter(|_| listen.speech == Speech::Tls))
        }
        Place::Unix(path) => {
            // The file is made with these rights: at no moment has it others. No thread that makes files
            // is there yet.
            let before = umask(Mode::from_raw_mode(0o777 & !options.unix_mode));
            let listens = server.listen_unix(path);
            umask(before);
            listens?;
            Ok(format!("pushloop: listening on unix:{}\n", path.display()))
        }
    }
}

fn tcp_listener(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
