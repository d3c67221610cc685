//! Batches that nothing holds any more, for those that begin; and batches that a write still holds.

use std::{mem, sync::Arc};

use super::Batch;
use crate::conn::commons::{Commons, SPARES_MAX};

impl Commons {
    /// An empty batch that nothing else holds.
    pub(crate) fn spare_batch(&mut self) -> Arc<Batch> {
        self.batches.pop().unwrap_or_default()
    }

    /// A log gives up a batch. It counts until the last write of it is out.
    pub(crate) fn release_batch(&mut self, batch: Arc<Batch>) {
        if let Err(held) = self.free_batch(batch) {
            self.held.push(held);
        }
    }

    fn free_batch(&mut self, mut batch: Arc<Batch>) -> Result<(), Arc<Batch>> {
        let Some(own) = Arc::get_mut(&mut batch) else { return Err(batch) };
        self.queued_bytes -= own.counted();
        own.reset(self);
        if self.batches.len() < SPARES_MAX {
            self.batches.push(batch);
        }
        Ok(())
    }

    /// A write of a batch is out, or given up.
    pub(in crate::conn) fn release_write(&mut self, batch: Arc<Batch>) {
        drop(batch);
        self.write_released = true;
    }

    /// Whether some batch that a log gave up may be free by now.
    pub(crate) fn may_sweep(&self) -> bool {
        self.sweep_left > 0 || (self.write_released && !self.held.is_empty())
    }

    /// Looks at all batches that a write held when their log gave them up.
    pub(crate) fn sweep_all(&mut self) {
        while self.may_sweep() {
            self.sweep();
        }
    }

    /// Looks at some of the batches that a write held when their log gave them up, and frees those that
    /// no write holds any more. A round goes from the newest to the oldest.
    pub(crate) fn sweep(&mut self) {
        /// So many in one turn.
        const LOOKS: usize = 64;
        if self.sweep_left == 0 && mem::take(&mut self.write_released) {
            self.sweep_left = self.held.len();
        }
        for _ in 0..LOOKS.min(self.sweep_left) {
            self.sweep_left -= 1;
            let batch = self.held.swap_remove(self.sweep_left);
            if let Err(held) = self.free_batch(batch) {
                self.held.push(held);
                let last = self.held.len() - 1;
                self.held.swap(self.sweep_left, last);
            }
        }
    }
}
