//! The pushloop server: live notifications over WebSocket, where a URL is a topic.

mod options;
mod service;

use std::{env, io, net::SocketAddr, process::ExitCode, thread, time::Duration};

use options::{Asked, Listen, Options};
use pushloop::{Config, Handle, Origins, Server};
use service::Service;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use socket2::{Domain, Protocol, Socket, Type};

/// How long a first SIGINT or SIGTERM lets connections end; a second one does not wait.
const DRAIN: Duration = Duration::from_secs(30);
/// Connections that wait to be accepted. The kernel takes less if it is set to.
const BACKLOG: i32 = 4096;

fn main() -> ExitCode {
    let options = match options::parse(env::args_os().skip(1)) {
        Ok(Asked::Serve(options)) => options,
        Ok(Asked::Help) => {
            print!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Version) => {
            println!("pushloop {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("pushloop: {error} (see --help)");
            return ExitCode::from(2);
        }
    };
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pushloop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Options) -> io::Result<()> {
    let mut config = Config::default();
    config.send_queue_bytes_max = 1 << 20;
    if options.allow_origins.iter().any(|origin| origin == "*") {
        config.origins = Origins::Any;
    } else if !options.allow_origins.is_empty() {
        config.origins = Origins::List(options.allow_origins.clone());
    }
    let mut server = Server::new(config)?;
    for listen in &options.listen {
        self::listen(&mut server, listen)?;
    }
    shut_down_on_signals(server.handle())?;
    let mut service = Service::new(server.hub().now());
    server.run(&mut service)
}

fn listen(server: &mut Server, listen: &Listen) -> io::Result<()> {
    let failed = |name: String| {
        move |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {name}: {error}"))
        }
    };
    match listen {
        Listen::Tcp(address) => {
            let socket = tcp_listener(*address).map_err(failed(address.to_string()))?;
            let bound = server.listen_on(socket.into())?;
            println!("pushloop: open http://{bound}/");
            println!("  subscribe: new WebSocket(\"ws://{bound}/scores\")");
            println!("  publish:   curl -d 'Goal!' http://{bound}/scores");
        }
        Listen::Unix(path) => {
            server.listen_unix(path).map_err(failed(path.display().to_string()))?;
            println!("pushloop: listening on unix:{}", path.display());
        }
    }
    Ok(())
}

fn tcp_listener(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn shut_down_on_signals(handle: Handle) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        for (nth, _) in signals.forever().enumerate() {
            let deadline = if nth == 0 { DRAIN } else { Duration::ZERO };
            if handle.shutdown(deadline).is_err() {
                return;
            }
        }
    });
    Ok(())
}
