//! What room a message takes that comes in pieces.

use std::sync::Arc;

use super::*;
use crate::config::Config;

fn commons() -> Commons {
    Commons::new(Config::default(), Arc::default())
}

#[test]
fn a_message_in_pieces_takes_room_by_quarters() {
    for piece in [1, 30, 100] {
        let (mut partial, mut moves) = (Partial::default(), 0);
        for _ in 0..300 {
            let room = partial.assembly.capacity();
            let fits = partial.assembly.len() + piece <= room;
            partial.append(&vec![7; piece], &mut commons());
            let moved = partial.assembly.capacity() != room;
            assert_eq!(moved, !fits, "it is moved if it has to be");
            let len = partial.assembly.len();
            let waste = partial.assembly.capacity() - len;
            assert!(waste <= len / 4, "{waste} bytes of room beside {len} that came");
            moves += u32::from(moved);
        }
        assert_eq!(partial.assembly, vec![7; 300 * piece]);
        assert!(moves < 40, "{moves} moves");
    }
}

/// The room of a spare buffer counts once, when the first byte has come.
#[test]
fn a_message_takes_a_spare_buffer_with_its_first_byte() {
    let (mut partial, mut commons) = (Partial::default(), commons());
    commons.recycle_buffer(Vec::with_capacity(1000));
    partial.append(b"", &mut commons);
    assert_eq!((partial.assembly.capacity(), partial.take_uncounted()), (0, 0));
    partial.append(b"ab", &mut commons);
    assert_eq!((partial.assembly.capacity(), partial.take_uncounted()), (1000, 998));
    partial.append(b"c", &mut commons);
    assert_eq!((partial.held().0, partial.take_uncounted()), (3, 0));
}
