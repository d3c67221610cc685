//! `pushloop subscribe`: a line for each publication, and connections that go on where the last one ended.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    process::ExitCode,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tungstenite::{
    Error, HandshakeError, Message, WebSocket,
    client::IntoClientRequest,
    handshake::client::Request,
    http::{HeaderValue, header::AUTHORIZATION},
    protocol::CloseFrame,
};

use super::{
    backoff::Backoff,
    dial,
    envelope::{Content, Envelope, Recovered},
    options::{Output, Subscribe},
    places::Places,
    say, token,
};

/// Prints what is published until it is enough. The error is still to say.
pub fn run(options: &Subscribe) -> Result<ExitCode, String> {
    let mut subscriber = Subscriber {
        options,
        places: Places::new(options.url.topics().len(), &options.start),
        backoff: Backoff::new(options.retry_first),
        was_connected: false,
        left: options.count.map(Into::into),
    };
    loop {
        match subscriber.read_one_connection() {
            Ok(()) => return Ok(ExitCode::SUCCESS),
            Err(_) if is_unread() => return Ok(ExitCode::SUCCESS),
            Err(End::Lost(why)) if subscriber.was_connected => {
                subscriber.backoff.wait(&format!("lost: {why}"));
            }
            Err(End::Lost(why) | End::ForGood(why)) => return Err(why),
        }
    }
}

/// Why no more comes of a connection.
enum End {
    /// Another one may do better.
    Lost(String),
    ForGood(String),
}

/// A connection of which a read ends with whatever reads standard output.
struct Watched(TcpStream);

impl Read for Watched {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let out = io::stdout();
        let mut ends = [PollFd::new(&self.0, PollFlags::IN), PollFd::new(&out, PollFlags::empty())];
        let silence = self.0.read_timeout()?.and_then(|time| Timespec::try_from(time).ok());
        if poll(&mut ends, silence.as_ref())? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if ends[0].revents().is_empty() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0.read(into)
    }
}

impl Write for Watched {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether nothing reads standard output any more.
fn is_unread() -> bool {
    let out = io::stdout();
    let mut ends = [PollFd::new(&out, PollFlags::empty())];
    let polled = poll(&mut ends, Some(&Timespec::default()));
    polled.is_ok() && ends[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

struct Subscriber<'a> {
    options: &'a Subscribe,
    places: Places,
    backoff: Backoff,
    was_connected: bool,
    /// How many publications are to come, if that is known.
    left: Option<u64>,
}

impl Subscriber<'_> {
    /// Connects, and prints until it is enough.
    fn read_one_connection(&mut self) -> Result<(), End> {
        let mut socket = self.connect()?;
        let is_again = self.was_connected;
        self.was_connected = true;
        say(if is_again { "connected again" } else { "connected" });
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    if self.take(&text, is_again)? {
                        // Without it, the server sees the end of the connection as well.
                        let _ = socket.close(None);
                        return Ok(());
                    }
                }
                // The connection lasts.
                Ok(Message::Ping(_)) => self.backoff.reset(),
                Ok(Message::Pong(_) | Message::Frame(_)) => {}
                Ok(Message::Binary(_)) => return Err(no_envelope()),
                Ok(Message::Close(frame)) => {
                    // The answer to it: whether it arrives changes nothing here.
                    let _ = socket.flush();
                    return Err(End::Lost(closed(frame)));
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(self.silent());
                }
                Err(error) => return Err(End::Lost(error.to_string())),
            }
        }
    }

    fn connect(&self) -> Result<WebSocket<Watched>, End> {
        let Subscribe { url, silence, .. } = self.options;
        let stream = dial(url, *silence)
            .map_err(|error| End::Lost(format!("no connection to {}: {error}", url.authority)))?;
        match tungstenite::client(self.request()?, Watched(stream)) {
            Ok((socket, _)) => Ok(socket),
            Err(HandshakeError::Interrupted(_)) => Err(self.silent()),
            Err(HandshakeError::Failure(Error::Http(answer))) => {
                let text = answer.body().as_deref().unwrap_or_default();
                let text = String::from_utf8_lossy(text);
                let why = format!("refused with {}: {}", answer.status().as_u16(), text.trim_end());
                // RFC 9110 §15.5: what was asked for is wrong, and would be the next time.
                let is_ours = answer.status().is_client_error();
                Err(if is_ours { End::ForGood(why) } else { End::Lost(why) })
            }
            Err(HandshakeError::Failure(error)) => Err(End::Lost(error.to_string())),
        }
    }

    fn request(&self) -> Result<Request, End> {
        let for_good = |error: &dyn std::error::Error| End::ForGood(error.to_string());
        let url = self.options.url.web_socket(&self.places.query());
        let mut request = url.into_client_request().map_err(|error| for_good(&error))?;
        let token = token::authorization(self.options.token_file.as_ref());
        if let Some(token) = token.map_err(|error| for_good(&error))? {
            let value = HeaderValue::try_from(token).map_err(|error| for_good(&error))?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    fn silent(&self) -> End {
        End::Lost(format!("nothing came for {:?}", self.options.silence))
    }

    /// Takes a message, and tells whether it is enough.
    fn take(&mut self, message: &str, is_again: bool) -> Result<bool, End> {
        let Envelope { topic, id, content } = Envelope::parse(message).ok_or_else(no_envelope)?;
        match print(self.options.output, message, &content) {
            Ok(()) => {}
            // What reads it has had enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(true),
            Err(error) => return Err(End::ForGood(format!("standard output: {error}"))),
        }
        self.places.reached(&topic, id.as_deref());
        if let Content::Greeting(recovered) = content {
            match recovered {
                Recovered::All if is_again => say(&format!("{topic}: resumed")),
                Recovered::NotAsked if is_again => {
                    say(&format!("{topic}: not resumed: it had no ids"));
                }
                Recovered::Not(why) => say(&format!("{topic}: not recovered: {why}")),
                Recovered::All | Recovered::NotAsked => {}
            }
            return Ok(false);
        }
        self.backoff.reset();
        self.left = self.left.map(|left| left - 1);
        Ok(self.left == Some(0))
    }
}

fn print(output: Output, message: &str, content: &Content) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match (output, content) {
        (Output::Json, _) => writeln!(out, "{message}")?,
        (Output::Lines | Output::Raw, Content::Text(text)) => writeln!(out, "{text}")?,
        (Output::Lines, Content::Bytes(bytes)) => writeln!(out, "{}", BASE64.encode(bytes))?,
        (Output::Raw, Content::Bytes(bytes)) => out.write_all(bytes)?,
        (Output::Lines | Output::Raw, Content::Greeting(_)) => {}
    }
    out.flush()
}

fn no_envelope() -> End {
    End::ForGood(
        "the server does not send envelopes: is it an older one, or no pushloop?".to_owned(),
    )
}

fn closed(frame: Option<CloseFrame>) -> String {
    match frame {
        Some(CloseFrame { code, reason }) => {
            format!("closed with {}: {reason}", u16::from(code))
        }
        None => "closed".to_owned(),
    }
}
