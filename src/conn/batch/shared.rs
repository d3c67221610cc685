//! A batch that other loops have as well: the same frames, encoded once. All else of a batch is each loop's own:
//! what is made of the frames, what its clock showed, what it counts.

use std::{mem, sync::Arc, time::Duration};

use super::{Batch, Encoded};
use crate::{
    conn::commons::{Commons, TICK_BITS, Ticks},
    event::ConnId,
};

/// A batch on its way between two loops.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    first: u64,
    frames: Arc<Encoded>,
    except: Box<[(ConnId, u32)]>,
    may_deflate: bool,
    long: u32,
    /// How long ago its first publications were made, and its last ones.
    ages: (Duration, Duration),
}

impl Shared {
    /// The offset of the first publication, and the one behind the last.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    pub(crate) fn end(&self) -> u64 {
        self.first + self.frames.ends.len() as u64
    }

    /// What it counts as, in bytes, wherever it is kept.
    pub(crate) fn counted(&self) -> usize {
        let except = self.except.len() * size_of::<(ConnId, u32)>();
        Batch::BYTES + self.frames.counted() + size_of::<(u32, u64)>() + except
    }

    /// Connections, and the offsets of the publications that they do not get.
    pub(crate) fn excepted(&self) -> impl Iterator<Item = ConnId> {
        self.except.iter().map(|(id, _)| *id)
    }
}

impl Batch {
    /// Makes the frames ones that other loops can have. Nothing is appended from here on.
    pub(crate) fn share(&mut self) {
        if self.shared.is_none() {
            self.shared = Some(Arc::new(mem::take(&mut self.growing)));
        }
    }

    /// The batch for another loop. What is not shared is copied.
    pub(crate) fn shared(&self, now: Ticks) -> Shared {
        let copy =
            |it: &Encoded| Encoded { from: 0, bytes: it.bytes.clone(), ends: it.ends.clone() };
        let frames = self.shared.clone().unwrap_or_else(|| Arc::new(copy(&self.growing)));
        let age = |then: Ticks| Duration::from_nanos((now.since(then) as u64) << TICK_BITS);
        Shared {
            first: self.first,
            frames,
            except: self.except.as_slice().into(),
            may_deflate: self.may_deflate,
            long: self.long,
            ages: (age(self.born), age(self.latest)),
        }
    }

    /// Begins with what another loop has published. All of it has one value of this hub's clock.
    pub(crate) fn begin_shared(&mut self, shared: Shared, clock: u64, commons: &Commons) {
        let (born, latest) = shared.ages;
        (self.first, self.may_deflate, self.long) = (shared.first, shared.may_deflate, shared.long);
        (self.born, self.latest) = (commons.now.before(born), commons.now.before(latest));
        self.shared = Some(shared.frames);
        self.clocks.push((0, clock));
        self.except.extend_from_slice(&shared.except);
        self.sort_excepted();
    }

    /// Its frames, to append to: what is shared is copied first.
    pub(super) fn own_again(&mut self) -> &mut Encoded {
        if let Some(shared) = self.shared.take() {
            self.growing.bytes.extend_from_slice(&shared.bytes);
            self.growing.ends.extend_from_slice(&shared.ends);
        }
        &mut self.growing
    }
}
