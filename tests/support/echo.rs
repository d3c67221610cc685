//! The `echo` example as a process of its own, under a tool if need be.

// Each test file is a crate of its own that needs a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::{PATIENCE, Peer, handshake};

/// A running echo server; it is killed with the test.
pub struct Echo {
    child: Child,
    pub address: SocketAddr,
}

impl Echo {
    /// Starts the example with `tool` before it, a command and its arguments that become it.
    pub fn start(tool: &[&str]) -> Self {
        let example = example("echo");
        let example = example.to_str().expect("the path is text");
        let line = [tool, &[example, "127.0.0.1:0"]].concat();
        let mut child =
            Command::new(line[0]).args(&line[1..]).stdout(Stdio::piped()).spawn().unwrap_or_else(
                |problem| panic!("{}: {problem} (tests/run.sh installs it)", line[0]),
            );
        let mut first = String::new();
        let output = child.stdout.as_mut().expect("standard output is a pipe");
        BufReader::new(output).read_line(&mut first).expect("the example prints a line");
        let address = first.trim_end().rsplit('/').next().unwrap_or_default();
        let address = address.parse().unwrap_or_else(|_| panic!("no address: {first:?}"));
        Self { child, address }
    }

    /// Records its system calls, those that `calls` names as strace does.
    pub fn traced(calls: &str) -> (Self, Trace) {
        let trace = Trace(std::env::temp_dir().join(format!(
            "pushloop-{}-{:?}.strace",
            std::process::id(),
            thread::current().id()
        )));
        let file = trace.0.to_str().expect("the path is text");
        let calls = format!("--trace={calls}");
        // -D: the child is the server, and strace a stranger that ends with it.
        let tool = ["strace", "-D", "-f", "-q", "-ttt", "-o", file, &calls];
        (Self::start(&tool), trace)
    }

    pub fn opens(&self) -> Peer {
        let mut peer = Peer::connect(self.address);
        peer.sends_bytes(handshake("/", ""));
        peer.expects_upgrade();
        peer
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn kills(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // It may have been killed as part of the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file of an example, beside that of the test.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own file");
    let profile = test.ancestors().nth(2).expect("tests are at target/PROFILE/deps");
    let file = profile.join("examples").join(name);
    assert!(file.exists(), "{} (cargo build --example {name})", file.display());
    file
}

/// What strace recorded.
pub struct Trace(PathBuf);

impl Trace {
    /// The whole record, once its process has been killed: when each call began, in seconds, and
    /// the call. The last line is the kill.
    pub fn lines(&self) -> Vec<(f64, String)> {
        for _ in 0..PATIENCE.as_millis() {
            let text = read(&self.0);
            if text.lines().last().is_some_and(|line| line.contains("+++ killed")) {
                return text.lines().map(line).collect();
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("strace does not end: {}", read(&self.0));
    }

    /// How often each call was made.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (_, text) in self.lines() {
            // The rest is what threads resume, signals and the end.
            let Some((call, _)) = text.split_once('(') else { continue };
            *counts.entry(call.to_owned()).or_default() += 1;
        }
        counts
    }

    /// How often a call was made.
    pub fn count(&self, call: &str) -> usize {
        let begins = |text: &String| text.starts_with(call) && text[call.len()..].starts_with('(');
        self.lines().iter().filter(|(_, text)| begins(text)).count()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `PID SECONDS CALL`.
fn line(line: &str) -> (f64, String) {
    let (_, rest) = line.split_once(' ').expect("a line begins with the process");
    let (time, call) = rest.trim_start().split_once(' ').expect("the time follows");
    (time.parse().expect("the time is a number"), call.to_owned())
}
