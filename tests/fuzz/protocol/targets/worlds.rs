//! The whole loop in a simulated world (`tests/sim/`) whose every choice is the fuzzer's, two bytes
//! to a choice and from the last byte on. It comes to rest when they are used up. An input that
//! fails says how it came to that with `SIM_BYTES=INPUT cargo sim`, and stays as a seed.

use std::cell::RefCell;
use std::rc::Rc;

use crate::worlds::choice::Bytes;
use crate::worlds::world::World;

pub fn run(data: &[u8]) {
    World::new(Rc::new(RefCell::new(Bytes(data.to_vec()))), false).lives();
}
