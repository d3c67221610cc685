//! The document as a page has it, by yrs. `tests/exhaustive/` has it as well.

use yrs::{
    Doc, GetString, OffsetKind, Options, ReadTxn, Text, Transact, Update, block::ClientID,
    updates::decoder::Decode,
};

use super::update::TEXT;

pub fn document(client: u64) -> Doc {
    let client_id = ClientID::new(client);
    let options = Options { client_id, offset_kind: OffsetKind::Utf16, ..Options::default() };
    let document = Doc::with_options(options);
    document.get_or_insert_text(TEXT);
    document
}

pub fn text_of(document: &Doc) -> String {
    let changes = document.transact();
    changes.get_text(TEXT).expect("it is there").get_string(&changes)
}

/// Writes, and gives the update.
pub fn insert(document: &Doc, at: u32, part: &str) -> Vec<u8> {
    let text = document.get_or_insert_text(TEXT);
    let mut changes = document.transact_mut();
    text.insert(&mut changes, at, part);
    changes.encode_update_v1()
}

pub fn delete(document: &Doc, at: u32, len: u32) -> Vec<u8> {
    let text = document.get_or_insert_text(TEXT);
    let mut changes = document.transact_mut();
    text.remove_range(&mut changes, at, len);
    changes.encode_update_v1()
}

pub fn apply(document: &Doc, update: &[u8]) {
    let update = Update::decode_v1(update).expect("it is an update");
    document.transact_mut().apply_update(update).expect("it fits");
}
