//! A server that runs.

use std::{
    io::{self, BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

#[derive(Debug)]
pub struct Running {
    child: Child,
    pub address: String,
}

impl Running {
    /// Starts a server, and waits until it says where it listens.
    pub fn start(mut command: Command, patience: Duration) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().expect("it is a pipe");
        let (told, says) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let address =
                lines.find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()));
            // Nobody waits for an answer that comes too late.
            drop(told.send(address));
            // What else it says is read, or it would wait for a reader.
            lines.for_each(drop);
        });
        let mut running = Self { child, address: String::new() };
        match says.recv_timeout(patience) {
            Ok(Some(address)) => running.address = address,
            _ => return Err(io::Error::other(format!("{command:?} does not listen"))),
        }
        Ok(running)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it has: whatever counts it can write down what it counted.
    pub fn end(mut self) -> io::Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        for _ in 0..200 {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(io::Error::other("a server does not end"))
    }

    /// Whether it is still there.
    pub fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> io::Result<Running> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Running::start(command, Duration::from_secs(5))
    }

    #[test]
    fn a_server_says_where_it_listens_and_ends_when_it_is_asked_to() {
        let mut running =
            shell("echo hello; echo listening on 127.0.0.1:7; exec sleep 60").unwrap();
        assert_eq!(running.address, "127.0.0.1:7");
        assert!(running.lives());
        running.end().unwrap();
    }

    #[test]
    fn a_server_that_does_not_listen_is_an_error() {
        assert!(shell("echo no; exit").is_err());
    }

    #[test]
    fn one_that_has_ended_does_not_live() {
        let mut running = shell("echo listening on 127.0.0.1:7").unwrap();
        running.child.wait().unwrap();
        assert!(!running.lives());
    }
}
