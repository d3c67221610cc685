//! The server, from its options to its end: everything that it is made of, put together.

use std::{
    ffi::OsString,
    io::{self, Write},
    sync::Arc,
    time::SystemTime,
};

use pushloop::{Loops, Net, Server};

use crate::{
    config, descriptors, drain,
    gate::Gate,
    listen, logs, metrics,
    options::Taken,
    relay::Relay,
    reload::Reload,
    restore,
    service::{Engine, Hooks, Service},
    status::Status,
    supervisor, tls, watchdog,
};

/// Runs until it is told to end.
pub fn serve(taken: Taken, arguments: Vec<OsString>) -> io::Result<()> {
    let taken = Arc::new(taken);
    let options = &taken.options;
    let descriptors = descriptors::raise_limit();
    let of_others = metrics::descriptors(options)
        + options.hooks.descriptors()
        + options.tokens.fetched.descriptors()
        + descriptors::of_loops(options.loops);
    let limit = descriptors.limit.saturating_sub(of_others);
    let mut loops = Loops::new(config::of(options, limit), options.loops)?;
    loops.set_drain(options.drain.deadline);
    for server in loops.servers() {
        options.patterns.configure(server.hub()).map_err(io::Error::other)?;
    }
    let (handle, server) = (loops.handle(), loops.first());
    let started = server.net().wall_clock().unwrap_or(SystemTime::UNIX_EPOCH);
    let status = Arc::new(Status::new(started));
    logs::start(options.logs, &status)?;
    let gate = Gate::begin(options, &handle, &status).map_err(io::Error::other)?;
    let sets = gate.sets().to_vec();
    let hooks = Hooks::new(options, gate.apps(), handle.clone(), &status);
    let hooks = hooks.map_err(io::Error::other)?;
    let engine = restore::engine(server, options, &status)?;
    let tls = tls::of(options)?;
    // Nothing is said to be open before all is.
    let mut opened = listen::all(server, options, tls.as_ref())?;
    opened += &descriptors.told();
    if let Some(address) = options.metrics_listen {
        opened += &metrics::listen(address, handle.clone(), Arc::clone(&status))?;
    }
    // What is told that it is open may end it at once.
    let reload = Reload::new(arguments, Arc::clone(&taken), Arc::clone(&status), tls, sets);
    let slots = reload.slots();
    drain::on_signals(handle.clone(), reload)?;
    logs::flush();
    // Where nobody can be told, it listens all the same.
    let _ = io::stdout().write_all(opened.as_bytes());
    supervisor::tell_ready();
    let each: Vec<_> = loops.servers().iter().map(Server::handle).collect();
    watchdog::watch(each.clone(), Arc::clone(&status));
    let (mut first, relays) = (Some((hooks, engine)), Relay::all(each, handle));
    let mut parts = slots.into_iter().zip(relays);
    loops.run(|server, _| {
        // What is there once belongs to the first loop: the options have it only where there is no other.
        let (hooks, engine) = first.take().unwrap_or_else(|| (Hooks::default(), Engine::Memory));
        let (slot, relay) = parts.next().unwrap_or_default();
        let (now, status) = (server.hub().now(), Arc::clone(&status));
        let mut service = Service::new(now, status, options, gate.twin(), hooks, engine, slot);
        service.set_relay(relay);
        service
            .begin(server.hub(), options)
            .expect("there is room for all encodings of the server");
        service
    })
}
