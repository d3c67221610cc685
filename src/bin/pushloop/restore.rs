//! The file of the histories, as the server begins.

use std::{io, path::Path, sync::Arc, time::UNIX_EPOCH};

use pushloop::{Net, RestoreError, Server};

use crate::{
    ahead::Ahead,
    broker::Broker,
    logs::{Level, say},
    options::Options,
    service::Engine,
    status::Status,
    store::{Kept, Limits, StoreError},
    writer::{Writer, set_aside},
};

/// What decides the order of publications, and keeps them.
pub fn engine(server: &mut Server, options: &Options, status: &Arc<Status>) -> io::Result<Engine> {
    let now = server.hub().now();
    let broker = Broker::start(&options.broker, server.handle(), status, now);
    if let Some(broker) = broker.map_err(io::Error::other)? {
        return Ok(Engine::Broker(Box::new(broker)));
    }
    Ok(open(server, options)?.map_or(Engine::Memory, Engine::File))
}

/// Restores the topics that the file has, and gives what writes to it; `None` if there is none, or the
/// server does without.
fn open(server: &mut Server, options: &Options) -> io::Result<Option<Ahead>> {
    let Some(path) = &options.history_file else { return Ok(None) };
    let config = server.hub().config();
    let (bytes, topics) = (config.history_bytes_max, config.topics_remembered_max);
    let limits = Limits { patterns: options.patterns.clone(), bytes, topics };
    let today = server.net().wall_clock().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let clock = (server.hub().now(), today.unwrap_or_default().as_millis() as u64);
    match Writer::start(path, limits, server.handle(), clock.1) {
        Ok((writer, kept)) => {
            restore(server, &kept);
            Ok(Some(Ahead::new(writer, clock)))
        }
        Err(why) => do_without(path, why, options.history_file_optional).map(|()| None),
    }
}

fn restore(server: &mut Server, kept: &[Kept]) {
    let hub = server.hub();
    for topic in kept {
        let publications = topic.publications();
        let restored = match hub.restore_topic(&topic.name, topic.first, &publications) {
            // Whoever comes back is told that what was missed is not kept.
            Err(RestoreError::HistoryFull) => hub.restore_topic(&topic.name, topic.end(), &[]),
            restored => restored,
        };
        if let Err(why) = restored {
            say(Level::Warn, &format!("the topic {:?} begins anew: {why}", topic.name));
        }
    }
}

/// The file cannot be used. The server may do without it, unless another time the file would be taken for
/// all that was published.
fn do_without(path: &Path, why: StoreError, is_optional: bool) -> io::Result<()> {
    let refused = format!("cannot keep the history in {}: {why}", path.display());
    let (may_do_without, is_ours) = match why {
        StoreError::InUse => (false, true),
        StoreError::Foreign(_) => (is_optional, false),
        StoreError::Damaged(_) | StoreError::Io(_) => (is_optional, true),
    };
    if !may_do_without {
        return Err(io::Error::other(refused));
    }
    if is_ours && !is_absent(path) {
        set_aside(path).map_err(|error| {
            io::Error::other(format!("{refused}; nor can it be renamed or removed ({error})"))
        })?;
    }
    say(Level::Warn, &format!("{refused}; the server does without it, and topics begin anew"));
    Ok(())
}

/// Whether there is no such file, in a directory that is there: one that is not may come back with the file.
fn is_absent(path: &Path) -> bool {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    directory.is_none_or(Path::is_dir) && std::fs::symlink_metadata(path).is_err()
}
