//! Masking (RFC 6455 §5.3).

/// Removes (or applies: it is its own inverse) a client's mask, in place.
///
/// `phase` is how many bytes of the frame's payload came before `payload[0]`; only its remainder
/// by four matters. Any split of a payload gives the same bytes as the whole.
#[inline]
pub fn unmask(payload: &mut [u8], mask: [u8; 4], phase: usize) {
    // The octet of the key that the first octet meets becomes its first, whatever the byte order.
    let turn = 8 * (phase as u32 & 3);
    let key = u32::from_le_bytes(mask).rotate_right(turn);
    // §5.3: transformed-octet-i = original-octet-i XOR masking-key-octet-(i MOD 4). Pieces of eight
    // and of four start at the same octet of the key.
    let wide = u64::from(key) << 32 | u64::from(key);
    let (pieces, rest) = payload.as_chunks_mut::<8>();
    for piece in pieces {
        *piece = (u64::from_le_bytes(*piece) ^ wide).to_le_bytes();
    }
    let rest = match rest.split_first_chunk_mut::<4>() {
        Some((piece, rest)) => {
            *piece = (u32::from_le_bytes(*piece) ^ key).to_le_bytes();
            rest
        }
        None => rest,
    };
    for (byte, key) in rest.iter_mut().zip(key.to_le_bytes()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::unmask;

    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

    #[test]
    fn rfc_example_of_5_7() {
        let mut payload = [0x7F, 0x9F, 0x4D, 0x51, 0x58];
        unmask(&mut payload, MASK, 0);
        assert_eq!(&payload, b"Hello");
    }

    /// Every length up to a page at every alignment and phase, each with one key of sixteen: no key makes a
    /// difference but in what is exclusive-ored, and with sixteen each bit of it is both.
    #[test]
    fn every_length_up_to_a_page_is_as_byte_by_byte() {
        const PAGE: usize = 4096;
        let key = |nth: u32| u32::from_be_bytes(MASK).wrapping_mul(2 * nth + 1).to_be_bytes();
        let input: Vec<u8> = (0..PAGE as u32).map(|i| (i * 167 + i / 256 + 13) as u8).collect();
        // For each key and phase, what becomes of the page.
        let unmasked = |nth: usize| -> Vec<u8> {
            let (mask, phase) = (key(nth as u32 / 4), nth % 4);
            input.iter().enumerate().map(|(i, byte)| byte ^ mask[(phase + i) % 4]).collect()
        };
        let unmasked: Vec<_> = (0..16 * 4).map(unmasked).collect();
        let mut bytes = vec![0; PAGE + 16];
        // Where the bytes lie in memory is not ours to choose: take the first aligned place.
        let aligned = bytes.as_ptr().align_offset(8);
        let mut cases = 0;
        for len in 0..=PAGE {
            for (offset, phase) in (0..8 * 4).map(|i| (i / 4, i % 4)) {
                let nth = (len + offset) % 16;
                let piece = &mut bytes[aligned + offset..][..len];
                piece.copy_from_slice(&input[..len]);
                unmask(piece, key(nth as u32), phase);
                let is_so = *piece == unmasked[4 * nth + phase][..len];
                assert!(
                    is_so,
                    "{len} bytes at {offset}, phase {phase}, key {:02X?}",
                    key(nth as u32)
                );
                cases += 1;
            }
        }
        assert_eq!(cases, 131_104);
        println!("figure unmaskings: {cases}");
    }

    #[test]
    fn pieces_are_unmasked_as_the_whole() {
        let input: Vec<u8> = (0..97_u8).collect();
        let mut whole = input.clone();
        unmask(&mut whole, MASK, 0);
        for cut in 0..=input.len() {
            let mut pieces = input.clone();
            let (front, back) = pieces.split_at_mut(cut);
            unmask(front, MASK, 0);
            unmask(back, MASK, cut);
            assert_eq!(pieces, whole, "cut at {cut}");
        }
        let mut last = [0];
        unmask(&mut last, MASK, usize::MAX);
        assert_eq!(last, [MASK[3]]);
    }
}
