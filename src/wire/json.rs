//! Strings of JSON (RFC 8259 §7).

/// Appends a text as a string, in its quotation marks.
pub fn encode_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            0x20.. => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That another parser reads them back is shown from outside (`tests/it/events.rs`).
    #[test]
    fn what_a_string_may_not_have_is_escaped() {
        for (text, string) in [
            ("", r#""""#),
            ("plain \u{7f} κόσμε 🦀", "\"plain \u{7f} κόσμε 🦀\""),
            ("\"\\/", r#""\"\\/""#),
            ("\n\r\t\0\u{1f}", r#""\n\r\t\u0000\u001f""#),
        ] {
            let mut out = Vec::new();
            encode_string(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), string);
        }
    }
}
