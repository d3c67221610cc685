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
