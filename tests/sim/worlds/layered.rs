//! The simulated network with a layer over it, in worlds that have one: a stream that holds bytes of
//! its own, and that the loop must not know from a plain one. It asserts what the loop promises.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use pushloop::testing::{self, Choice, Network};
use pushloop::{ConnId, Input, Net, Ready, Wake};

use super::codec::Codec;
use super::marks::{Mark, Marks};

pub struct Layered {
    net: Network,
    choice: Choice,
    marks: Marks,
    /// From how much ciphertext on a stream takes no more; `None` without a layer.
    held_max: Option<usize>,
    /// Plaintext that the loop has read and written.
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// Slots of the server that ever had a connection.
    slots: BTreeSet<u32>,
}

pub struct Stream {
    raw: testing::Stream,
    layer: Option<Layer>,
}

struct Layer {
    codec: Codec,
    held_max: usize,
}

impl Layered {
    pub fn new(net: Network, held_max: Option<usize>, choice: Choice, marks: Marks) -> Self {
        Self {
            net,
            choice,
            marks,
            held_max,
            bytes_read: 0,
            bytes_written: 0,
            slots: BTreeSet::new(),
        }
    }

    /// Writes what a stream holds, until nothing is left or the transport is full.
    fn push(&mut self, raw: &mut testing::Stream, codec: &mut Codec) -> io::Result<()> {
        while !codec.held.is_empty() {
            let written = self.net.write(raw, &codec.held);
            if written.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                self.marks.hit(Mark::LayerBlocked);
            }
            codec.held.drain(..written?);
        }
        self.net.flush(raw)
    }

    fn read_layer(
        &mut self,
        raw: &mut testing::Stream,
        layer: &mut Layer,
        into: &mut [u8],
    ) -> io::Result<Input> {
        let codec = &mut layer.codec;
        // A read that does not ask the transport must not use up what it has told meanwhile.
        let mut more = true;
        if codec.plain.is_empty() && !codec.is_over {
            match self.net.read(raw, into)? {
                Input::Bytes { count, more: has_more } => {
                    more = has_more;
                    codec.takes(&into[..count])?;
                }
                Input::End => codec.is_over = true,
            }
        }
        let count = codec.gives(into);
        if count == 0 && codec.is_over {
            return Ok(Input::End);
        }
        // An end is to be read, too.
        more |= !codec.plain.is_empty() || codec.is_over;
        if count == 0 {
            self.marks.hit(Mark::LayerStep);
        } else if !codec.plain.is_empty() {
            self.marks.hit(Mark::LayerKept);
        }
        Ok(Input::Bytes { count, more })
    }

    fn write_layer(
        &mut self,
        raw: &mut testing::Stream,
        layer: &mut Layer,
        from: &[u8],
    ) -> io::Result<usize> {
        let Layer { codec, held_max, .. } = layer;
        assert!(codec.is_greeted, "a write before anything was read");
        assert!(!codec.said_goodbye, "a write behind the end");
        if codec.held.len() >= *held_max {
            match self.push(raw, codec) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ if codec.held.len() >= *held_max => return Err(ErrorKind::WouldBlock.into()),
                _ => {}
            }
        }
        let mut n = from.len().min(*held_max - codec.held.len());
        if n > 1 && self.choice.chance(self.net.faults.short_write) {
            n = self.choice.part(n);
        }
        codec.seals(&from[..n]);
        Ok(n)
    }
}

impl Deref for Layered {
    type Target = Network;

    fn deref(&self) -> &Network {
        &self.net
    }
}

impl DerefMut for Layered {
    fn deref_mut(&mut self) -> &mut Network {
        &mut self.net
    }
}

impl Net for Layered {
    type Stream = Stream;

    fn now(&self) -> Instant {
        self.net.now()
    }

    fn wait(&mut self, timeout: Option<Duration>, tell: impl FnMut(Ready)) -> io::Result<()> {
        self.net.wait(timeout, tell)
    }

    fn accept(&mut self, listener: u32) -> io::Result<(Stream, Option<SocketAddr>)> {
        let (raw, peer) = self.net.accept(listener)?;
        let layer = |held_max| Layer { codec: Codec::new(), held_max };
        Ok((Stream { raw, layer: self.held_max.map(layer) }, peer))
    }

    fn is_out_of_resources(&self, error: &io::Error) -> bool {
        self.net.is_out_of_resources(error)
    }

    fn refuse(&mut self, listener: u32) -> io::Result<()> {
        self.net.refuse(listener)
    }

    fn register(&mut self, stream: &mut Stream, id: ConnId) -> io::Result<()> {
        self.net.register(&mut stream.raw, id)?;
        if !self.slots.insert(id.to_bits() as u32) {
            self.marks.hit(Mark::SlotReused);
        }
        Ok(())
    }

    fn read(&mut self, stream: &mut Stream, into: &mut [u8]) -> io::Result<Input> {
        let input = match &mut stream.layer {
            Some(layer) => self.read_layer(&mut stream.raw, layer, into),
            None => self.net.read(&mut stream.raw, into),
        };
        if let Ok(Input::Bytes { count, .. }) = input {
            self.bytes_read += count as u64;
        }
        input
    }

    fn write(&mut self, stream: &mut Stream, from: &[u8]) -> io::Result<usize> {
        assert!(!from.is_empty(), "an empty write");
        let written = match &mut stream.layer {
            Some(layer) => self.write_layer(&mut stream.raw, layer, from),
            None => self.net.write(&mut stream.raw, from),
        };
        self.bytes_written += written.as_ref().map_or(0, |n| *n as u64);
        written
    }

    fn flush(&mut self, stream: &mut Stream) -> io::Result<()> {
        match &mut stream.layer {
            Some(layer) => self.push(&mut stream.raw, &mut layer.codec),
            None => self.net.flush(&mut stream.raw),
        }
    }

    fn finish(&mut self, stream: &mut Stream) -> io::Result<()> {
        if let Some(layer) = &mut stream.layer {
            let codec = &mut layer.codec;
            assert!(codec.said_goodbye || codec.held.is_empty(), "finished before it was flushed");
            codec.says_goodbye();
            self.push(&mut stream.raw, codec)?;
        }
        self.net.finish(&mut stream.raw)
    }

    fn waker(&self) -> Box<dyn Wake + Send + Sync> {
        self.net.waker()
    }

    fn close_listeners(&mut self) {
        self.net.close_listeners();
    }
}
