//! What strace records of a process.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::run::eventually;
use crate::support::process::scratch;

/// What strace writes; the file goes with the test.
pub struct Trace(PathBuf);

impl Trace {
    pub fn new(name: &str) -> Self {
        Self(scratch(&format!("{name}.strace")))
    }

    /// What stands before a command that is to be recorded, with more of strace's options.
    pub fn tool<'a>(&'a self, options: &[&'a str]) -> Vec<&'a str> {
        let file = self.0.to_str().expect("the path is text");
        // -D: the child is the process itself, and strace a stranger that ends with it.
        [&["strace", "-D", "-f", "-q", "-o", file], options].concat()
    }

    /// The record, once the process has ended.
    pub fn text(&self) -> String {
        let mut text = String::new();
        eventually(|| {
            text = fs::read_to_string(&self.0).unwrap_or_default();
            let last = text.lines().last().unwrap_or_default();
            if last.contains("+++") { Ok(()) } else { Err(format!("strace goes on: {last}")) }
        });
        text
    }

    /// With the option `-ttt`: when each call began, in seconds, and the call. The last line is the
    /// end of the process.
    pub fn lines(&self) -> Vec<(f64, String)> {
        self.text().lines().map(line).collect()
    }

    /// The same option: how often each call was made.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (_, text) in self.lines() {
            // The rest is what threads resume, signals and the end.
            let Some((call, _)) = text.split_once('(') else { continue };
            *counts.entry(call.to_owned()).or_default() += 1;
        }
        counts
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// `PID SECONDS CALL`.
fn line(line: &str) -> (f64, String) {
    let (_, rest) = line.split_once(' ').expect("a line begins with the process");
    let (time, call) = rest.trim_start().split_once(' ').expect("the time follows");
    (time.parse().expect("the time is a number"), call.to_owned())
}
