//! Incremental UTF-8 (RFC 6455 §5.6, §8.1): a text message may be cut anywhere, inside a character
//! too, and is refused at the first byte that no continuation could make valid.

use super::close::ProtocolError;
use std::str;

/// Validates the text of one message, chunk by chunk, in order.
///
/// Start each message with `Utf8::default()`, `push` what arrives, and `finish` at the end of the
/// message. After an error the value has no further meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utf8 {
    /// The beginning of a character whose end has not arrived.
    ///
    /// Invariant: `held[..held_len]` is a proper prefix of a character that can still be completed.
    held: [u8; 3],
    held_len: u8,
}

impl Utf8 {
    /// Takes the next bytes of the message.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::InvalidUtf8`] as soon as the bytes so far are no prefix of any valid text,
    /// even where the character that cannot be is incomplete at the end of `chunk`.
    #[inline]
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), ProtocolError> {
        let rest = if self.held_len == 0 { chunk } else { self.complete_held(chunk)? };
        match str::from_utf8(rest) {
            Ok(_) => Ok(()),
            // No `error_len` means: cut short, and nothing wrong so far.
            Err(error) if error.error_len().is_none() => {
                let tail = &rest[error.valid_up_to()..];
                debug_assert!(tail.len() <= self.held.len());
                for (held, byte) in self.held.iter_mut().zip(tail) {
                    *held = *byte;
                }
                self.held_len = tail.len() as u8;
                Ok(())
            }
            Err(_) => Err(ProtocolError::InvalidUtf8),
        }
    }

    /// Ends the message.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::InvalidUtf8`] if the last character is incomplete.
    #[inline]
    pub fn finish(&self) -> Result<(), ProtocolError> {
        if self.held_len == 0 { Ok(()) } else { Err(ProtocolError::InvalidUtf8) }
    }

    /// Feeds bytes to the held character until it is complete; returns what is left of `chunk`,
    /// nothing if the character is still incomplete.
    fn complete_held<'a>(&mut self, chunk: &'a [u8]) -> Result<&'a [u8], ProtocolError> {
        let held_len = usize::from(self.held_len);
        let mut character = [0; 4];
        character[..3].copy_from_slice(&self.held);
        for (taken, byte) in chunk.iter().enumerate().take(4 - held_len) {
            character[held_len + taken] = *byte;
            let so_far = &character[..=held_len + taken];
            match str::from_utf8(so_far) {
                Ok(_) => {
                    self.held_len = 0;
                    return Ok(&chunk[taken + 1..]);
                }
                Err(error) if error.error_len().is_none() => {
                    self.held[..so_far.len()].copy_from_slice(so_far);
                    self.held_len = so_far.len() as u8;
                }
                Err(_) => return Err(ProtocolError::InvalidUtf8),
            }
        }
        Ok(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::Utf8;

    /// What a decoder may be in the middle of, after the Unicode Standard's table 3-7: the ranges of
    /// the bytes that may come next. Shares nothing with `str::from_utf8`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Oracle {
        Between,
        /// The range of the next byte, and how many bytes 80-BF come after it.
        Inside(u8, u8, u8),
    }

    impl Oracle {
        fn next(self, byte: u8) -> Option<Oracle> {
            match self {
                Oracle::Between => match byte {
                    0x00..=0x7F => Some(Oracle::Between),
                    0xC2..=0xDF => Some(Oracle::Inside(0x80, 0xBF, 0)),
                    0xE0 => Some(Oracle::Inside(0xA0, 0xBF, 1)),
                    0xE1..=0xEC | 0xEE..=0xEF => Some(Oracle::Inside(0x80, 0xBF, 1)),
                    0xED => Some(Oracle::Inside(0x80, 0x9F, 1)),
                    0xF0 => Some(Oracle::Inside(0x90, 0xBF, 2)),
                    0xF1..=0xF3 => Some(Oracle::Inside(0x80, 0xBF, 2)),
                    0xF4 => Some(Oracle::Inside(0x80, 0x8F, 2)),
                    0x80..=0xC1 | 0xF5..=0xFF => None,
                },
                Oracle::Inside(low, high, _) if byte < low || byte > high => None,
                Oracle::Inside(_, _, 0) => Some(Oracle::Between),
                Oracle::Inside(_, _, more) => Some(Oracle::Inside(0x80, 0xBF, more - 1)),
            }
        }
    }

    fn push(mut utf8: Utf8, bytes: &[u8]) -> Option<Utf8> {
        match utf8.push(bytes) {
            Ok(()) => Some(utf8),
            Err(_) => None,
        }
    }

    /// A number for each future: what is not held any more does not count.
    fn future(utf8: Option<Utf8>) -> u32 {
        match utf8 {
            None => u32::MAX,
            Some(Utf8 { held_len: 0, .. }) => 0,
            Some(Utf8 { held: [a, b, c], held_len }) => {
                let unused = 8 * (3 - u32::from(held_len));
                u32::from_be_bytes([held_len, a, b, c]) >> unused << unused
            }
        }
    }

    fn check(utf8: Option<Utf8>, oracle: Option<Oracle>, bytes: &[u8]) {
        assert_eq!(utf8.is_some(), oracle.is_some(), "feasible: {bytes:02X?}");
        let complete = utf8.is_some_and(|utf8| utf8.finish().is_ok());
        assert_eq!(complete, oracle == Some(Oracle::Between), "complete: {bytes:02X?}");
    }

    /// What may follow the byte that decides it: the ends of all ranges of the oracle, and the bytes beside them.
    const EDGES: [u8; 23] = [
        0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xEC, 0xED,
        0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF,
    ];

    /// Strings of up to `LEN` bytes, each under every split into chunks, and what splits and strings have in
    /// common done once: after each prefix there are all values that some split of it leads to, each of which
    /// takes each chunk that may come next.
    struct Strings<const LEN: usize> {
        bytes: [u8; LEN],
        /// The values after a prefix of so many bytes.
        reached: [Vec<Utf8>; LEN],
        /// What comes where nothing can be valid any more.
        hopeless: fn() -> Vec<u8>,
        /// How many strings there were of each length.
        cases: [u64; LEN],
    }

    impl<const LEN: usize> Strings<LEN> {
        fn new(hopeless: fn() -> Vec<u8>) -> Self {
            let mut reached = [const { Vec::new() }; LEN];
            reached[0].push(Utf8::default());
            Self { bytes: [0; LEN], reached, hopeless, cases: [0; LEN] }
        }

        /// Has the byte at a place be each of these, and all that can come behind it.
        fn go_on(&mut self, at: usize, oracle: Option<Oracle>, each: &[u8]) {
            let next = each.iter().map(|byte| (*byte, oracle.and_then(|it| it.next(*byte))));
            let next: Vec<_> = next.collect();
            let values = |from: usize| self.reached[from].iter().map(move |utf8| (from, *utf8));
            // One that is as at the beginning has a shorter string before it.
            let is_new = |(from, utf8): &(usize, Utf8)| *from == 0 || *utf8 != Utf8::default();
            let chunks: Vec<_> = (0..=at).flat_map(values).filter(is_new).collect();
            let mut reached = vec![Vec::new(); if at + 1 < LEN { each.len() } else { 0 }];
            for (from, utf8) in chunks {
                for (nth, (byte, next)) in next.iter().enumerate() {
                    self.bytes[at] = *byte;
                    let after = push(utf8, &self.bytes[from..=at]);
                    check(after, *next, &self.bytes[..=at]);
                    if let Some((reached, after)) = reached.get_mut(nth).zip(after)
                        && !reached.contains(&after)
                    {
                        reached.push(after);
                    }
                }
            }
            self.cases[at] += each.len() as u64;
            let (all, hopeless) = (Vec::from_iter(0..=255), (self.hopeless)());
            for ((byte, next), reached) in next.into_iter().zip(reached) {
                self.bytes[at] = byte;
                self.reached[at + 1] = reached;
                self.go_on(at + 1, next, if next.is_some() { &all } else { &hopeless });
            }
        }
    }

    /// X-UTF8: all strings.
    #[test]
    fn every_string_of_up_to_three_bytes_under_every_split() {
        let all = || Vec::from_iter(0..=255);
        let mut strings = Strings::<3>::new(all);
        strings.go_on(0, Some(Oracle::Between), &all());
        assert_eq!(strings.cases, [256, 65_536, 16_777_216]);
        println!("figure text of up to three bytes under every split: 16843008");
    }

    /// X-UTF8: all that begin as a character of four bytes does, or nearly so, to the byte that decides that they
    /// are none, and that with each kind of byte behind it.
    #[test]
    fn every_string_of_four_bytes_under_every_split() {
        let mut strings = Strings::<4>::new(|| EDGES.to_vec());
        strings.go_on(0, Some(Oracle::Between), &[0xF0, 0xF1, 0xF2, 0xF3, 0xF4]);
        let [_, _, third, fourth] = strings.cases;
        // 256 pairs of bytes can be the first two of a character.
        assert_eq!(third, 256 * 256 + 1024 * 23);
        assert_eq!(fourth, 256 * (64 * 256 + 192 * 23) + 1024 * 23 * 23);
        println!("figure text of four bytes under every split: {fourth}");
    }

    #[test]
    fn four_byte_characters_at_the_edges_of_their_ranges() {
        let edges = [0x7F, 0x80, 0xBF, 0xC0];
        for lead in 0xF0..=0xF8 {
            for second in 0..=255 {
                for third in edges {
                    for fourth in edges {
                        let bytes = [lead, second, third, fourth, b'!'];
                        let oracle = bytes
                            .iter()
                            .try_fold(Oracle::Between, |oracle, byte| oracle.next(*byte));
                        let whole = push(Utf8::default(), &bytes);
                        check(whole, oracle, &bytes);
                        // The bits of `cuts` say after which bytes a new chunk begins.
                        for cuts in 0..16_u8 {
                            let mut split = Some(Utf8::default());
                            let mut from = 0;
                            for to in 1..=5 {
                                if to == 5 || cuts & 1 << (to - 1) != 0 {
                                    split = split.and_then(|utf8| push(utf8, &bytes[from..to]));
                                    from = to;
                                }
                            }
                            assert_eq!(future(split), future(whole), "{bytes:02X?} cut {cuts:04b}");
                        }
                    }
                }
            }
        }
    }

    /// Autobahn 6.4: not at the end of the chunk, of the frame or of the message.
    #[test]
    fn fails_at_the_first_impossible_byte() {
        let mut text = "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}".as_bytes().to_vec();
        text.extend_from_slice(&[0xF4, 0x90, 0x80, 0x80, b'e', b'd']);
        let mut utf8 = Utf8::default();
        for byte in &text[..12] {
            assert_eq!(utf8.push(&[*byte]), Ok(()));
        }
        assert!(utf8.push(&[0x90]).is_err());
        assert!(push(Utf8::default(), &text[..12]).is_some());
        assert!(push(Utf8::default(), &text[..13]).is_none());
    }

    #[test]
    fn long_text_cut_anywhere_and_empty_chunks() {
        let text = "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!! \u{20ac} \u{10ffff}"
            .repeat(8);
        let bytes = text.as_bytes();
        for cut in 0..=bytes.len() {
            let mut utf8 = Utf8::default();
            for chunk in [&[], &bytes[..cut], &[], &bytes[cut..], &[]] {
                assert_eq!(utf8.push(chunk), Ok(()));
            }
            assert_eq!(utf8.finish(), Ok(()));
            let mut short = Utf8::default();
            assert_eq!(short.push(&bytes[..cut]), Ok(()));
            assert_eq!(short.finish().is_ok(), text.is_char_boundary(cut), "cut at {cut}");
        }
        assert!(size_of::<Utf8>() <= 8);
    }
}
