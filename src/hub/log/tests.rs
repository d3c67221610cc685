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

#[test]
fn what_is_not_for_a_connection_is_counted_batch_by_batch() {
    let (mut commons, mut log) = (Commons::new(Config::default(), Arc::default()), Log::default());
    let ada = ConnId { index: 1, generation: 1 };
    for except in [Some(ada), None, Some(ada), Some(ada)] {
        log.push((OpCode::Binary, &[0; 70_000]), 1, except, false, &mut commons);
    }
    log.seal(&mut commons);
    // The publications, how many of them are not for the connection, and the steps that it takes to see.
    for (offsets, count, takes) in [(0..4, 3, 4), (0..1, 1, 2), (1..2, 0, 2), (3..4, 1, 1)] {
        let mut steps = 0;
        assert_eq!(log.count_except(ada, offsets, &mut steps), count);
        assert_eq!(steps, takes);
    }
}
