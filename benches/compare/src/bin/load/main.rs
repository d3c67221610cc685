//! The load client of the comparison.
//!
//! `load MODE URL [OPTIONS]`; `load --help` lists both. It loads a WebSocket server from one thread,
//! by sockets on loopback, and checks every byte that comes back: right, in order, none missing, none
//! twice. An error makes the exit status 1.
//!
//! It has to be far faster than any server, or it would be what is measured:
//!
//! - What a connection sends, and what has to come back, are streams of bytes with a period, made
//!   beforehand. Sending is a slice of the one (`messages.rs`), checking a comparison with the other
//!   (`answers.rs`), counting a division.
//! - It never sleeps (but with `--sleep`), so that nothing waits for it to wake up. Give it a
//!   processor core of its own.
//! - A latency costs two looks at the clock for each read, not for each message (`latency.rs`).
//!
//! With `--rate`, messages leave on a schedule and latencies count from it (`pace.rs`).
//!
//! It shares no code with pushloop.

mod answers;
mod connect;
mod crowd;
mod drive;
mod echo;
mod fan;
mod frame;
mod idle;
mod inflated;
mod latency;
mod link;
mod messages;
mod open;
mod options;
mod pace;
mod process;
mod report;
#[cfg(test)]
mod trials;

use std::{env, io, process::ExitCode};

use options::{Mode, Options};
use report::Report;

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
    let report = match run(&options) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("load: {error}");
            return ExitCode::FAILURE;
        }
    };
    if options.json {
        println!("{}", report.json(options.mode.name()));
    } else {
        print!("{}", report.text());
    }
    if report.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(options: &Options) -> io::Result<Report> {
    match options.mode {
        Mode::Echo => echo::run(options, open_all(options)?),
        Mode::Fan => fan::run(options, open_all(options)?),
        Mode::Connect => connect::run(options),
        Mode::Idle => idle::run(options, options.pid.expect("idle has been refused without --pid")),
    }
}

fn open_all(options: &Options) -> io::Result<Vec<open::Opened>> {
    (0..options.connections).map(|at| open::open(options, at)).collect()
}
