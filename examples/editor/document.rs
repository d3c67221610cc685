//! The document. An update is merged whole or not at all, whatever it has yrs do: a panic in the
//! midst of it has the document rebuilt from what was merged before.

use std::{
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
};

use yrs::{
    Doc, GetString, OffsetKind, Options, ReadTxn, StateVector, Text, TextRef, Transact,
    TransactionMut, Update, WriteTxn,
    updates::{decoder::Decode, encoder::Encode},
};

use super::{
    order::{Order, Work},
    update::{Broken, Malformed, Parts, Refusal, TEXT, TooMuch, check},
};

/// In UTF-16 code units.
const TEXT_LEN_MAX: usize = 64 * 1024;
/// Of all that there is to know of the document: that what was deleted was there, and what stands
/// beside what. A page brings it back in one message. It grows by so many times an update at most.
pub const STATE_BYTES_MAX: usize = 128 * 1024;
const GROWTH_MAX: usize = 16;
/// Updates are kept until they are as long as what they are added to, and as this.
const UPDATES_BYTES: usize = 16 * 1024;
/// To read a byte of an update, or of the whole state.
const BYTE_COSTS: u64 = 5;
/// Each client that has ever written: an update is compared with a list of them, and so is what was
/// there before it with what is there then.
const CLIENT_COSTS: u64 = 150;
/// To look at each piece of the document.
const PIECE_COSTS: u64 = 60;
/// What one update may cost, and the whole document if it is put together anew.
const PRICE_MAX: u64 = 50_000_000;

pub struct Document {
    doc: Doc,
    text: TextRef,
    order: Order,
    /// There is not more to know of the document.
    state_bytes: usize,
    /// All that was merged: as one update up to some time, and the updates since. Nothing is in it
    /// that was not applied without a panic.
    merged: Vec<u8>,
    updates: Vec<Vec<u8>>,
    updates_bytes: usize,
    /// What it costs to put all of it together anew, in units of the ledger.
    price: u64,
    /// Called in the midst of each change: where a test has it panic.
    #[cfg(test)]
    pub midst: fn(&str),
}

impl Document {
    pub fn new() -> Self {
        // Lengths and places are those of the pages, in UTF-16. If they were counted in bytes, as is
        // the default, half of a character that is deleted would make a text longer, and yrs panic.
        let options = Options { offset_kind: OffsetKind::Utf16, ..Options::default() };
        let doc = Doc::with_options(options);
        let text = doc.get_or_insert_text(TEXT);
        Self {
            doc,
            text,
            order: Order::default(),
            state_bytes: 0,
            merged: Update::EMPTY_V1.to_vec(),
            updates: Vec::new(),
            updates_bytes: 0,
            price: 0,
            #[cfg(test)]
            midst: |_| {},
        }
    }

    pub fn text(&self) -> String {
        self.text.get_string(&self.doc.transact())
    }

    /// What it costs to say what there is.
    pub fn price_of_reading(&self) -> u64 {
        PIECE_COSTS * self.order.len() as u64
    }

    /// What there is, as a state vector.
    pub fn vector(&self) -> Vec<u8> {
        self.doc.transact().state_vector().encode_v1()
    }

    /// What a peer lacks that has this.
    pub fn lacking(&self, vector: &StateVector) -> Vec<u8> {
        self.doc.transact().encode_diff_v1(vector)
    }

    #[cfg(test)]
    pub fn parts(&self) -> (&Doc, &Order) {
        (&self.doc, &self.order)
    }

    /// Merges an update, and gives what is new in it. If it is refused, nothing of it is merged.
    pub fn apply(&mut self, update: &[u8], work: &mut Work) -> Result<Vec<u8>, Refusal> {
        let clients = self.order.clients() as u64;
        work.spend(CLIENT_COSTS * clients + BYTE_COSTS * update.len() as u64)?;
        let parts = check(update, &self.doc.transact().state_vector())?;
        let text_len = self.text.len(&self.doc.transact()) as usize + parts.inserted;
        if parts.inserted > 0 && text_len > TEXT_LEN_MAX {
            return Err(FULL);
        }
        // If it is refused half way, the document is put together anew: that is to be paid for too.
        let at_most = work.left.checked_sub(self.price).ok_or(TooMuch)?.min(PRICE_MAX);
        let mut own = Work { left: at_most };
        let merge = AssertUnwindSafe(|| self.merge(update, parts, &mut own));
        let merged = catch_unwind(merge).unwrap_or(Err(Broken));
        work.left -= at_most - own.left;
        if merged.is_err() {
            work.left = work.left.saturating_sub(self.rebuild());
        }
        merged
    }

    fn merge(&mut self, update: &[u8], parts: Parts, work: &mut Work) -> Result<Vec<u8>, Refusal> {
        let before = work.left;
        self.order.arrange(parts, work)?;
        let new = self.change(|changes| {
            let applied = changes.apply_update(Update::decode_v1(update)?);
            // Nothing of it waits for what is not there: all was found to be there.
            let whole = changes.prune_pending().is_none() && applied.is_ok();
            if whole { Ok(changes.encode_update_v1()) } else { Err(Broken) }
        })?;
        self.price += before - work.left + BYTE_COSTS * update.len() as u64;
        self.state_bytes += GROWTH_MAX * update.len();
        self.updates_bytes += update.len();
        let long = self.updates_bytes > self.merged.len().max(UPDATES_BYTES);
        if long || self.state_bytes > STATE_BYTES_MAX || self.price > PRICE_MAX {
            self.summarize(work)?;
        } else {
            self.updates.push(update.to_vec());
        }
        Ok(new)
    }

    /// Takes all that was merged as one update, and measures it.
    fn summarize(&mut self, work: &mut Work) -> Result<(), Refusal> {
        let merged = self.lacking(&StateVector::default());
        let mut own = Work { left: PRICE_MAX };
        let (mut order, parts) = (Order::default(), check(&merged, &StateVector::default())?);
        // What was taken apart in the order may be one again in the document.
        let arranged = order.arrange(parts, &mut own);
        self.price = PRICE_MAX - own.left + BYTE_COSTS * merged.len() as u64;
        work.left = work.left.saturating_sub(self.price);
        // Half of it, for then there is something to do until it is measured again.
        if arranged.is_err() || merged.len() > STATE_BYTES_MAX || self.price > PRICE_MAX / 2 {
            return Err(FULL);
        }
        (self.order, self.state_bytes) = (order, merged.len());
        (self.merged, self.updates, self.updates_bytes) = (merged, Vec::new(), 0);
        Ok(())
    }

    /// Changes the document, and lets no panic out.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut TransactionMut<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        // A transaction that is dropped is committed. While a panic unwinds that could bring a second
        // panic, which would end the process: so it is dropped after the first is over.
        let mut changes = ManuallyDrop::new(self.doc.transact_mut());
        let changed = catch_unwind(AssertUnwindSafe(|| {
            let changed = change(&mut changes);
            #[cfg(test)]
            (self.midst)(&self.text.get_string(&*changes));
            changed
        }));
        let committed = catch_unwind(AssertUnwindSafe(|| drop(ManuallyDrop::into_inner(changes))));
        committed.and(changed).unwrap_or(Err(Broken))
    }

    /// Puts the document together anew from what was merged, and gives what that cost.
    fn rebuild(&mut self) -> u64 {
        let (mut anew, mut work) = (Self::new(), Work { left: u64::MAX });
        for update in [&self.merged].into_iter().chain(&self.updates) {
            let known = anew.doc.transact().state_vector();
            let merged =
                check(update, &known).and_then(|parts| anew.merge(update, parts, &mut work));
            if let Err(why) = merged {
                // It was merged before. If it cannot be now, the pages bring back what is in it.
                eprintln!("editor: what was merged cannot be merged again: {why:?}");
                anew = Self::new();
                break;
            }
        }
        #[cfg(test)]
        (anew.midst = self.midst);
        *self = anew;
        u64::MAX - work.left
    }
}

const FULL: Refusal = Malformed("the document is full: delete something, and reload");
