//! One TLS connection: records over a transport, by rustls' connection without buffers. What it holds is
//! what did not fit: a record in part, plaintext that was not asked for, ciphertext that did not leave.
//! An idle one holds nothing but its keys.

use std::{io, mem, net::Shutdown};

use rustls::{
    HandshakeKind,
    server::UnbufferedServerConnection,
    unbuffered::{
        ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
        UnbufferedStatus, WriteTraffic,
    },
};

use super::Tls;
use crate::server::Input;

/// Plaintext of one record, at the most (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// Plaintext that one write takes.
pub(super) const WRITE_BYTES_MAX: usize = 4 * RECORD_BYTES;
/// Ciphertext that one read takes from the transport.
pub(super) const READ_BYTES_MAX: usize = 64 * 1024;
/// What is kept of records that are not whole: a handshake message of 64 KiB, as a long chain of a
/// client's certificates is, with what its records add, or a record. A message in more pieces is
/// refused.
pub(super) const KEPT_BYTES_MAX: usize = 80 * 1024;
/// Ciphertext that a stream holds: one write, and what a handshake adds. A peer with records that demand
/// more answers, and which reads none, is refused.
const OUTPUT_BYTES_MAX: usize = 128 * 1024;
/// Steps of the protocol that need no input: messages to be sent, the peer's end, rest.
const STEPS_MAX: usize = 64;
/// What is read and discarded behind a request in plain HTTP, so that its answer arrives.
const REFUSED_BYTES_MAX: usize = 256 * 1024;
/// The answer to plain HTTP.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 51\r\n\r\n\
    this port speaks TLS: use https:// or wss:// for it";

/// What carries ciphertext.
pub(in crate::server) trait Transport: io::Read + io::Write {
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

/// Where a session is.
enum Phase {
    /// Nothing came. What it will be is decided by its first bytes, with the certificates of then.
    New(Tls),
    Handshake(Box<UnbufferedServerConnection>),
    Open(Box<UnbufferedServerConnection>),
    /// It spoke plain HTTP, and was told.
    Refused {
        discarded: usize,
    },
    /// It failed, or was given up.
    Dead,
}

/// What a call made of a session, for the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No byte came.
    Silent,
    Handshaking,
    Open,
    Refused,
    Dead,
}

pub(super) struct Session<T> {
    pub(super) transport: T,
    phase: Phase,
    /// Records that are not whole.
    input: Vec<u8>,
    plain: Vec<u8>,
    output: Vec<u8>,
    /// Tells it from a later one of the same place.
    pub(super) number: u32,
    /// The turn since which it holds something.
    pub(super) holds_since: u32,
    /// The peer says nothing more.
    is_over: bool,
    said_goodbye: bool,
    /// The last write did not leave whole.
    is_stalled: bool,
}

impl<T: Transport> Session<T> {
    pub(super) fn new(transport: T, tls: &Tls, number: u32) -> Self {
        Self {
            transport,
            phase: Phase::New(tls.clone()),
            input: Vec::new(),
            plain: Vec::new(),
            output: Vec::new(),
            number,
            holds_since: 0,
            is_over: false,
            said_goodbye: false,
            is_stalled: false,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        match &self.phase {
            Phase::New(_) => Stage::Silent,
            Phase::Handshake(_) => Stage::Handshaking,
            Phase::Open(_) => Stage::Open,
            Phase::Refused { .. } => Stage::Refused,
            Phase::Dead => Stage::Dead,
        }
    }

    pub(super) fn is_resumed(&self) -> bool {
        matches!(&self.phase, Phase::Open(tls) if tls.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Bytes of what came, and of what is to leave.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.input.capacity() + self.plain.capacity(), self.output.capacity())
    }

    /// Reads once. `scratch` has room for what is kept and what one read takes.
    pub(super) fn read(&mut self, into: &mut [u8], scratch: &mut [u8]) -> io::Result<Input> {
        if !self.plain.is_empty() {
            return Ok(self.give(into));
        }
        match &self.phase {
            Phase::New(_) | Phase::Handshake(_) | Phase::Open(_) => {}
            Phase::Refused { .. } => return self.discard(scratch),
            Phase::Dead => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
        if self.is_over {
            return Ok(Input::End);
        }
        let kept = self.input.len();
        scratch[..kept].copy_from_slice(&self.input);
        let room = into.len().min(READ_BYTES_MAX);
        let came = self.transport.read(&mut scratch[kept..kept + room])?;
        if came == 0 {
            // Without a close_notify it is an end all the same: messages have their own lengths.
            self.is_over = true;
            return Ok(Input::End);
        }
        if let Phase::New(tls) = &self.phase {
            // The first byte of a record is none of these.
            if scratch[0].is_ascii_uppercase() {
                return Ok(self.refuse());
            }
            self.phase = Phase::Handshake(Box::new(tls.begin()?));
        }
        let count = self.take(&mut scratch[..kept + came], into)?;
        let has_more = !self.plain.is_empty() || self.is_over || matches!(self.phase, Phase::Dead);
        Ok(Input::Bytes { count, more: came == room || has_more })
    }

    /// Gives what was left of the last read. The transport was not asked: there may be more.
    fn give(&mut self, into: &mut [u8]) -> Input {
        let count = self.plain.len().min(into.len());
        into[..count].copy_from_slice(&self.plain[..count]);
        self.plain.drain(..count);
        if self.plain.is_empty() {
            self.plain = Vec::new();
        }
        Input::Bytes { count, more: true }
    }

    /// Takes ciphertext, and gives how much plaintext is in `into`.
    fn take(&mut self, buffer: &mut [u8], into: &mut [u8]) -> io::Result<usize> {
        let (Phase::Handshake(tls) | Phase::Open(tls)) = &mut self.phase else {
            return Err(io::ErrorKind::ConnectionAborted.into());
        };
        let (mut count, plain) = (0, &mut self.plain);
        let taken = process(tls, buffer, &mut self.output, |payload| {
            let (fits, rest) = payload.split_at(payload.len().min(into.len() - count));
            into[count..count + fits.len()].copy_from_slice(fits);
            count += fits.len();
            plain.extend_from_slice(rest);
        });
        let taken = taken.and_then(|(consumed, is_over)| {
            let rest = &buffer[consumed..];
            if rest.len() > KEPT_BYTES_MAX {
                return Err(invalid("a handshake message is in too many pieces"));
            }
            if self.output.len() > OUTPUT_BYTES_MAX {
                return Err(invalid("more is to be answered than the peer reads"));
            }
            Ok((rest, is_over))
        });
        match taken {
            Ok((rest, is_over)) => {
                self.is_over = is_over;
                keep(&mut self.input, if is_over { &[] } else { rest });
            }
            Err(error) => {
                // The alert, if there is room for it.
                let _ = self.flush();
                let plain = mem::take(&mut self.plain);
                self.give_up();
                // What came before it was said.
                self.plain = plain;
                if count == 0 {
                    return Err(error);
                }
            }
        }
        if matches!(&self.phase, Phase::Handshake(tls) if !tls.is_handshaking())
            && let Phase::Handshake(tls) = mem::replace(&mut self.phase, Phase::Dead)
        {
            self.phase = Phase::Open(tls);
        }
        Ok(count)
    }

    /// A client that speaks plain HTTP is told in plain HTTP. Nothing of it is read.
    fn refuse(&mut self) -> Input {
        self.phase = Phase::Refused { discarded: 0 };
        self.output = PLAIN_HTTP.to_vec();
        // Nothing was written before: there is room. If not, the connection ends at its deadline.
        if self.flush().is_ok() {
            let _ = self.transport.shutdown(Shutdown::Write);
        }
        Input::Bytes { count: 0, more: true }
    }

    fn discard(&mut self, scratch: &mut [u8]) -> io::Result<Input> {
        let room = scratch.len().min(READ_BYTES_MAX);
        let came = self.transport.read(&mut scratch[..room])?;
        if came == 0 {
            return Ok(Input::End);
        }
        if let Phase::Refused { discarded } = &mut self.phase {
            *discarded += came;
            if *discarded > REFUSED_BYTES_MAX {
                return Err(invalid("it speaks plain HTTP"));
            }
        }
        Ok(Input::Bytes { count: 0, more: came == room })
    }

    /// Takes plaintext: up to one record if what was written last did not leave whole.
    pub(super) fn write(&mut self, from: &[u8], scratch: &mut [u8]) -> io::Result<usize> {
        self.flush()?;
        let Phase::Open(tls) = &mut self.phase else {
            return Err(io::ErrorKind::ConnectionAborted.into());
        };
        let most = if self.is_stalled { RECORD_BYTES } else { WRITE_BYTES_MAX };
        let taken = &from[..from.len().min(most)];
        let sealed = with_traffic(tls, &mut self.input, &mut self.output, |traffic| {
            traffic.encrypt(taken, scratch)
        })?;
        let sealed = &scratch[..sealed];
        let sent = if self.output.is_empty() {
            match self.transport.write(sealed) {
                Ok(sent) => sent,
                Err(error) if is_put_off(&error) => 0,
                Err(error) => return Err(error),
            }
        } else {
            0
        };
        if sent < sealed.len() {
            self.output.reserve_exact(sealed.len() - sent);
            self.output.extend_from_slice(&sealed[sent..]);
        }
        self.is_stalled = !self.output.is_empty();
        Ok(taken.len())
    }

    /// Sends what is held.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.transport.write(&self.output) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) if sent == self.output.len() => self.output = Vec::new(),
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// RFC 8446 §6.1: close_notify, then FIN.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Phase::Open(tls) = &mut self.phase
            && !mem::replace(&mut self.said_goodbye, true)
        {
            let mut goodbye = [0; 64];
            let said = with_traffic(tls, &mut self.input, &mut self.output, |traffic| {
                traffic.queue_close_notify(&mut goodbye)
            })?;
            self.output.extend_from_slice(&goodbye[..said]);
        }
        self.flush()?;
        self.transport.shutdown(Shutdown::Write)
    }

    /// Ends it, and gives back what it holds. The loop hears of it from the transport.
    pub(super) fn condemn(&mut self) {
        self.give_up();
        // It is gone already, or will be.
        let _ = self.transport.shutdown(Shutdown::Both);
    }

    fn give_up(&mut self) {
        self.phase = Phase::Dead;
        (self.input, self.plain, self.output) = (Vec::new(), Vec::new(), Vec::new());
    }
}

/// Keeps `rest`, and no room for nothing.
fn keep(kept: &mut Vec<u8>, rest: &[u8]) {
    if rest.is_empty() {
        *kept = Vec::new();
    } else {
        kept.clear();
        kept.extend_from_slice(rest);
    }
}

fn is_put_off(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Goes through the records of `buffer`. Gives how many bytes of it are done with, and whether the peer
/// has said that nothing follows.
fn process(
    tls: &mut UnbufferedServerConnection,
    buffer: &mut [u8],
    output: &mut Vec<u8>,
    mut plain: impl FnMut(&[u8]),
) -> io::Result<(usize, bool)> {
    let (mut consumed, mut is_over) = (0, false);
    // Each step takes a record, or gives one, or is one of a few.
    for _ in 0..buffer.len() + STEPS_MAX {
        let UnbufferedStatus { mut discard, state, .. } =
            tls.process_tls_records(&mut buffer[consumed..]);
        let is_at_rest = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid)?;
                    discard += record.discard;
                    plain(record.payload);
                }
                false
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut data, output)?;
                false
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                false
            }
            Ok(ConnectionState::PeerClosed) => {
                is_over = true;
                false
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => true,
            Ok(ConnectionState::Closed) => {
                is_over = true;
                true
            }
            Ok(state) => return Err(invalid(format!("an unexpected state of TLS: {state:?}"))),
            Err(error) => {
                encode_alert(tls, &mut buffer[consumed + discard..], output)?;
                return Err(invalid(error));
            }
        };
        consumed += discard;
        if is_at_rest {
            return Ok((consumed, is_over));
        }
    }
    Err(invalid("TLS does not come to rest"))
}

/// What is said about an error.
fn encode_alert(
    tls: &mut UnbufferedServerConnection,
    rest: &mut [u8],
    output: &mut Vec<u8>,
) -> io::Result<()> {
    for _ in 0..STEPS_MAX {
        if !tls.wants_write() {
            break;
        }
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = tls.process_tls_records(rest).state {
            encode(&mut data, output)?;
        }
    }
    Ok(())
}

fn encode<D>(data: &mut EncodeTlsData<'_, D>, output: &mut Vec<u8>) -> io::Result<()> {
    let end = output.len();
    let needed = match data.encode(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            required_size
        }
        Err(error @ EncodeError::AlreadyEncoded) => return Err(invalid(error)),
    };
    output.resize(end + needed, 0);
    data.encode(&mut output[end..]).map(drop).map_err(invalid)
}

/// Has something sealed, after what the protocol has to say first. `input` is what is kept of records:
/// rustls remembers places in it.
fn with_traffic<R>(
    tls: &mut UnbufferedServerConnection,
    input: &mut [u8],
    output: &mut Vec<u8>,
    seal: impl FnOnce(
        &mut WriteTraffic<'_, rustls::server::ServerConnectionData>,
    ) -> Result<R, EncryptError>,
) -> io::Result<R> {
    for _ in 0..STEPS_MAX {
        match tls.process_tls_records(input).state.map_err(invalid)? {
            ConnectionState::WriteTraffic(mut traffic) => {
                return seal(&mut traffic).map_err(invalid);
            }
            ConnectionState::EncodeTlsData(mut data) => encode(&mut data, output)?,
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => {}
            state => return Err(invalid(format!("TLS does not take plaintext: {state:?}"))),
        }
    }
    Err(invalid("TLS does not come to rest"))
}
