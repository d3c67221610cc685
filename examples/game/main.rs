//! A game: ships in one arena, for as many players as come. The server takes orders only, makes 30
//! ticks a second, and publishes one snapshot of everything in each.
//!
//! `cargo run --example game -- --bots 12`, then open what it prints. Bots are WebSocket clients in
//! a process of their own. What the ticks are like with 200 of them:
//! `cargo run --release --example game -- --bots 200 --seconds 60`

mod arena;
mod bots;
mod clock;
#[path = "../page/mod.rs"]
mod page;
mod server;
mod wire;

use std::{
    env,
    error::Error,
    hash::{BuildHasher, RandomState},
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
};

use page::Page;
use server::Game;

const PAGE: Page = Page { name: "game", port: 9013, html: include_str!("page.html") };

fn main() -> ExitCode {
    let mut words: Vec<String> = env::args().skip(1).collect();
    if words.iter().any(|word| word == "--bots") {
        return match crowd(&mut words) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("game: {error}");
                ExitCode::FAILURE
            }
        };
    }
    PAGE.run(server::config(), |hub| Game::new(hub, RandomState::new().hash_one("the sparks")))
}

/// `--bots N [--seconds N] [--join ADDRESS]`: bots, and without an address a server of their own,
/// which gets all other options.
fn crowd(words: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    let mut take = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        (at + 1 < words.len()).then(|| words.drain(at..at + 2).nth(1))?
    };
    let count = take("--bots").ok_or("--bots needs a number")?.parse()?;
    let ticks = take("--seconds").map_or(Ok(u64::MAX), |n| n.parse().map(|n: u64| n * 30))?;
    if let Some(address) = take("--join") {
        return bots::run(&address, count, ticks);
    }
    let mut server =
        Command::new(env::current_exe()?).args(words).stdout(Stdio::piped()).spawn()?;
    let output = server.stdout.take().ok_or("its output is a pipe")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    print!("{line}");
    let address = line.trim().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let played = bots::run(address, count, ticks);
    // It may have ended, and the bots have said so.
    let _ = server.kill().and_then(|()| server.wait());
    played
}
