//! Bodies in chunks, whole and cut, and those that are refused.

use super::*;
use HttpError::{BodyTooLarge, ChunkFramingTooLarge, ChunkMalformed};

const BODY_BYTES_MAX: usize = 100;

/// The body and how much of the input is behind it; `None` if more is to come.
fn decode(pieces: &[&[u8]]) -> Result<Option<(Vec<u8>, usize)>, HttpError> {
    let (mut decoder, mut body) = (ChunkDecoder::default(), Vec::new());
    for (at, piece) in pieces.iter().enumerate() {
        let (taken, is_whole) = decoder.decode(piece, &mut body, BODY_BYTES_MAX)?;
        if is_whole {
            let rest: usize = pieces[at..].iter().map(|piece| piece.len()).sum();
            return Ok(Some((body, rest - taken)));
        }
        assert_eq!(taken, piece.len());
    }
    Ok(None)
}

/// In one piece, in each two, and byte by byte it is the same.
fn decode_cut(input: &[u8]) -> Result<Option<(Vec<u8>, usize)>, HttpError> {
    let whole = decode(&[input]);
    for at in 0..=input.len() {
        let (first, second) = input.split_at(at);
        assert_eq!(decode(&[first, second]), whole, "{:?} cut at {at}", input.escape_ascii());
    }
    assert_eq!(decode(&input.chunks(1).collect::<Vec<_>>()), whole);
    whole
}

#[test]
fn what_is_a_body() {
    for (input, body) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5\r\nhello\r\n00a\r\n, \r\n world\r\n0000\r\n\r\n", "hello, \r\n world"),
        ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
        ("0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", "x"),
        ("1;a\r\nx\r\n0;a=b;c=\"d;e\"\r\n\r\n", "x"),
        ("1 \t;\ta = \u{e9}\r\nx\r\n0\r\n\r\n", "x"),
        ("1;\r\n\n\r\n0\r\n\r\n", "\n"),
        ("1\r\nx\r\n0\r\nA: b\r\nExpires:\r\nX-Y:\t\u{e9}\r\n\r\n", "x"),
        // What a trailer says of framing is not heard.
        ("1\r\nx\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n", "x"),
    ] {
        let found = decode_cut(input.as_bytes()).unwrap();
        assert_eq!(found, Some((body.as_bytes().to_vec(), 0)), "{input:?}");
        let more = format!("{input}GET / HTTP/1.1\r\n");
        assert_eq!(decode(&[more.as_bytes()]).unwrap().map(|(_, rest)| rest), Some(16));
        for end in 0..input.len() {
            assert_eq!(decode(&[&input.as_bytes()[..end]]), Ok(None), "{input:?} up to {end}");
        }
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for input in [
        "",
        "\r\n",
        "\r\n0\r\n\r\n",
        " 0\r\n\r\n",
        "+1\r\nx\r\n0\r\n\r\n",
        "-1\r\nx\r\n0\r\n\r\n",
        "0x1\r\nx\r\n0\r\n\r\n",
        "1h\r\nx\r\n0\r\n\r\n",
        "1_0\r\n",
        "1,2\r\n",
        "1 1\r\nx\r\n0\r\n\r\n",
        "1 \r\nx\r\n0\r\n\r\n",
        "1\t\r\nx\r\n0\r\n\r\n",
        "g\r\n",
        "\u{660}\r\n",
        "1\nx\r\n0\r\n\r\n",
        "1\rx\r\n0\r\n\r\n",
        "1\r\rx",
        "1;a\nx\r\n0\r\n\r\n",
        "1;a\rb\r\nx\r\n0\r\n\r\n",
        "1;a\0\r\n",
        "1;\u{7f}\r\n",
        "1;\u{b}\r\n",
        "1\0\r\n",
        "1\r\nxy\r\n0\r\n\r\n",
        "1\r\nx0\r\n\r\n",
        "1\r\nx\n0\r\n\r\n",
        "1\r\nx\r0\r\n\r\n",
        "2\r\nx\r\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\n\rx",
        "0\r\n: a\r\n\r\n",
        "0\r\n a: b\r\n\r\n",
        "0\r\na\r\n\r\n",
        "0\r\na : b\r\n\r\n",
        "0\r\na: b\n\r\n",
        "0\r\na: b\rc\r\n\r\n",
        "0\r\na: b\r\n c\r\n\r\n",
        "0\r\na: \0\r\n\r\n",
        "0\r\n\u{e9}: b\r\n\r\n",
        "00000000000000000\r\n\r\n",
        "00000000000000001\r\nx\r\n0\r\n\r\n",
        "10000000000000000\r\n",
        "ffffffffffffffffffffffff\r\n",
    ] {
        let expected = if input.is_empty() { Ok(None) } else { Err(ChunkMalformed) };
        assert_eq!(decode_cut(input.as_bytes()), expected, "{input:?}");
    }
}

#[test]
fn a_body_up_to_the_limit() {
    let chunk = |len: usize| format!("{len:x}\r\n{}\r\n", "x".repeat(len));
    let whole = |lens: &[usize]| lens.iter().map(|len| chunk(*len)).collect::<String>() + &chunk(0);
    for lens in [&[100][..], &[99, 1], &[1; 100]] {
        let found = decode(&[whole(lens).as_bytes()]).unwrap();
        assert_eq!(found, Some((vec![b'x'; 100], 0)));
    }
    for lens in [&[101][..], &[100, 1], &[1; 101]] {
        assert_eq!(decode(&[whole(lens).as_bytes()]), Err(BodyTooLarge));
    }
    // A size is believed before its data comes.
    for size in ["65", "ffffffffffffffff", "7fffffffffffffff"] {
        assert_eq!(decode(&[size.as_bytes(), b"\r\n"]), Err(BodyTooLarge), "{size}");
    }
}

#[test]
fn framing_up_to_the_limit() {
    const MAX: usize = CHUNK_FRAMING_BYTES_MAX;
    let framing = |extension: usize, trailer: usize| {
        format!("1;{}\r\nx\r\n0\r\nA:{}\r\n\r\n", "e".repeat(extension), "t".repeat(trailer))
    };
    // The first chunk has 16 free and its byte two, and the last chunk has 16; but for the extension and
    // the trailer, they take 4 and 11.
    for (extension, trailer) in [(0, MAX + 5), (14, MAX + 5), (15, MAX + 4), (MAX, 19)] {
        let fits = framing(extension, trailer);
        assert!(decode(&[fits.as_bytes()]).unwrap().is_some(), "{extension} and {trailer}");
        let exceeds = framing(extension, trailer + 1);
        assert_eq!(decode(&[exceeds.as_bytes()]), Err(ChunkFramingTooLarge));
    }
    // Free is what a chunk needs: 100 chunks of a byte with the shortest sizes are no abuse, and many
    // empty trailers are.
    assert!(decode(&[("1\r\nx\r\n".repeat(100) + "0\r\n\r\n").as_bytes()]).unwrap().is_some());
    let trailers = format!("0\r\n{}\r\n", "A:\r\n".repeat(5_000));
    assert_eq!(decode(&[trailers.as_bytes()]), Err(ChunkFramingTooLarge));
    // What one chunk does not use is not for the next.
    let saved = |len| "1\r\nx\r\n".repeat(90) + &format!("1;{}\r\n", "e".repeat(len));
    assert_eq!(decode(&[saved(MAX + 10).as_bytes()]), Ok(None));
    assert_eq!(decode(&[saved(MAX + 11).as_bytes()]), Err(ChunkFramingTooLarge));
}

/// Each byte at each place of a body that is well-formed: it stays one, asks for more, or is refused, as
/// the grammar has it.
#[test]
fn every_byte_at_each_place_of_the_grammar() {
    let in_value = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7F);
    type Allowed<'a> = &'a dyn Fn(u8) -> bool;
    let hex = |byte: u8| byte.is_ascii_hexdigit();
    let places: [(&str, Allowed<'_>); 11] = [
        ("", &hex),
        ("1", &|byte| hex(byte) || b"\r; \t".contains(&byte)),
        ("1 ", &|byte| b"; \t".contains(&byte)),
        ("1;", &|byte| in_value(byte) || byte == b'\r'),
        ("1\r", &|byte| byte == b'\n'),
        ("1\r\n", &|_| true),
        ("1\r\nx", &|byte| byte == b'\r'),
        ("1\r\nx\r", &|byte| byte == b'\n'),
        ("0\r\n", &|byte| is_tchar(byte) || byte == b'\r'),
        ("0\r\na", &|byte| is_tchar(byte) || byte == b':'),
        ("0\r\na:", &|byte| in_value(byte) || byte == b'\r'),
    ];
    for (before, allowed) in places {
        for byte in 0..=u8::MAX {
            let found = decode(&[before.as_bytes(), &[byte]]);
            let expected = if allowed(byte) { Ok(None) } else { Err(ChunkMalformed) };
            assert_eq!(found, expected, "{before:?} and {byte:#04X}");
        }
    }
}
