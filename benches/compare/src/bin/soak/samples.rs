//! What the server is like, from outside and by its own counters.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

use pushloop_compare::Server;

use crate::Done;

/// For what follows from the last end to be done: a closing handshake, a drain.
const PATIENCE_SECONDS: u64 = 60;

/// The server, which has one thread.
#[derive(Debug)]
pub struct Soaked(Server);

/// Those of the server's own numbers of which something is made: what nobody may leave behind first.
pub const NAMES: [&str; 4] = ["connections", "topics", "queued_bytes", "handler_panics"];

/// One second.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub second: u64,
    pub messages: u64,
    /// Connections made so far.
    pub made: u64,
    pub rss_kib: u64,
    pub fds: u64,
    /// By [`NAMES`].
    pub counters: [u64; NAMES.len()],
}

impl Sample {
    /// Whether nobody is there, and nothing is left of anybody.
    pub fn is_empty(&self) -> bool {
        self.counters[..3] == [0, 0, 0]
    }
}

impl Soaked {
    pub fn start() -> io::Result<Self> {
        Server::start(Command::new(std::env::current_exe()?).arg("serve")).map(Self)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub fn sample(&self, second: u64, done: &Done) -> io::Result<Sample> {
        let counters = self.counters()?;
        Ok(Sample {
            second,
            messages: done.messages.load(Ordering::Relaxed),
            made: done.connections.load(Ordering::Relaxed),
            rss_kib: self.status("VmRSS:", " kB")?,
            // What asked for the counters may still be among them.
            fds: self.fds()?,
            counters,
        })
    }

    fn fds(&self) -> io::Result<u64> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.0.child.id()))?.count() as u64)
    }

    fn status(&self, name: &str, unit: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix(unit)?.trim().parse().ok());
        number.ok_or_else(|| io::Error::other(format!("no {name} of the server")))
    }

    fn counters(&self) -> io::Result<[u64; NAMES.len()]> {
        let mut stream = TcpStream::connect(self.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(PATIENCE_SECONDS)))?;
        stream
            .write_all(b"GET /counters HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, numbers) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let numbers = numbers.split(' ').map(|number| number.parse().ok());
        let found: Option<Vec<_>> = numbers.collect();
        let found = found.and_then(|found| found.try_into().ok());
        found.ok_or_else(|| io::Error::other(format!("no counters: {answer}")))
    }

    /// Waits until nobody is there any more, and the loop sleeps.
    pub fn rests(&self, done: &Done) -> io::Result<Sample> {
        let mut sample = self.sample(0, done)?;
        for second in 1..=PATIENCE_SECONDS {
            if sample.is_empty() {
                break;
            }
            thread::sleep(Duration::from_secs(1));
            sample = self.sample(second, done)?;
        }
        // The one that asked is forgotten in a turn that comes after its answer.
        for _ in 0..PATIENCE_SECONDS {
            if self.wakes_in(Duration::from_secs(1))? == 0 {
                break;
            }
        }
        Ok(Sample { fds: self.fds()?, ..sample })
    }

    /// How often the loop wakes up in a time in which nobody comes. That is seen from outside: whoever
    /// asks the server wakes it, and not always equally often.
    pub fn wakes_in(&self, calm: Duration) -> io::Result<u64> {
        let wakes = || self.status("voluntary_ctxt_switches:", "");
        let before = wakes()?;
        thread::sleep(calm);
        Ok(wakes()? - before)
    }
}

pub fn csv(samples: &[Sample]) -> String {
    let mut text = format!("second,messages,made,rss_kib,fds,{}\n", NAMES.join(","));
    for sample in samples {
        let Sample { second, messages, made, rss_kib, fds, counters } = sample;
        let counters = counters.map(|number| number.to_string()).join(",");
        text += &format!("{second},{messages},{made},{rss_kib},{fds},{counters}\n");
    }
    text
}

/// By how much the resident memory grew over the run, as a part of it: a straight line through what was
/// seen after the first tenth, in which tables and pools come to their size.
pub fn slope(samples: &[Sample]) -> f64 {
    let under_load = &samples[1..samples.len().saturating_sub(1).max(1)];
    let settled = &under_load[under_load.len() / 10..];
    let n = settled.len() as f64;
    let mean = |of: fn(&Sample) -> f64| settled.iter().map(of).sum::<f64>() / n;
    let (x, y) =
        (|sample: &Sample| sample.messages as f64, |sample: &Sample| sample.rss_kib as f64);
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut xy, mut xx) = (0.0, 0.0);
    for sample in settled {
        xy += (x(sample) - mean_x) * (y(sample) - mean_y);
        xx += (x(sample) - mean_x).powi(2);
    }
    let (Some(first), Some(last)) = (settled.first(), settled.last()) else { return 0.0 };
    if xx == 0.0 { 0.0 } else { xy / xx * (x(last) - x(first)) / mean_y }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rss: impl Fn(u64) -> u64) -> Vec<Sample> {
        let sample = |second| Sample {
            second,
            messages: second * 1000,
            made: 0,
            rss_kib: rss(second),
            fds: 0,
            counters: [0; 4],
        };
        (0..101).map(sample).collect()
    }

    #[test]
    fn what_grows_has_a_slope_and_what_comes_and_goes_has_none() {
        assert_eq!(slope(&samples(|_| 5000)), 0.0);
        assert!(slope(&samples(|second| 5000 + second % 2)).abs() < 0.001);
        // 50 KiB a second, of 5,000 to 10,000: from 10 on that is 4,500 of 7,750 or so.
        let grows = slope(&samples(|second| 5000 + second * 50));
        assert!((0.5..0.65).contains(&grows), "{grows}");
        // Before that nothing counts.
        assert_eq!(slope(&samples(|second| if second < 10 { second } else { 5000 })), 0.0);
    }

    #[test]
    fn a_line_of_the_table_has_all_of_a_second() {
        let text = csv(&samples(|_| 5000)[..2]);
        assert_eq!(text.lines().nth(2), Some("1,1000,0,5000,0,0,0,0,0"));
        assert_eq!(text.lines().next().map(|line| line.split(',').count()), Some(9));
    }
}
