//! Instructions and system calls for one message.
//!
//! A server is run twice under what counts, for different times. What it does once, to start and to
//! end, is the same in both, and so are the messages that the load client does not count; the
//! difference of the counts over the difference of the messages is what one message costs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    client::{Client, Values},
    options::Options,
    process::Running,
    rows::{Run, Shape},
    servers::Server,
};

/// valgrind takes its time.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longer run has so many times as many messages as the shorter one.
const MANY: f64 = 1.5;
/// For that it takes so many times as long; the later ones are for a machine that is busy.
const LONGER: [f64; 3] = [3.0, 6.0, 12.0];

/// valgrind counts `rep stosb` and `rep movsb` once for each byte: glibc is told to use other ones.
const NO_REPEATS: &str = "glibc.cpu.x86_rep_stosb_threshold=1000000000:\
                          glibc.cpu.x86_rep_movsb_threshold=1000000000";

/// Finds the count in what a tool wrote.
type Reader = fn(&str) -> Option<f64>;

#[derive(Debug)]
pub struct Counter<'o> {
    pub options: &'o Options,
    pub cores: (usize, usize),
    pub folder: PathBuf,
}

impl Counter<'_> {
    pub fn count(&self, server: &Server, run: Run) -> Result<Values, String> {
        let seconds = if self.options.quick { 0.1 } else { 0.4 };
        let (shorter, few) = self.total(server, run, seconds)?;
        let (mut longer, mut many) = (shorter, few);
        for times in LONGER {
            if many < few * MANY {
                (longer, many) = self.total(server, run, seconds * times)?;
            }
        }
        if many < few * MANY {
            return Err(format!("{many} messages in the longer run, {few} in the shorter"));
        }
        let name = match run {
            Run::Instructions(_) => "instructions_per_message",
            _ => "syscalls_per_message",
        };
        Ok([(name.to_owned(), (longer - shorter) / (many - few)), ("messages".into(), many)].into())
    }

    /// The count of one run, and its messages.
    fn total(&self, server: &Server, run: Run, seconds: f64) -> Result<(f64, f64), String> {
        let file = self.folder.join(format!("{}.count", server.name));
        let said = |error: io::Error| format!("{}: {error}", file.display());
        if file.exists() {
            fs::remove_file(&file).map_err(said)?;
        }
        let (tool, shape, read): (String, Shape, Reader) = match run {
            Run::Instructions(shape) => (callgrind(&file), shape, instructions),
            Run::Syscalls(shape) => (strace(&file), shape, syscalls),
            _ => return Err("not a row that counts".into()),
        };
        let under: Vec<_> = tool.split(' ').collect();
        let mut command = server.command(self.cores.0, &under).map_err(said)?;
        command.env("GLIBC_TUNABLES", NO_REPEATS);
        let running = Running::start(command, PATIENCE).map_err(|error| error.to_string())?;
        let client = Client {
            server: &running,
            raw: server.is_raw(),
            core: self.cores.1,
            seconds,
            warmup: 0.0,
        };
        let messages = client.shape(shape, None)?["messages"];
        running.end().map_err(said)?;
        let count = wait_for(&file, read).ok_or(format!("{} says nothing", file.display()))?;
        Ok((count, messages))
    }
}

fn callgrind(file: &Path) -> String {
    format!("valgrind --quiet --tool=callgrind --callgrind-out-file={}", file.display())
}

/// With `-D` the server is the process that was started, not strace.
fn strace(file: &Path) -> String {
    format!("strace -D -f -qq -c -U calls,name -o {}", file.display())
}

/// What counts may end a little after the server.
fn wait_for(file: &Path, read: Reader) -> Option<f64> {
    for _ in 0..100 {
        if let Some(count) = fs::read_to_string(file).ok().as_deref().and_then(read) {
            return Some(count);
        }
        thread::sleep(Duration::from_millis(50));
    }
    None
}

/// `totals: 1234`, of callgrind's profile.
fn instructions(profile: &str) -> Option<f64> {
    profile.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok())
}

/// `1234 total`, the last line of strace's summary.
fn syscalls(summary: &str) -> Option<f64> {
    summary.lines().rev().find_map(|line| line.trim().strip_suffix(" total")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_found() {
        let profile = "events: Ir\nsummary: 77\n\nfn=(1) main\n1 77\n\ntotals: 77\n";
        assert_eq!(instructions(profile), Some(77.0));
        assert_eq!(instructions("events: Ir\n"), None);
        let summary = "    calls syscall\n--------- ------\n       19 recvfrom\n        2 total\n";
        assert_eq!(syscalls(summary), Some(2.0));
        assert_eq!(syscalls("    calls syscall\n       19 recvfrom\n"), None);
    }
}
