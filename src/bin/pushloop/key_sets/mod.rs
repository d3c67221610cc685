//! Sets of keys that are fetched (RFC 7517): each by a thread of its own, from a URL of its issuer.
//!
//! It knows URLs, HTTP, the bytes of key sets, and when to fetch them. It must not know the hub, requests or
//! tokens: which token asks for a key that is not here is `gate.rs`'s to know.
//!
//! The loop waits for nothing. It is notified, and takes the latest keys of all sets; what it says is that a
//! token names a key that no set has (`KeySet::want`), which has a set fetched again, once for all that say so, and at
//! most once in `Pace::refetch`: whoever makes up names of keys does not have an issuer asked without end. A fetch
//! that fails leaves the keys of before.

mod fetch;
mod source;

use std::{
    io, mem,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread,
    time::Duration,
};

use pushloop::Handle;
use ureq::tls::TlsConfig;

use self::fetch::{Client, Failed, Fetched};
pub use self::{fetch::fetch, source::Source};
use crate::{
    auth::Key,
    logs::{Level, say},
    status::Status,
    web::{self, Failure, seconds},
};

/// What the service is notified of, when a fetch has ended.
pub const FETCHED: u32 = 4;

/// Sets of one server: each has a thread.
pub const KEY_SETS_MAX: usize = 16;
/// For so long an answer is taken for the next one, even if its `Cache-Control` says less.
const MAX_AGE_MIN: Duration = Duration::from_secs(60);
/// For so long keys are good that cannot be fetched anew: one that was withdrawn meanwhile is not good for ever.
const KEYS_STAY: Duration = Duration::from_secs(24 * 3600);
/// How much longer than a fetch may take it is waited for its thread.
const GRACE: Duration = Duration::from_secs(1);

/// When a set is fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// How long one fetch may take in all.
    pub timeout: Duration,
    /// For how long an answer is taken for the next one; its `Cache-Control` can say less.
    pub max_age: Duration,
    /// How long it is waited after a fetch, whoever wants the next one.
    pub refetch: Duration,
}

/// What the options say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchOptions {
    pub sources: Vec<Source>,
    pub pace: Pace,
    /// Whom https trusts, in place of the system's authorities.
    pub authorities: Option<PathBuf>,
}

impl FetchOptions {
    /// Adds a set.
    pub fn add(&mut self, source: Source) -> Result<(), String> {
        if self.sources.len() == KEY_SETS_MAX {
            return Err(format!("more of them than key_sets_max = {KEY_SETS_MAX}"));
        }
        self.sources.push(source);
        Ok(())
    }

    /// How many descriptors its connections take from the others.
    pub fn descriptors(&self) -> usize {
        // And what looks up a name.
        2 * self.sources.len()
    }

    /// Whether its files can be used. The error names one.
    pub fn check(&self) -> Result<(), String> {
        self.sources.iter().try_for_each(|source| self.trust(source).map(drop))
    }

    /// A line about each set.
    pub fn descriptions(&self) -> impl Iterator<Item = String> {
        let Pace { timeout, max_age, refetch } = self.pace;
        self.sources.iter().map(move |source| {
            format!(
                "{source} is to be fetched: anew after {} s, at most once in {} s, within {} ms",
                max_age.as_secs(),
                refetch.as_secs(),
                timeout.as_millis()
            )
        })
    }

    /// Sets that are fetched from now on. Those of before that are the same go on, with their keys.
    pub fn begin(
        &self,
        before: &[KeySet],
        handle: &Handle,
        status: &Arc<Status>,
    ) -> Result<Vec<KeySet>, String> {
        let begin = |source: &Source| {
            if let Some(same) = before.iter().find(|set| set.is(source, self.pace)) {
                return Ok(same.clone());
            }
            let client = Client::new(source, self.pace.timeout, self.trust(source)?);
            KeySet::begin(client, self.pace, handle.clone(), Arc::clone(status))
                .map_err(|error| format!("{source}: no thread can be started: {error}"))
        };
        self.sources.iter().map(begin).collect()
    }

    pub fn trust(&self, source: &Source) -> Result<TlsConfig, String> {
        web::trust(&source.url, self.authorities.as_deref())
    }
}

/// What a set has.
#[derive(Clone, Debug, Default)]
pub struct Latest {
    /// None, as long as it has not been fetched.
    pub keys: Arc<Vec<Key>>,
    /// When it was fetched last, in seconds since 1970.
    pub at: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    latest: Latest,
    /// The answer that the latest keys were in, by its hash.
    hash: Vec<u8>,
    /// Whether a fetch has ended, and why the latest has failed if it has.
    is_tried: bool,
    failure: Option<String>,
    /// A token names a key that no set has.
    is_wanted: bool,
    ends: bool,
}

impl State {
    /// Gives up keys that are too old.
    fn forget(&mut self, now: u64) {
        if self.latest.at.is_some_and(|at| now.saturating_sub(at) > KEYS_STAY.as_secs()) {
            (self.latest, self.hash) = Default::default();
        }
    }
}

#[derive(Debug)]
struct Shared {
    client: Client,
    pace: Pace,
    state: Mutex<State>,
    wakes: Condvar,
    status: Arc<Status>,
}

/// A set, and its thread, which ends with the last of those that have it.
#[derive(Clone, Debug)]
pub struct KeySet(Arc<Owner>);

#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    /// The thread ends once it has an answer. Nobody waits for that.
    fn drop(&mut self) {
        self.0.lock().ends = true;
        self.0.wakes.notify_all();
    }
}

impl KeySet {
    fn begin(client: Client, pace: Pace, handle: Handle, status: Arc<Status>) -> io::Result<Self> {
        let (state, wakes) = Default::default();
        let shared = Arc::new(Shared { client, pace, state, wakes, status });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("key set".to_owned()).spawn(move || of_thread.run(&handle))?;
        Ok(Self(Arc::new(Owner(shared))))
    }

    fn is(&self, source: &Source, pace: Pace) -> bool {
        self.0.0.client.source == *source && self.0.0.pace == pace
    }

    /// Whether it is the same thread's.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether a token of this issuer may be by a key of it.
    pub fn may_have_signed(&self, issuer: Option<&str>) -> bool {
        self.0.0.client.source.issuer.as_deref().is_none_or(|own| issuer == Some(own))
    }

    /// The keys that it has.
    pub fn latest(&self) -> Latest {
        self.0.0.lock().latest.clone()
    }

    /// Has it fetched again, as soon as that may be. Nobody waits for it.
    pub fn want(&self) {
        let was_wanted = mem::replace(&mut self.0.0.lock().is_wanted, true);
        if !was_wanted {
            self.0.0.wakes.notify_all();
        }
    }

    /// Waits until it has been fetched, or could not be. It is for a thread that may wait.
    pub fn wait(&self) -> Result<(), String> {
        let shared = &self.0.0;
        let longest = shared.pace.timeout + GRACE;
        let waits = shared.wakes.wait_timeout_while(shared.lock(), longest, |it| !it.is_tried);
        let (state, _) = waits.unwrap_or_else(PoisonError::into_inner);
        let source = &shared.client.source;
        match (&state.failure, state.latest.at) {
            (_, Some(_)) => Ok(()),
            (Some(why), None) => Err(format!("{source}: {why}")),
            (None, None) => Err(format!("{source}: it has not answered in time")),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread does, until its end.
    fn run(&self, handle: &Handle) {
        let Pace { max_age, refetch, .. } = self.pace;
        let mut retry = refetch;
        loop {
            let holds = self.take(self.client.fetch());
            // If the server is gone, nobody takes them.
            let _ = handle.notify(FETCHED);
            let rest = holds.unwrap_or(retry);
            retry = if holds.is_some() { refetch } else { max_age.min(retry * 2) };
            let goes_on = self.rests(refetch, |_| true)
                && self.rests(rest.saturating_sub(refetch), |state| !state.is_wanted);
            if !goes_on {
                return;
            }
        }
    }

    /// Waits for so long, and no longer than that is so. False at the end.
    fn rests(&self, time: Duration, is_so: impl Fn(&State) -> bool) -> bool {
        let rests = |state: &mut State| !state.ends && is_so(state);
        let waits = self.wakes.wait_timeout_while(self.lock(), time, rests);
        !waits.unwrap_or_else(PoisonError::into_inner).0.ends
    }

    /// Takes what came of a fetch. For how long that holds, if it is good.
    fn take(&self, outcome: Result<Fetched, Failed>) -> Option<Duration> {
        let mut state = self.lock();
        (state.is_wanted, state.is_tried) = (false, true);
        let holds = match outcome {
            Ok(fetched) => Some(self.take_keys(&mut state, fetched)),
            Err(failed) => {
                self.take_failure(&mut state, failed);
                None
            }
        };
        drop(state);
        self.wakes.notify_all();
        holds
    }

    fn take_keys(&self, state: &mut State, fetched: Fetched) -> Duration {
        let Fetched { keys, left_out, hash, max_age } = fetched;
        self.status.jwks_fetches.fetch_add(1, Ordering::Relaxed);
        state.latest.at = Some(seconds());
        // The same keys leave what was verified by them as it is.
        let is_new = hash != state.hash;
        if is_new {
            (state.latest.keys, state.hash) = (Arc::new(keys), hash);
        }
        let had_failed = state.failure.take().is_some();
        if had_failed || (is_new && !left_out.is_empty()) {
            let others: String = left_out.iter().map(|why| format!("; {why}")).collect();
            let count = state.latest.keys.len();
            say(
                Level::Info,
                &format!("{}: it was fetched, and has {count} keys{others}", self.client.source),
            );
        }
        holds(max_age, self.pace.max_age)
    }

    fn take_failure(&self, state: &mut State, Failed { failure, why }: Failed) {
        let status = &self.status;
        let count = match failure {
            Failure::TimedOut => &status.jwks_fetches_timed_out,
            Failure::Unreachable => &status.jwks_fetches_unreachable,
            Failure::Tls => &status.jwks_fetches_tls_failed,
            Failure::Status => &status.jwks_fetches_bad_status,
            Failure::TooLong => &status.jwks_fetches_too_long,
            Failure::Answer => &status.jwks_fetches_bad_answer,
        };
        count.fetch_add(1, Ordering::Relaxed);
        state.forget(seconds());
        // An outage is said once.
        if state.failure.as_ref() != Some(&why) {
            let stays =
                if state.latest.at.is_some() { "those of before stay" } else { "it has none yet" };
            say(
                Level::Warn,
                &format!("{}: no keys were fetched, {stays}: {why}", self.client.source),
            );
        }
        state.failure = Some(why);
    }
}

/// For how long an answer is taken for the next one, of what it says and of what is the longest.
fn holds(said: Option<Duration>, longest: Duration) -> Duration {
    said.map_or(longest, |it| it.clamp(MAX_AGE_MIN.min(longest), longest))
}

#[cfg(test)]
mod tests;
