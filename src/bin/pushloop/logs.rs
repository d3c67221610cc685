//! What the server says while it runs, on standard error: as lines, or as JSON.
//!
//! A thread of its own writes. What is said is put into a bounded queue, and what says it never waits: a
//! standard error that nobody reads costs lines, which are counted, and not the loop.

mod book;
mod lines;

use std::{
    any::Any,
    io::{self, Write},
    mem,
    panic::{self, PanicHookInfo},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering},
    thread,
    time::Duration,
};

use pushloop::{Mio, Net};

use self::book::Book;
pub use self::{
    book::{Kind, LINES_PER_SECOND},
    lines::{Event, Format, Value},
};
use crate::status::Status;

/// How long it is waited at the start, and at the end of the process, for what was said to be written.
const FLUSH_TIME: Duration = Duration::from_secs(1);
/// How often what was left out is told while nothing else is.
const LEFT_OUT_INTERVAL: Duration = Duration::from_secs(1);
/// Looks at a queue that others have, by one that must not wait.
const TRIES: usize = 100;

/// How much it matters; the first matters most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    #[default]
    Warn,
    Info,
    Debug,
}

impl Level {
    pub const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];

    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// What the options say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub format: Format,
    pub level: Level,
    /// Of each kind.
    pub lines_per_second: u32,
}

struct Logs {
    level: Level,
    queue: Mutex<Queue>,
    changes: Condvar,
    /// Where it is counted what was left out.
    status: Arc<Status>,
}

struct Queue {
    book: Book,
    /// It is here for its clocks, which are the network's.
    clock: Mio,
    /// The thread has lines that are not written yet.
    is_writing: bool,
}

/// There is one standard error, and so there is one of these.
static LOGS: OnceLock<Logs> = OnceLock::new();

/// What is said from now on is said so. Panics are, too.
pub fn start(options: LogOptions, status: &Arc<Status>) -> io::Result<()> {
    let clock = Mio::new()?;
    let book = Book::new(options.format, options.lines_per_second, clock.now());
    let logs = Logs {
        level: options.level,
        queue: Mutex::new(Queue { book, clock, is_writing: false }),
        changes: Condvar::new(),
        status: Arc::clone(status),
    };
    if LOGS.set(logs).is_ok() {
        thread::spawn(|| LOGS.get().map(Logs::write));
        panic::set_hook(Box::new(say_panic));
    }
    Ok(())
}

/// Says something that an operator should hear of. Before the start, it is written at once.
pub fn say(level: Level, what: &str) {
    match LOGS.get() {
        Some(logs) => logs.add(&said(level, &[("message", Value::Sentence(what))])),
        None => _ = writeln!(io::stderr(), "pushloop: {what}"),
    }
}

fn said<'a>(level: Level, fields: &'a [(&'static str, Value<'a>)]) -> Event<'a> {
    Event { level, kind: Kind::Server, fields }
}

/// Says what happened to a client.
pub fn tell(level: Level, kind: Kind, fields: &[(&'static str, Value<'_>)]) {
    if let Some(logs) = LOGS.get() {
        logs.add(&Event { level, kind, fields });
    }
}

/// Waits until all that was said is written, for a while: the process ends, or says elsewhere that it is open.
pub fn flush() {
    if let Some(logs) = LOGS.get() {
        logs.flush();
    }
}

/// Why, if that is a text of the program's: what is put together may have somebody's payload.
fn why_it_panicked(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("with values that are not shown")
}

fn say_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let what = format!("panicked at {place}: {}", why_it_panicked(panic.payload()));
    if let Some(logs) = LOGS.get() {
        let fields = [("message", Value::Sentence(&what))];
        let event = said(Level::Error, &fields);
        // It may have been in the queue that it panicked.
        for _ in 0..TRIES {
            match logs.queue.try_lock() {
                Ok(queue) => return logs.add_to(queue, &event),
                Err(_) => thread::yield_now(),
            }
        }
    }
}

impl Queue {
    fn turn_over(&mut self) {
        let now = self.clock.now();
        self.book.turn_over(now, self.clock.wall_clock());
    }

    fn is_busy(&self) -> bool {
        self.is_writing || !self.book.pending.is_empty()
    }
}

impl Logs {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, event: &Event<'_>) {
        // What the server says of itself is rare, and answers the one who has sent a signal.
        let is_notice = event.kind == Kind::Server && event.level == Level::Info;
        if event.level <= self.level || (is_notice && self.level == Level::Warn) {
            self.add_to(self.lock(), event);
        }
    }

    fn add_to(&self, mut queue: MutexGuard<'_, Queue>, event: &Event<'_>) {
        queue.turn_over();
        let time = queue.clock.wall_clock();
        if !queue.book.add(time, event) {
            self.status.log_lines_left_out.fetch_add(1, Ordering::Relaxed);
        }
        self.changes.notify_all();
    }

    /// What the thread does, until the process ends.
    fn write(&self) {
        loop {
            let lines = self.take();
            // Where nobody can be told, it goes on all the same.
            let _ = io::stderr().write_all(lines.as_bytes());
            self.lock().is_writing = false;
            self.changes.notify_all();
        }
    }

    /// What is to be written next, once there is something.
    fn take(&self) -> String {
        let mut queue = self.lock();
        while queue.book.pending.is_empty() {
            queue = if queue.book.has_left_out() {
                let waited = self.changes.wait_timeout(queue, LEFT_OUT_INTERVAL);
                let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
                queue.turn_over();
                queue
            } else {
                self.changes.wait(queue).unwrap_or_else(PoisonError::into_inner)
            };
        }
        queue.is_writing = true;
        mem::take(&mut queue.book.pending)
    }

    fn flush(&self) {
        let mut queue = self.lock();
        let time = queue.clock.wall_clock();
        queue.book.tell_left_out(time);
        self.changes.notify_all();
        let waits = self.changes.wait_timeout_while(queue, FLUSH_TIME, |queue| queue.is_busy());
        drop(waits.unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_panic_no_value_is_shown() {
        let text = "a text";
        let panics: [(fn(&str), _); 3] = [
            (|_| panic!("it is full"), "it is full"),
            (|text| panic!("{text}"), "with values that are not shown"),
            (
                |text| _ = text[1..].to_owned() + &text[text.len() + 1..],
                "with values that are not shown",
            ),
        ];
        for (panics, expected) in panics {
            let payload = panic::catch_unwind(|| panics(text)).expect_err("it panics");
            assert_eq!(why_it_panicked(&*payload), expected);
        }
    }
}
