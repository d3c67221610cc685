//! What strangers may be called, and call a room.

use unicode_normalization::is_nfc;
use unicode_properties::{
    GeneralCategory as Category, GeneralCategoryGroup as Group, UnicodeEmoji,
    UnicodeGeneralCategory,
};
use unicode_script::{Script, UnicodeScript};

/// Marks in a row, of which no two are the same (Unicode Technical Standard #39, §5.4).
const MARKS_MAX: usize = 4;

/// Whether a name can be shown as it is, and told from others: everything in it shows, nothing looks
/// like another space, changes what stands beside it, or piles up, and what can be one character is
/// one. (`nameOf` in `page.js` makes a name of what somebody typed.)
pub fn is_name(name: &str, chars_max: usize) -> bool {
    let spaced = name.trim() != name || name.contains("  ");
    let is_short = (1..=chars_max).contains(&name.chars().count());
    is_short && !spaced && is_nfc(name) && is_shown(name)
}

fn is_shown(name: &str) -> bool {
    let (mut letter, mut marks) = (None, Vec::new());
    name.chars().all(|char| match char.general_category_group() {
        Group::Mark => {
            let fits = letter.is_some_and(|letter| belongs(char, letter));
            let piles_up = marks.len() == MARKS_MAX || marks.contains(&char);
            marks.push(char);
            fits && !piles_up && shows(char)
        }
        _ => {
            (letter, marks) = (Some(char), Vec::new());
            shows(char)
        }
    })
}

/// Whether a mark is one of the letter's script. A mark of no script could be on anything, and one
/// that encloses what is before it is no part of a word.
fn belongs(mark: char, letter: char) -> bool {
    let (scripts, script) = (mark.script_extension(), letter.script());
    let is_everywhere = scripts.is_common() || scripts.is_inherited();
    let is_nowhere = [Script::Common, Script::Inherited, Script::Unknown].contains(&script);
    mark.general_category() != Category::EnclosingMark
        && !is_everywhere
        && !is_nowhere
        && scripts.contains_script(script)
}

fn shows(char: char) -> bool {
    match char.general_category() {
        Category::SpaceSeparator => char == ' ',
        Category::LineSeparator | Category::ParagraphSeparator => false,
        Category::Control | Category::Format | Category::Surrogate => false,
        Category::PrivateUse | Category::Unassigned => false,
        // Among those behind are empty Braille, half spaces and empty notes, and no table tells them.
        Category::OtherSymbol => char < '\u{2800}' || char.is_emoji_char(),
        // Letters and marks that are there to fill a place or to choose another's shape.
        _ => !matches!(char as u32,
            0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x3164 | 0xFFA0 | 0x13441..=0x13442
            | 0x16FE4 | 0x1BC9D..=0x1BC9E),
    }
}
