//! The histories of topics in a file: what is kept of each, and from where it goes on.
//!
//! The file is a redb database. All that is kept is also known here by time and length, so that what is to
//! be given up is found without reading.

mod index;

use std::{
    collections::BTreeSet,
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use index::{Index, Topic, cost};
use pushloop::{Message, Position};
use redb::{
    CommitError, Database, DatabaseError, ReadableTable, ReadableTableMetadata, StorageError,
    Table, TableDefinition, TableError, TableHandle, TransactionError, WriteTransaction,
};

use rustix::fs::{FlockOperation, flock};

use crate::patterns::Patterns;

/// The version of the format, which is its only entry.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("pushloop-history");
const VERSION_KEY: &str = "version";
const VERSION: u64 = 1;

/// By name: the epoch, the offset of the next publication, and when the latest was made, in milliseconds
/// since 1970.
const TOPICS: TableDefinition<'_, &str, (u64, u64, u64)> = TableDefinition::new("topics");
/// By topic and offset: the epoch, when it was made, whether it is text, and the payload.
const PUBLICATIONS: TableDefinition<'_, Key, Value> = TableDefinition::new("publications");

/// Of the database's own cache, in bytes.
const CACHE_BYTES: usize = 8 << 20;

type Key = (&'static str, u64);
type Value = (u64, u64, bool, &'static [u8]);
type Publications<'a> = Table<'a, Key, Value>;

/// How much is kept.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What each topic keeps, or none of it.
    pub patterns: Patterns,
    /// Bytes of all topics.
    pub bytes: usize,
    pub topics: usize,
}

/// A publication that is to be kept.
#[derive(Debug)]
pub struct Record {
    pub topic: Box<str>,
    /// The place of the publication: how many were before it.
    pub place: Position,
    /// In milliseconds since 1970.
    pub made_at: u64,
    pub is_text: bool,
    pub payload: Box<[u8]>,
}

impl Record {
    /// What was published.
    pub fn message(&self) -> Message<'_> {
        message(self.is_text, &self.payload)
    }
}

fn message(is_text: bool, payload: &[u8]) -> Message<'_> {
    match str::from_utf8(payload) {
        Ok(text) if is_text => Message::Text(text),
        Ok(_) | Err(_) => Message::Binary(payload),
    }
}

/// A topic as it was kept.
#[derive(Debug)]
pub struct Kept {
    pub name: String,
    /// The place of the first publication.
    pub first: Position,
    publications: Vec<(bool, Duration, Vec<u8>)>,
}

impl Kept {
    /// The place behind the last one.
    pub fn end(&self) -> Position {
        let Position { epoch, offset } = self.first;
        Position { epoch, offset: offset + self.publications.len() as u64 }
    }

    /// The publications, each with its age.
    pub fn publications(&self) -> Vec<(Message<'_>, Duration)> {
        let publications = self.publications.iter();
        publications.map(|(is_text, age, payload)| (message(*is_text, payload), *age)).collect()
    }
}

/// Why a file cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// Another process has it open.
    InUse,
    /// It is another program's, or of another version.
    Foreign(String),
    /// It is not whole.
    Damaged(String),
    Io(io::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str("another process has it open"),
            Self::Foreign(why) => f.write_str(why),
            Self::Damaged(why) => write!(f, "it is damaged: {why}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // It ends too early, or has what cannot be.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Io(error),
        }
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::Io(error) => error.into(),
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// Each step of a transaction has an error of its own.
macro_rules! from_errors {
    ($($step:ty),*) => {
        $(impl From<$step> for StoreError {
            fn from(error: $step) -> Self {
                redb::Error::from(error).into()
            }
        })*
    };
}

from_errors!(DatabaseError, StorageError, TransactionError, TableError, CommitError);

/// See the module.
#[derive(Debug)]
pub struct Store {
    database: Database,
    index: Index,
}

impl Store {
    /// Opens the file, or makes it, and gives what it has within the limits.
    pub fn open(path: &Path, limits: Limits, now: u64) -> Result<(Self, Vec<Kept>), StoreError> {
        // Only its owner reads what was published.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path)?;
        if file.metadata()?.len() > 0 {
            check_magic(&mut file)?;
            return Self::begin_with(file, false, limits, now);
        }
        let made = file.try_clone()?;
        Self::begin_with(file, true, limits, now).inspect_err(|_| empty(&made))
    }

    fn begin_with(
        file: File,
        is_new: bool,
        limits: Limits,
        now: u64,
    ) -> Result<(Self, Vec<Kept>), StoreError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).create_with_file_format_v3(true);
        let mut database = builder.create_file(file)?;
        if !is_new {
            check_format(&database)?;
            // Every page has a checksum. A file that was closed well is not looked through by itself.
            let is_whole = database.check_integrity()?;
            if !is_whole {
                return Err(StoreError::Damaged("a checksum is wrong".to_owned()));
            }
        }
        let mut store = Self { database, index: Index::new(limits) };
        store.begin()?;
        store.load()?;
        store.apply_limits()?;
        store.write(&[], now)?;
        let kept = store.kept(now)?;
        Ok((store, kept))
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        let transaction = begin_write(&self.database)?;
        transaction.open_table(ABOUT)?.insert(VERSION_KEY, VERSION)?;
        transaction.open_table(TOPICS)?;
        transaction.open_table(PUBLICATIONS)?;
        transaction.commit()?;
        Ok(())
    }

    /// Limits may have been lowered since the file was written.
    fn apply_limits(&mut self) -> Result<(), StoreError> {
        let transaction = begin_write(&self.database)?;
        {
            let mut publications = transaction.open_table(PUBLICATIONS)?;
            let mut topics = transaction.open_table(TOPICS)?;
            let names: Vec<_> = self.index.topics.keys().cloned().collect();
            for name in names {
                if self.index.limits.patterns.of(&name).history.is_some() {
                    self.index.trim_topic(&name, &mut publications)?;
                } else {
                    // What it publishes from now on is not written: its ids must not be known again.
                    self.index.forget(&name, &mut publications)?;
                    topics.remove(&*name)?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Goes through all that is in the file.
    fn load(&mut self) -> Result<(), StoreError> {
        let read = self.database.begin_read()?;
        let topics = read.open_table(TOPICS)?;
        let publications = read.open_table(PUBLICATIONS)?;
        let mut count = 0;
        for entry in topics.iter()? {
            let (name, value) = entry?;
            let (epoch, head, latest) = value.value();
            let name: Arc<str> = name.value().into();
            let mut topic = Topic::new((epoch, head, latest), self.index.history(&name));
            let mut expected = None;
            for entry in publications.range((&*name, 0)..=(&*name, u64::MAX))? {
                let (key, value) = entry?;
                let (offset, (of_epoch, made_at, _, payload)) = (key.value().1, value.value());
                if of_epoch != epoch || expected.is_some_and(|expected| expected != offset) {
                    return Err(StoreError::Damaged(format!("a gap in {name:?}")));
                }
                expected = offset.checked_add(1);
                count += 1;
                topic.bytes += cost(payload.len());
                topic.kept.push_back((made_at, payload.len() as u32));
            }
            if expected.is_some_and(|expected| expected != head) {
                return Err(StoreError::Damaged(format!("the end of {name:?} is missing")));
            }
            self.index.add(name, topic);
        }
        if publications.len()? != count {
            return Err(StoreError::Damaged("a topic is missing".to_owned()));
        }
        Ok(())
    }

    /// All that is kept, the topic that was published to last in the end.
    fn kept(&self, now: u64) -> Result<Vec<Kept>, StoreError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(PUBLICATIONS)?;
        let mut all = Vec::new();
        for (_, name) in &self.index.latest {
            let topic = &self.index.topics[name];
            let mut publications = Vec::with_capacity(topic.kept.len());
            for entry in table.range((&**name, 0)..=(&**name, u64::MAX))? {
                let value = entry?.1;
                let (_, _, is_text, payload) = value.value();
                let made_at = topic.kept[publications.len()].0;
                let age = Duration::from_millis(now.saturating_sub(made_at));
                publications.push((is_text, age, payload.to_vec()));
            }
            let first = Position { epoch: topic.epoch, offset: topic.first() };
            all.push(Kept { name: name.to_string(), first, publications });
        }
        Ok(all)
    }

    /// Keeps these publications, and gives up what the limits do not let be kept, in one transaction. What
    /// is not `Ok` may be in the file or not: nothing more can be written then.
    pub fn write(&mut self, records: &[Arc<Record>], now: u64) -> Result<(), StoreError> {
        let transaction = begin_write(&self.database)?;
        {
            let mut topics = transaction.open_table(TOPICS)?;
            let mut publications = transaction.open_table(PUBLICATIONS)?;
            let mut changed = BTreeSet::new();
            for record in records {
                self.index.put(record, &mut publications)?;
                changed.insert(&*record.topic);
            }
            for name in changed {
                let topic = &self.index.topics[name];
                topics.insert(name, (topic.epoch, topic.head, topic.latest))?;
            }
            self.index.trim(now, &mut publications)?;
            while self.index.topics.len() > self.index.limits.topics
                && let Some((_, name)) = self.index.latest.first().cloned()
            {
                self.index.forget(&name, &mut publications)?;
                topics.remove(&*name)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Whether something is too old to be kept.
    pub fn is_due(&self, now: u64) -> bool {
        self.index.is_due(now)
    }
}

/// A transaction after which, once it is committed, the one before is not gone back to, whatever breaks.
fn begin_write(database: &Database) -> Result<WriteTransaction, StoreError> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// Empties a file that could not be made whole, say for want of room: what is in it would be taken for another
/// program's by the next start. Where that cannot be done either, the next start says so.
fn empty(made: &File) {
    if flock(made, FlockOperation::NonBlockingLockExclusive).is_ok() {
        let _ = made.set_len(0);
    }
}

/// What every redb database begins with.
fn check_magic(file: &mut File) -> Result<(), StoreError> {
    let mut magic = [0; 4];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == *b"redb" => Ok(()),
        Ok(()) => Err(StoreError::Foreign("it is no history of pushloop".to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// Whether the tables are ours.
fn check_format(database: &Database) -> Result<(), StoreError> {
    let read = database.begin_read()?;
    let mut tables = read.list_tables()?;
    if !tables.any(|table| table.name() == ABOUT.name()) {
        return Err(StoreError::Foreign("it is another program's database".to_owned()));
    }
    let about = read.open_table(ABOUT)?;
    match about.get(VERSION_KEY)?.map(|version| version.value()) {
        Some(VERSION) => Ok(()),
        version => {
            let version = version.unwrap_or_default();
            Err(StoreError::Foreign(format!(
                "its format is {version}, and this program's {VERSION}"
            )))
        }
    }
}

#[cfg(test)]
mod tests;
