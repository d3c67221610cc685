//! The thread that writes publications to the file. It takes all that waits, writes it in one transaction,
//! and says so: a disk that is slow makes the transactions larger, and the loop never waits for it.

use std::{
    fs::{self, File},
    io, mem,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use pushloop::Handle;

use crate::{
    logs::{self, Level, say},
    store::{Kept, Limits, Record, Store, StoreError},
};

/// What the service is notified of, when something was written.
pub const WRITTEN: u32 = 1;

/// What is to be written, and how far that is done.
#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Arc<Record>>,
    /// Calls of `push`, and how many of them are written.
    pushed: u64,
    written: u64,
    /// The time of the last push, in milliseconds since 1970.
    now: u64,
    ends: bool,
    has_failed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wakes: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop's end of the thread.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Opens the file, and gives what it has.
    pub fn start(
        path: &Path,
        limits: Limits,
        handle: Handle,
        now: u64,
    ) -> Result<(Self, Vec<Kept>), StoreError> {
        // What is broken in the file may break the reader, who then says it here and not on the way.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let opened = panic::catch_unwind(|| Store::open(path, limits, now));
        panic::set_hook(hook);
        let (store, kept) =
            opened.unwrap_or_else(|_| Err(StoreError::Damaged("it cannot be read".to_owned())))?;
        let shared = Arc::new(Shared::default());
        let (shared_too, path) = (Arc::clone(&shared), path.to_owned());
        let thread = thread::spawn(move || run(store, &shared_too, &path, &handle));
        Ok((Self { shared, thread: Some(thread) }, kept))
    }

    /// Hands over what belongs together; or nothing, so that it is looked for what is too old. Gives the
    /// number that `written` reaches when that is done.
    pub fn push(&self, records: impl IntoIterator<Item = Arc<Record>>, now: u64) -> u64 {
        let mut queue = self.shared.lock();
        if !queue.has_failed {
            queue.waiting.extend(records);
        }
        (queue.pushed, queue.now) = (queue.pushed + 1, now);
        self.shared.wakes.notify_one();
        queue.pushed
    }

    /// How many of the pushes are written. When writing has failed, none has to wait for it any more.
    pub fn written(&self) -> u64 {
        let queue = self.shared.lock();
        if queue.has_failed { u64::MAX } else { queue.written }
    }

    pub fn has_failed(&self) -> bool {
        self.shared.lock().has_failed
    }
}

#[cfg(test)]
impl Writer {
    /// One without a file, which has written what the test says.
    pub fn idle() -> Self {
        Self { shared: Arc::default(), thread: None }
    }

    pub fn writes(&self, pushes: u64) {
        self.shared.lock().written = pushes;
    }

    pub fn fails(&self) {
        self.shared.lock().has_failed = true;
    }
}

impl Drop for Writer {
    /// Writes what waits, and closes the file.
    fn drop(&mut self) {
        self.shared.lock().ends = true;
        self.shared.wakes.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(mut store: Store, shared: &Shared, path: &Path, handle: &Handle) {
    loop {
        let mut queue = shared.lock();
        while queue.written == queue.pushed && !queue.ends {
            queue = shared.wakes.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.written == queue.pushed {
            return;
        }
        let (records, pushed, now) = (mem::take(&mut queue.waiting), queue.pushed, queue.now);
        drop(queue);
        let failure = write(&mut store, &records, now).err();
        if let Some(why) = &failure {
            end_file(path, why);
        }
        let mut queue = shared.lock();
        queue.written = pushed;
        queue.has_failed = failure.is_some();
        drop(queue);
        // If the server is gone, nobody waits.
        let _ = handle.notify(WRITTEN);
        if failure.is_some() {
            return;
        }
    }
}

fn write(store: &mut Store, records: &[Arc<Record>], now: u64) -> Result<(), String> {
    if records.is_empty() && !store.is_due(now) {
        return Ok(());
    }
    match panic::catch_unwind(AssertUnwindSafe(|| store.write(records, now))) {
        Ok(written) => written.map_err(|error| error.to_string()),
        Err(_) => Err("it is damaged".to_owned()),
    }
}

/// Nothing can be written any more. What is published from here on is not in the file: nobody may resume
/// from it in the next process. So nothing is published before the file is out of the way.
fn end_file(path: &Path, why: &str) {
    let shown = path.display();
    let removes = |_| fs::remove_file(path).and_then(|()| sync_directory(path));
    match set_aside(path).or_else(removes) {
        Ok(()) => {
            let told = format!(
                "the history can no longer be written to {shown}: {why}; the server goes on without the file, \
                 which is now {shown}.failed or removed, and topics begin anew when it starts again"
            );
            say(Level::Error, &told);
        }
        Err(error) => {
            let told = format!(
                "the history can no longer be written to {shown}: {why}; the server ends, because the file \
                 cannot be renamed or removed either ({error}), and would be taken for the whole history"
            );
            say(Level::Error, &told);
            logs::flush();
            process::exit(1);
        }
    }
}

/// Takes a file out of the way, so that no process takes it for what topics have published since.
pub fn set_aside(path: &Path) -> io::Result<()> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(".failed");
    fs::rename(path, PathBuf::from(aside))?;
    sync_directory(path)
}

/// What became of the file's name is so after a power cut as well.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
