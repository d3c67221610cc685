//! What is kept from turn to turn.

use super::*;

#[test]
fn what_long_writes_took_is_given_back() {
    // Room for bytes and for pieces, and what is kept of it.
    for (room, kept) in [((65_536, 256), (65_536, 256)), ((131_072, 257), (65_536, 256))] {
        let mut pieces = Pieces {
            scratch: Vec::with_capacity(room.0),
            pieces: Vec::with_capacity(room.1),
            ..Pieces::default()
        };
        pieces.scratch.resize(room.0, 0);
        pieces.pieces.resize(room.1, Piece::Pong(1));
        pieces.rest();
        assert_eq!((pieces.scratch.capacity(), pieces.pieces.capacity()), kept);
    }
}
