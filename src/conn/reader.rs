//! Frames to messages (RFC 6455 §5). A frame that lies whole in the receive buffer is unmasked in
//! place and its message is borrowed from there; only what is incomplete is copied.

use std::{mem, ops::Range, str};

use super::{
    commons::{Commons, Ticks, wastes_room},
    deflate::Deflation,
    outbox::OutboxSlot,
};
use crate::{
    event::{ConnId, Events, Record, Span},
    wire::{
        Expect, HEADER_LEN_MAX, Header, OpCode, ProtocolError, Utf8, decode_close, encode_frame,
        unmask,
    },
};

/// Payload of a control frame, in bytes at most (§5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// What a connection holds while a frame or a message is incomplete.
#[derive(Debug)]
pub(crate) struct Partial {
    /// The first bytes of a header that is not whole.
    held: [u8; HEADER_LEN_MAX],
    held_len: u8,
    frame: Option<Frame>,
    message: Option<Kind>,
    /// The message is compressed: it is inflated and checked once it is whole.
    deflated: bool,
    utf8: Utf8,
    frames: u32,
    /// When the message began.
    began: Ticks,
    assembly: Vec<u8>,
    /// The assembly is a spare buffer, whose room was not counted yet.
    uncounted: bool,
    control: [u8; CONTROL_BYTES_MAX],
    control_len: u8,
}

impl Default for Partial {
    fn default() -> Self {
        Self {
            held: [0; HEADER_LEN_MAX],
            held_len: 0,
            frame: None,
            message: None,
            deflated: false,
            utf8: Utf8::default(),
            frames: 0,
            began: Ticks::default(),
            assembly: Vec::new(),
            uncounted: false,
            control: [0; CONTROL_BYTES_MAX],
            control_len: 0,
        }
    }
}

impl Partial {
    pub(super) fn take_assembly(&mut self) -> Vec<u8> {
        debug_assert!(self.is_at_rest());
        mem::take(&mut self.assembly)
    }

    /// Bytes that are kept of a message, and since when.
    pub(super) fn held(&self) -> (usize, Ticks) {
        (self.assembly.len(), self.began)
    }

    /// Bytes of room that is not used and was not counted yet: a spare buffer may be large.
    pub(super) fn take_uncounted(&mut self) -> usize {
        let room = self.assembly.capacity() - self.assembly.len();
        if mem::take(&mut self.uncounted) { room } else { 0 }
    }

    /// Appends to the message. It makes room by a quarter: thousands of messages that came half are not
    /// to be half empty.
    #[inline]
    fn append(&mut self, chunk: &[u8], commons: &mut Commons) {
        let assembly = &mut self.assembly;
        if assembly.capacity() == 0 && !chunk.is_empty() {
            *assembly = commons.spare_buffer();
            self.uncounted = true;
        }
        if assembly.capacity() - assembly.len() < chunk.len() {
            assembly.reserve_exact(chunk.len().max(assembly.len() / 4));
        }
        assembly.extend_from_slice(chunk);
    }

    /// Gives back most of the room that is not used.
    pub(super) fn compact(&mut self) {
        if wastes_room(&self.assembly) {
            self.assembly.shrink_to_fit();
        }
    }

    fn is_at_rest(&self) -> bool {
        self.held_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Forgets everything incomplete, as a connection that reads no further frame must.
    pub(super) fn reset(&mut self) {
        self.held_len = 0;
        self.frame = None;
        self.message = None;
    }
}

/// A frame whose payload has not all come.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: OpCode,
    fin: bool,
    mask: [u8; 4],
    /// Bytes of payload that came.
    phase: usize,
    remaining: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

/// Why no further frame of this connection is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// A Close frame (§5.5.1), with what it said.
    Close {
        code: Option<u16>,
        text: Span,
    },
    Failed(ProtocolError),
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        End::Failed(error)
    }
}

/// One stretch of input being read.
pub(super) struct Reader<'a> {
    pub(super) id: ConnId,
    pub(super) events: &'a mut Events,
    pub(super) commons: &'a mut Commons,
    pub(super) outbox: &'a mut OutboxSlot,
    pub(super) deflation: &'a mut Deflation,
    /// Something waits to be sent that an earlier turn could not write.
    pub(super) backlog: bool,
    /// We sent Close (§5.5.1): frames are still checked, but neither delivered nor answered.
    pub(super) quiet: bool,
    /// Bytes that were inflated so far, and what costs as much.
    pub(super) inflated: usize,
}

impl Reader<'_> {
    /// Reads `events.buffer[at..end]` to its last byte, or to the end of the connection's input.
    /// Gives where it stopped, which is before `end` only if enough was inflated for one turn: a
    /// kilobyte can become a megabyte.
    pub(super) fn read(
        &mut self,
        partial: &mut Option<Box<Partial>>,
        mut at: usize,
        end: usize,
    ) -> Result<usize, End> {
        while at < end && !self.has_inflated_enough() {
            if partial.is_none() {
                at = self.read_whole_frames(at, end)?;
                if at == end || self.has_inflated_enough() {
                    break;
                }
                *partial = Some(self.commons.spare_partial());
            }
            let Some(held) = partial.as_deref_mut() else { break };
            at = match held.frame {
                None => self.read_header(held, at, end)?,
                Some(_) => at,
            };
            if let Some(frame) = held.frame {
                at = self.read_payload(held, frame, at, end)?;
            }
            if let Some(rested) = partial.take_if(|partial| partial.is_at_rest()) {
                self.commons.recycle_partial(rested);
            }
        }
        Ok(at)
    }

    fn has_inflated_enough(&self) -> bool {
        self.inflated >= self.commons.config.read_bytes_per_turn
    }

    /// With nothing held: reads frames that are messages or control frames of their own and lie whole in
    /// the buffer. Gives where the first other one begins. The first is no usual one, as a rule: those
    /// were read before.
    fn read_whole_frames(&mut self, mut at: usize, end: usize) -> Result<usize, End> {
        let expect = Expect { message_open: false, rsv1: self.deflation.is_on() };
        while at < end && !self.has_inflated_enough() {
            let Some((header, len)) = Header::decode(&self.events.buffer[at..end], expect)? else {
                break;
            };
            self.check_size(&header, 0, header.rsv1)?;
            let start = at + len;
            let payload_len = header.payload_len as usize;
            if !header.fin || payload_len > end - start {
                break;
            }
            at = start + payload_len;
            unmask(&mut self.events.buffer[start..at], header.mask, 0);
            if header.rsv1 {
                let mut message = self.commons.spare_buffer();
                message.extend_from_slice(&self.events.buffer[start..at]);
                let kind = if header.opcode == OpCode::Text { Kind::Text } else { Kind::Binary };
                self.inflate(kind, message)?;
                continue;
            }
            let span = Span::Received { start: start as u32, end: at as u32 };
            match header.opcode {
                OpCode::Text => {
                    str::from_utf8(&self.events.buffer[start..at])
                        .map_err(|_| ProtocolError::InvalidUtf8)?;
                    self.deliver(Kind::Text, span);
                }
                OpCode::Binary => self.deliver(Kind::Binary, span),
                OpCode::Ping => self.ping(Pinged::Received(start, at)),
                OpCode::Pong => {}
                OpCode::Close => {
                    let closed = decode_close(&self.events.buffer[start..at])?;
                    let text =
                        closed.map(|_| Span::Received { start: start as u32 + 2, end: at as u32 });
                    let code = closed.map(|(code, _)| code);
                    return Err(End::Close { code, text: text.unwrap_or_default() });
                }
                OpCode::Continuation => return Err(ProtocolError::ContinuationUnexpected.into()),
            }
            if !self.quiet {
                at = read_usual_frames(self.id, self.events, self.commons, at..end);
            }
        }
        Ok(at)
    }

    /// Completes the header of the next frame, if its bytes are there.
    fn read_header(&mut self, partial: &mut Partial, at: usize, end: usize) -> Result<usize, End> {
        let held = partial.held_len as usize;
        let taken = (HEADER_LEN_MAX - held).min(end - at);
        partial.held[held..held + taken].copy_from_slice(&self.events.buffer[at..at + taken]);
        let expect =
            Expect { message_open: partial.message.is_some(), rsv1: self.deflation.is_on() };
        let Some((header, len)) = Header::decode(&partial.held[..held + taken], expect)? else {
            partial.held_len = (held + taken) as u8;
            return Ok(at + taken);
        };
        partial.held_len = 0;
        if header.opcode.is_control() {
            partial.control_len = 0;
        } else {
            self.begin_data_frame(partial, &header)?;
        }
        partial.frame = Some(Frame {
            opcode: header.opcode,
            fin: header.fin,
            mask: header.mask,
            phase: 0,
            remaining: header.payload_len as usize,
        });
        Ok(at + (len - held))
    }

    fn begin_data_frame(&mut self, partial: &mut Partial, header: &Header) -> Result<(), End> {
        match header.opcode {
            OpCode::Text => partial.message = Some(Kind::Text),
            OpCode::Binary => partial.message = Some(Kind::Binary),
            _ => {}
        }
        if header.opcode != OpCode::Continuation {
            partial.utf8 = Utf8::default();
            partial.frames = 0;
            partial.began = self.commons.now;
            partial.deflated = header.rsv1;
        }
        partial.frames += 1;
        if partial.frames > self.commons.config.message_frames_max {
            return Err(ProtocolError::TooManyFrames.into());
        }
        self.check_size(header, partial.assembly.len(), partial.deflated)
    }

    /// Decided from the header, before a byte of the payload is kept.
    #[inline]
    fn check_size(&self, header: &Header, assembled: usize, deflated: bool) -> Result<(), End> {
        let max = self.commons.config.message_bytes_max;
        let max = if deflated { Deflation::bytes_max(max) } else { max };
        let room = max.saturating_sub(assembled);
        if header.payload_len > room as u64 && !header.opcode.is_control() {
            return Err(ProtocolError::MessageTooBig.into());
        }
        Ok(())
    }

    fn read_payload(
        &mut self,
        partial: &mut Partial,
        mut frame: Frame,
        at: usize,
        end: usize,
    ) -> Result<usize, End> {
        let taken = frame.remaining.min(end - at);
        let chunk = &mut self.events.buffer[at..at + taken];
        unmask(chunk, frame.mask, frame.phase);
        if frame.opcode.is_control() {
            let len = partial.control_len as usize;
            partial.control[len..len + taken].copy_from_slice(chunk);
            partial.control_len += taken as u8;
        } else {
            partial.append(chunk, self.commons);
            if partial.message == Some(Kind::Text) && !partial.deflated {
                // §8.1: at the first byte that no text can have, even inside a frame.
                partial.utf8.push(chunk)?;
            }
        }
        frame.phase += taken;
        frame.remaining -= taken;
        partial.frame = Some(frame);
        if frame.remaining == 0 {
            partial.frame = None;
            self.end_frame(partial, frame)?;
        }
        Ok(at + taken)
    }

    fn end_frame(&mut self, partial: &mut Partial, frame: Frame) -> Result<(), End> {
        let control = &partial.control[..partial.control_len as usize];
        match frame.opcode {
            OpCode::Ping => self.ping(Pinged::Held(control)),
            OpCode::Pong => {}
            OpCode::Close => {
                let closed = decode_close(control)?;
                let code = closed.map(|(code, _)| code);
                let text = match closed {
                    Some((_, text)) if !text.is_empty() => self.events.keep(text.into()),
                    _ => Span::Empty,
                };
                return Err(End::Close { code, text });
            }
            OpCode::Text | OpCode::Binary | OpCode::Continuation if !frame.fin => {}
            OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                let Some(kind) = partial.message.take() else { return Ok(()) };
                if partial.deflated {
                    return self.inflate(kind, mem::take(&mut partial.assembly));
                }
                if kind == Kind::Text {
                    partial.utf8.finish()?;
                }
                let payload = mem::take(&mut partial.assembly);
                if self.quiet {
                    self.commons.recycle_buffer(payload);
                    self.deliver(kind, Span::Empty);
                } else {
                    let span = self.events.keep(payload);
                    self.deliver(kind, span);
                }
            }
        }
        Ok(())
    }

    /// Inflates a message (RFC 7692 §7.2.2) and delivers it.
    fn inflate(&mut self, kind: Kind, mut message: Vec<u8>) -> Result<(), End> {
        if self.quiet {
            self.commons.recycle_buffer(message);
            self.deliver(kind, Span::Empty);
            return Ok(());
        }
        let (payload, cost) = self.deflation.inflate(&mut message, self.commons)?;
        self.commons.recycle_buffer(message);
        if kind == Kind::Text && str::from_utf8(&payload).is_err() {
            return Err(ProtocolError::InvalidUtf8.into());
        }
        self.inflated = self.inflated.saturating_add(cost);
        let span = self.events.keep(payload);
        self.deliver(kind, span);
        Ok(())
    }

    #[inline]
    fn deliver(&mut self, kind: Kind, payload: Span) {
        if self.quiet {
            self.commons.tally.messages_after_close.add(1);
            return;
        }
        self.commons.tally.messages_received.add(1);
        let (id, is_text) = (self.id, kind == Kind::Text);
        self.events.records.push(match payload {
            Span::Empty => Record::Received { id, is_text, start: 0, end: 0 },
            Span::Received { start, end } => Record::Received { id, is_text, start, end },
            Span::Assembled(at) => Record::Assembled { id, is_text, at },
        });
    }

    /// §5.5.3: a Pong carries the Ping's payload.
    fn ping(&mut self, pinged: Pinged<'_>) {
        if self.quiet {
            return;
        }
        let payload = match pinged {
            Pinged::Received(start, end) => &self.events.buffer[start..end],
            Pinged::Held(payload) => payload,
        };
        self.outbox.pong(self.backlog, self.commons, |out| {
            encode_frame(out, OpCode::Pong, payload);
        });
    }
}

/// The most usual frames of all: whole messages below 64 KiB, binary, or text that is valid. Reads
/// `events.buffer[input]`, and gives where the first other frame begins.
// A function of its own, so that its loop has the processor's registers to itself.
#[inline(never)]
pub(super) fn read_usual_frames(
    id: ConnId,
    events: &mut Events,
    commons: &Commons,
    input: Range<usize>,
) -> usize {
    let Range { start: mut at, end } = input;
    let len_max = commons.config.message_bytes_max;
    let Events { buffer, records, .. } = events;
    let (before, mut rest) = (records.len(), &mut buffer[at..end]);
    // FIN and Text or Binary, no reserved bit; masked; its length in the fewest bytes (§5.2).
    while let Some((&mut [first @ (0x81 | 0x82), second @ 0x80..=0xFE], mut behind)) =
        mem::take(&mut rest).split_first_chunk_mut()
    {
        let mut len = usize::from(second & 0x7F);
        if second == 0xFE {
            let Some((&mut long, mask_on)) = behind.split_first_chunk_mut() else { break };
            (len, behind) = (usize::from(u16::from_be_bytes(long)), mask_on);
            if len < 126 {
                break;
            }
        }
        let Some((&mut mask, behind)) = behind.split_first_chunk_mut() else { break };
        let Some((payload, behind)) = behind.split_at_mut_checked(len) else { break };
        if len > len_max {
            break;
        }
        unmask(payload, mask, 0);
        if first == 0x81 && str::from_utf8(payload).is_err() {
            mask_again(payload, mask);
            break;
        }
        at = end - behind.len();
        let (start, end) = ((at - len) as u32, at as u32);
        records.push(Record::Received { id, is_text: first == 0x81, start, end });
        rest = behind;
    }
    let messages = records.len() - before;
    commons.tally.messages_received.add(messages as u64);
    at
}

/// Masks again what was unmasked, for the code that reads the frame next.
#[cold]
#[inline(never)]
fn mask_again(payload: &mut [u8], mask: [u8; 4]) {
    unmask(payload, mask, 0);
}

/// Where a Ping's payload lies.
enum Pinged<'a> {
    Received(usize, usize),
    Held(&'a [u8]),
}

#[cfg(test)]
mod tests;
