//! Peers that lag, flood or come in crowds: how long the longest turn takes, what memory is held for
//! what is counted, and how long others wait meanwhile. Each figure stands beside its aim.
//!
//! `cargo bench --all-features --bench lag [-- ROW...]`. As a test, it takes a few peers of each kind.
//!
//! A turn is `Server::poll` and what the application does about its events. Its time is the CPU time
//! of the thread, and what the system calls would take that a network in memory does without (see
//! `net.rs`). Each row runs in a process of its own, so that none inherits memory of another.

// A benchmark measures time.
#![allow(clippy::disallowed_methods)]

mod floods;
mod history;
mod memory;
mod net;
mod queues;
mod report;
mod sockets;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::env;
use std::process::Command;

use pushloop::testing::frame;

/// The few of a test, or all.
#[derive(Clone, Copy)]
pub struct Scale {
    full: bool,
}

impl Scale {
    fn of<T>(self, quick: T, full: T) -> T {
        if self.full { full } else { quick }
    }
}

type Scenario = fn(Scale);

/// Each with the rows that it prints.
const SCENARIOS: [(&str, Scenario); 19] = [
    ("D1 D2", queues::answers_and_publications),
    ("D3", memory::spare_queues),
    ("D4", queues::full_queues),
    ("D6", queues::direct_sends),
    ("D7", sockets::fan_out),
    ("A2", queues::short_frames),
    ("A3", floods::requests_beside_flooders),
    ("A4", memory::topics_after_a_burst),
    ("A5a", memory::halves_of_messages),
    ("A5b", memory::laggards),
    ("A9", floods::pipelines_in_a_drain),
    ("A10a", floods::compressed_flood),
    ("A10b", floods::crowds_with_topics),
    ("A10c", floods::pings_at_once),
    ("A10e", floods::pipelines),
    ("L", queues::crowd_that_never_reads),
    ("H1", history::publications),
    ("H2", history::event_streams),
    ("H3", history::resume_storm),
];

/// Names the one scenario of a process.
const ONE: &str = "--scenario=";

fn main() {
    // Cargo says so when it is a benchmark, and not a test.
    let scale = Scale { full: env::args().any(|argument| argument == "--bench") };
    if let Some(one) = env::args().find_map(|argument| argument.strip_prefix(ONE).map(String::from))
    {
        let (_, scenario) = SCENARIOS.iter().find(|(rows, _)| *rows == one).expect("it is known");
        return scenario(scale);
    }
    let asked: Vec<_> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    report::head(scale);
    let is_asked = |row: &str| asked.iter().any(|asked| row.starts_with(asked.as_str()));
    let chosen = |rows: &str| asked.is_empty() || rows.split(' ').any(is_asked);
    let all = SCENARIOS.iter().map(|(rows, _)| *rows).filter(|rows| chosen(rows));
    let failed: Vec<_> = all.filter(|rows| !runs(rows, scale)).collect();
    assert!(failed.is_empty(), "without a figure: {failed:?}");
}

/// Runs one scenario in a process of its own; false if it fails.
fn runs(rows: &str, scale: Scale) -> bool {
    let mut command = Command::new(env::current_exe().expect("this program has a path"));
    command.arg(format!("{ONE}{rows}")).args(scale.full.then_some("--bench"));
    command.status().expect("this program can be run again").success()
}
