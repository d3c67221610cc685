//! What room a message takes that comes in pieces.

use super::*;

#[test]
fn a_message_in_pieces_takes_room_by_quarters() {
    for piece in [1, 30, 100] {
        let (mut partial, mut moves) = (Partial::default(), 0);
        for _ in 0..300 {
            let room = partial.assembly.capacity();
            let fits = partial.assembly.len() + piece <= room;
            partial.append(&vec![7; piece]);
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
