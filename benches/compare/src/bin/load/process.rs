//! What the server's process used, from `/proc`, in the time that is measured.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// What is measured is the difference between two of these.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    at: Instant,
    done: u64,
    cpu: Option<Duration>,
}

impl Mark {
    /// So much was done so far.
    pub fn now(pid: Option<u32>, done: u64) -> io::Result<Self> {
        Ok(Self { cpu: pid.map(cpu).transpose()?, at: Instant::now(), done })
    }

    /// What was done of `what` since the mark `before`, and what the server took for each.
    pub fn since(self, before: Self, what: &str, errors: u64) -> Value {
        let seconds = (self.at - before.at).as_secs_f64();
        let done = self.done - before.done;
        let mut found = json!({ "errors": errors, "rate": done as f64 / seconds });
        found[format!("{what}s")] = done.into();
        if let Some((after, before)) = self.cpu.zip(before.cpu) {
            let cpu = after.saturating_sub(before).as_secs_f64();
            found[format!("server_cpu_us_per_{what}")] = (cpu * 1e6 / done.max(1) as f64).into();
            found["server_cpu_share"] = (cpu / seconds).into();
        }
        found
    }
}

/// The CPU time of all threads that a process has, in user and kernel mode. A thread that ends takes
/// its time with it.
fn cpu(pid: u32) -> io::Result<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| of(pid, error))?;
    // A thread that ended in the meantime is none.
    let files =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok());
    let nanos = files.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok()).sum();
    if nanos == 0 {
        Err(of(pid, io::ErrorKind::InvalidData.into()))
    } else {
        Ok(Duration::from_nanos(nanos))
    }
}

/// Bytes in memory that are no file: heap, stacks.
pub fn anonymous(pid: u32) -> io::Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| of(pid, error))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or(of(pid, io::ErrorKind::InvalidData.into()))
}

fn of(pid: u32, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("process {pid}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_used_something() {
        let pid = std::process::id();
        assert!(cpu(pid).unwrap() > Duration::ZERO && anonymous(pid).unwrap() > 4096);
        for error in [cpu(u32::MAX).unwrap_err(), anonymous(u32::MAX).unwrap_err()] {
            assert!(error.to_string().starts_with("process 4294967295: "), "{error}");
        }
    }
}
