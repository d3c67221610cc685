//! A part of a page that is written anew.

use std::{fs, io, path::Path};

const BEGIN: &str = "<!-- compare: begin -->\n";
const END: &str = "<!-- compare: end -->";

pub fn put(page: &Path, part: &str) -> io::Result<()> {
    let text = fs::read_to_string(page)?;
    let Some(text) = between(&text, part) else {
        return Err(io::Error::other(format!("{} has no place for a table", page.display())));
    };
    fs::write(page, text)
}

fn between(text: &str, part: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{part}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = between(&page, "new").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(between(&new, "new").unwrap(), new);
        assert_eq!(between("a", "new"), None);
        assert_eq!(between(BEGIN, "new"), None);
    }
}
