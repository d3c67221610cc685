//! The server, from its options to its end: everything that it is made of, put together.

use std::{
    ffi::OsString,
    io::{self, Write},
    sync::Arc,
    time::SystemTime,
};

use pushloop::{Handle, Loops, Net, Server};

use crate::{
    config, descriptors, drain,
    errands::Errands,
    gate::Gate,
    listen, logs, metrics,
    options::Taken,
    relay::Relay,
    reload::Reload,
    restore,
    service::{Hooks, Service, Subjects, Ways},
    status::Status,
    supervisor, tls, watchdog,
};

/// Runs until it is told to end.
pub fn serve(taken: Taken, arguments: Vec<OsString>) -> io::Result<()> {
    let taken = Arc::new(taken);
    let options = &taken.options;
    let descriptors = descriptors::raise_limit();
    let has_broker = options.broker.url.is_some();
    let of_others = metrics::descriptors(options)
        + options.hooks.descriptors()
        + options.tokens.fetched.descriptors()
        + descriptors::of_loops(options.loops, has_broker);
    let limit = descriptors.limit.saturating_sub(of_others);
    let config = config::of(options, limit);
    // With a broker, each loop is a node of its own, and topics are the broker's.
    let begin = if has_broker { Loops::apart } else { Loops::new };
    let mut loops = begin(config, options.loops)?;
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
    let each: Vec<_> = loops.servers().iter().map(Server::handle).collect();
    let hooks = Hooks::all(options, gate.apps(), &each, &status).map_err(io::Error::other)?;
    let engines = loops.servers().iter_mut().map(|it| restore::engine(it, options, &status));
    let engines: Vec<_> = engines.collect::<io::Result<_>>()?;
    let server = loops.first();
    let tls = tls::of(options)?;
    // Nothing is said to be open before all is.
    let mut opened = listen::all(server, options, tls.as_ref())?;
    opened += &descriptors.notice();
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
    watchdog::watch(each.clone(), Arc::clone(&status));
    let mut ways = ways(each, has_broker).into_iter();
    let subjects = Arc::new(Subjects::default());
    let mut parts = slots.into_iter().zip(engines).zip(hooks);
    loops.run(|server, _| {
        let ((slot, engine), hooks) = parts.next().unwrap_or_default();
        let (now, status) = (server.hub().now(), Arc::clone(&status));
        let mut service = Service::new(now, status, options, gate.twin(), hooks, engine, slot);
        if let Some(ways) = ways.next() {
            service.set_loops(handle.clone(), ways, &subjects);
        }
        service
            .begin(server.hub(), options)
            .expect("there is room for all encodings of the server");
        service
    })
}

/// How each of several loops works together with the others.
fn ways(each: Vec<Handle>, has_broker: bool) -> Vec<Ways> {
    match (each.len(), has_broker) {
        (1, _) => Vec::new(),
        (_, true) => Errands::all(each).map(Ways::Errands).collect(),
        (_, false) => Relay::all(each).map(Ways::Relay).collect(),
    }
}
