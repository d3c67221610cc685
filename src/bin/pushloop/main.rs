//! The pushloop server: live notifications over WebSocket, where a URL is a topic.

mod listen;
mod options;
mod service;

use std::{env, io, process::ExitCode, thread, time::Duration};

use options::{Asked, Options};
use pushloop::{Config, Handle, Hosts, Origins, Server};
use service::Service;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

/// How long a first SIGINT or SIGTERM lets connections end; a second one does not wait.
const DRAIN: Duration = Duration::from_secs(30);

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
    if options.allow_hosts.iter().any(|host| host == "*") {
        config.hosts = Hosts::Any;
    } else if !options.allow_hosts.is_empty() {
        config.hosts = Hosts::List(options.allow_hosts.clone());
    }
    let mut server = Server::new(config)?;
    // Nothing is said to be open before all is.
    let opened: io::Result<String> =
        options.listen.iter().map(|listen| listen::listen(&mut server, listen)).collect();
    print!("{}", opened?);
    shut_down_on_signals(server.handle())?;
    let mut service = Service::new(server.hub().now());
    server.run(&mut service)
}

fn shut_down_on_signals(handle: Handle) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        for (nth, _) in signals.forever().enumerate() {
            let deadline = if nth == 0 { DRAIN } else { Duration::ZERO };
            if nth == 0 {
                let seconds = DRAIN.as_secs();
                eprintln!("pushloop: closing, {seconds} s at most; once more to stop at once");
            }
            if handle.shutdown(deadline).is_err() {
                return;
            }
        }
    });
    Ok(())
}
