//! The whole loop in a simulated world (`tests/sim/`) whose every choice is the fuzzer's, two bytes
//! to a choice and from the last byte on. It comes to rest when they are used up. An input that
//! fails says how it came to that with `SIM_BYTES=INPUT cargo sim`, and stays as a seed.

#![no_main]

#[path = "../../oracle/mod.rs"]
#[allow(dead_code, reason = "a target needs a part of it")]
mod oracle;
#[path = "../../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "a target needs a part of it")]
mod support;
#[path = "../../sim/worlds/mod.rs"]
#[allow(dead_code, reason = "a target needs a part of it")]
mod worlds;

use std::cell::RefCell;
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use worlds::choice::Bytes;
use worlds::world::World;

fuzz_target!(|data: &[u8]| {
    World::new(Rc::new(RefCell::new(Bytes(data.to_vec()))), false).lives();
});
