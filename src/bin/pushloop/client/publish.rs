//! `pushloop publish`: a message, lines or bytes, one request after another on one connection.

use std::{
    io::{self, BufRead, IsTerminal, Read, Write},
    process::ExitCode,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use super::{
    backoff::Backoff,
    http::{Answer, Connection},
    options::{Input, Publish},
    say, token,
};

/// How often the progress is said.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// What begins a terminal's line anew.
const BEGIN: &str = "\r\x1b[K";

/// Publishes what the options say. What was refused is said before; the error is still to say.
pub fn run(options: &Publish) -> Result<ExitCode, String> {
    let asked = AtomicU64::new(0);
    let mut publisher = Publisher::new(options, &asked);
    match &options.input {
        Input::Message(message) => publisher.publish(None, message)?,
        Input::Binary => {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).map_err(standard_input)?;
            publisher.publish(None, &bytes)?;
        }
        Input::Lines => {
            let outcome = with_progress(&asked, || publisher.publish_lines(io::stdin().lock()));
            if let Err(error) = &outcome {
                say(error);
            }
            let Publisher { published, refused, .. } = publisher;
            let _ = writeln!(io::stderr(), "published {published}, refused {refused}");
            if outcome.is_err() {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(if publisher.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn standard_input(error: io::Error) -> String {
    format!("standard input: {error}")
}

struct Publisher<'a> {
    options: &'a Publish,
    connection: Option<Connection>,
    /// What requests on it say of their token.
    authorization: Option<String>,
    was_connected: bool,
    backoff: Backoff,
    /// What the server has answered, for the progress.
    asked: &'a AtomicU64,
    published: u64,
    refused: u64,
}

/// Why there is no answer.
enum Failure {
    /// Nothing of the request was sent.
    Unsent(io::Error),
    /// The server may have it or not.
    Unknown(io::Error),
}

impl<'a> Publisher<'a> {
    fn new(options: &'a Publish, asked: &'a AtomicU64) -> Self {
        Self {
            options,
            connection: None,
            authorization: None,
            was_connected: false,
            backoff: Backoff::new(options.retry_first),
            asked,
            published: 0,
            refused: 0,
        }
    }

    fn publish_lines(&mut self, mut input: impl BufRead) -> Result<(), String> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if input.read_until(b'\n', &mut line).map_err(standard_input)? == 0 {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            self.publish(Some(number), text.strip_suffix(b"\r").unwrap_or(text))?;
        }
        Ok(())
    }

    /// Publishes the line of this number, or all that there is. That it was refused is no error.
    fn publish(&mut self, line: Option<u64>, body: &[u8]) -> Result<(), String> {
        let answer = self.answer_to(line, body).map_err(|failure| {
            match (failure, line) {
                (Failure::Unsent(error), _) => {
                    format!("no connection to {}: {error}", self.options.url.authority)
                }
                (Failure::Unknown(error), None) => {
                    format!("it is not known whether this was published: {error}")
                }
                (Failure::Unknown(error), Some(line)) => format!(
                    "it is not known whether line {line} was published, and no later one was sent: {error}"
                ),
            }
        })?;
        self.asked.fetch_add(1, Ordering::Relaxed);
        let text = String::from_utf8_lossy(&answer.body);
        let text = text.trim_end();
        if self.options.is_verbose {
            writeln!(io::stdout(), "{text}")
                .map_err(|error| format!("standard output: {error}"))?;
        }
        if (200..300).contains(&answer.status) {
            self.published += 1;
        } else {
            self.refused += 1;
            let which = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            say(&format!("{which}refused with {}: {text}", answer.status));
        }
        Ok(())
    }

    fn request(&self, line: Option<u64>, body: &[u8]) -> Vec<u8> {
        let Publish { url, input, key, .. } = self.options;
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
            url.target,
            url.authority,
            body.len()
        );
        if *input == Input::Binary {
            head += "Content-Type: application/octet-stream\r\n";
        }
        if let Some(key) = key {
            let number = line.map(|line| format!("-{line}")).unwrap_or_default();
            head += &format!("Idempotency-Key: {key}{number}\r\n");
        }
        if let Some(authorization) = &self.authorization {
            head += &format!("Authorization: {authorization}\r\n");
        }
        [head.as_bytes(), b"\r\n", body].concat()
    }

    /// Asks until there is an answer, if asking twice does no harm.
    fn answer_to(&mut self, line: Option<u64>, body: &[u8]) -> Result<Answer, Failure> {
        loop {
            let mut connection = self.connection().map_err(Failure::Unsent)?;
            match connection.ask(&self.request(line, body)) {
                Ok(answer) => {
                    self.backoff.reset();
                    self.connection = (!answer.is_last).then_some(connection);
                    return Ok(answer);
                }
                // What is no answer will be none the next time.
                Err(error)
                    if self.options.key.is_none() || error.kind() == io::ErrorKind::InvalidData =>
                {
                    return Err(Failure::Unknown(error));
                }
                Err(error) => self.backoff.wait(&format!("lost: {error}")),
            }
        }
    }

    /// A connection on which nothing is under way. Where one was before, there will be one again.
    fn connection(&mut self) -> io::Result<Connection> {
        if let Some(connection) = self.connection.take().filter(Connection::is_idle) {
            return Ok(connection);
        }
        loop {
            self.authorization = token::authorization(self.options.token_file.as_ref())?;
            match Connection::open(&self.options.url) {
                Ok(connection) => {
                    self.was_connected = true;
                    return Ok(connection);
                }
                Err(error) if !self.was_connected => return Err(error),
                Err(error) => self.backoff.wait(&format!("no connection: {error}")),
            }
        }
    }
}

/// Says on a terminal how far the work is, until it is done.
fn with_progress<R>(asked: &AtomicU64, work: impl FnOnce() -> R) -> R {
    let (stop, stopped) = mpsc::channel::<()>();
    thread::scope(|scope| {
        if io::stderr().is_terminal() {
            scope.spawn(move || {
                let mut before = 0;
                while stopped.recv_timeout(PROGRESS_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    let now = asked.load(Ordering::Relaxed);
                    let rate = now - before;
                    let _ = write!(io::stderr(), "{BEGIN}{now} lines, {rate} per second");
                    before = now;
                }
                let _ = write!(io::stderr(), "{BEGIN}");
            });
        }
        let done = work();
        drop(stop);
        done
    })
}
