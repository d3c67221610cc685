//! What the server's process used: from `/proc`.

use std::{fs, io, time::Duration};

/// Of a process's kernel statistics that count in ticks: `USER_HZ` is 100 wherever Linux runs.
const TICK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident, and of that what is no file: heap, stacks.
    pub resident: u64,
    pub anonymous: u64,
}

/// A file of the process's, or that there is no such process any more.
fn file(pid: u32, name: &str) -> io::Result<String> {
    let gone = |error: io::Error| io::Error::new(error.kind(), format!("process {pid}: {error}"));
    fs::read_to_string(format!("/proc/{pid}/{name}")).map_err(gone)
}

/// The CPU time of all threads that a process has, in user and kernel mode. A thread that ends takes
/// its time with it.
pub fn cpu(pid: u32) -> io::Result<Duration> {
    let mut total = Duration::ZERO;
    file(pid, "stat")?;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ended in the meantime is none.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        match text.split_whitespace().next().and_then(|ns| ns.parse().ok()) {
            Some(ns) => total += Duration::from_nanos(ns),
            None => return ticks(&file(pid, "stat")?),
        }
    }
    if total.is_zero() { ticks(&file(pid, "stat")?) } else { Ok(total) }
}

fn ticks(stat: &str) -> io::Result<Duration> {
    // The name, in brackets, may have spaces; utime and stime are fields 14 and 15.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>());
    let field = |at: usize| fields.as_ref()?.get(at)?.parse::<u32>().ok();
    let (user, system) = field(11).zip(field(12)).ok_or(io::ErrorKind::InvalidData)?;
    Ok(TICK * (user + system))
}

pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = file(pid, "status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    let (resident, anonymous) =
        field("VmRSS:").zip(field("RssAnon:")).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Memory { resident, anonymous })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_used_something() {
        let pid = std::process::id();
        assert!(cpu(pid).unwrap() > Duration::ZERO);
        let memory = memory(pid).unwrap();
        assert!(memory.resident > memory.anonymous && memory.anonymous > 4096);
        let gone = u32::MAX;
        for error in [cpu(gone).unwrap_err(), super::memory(gone).unwrap_err()] {
            assert!(error.to_string().starts_with("process 4294967295: "), "{error}");
        }
    }

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 127 0 0 0 12 34 0 0 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat).unwrap(), Duration::from_millis(460));
        assert!(ticks("7 (a) S").is_err());
    }
}
