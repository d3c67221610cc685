//! What it was measured on, and who else was there.

use std::{
    fs, io,
    process::{Command, Output},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::REPOSITORY;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    pub date: String,
    pub commit: String,
    pub processor: String,
    pub cores: usize,
    pub kernel: String,
    /// The compilers and the runtime, as they call themselves.
    pub tools: Vec<String>,
}

impl Machine {
    pub fn look() -> io::Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let model = processors.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(": ")).map_or("unknown", |pair| pair.1);
        Ok(Self {
            date: first_line("date", &["-u", "+%F"]),
            commit: first_line("git", &["-C", REPOSITORY, "describe", "--always", "--dirty"]),
            processor: model.into(),
            cores: cores()?.len(),
            kernel: first_line("uname", &["-sr"]),
            tools: [("rustc", "--version"), ("g++", "--version"), ("node", "--version")]
                .map(|(name, argument)| first_line(name, &[argument]))
                .to_vec(),
        })
    }
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let line =
        |output: Output| String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned().into();
    let name = |line: String| if program == "node" { format!("Node {line}") } else { line };
    let output = Command::new(program).args(arguments).output().ok();
    output.and_then(line).map_or("unknown".into(), name)
}

/// The cores that this process may use.
pub fn cores() -> io::Result<Vec<usize>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.and_then(listed).ok_or(io::Error::other("which cores there are is not known"))
}

/// The numbers of `0-2,5`.
fn listed(list: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// How much others used the processor since then.
#[derive(Debug)]
pub struct Others {
    begun: Instant,
    ticks: u64,
}

/// `USER_HZ` is 100 wherever Linux runs.
const TICKS_PER_SECOND: f64 = 100.0;

impl Others {
    pub fn watch() -> io::Result<Self> {
        Ok(Self { begun: Instant::now(), ticks: ticks_of_others()? })
    }

    /// In cores, on average.
    pub fn cores(&self) -> io::Result<f64> {
        let ticks = ticks_of_others()?.saturating_sub(self.ticks);
        Ok(ticks as f64 / TICKS_PER_SECOND / self.begun.elapsed().as_secs_f64().max(0.01))
    }
}

/// What all processes used, less this one and its children that have ended. Interrupts are nobody's.
fn ticks_of_others() -> io::Result<u64> {
    let numbers = |text: &str| -> Vec<u64> {
        text.split_whitespace().map(|word| word.parse().unwrap_or_default()).collect()
    };
    let all = fs::read_to_string("/proc/stat")?;
    let all: u64 = numbers(all.lines().next().unwrap_or_default()).iter().skip(1).take(3).sum();
    let own = fs::read_to_string("/proc/self/stat")?;
    // The name, in brackets, may have spaces; fields 14 to 17 are times.
    let own = own.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let own: u64 = numbers(own).iter().skip(11).take(4).sum();
    Ok(all.saturating_sub(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(listed(" 0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(listed("7"), Some(vec![7]));
        assert_eq!(listed("x"), None);
        assert!(!cores().unwrap().is_empty());
    }

    #[test]
    fn the_machine_has_a_name() {
        let machine = Machine::look().unwrap();
        assert!(machine.cores > 0 && machine.kernel.starts_with("Linux"));
        assert!(Others::watch().unwrap().cores().unwrap() >= 0.0);
    }
}
