//! What a peer sends, as it comes.

use pushloop::testing::Dice;

/// All of it at once, or with a seed of 128 and more in pieces of up to 200 bytes.
pub fn pieces(seed: u8, bytes: &[u8]) -> Vec<&[u8]> {
    let mut dice = Dice::new(seed.into());
    let (mut rest, mut pieces) = (bytes, Vec::new());
    while !rest.is_empty() {
        let len = if seed < 128 { rest.len() } else { 1 + dice.below(rest.len().min(200)) };
        let (piece, others) = rest.split_at(len);
        pieces.push(piece);
        rest = others;
    }
    pieces
}
