//! Several loops.

use super::{super::values::loops, Entry};

pub const LOOPS: &[Entry] = &[Entry::text(
    "loops",
    "N",
    "run so many loops on the same addresses, each on a thread of its own; auto is one for each processor",
    |options, text| loops(text).map(|it| options.loops = it),
)
.or("1")];
