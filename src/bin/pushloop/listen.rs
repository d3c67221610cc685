//! Where the server listens.

use std::{io, net::SocketAddr};

use pushloop::Server;
use rustix::{fs::Mode, process::umask};
use socket2::{Domain, Protocol, Socket, Type};

use crate::options::{Options, Place};

/// Connections that wait to be accepted. The kernel takes less if it is set to.
const BACKLOG: i32 = 4096;

/// Listens, and gives what to tell of it.
pub fn listen(server: &mut Server, place: &Place, options: &Options) -> io::Result<String> {
    match place {
        Place::Tcp(address) => {
            let socket = tcp_listener(*address).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
            })?;
            let bound = server.listen_on(socket.into())?;
            Ok(format!(
                "pushloop: open http://{bound}/\n  \
                 subscribe: new WebSocket(\"ws://{bound}/scores\")\n  \
                 publish:   curl -d 'Goal!' http://{bound}/scores\n"
            ))
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
