//! `idle`: what an open connection costs the server in memory while nothing happens.
//!
//! One connection is opened and ended before anything is counted, so that what a server sets up once
//! is not shared out. A server that is far below its limits may have tables with room to grow: more
//! connections give a truer number.

use std::{
    io::{self, ErrorKind, Read},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use pushloop_compare::frame::{self, Control};

use crate::{open, options::Options, process};

/// A server frees a connection a little after it ended.
const FREED_AFTER: Duration = Duration::from_millis(300);

pub fn run(options: &Options) -> io::Result<Value> {
    let pid = options.pid.expect("idle has been refused without --pid");
    drop(open::open(options, 0)?);
    thread::sleep(FREED_AFTER);
    let before = process::anonymous(pid)?;
    let mut opened = open::open_all(options)?;
    thread::sleep(options.warmup + options.seconds);
    let after = process::anonymous(pid)?;
    let errors = opened.iter_mut().filter_map(|one| noise(&mut one.stream, &one.rest));
    let errors = errors.inspect(|error| eprintln!("load: {error}")).count();
    let each = (after as f64 - before as f64) / opened.len() as f64;
    Ok(json!({
        "connections": opened.len(),
        "server_bytes_per_connection": each,
        "errors": errors,
    }))
}

/// A connection that is idle is open, and nothing came but what a server may send by itself.
fn noise(stream: &mut impl Read, rest: &[u8]) -> Option<String> {
    let mut came = rest.to_vec();
    match stream.read_to_end(&mut came) {
        Ok(_) => return Some("the server ended a connection".into()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => return Some(error.to_string()),
    }
    let passes =
        came.is_empty() || matches!(frame::control(&came, &mut Vec::new()), Control::Passed(_));
    (!passes).then(|| format!("{came:02x?} came on an idle connection"))
}
