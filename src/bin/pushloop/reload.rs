//! SIGHUP: all sources of options are read again, and what a server that runs can take is taken; all of it,
//! or nothing if something is wrong.
//!
//! What takes time or may fail is done on the thread of the signals, and gives `Prepared`; the loop takes
//! that, and cannot fail. What is read from other files, such as certificates, has its place there.

use std::{
    env,
    ffi::OsString,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use pushloop::{Handle, Hub, Tls, TlsCertificates};

use crate::{
    check, config,
    gate::Keys,
    key_sets::KeySet,
    logs::{Level, say},
    options::{self, Asked, Drain, Entry, Taken},
    service::Service,
    status::Status,
    tls,
};

/// What the service is notified of, when there is something to take.
pub const PREPARED: u32 = 2;

/// What a loop takes next.
pub type Slot = Arc<Mutex<Option<Prepared>>>;

/// What was read, and is right.
#[derive(Clone, Debug)]
pub struct Prepared {
    taken: Arc<Taken>,
    keys: Keys,
    /// What TLS presents from now on.
    tls: Option<(Tls, TlsCertificates)>,
    /// Whether topics that begin from now on have other options.
    with_topics: bool,
    /// What is said once it is so, and how many loops have not taken it yet.
    summary: Arc<(String, AtomicUsize)>,
}

/// What reads the sources again.
#[derive(Debug)]
pub struct Reload {
    arguments: Vec<OsString>,
    /// What the server began with.
    begun: Arc<Taken>,
    /// What it has taken since.
    latest: Arc<Taken>,
    tls: Option<Tls>,
    /// The sets that are fetched by now.
    sets: Vec<KeySet>,
    /// Each loop's.
    slots: Vec<Slot>,
    status: Arc<Status>,
}

impl Reload {
    pub fn new(
        arguments: Vec<OsString>,
        begun: Arc<Taken>,
        status: Arc<Status>,
        tls: Option<Tls>,
        sets: Vec<KeySet>,
    ) -> Self {
        let latest = Arc::clone(&begun);
        let slots = (0..begun.options.loops).map(|_| Slot::default()).collect();
        Self { arguments, begun, latest, tls, sets, slots, status }
    }

    /// Where each loop finds what was prepared.
    pub fn slots(&self) -> Vec<Slot> {
        self.slots.clone()
    }

    /// How the server ends.
    pub fn drain(&self) -> Drain {
        self.latest.options.drain
    }

    /// Reads all sources, and has the loop take what they say.
    pub fn read(&mut self, handle: &Handle) {
        match self.prepare(handle) {
            Ok(mut prepared) => {
                self.status.reloads.fetch_add(1, Ordering::Relaxed);
                self.latest = Arc::clone(&prepared.taken);
                self.sets = prepared.keys.sets().to_vec();
                for slot in &self.slots {
                    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
                    *slot = Some(prepared.clone());
                    // What is the process's is taken by the first.
                    prepared.tls = None;
                }
                // If the server is gone, nothing is to be taken.
                let _ = handle.notify(PREPARED);
            }
            Err(why) => {
                self.status.reloads_failed.fetch_add(1, Ordering::Relaxed);
                say(Level::Warn, &format!("not reloaded, all is as it was: {why}"));
            }
        }
    }

    fn prepare(&self, handle: &Handle) -> Result<Prepared, String> {
        let Asked::Serve(taken) = options::parse(self.arguments.iter().cloned(), env::vars_os())?
        else {
            return Err("the arguments ask for no server".to_owned());
        };
        taken.options.check_beside(&self.begun.options, &self.latest.options)?;
        check::check_files(&taken)?;
        let (keys, left_out) = taken.options.tokens.read()?;
        let tls = self.load(&taken)?;
        // What is in the file of histories has been written as the topics were then.
        let with_topics = self.begun.options.history_file.is_none();
        let with_prefixes = if with_topics { &taken.options } else { &self.begun.options };
        let keys = keys.with(self.fetch(&taken, handle)?).open_to(&with_prefixes.patterns);
        let is_taken = |entry: &Entry| {
            let is_for_tls = entry.name.starts_with("tls-");
            let is_of_topics = entry.by_topic && entry.name != options::ANYONE_MAY_PUBLISH;
            entry.reloads && (with_topics || !is_of_topics) && (tls.is_some() || !is_for_tls)
        };
        let (mut changed, mut left) = (Vec::new(), Vec::new());
        for entry in options::all() {
            if is_taken(entry) {
                if taken.differs(&self.latest, entry) {
                    changed.push(entry.name);
                }
            } else if taken.differs(&self.begun, entry) {
                left.push(entry.name);
            }
        }
        let before = if with_topics { &self.latest } else { &self.begun };
        if taken.topics_differ(before) {
            if with_topics { &mut changed } else { &mut left }.push("topics");
        }
        if tls.is_some() {
            // The files may be others under the same names.
            changed.push("the certificates");
        }
        let mut summary = summary(&changed, &left);
        if taken.options.tokens.are_given() {
            summary += "; the keys were read again";
        }
        left_out.iter().for_each(|why| summary += &format!("; {why}"));
        let summary = Arc::new((summary, AtomicUsize::new(self.slots.len())));
        Ok(Prepared { taken: taken.into(), keys, tls, with_topics, summary })
    }

    /// The sets of keys that are fetched from now on. Those that are new have their keys, or the error says why not.
    fn fetch(&self, taken: &Taken, handle: &Handle) -> Result<Vec<KeySet>, String> {
        let mut options = taken.options.tokens.fetched.clone();
        // Whom https trusts stays until a restart, for hooks as well.
        options.authorities = self.begun.options.tokens.fetched.authorities.clone();
        let sets = options.begin(&self.sets, handle, &self.status)?;
        let is_new = |set: &&KeySet| !self.sets.iter().any(|it| it.is_same(set));
        sets.iter().filter(is_new).try_for_each(KeySet::wait)?;
        Ok(sets)
    }

    /// What TLS is to present, if it was and is still asked for.
    fn load(&self, taken: &Taken) -> Result<Option<(Tls, TlsCertificates)>, String> {
        let Some(tls) = &self.tls else { return Ok(None) };
        match tls::load(&taken.options) {
            Ok(certificates) => Ok(certificates.map(|it| (tls.clone(), it))),
            Err(error) => {
                // It is counted there.
                let _ = tls.reload(|| Err(error.clone()));
                Err(error.to_string())
            }
        }
    }
}

/// One line on what is taken, and what is left.
fn summary(changed: &[&str], left: &[&str]) -> String {
    let mut summary = match changed {
        [] => "reloaded: nothing has changed that a running server takes".to_owned(),
        changed => format!("reloaded: {}", changed.join(", ")),
    };
    if !left.is_empty() {
        summary += &format!("; a restart is needed for {}", left.join(", "));
    }
    summary
}

/// Takes what was prepared, if something is.
pub fn take(slot: &Slot, hub: &mut Hub, service: &mut Service) {
    let prepared = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Prepared { taken, keys, tls, with_topics, summary }) = prepared else { return };
    let options = &taken.options;
    if with_topics && let Err(why) = service.set_patterns(hub, options) {
        return say(Level::Warn, &format!("not reloaded, all is as it was: {why}"));
    }
    // It was read and checked, and is not empty.
    if let Some((tls, certificates)) = tls
        && let Err(error) = tls.reload(|| Ok(certificates))
    {
        return say(Level::Warn, &format!("not reloaded: {error}"));
    }
    service.set_keys(hub, keys);
    hub.set_origins(config::origins(options));
    hub.set_hosts(config::hosts(options));
    hub.set_shutdown_spread(options.drain.spread);
    if summary.1.fetch_sub(1, Ordering::Relaxed) == 1 {
        say(Level::Info, &summary.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use pushloop::Server;

    use super::*;
    use crate::{
        gate::Gate,
        service::{Engine, Hooks},
    };

    #[test]
    fn the_spread_of_the_end_is_taken() {
        let arguments: Vec<OsString> = vec!["--drain-spread".into(), "3".into()];
        let Ok(Asked::Serve(taken)) = options::parse(Vec::new(), []) else { panic!("it is right") };
        let begun: Arc<Taken> = taken.into();
        let mut server = Server::new(config::of(&begun.options, 1000)).expect("it can begin");
        let status = Arc::new(Status::new(SystemTime::UNIX_EPOCH));
        let reload =
            Reload::new(arguments, Arc::clone(&begun), Arc::clone(&status), None, Vec::new());
        let slot = reload.slots().remove(0);
        let (keys, _) = begun.options.tokens.read().expect("there are none");
        let gate = Gate::new(keys, None, Arc::clone(&status));
        let now = server.hub().now();
        let mut service = Service::new(
            now,
            status,
            &begun.options,
            gate,
            Hooks::default(),
            Engine::Memory,
            Arc::clone(&slot),
        );
        *slot.lock().expect("nobody panics") =
            Some(reload.prepare(&server.handle()).expect("it is right"));
        take(&slot, server.hub(), &mut service);
        assert_eq!(server.hub().config().shutdown_spread, Duration::from_secs(3));
    }
}
