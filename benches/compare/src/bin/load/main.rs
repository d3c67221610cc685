//! The load client of the comparison.
//!
//! `load MODE URL [OPTIONS]`; `load --help` lists both. It loads a WebSocket server from one thread,
//! by sockets on loopback, and checks every byte that comes back: right, in order, none missing, none
//! twice. What it found is one JSON object; an error makes the exit status 1.
//!
//! It has to be far faster than any server, or it would be what is measured:
//!
//! - What a connection sends, and what has to come back, are streams of bytes with a period, made
//!   beforehand. Sending is a slice of the one (`messages.rs`), checking a comparison with the other
//!   (`answers.rs`), counting a division.
//! - It never sleeps (but with `--sleep`), so that nothing waits for it to wake up. Give it a
//!   processor core of its own.
//!
//! It shares no code with pushloop: the frames are in the package's library.

mod answers;
mod connect;
mod crowd;
mod drive;
mod idle;
mod inflated;
mod link;
mod messages;
mod open;
mod options;
mod process;
mod rules;
mod stream;
#[cfg(test)]
mod trials;

use std::{env, process::ExitCode};

use options::Mode;

/// How many errors there were. The first ones are shown.
#[derive(Default)]
struct Faults(u64);

impl Faults {
    fn add(&mut self, errors: u64, what: &str) {
        if self.0 < 10 {
            eprintln!("load: {what}");
        }
        self.0 += errors;
    }
}

fn main() -> ExitCode {
    let options = match options::parse(env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("load: {error} (see --help)");
            return ExitCode::from(2);
        }
    };
    let found = match options.mode {
        Mode::Echo | Mode::Fan => drive::run(&options),
        Mode::Connect => connect::run(&options),
        Mode::Idle => idle::run(&options),
    };
    match found {
        Ok(found) => {
            println!("{found}");
            if found["errors"] == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}
