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

    /// Every length up to a bound at every alignment and phase, each with some keys.
    fn every_length(len_max: usize, keys: usize) -> usize {
        let input: Vec<u8> =
            (0..len_max as u32 + 24).map(|i| (i * 167 + i / 256 + 13) as u8).collect();
        let mut bytes = input.clone();
        // Where the bytes lie in memory is not ours to choose: take the first aligned place.
        let aligned = bytes.as_ptr().align_offset(8);
        let mut cases = 0;
        for len in 0..=len_max {
            for (offset, phase, key) in (0..8 * 4 * keys).map(|i| (i / 4 % 8, i % 4, i / 32)) {
                let mask = (MASK_BITS.wrapping_mul(2 * key as u32 + 1)).to_be_bytes();
                let (start, end) = (aligned + offset, aligned + offset + len);
                unmask(&mut bytes[start..end], mask, phase);
                for (i, byte) in bytes[start..end].iter_mut().enumerate() {
                    *byte ^= mask[(phase + i) % 4];
                }
                assert!(bytes == input, "{len} bytes at {offset}, phase {phase}, key {mask:02X?}");
                cases += 1;
            }
        }
        cases
    }

    const MASK_BITS: u32 = u32::from_be_bytes(MASK);

    #[test]
    fn every_length_alignment_and_phase_is_as_byte_by_byte() {
        assert_eq!(every_length(300, 1), 301 * 8 * 4);
    }

    #[test]
    #[ignore = "exhaustive: run in release mode"]
    fn every_length_up_to_a_page_with_sixteen_keys() {
        let cases = every_length(4096, 16);
        assert_eq!(cases, 131_104 * 16);
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
