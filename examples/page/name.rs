//! What strangers may be called, and call a room.

/// Whether a name can be shown as it is, and told from others: there is nothing in it that does not
/// show, looks like another space, or changes what stands beside it. (`nameOf` in `page.js` makes one
/// of what somebody typed.)
pub fn is_name(name: &str, chars_max: usize) -> bool {
    let spaced = name.trim() != name || name.contains("  ");
    (1..=chars_max).contains(&name.chars().count()) && !spaced && name.chars().all(shows)
}

fn shows(char: char) -> bool {
    match char as u32 {
        // Control characters, and what only says how others are to be shown.
        ..=0x1F | 0x7F..=0x9F | 0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x8E2 => false,
        0x890..=0x891 | 0x180B..=0x180F | 0xFE00..=0xFE0F | 0xFFF0..=0xFFFB | 0x110BD => false,
        0x110CD | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A => false,
        0xE0000..=0xE0FFF => false,
        // Spaces but the one, joiners, changes of direction, and letters without a shape.
        0xA0 | 0x1680 | 0x2000..=0x200F | 0x2028..=0x202F | 0x205F..=0x206F | 0x3000 => false,
        0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x2800 | 0x3164 | 0xFEFF | 0xFFA0 => false,
        // Marks that can be piled up on any letter. An é is one character (NFC).
        0x300..=0x36F | 0x483..=0x489 | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF => false,
        0x20D0..=0x20FF | 0xFE20..=0xFE2F => false,
        _ => true,
    }
}
