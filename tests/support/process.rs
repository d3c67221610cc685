//! Programs of this package as processes, and tungstenite as their client.

use std::{
    ffi::OsStr,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Mutex,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use tungstenite::WebSocket;

use super::http::dial;

/// A running program; it ends with the test, also with one that fails.
pub struct Process {
    pub child: Child,
    output: BufReader<Printed>,
}

/// How long a program may take for a line, or to its end: no test waits for ever.
const TIME: Duration = Duration::from_secs(60);

/// What a program prints, by a thread that waits for it.
struct Printed {
    /// The lock is for tests that have the process in several threads.
    pieces: Mutex<Receiver<Vec<u8>>>,
    rest: Vec<u8>,
}

impl Printed {
    fn of(mut output: ChildStdout) -> Self {
        let (sender, pieces) = mpsc::channel();
        thread::spawn(move || {
            let mut piece = [0; 8192];
            while let Ok(read @ 1..) = output.read(&mut piece)
                && sender.send(piece[..read].to_vec()).is_ok()
            {}
        });
        Self { pieces: Mutex::new(pieces), rest: Vec::new() }
    }
}

impl Read for Printed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            let pieces = self.pieces.get_mut().expect("nobody panics with it");
            self.rest = match pieces.recv_timeout(TIME) {
                Ok(piece) => piece,
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
                Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
            };
        }
        let read = (&*self.rest).read(into)?;
        self.rest.drain(..read);
        Ok(read)
    }
}

/// A program that is to end by itself, and is killed if it does not.
pub fn bounded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", &TIME.as_secs().to_string()]).arg(program);
    command
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; the test has said why.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// An example of this package, which cargo builds before it runs a test.
    pub fn example(name: &str) -> Self {
        Self::start(&example(name), &["127.0.0.1:0"])
    }

    /// One of the examples that have a page (`examples/page/`).
    pub fn application(name: &str) -> Self {
        Self::start(&example(name), &["--listen", "127.0.0.1:0"])
    }

    /// An example with `tool` before it, a command and its arguments that become it.
    pub fn under(tool: &[&str], name: &str, arguments: &[&str]) -> Self {
        let example = example(name);
        let line = [tool, &[example.to_str().expect("the path is text")], arguments].concat();
        Self::start(line[0].as_ref(), &line[1..])
    }

    /// The server to run, `program`, on a port of its own, and its address.
    pub fn server(program: &str, arguments: &[&str]) -> (Self, String) {
        let arguments = [&["--listen", "127.0.0.1:0"], arguments].concat();
        let mut server = Self::start(Path::new(program), &arguments);
        let address = server.address("http://");
        (server, address)
    }

    pub fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        Self::of(command.args(arguments).stdin(Stdio::piped()))
    }

    pub fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|problem| {
            let program = command.get_program().display();
            panic!("{program}: {problem} (tests/run.sh installs it)")
        });
        let output = child.stdout.take().expect("standard output is a pipe");
        Self { child, output: BufReader::new(Printed::of(output)) }
    }

    /// The next line that it prints; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the output is text");
        line
    }

    /// The next bytes that it prints.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.output.read_exact(&mut bytes).expect("it prints so much");
        bytes
    }

    /// The address, `IP:PORT`, in the next line that has one behind `scheme`.
    pub fn address(&mut self, scheme: &str) -> String {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "no line with {scheme}");
            if let Some((_, rest)) = line.split_once(scheme) {
                let end = rest.find(|c: char| c == '/' || c == ',' || c.is_whitespace());
                return rest[..end.unwrap_or(rest.len())].to_owned();
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ends, which it does by itself.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        for _ in 0..TIME.as_millis() / 5 {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it has not ended within {TIME:?}");
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it, and waits for its end.
    pub fn kills(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is ours");
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        // The shell's own: a machine may have no other.
        let kill = ["-c", "kill -s \"$0\" \"$1\"", name, &pid];
        let sent = Command::new("bash").args(kill).status().expect("bash runs");
        assert!(sent.success(), "{sent}");
    }
}

/// Where cargo puts an example's program.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own file");
    let profile = test.ancestors().nth(2).expect("tests are at target/PROFILE/deps");
    let file = profile.join("examples").join(name);
    assert!(file.exists(), "{} (cargo build --all-features --examples)", file.display());
    file
}

/// A file of this thread's own, which is not there yet.
pub fn scratch(name: &str) -> PathBuf {
    let thread = thread::current().id();
    std::env::temp_dir().join(format!("pushloop-{}-{thread:?}-{name}", std::process::id()))
}

/// A stream that goes on after a signal: a read with a timeout is not taken up again by the kernel.
pub struct Stream(pub TcpStream);

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Opens a WebSocket on `ws://address/path`.
pub fn connect(address: &str, path: &str) -> WebSocket<Stream> {
    let url = format!("ws://{address}{path}");
    let (client, _) = tungstenite::client(url, Stream(dial(address))).expect("the server upgrades");
    client
}

/// The next text message.
pub fn read_text(client: &mut WebSocket<Stream>) -> String {
    loop {
        let message = client.read().expect("a message comes");
        if message.is_text() {
            return message.into_text().expect("it is text").as_str().to_owned();
        }
    }
}

/// The next text message, which is JSON.
pub fn read_json(client: &mut WebSocket<Stream>) -> Value {
    serde_json::from_str(&read_text(client)).expect("it is JSON")
}

/// The code of the Close frame that comes next.
pub fn read_close(client: &mut WebSocket<Stream>) -> u16 {
    loop {
        if let tungstenite::Message::Close(frame) = client.read().expect("a Close frame comes") {
            client.flush().expect("the answer to it goes out");
            return frame.map_or(1005, |frame| frame.code.into());
        }
    }
}
