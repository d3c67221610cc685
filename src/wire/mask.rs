//! Masking (RFC 6455 §5.3).

/// Removes (or applies: it is its own inverse) a client's mask, in place.
///
/// `phase` is how many bytes of the frame's payload came before `payload[0]`; only its remainder
/// by four matters. Any split of a payload gives the same bytes as the whole.
#[inline]
pub fn unmask(payload: &mut [u8], mask: [u8; 4], phase: usize) {
    let mut key = mask;
    key.rotate_left(phase % 4);
    // §5.3: transformed-octet-i = original-octet-i XOR masking-key-octet-(i MOD 4). Eight is a
    // multiple of four, so every chunk starts at the same octet of the key.
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
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

    #[test]
    fn every_length_offset_and_phase_is_as_byte_by_byte() {
        let input: Vec<u8> = (0..320_u32).map(|i| (i * 167 + 13) as u8).collect();
        for len in 0..=300 {
            for offset in 0..8 {
                for phase in 0..8 {
                    let mut bytes = input.clone();
                    unmask(&mut bytes[offset..offset + len], MASK, phase);
                    for (i, byte) in bytes.iter().enumerate() {
                        let inside = (offset..offset + len).contains(&i);
                        let key = if inside { MASK[(phase + i - offset) & 3] } else { 0 };
                        assert!(*byte == input[i] ^ key, "{len} bytes at {offset}, phase {phase}");
                    }
                }
            }
        }
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
