//! The pushloop server: live notifications over WebSocket, where a URL is a topic.

mod descriptors;
mod drain;
mod listen;
mod options;
mod presence;
mod publish;
mod service;
mod status;
mod subscribe;
mod topics;
mod watchdog;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use options::{Asked, Options};
use pushloop::{Config, Hosts, Origins, Server};
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
    let descriptors = descriptors::raise_limit();
    let mut server = Server::new(config(options, descriptors.limit))?;
    // Nothing is said to be open before all is.
    let mut opened = String::new();
    for (number, listen) in (0..).zip(&options.listen) {
        opened += &listen::listen(&mut server, &listen.place, options)?;
        if listen.is_proxied {
            server.require_proxy_header(number);
        }
    }
    opened += &descriptors.told();
    let status = Arc::default();
    // What is told that it is open may end it at once.
    drain::on_signals(server.handle(), options.drain)?;
    // Where nobody can be told, it listens all the same.
    let _ = io::stdout().write_all(opened.as_bytes());
    watchdog::watch(server.handle(), Arc::clone(&status));
    let mut service = Service::new(server.hub().now(), status, options);
    server.run(&mut service)
}

fn config(options: &Options, descriptors: usize) -> Config {
    let mut config = Config::default();
    config.send_queue_bytes_max = 1 << 20;
    config.topic_lag_bytes_max = 1 << 20;
    config.shutdown_spread = options.drain.spread;
    config.cors = Some(publish::cors());
    config.topic.history = options.history();
    config.history_bytes_max = options.history_bytes_max.unwrap_or(config.history_bytes_max);
    config.proxies = options.proxies.clone();
    config.keep_alive_timeout = options.keep_alive;
    config.head_bytes_max = options.head_bytes_max;
    // In the library's proportion.
    config.headers_max = options.head_bytes_max / 128;
    config.deflate = !options.no_deflate;
    config.deflate_context_takeover = options.deflate_takeover;
    config.connections_reserved = descriptors::reserved(descriptors);
    config.connections_max = descriptors::connections(descriptors);
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
    config
}
