//! The document of the editor (`examples/editor/`), by updates that nobody would send who means well.

#[path = "../../examples/editor/document.rs"]
#[allow(dead_code, reason = "the server needs all of it")]
mod document;
mod fuzz;
#[path = "../../examples/editor/order.rs"]
mod order;
#[path = "../apps/editor/replica.rs"]
mod replica;
#[path = "../../examples/editor/update.rs"]
#[allow(dead_code, reason = "the server needs all of it")]
mod update;
