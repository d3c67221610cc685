//! The subject as a process under a tool, and clients that say what failed instead of panicking:
//! here connections fail on purpose.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::support::http::read_head;
use crate::support::process::Process;
use crate::support::{Frame, PATIENCE, close, handshake, text};

/// The running subject.
pub struct Subject {
    pub process: Process,
    pub address: SocketAddr,
    /// Its Unix-domain socket, if that is what it listens on; the file goes with it.
    socket: Option<PathBuf>,
    /// How long its clients wait for anything.
    pub patience: Duration,
}

impl Subject {
    /// Starts it with `tool` before it, a command and its arguments that become it.
    #[track_caller]
    pub fn start(tool: &[&str], arguments: &[&str]) -> Self {
        match Self::try_start(tool, arguments) {
            Ok(subject) => subject,
            Err(mut process) => panic!("it does not start: {:?}", process.child.wait()),
        }
    }

    /// Starts it; an error is a process that ended before it listened.
    pub fn try_start(tool: &[&str], arguments: &[&str]) -> Result<Self, Process> {
        let mut process = Process::under(tool, "kernel_subject", arguments);
        let first = process.line();
        let Some((_, address)) = first.trim_end().split_once("ws://") else {
            return Err(process);
        };
        let address = address.trim_end_matches('/');
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (address, socket) = match address.starts_with('/') {
            true => (nowhere, Some(PathBuf::from(address))),
            false => (address.parse().expect("it prints its address"), None),
        };
        Ok(Self { process, address, socket, patience: PATIENCE })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn opens(&self, path: &str) -> io::Result<Client<TcpStream>> {
        Client::open(connect(self.address, self.patience)?, path)
    }

    /// The same over whatever it listens on.
    pub fn opens_socket(&self, path: &str) -> io::Result<Client<Box<dyn Socket>>> {
        let socket: Box<dyn Socket> = match &self.socket {
            None => Box::new(connect(self.address, self.patience)?),
            Some(file) => {
                let stream = UnixStream::connect(file)?;
                stream.set_read_timeout(Some(self.patience))?;
                stream.set_write_timeout(Some(self.patience))?;
                Box::new(stream)
            }
        };
        Client::open(socket, path)
    }

    /// How many descriptors it has.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        fs::read_dir(folder).expect("the subject runs").count()
    }

    #[track_caller]
    pub fn is_alive(&mut self) {
        let ended = self.process.child.try_wait().expect("it is ours");
        assert!(ended.is_none(), "the subject ended: {ended:?}");
    }

    /// Stops it, for `process.signal("CONT")` to go on.
    pub fn stops(&self) {
        self.process.signal("STOP");
        eventually(|| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()));
            let stat = stat.expect("the subject runs");
            let (_, state) = stat.rsplit_once(") ").expect("its name is in parentheses");
            if state.starts_with(['T', 't']) { Ok(()) } else { Err("it does not stop".into()) }
        });
    }

    /// Waits until it has so many descriptors.
    #[track_caller]
    pub fn comes_to_descriptors(&self, expected: usize) {
        eventually(|| match self.descriptors() {
            n if n == expected => Ok(()),
            n => Err(format!("{n} descriptors, and not {expected}")),
        });
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Some(file) = &self.socket {
            // It is killed with the test, and cannot remove it.
            let _ = fs::remove_file(file);
        }
    }
}

/// Either kind of stream.
pub trait Socket: Read + Write {}

impl Socket for TcpStream {}
impl Socket for UnixStream {}

/// A stream whose reads and writes end in an error rather than never.
pub fn connect(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    Ok(stream)
}

/// Asks again until it is so; the last complaint if it does not come about.
#[track_caller]
pub fn eventually(mut so: impl FnMut() -> Result<(), String>) {
    let mut complaint = String::new();
    for _ in 0..PATIENCE.as_millis() {
        match so() {
            Ok(()) => return,
            Err(still) => complaint = still,
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("{complaint}");
}

/// One end of a WebSocket. An error is a connection that ended; one that hangs is a panic.
pub struct Client<S: Read + Write> {
    pub stream: BufReader<S>,
}

impl<S: Read + Write> Client<S> {
    pub fn open(mut stream: S, path: &str) -> io::Result<Self> {
        stream.write_all(handshake(path, "").as_bytes())?;
        let mut client = Self { stream: BufReader::new(stream) };
        client.reads_head()?;
        Ok(client)
    }

    /// Reads the answer to a handshake, which must be a good one.
    pub fn reads_head(&mut self) -> io::Result<()> {
        let head = awake(read_head(&mut self.stream))?;
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
        Ok(())
    }

    pub fn sends(&mut self, frame: &Frame) -> io::Result<()> {
        awake(self.stream.get_mut().write_all(&frame.masked([5, 6, 7, 8])))
    }

    pub fn reads(&mut self) -> io::Result<Frame> {
        // A read with a timeout is not taken up again by the kernel after a signal.
        let frame = loop {
            match awake(Frame::read(&mut self.stream)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                frame => break frame?,
            }
        };
        frame.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// The next frame is this, unless the connection ends.
    #[track_caller]
    pub fn expects(&mut self, expected: &Frame) -> io::Result<()> {
        let frame = self.reads()?;
        assert!(frame == *expected, "expected {expected:?}, and got {frame:?}");
        Ok(())
    }

    #[track_caller]
    pub fn echoes(&mut self, message: &Frame) -> io::Result<()> {
        self.sends(message)?;
        self.expects(message)
    }

    /// The closing handshake, and the end.
    #[track_caller]
    pub fn closes(mut self) -> io::Result<()> {
        self.sends(&close(1000, ""))?;
        self.expects(&close(1000, ""))?;
        self.expects_end()
    }

    #[track_caller]
    pub fn expects_end(&mut self) -> io::Result<()> {
        let mut rest = Vec::new();
        awake(self.stream.read_to_end(&mut rest))?;
        assert!(rest.is_empty(), "after the Close comes {}", rest.escape_ascii());
        Ok(())
    }

    /// What the subject counts, by name.
    #[track_caller]
    pub fn counts(&mut self) -> HashMap<String, u64> {
        self.sends(&text("?")).expect("the subject takes it");
        let frame = self.reads().expect("the subject answers");
        let line = String::from_utf8(frame.payload).expect("counts are text");
        let words: Vec<&str> = line.split(' ').collect();
        let count = |value: &str| value.parse().expect("a count is a number");
        words.chunks_exact(2).map(|pair| (pair[0].into(), count(pair[1]))).collect()
    }

    /// Waits until this connection is the only one, nothing is left of the others but that each
    /// ended once, and gives the counts.
    #[track_caller]
    pub fn is_alone(&mut self) -> HashMap<String, u64> {
        let mut counts = HashMap::new();
        eventually(|| {
            counts = self.counts();
            let alone = counts["open"] == 1 && counts["closed"] + 1 == counts["opened"];
            if alone { Ok(()) } else { Err(format!("{counts:?}")) }
        });
        assert_eq!((counts["topics"], counts["queued"], counts["astray"]), (0, 0, 0), "{counts:?}");
        counts
    }
}

/// A read or write that ends in a timeout is a hang.
#[track_caller]
fn awake<T>(result: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &result {
        let hangs = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        assert!(!hangs, "a connection hangs");
    }
    result
}
