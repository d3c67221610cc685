//! The server's options in a TOML file, as `pushloop check` reads them: any bytes.
//!
//! A file is taken, or refused in one line that begins with the file and the line of it that is wrong. Of a file that is
//! taken, `check` tells what would be so, or in one line which other file cannot be used; what it tells is a file
//! that says the same.

#![no_main]

#[path = "../../../src/bin/pushloop"]
#[allow(dead_code, unused_imports, reason = "a target needs a part of it")]
mod server {
    pub mod ahead;
    pub mod auth;
    pub mod broker;
    pub mod centrifuge;
    pub mod check;
    pub mod gate;
    pub mod hooks;
    pub mod key_sets;
    pub mod logs;
    pub mod options;
    pub mod pace;
    pub mod patterns;
    pub mod publish;
    pub mod pusher;
    pub mod requests;
    pub mod status;
    pub mod store;
    pub mod tls;
    pub mod topics;
    pub mod web;
    pub mod writer;
}

use std::{env, ffi::OsString, fs, path::PathBuf, process};

use libfuzzer_sys::fuzz_target;
// As these name each other.
use server::{
    ahead, auth, broker, centrifuge, check, gate, hooks, key_sets, logs, options, pace, patterns,
    publish, pusher, requests, status, store, tls, topics, web, writer,
};

use options::{Asked, Taken};

thread_local! {
    static FILE: PathBuf = env::temp_dir().join(format!("pushloop-fuzz-{}.toml", process::id()));
}

fuzz_target!(|data: &[u8]| {
    let error = match taken(data) {
        Ok(taken) => {
            match check::check(&taken) {
                Ok(told) => {
                    let again = self::taken(told.as_bytes()).expect("it is a file");
                    assert!(again.options == taken.options, "{told}");
                }
                // Another file, which the fuzzer has named.
                Err(error) => is_a_line(&error),
            }
            return;
        }
        Err(error) => error,
    };
    is_a_line(&error);
    let file = FILE.with(|file| format!("{}:", file.display()));
    let line = error.strip_prefix(&file).and_then(|rest| rest.split(':').next());
    let line: usize = line.and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("{error}"));
    let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
    assert!((1..=lines).contains(&line), "{error}");
});

/// What a server would take with a file of these bytes and nothing else.
fn taken(bytes: &[u8]) -> Result<Taken, String> {
    FILE.with(|file| {
        fs::write(file, bytes).expect("there is room");
        let arguments = ["--config".into(), file.into()];
        match options::parse(arguments, Vec::<(OsString, OsString)>::new())? {
            Asked::Serve(taken) => Ok(*taken),
            Asked::Help | Asked::Version => panic!("nobody asked for it"),
        }
    })
}

fn is_a_line(error: &str) {
    assert!(!error.is_empty() && !error.contains('\n'), "{error:?}");
}
