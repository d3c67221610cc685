//! What room a log keeps.

use super::*;
use crate::config::Config;

#[test]
fn a_log_that_was_long_gives_back_its_room() {
    // Batches that are kept, the room for them, and what they keep of it.
    for (len, room, kept) in [(0, 16, 16), (0, 17, 0), (3, 28, 28), (3, 29, 6)] {
        let mut commons = Commons::new(Config::default(), Arc::default());
        let mut log = Log { batches: VecDeque::with_capacity(room), ..Log::default() };
        log.batches.extend((0..len).map(|_| Kept { batch: Arc::default(), readers: 1 }));
        log.trim_read(&mut commons);
        assert_eq!((log.batches.len(), log.batches.capacity()), (len, kept), "of {room}");
    }
}

/// A batch is given back when all have taken it, and compressed when one takes it: neither is to be long.
#[test]
fn a_batch_has_64_kib_at_the_most() {
    let mut commons = Commons::new(Config::default(), Arc::default());
    let mut log = Log::default();
    // Each has a header of 4 bytes.
    for payload in [65_536 - 4 - 204, 200, 200, 70_000, 1] {
        log.push((OpCode::Binary, &vec![0; payload]), 1, None, false, &mut commons);
    }
    let lens = log.batches.iter().map(|kept| kept.batch.len());
    assert_eq!(lens.collect::<Vec<_>>(), [65_536, 204, 70_010, 3]);
}
