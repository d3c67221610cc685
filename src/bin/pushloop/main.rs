//! The pushloop server: live notifications over WebSocket, where a URL is a topic. And commands that look at
//! its options, publish to it and subscribe to it from a shell.

mod ahead;
mod auth;
mod broker;
mod centrifuge;
mod check;
mod client;
mod commands;
mod config;
mod descriptors;
mod drain;
mod expiries;
mod gate;
mod hooks;
mod key_sets;
mod listen;
mod logs;
mod metrics;
mod operator;
mod options;
mod pace;
mod patterns;
mod presence;
mod publish;
mod pusher;
mod reload;
mod requests;
mod restore;
mod service;
mod status;
mod store;
mod subscribe;
mod supervisor;
mod tls;
mod token;
mod topics;
mod watchdog;
mod web;
mod writer;

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::SystemTime,
};

use gate::Gate;
use options::Taken;
use pushloop::{Net, Server};
use reload::Reload;
use service::{Hooks, Service};
use status::Status;

fn main() -> ExitCode {
    commands::run(env::args_os().skip(1).collect())
}

fn serve(taken: Taken, arguments: Vec<OsString>) -> io::Result<()> {
    let taken = Arc::new(taken);
    let options = &taken.options;
    let descriptors = descriptors::raise_limit();
    let of_others = metrics::descriptors(options)
        + options.hooks.descriptors()
        + options.tokens.fetched.descriptors();
    let limit = descriptors.limit.saturating_sub(of_others);
    let mut server = Server::new(config::of(options, limit))?;
    options.patterns.configure(server.hub()).map_err(io::Error::other)?;
    let started = server.net().wall_clock().unwrap_or(SystemTime::UNIX_EPOCH);
    let status = Arc::new(Status::new(started));
    logs::start(options.logs, &status)?;
    let gate = Gate::begin(options, &server.handle(), &status).map_err(io::Error::other)?;
    let sets = gate.sets().to_vec();
    let hooks = Hooks::new(&options.hooks, server.handle(), &status).map_err(io::Error::other)?;
    let engine = restore::engine(&mut server, options, &status)?;
    let tls = tls::of(options)?;
    // Nothing is said to be open before all is.
    let mut opened = listen::all(&mut server, options, tls.as_ref())?;
    opened += &descriptors.told();
    if let Some(address) = options.metrics_listen {
        opened += &metrics::listen(address, server.handle(), Arc::clone(&status))?;
    }
    // What is told that it is open may end it at once.
    let reload = Reload::new(arguments, Arc::clone(&taken), Arc::clone(&status), tls, sets);
    let slot = reload.slot();
    drain::on_signals(server.handle(), reload)?;
    logs::flush();
    // Where nobody can be told, it listens all the same.
    let _ = io::stdout().write_all(opened.as_bytes());
    supervisor::tell_ready();
    watchdog::watch(server.handle(), Arc::clone(&status));
    let mut service = Service::new(server.hub().now(), status, options, gate, hooks, engine, slot);
    service.begin(server.hub(), options).map_err(io::Error::other)?;
    server.run(&mut service)
}
