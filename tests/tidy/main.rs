//! The rules of the house, as tests: the order of the layers, the lengths, and what may not be
//! named where.
//!
//! Each rule is a function of one file, `(path, text) -> complaints`. One test holds it over the
//! whole tree, and another feeds it a sample that breaks it, so that no rule can pass by looking
//! at nothing. Names to search for are put together at run time: this file is searched too.

mod code;
mod licences;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use code::{is_word, item_end, nesting, root_imports, tokens, without_tests};

/// From left to right: a module may import from its own layer and from those before it.
const LAYERS: [&str; 12] = [
    "config", "wire", "counters", "event", "conn", "sync", "mailbox", "lanes", "handle", "hub",
    "server", "testing",
];
const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const HEADER_LINES_MAX: usize = 25;
const CLOCK_FILE: &str = "src/server/mio.rs";

type Rule = fn(&str, &str) -> Vec<String>;

// ---- the rules ----

/// A layer imports nothing from its right, by whatever path: `crate::x`, `crate::{x, y}`, or
/// `super::x` where that is the root. A re-export of the root (`crate::Hub`) hides its layer, so
/// it is refused as well. What is there for tests takes nothing of `wire`, whose mistakes it would share,
/// and no program uses it.
fn layers(path: &str, text: &str) -> Vec<String> {
    let Some(inside) = path.strip_prefix("src/").filter(|_| is_rust(path)) else {
        return Vec::new();
    };
    if inside == "lib.rs" || is_test_module(path) {
        return Vec::new();
    }
    if inside.starts_with("bin/") {
        let uses = tokens(text).into_iter().filter(|token| token.text == "testing");
        return uses.map(|it| format!("line {}: no program uses `testing`", it.line)).collect();
    }
    let layer = inside.split(['/', '.']).next().unwrap_or_default();
    let Some(rank) = LAYERS.iter().position(|name| *name == layer) else {
        return vec![format!("`{layer}` has no place in the order of the layers")];
    };
    let depth = inside.trim_end_matches("/mod.rs").split('/').count();
    let code = without_tests(tokens(text));
    let shares = |name: &str| layer == "testing" && name == "wire";
    let is_allowed = |name: &str| LAYERS[..=rank].contains(&name) && !shares(name);
    root_imports(&code, depth)
        .filter(|import| !is_allowed(import.text))
        .map(|import| format!("line {}: `{layer}` may not import `{}`", import.line, import.text))
        .collect()
}

fn file_length(path: &str, text: &str) -> Vec<String> {
    let counted = ["rs", "sh", "mjs", "py", "html"].contains(&extension(path));
    let kept = ["src/", "examples/", "tests/", "benches/"].iter().any(|top| path.starts_with(top));
    let lines = text.lines().count();
    complain(counted && kept && lines > FILE_LINES_MAX, || format!("{lines} lines in one file"))
}

fn function_length(path: &str, text: &str) -> Vec<String> {
    if !path.starts_with("src/") || !is_rust(path) {
        return Vec::new();
    }
    let code = tokens(text);
    let mut complaints = Vec::new();
    for (at, pair) in code.windows(2).enumerate() {
        if pair[0].text == "fn" && pair[1].text.starts_with(is_word) {
            let end = item_end(&code, at);
            let lines = code[end - 1].line - pair[0].line + 1;
            if lines > FUNCTION_LINES_MAX {
                complaints.push(format!("`fn {}` has {lines} lines", pair[1].text));
            }
        }
    }
    complaints
}

/// Work that was put off is an issue, not a note in the source. Prose may quote the words.
fn postponed_work(path: &str, text: &str) -> Vec<String> {
    let needles = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    let macros = [["todo", "!"].concat(), ["unimplemented", "!"].concat()];
    let prose = extension(path) == "md";
    let mut complaints = Vec::new();
    for (at, line) in (1..).zip(text.lines()) {
        for needle in needles.iter().chain(&macros) {
            let found = line.match_indices(needle.as_str()).any(|(start, _)| {
                let (before, after) = (&line[..start], &line[start + needle.len()..]);
                let whole = !before.ends_with(is_word) && !after.starts_with(is_word);
                whole && !(prose && before.ends_with('`'))
            });
            if found {
                complaints.push(format!("line {at}: {needle}"));
            }
        }
    }
    complaints
}

/// One file knows that the network is mio. A module of ours with that name is something else:
/// it is reached by a path, or declared in the file.
fn names_mio(path: &str, text: &str) -> Vec<String> {
    if !path.starts_with("src/") || !is_rust(path) || [CLOCK_FILE, "src/lib.rs"].contains(&path) {
        return Vec::new();
    }
    let code = tokens(text);
    let declared = code.windows(2).any(|t| t[0].text == "mod" && t[1].text == "mio");
    let at_or_empty = |at: Option<usize>| at.and_then(|at| code.get(at)).map_or("", |t| t.text);
    let mut complaints = Vec::new();
    for (at, token) in code.iter().enumerate().filter(|(_, token)| token.text == "mio") {
        let [before, previous] = [2, 1].map(|back| at_or_empty(at.checked_sub(back)));
        let ours = match previous {
            "::" => ["self", "super", "server"].contains(&before),
            _ => declared,
        };
        let imported = previous == "use" || (before == "extern" && previous == "crate");
        if !ours && (imported || at_or_empty(Some(at + 1)) == "::") {
            complaints.push(format!("line {}: only {CLOCK_FILE} names mio", token.line));
        }
    }
    complaints
}

/// Time is an argument everywhere but where the network is.
fn reads_clock(path: &str, text: &str) -> Vec<String> {
    if !path.starts_with("src/") || !is_rust(path) || path == CLOCK_FILE || is_test_module(path) {
        return Vec::new();
    }
    let code = without_tests(tokens(text));
    code.windows(3)
        .filter(|t| ["Instant", "SystemTime"].contains(&t[0].text))
        .filter(|t| t[1].text == "::" && t[2].text == "now")
        .map(|t| format!("line {}: only {CLOCK_FILE} reads the clock", t[0].line))
        .collect()
}

/// A layer opens with what it knows and what it must not know, in a few lines.
fn module_header(path: &str, text: &str) -> Vec<String> {
    if !path.starts_with("src/") || !path.ends_with("/mod.rs") {
        return Vec::new();
    }
    let header: Vec<_> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let words = header.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    let lines = header.len();
    let mut complaints =
        complain(lines > HEADER_LINES_MAX, || format!("{lines} lines of module docs"));
    complaints.extend(complain(!words.replace('*', "").contains("must not know"), || {
        "the module docs do not say what it must not know".into()
    }));
    complaints
}

/// Nothing may depend on where somebody keeps a clone.
fn machine_paths(_: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, line) in (1..).zip(text.lines()) {
        for needle in ["work", "root", "home"].map(|top| format!("/{top}/")) {
            // Behind a word it is part of a relative path or of a URL.
            let is_path = |c: char| is_word(c) || matches!(c, '.' | '-' | '~' | '}' | ')');
            if line.match_indices(&needle).any(|(start, _)| !line[..start].ends_with(is_path)) {
                complaints.push(format!("line {at}: {needle}"));
            }
        }
    }
    complaints
}

/// The names of the variants of `enum State`; empty if `text` has none.
fn states_in_code(text: &str) -> BTreeSet<String> {
    let code = tokens(text);
    let Some(at) = code.windows(2).position(|t| t[0].text == "enum" && t[1].text == "State") else {
        return BTreeSet::new();
    };
    let mut depth = 0;
    let mut states = BTreeSet::new();
    for pair in code[at..item_end(&code, at)].windows(2) {
        depth += nesting(pair[0].text);
        let opens_variant = matches!(pair[0].text, "{" | "," | "]");
        if depth == 1 && opens_variant && pair[1].text.starts_with(is_word) {
            states.insert(pair[1].text.to_owned());
        }
    }
    states
}

/// The names in rows that begin with ``| `Name` |`` under a heading that speaks of states.
fn states_in_docs(text: &str) -> BTreeSet<String> {
    let mut about_states = false;
    let mut states = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with('#') {
            about_states = line.to_lowercase().contains("states");
        }
        let name = line.strip_prefix("| `").and_then(|row| row.split_once("` |"));
        if let (true, Some((name, _))) = (about_states, name) {
            states.insert(name.to_owned());
        }
    }
    states
}

// ---- how a file is read ----

fn complain(broken: bool, what: impl FnOnce() -> String) -> Vec<String> {
    if broken { vec![what()] } else { Vec::new() }
}

fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn is_rust(path: &str) -> bool {
    extension(path) == "rs"
}

/// A file that is compiled for tests only, by the names that such files have here.
fn is_test_module(path: &str) -> bool {
    let stem = path.trim_end_matches(".rs");
    stem.split('/').any(|part| part.split('_').any(|word| word == "tests"))
}

// ---- the tree ----

/// Every text file of the repository as (path with `/`, text), but for what is built or fetched.
fn tree() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder can be listed") {
            let entry = entry.expect("the entry can be read");
            let name = entry.file_name();
            let kind = entry.file_type().expect("the kind of the entry is known");
            if [".git", "target", "node_modules"].iter().any(|skipped| name == *skipped) {
                continue;
            }
            if kind.is_dir() {
                folders.push(entry.path());
            } else if let Ok(text) = fs::read_to_string(entry.path()) {
                let path = entry.path();
                let path = path.strip_prefix(root).expect("the entry is below the root");
                files.push((path.to_string_lossy().replace('\\', "/"), text));
            }
        }
    }
    files
}

/// Holds a rule over the tree; the message names every place that breaks it.
fn hold(rule: Rule) {
    let complaints: Vec<_> = tree()
        .iter()
        .flat_map(|(path, text)| rule(path, text).into_iter().map(move |c| format!("{path}: {c}")))
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn the_tree_is_the_repository() {
    let paths: BTreeSet<_> = tree().into_iter().map(|(path, _)| path).collect();
    for known in
        ["Cargo.toml", "README.md", "docs/ARCHITECTURE.md", "src/lib.rs", "tests/tidy/main.rs"]
    {
        assert!(paths.contains(known), "{known} was not read");
    }
    assert!(!paths.iter().any(|path| path.starts_with("target/")));
}

#[test]
fn layers_import_only_from_their_left() {
    hold(layers);
}

#[test]
fn an_import_from_the_right_is_refused() {
    let refused = |path: &str, text: &str| layers(path, text).len();
    assert_eq!(refused("src/wire/frame.rs", "use crate::conn::Connection;"), 1);
    assert_eq!(refused("src/conn/mod.rs", "fn f() { crate::hub::Hub::new() }"), 1);
    assert_eq!(
        refused("src/event.rs", "use crate::{config::Limits, hub::{Hub, Topic}, server};"),
        2
    );
    assert_eq!(refused("src/event.rs", "use crate::{\n    wire,\n    conn::State,\n};"), 1);
    assert_eq!(refused("src/wire/frame.rs", "use super::super::server::Server;"), 1);
    assert_eq!(refused("src/wire/mod.rs", "use super::hub;"), 1);
    assert_eq!(refused("src/wire/mod.rs", "use crate::Hub;"), 1);
    assert_eq!(refused("src/wire/mod.rs", "use crate::*;"), 1);
    assert_eq!(refused("src/extra.rs", ""), 1);
    assert_eq!(refused("src/wire/mod.rs", "let c = '\"'; use crate::hub; let d = '\"';"), 1);

    assert_eq!(
        refused("src/hub/mod.rs", "use crate::{conn, event::Event, wire::{self, Mask}};"),
        0
    );
    assert_eq!(refused("src/wire/frame.rs", "use super::close::CloseCode; use crate::wire;"), 0);
    assert_eq!(
        refused("src/wire/mod.rs", "/* crate::hub */ // crate::hub\nlet s = \"crate::hub\";"),
        0
    );
    assert_eq!(
        refused("src/wire/mod.rs", "#[cfg(test)]\nmod tests {\n use crate::hub::Hub;\n}"),
        0
    );
    assert_eq!(refused("src/wire/mod.rs", "#[cfg(not(test))]\nuse crate::hub::Hub;"), 1);
    for (condition, expected) in [("all(test, not(loom))", 0), ("any(test, loom)", 1)] {
        let code = format!("#[cfg({condition})]\nmod inner {{ use crate::hub::Hub; }}");
        assert_eq!(refused("src/wire/mod.rs", &code), expected);
    }
    assert_eq!(refused("src/lib.rs", "pub use crate::hub::Hub;"), 0);
    assert_eq!(refused("src/testing/client.rs", "use crate::{event::ConnId, wire::Header};"), 1);
    assert_eq!(refused("src/server/mod.rs", "use crate::testing::Network;"), 1);
    assert_eq!(refused("src/bin/pushloop/main.rs", "use pushloop::{Config, testing::Dice};"), 1);
}

#[test]
fn files_are_short() {
    hold(file_length);
}

#[test]
fn a_long_file_is_refused() {
    let lines = "x\n".repeat(FILE_LINES_MAX);
    assert!(file_length("src/a.rs", &lines).is_empty());
    for path in ["src/a.rs", "tests/run.sh", "tests/a.mjs", "src/bin/a.html", "benches/a.py"] {
        assert_eq!(file_length(path, &format!("{lines}x\n")).len(), 1, "{path}");
    }
}

#[test]
fn functions_are_short() {
    hold(function_length);
}

#[test]
fn a_long_function_is_refused() {
    let function = |lines: usize| {
        let body = "    if a == '{' { b(\"}\") } // }\n".repeat(lines - 2);
        format!("impl A {{\nfn short() -> [u8; 2];\nfn long(a: char) -> [u8; 2] {{\n{body}}}\n}}\n")
    };
    assert!(function_length("src/a.rs", &function(FUNCTION_LINES_MAX)).is_empty());
    let complaints = function_length("src/a.rs", &function(FUNCTION_LINES_MAX + 1));
    assert_eq!(complaints, ["`fn long` has 71 lines"]);
}

#[test]
fn no_work_is_put_off_in_a_note() {
    hold(postponed_work);
}

#[test]
fn a_note_of_work_put_off_is_refused() {
    for word in
        [["TO", "DO"], ["FIX", "ME"], ["todo", "!"], ["unimplemented", "!"]].map(|w| w.concat())
    {
        assert_eq!(postponed_work("src/a.rs", &format!("// {word}: later")).len(), 1);
        assert_eq!(postponed_work("README.md", &format!("{word} later")).len(), 1);
        assert!(postponed_work("README.md", &format!("no `{word}` is left")).is_empty());
        assert!(postponed_work("src/a.rs", &format!("MASTO{word}NS")).is_empty());
    }
}

#[test]
fn one_file_names_mio() {
    hold(names_mio);
}

#[test]
fn mio_named_elsewhere_is_refused() {
    for code in ["use mio::Poll;", "use ::mio::Poll;", "fn f(p: &mio::Poll) {}", "use mio as m;"] {
        assert_eq!(names_mio("src/server/mod.rs", code).len(), 1, "{code}");
        assert!(names_mio(CLOCK_FILE, code).is_empty());
    }
    assert_eq!(names_mio("src/server/mod.rs", "mod mio; use mio::Mio; use ::mio::Poll;").len(), 1);
    let ours = "pub use self::mio::Mio; use crate::server::mio::Mio as M; // mio::Poll";
    assert!(names_mio("src/server/mod.rs", ours).is_empty());
}

#[test]
fn one_file_reads_the_clock() {
    hold(reads_clock);
}

#[test]
fn a_clock_read_elsewhere_is_refused() {
    assert_eq!(reads_clock("src/hub/mod.rs", "let now = std::time::Instant::now();").len(), 1);
    assert_eq!(reads_clock("src/bin/pushloop/main.rs", "SystemTime::now()").len(), 1);
    assert!(reads_clock(CLOCK_FILE, "Instant::now()").is_empty());
    assert!(reads_clock("src/hub/mod.rs", "#[cfg(test)] mod tests { Instant::now(); }").is_empty());
}

#[test]
fn layers_say_what_they_must_not_know() {
    hold(module_header);
}

#[test]
fn a_module_header_without_its_limits_is_refused() {
    let header = "//! Frames. It must\n//! **not know** sockets.\n";
    assert!(module_header("src/wire/mod.rs", header).is_empty());
    assert_eq!(module_header("src/wire/mod.rs", "//! Frames.\n// must not know\n").len(), 1);
    assert_eq!(module_header("src/wire/mod.rs", &header.repeat(13)).len(), 1);
}

#[test]
fn no_path_of_a_machine_is_named() {
    hold(machine_paths);
}

#[test]
fn a_path_of_a_machine_is_refused() {
    for top in ["work", "root", "home"] {
        assert_eq!(machine_paths("docs/a.md", &format!("see /{top}/a/b.md")).len(), 1);
        assert!(machine_paths("docs/a.md", &format!("see docs/{top}/a.md and a/{top}")).is_empty());
    }
}

/// The tests that a page names as `file: name` in backquotes, and that are not there.
fn missing_tests(page: &str, text_of: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let named = page.split('`').filter_map(|quoted| quoted.split_once(".rs: "));
    named
        .filter(|(file, name)| {
            let text = text_of(&format!("{file}.rs"));
            !text.is_some_and(|text| text.contains(&format!("fn {name}(")))
        })
        .map(|(file, name)| format!("{file}.rs: {name}"))
        .collect()
}

#[test]
fn tests_that_the_docs_name_exist() {
    let tree = tree();
    let text_of =
        |file: &str| tree.iter().find(|(path, _)| path == file).map(|(_, text)| text.to_string());
    let page = text_of("docs/CONFORMANCE.md").expect("it is there");
    assert!(page.matches(".rs: ").count() > 50, "it names the tests of each clause");
    assert_eq!(missing_tests(&page, text_of), [""; 0]);
    let page = "see `tests/a.rs: one`, `tests/a.rs: two` and `tests/b.rs: one`";
    let text_of = |file: &str| (file == "tests/a.rs").then(|| "fn one() {}".to_owned());
    assert_eq!(missing_tests(page, text_of), ["tests/a.rs: two", "tests/b.rs: one"]);
}

#[test]
fn the_documented_states_are_the_states() {
    let tree = tree();
    let conn = || tree.iter().filter(|(path, _)| path.starts_with("src/conn/"));
    let code: BTreeSet<_> = conn().flat_map(|(_, text)| states_in_code(text)).collect();
    let docs = tree.iter().find(|(path, _)| path == "docs/ARCHITECTURE.md");
    assert!(!code.is_empty(), "src/conn has no `enum State`");
    assert_eq!(code, states_in_docs(&docs.expect("docs/ARCHITECTURE.md is there").1));
}

#[test]
fn states_are_read_from_code_and_from_docs() {
    let code = "enum Other { No }\n/// Doc { A, }\n#[derive(Debug)]\npub(crate) enum State {\n\
        /// One, { two\n First { a: u8, b: u8 }, #[x] Second(u8, Third), Fourth,\n}\nenum X { Y }";
    assert_eq!(Vec::from_iter(states_in_code(code)), ["First", "Fourth", "Second"]);
    let docs = "# Code map\n| `wire` | x |\n## The states of a connection\n| state | means |\n|---|---|\n\
        | `First` | a |\n| `Second` | b |\n## Limits\n| `Third` | c |\n";
    assert_eq!(Vec::from_iter(states_in_docs(docs)), ["First", "Second"]);
    assert_ne!(states_in_code(code), states_in_docs(docs));
}
