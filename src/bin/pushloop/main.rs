//! The pushloop server: live notifications over WebSocket, where a URL is a topic.

mod drain;
mod listen;
mod options;
mod service;
mod watchdog;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use options::{Asked, Options};
use pushloop::{Config, Cors, Hosts, Origins, Server};
use service::Service;

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
    config.topic_lag_bytes_max = 1 << 20;
    config.shutdown_spread = options.drain.spread;
    config.cors = Some(Cors::default());
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
    let opened = opened?;
    let not_ready = Arc::default();
    // Whoever is told that it is open may end it at once.
    drain::on_signals(server.handle(), options.drain, Arc::clone(&not_ready))?;
    // Where nobody can be told, it listens all the same.
    let _ = io::stdout().write_all(opened.as_bytes());
    let slow_turns = watchdog::watch(server.handle());
    let mut service = Service::new(server.hub().now(), not_ready, slow_turns);
    server.run(&mut service)
}
